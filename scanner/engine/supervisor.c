/* SPDX-License-Identifier: GPL-2.0-only */
#include "config.h"
#include "supervisor.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine.h"
#include "generation.h"
#include "launch.h"
#include "log.h"
#include "orders.h"
#include "packet.h"
#include "text.h"

#define RETRY_FIRST_USEC (100 * 1000ULL)
#define RETRY_FAILED_USEC (60 * 1000 * 1000ULL)
/* A zygote that ends sooner after its load counts as a failure, else it would spin. */
#define SETTLED_USEC (10 * 1000 * 1000LL)
#define ERROR_MAX 400
/* A zygote that is frozen has workers that are alive: only its silence tells. It has nothing to
 * do but fork, so even on a busy machine an answer takes milliseconds. */
#define PING_USEC (5 * 1000 * 1000ULL)
/* Counted, not timed: an engine that was itself stopped for a while has asked nothing. */
#define PINGS_UNANSWERED 6

struct supervisor {
    struct engine *engine;
    char *program;
    struct launched zygote; /* pid 0: none */
    sd_event_source *messages;
    sd_event_source *death;
    sd_event_source *retry;
    sd_event_source *ping;
    unsigned pings; /* since the last sign of life */
    bool builtin;
    bool started_before;
    bool loaded;
    gint64 loaded_us;
    unsigned failures; /* in a row */
    bool stopping;
    char *error; /* why the zygote says it failed */
};

static void attempt(struct supervisor *supervisor);

static char *
find_program(char **error_r)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *self = g_file_read_link("/proc/self/exe", &error);
    if (self == NULL) {
        *error_r = g_strdup_printf("/proc/self/exe: %s", error->message);
        return NULL;
    }
    g_autofree char *dir = g_path_get_dirname(self);
    char *program = g_build_filename(dir, "postern-zygote", NULL);
    if (access(program, X_OK) < 0) {
        *error_r = g_strdup_printf("%s: %s", program, g_strerror(errno));
        g_free(program);
        return NULL;
    }
    return program;
}

struct supervisor *
supervisor_new(struct engine *engine, char **error_r)
{
    char *program = find_program(error_r);
    if (program == NULL) {
        return NULL;
    }
    struct supervisor *supervisor = g_new0(struct supervisor, 1);
    supervisor->engine = engine;
    supervisor->program = program;
    return supervisor;
}

static void
forget_zygote(struct supervisor *supervisor)
{
    supervisor->messages = sd_event_source_disable_unref(supervisor->messages);
    supervisor->death = sd_event_source_disable_unref(supervisor->death);
    supervisor->ping = sd_event_source_disable_unref(supervisor->ping);
    if (supervisor->zygote.pid != 0) {
        close(supervisor->zygote.channel);
        close(supervisor->zygote.pidfd);
        supervisor->zygote = (struct launched){0};
    }
    supervisor->loaded = false;
}

static void
kill_zygote(const struct supervisor *supervisor)
{
    if (supervisor->zygote.pid != 0) {
        (void)syscall(SYS_pidfd_send_signal, supervisor->zygote.pidfd, SIGKILL, NULL, 0);
    }
}

void
supervisor_free(struct supervisor *supervisor)
{
    if (supervisor == NULL) {
        return;
    }
    kill_zygote(supervisor);
    forget_zygote(supervisor);
    sd_event_source_disable_unref(supervisor->retry);
    g_free(supervisor->program);
    g_free(supervisor->error);
    g_free(supervisor);
}

/* Starting again */

static int
on_retry(sd_event_source *source, uint64_t usec, void *data)
{
    (void)source;
    (void)usec;
    struct supervisor *supervisor = data;
    supervisor->retry = sd_event_source_disable_unref(supervisor->retry);
    attempt(supervisor);
    return 0;
}

static uint64_t
retry_delay(const struct supervisor *supervisor)
{
    if (supervisor->failures == 0) {
        return 0;
    }
    if (supervisor->failures >= SUPERVISOR_PATIENCE) {
        return RETRY_FAILED_USEC;
    }
    return RETRY_FIRST_USEC << (supervisor->failures - 1);
}

static void
schedule(struct supervisor *supervisor)
{
    sd_event_source_disable_unref(supervisor->retry);
    supervisor->retry = NULL;
    int rc =
        sd_event_add_time_relative(supervisor->engine->event, &supervisor->retry, CLOCK_MONOTONIC,
                                   retry_delay(supervisor), 1, on_retry, supervisor);
    if (rc < 0) {
        log_err("zygote: cannot be started again: %s", g_strerror(-rc));
        sd_event_exit(supervisor->engine->event, rc);
    }
}

/* The zygote ended, or could not be started, for REASON. */
static void
count_failure(struct supervisor *supervisor, const char *reason)
{
    bool settled =
        supervisor->loaded && g_get_monotonic_time() - supervisor->loaded_us >= SETTLED_USEC;
    supervisor->failures = settled ? 0 : supervisor->failures + 1;
    g_autofree char *safe = text_escape(reason, ERROR_MAX);
    log_err("zygote: %s%s", safe,
            supervisor->failures >= SUPERVISOR_PATIENCE ? "; next attempt in a minute" : "");
    report_set_text(&supervisor->engine->report.error, safe);
    forget_zygote(supervisor);
    crew_lost(supervisor->engine->crew);
    engine_changed(supervisor->engine);
    schedule(supervisor);
}

/* What the zygote says */

static void
warn_about(const struct supervisor *supervisor, int landlock)
{
    if (supervisor->builtin) {
        log_warning("ONLY THE BUILT-IN TEST SIGNATURE (EICAR) IS LOADED: no virus will be found; "
                    "%s/current is missing",
                    supervisor->engine->settings->signatures_dir);
    }
    if (launch_one_user()) {
        log_warning("sandbox: all workers share one user number; start postern-engine with "
                    "CAP_SETUID and CAP_SETGID for one each");
    }
    if (landlock <= 0) {
        log_warning("sandbox: this kernel offers no landlock; workers are held by their user, "
                    "their root and seccomp alone");
    }
}

static int
on_ping(sd_event_source *source, uint64_t usec, void *data)
{
    struct supervisor *supervisor = data;
    (void)usec;
    if (supervisor->pings++ >= PINGS_UNANSWERED) {
        supervisor->ping = sd_event_source_disable_unref(supervisor->ping);
        supervisor_replace(supervisor, "does not answer any more");
        return 0;
    }
    json_auto_t *packet = json_pack("{s:s}", "op", "ping");
    /* A full socket is silence, too. */
    (void)packet_send(supervisor->zygote.channel, packet, -1);
    int rc = sd_event_source_set_time_relative(source, PING_USEC);
    if (rc >= 0) {
        rc = sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
    }
    return rc;
}

static int
on_loaded(struct supervisor *supervisor, json_t *event, int fd)
{
    (void)fd;
    struct report *report = &supervisor->engine->report;
    const char *generation;
    const char *sandbox;
    json_int_t signatures;
    int landlock;
    json_int_t memory;
    double seconds;
    if (json_unpack(event, "{s:s, s:I, s:i, s:F, s:s, s:I}", "generation", &generation,
                    "signatures", &signatures, "landlock", &landlock, "load_seconds", &seconds,
                    "sandbox", &sandbox, "memory", &memory) < 0) {
        return -EBADMSG;
    }
    int rc = sd_event_add_time_relative(supervisor->engine->event, &supervisor->ping,
                                        CLOCK_MONOTONIC, PING_USEC, 0, on_ping, supervisor);
    if (rc < 0) {
        return rc;
    }
    supervisor->loaded = true;
    supervisor->loaded_us = g_get_monotonic_time();
    g_autofree char *text = g_strconcat(sandbox, ", ", supervisor->engine->groups_text, NULL);
    g_autofree char *safe = text_escape(text, ERROR_MAX);
    report_set_text(&report->generation, generation);
    report_set_text(&report->sandbox, safe);
    report->memory = (guint64)memory;
    report_set_text(&report->error, NULL);
    report->signatures = (guint64)signatures;
    report->test_only = supervisor->builtin;
    report->load_seconds = seconds;
    log_notice("generation %s: %" JSON_INTEGER_FORMAT " signatures loaded in %.2f s", generation,
               signatures, seconds);
    log_info("sandbox: %s", safe);
    warn_about(supervisor, landlock);
    crew_start(supervisor->engine->crew);
    engine_changed(supervisor->engine);
    return 0;
}

static int
on_failed(struct supervisor *supervisor, json_t *event, int fd)
{
    (void)fd;
    const char *error;
    if (json_unpack(event, "{s:s}", "error", &error) < 0) {
        return -EBADMSG;
    }
    report_set_text(&supervisor->error, error);
    return 0;
}

static int
on_forked(struct supervisor *supervisor, json_t *event, int fd)
{
    json_int_t number;
    if (fd < 0 || json_unpack(event, "{s:I}", "worker", &number) < 0) {
        return -EBADMSG;
    }
    crew_forked(supervisor->engine->crew, (uint64_t)number, fd);
    return 0;
}

static int
on_exited(struct supervisor *supervisor, json_t *event, int fd)
{
    (void)fd;
    json_int_t number;
    int status;
    if (json_unpack(event, "{s:I, s:i}", "worker", &number, "status", &status) < 0) {
        return -EBADMSG;
    }
    crew_exited(supervisor->engine->crew, (uint64_t)number, status);
    return 0;
}

static int
on_alive(struct supervisor *supervisor, json_t *event, int fd)
{
    (void)supervisor;
    (void)event;
    (void)fd;
    return 0;
}

static const struct {
    const char *event;
    /* FD is borrowed. Returns 0 or -EBADMSG. */
    int (*handle)(struct supervisor *supervisor, json_t *event, int fd);
} events[] = {
    {"loaded", on_loaded}, {"failed", on_failed}, {"forked", on_forked},
    {"exited", on_exited}, {"alive", on_alive},
};

static int
dispatch(struct supervisor *supervisor, json_t *packet, int fd)
{
    const char *name = json_string_value(json_object_get(packet, "event"));
    supervisor->pings = 0;
    for (size_t i = 0; name != NULL && i < G_N_ELEMENTS(events); i++) {
        if (strcmp(events[i].event, name) == 0) {
            return events[i].handle(supervisor, packet, fd);
        }
    }
    return -EBADMSG;
}

static int
on_message(sd_event_source *source, int sock, uint32_t revents, void *data)
{
    (void)revents;
    struct supervisor *supervisor = data;
    json_auto_t *packet = NULL;
    int fd = -1;
    int rc = packet_receive(sock, &packet, &fd);
    if (rc == -EAGAIN) {
        return 0;
    }
    if (rc > 0) {
        rc = dispatch(supervisor, packet, fd);
        if (fd >= 0) {
            close(fd);
        }
        if (rc == 0) {
            return 0;
        }
    }
    /* End of file or nonsense: its death, which comes next or is brought about, tells the rest. */
    sd_event_source_set_enabled(source, SD_EVENT_OFF);
    if (rc < 0) {
        supervisor_replace(supervisor, "sends what is no packet");
    }
    return 0;
}

static char *
death_text(const struct supervisor *supervisor, const siginfo_t *info)
{
    if (supervisor->error != NULL) {
        return g_strdup(supervisor->error);
    }
    return info->si_code == CLD_EXITED ? g_strdup_printf("ended with exit %d", info->si_status)
                                       : g_strdup_printf("ended by signal %d", info->si_status);
}

static int
on_death(sd_event_source *source, const siginfo_t *info, void *data)
{
    (void)source;
    struct supervisor *supervisor = data;
    if (supervisor->stopping) {
        forget_zygote(supervisor);
        crew_lost(supervisor->engine->crew);
        return sd_event_exit(supervisor->engine->event, 0);
    }
    g_autofree char *text = death_text(supervisor, info);
    count_failure(supervisor, text);
    return 0;
}

/* Starting */

static int
watch(struct supervisor *supervisor)
{
    sd_event *event = supervisor->engine->event;
    const struct launched *zygote = &supervisor->zygote;
    if (fcntl(zygote->channel, F_SETFL, O_NONBLOCK) < 0) {
        return -errno;
    }
    int rc = sd_event_add_io(event, &supervisor->messages, zygote->channel, EPOLLIN, on_message,
                             supervisor);
    if (rc >= 0) {
        /* What it said before it died is to be heard before its death. */
        rc = sd_event_source_set_priority(supervisor->messages, SD_EVENT_PRIORITY_IMPORTANT);
    }
    if (rc >= 0) {
        rc = sd_event_add_child_pidfd(event, &supervisor->death, zygote->pidfd, WEXITED, on_death,
                                      supervisor);
    }
    return rc;
}

static void
report_memory(const struct supervisor *supervisor, const struct orders *orders)
{
    supervisor->engine->report.worker_memory = orders_memory(orders) + orders_tmp_size(orders);
}

/* Before it touches its first page: the signatures are to count for its group. */
static void
place(const struct supervisor *supervisor)
{
    int rc = groups_place_zygote(supervisor->engine->groups, supervisor->zygote.pidfd);
    if (rc < 0) {
        log_warning("zygote: not in its control group: %s", g_strerror(-rc));
    }
}

static int
launch(struct supervisor *supervisor, const struct generation *generation, char **error_r)
{
    const struct settings *settings = supervisor->engine->settings;
    bool one_user = launch_one_user();
    g_autoptr(orders_t) orders = orders_new(settings, generation->name, one_user);
    json_auto_t *packet = orders_to_json(orders);
    const struct launch launch = {
        .zygote = supervisor->program,
        .signatures = generation->path,
        .id_base = (uint32_t)settings->id_base,
        .one_user = one_user,
        .orders = packet,
    };
    supervisor->builtin = generation->name == NULL;
    report_memory(supervisor, orders);
    int rc = launch_zygote(&launch, &supervisor->zygote, error_r);
    if (rc == 0) {
        place(supervisor);
        rc = watch(supervisor);
        if (rc < 0) {
            *error_r = g_strdup_printf("cannot be watched: %s", g_strerror(-rc));
            kill_zygote(supervisor);
            waitpid(supervisor->zygote.pid, NULL, 0);
        }
    }
    return MIN(rc, 0);
}

static void
attempt(struct supervisor *supervisor)
{
    struct report *report = &supervisor->engine->report;
    struct generation generation = {0};
    g_autofree char *error = NULL;
    g_clear_pointer(&supervisor->error, g_free);
    if (supervisor->started_before) {
        report->restarts++;
    }
    supervisor->started_before = true;
    int rc = generation_resolve(supervisor->engine->settings->signatures_dir, &generation, &error);
    if (rc == 0) {
        const char *name = generation.name != NULL ? generation.name : "builtin";
        report_set_text(&report->generation, name);
        rc = launch(supervisor, &generation, &error);
    }
    generation_clear(&generation);
    if (rc < 0) {
        count_failure(supervisor, error);
        return;
    }
    log_info("zygote: process %d loads generation %s", (int)supervisor->zygote.pid,
             report->generation);
    engine_changed(supervisor->engine);
}

void
supervisor_start(struct supervisor *supervisor)
{
    attempt(supervisor);
}

void
supervisor_stop(struct supervisor *supervisor)
{
    supervisor->stopping = true;
    supervisor->retry = sd_event_source_disable_unref(supervisor->retry);
    if (supervisor->zygote.pid == 0) {
        sd_event_exit(supervisor->engine->event, 0);
        return;
    }
    kill_zygote(supervisor);
}

void
supervisor_replace(struct supervisor *supervisor, const char *why)
{
    log_err("zygote: %s: killed", why);
    report_set_text(&supervisor->error, why);
    kill_zygote(supervisor);
}

bool
supervisor_loaded(const struct supervisor *supervisor)
{
    return supervisor->loaded;
}

bool
supervisor_failed(const struct supervisor *supervisor)
{
    return supervisor->failures >= SUPERVISOR_PATIENCE && !supervisor->loaded;
}

int
supervisor_fork(struct supervisor *supervisor, uint64_t number, unsigned slot, int channel)
{
    if (!supervisor->loaded) {
        return -EHOSTDOWN;
    }
    json_auto_t *packet =
        json_pack("{s:s, s:I, s:i}", "op", "fork", "worker", (json_int_t)number, "slot", (int)slot);
    return packet_send(supervisor->zygote.channel, packet, channel);
}
