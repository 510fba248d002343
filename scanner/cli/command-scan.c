/* SPDX-License-Identifier: GPL-2.0-only */
/* postern scan: files go to posternd as sealed memory, so that only this process reads them. */
#include "cli.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <jansson.h>

#include "ask.h"
#include "durable.h"
#include "scan-report.h"
#include "scan-walk.h"

#define CHUNK (256U * 1024U)
#define SEALS (F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)
/* Less than half of what posternd takes (control.h): others want to ask as well. */
#define JOBS_MAX 12
/* Results that wait for an earlier one. */
#define WINDOW 256
/* How long and how often memory is waited for that mail has in use. */
#define REFUSED_US 100000
#define REFUSALS_MAX 10

/* A connection, and the file that is asked about on it. */
struct job {
    struct ask ask;
    char *path;
    guint64 number;
    guint64 size;
    gint64 deadline;  /* monotonic microseconds */
    int memory;       /* sealed; -1 = the job is free */
    gboolean again;   /* asked a second time, on a new connection */
    guint refused;    /* so often posternd had no memory for it though no other job had any */
    gboolean waiting; /* posternd had no memory for it: to be asked when another has ended */
};

struct run {
    const struct settings *settings;
    struct scan_walk *walk;
    struct scan_report *report;
    struct job *jobs;
    guint n;
    guint busy;
    gboolean ended; /* no more files */
    gboolean lost;  /* posternd is gone */
};

static void
result(struct run *run, guint64 number, const char *path, enum verdict verdict, const char *reason,
       guint64 size, json_t *facts)
{
    struct scan_result made = {
        .path = g_strdup(path),
        .verdict = verdict,
        .reason = g_strdup(reason),
        .size = size,
        .facts = json_incref(facts),
    };
    scan_report_add(run->report, number, &made);
}

static void
job_end(struct run *run, struct job *job)
{
    close(job->memory);
    job->memory = -1;
    job->again = job->waiting = FALSE;
    job->refused = 0;
    g_clear_pointer(&job->path, g_free);
    run->busy--;
}

static void
job_result(struct run *run, struct job *job, enum verdict verdict, const char *reason,
           json_t *facts)
{
    result(run, job->number, job->path, verdict, reason, job->size, facts);
    job_end(run, job);
}

/* Returns the number of bytes, -EFBIG (longer than LIMIT), or -errno. */
static gint64
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
    return (gint64)size;
}

/* Returns a sealed memfd with what FD gives and its size, -EFBIG, or -errno. */
static int
sealed_copy(int fd, guint64 limit, guint64 *ret_size)
{
    int memory = memfd_create("postern-scan", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (memory < 0) {
        return -errno;
    }
    gint64 rc = copy_all(memory, fd, limit);
    if (rc >= 0) {
        *ret_size = (guint64)rc;
        rc = fcntl(memory, F_ADD_SEALS, SEALS) < 0 ? -errno : 0;
    }
    if (rc < 0) {
        close(memory);
        return (int)rc;
    }
    return memory;
}

/* With one retry a scan ends within twice its limit. */
static gint64
patience_us(const struct run *run)
{
    return (gint64)(2 * run->settings->scan_timeout + 30) * G_USEC_PER_SEC;
}

static int
job_ask(struct run *run, struct job *job, char **error_r)
{
    json_t *request = json_pack("{s:s}", "op", "scan");
    int rc = job->ask.sock >= 0
                 ? 0
                 : ask_open(&job->ask, "posternd", run->settings->control_socket, error_r);
    if (rc == 0) {
        rc = ask_send(&job->ask, request, job->memory, error_r);
    }
    json_decref(request);
    job->waiting = FALSE;
    job->deadline = g_get_monotonic_time() + patience_us(run);
    return rc;
}

static void
job_fail(struct run *run, struct job *job, const char *error)
{
    job_result(run, job, VERDICT_ERROR, error, NULL);
    ask_close(&job->ask);
    run->lost = TRUE;
}

static void
job_start(struct run *run, struct job *job)
{
    g_autofree char *error = NULL;
    if (job_ask(run, job, &error) < 0) {
        job_fail(run, job, error);
    }
}

/*
 * posternd closes a client that says nothing for long, as while a slow file is read; and it may
 * have been started anew. So a connection that has ended is opened again, once for a file.
 */
static void
job_repeat(struct run *run, struct job *job)
{
    ask_close(&job->ask);
    job->again = TRUE;
    job_start(run, job);
}

static void
job_judge(struct run *run, struct job *job, json_t *answer)
{
    const char *word = json_string_value(json_object_get(answer, "verdict"));
    const char *reason = json_string_value(json_object_get(answer, "reason"));
    enum verdict verdict;
    if (word == NULL || reason == NULL || !verdict_parse(word, &verdict)) {
        job_result(run, job, VERDICT_ERROR, "posternd gave an answer that is none", NULL);
    } else {
        job_result(run, job, verdict, reason, json_object_get(answer, "facts"));
    }
}

/* Those that found no memory ask again, now that one has ended. */
static void
waiting_start(struct run *run)
{
    for (guint i = 0; i < run->n; i++) {
        if (run->jobs[i].waiting) {
            job_start(run, &run->jobs[i]);
        }
    }
}

static guint
asking(const struct run *run)
{
    guint n = 0;
    for (guint i = 0; i < run->n; i++) {
        n += run->jobs[i].memory >= 0 && !run->jobs[i].waiting;
    }
    return n;
}

/* The memory is the mail's first; it is asked for again when another has ended, or for a second. */
static gboolean
job_postpone(struct run *run, struct job *job, const char *error)
{
    if (strstr(error, "spool_memory") == NULL || job->refused >= REFUSALS_MAX) {
        return FALSE;
    }
    if (asking(run) > 1) {
        job->waiting = TRUE;
        return TRUE;
    }
    job->refused++;
    g_usleep(REFUSED_US);
    job_start(run, job);
    return TRUE;
}

static void
job_answer(struct run *run, struct job *job)
{
    json_t *answer = NULL;
    g_autofree char *error = NULL;
    int rc = ask_receive(&job->ask, 0, &answer, NULL, &error);
    if (rc == 0) {
        job_judge(run, job, answer);
        waiting_start(run);
    } else if (rc == -EPIPE && !job->again) {
        job_repeat(run, job);
    } else if (rc == -EBADE) {
        if (!job_postpone(run, job, error)) {
            job_result(run, job, VERDICT_ERROR, error, NULL);
            waiting_start(run);
        }
    } else {
        job_fail(run, job, rc == -ETIMEDOUT ? "posternd did not answer in time" : error);
    }
    json_decref(answer);
}

/* Waits for one of the answers at least. */
static void
jobs_wait(struct run *run)
{
    struct pollfd waits[JOBS_MAX];
    struct job *jobs[JOBS_MAX];
    nfds_t n = 0;
    gint64 now = g_get_monotonic_time();
    gint64 until = G_MAXINT64;
    for (guint i = 0; i < run->n; i++) {
        struct job *job = &run->jobs[i];
        if (job->memory >= 0 && !job->waiting) {
            waits[n] = (struct pollfd){.fd = job->ask.sock, .events = POLLIN};
            jobs[n++] = job;
            until = MIN(until, job->deadline);
        }
    }
    int timeout_ms = until == G_MAXINT64 ? 0 : (int)CLAMP((until - now) / 1000 + 1, 0, G_MAXINT);
    if (poll(waits, n, timeout_ms) < 0) {
        return;
    }
    now = g_get_monotonic_time();
    for (nfds_t i = 0; i < n; i++) {
        if (waits[i].revents != 0 || jobs[i]->deadline <= now) {
            job_answer(run, jobs[i]);
        }
    }
}

static void
file_begin(struct run *run, struct job *job, struct scan_item *item, guint64 number)
{
    guint64 limit = run->settings->message_size;
    guint64 size = item->size;
    scan_report_progress(run->report, item->path);
    int memory = size > limit ? -EFBIG : sealed_copy(item->fd, limit, &size);
    if (memory == -EFBIG) {
        g_autofree char *why = g_strdup_printf(
            "limit: larger than message_size = %" G_GUINT64_FORMAT, run->settings->message_size);
        result(run, number, item->path, VERDICT_UNSCANNED, why, size, NULL);
    } else if (memory < 0) {
        result(run, number, item->path, VERDICT_ERROR, g_strerror(-memory), size, NULL);
    } else {
        job->memory = memory;
        job->path = g_steal_pointer(&item->path);
        job->number = number;
        job->size = size;
        run->busy++;
        job_start(run, job);
    }
}

static void
item_begin(struct run *run, struct job *job, struct scan_item *item)
{
    if (item->kind == SCAN_ITEM_NOTE) {
        scan_report_note(run->report, item->path, item->text);
        return;
    }
    guint64 number = scan_report_reserve(run->report);
    if (item->kind == SCAN_ITEM_FILE) {
        file_begin(run, job, item, number);
    } else if (item->kind == SCAN_ITEM_ERROR) {
        result(run, number, item->path, VERDICT_ERROR, item->text, 0, NULL);
    } else {
        struct scan_result skipped = {.path = g_steal_pointer(&item->path),
                                      .skipped = TRUE,
                                      .reason = g_steal_pointer(&item->text)};
        scan_report_add(run->report, number, &skipped);
    }
}

static struct job *
job_free_one(const struct run *run)
{
    for (guint i = 0; i < run->n; i++) {
        if (run->jobs[i].memory < 0) {
            return &run->jobs[i];
        }
    }
    return NULL;
}

/* Gives every free connection a file. */
static void
jobs_fill(struct run *run)
{
    struct job *job;
    struct scan_item item;
    while (!run->ended && !run->lost && scan_report_open(run->report) < WINDOW &&
           (job = job_free_one(run)) != NULL) {
        run->ended = !scan_walk_next(run->walk, &item);
        if (!run->ended) {
            item_begin(run, job, &item);
            scan_item_clear(&item);
        }
    }
}

static void
run_all(struct run *run)
{
    jobs_fill(run);
    while (run->busy > 0) {
        jobs_wait(run);
        jobs_fill(run);
    }
}

static guint
jobs_number(const struct run *run, int wished)
{
    int n = wished > 0 ? wished : (int)settings_workers(run->settings) + 1;
    return (guint)CLAMP(n, 1, JOBS_MAX);
}

static int
scan(struct run *run, const struct scan_report_options *options)
{
    g_autofree char *error = NULL;
    struct job jobs[JOBS_MAX];
    for (guint i = 0; i < run->n; i++) {
        jobs[i] = (struct job){.memory = -1, .ask.sock = -1};
    }
    if (ask_open(&jobs[0].ask, "posternd", run->settings->control_socket, &error) < 0) {
        return cli_fail("%s", error);
    }
    run->jobs = jobs;
    run->report = scan_report_new(options);
    run_all(run);
    for (guint i = 0; i < run->n; i++) {
        ask_close(&jobs[i].ask);
    }
    run->jobs = NULL;
    return scan_report_end(run->report, scan_walk_directories(run->walk), run->ended);
}

int
cli_scan(struct cli *cli, int argc, char **argv)
{
    struct run run = {.n = 0};
    struct scan_walk_options walk = {0};
    struct scan_report_options report = {0};
    g_auto(GStrv) exclude = NULL;
    gboolean recursive;
    int wished = 0;
    const GOptionEntry entries[] = {
        {"infected", 'i', 0, G_OPTION_ARG_NONE, &report.found_only, "Print only what is not clean",
         NULL},
        {"exclude", 0, 0, G_OPTION_ARG_FILENAME_ARRAY, &exclude,
         "Pass over paths or names that match this shell pattern", "PATTERN"},
        {"one-file-system", 'x', 0, G_OPTION_ARG_NONE, &walk.same_device,
         "Do not enter other file systems", NULL},
        {"jobs", 'j', 0, G_OPTION_ARG_INT, &wished, "Scan so many files at once (1 to 12)", "N"},
        {"no-summary", 0, 0, G_OPTION_ARG_NONE, &report.no_summary, "Do not print the sums", NULL},
        {"recursive", 'r', G_OPTION_FLAG_HIDDEN, G_OPTION_ARG_NONE, &recursive, NULL, NULL},
        {NULL, 0, 0, G_OPTION_ARG_NONE, NULL, NULL, NULL},
    };
    if (!cli_options(cli, entries, "FILE|DIR...",
                     "Scans files with the signatures of this node; "
                     "- is the standard input.",
                     &argc, &argv)) {
        return CLI_ERROR;
    }
    run.settings = argc < 2 ? NULL : cli_settings(cli);
    if (run.settings == NULL) {
        return argc < 2 ? cli_fail("scan needs a file or a directory") : CLI_ERROR;
    }
    walk.exclude = exclude;
    report.json = cli->json;
    run.n = jobs_number(&run, wished);
    run.walk = scan_walk_new(argv + 1, &walk);
    int rc = scan(&run, &report);
    scan_walk_free(run.walk);
    return rc;
}
