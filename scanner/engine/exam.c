/* SPDX-License-Identifier: GPL-2.0-only */
#include "config.h"
#include "exam.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "facts.h"
#include "packet.h"
#include "text.h"
#include "worker.h"

#define TEXT_SHOWN 300
/* How often the processor time is looked at while nothing is said. */
#define LOOK_MS 100
/* Above those of the engine's own, which may hear of the last one's end. */
#define FIRST_NUMBER (1ULL << 41)
/* For what takes no processor time to speak of: a fork, a first word, a death. */
#define SMALL_US (20ULL * G_USEC_PER_SEC)

void
exam_init(struct exam *exam, const struct launched *zygote, const struct exam_limits *limits)
{
    *exam = (struct exam){.zygote = zygote,
                          .limits = limits,
                          .worker = {.channel = -1, .pidfd = -1, .number = FIRST_NUMBER}};
}

/* Without its channel it ends by itself. */
static void
forget_worker(struct exam *exam)
{
    if (exam->worker.channel >= 0) {
        close(exam->worker.channel);
        exam->worker.channel = -1;
    }
    if (exam->worker.pidfd >= 0) {
        close(exam->worker.pidfd);
        exam->worker.pidfd = -1;
    }
    exam->worker.pid = 0;
}

void
exam_clear(struct exam *exam)
{
    forget_worker(exam);
    json_decref(g_steal_pointer(&exam->said));
    g_clear_pointer(&exam->reason, g_free);
}

G_GNUC_PRINTF(3, 4)
static enum exam_result
finish(struct exam *exam, enum exam_result result, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    g_free(exam->reason);
    exam->reason = g_strdup_vprintf(format, args);
    va_end(args);
    return result;
}

/* Processor time that the process PID has taken, all its threads together, microseconds. */
static guint64
processor_us(pid_t pid)
{
    clockid_t clock;
    struct timespec spent;
    if (pid <= 0 || clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &spent) < 0) {
        return 0;
    }
    return (guint64)spent.tv_sec * G_USEC_PER_SEC + (guint64)spent.tv_nsec / 1000;
}

static void
kill_process(int pidfd)
{
    (void)syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0);
}

/* The number that a process has here; the zygote knows it by another. */
static pid_t
pid_of(int pidfd)
{
    g_autofree char *path = g_strdup_printf("/proc/self/fdinfo/%d", pidfd);
    g_autofree char *text = NULL;
    const char *field =
        g_file_get_contents(path, &text, NULL, NULL) ? strstr(text, "\nPid:") : NULL;
    long pid = field != NULL ? strtol(field + strlen("\nPid:"), NULL, 10) : 0;
    return pid > 0 ? (pid_t)pid : 0;
}

enum heard {
    HEARD_PACKET,
    HEARD_END,  /* end of file, or what is no packet */
    HEARD_BUSY, /* the processor time is used up */
    HEARD_LATE, /* the clock ran out */
};

/*
 * The next packet from SOCK, for which PID may take until its processor time is MOST. What else
 * the zygote says meanwhile stays in its socket.
 */
static enum heard
hear(const struct exam *exam, int sock, pid_t pid, guint64 most, json_t **ret, int *fd)
{
    for (;;) {
        struct pollfd poll_fd = {.fd = sock, .events = POLLIN};
        int n = poll(&poll_fd, 1, LOOK_MS);
        if (n > 0) {
            return packet_receive(sock, ret, fd) == 1 ? HEARD_PACKET : HEARD_END;
        }
        if (n < 0 && errno != EINTR) {
            return HEARD_END;
        }
        if (processor_us(pid) > most) {
            return HEARD_BUSY;
        }
        if (g_get_monotonic_time() >= exam->limits->end_us) {
            return HEARD_LATE;
        }
    }
}

/* Deaths */

/*
 * Whether the kernel killed for memory: 0 no, 1 for the limit, 2 because the node has none. The
 * group's counters are what tells; a signal 9 alone may be anybody's.
 */
static int
killed_for_memory(const struct exam *exam)
{
    guint64 own = 0;
    if (exam->memory_kills == NULL) {
        return 0;
    }
    guint64 kills = exam->memory_kills(&own, exam->data);
    return kills == exam->kills ? 0 : own > exam->kills_own ? 1 : 2;
}

static enum exam_result
out_of_memory(struct exam *exam, int how, const char *who)
{
    exam->of_memory = true;
    return how == 1 ? finish(exam, EXAM_FAILED, "%s takes more memory than the limit", who)
                    : finish(exam, EXAM_UNABLE, "%s was ended: this node has no memory left", who);
}

/* STATUS as from wait(). */
static enum exam_result
died(struct exam *exam, int status, const char *who)
{
    int memory = killed_for_memory(exam);
    if (memory != 0) {
        return out_of_memory(exam, memory, who);
    }
    if (!WIFSIGNALED(status)) {
        return finish(exam, EXAM_INTERRUPTED, "%s ended with exit %d", who, WEXITSTATUS(status));
    }
    return WTERMSIG(status) == SIGKILL || WTERMSIG(status) == SIGTERM
               ? finish(exam, EXAM_INTERRUPTED, "%s was killed", who)
               : finish(exam, EXAM_FAILED, "%s crashes (signal %d)", who, WTERMSIG(status));
}

/* The zygote's channel is at its end. */
static enum exam_result
zygote_died(struct exam *exam, const char *who)
{
    siginfo_t info = {.si_pid = 0};
    kill_process(exam->zygote->pidfd);
    if (waitid(P_PIDFD, (id_t)exam->zygote->pidfd, &info, WEXITED | WNOWAIT) < 0) {
        return finish(exam, EXAM_UNABLE, "%s cannot be waited for: %s", who, g_strerror(errno));
    }
    return died(exam, info.si_code == CLD_EXITED ? info.si_status << 8 : info.si_status, who);
}

/* What HEARD (not a packet) means; WHO did not come to an end with WHAT. */
static enum exam_result
not_heard(struct exam *exam, enum heard heard, int pidfd, guint64 limit_us, const char *who,
          const char *what)
{
    kill_process(pidfd);
    return heard == HEARD_BUSY
               ? finish(exam, EXAM_FAILED, "%s %s within %" G_GUINT64_FORMAT " s of processor time",
                        who, what, limit_us / G_USEC_PER_SEC)
               : finish(exam, EXAM_INTERRUPTED, "%s %s before the time for the trial was over", who,
                        what);
}

/* Loading */

#define LOADER "loading"

static enum exam_result
load_failed(struct exam *exam, const json_t *packet)
{
    const char *error = json_string_value(json_object_get(packet, "error"));
    g_autofree char *safe = text_escape(error, TEXT_SHOWN);
    /* As libclamav says it (CL_EMEM) when malloc() fails: a limit of address space does that. */
    exam->of_memory = strstr(safe, "allocate memory") != NULL;
    return finish(exam,
                  json_is_true(json_object_get(packet, "loading")) ? EXAM_FAILED : EXAM_UNABLE,
                  "%s", safe);
}

static enum exam_result
loaded(struct exam *exam, json_t *packet)
{
    json_int_t signatures;
    json_int_t memory;
    if (json_unpack(packet, "{s:I, s:I}", "signatures", &signatures, "memory", &memory) < 0 ||
        signatures < 0 || memory < 0) {
        return finish(exam, EXAM_UNABLE, "the zygote does not say what it has loaded");
    }
    exam->measured = (struct record_trial){
        .signatures = (guint64)signatures,
        .memory = (guint64)memory,
        .load_us = processor_us(exam->zygote->pid),
    };
    exam->said = json_incref(packet);
    return EXAM_PASSED;
}

enum exam_result
exam_load(struct exam *exam)
{
    json_auto_t *packet = NULL;
    if (exam->memory_kills != NULL) {
        exam->kills = exam->memory_kills(&exam->kills_own, exam->data);
    }
    enum heard heard =
        hear(exam, exam->zygote->channel, exam->zygote->pid, exam->limits->load_us, &packet, NULL);
    if (heard == HEARD_END) {
        return zygote_died(exam, LOADER);
    }
    if (heard != HEARD_PACKET) {
        return not_heard(exam, heard, exam->zygote->pidfd, exam->limits->load_us, LOADER,
                         "does not come to its end");
    }
    const char *event = json_string_value(json_object_get(packet, "event"));
    if (g_strcmp0(event, "failed") == 0) {
        return load_failed(exam, packet);
    }
    return g_strcmp0(event, "loaded") == 0
               ? loaded(exam, packet)
               : finish(exam, EXAM_UNABLE,
                        "the zygote says something else than that it has loaded");
}

/* Workers */

/* The zygote's report of that kind about the worker there is, whatever it says of others before. */
static enum exam_result
zygote_says(struct exam *exam, const char *kind, json_t **ret, int *fd)
{
    guint64 most = processor_us(exam->zygote->pid) + SMALL_US;
    for (;;) {
        json_auto_t *packet = NULL;
        int got = -1;
        enum heard heard =
            hear(exam, exam->zygote->channel, exam->zygote->pid, most, &packet, &got);
        if (heard == HEARD_END) {
            return zygote_died(exam, "what forks the scanning processes");
        }
        if (heard != HEARD_PACKET) {
            return not_heard(exam, heard, exam->zygote->pidfd, SMALL_US, "the loaded set",
                             "does not fork scanning processes");
        }
        const char *event = json_string_value(json_object_get(packet, "event"));
        json_int_t number = json_integer_value(json_object_get(packet, "worker"));
        if (g_strcmp0(event, kind) == 0 && (guint64)number == exam->worker.number) {
            *ret = g_steal_pointer(&packet);
            *fd = got;
            return EXAM_PASSED;
        }
        if (got >= 0) {
            close(got);
        }
        if (g_strcmp0(event, "exited") == 0 && (guint64)number == exam->worker.number) {
            return finish(exam, EXAM_UNABLE, "no scanning process could be forked");
        }
    }
}

/* How the worker ended, which it is about to, as wait() tells. */
static enum exam_result
worker_status(struct exam *exam, int *status)
{
    json_auto_t *packet = NULL;
    int fd = -1;
    enum exam_result result = zygote_says(exam, "exited", &packet, &fd);
    if (fd >= 0) {
        close(fd);
    }
    if (result == EXAM_PASSED && json_unpack(packet, "{s:i}", "status", status) < 0) {
        result = finish(exam, EXAM_UNABLE, "the zygote does not say how a scanning process ended");
    }
    return result;
}

/* The worker's channel is at its end: why, while it did WHAT. */
static enum exam_result
worker_died(struct exam *exam, const char *what)
{
    int status = 0;
    g_autofree char *who = g_strdup_printf("a scanning process %s", what);
    kill_process(exam->worker.pidfd);
    enum exam_result result = worker_status(exam, &status);
    return result == EXAM_PASSED ? died(exam, status, who) : result;
}

static enum exam_result
fork_worker(struct exam *exam)
{
    int pair[2];
    json_auto_t *answer = NULL;
    int rc = packet_pair(pair);
    if (rc < 0) {
        return finish(exam, EXAM_UNABLE, "no socket pair: %s", g_strerror(-rc));
    }
    exam->worker.channel = pair[0];
    exam->worker.number++;
    json_auto_t *request = json_pack("{s:s, s:I, s:i}", "op", "fork", "worker",
                                     (json_int_t)exam->worker.number, "slot", (int)exam->slot);
    rc = packet_send(exam->zygote->channel, request, pair[1]);
    close(pair[1]);
    if (rc < 0) {
        return zygote_died(exam, "what forks the scanning processes");
    }
    enum exam_result result = zygote_says(exam, "forked", &answer, &exam->worker.pidfd);
    if (result != EXAM_PASSED) {
        return result;
    }
    exam->worker.pid = pid_of(exam->worker.pidfd);
    rc = exam->place != NULL ? exam->place(exam->worker.pidfd, exam->data) : 0;
    if (rc < 0 && rc != -ESRCH) {
        kill_process(exam->worker.pidfd);
        return finish(exam, EXAM_UNABLE, "a scanning process has no control group: %s",
                      g_strerror(-rc));
    }
    return EXAM_PASSED;
}

/* Its first words: it has found EICAR in a ZIP, or says why not. */
static enum exam_result
first_words(struct exam *exam)
{
    json_auto_t *packet = NULL;
    int ready = 0;
    const char *error = "does not say why";
    enum heard heard =
        hear(exam, exam->worker.channel, exam->worker.pid, exam->limits->sample_us, &packet, NULL);
    if (heard == HEARD_END) {
        return worker_died(exam, "that looks for EICAR");
    }
    if (heard != HEARD_PACKET) {
        return not_heard(exam, heard, exam->worker.pidfd, exam->limits->sample_us,
                         "the scan of EICAR in a ZIP", "does not come to its end");
    }
    if (json_unpack(packet, "{s:b, s?s}", "ready", &ready, "error", &error) == 0 && ready) {
        return EXAM_PASSED;
    }
    int status = 0;
    g_autofree char *safe = text_escape(error, TEXT_SHOWN);
    enum exam_result result = worker_status(exam, &status);
    if (result != EXAM_PASSED) {
        return result;
    }
    bool canary = WIFEXITED(status) && WEXITSTATUS(status) == WORKER_EXIT_CANARY;
    return finish(exam, canary ? EXAM_FAILED : EXAM_UNABLE, "%s", safe);
}

/* Scanning */

/* What is wrong with FACTS for SAMPLE; NULL: nothing. */
static char *
wrong_with(const struct sample *sample, const struct facts *facts)
{
    enum verdict verdict = facts_verdict(facts);
    g_autofree char *name = text_escape(sample->name, TEXT_SHOWN);
    if (sample->infected) {
        return verdict == VERDICT_INFECTED ? NULL : g_strdup_printf("%s is not found", name);
    }
    if (verdict == VERDICT_INFECTED) {
        g_autofree char *found = text_escape(g_ptr_array_index(facts->detections, 0), TEXT_SHOWN);
        return g_strdup_printf("%s, which is clean, is called %s", name, found);
    }
    if (verdict == VERDICT_CLEAN || !sample->shipped) {
        /* Others' files may well be encrypted, or larger than a limit. */
        return NULL;
    }
    const struct unscanned *unscanned =
        facts->unscanned->len > 0 ? g_ptr_array_index(facts->unscanned, 0) : NULL;
    g_autofree char *detail =
        text_escape(facts->faults->len > 0 ? g_ptr_array_index(facts->faults, 0)
                    : unscanned != NULL    ? unscanned->detail
                                           : "the scan did not reach its end",
                    TEXT_SHOWN);
    return g_strdup_printf("%s is not scanned whole: %s", name, detail);
}

static enum exam_result
judge(struct exam *exam, const struct sample *sample, json_t *packet)
{
    g_autoptr(facts_t) facts = facts_from_json(json_object_get(packet, "facts"));
    if (facts == NULL) {
        return finish(exam, EXAM_FAILED, "a scanning process answers with what are no facts");
    }
    g_autofree char *wrong = wrong_with(sample, facts);
    if (json_is_true(json_object_get(packet, "retire"))) {
        forget_worker(exam);
    }
    return wrong == NULL ? EXAM_PASSED : finish(exam, EXAM_FAILED, "%s", wrong);
}

static enum exam_result
scan_fd(struct exam *exam, const struct sample *sample, int fd)
{
    json_auto_t *request = json_pack("{s:s, s:i}", "op", "scan", "id", 1);
    json_auto_t *packet = NULL;
    g_autofree char *name = text_escape(sample->name, TEXT_SHOWN);
    g_autofree char *what = g_strdup_printf("that scans %s", name);
    guint64 before = processor_us(exam->worker.pid);
    if (packet_send(exam->worker.channel, request, fd) < 0) {
        return worker_died(exam, what);
    }
    enum heard heard = hear(exam, exam->worker.channel, exam->worker.pid,
                            before + exam->limits->sample_us, &packet, NULL);
    if (heard == HEARD_END) {
        return worker_died(exam, what);
    }
    if (heard != HEARD_PACKET) {
        g_autofree char *who = g_strdup_printf("the scan of %s", name);
        return not_heard(exam, heard, exam->worker.pidfd, exam->limits->sample_us, who,
                         "does not come to its end");
    }
    /* One that retired may be gone already: then it is not known. */
    guint64 after = processor_us(exam->worker.pid);
    guint64 spent = after > before ? after - before : 0;
    if (spent > exam->limits->sample_us) {
        return finish(exam, EXAM_FAILED, "the scan of %s takes %.1f s of processor time", name,
                      (double)spent / G_USEC_PER_SEC);
    }
    if (sample->shipped && !sample->infected) {
        exam->measured.scan_us += spent;
    }
    return judge(exam, sample, packet);
}

static enum exam_result
scan_one(struct exam *exam, const struct sample *sample)
{
    int fd = sample_memfd(sample, exam->limits->size);
    if (fd == -EFBIG || (fd == -ENOENT && sample->path != NULL)) {
        /* Too large for a mail, or gone meanwhile: what is left is tried. */
        return EXAM_PASSED;
    }
    if (fd < 0) {
        g_autofree char *name = text_escape(sample->name, TEXT_SHOWN);
        return finish(exam, EXAM_UNABLE, "the sample %s: %s", name, g_strerror(-fd));
    }
    enum exam_result result = EXAM_PASSED;
    if (exam->worker.channel < 0) {
        result = fork_worker(exam);
        result = result == EXAM_PASSED ? first_words(exam) : result;
    }
    if (result == EXAM_PASSED) {
        result = scan_fd(exam, sample, fd);
    }
    close(fd);
    return result;
}

bool
exam_outlive(struct exam *exam)
{
    json_auto_t *request = json_pack("{s:s}", "op", "outlive");
    guint64 most = processor_us(exam->zygote->pid) + SMALL_US;
    bool is_alive = false;
    forget_worker(exam);
    if (packet_send(exam->zygote->channel, request, -1) < 0) {
        return false;
    }
    while (!is_alive) {
        json_auto_t *packet = NULL;
        if (hear(exam, exam->zygote->channel, exam->zygote->pid, most, &packet, NULL) !=
            HEARD_PACKET) {
            return false;
        }
        is_alive = g_strcmp0(json_string_value(json_object_get(packet, "event")), "alive") == 0;
    }
    return true;
}

enum exam_result
exam_scan(struct exam *exam, GPtrArray *samples)
{
    enum exam_result result = EXAM_PASSED;
    for (guint i = 0; i < samples->len && result == EXAM_PASSED; i++) {
        result = scan_one(exam, g_ptr_array_index(samples, i));
        if (exam->progress != NULL) {
            exam->progress(i + 1, samples->len, exam->data);
        }
    }
    forget_worker(exam);
    return result;
}
