/* SPDX-License-Identifier: GPL-2.0-only */
/* postern signatures update */
#include "signatures-commands.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ask.h"
#include "update-files.h"
#include "sibling.h"
#include "terminal.h"
#include "text.h"

#define PROGRAM "postern-update"
/* Of what another user says: a round of hundreds of sources has less. */
#define LINE_MAX_BYTES (1024U * 1024U)

struct update {
    struct cli *cli;
    json_t *end;       /* what the round said at last; NULL: nothing */
    gboolean is_first; /* what came is the first of all, and selected */
    gboolean is_held;  /* another one is pinned */
};

/* A private instance's own, which update_user can reach, or what belongs to this program. */
static char *
program_path(const struct cli *cli)
{
    g_autofree char *private =
        cli->dir != NULL ? g_build_filename(cli->dir, "bin", PROGRAM, NULL) : NULL;
    return private != NULL && access(private, X_OK) == 0 ? g_canonicalize_filename(private, NULL)
                                                         : sibling_program(PROGRAM);
}

/* What it is told to read; it runs in another directory. NULL: the usual. */
static char *
config_path(const struct cli *cli)
{
    g_autofree char *path = cli_config_path(cli);
    return path != NULL ? g_canonicalize_filename(path, NULL) : NULL;
}

static void
print_event(const json_t *event)
{
    g_autofree char *origin = text_escape(ask_text(event, "origin"), 200);
    g_autofree char *result = text_escape(ask_text(event, "result"), 20);
    g_autofree char *error = text_escape(ask_text(event, "error"), 500);
    gboolean bad = ask_text(event, "error") != NULL;
    g_autofree char *word = terminal_colour(bad ? COLOUR_BAD : COLOUR_GOOD, result);
    printf("%s: %s%s%s\n", origin, word, bad ? ": " : "", bad ? error : "");
    fflush(stdout);
}

/* What a source or the round said, as soon as it did; what is no JSON is for people. */
static void
hear(struct update *update, char *line)
{
    json_t *event = json_loads(line, 0, NULL);
    if (json_object_get(event, "sources") != NULL) {
        json_decref(update->end);
        update->end = event;
        return;
    }
    if (event == NULL) {
        g_autofree char *said = text_escape(g_strchomp(line), 500);
        fprintf(stderr, "%s\n", said);
    } else if (!update->cli->json) {
        print_event(event);
    }
    json_decref(event);
}

/*
 * Between fork and exec. A session of its own: what runs as another user must not type into root's
 * terminal (TIOCSTI), nor write to it. It ends with this program.
 */
static void
become(void *data)
{
    const struct passwd *user = data;
    if (setsid() < 0 || dup2(STDOUT_FILENO, STDERR_FILENO) < 0 ||
        (user != NULL && (initgroups(user->pw_name, user->pw_gid) < 0 ||
                          setresgid(user->pw_gid, user->pw_gid, user->pw_gid) < 0 ||
                          setresuid(user->pw_uid, user->pw_uid, user->pw_uid) < 0)) ||
        prctl(PR_SET_PDEATHSIG, SIGKILL) < 0) {
        _exit(126);
    }
}

/* Root never runs it as root: it speaks to strangers. */
static const struct passwd *
user_of(const struct settings *settings, gboolean *ok)
{
    const struct passwd *user = geteuid() == 0 ? getpwnam(settings->update_user) : NULL;
    *ok = geteuid() != 0 || user != NULL;
    if (!*ok) {
        cli_fail("update_user: there is no user %s on this machine", settings->update_user);
    }
    return user;
}

/* Of a line that is longer the end is thrown away, and it is no JSON then. */
static int
read_lines(struct update *update, int fd)
{
    FILE *lines = fdopen(fd, "r");
    g_autoptr(GString) line = g_string_new(NULL);
    int c;
    if (lines == NULL) {
        close(fd);
        return -errno;
    }
    while ((c = getc(lines)) != EOF) {
        if (c == '\n') {
            hear(update, line->str);
            g_string_truncate(line, 0);
        } else if (line->len < LINE_MAX_BYTES) {
            g_string_append_c(line, (char)c);
        }
    }
    if (line->len > 0) {
        hear(update, line->str);
    }
    fclose(lines);
    return 0;
}

/* Returns CLI_OK when a round took place. */
static int
run(struct update *update, const struct settings *settings)
{
    g_autofree char *program = program_path(update->cli);
    g_autofree char *config = config_path(update->cli);
    gboolean ok;
    const struct passwd *user = user_of(settings, &ok);
    const char *argv[] = {program, "--once", config != NULL ? "--config" : NULL, config, NULL};
    g_autoptr(GError) error = NULL;
    GPid pid;
    int out = -1;
    int status = 0;
    if (!ok) {
        return CLI_ERROR;
    }
    if (!g_spawn_async_with_pipes("/", (char **)(uintptr_t)argv, NULL, G_SPAWN_DO_NOT_REAP_CHILD,
                                  become, (void *)(uintptr_t)user, &pid, NULL, &out, NULL,
                                  &error)) {
        return cli_fail("%s", error->message);
    }
    (void)read_lines(update, out);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0 && update->end != NULL) {
        return CLI_OK;
    }
    return WIFSIGNALED(status) ? cli_fail("%s died of signal %d", program, WTERMSIG(status))
                               : CLI_ERROR; /* it has said why */
}

/* As with `add`: nothing else is in use, and no engine runs that would try it. */
static int
select_first(struct update *update, struct store *store, const char *name, char **error_r)
{
    g_autofree char *none = NULL;
    g_autoptr(store_entry_t) current = store_find(store, "current", &none);
    json_t *engine = current == NULL ? signatures_engine(update->cli) : NULL;
    update->is_first = current == NULL && engine == NULL;
    json_decref(engine);
    return update->is_first ? store_adopt(store, name, TRUE, error_r) : 0;
}

static gboolean
pins_another(const struct store *store, const char *name)
{
    g_autofree char *none = NULL;
    g_autoptr(store_entry_t) pinned = store_find(store, "pinned", &none);
    return pinned != NULL && strcmp(pinned->name, name) != 0;
}

/* Takes what postern-update offers into the store. */
static int
take(struct update *update, struct store_new *taken, char **error_r)
{
    const struct settings *settings = cli_settings(update->cli);
    g_autoptr(store_t) store = NULL;
    g_autofree char *path = g_build_filename(settings->update_dir, OFFER_DIR, NULL);
    int offer = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (offer < 0) {
        int rc = -errno;
        *error_r = g_strdup_printf("%s: %s", path, g_strerror(-rc));
        return rc;
    }
    int rc = signatures_open(settings, TRUE, &store, error_r);
    if (rc == 0) {
        rc = store_take(store, offer, settings->update_size, taken, error_r);
    }
    if (rc == 0) {
        rc = select_first(update, store, taken->name, error_r);
        update->is_held = pins_another(store, taken->name);
    }
    if (rc == 0) {
        rc = store_prune(store, (guint)settings->generations, error_r);
    }
    close(offer);
    return MIN(rc, 0);
}

static void
print_taken(const struct store_new *taken, const struct update *update)
{
    g_autofree char *size = terminal_size(taken->bytes);
    if (update->is_first) {
        printf("Generation %s (%u file(s), %s) is current. postern-engine loads it when it starts "
               "next.\n",
               taken->name, taken->files, size);
    } else if (taken->existed) {
        printf("Nothing new: generation %s is here already.\n", taken->name);
    } else if (update->is_held) {
        printf(
            "Generation %s (%u file(s), %s) is here. Another one is pinned, and stays in use until "
            "`unpin`.\n",
            taken->name, taken->files, size);
    } else {
        printf("Generation %s (%u file(s), %s) is adopted after its trial; see `postern signatures "
               "status`.\n",
               taken->name, taken->files, size);
    }
}

static int
finish(struct update *update)
{
    struct cli *cli = update->cli;
    struct store_new taken = {.files = 0};
    g_autofree char *error = NULL;
    const char *said = ask_text(update->end, "error");
    gboolean whole = ask_number(update->end, "failures") == 0;
    int rc = said != NULL ? -EIO : take(update, &taken, &error);
    if (said != NULL) {
        error = text_escape(said, 500);
    }
    if (cli->json) {
        signatures_print(json_pack("{s:O, s:s?, s:b, s:s?}", "update", update->end, "generation",
                                   rc == 0 ? taken.name : NULL, "new", rc == 0 && !taken.existed,
                                   "error", error));
    } else if (rc == 0) {
        print_taken(&taken, update);
    } else {
        cli_fail("%s", error);
    }
    return rc < 0 ? CLI_ERROR : whole ? CLI_OK : CLI_FOUND;
}

int
signatures_update(struct cli *cli, int argc, char **argv)
{
    struct update update = {.cli = cli};
    if (!cli_options(cli, NULL, "",
                     "Looks for new signatures now, at every source, and takes what is new as a "
                     "generation. A mirror that wants to be left alone is left alone.",
                     &argc, &argv)) {
        return CLI_ERROR;
    }
    const struct settings *settings = cli_settings(cli);
    if (settings == NULL) {
        return CLI_ERROR;
    }
    if (geteuid() != 0 && access(settings->update_dir, W_OK) < 0 && errno == EACCES) {
        return cli_fail("%s: %s; run this as root", settings->update_dir, g_strerror(EACCES));
    }
    int rc = run(&update, settings);
    if (rc == CLI_OK) {
        rc = finish(&update);
    }
    json_decref(update.end);
    return rc;
}
