/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * postern cluster node config stage|commit|rollback|finish: one node's side of push-config.
 *
 * The new file lies beside the old one as .NAME.push until it is committed, the old one as
 * .NAME.before until all nodes have the new one. Each step is one rename, so after a crash the
 * configuration is the old or the new one, whole, and the next stage begins anew.
 */
#include "config.h"
#include "cluster-commands.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <jansson.h>

#include "durable.h"
#include "node-report.h"
#include "program.h"

#define INPUT_MAX (4 * 1024 * 1024)

struct place {
    char *path;
    char *folder;
    char *name;
    char *staged; /* names in FOLDER */
    char *before;
    int dirfd;
};

static void
place_clear(struct place *place)
{
    if (place->dirfd >= 0) {
        close(place->dirfd);
    }
    g_free(place->path);
    g_free(place->folder);
    g_free(place->name);
    g_free(place->staged);
    g_free(place->before);
}

static int
place_open(struct cli *cli, struct place *place)
{
    g_autofree char *named = cli_config_path(cli);
    place->path = g_canonicalize_filename(named == NULL ? SETTINGS_PATH : named, NULL);
    place->folder = g_path_get_dirname(place->path);
    place->name = g_path_get_basename(place->path);
    place->staged = g_strdup_printf(".%s.push", place->name);
    place->before = g_strdup_printf(".%s.before", place->name);
    (void)durable_public_dir(place->folder);
    place->dirfd = open(place->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return place->dirfd < 0 ? cli_fail("%s: %s", place->folder, g_strerror(errno)) : CLI_OK;
}

static char *
hash_in(const struct place *place, const char *name)
{
    g_autofree char *path = g_build_filename(place->folder, name, NULL);
    return node_file_hash(path);
}

static void
print(json_t *object)
{
    json_dumpf(object, stdout, JSON_INDENT(2));
    putchar('\n');
    json_decref(object);
}

static char *
input_read(void)
{
    g_autofree char *buffer = g_malloc(INPUT_MAX + 1);
    size_t length = fread(buffer, 1, INPUT_MAX, stdin);
    buffer[length] = '\0';
    return ferror(stdin) || !feof(stdin) || strlen(buffer) != length ? NULL : g_strdup(buffer);
}

/* As the file that is there, else readable for all: no secret is in it. */
static int
stage_write(const struct place *place, const char *text)
{
    struct stat is;
    gboolean there = fstatat(place->dirfd, place->name, &is, 0) == 0;
    struct durable_file file;
    int rc = durable_begin(&file, place->dirfd, 0600);
    if (rc < 0) {
        return rc;
    }
    rc = durable_write_all(file.fd, text, strlen(text));
    if (rc == 0 && (fchmod(file.fd, there ? is.st_mode & 07777 : 0644) < 0 ||
                    (there && fchown(file.fd, is.st_uid, is.st_gid) < 0))) {
        rc = -errno;
    }
    if (rc < 0) {
        durable_abort(&file);
        return rc;
    }
    return durable_commit(&file, place->staged);
}

static void
add_setting(const char *name, const char *value, const char *preset, const char *text, void *data)
{
    (void)preset;
    (void)text;
    json_object_set_new(data, name, json_string(value));
}

static void
add_restart(const char *name, const char *old, const char *fresh, bool is_taken, void *data)
{
    (void)old;
    (void)fresh;
    if (!is_taken) {
        json_array_append_new(data, json_string(name));
    }
}

/* How this version of Postern reads the staged file, and what of it waits for a restart. */
static void
add_reading(json_t *answer, const struct place *place)
{
    g_autofree char *path = g_build_filename(place->folder, place->staged, NULL);
    g_autofree char *error = NULL;
    g_autofree char *old_error = NULL;
    g_autoptr(settings_t) fresh = settings_load(path, &error);
    g_autoptr(settings_t) old = settings_load(place->path, &old_error);
    if (fresh == NULL) {
        /* People know the file by the name that it is to have. */
        g_auto(GStrv) parts = g_strsplit(error, path, -1);
        g_autofree char *told = g_strjoinv(place->path, parts);
        json_object_set_new(answer, "error", json_string(told));
        return;
    }
    json_t *all = json_object();
    settings_foreach(fresh, add_setting, all);
    json_object_set_new(answer, "settings", all);
    json_t *restart = json_array();
    if (old != NULL) {
        settings_take(old, fresh, add_restart, restart);
    }
    json_object_set_new(answer, "restart", restart);
}

static int
stage(struct cli *cli, int argc, char **argv)
{
    struct place place = {.dirfd = -1};
    g_autofree char *text = NULL;
    g_autofree char *current = NULL;
    int rc = CLI_ERROR;
    if (!cli_options(cli, NULL, "", "Takes a configuration from stdin and checks it.", &argc,
                     &argv) ||
        place_open(cli, &place) != CLI_OK) {
        place_clear(&place);
        return CLI_ERROR;
    }
    text = input_read();
    int error = text == NULL ? -EINVAL : stage_write(&place, text);
    if (error < 0) {
        cli_fail("%s: the new configuration cannot be written: %s", place.folder,
                 g_strerror(-error));
    } else {
        g_autofree char *hash = hash_in(&place, place.staged);
        g_autofree char *old = hash_in(&place, place.name);
        (void)g_file_get_contents(place.path, &current, NULL, NULL);
        json_t *answer = json_pack(
            "{s:s, s:s, s:s?, s:s?}", "postern", PACKAGE_VERSION, "staged", hash, "current", old,
            "text", current != NULL && g_utf8_validate(current, -1, NULL) ? current : NULL);
        add_reading(answer, &place);
        rc = json_object_get(answer, "error") == NULL ? CLI_OK : CLI_FOUND;
        print(answer);
    }
    place_clear(&place);
    return rc;
}

struct hashes {
    char *staged;
    char *current; /* NULL: there was no file */
};

static gboolean
hashes_parse(struct cli *cli, struct hashes *hashes, const char *summary, int *argc, char ***argv)
{
    const GOptionEntry entries[] = {
        {"staged", 0, 0, G_OPTION_ARG_STRING, &hashes->staged, "SHA-256 of the new file", "HASH"},
        {"current", 0, 0, G_OPTION_ARG_STRING, &hashes->current,
         "SHA-256 of the old one; without it: there was none", "HASH"},
        {NULL, 0, 0, G_OPTION_ARG_NONE, NULL, NULL, NULL},
    };
    if (!cli_options(cli, entries, "", summary, argc, argv)) {
        return FALSE;
    }
    if (hashes->staged == NULL) {
        cli_fail("--staged is missing");
        return FALSE;
    }
    return TRUE;
}

/* Keeps the old file under a second name, then puts the new one in its place. */
static int
swap(const struct place *place, gboolean there)
{
    (void)unlinkat(place->dirfd, place->before, 0);
    if ((there && linkat(place->dirfd, place->name, place->dirfd, place->before, 0) < 0) ||
        renameat(place->dirfd, place->staged, place->dirfd, place->name) < 0 ||
        fsync(place->dirfd) < 0) {
        return -errno;
    }
    return 0;
}

static int
commit_now(const struct place *place, const struct hashes *hashes)
{
    g_autofree char *staged = hash_in(place, place->staged);
    g_autofree char *current = hash_in(place, place->name);
    if (g_strcmp0(staged, hashes->staged) != 0) {
        return cli_fail("%s/%s is not what was checked: stage it again", place->folder,
                        place->staged);
    }
    if (g_strcmp0(current, hashes->current) != 0) {
        return cli_fail("%s was changed by somebody else just now; run push-config again",
                        place->path);
    }
    int rc = swap(place, current != NULL);
    return rc < 0 ? cli_fail("%s cannot be replaced: %s", place->path, g_strerror(-rc)) : CLI_OK;
}

/* Only what this push has put there is taken back. */
static int
rollback_now(const struct place *place, const struct hashes *hashes)
{
    g_autofree char *now = hash_in(place, place->name);
    int rc = 0;
    if (g_strcmp0(hashes->current, hashes->staged) != 0 && g_strcmp0(now, hashes->staged) == 0) {
        rc = hashes->current == NULL
                 ? unlinkat(place->dirfd, place->name, 0)
                 : renameat(place->dirfd, place->before, place->dirfd, place->name);
        rc = rc < 0 || fsync(place->dirfd) < 0 ? -errno : 0;
    }
    (void)unlinkat(place->dirfd, place->staged, 0);
    (void)unlinkat(place->dirfd, place->before, 0);
    return rc < 0 ? cli_fail("%s cannot be brought back: %s; %s/%s is the old one", place->path,
                             g_strerror(-rc), place->folder, place->before)
                  : CLI_OK;
}

static int
with_place(struct cli *cli, int argc, char **argv, const char *summary,
           int (*work)(const struct place *place, const struct hashes *hashes))
{
    struct place place = {.dirfd = -1};
    struct hashes hashes = {0};
    int rc = CLI_ERROR;
    if (hashes_parse(cli, &hashes, summary, &argc, &argv) && place_open(cli, &place) == CLI_OK) {
        rc = work(&place, &hashes);
    }
    place_clear(&place);
    g_free(hashes.staged);
    g_free(hashes.current);
    return rc;
}

static int
commit(struct cli *cli, int argc, char **argv)
{
    return with_place(cli, argc, argv, "Puts the staged configuration in place.", commit_now);
}

static int
rollback(struct cli *cli, int argc, char **argv)
{
    return with_place(cli, argc, argv, "Brings the old configuration back.", rollback_now);
}

/* What of Postern runs here. The cluster sees nothing of it when they read it again. */
static json_t *
tell_all(char **error_r)
{
    static const char *const programs[] = {"posternd", "postern-engine", "postern-update",
                                           "postern-share"};
    json_t *told = json_array();
    for (size_t i = 0; i < G_N_ELEMENTS(programs); i++) {
        g_autofree char *unit = g_strconcat(programs[i], ".service", NULL);
        const char *ask[] = {"systemctl", "is-active", unit, NULL};
        const char *tell[] = {"systemctl", "reload", unit, NULL};
        g_autofree char *inactive = NULL;
        g_autofree char *error = NULL;
        g_autofree char *active = program_output(ask, &inactive);
        g_autofree char *answer = active == NULL ? NULL : program_output(tell, &error);
        if (answer != NULL) {
            json_array_append_new(told, json_string(programs[i]));
        } else if (error != NULL && *error_r == NULL) {
            *error_r = g_steal_pointer(&error);
        }
    }
    return told;
}

static int
finish(struct cli *cli, int argc, char **argv)
{
    struct place place = {.dirfd = -1};
    g_autofree char *error = NULL;
    if (!cli_options(cli, NULL, "", "Forgets the old configuration; what runs reads the new one.",
                     &argc, &argv) ||
        place_open(cli, &place) != CLI_OK) {
        place_clear(&place);
        return CLI_ERROR;
    }
    (void)unlinkat(place.dirfd, place.before, 0);
    (void)unlinkat(place.dirfd, place.staged, 0);
    place_clear(&place);
    json_t *told = tell_all(&error);
    print(json_pack("{s:b, s:o, s:s?}", "reloaded", json_array_size(told) > 0, "programs", told,
                    "error", error));
    return error == NULL ? CLI_OK : CLI_FOUND;
}

int
cluster_node_config(struct cli *cli, int argc, char **argv)
{
    static const struct cli_command commands[] = {
        {"stage", "Take a configuration from stdin and check it", stage},
        {"commit", "Put the staged one in place", commit},
        {"rollback", "Bring the old one back", rollback},
        {"finish", "Forget the old one, tell what runs", finish},
    };
    return cli_dispatch(cli, commands, G_N_ELEMENTS(commands), argc, argv);
}
