/* SPDX-License-Identifier: GPL-2.0-only */
/* postern scan: files go to posternd as sealed memory, so that only this process reads them. */
#include "cli.h"

#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <jansson.h>

#include "ask.h"
#include "durable.h"
#include "facts.h"
#include "terminal.h"
#include "text.h"

#define CHUNK (256U * 1024U)
#define SEALS (F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

struct run {
    const struct settings *settings;
    struct ask ask;
    gboolean json;
    gboolean progress;
    guint counts[VERDICT_ERROR + 1];
    guint files;
    gboolean lost; /* posternd is gone */
};

static void
progress_show(const struct run *run, const char *path)
{
    if (run->progress) {
        g_autofree char *shown = text_escape(path, 60);
        fprintf(stderr, "\r\033[K%u done, scanning %s", run->files, shown);
    }
}

static void
progress_clear(const struct run *run)
{
    if (run->progress) {
        fputs("\r\033[K", stderr);
    }
}

static void
result_text(const char *path, enum verdict verdict, const char *reason)
{
    static const enum colour colours[] = {[VERDICT_CLEAN] = COLOUR_GOOD,
                                          [VERDICT_INFECTED] = COLOUR_BAD,
                                          [VERDICT_UNSCANNED] = COLOUR_BAD,
                                          [VERDICT_ERROR] = COLOUR_DOUBT};
    g_autofree char *shown = text_escape(path, 4096);
    g_autofree char *why = text_escape(reason, 500);
    g_autofree char *word = terminal_colour(colours[verdict], verdict_name(verdict));
    if (verdict == VERDICT_CLEAN) {
        printf("%s: %s\n", shown, word);
    } else {
        printf("%s: %s (%s)\n", shown, word, why);
    }
}

static void
result_json(const struct run *run, const char *path, enum verdict verdict, const char *reason,
            json_t *facts)
{
    g_autofree char *valid = g_utf8_make_valid(path, -1);
    json_t *object = json_pack("{s:s, s:s, s:s, s:O?}", "path", valid, "verdict",
                               verdict_name(verdict), "reason", reason, "facts", facts);
    fputs(run->files > 1 ? ",\n" : "[\n", stdout);
    json_dumpf(object, stdout, JSON_COMPACT);
    json_decref(object);
}

static void
result(struct run *run, const char *path, enum verdict verdict, const char *reason, json_t *facts)
{
    run->files++;
    run->counts[verdict]++;
    progress_clear(run);
    if (run->json) {
        result_json(run, path, verdict, reason, facts);
    } else {
        result_text(path, verdict, reason);
        fflush(stdout);
    }
}

G_GNUC_PRINTF(3, 4)
static void
result_error(struct run *run, const char *path, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    g_autofree char *text = g_strdup_vprintf(format, args);
    va_end(args);
    result(run, path, VERDICT_ERROR, text, NULL);
}

/* Returns 0, -EFBIG (longer than LIMIT), or -errno. */
static int
copy_all(int to, int from, guint64 limit)
{
    g_autofree char *buffer = g_malloc(CHUNK);
    guint64 size = 0;
    ssize_t n;
    while ((n = read(from, buffer, CHUNK)) != 0) {
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return -errno;
        }
        size += (guint64)n;
        if (size > limit) {
            return -EFBIG;
        }
        int rc = durable_write_all(to, buffer, (size_t)n);
        if (rc < 0) {
            return rc;
        }
    }
    return 0;
}

/* Returns a sealed memfd with what FD gives, -EFBIG, or -errno. */
static int
sealed_copy(int fd, guint64 limit)
{
    int memory = memfd_create("postern-scan", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (memory < 0) {
        return -errno;
    }
    int rc = copy_all(memory, fd, limit);
    if (rc == 0 && fcntl(memory, F_ADD_SEALS, SEALS) < 0) {
        rc = -errno;
    }
    if (rc < 0) {
        close(memory);
        return rc;
    }
    return memory;
}

static void
answer_judge(struct run *run, const char *path, json_t *answer)
{
    const char *word = json_string_value(json_object_get(answer, "verdict"));
    const char *reason = json_string_value(json_object_get(answer, "reason"));
    enum verdict verdict;
    if (word == NULL || reason == NULL || !verdict_parse(word, &verdict)) {
        result_error(run, path, "posternd gave an answer that is none");
    } else {
        result(run, path, verdict, reason, json_object_get(answer, "facts"));
    }
}

/*
 * posternd closes a client that says nothing for long, as while a slow file is read; and it may
 * have been started anew. So a connection that has ended is opened again, once for a file.
 */
static int
scan_ask(struct run *run, int memory, json_t **ret_answer, char **error_r)
{
    json_t *request = json_pack("{s:s}", "op", "scan");
    /* With one retry a scan ends within twice its limit. */
    int timeout_ms = (int)(2 * run->settings->scan_timeout + 30) * 1000;
    int rc = ask_call(&run->ask, request, memory, timeout_ms, ret_answer, NULL, error_r);
    if (rc == -EPIPE) {
        ask_close(&run->ask);
        g_clear_pointer(error_r, g_free);
        rc = ask_open(&run->ask, "posternd", run->settings->control_socket, error_r);
        if (rc == 0) {
            rc = ask_call(&run->ask, request, memory, timeout_ms, ret_answer, NULL, error_r);
        }
    }
    json_decref(request);
    return rc;
}

static void
scan_memory(struct run *run, const char *path, int memory)
{
    json_t *answer = NULL;
    g_autofree char *error = NULL;
    int rc = scan_ask(run, memory, &answer, &error);
    if (rc == 0) {
        answer_judge(run, path, answer);
    } else {
        result_error(run, path, "%s", error);
        run->lost = rc != -EBADE;
    }
    json_decref(answer);
}

static void
scan_fd(struct run *run, const char *path, int fd)
{
    progress_show(run, path);
    int memory = sealed_copy(fd, run->settings->message_size);
    if (memory == -EFBIG) {
        result(run, path, VERDICT_UNSCANNED, "limit: larger than message_size", NULL);
    } else if (memory < 0) {
        result_error(run, path, "%s", g_strerror(-memory));
    } else {
        scan_memory(run, path, memory);
        close(memory);
    }
}

static void
scan_file(struct run *run, const char *path, const char *access_path)
{
    struct stat st;
    int fd = open(access_path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0) {
        result_error(run, path, "%s", g_strerror(errno));
        return;
    }
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
        result_error(run, path, "not a regular file");
    } else {
        scan_fd(run, path, fd);
    }
    close(fd);
}

/* Sockets, devices and links inside a directory are no files to scan; named ones are an error. */
static void
scan_entry(struct run *run, const FTSENT *entry)
{
    switch (entry->fts_info) {
    case FTS_F:
        scan_file(run, entry->fts_path, entry->fts_accpath);
        break;
    case FTS_DNR:
    case FTS_ERR:
    case FTS_NS:
        result_error(run, entry->fts_path, "%s", g_strerror(entry->fts_errno));
        break;
    case FTS_DEFAULT:
    case FTS_SL:
    case FTS_SLNONE:
        if (entry->fts_level == FTS_ROOTLEVEL) {
            result_error(run, entry->fts_path, "not a regular file");
        }
        break;
    default:
        break;
    }
}

static int
by_name(const FTSENT **a, const FTSENT **b)
{
    return strcmp((*a)->fts_name, (*b)->fts_name);
}

static void
scan_tree(struct run *run, char *path)
{
    char *const roots[] = {path, NULL};
    FTS *fts = fts_open(roots, FTS_PHYSICAL | FTS_COMFOLLOW | FTS_NOCHDIR, by_name);
    const FTSENT *entry;
    if (fts == NULL) {
        result_error(run, path, "%s", g_strerror(errno));
        return;
    }
    while (!run->lost && (entry = fts_read(fts)) != NULL) {
        scan_entry(run, entry);
    }
    fts_close(fts);
}

static void
summary(const struct run *run)
{
    if (run->json) {
        puts(run->files > 0 ? "\n]" : "[]");
        return;
    }
    printf("\n%u scanned: %u clean, %u infected, %u not fully scanned, %u error(s)\n", run->files,
           run->counts[VERDICT_CLEAN], run->counts[VERDICT_INFECTED],
           run->counts[VERDICT_UNSCANNED], run->counts[VERDICT_ERROR]);
}

/* What was found is certain, so it outweighs an error; 0 only if all are clean. */
static int
exit_of(const struct run *run)
{
    if (run->counts[VERDICT_INFECTED] + run->counts[VERDICT_UNSCANNED] > 0) {
        return CLI_FOUND;
    }
    return run->counts[VERDICT_ERROR] > 0 || run->lost ? CLI_ERROR : CLI_OK;
}

int
cli_scan(struct cli *cli, int argc, char **argv)
{
    g_autofree char *error = NULL;
    struct run run = {.json = FALSE};
    if (!cli_options(cli, NULL, "FILE|DIR...",
                     "Scans files with the signatures of this node; "
                     "- is the standard input.",
                     &argc, &argv)) {
        return CLI_ERROR;
    }
    if (argc < 2) {
        return cli_fail("scan needs a file or a directory");
    }
    run.settings = cli_settings(cli);
    if (run.settings == NULL) {
        return CLI_ERROR;
    }
    if (ask_open(&run.ask, "posternd", run.settings->control_socket, &error) < 0) {
        return cli_fail("%s", error);
    }
    run.json = cli->json;
    run.progress = isatty(STDERR_FILENO);
    for (int i = 1; i < argc && !run.lost; i++) {
        if (strcmp(argv[i], "-") == 0) {
            scan_fd(&run, "stdin", STDIN_FILENO);
        } else {
            scan_tree(&run, argv[i]);
        }
    }
    summary(&run);
    ask_close(&run.ask);
    return exit_of(&run);
}
