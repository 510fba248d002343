/* SPDX-License-Identifier: GPL-2.0-only */
/* postern quarantine export */
#include "quarantine-commands.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <jansson.h>

#include "durable.h"
#include "text.h"

struct export
{
    struct cli *cli;
    char *dir;
    char *output;
    gboolean with_header;
    gboolean force;
    struct durable_file file; /* with FORCE: replaces an older one when it is whole */
};

/* Copies FD from its position on. Returns 0 or -errno. */
static int
rest_copy(int from, int to)
{
    char buffer[65536];
    ssize_t n;
    while ((n = read(from, buffer, sizeof buffer)) > 0) {
        int rc = durable_write_all(to, buffer, (size_t)n);
        if (rc < 0) {
            return rc;
        }
    }
    return n < 0 ? -errno : 0;
}

/* Leaves the position behind the first line, which is ours. Returns 0, -EBADMSG or -errno. */
static int
first_line_skip(int fd)
{
    char buffer[4096];
    off_t at = 0;
    ssize_t n;
    while ((n = pread(fd, buffer, sizeof buffer, at)) > 0) {
        const char *end = memchr(buffer, '\n', (size_t)n);
        if (end != NULL) {
            return lseek(fd, at + (end - buffer) + 1, SEEK_SET) < 0 ? -errno : 0;
        }
        at += n;
    }
    return n < 0 ? -errno : -EBADMSG;
}

static int
content_copy(const struct export *e, int from, int to)
{
    int rc = e->with_header ? 0 : first_line_skip(from);
    return rc < 0 ? rc : rest_copy(from, to);
}

/* What is there is never touched. */
static int
file_make(const struct export *e, int dirfd, const char *name, int from)
{
    int to = openat(dirfd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (to < 0) {
        return -errno;
    }
    int rc = content_copy(e, from, to);
    if (rc == 0 && fsync(to) < 0) {
        rc = -errno;
    }
    if (close(to) < 0 && rc == 0) {
        rc = -errno;
    }
    if (rc < 0) {
        (void)unlinkat(dirfd, name, 0);
    }
    return rc;
}

static int
file_replace(struct export *e, int dirfd, const char *name, int from)
{
    int rc = durable_begin(&e->file, dirfd, 0600);
    if (rc < 0) {
        return rc;
    }
    rc = content_copy(e, from, e->file.fd);
    if (rc < 0) {
        durable_abort(&e->file);
        return rc;
    }
    return durable_commit(&e->file, name);
}

static int
file_write(struct export *e, const char *path, int from)
{
    g_autofree char *dir = g_path_get_dirname(path);
    g_autofree char *name = g_path_get_basename(path);
    int dirfd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dirfd < 0) {
        return cli_fail("%s: %s", dir, g_strerror(errno));
    }
    int rc = e->force ? file_replace(e, dirfd, name, from) : file_make(e, dirfd, name, from);
    close(dirfd);
    if (rc == -EEXIST) {
        return cli_fail("%s is there already; --force replaces it", path);
    }
    if (rc < 0) {
        return cli_fail("%s: %s", path,
                        rc == -EBADMSG ? "the kept file is damaged" : g_strerror(-rc));
    }
    puts(path);
    return CLI_OK;
}

static int
stdout_write(const struct export *e, int from)
{
    int rc = content_copy(e, from, STDOUT_FILENO);
    return rc < 0 ? cli_fail("the message could not be written: %s", g_strerror(-rc)) : CLI_OK;
}

/* Where the entry of ANSWER goes to; NULL = the standard output. Freed by g_free(). */
static char *
path_of(const struct export *e, const json_t *answer)
{
    const json_t *meta = json_object_get(answer, "meta");
    const char *key = json_string_value(json_object_get(meta, "key"));
    if (e->dir == NULL) {
        return g_strdup(e->output);
    }
    g_autofree char *safe = text_escape(key, 64);
    g_strdelimit(safe, "/", '_');
    g_autofree char *name = g_strconcat(safe, ".eml", NULL);
    return g_build_filename(e->dir, name, NULL);
}

static int
export_one(struct export *e, const char *key)
{
    int fd = -1;
    json_t *answer = quarantine_ask(e->cli, key, &fd);
    if (answer == NULL) {
        return CLI_ERROR;
    }
    g_autofree char *path = path_of(e, answer);
    json_decref(answer);
    if (fd < 0) {
        return cli_fail("posternd did not hand out the file");
    }
    int rc = path == NULL ? stdout_write(e, fd) : file_write(e, path, fd);
    close(fd);
    return rc;
}

static int
export_run(struct export *e, int argc, char **argv)
{
    if (argc < 2) {
        return cli_fail("quarantine export needs keys; `postern quarantine list` has them");
    }
    if (e->dir != NULL && e->output != NULL) {
        return cli_fail("--into and --output exclude each other");
    }
    if (argc > 2 && e->dir == NULL) {
        return cli_fail("several messages need a directory: --into DIR");
    }
    if (e->dir == NULL && e->output == NULL && isatty(STDOUT_FILENO)) {
        return cli_fail("the message may harm a terminal; write it to a file: --output FILE");
    }
    int rc = CLI_OK;
    for (int i = 1; i < argc; i++) {
        int one = export_one(e, argv[i]);
        rc = MAX(rc, one);
    }
    return rc;
}

int
cli_quarantine_export(struct cli *cli, int argc, char **argv)
{
    struct export e = {.cli = cli};
    const GOptionEntry entries[] = {
        {"into", 0, 0, G_OPTION_ARG_FILENAME, &e.dir, "Write DIR/KEY.eml for each", "DIR"},
        {"output", 'o', 0, G_OPTION_ARG_FILENAME, &e.output, "Write to FILE", "FILE"},
        {"with-header", 0, 0, G_OPTION_ARG_NONE, &e.with_header,
         "With Postern's own first line, as it is kept", NULL},
        {"force", 0, 0, G_OPTION_ARG_NONE, &e.force, "Replace files that are there", NULL},
        {NULL, 0, 0, G_OPTION_ARG_NONE, NULL, NULL, NULL},
    };
    int rc = CLI_ERROR;
    if (cli_options(cli, entries, "KEY...", "Writes kept messages byte for byte.", &argc, &argv)) {
        rc = export_run(&e, argc, argv);
    }
    g_free(e.dir);
    g_free(e.output);
    return rc;
}
