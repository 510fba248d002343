/* SPDX-License-Identifier: GPL-2.0-only */
/* postern signatures add, adopt, rollback: what the engine is asked to try and to adopt. */
#include "signatures-commands.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "ask.h"
#include "terminal.h"
#include "text.h"

#define ENGINE "postern-engine"
#define SHORT_MS 10000
/* An adoption loads signatures and lets the workers of before end their mails. */
#define ADOPTION_MS (3600 * 1000)
#define LOOK_US (300 * 1000)
#define REASON_SHOWN 300

struct wish {
    struct cli *cli;
    char name[MANIFEST_NAME_DIGITS + 1];
    gboolean force;
    const char *reject; /* why what is in use is rejected; NULL: it is not */
    gboolean said;      /* progress stands on the terminal's last line */
};

/* Returns 0 with the engine at the other end of ASK, or -errno with one sentence. */
static int
engine_open(struct cli *cli, struct ask *ask, char **error_r)
{
    g_autofree char *path = g_build_filename(cli->settings->engine_dir, "engine.sock", NULL);
    return ask_open(ask, ENGINE, path, error_r);
}

json_t *
signatures_engine(struct cli *cli)
{
    g_autofree char *path = g_build_filename(cli->settings->engine_dir, "engine.sock", NULL);
    g_autofree char *error = NULL;
    return ask_status(ENGINE, path, &error);
}

static struct store_entry *
find(const struct wish *wish, const char *name)
{
    g_autofree char *error = NULL;
    g_autoptr(store_t) store = signatures_store(wish->cli, FALSE);
    struct store_entry *entry = store == NULL ? NULL : store_find(store, name, &error);
    if (store != NULL && entry == NULL) {
        cli_fail("%s", error);
    }
    return entry;
}

/* WAITS: why it is not in use yet; NULL: it is. */
static int
say(const struct wish *wish, const char *what, const char *waits)
{
    g_autoptr(store_entry_t) entry = find(wish, wish->name);
    if (entry == NULL) {
        return CLI_ERROR;
    }
    if (wish->cli->json) {
        json_t *object = signatures_json(entry);
        json_object_set_new(object, "waits", waits != NULL ? json_string(waits) : json_null());
        signatures_print(object);
    } else {
        printf("Generation %s %s.\n", wish->name, what);
    }
    return CLI_OK;
}

/* Whether another one that could be adopted was put together after it, and nothing is pinned. */
static gboolean
may_be_followed(const struct wish *wish)
{
    g_autofree char *none = NULL;
    g_autoptr(store_t) store = signatures_store(wish->cli, FALSE);
    g_autoptr(GPtrArray) list = store == NULL ? NULL : store_list(store);
    g_autoptr(store_entry_t) mine = store == NULL ? NULL : store_find(store, wish->name, &none);
    gboolean is_newer = FALSE;
    for (guint i = 0; list != NULL && i < list->len; i++) {
        const struct store_entry *entry = g_ptr_array_index(list, i);
        if (entry->is_pinned) {
            return FALSE;
        }
        is_newer = is_newer || (mine != NULL && mine->manifest != NULL && entry->manifest != NULL &&
                                strcmp(entry->name, wish->name) != 0 &&
                                entry->record.state != RECORD_REJECTED &&
                                entry->manifest->created >= mine->manifest->created);
    }
    return is_newer;
}

static int
done(const struct wish *wish, const char *what)
{
    int rc = say(wish, what, NULL);
    if (rc == CLI_OK && !wish->cli->json && wish->reject == NULL && may_be_followed(wish)) {
        printf("A newer one that waits comes next all the same; `postern signatures pin %s` keeps "
               "it away.\n",
               wish->name);
    }
    return rc;
}

/* The trial */

/* One line that is written over, on a terminal alone. TOTAL 0: there is nothing to count. */
static void
show_progress(struct wish *wish, const char *generation, const char *text, gint64 n, gint64 total)
{
    if (!isatty(STDERR_FILENO) || wish->cli->json || text == NULL) {
        return;
    }
    g_autofree char *name = text_escape(generation, 40);
    g_autofree char *safe = text_escape(text, 80);
    fprintf(stderr, "\r%s: %s", name, safe);
    if (total > 0) {
        fprintf(stderr, " %" G_GINT64_FORMAT " of %" G_GINT64_FORMAT, n, total);
    }
    fprintf(stderr, "\033[K");
    wish->said = TRUE;
}

static void
end_progress(struct wish *wish)
{
    if (wish->said) {
        fprintf(stderr, "\r\033[K");
        wish->said = FALSE;
    }
}

/* What the engine says of a trial that did not begin, or came to nothing; NULL: it goes on. */
static char *
trouble_of(const struct wish *wish, const json_t *trial, gint64 since)
{
    const char *state = ask_text(trial, "state");
    const json_t *last = json_object_get(trial, "last");
    const char *outcome = ask_text(last, "outcome");
    if (g_strcmp0(state, "waiting") == 0 &&
        g_strcmp0(ask_text(trial, "generation"), wish->name) == 0) {
        g_autofree char *safe = text_escape(ask_text(trial, "reason"), REASON_SHOWN);
        return g_strdup_printf("%s is not tried yet: %s", wish->name, safe);
    }
    const char *of = ask_text(last, "generation");
    if (g_strcmp0(state, "idle") == 0 && ask_number(last, "time") >= since &&
        (of == NULL || strcmp(of, wish->name) == 0) &&
        (g_strcmp0(outcome, "failed") == 0 || g_strcmp0(outcome, "interrupted") == 0)) {
        g_autofree char *safe = text_escape(ask_text(last, "reason"), REASON_SHOWN);
        return g_strdup_printf("%s could not be tried: %s", wish->name, safe);
    }
    return NULL;
}

/* Until the record says what came of it. */
static int
await_trial(struct wish *wish)
{
    gint64 since = g_get_real_time() / G_USEC_PER_SEC;
    for (;;) {
        g_autoptr(store_entry_t) entry = find(wish, wish->name);
        if (entry == NULL) {
            return CLI_ERROR;
        }
        if (entry->record.state == RECORD_REJECTED) {
            g_autofree char *safe = text_escape(entry->record.reason, REASON_SHOWN);
            end_progress(wish);
            return cli_fail("%s is rejected: %s", wish->name, safe);
        }
        if (entry->record.state == RECORD_TRIED || entry->record.state == RECORD_ADOPTED) {
            end_progress(wish);
            return CLI_OK;
        }
        json_t *status = signatures_engine(wish->cli);
        const json_t *trial = json_object_get(status, "trial");
        g_autofree char *trouble = status == NULL
                                       ? g_strdup("postern-engine does not answer any more")
                                       : trouble_of(wish, trial, since);
        show_progress(wish, wish->name, ask_text(trial, "state"), ask_number(trial, "done"),
                      ask_number(trial, "total"));
        json_decref(status);
        if (trouble != NULL) {
            end_progress(wish);
            return cli_fail("%s", trouble);
        }
        g_usleep(LOOK_US);
    }
}

/* Returns as ask_call(). */
static int
ask_for_trial(const struct wish *wish, struct ask *ask, char **error_r)
{
    json_t *request = json_pack("{s:s, s:s}", "op", "try", "generation", wish->name);
    json_t *answer = NULL;
    int rc = ask_call(ask, request, -1, SHORT_MS, &answer, NULL, error_r);
    json_decref(request);
    json_decref(answer);
    return rc;
}

/* The adoption */

/* No engine runs: what it loads next is all that can be changed. */
static int
select_next(struct wish *wish)
{
    g_autofree char *error = NULL;
    g_autofree char *before = NULL;
    g_autoptr(store_t) store = signatures_store(wish->cli, TRUE);
    if (store == NULL) {
        return CLI_ERROR;
    }
    if (wish->reject != NULL) {
        g_autofree char *none = NULL;
        g_autoptr(store_entry_t) current = store_find(store, "current", &none);
        before = g_strdup(current != NULL ? current->name : NULL);
    }
    if (store_adopt(store, wish->name, wish->force, &error) < 0 ||
        (before != NULL && strcmp(before, wish->name) != 0 &&
         store_set(store, before, RECORD_REJECTED, wish->reject, &error) < 0) ||
        store_prune(store, (guint)wish->cli->settings->generations, &error) < 0) {
        return cli_fail("%s%s", error,
                        wish->force ? "" : "; --force does it, or start postern-engine: it tries");
    }
    return done(wish, "is current. postern-engine loads it when it starts next");
}

/* Whether another generation is on its way in, or workers of before are on their way out. */
static gboolean
is_busy(const struct wish *wish, const json_t *adoption)
{
    static const char *const busy[] = {"room",    "trying",   "loading",
                                       "proving", "draining", "failing"};
    const char *phase = ask_text(adoption, "phase");
    if (g_strcmp0(ask_text(adoption, "generation"), wish->name) == 0 &&
        g_strcmp0(phase, "failing") != 0) {
        return FALSE;
    }
    for (size_t i = 0; phase != NULL && i < G_N_ELEMENTS(busy); i++) {
        if (strcmp(phase, busy[i]) == 0) {
            return TRUE;
        }
    }
    return FALSE;
}

static gboolean
is_served(const struct wish *wish)
{
    json_t *status = signatures_engine(wish->cli);
    gboolean is = g_strcmp0(ask_text(status, "generation"), wish->name) == 0 &&
                  g_strcmp0(ask_text(status, "state"), "ready") == 0;
    json_decref(status);
    return is;
}

/* The engine adopts one at a time; its own choice comes to an end first. */
static void
await_others(struct wish *wish)
{
    for (;;) {
        json_t *status = signatures_engine(wish->cli);
        const json_t *adoption = json_object_get(status, "adoption");
        gboolean busy = is_busy(wish, adoption);
        if (busy) {
            show_progress(wish, ask_text(adoption, "generation"), ask_text(adoption, "text"), 0, 0);
        }
        json_decref(status);
        if (!busy) {
            end_progress(wish);
            return;
        }
        g_usleep(LOOK_US);
    }
}

static int
later(const struct wish *wish, const char *why)
{
    g_autofree char *safe = text_escape(why, REASON_SHOWN);
    g_autofree char *what =
        g_strdup_printf("is not in use yet: %s. It will be as soon as that is over", safe);
    int rc = say(wish, what, why);
    return rc == CLI_OK ? CLI_FOUND : rc;
}

static int
ask_for_adoption(struct wish *wish, struct ask *ask)
{
    g_autofree char *error = NULL;
    await_others(wish);
    if (is_served(wish)) {
        return done(wish, "is in use");
    }
    json_t *request = json_pack("{s:s, s:s, s:b, s:s*}", "op", "adopt", "generation", wish->name,
                                "force", wish->force, "reject", wish->reject);
    json_t *answer = NULL;
    show_progress(wish, wish->name, "is being adopted", 0, 0);
    int rc = ask_call(ask, request, -1, ADOPTION_MS, &answer, NULL, &error);
    end_progress(wish);
    g_autofree char *waits = g_strdup(ask_text(answer, "waits"));
    json_decref(request);
    json_decref(answer);
    if (rc < 0) {
        /* By itself, in the moment between the two questions. */
        return is_served(wish) ? done(wish, "is in use")
                               : cli_fail("%s; see `postern signatures status`", error);
    }
    return waits != NULL ? later(wish, waits) : done(wish, "is in use");
}

/* The engine goes back to what is pinned. Says so. */
static gboolean
is_barred(const struct wish *wish)
{
    g_autofree char *none = NULL;
    g_autoptr(store_t) store = signatures_store(wish->cli, FALSE);
    g_autoptr(store_entry_t) pinned = store == NULL ? NULL : store_find(store, "pinned", &none);
    gboolean is = pinned != NULL && strcmp(pinned->name, wish->name) != 0;
    if (is) {
        cli_fail("%s is pinned, so %s would not stay in use; `postern signatures unpin` first",
                 pinned->name, wish->name);
    }
    return is || store == NULL;
}

/* Tries it first, unless that was done or is not wanted. */
static int
settle(struct wish *wish, const struct store_entry *entry)
{
    struct ask ask;
    g_autofree char *error = NULL;
    if (is_barred(wish)) {
        return CLI_ERROR;
    }
    if (engine_open(wish->cli, &ask, &error) < 0) {
        return select_next(wish);
    }
    int rc = CLI_OK;
    if (!wish->force &&
        (entry->record.state == RECORD_FETCHED || entry->record.state == RECORD_TRYING)) {
        rc = ask_for_trial(wish, &ask, &error) < 0 ? cli_fail("%s", error) : await_trial(wish);
    }
    if (rc == CLI_OK) {
        rc = ask_for_adoption(wish, &ask);
    }
    ask_close(&ask);
    return rc;
}

int
signatures_adopt(struct cli *cli, int argc, char **argv)
{
    struct wish wish = {.cli = cli};
    const GOptionEntry entries[] = {
        {"force", 0, 0, G_OPTION_ARG_NONE, &wish.force,
         "Although it was rejected, or without a trial", NULL},
        {NULL, 0, 0, G_OPTION_ARG_NONE, NULL, NULL, NULL},
    };
    if (!cli_options(cli, entries, "GENERATION",
                     "Uses that generation from now on. One that was not tried is tried first. "
                     "GENERATION is a name from `list`, its beginning, previous, or pinned.",
                     &argc, &argv)) {
        return CLI_ERROR;
    }
    if (argc != 2) {
        return cli_fail("signatures adopt needs one generation; see `postern signatures list`");
    }
    g_autoptr(store_entry_t) entry = find(&wish, argv[1]);
    if (entry == NULL) {
        return CLI_ERROR;
    }
    g_strlcpy(wish.name, entry->name, sizeof wish.name);
    if (entry->record.state == RECORD_REJECTED && !wish.force) {
        g_autofree char *safe = text_escape(entry->record.reason, REASON_SHOWN);
        return cli_fail("%s was rejected: %s; %s", entry->name, safe,
                        entry->manifest != NULL
                            ? "--force uses it all the same"
                            : "its files are gone: `postern signatures add` them, then adopt "
                              "--force");
    }
    return settle(&wish, entry);
}

int
signatures_rollback(struct cli *cli, int argc, char **argv)
{
    struct wish wish = {.cli = cli, .force = TRUE};
    g_autofree char *reason = NULL;
    const GOptionEntry entries[] = {
        {"reason", 0, 0, G_OPTION_ARG_STRING, &reason, "Why; it is kept", "TEXT"},
        {NULL, 0, 0, G_OPTION_ARG_NONE, NULL, NULL, NULL},
    };
    if (!cli_options(cli, entries, "",
                     "Uses the generation of before again, and rejects the one in use, so that it "
                     "does not come back by itself.",
                     &argc, &argv)) {
        return CLI_ERROR;
    }
    g_autoptr(store_entry_t) entry = find(&wish, "previous");
    if (entry == NULL) {
        return CLI_ERROR;
    }
    g_autofree char *safe =
        text_escape(reason != NULL ? reason : "rolled back by an administrator", REASON_SHOWN);
    wish.reject = safe;
    g_strlcpy(wish.name, entry->name, sizeof wish.name);
    return settle(&wish, entry);
}

/* Adding */

static void
print_added(struct cli *cli, const struct store_new *made, const char *what)
{
    if (cli->json) {
        signatures_print(json_pack("{s:s, s:i, s:I, s:b}", "generation", made->name, "files",
                                   (int)made->files, "bytes", (json_int_t)made->bytes, "new",
                                   !made->existed));
        return;
    }
    g_autofree char *size = terminal_size(made->bytes);
    printf("Generation %s (%u file(s), %s) %s%s.\n", made->name, made->files, size,
           made->existed ? "was there already and " : "", what);
}

/* With an engine that runs, and signatures in use, a new set is tried first. */
static int
add_running(struct cli *cli, const struct store_new *made, struct ask *ask)
{
    struct wish wish = {.cli = cli};
    g_strlcpy(wish.name, made->name, sizeof wish.name);
    g_autoptr(store_entry_t) entry = find(&wish, made->name);
    if (entry == NULL) {
        return CLI_ERROR;
    }
    if (entry->is_current) {
        print_added(cli, made, "is current");
        return CLI_OK;
    }
    if (entry->record.state == RECORD_REJECTED) {
        g_autofree char *safe = text_escape(entry->record.reason, REASON_SHOWN);
        return cli_fail("%s was rejected: %s; `postern signatures adopt --force` uses it all the "
                        "same",
                        made->name, safe);
    }
    if (entry->record.state == RECORD_ADOPTED) {
        return ask_for_adoption(&wish, ask);
    }
    g_autofree char *busy = NULL;
    int rc = ask_for_trial(&wish, ask, &busy);
    if (rc < 0 && rc != -EBADE) {
        return cli_fail("%s", busy);
    }
    print_added(cli, made,
                rc < 0 ? "is here. Another one is just being tried; this one is next"
                       : "is adopted after its trial; see `postern signatures status`");
    return CLI_OK;
}

static int
select_added(struct cli *cli, struct store *store, const struct store_new *made,
             gboolean engine_runs)
{
    g_autofree char *error = NULL;
    if (store_adopt(store, made->name, TRUE, &error) < 0 ||
        store_prune(store, (guint)cli->settings->generations, &error) < 0) {
        return cli_fail("%s", error);
    }
    print_added(cli, made,
                engine_runs ? "is current. postern-engine loads it now"
                            : "is current. postern-engine loads it when it starts next");
    return CLI_OK;
}

int
signatures_add(struct cli *cli, int argc, char **argv)
{
    struct store_new made;
    struct ask ask;
    g_autofree char *error = NULL;
    g_autofree char *down = NULL;
    g_autofree char *none = NULL;
    if (!cli_options(cli, NULL, "PATH...",
                     "Makes a generation of the signature files and directories. It is used after "
                     "its trial; at once, when postern-engine does not run, or has nothing else.",
                     &argc, &argv)) {
        return CLI_ERROR;
    }
    if (argc < 2) {
        return cli_fail("signatures add needs a signature file or a directory of them");
    }
    g_autoptr(store_t) store = signatures_store(cli, TRUE);
    if (store == NULL) {
        return CLI_ERROR;
    }
    if (store_add(store, argv + 1, &made, &error) < 0) {
        return cli_fail("%s", error);
    }
    g_autoptr(store_entry_t) current = store_find(store, "current", &none);
    g_clear_pointer(&none, g_free);
    g_autoptr(store_entry_t) pinned = store_find(store, "pinned", &none);
    if (pinned != NULL && strcmp(pinned->name, made.name) != 0) {
        print_added(cli, &made, "is here. Another one is pinned, and stays in use until `unpin`");
        return CLI_OK;
    }
    gboolean engine_runs = engine_open(cli, &ask, &down) == 0;
    if (current == NULL || !engine_runs) {
        if (engine_runs) {
            ask_close(&ask);
        }
        return select_added(cli, store, &made, engine_runs);
    }
    /* The trial changes the store, too. */
    g_clear_pointer(&store, store_free);
    int rc = add_running(cli, &made, &ask);
    ask_close(&ask);
    return rc;
}
