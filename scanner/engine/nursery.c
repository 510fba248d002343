/* SPDX-License-Identifier: GPL-2.0-only */
#include "config.h"
#include "nursery.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine.h"
#include "launch.h"
#include "log.h"
#include "orders.h"
#include "packet.h"
#include "text.h"
#include "vouch.h"

#define ERROR_MAX 400
/* A zygote that is frozen has workers that are alive: only its silence tells. It has nothing to
 * do but fork, so even on a busy machine an answer takes milliseconds. */
#define PING_USEC (5 * 1000 * 1000ULL)
/* Counted, not timed: an engine that was itself stopped for a while has asked nothing. */
#define PINGS_UNANSWERED 6

struct nursery {
    struct engine *engine;
    const struct nursery_ops *ops;
    void *data;
    struct launched zygote;
    sd_event_source *messages;
    sd_event_source *death;
    sd_event_source *ping;
    sd_event_source *deadline;
    unsigned pings; /* since the last sign of life */
    char *generation;
    char *path;
    gboolean builtin;
    struct vouch *vouch; /* NULL: it was tried */
    gboolean has_said;   /* that it has loaded */
    gboolean loaded;     /* and is what it should be */
    gboolean unneeded;
    enum nursery_fault fault;
    gint64 loaded_us;
    struct nursery_loaded said;
    char *error; /* why it failed, as it says, or why it was killed */
};

char *
nursery_program(char **error_r)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *self = g_file_read_link("/proc/self/exe", &error);
    if (self == NULL) {
        *error_r = g_strdup_printf("/proc/self/exe: %s", error->message);
        return NULL;
    }
    g_autofree char *dir = g_path_get_dirname(self);
    g_autofree char *program = g_build_filename(dir, "postern-zygote", NULL);
    if (access(program, X_OK) < 0) {
        *error_r = g_strdup_printf("%s: %s", program, g_strerror(errno));
        return NULL;
    }
    return g_steal_pointer(&program);
}

static void
send_kill(const struct nursery *nursery)
{
    if (nursery->zygote.pid != 0) {
        (void)syscall(SYS_pidfd_send_signal, nursery->zygote.pidfd, SIGKILL, NULL, 0);
    }
}

/* Of all that are alive. */
static void
unlist(struct nursery *nursery)
{
    GPtrArray *all = nursery->engine->nurseries;
    if (g_ptr_array_remove_fast(all, nursery) && all->len == 0 && nursery->engine->stopping) {
        sd_event_exit(nursery->engine->event, 0);
    }
}

void
nursery_stop_all(struct engine *engine)
{
    engine->stopping = true;
    for (guint i = 0; i < engine->nurseries->len; i++) {
        nursery_kill(g_ptr_array_index(engine->nurseries, i), NULL);
    }
    if (engine->nurseries->len == 0) {
        sd_event_exit(engine->event, 0);
    }
}

void
nursery_free(struct nursery *nursery)
{
    if (nursery == NULL) {
        return;
    }
    unlist(nursery);
    vouch_free(g_steal_pointer(&nursery->vouch));
    send_kill(nursery);
    sd_event_source_disable_unref(nursery->messages);
    sd_event_source_disable_unref(nursery->death);
    sd_event_source_disable_unref(nursery->ping);
    sd_event_source_disable_unref(nursery->deadline);
    if (nursery->zygote.pid != 0) {
        close(nursery->zygote.channel);
        close(nursery->zygote.pidfd);
    }
    g_free(nursery->generation);
    g_free(nursery->path);
    g_free(nursery->said.sandbox);
    g_free(nursery->error);
    g_free(nursery);
}

void
nursery_kill(struct nursery *nursery, const char *why)
{
    if (why != NULL) {
        log_err("zygote: %s: killed", why);
        report_set_text(&nursery->error, why);
    } else {
        nursery->unneeded = TRUE;
    }
    send_kill(nursery);
}

/* The zygote has said that it has loaded, and it is what it should be, or not. */
static void
on_vouched(int rc, const char *error, void *data)
{
    struct nursery *nursery = data;
    if (rc < 0) {
        nursery->fault = rc == -EBADMSG ? NURSERY_FAULT_DAMAGED : NURSERY_FAULT_NONE;
        nursery_kill(nursery, error);
        return;
    }
    nursery->loaded = TRUE;
    nursery->loaded_us = g_get_monotonic_time();
    log_notice("generation %s: %" G_GUINT64_FORMAT " signatures loaded in %.2f s",
               nursery->generation, nursery->said.signatures, nursery->said.load_seconds);
    nursery->ops->loaded(nursery, nursery->data);
}

/* What the zygote says */

static int
on_ping(sd_event_source *source, uint64_t usec, void *data)
{
    struct nursery *nursery = data;
    (void)usec;
    if (nursery->pings++ >= PINGS_UNANSWERED) {
        nursery->ping = sd_event_source_disable_unref(nursery->ping);
        nursery_kill(nursery, "does not answer any more");
        return 0;
    }
    json_auto_t *packet = json_pack("{s:s}", "op", "ping");
    /* A full socket is silence, too. */
    (void)packet_send(nursery->zygote.channel, packet, -1);
    int rc = sd_event_source_set_time_relative(source, PING_USEC);
    if (rc >= 0) {
        rc = sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
    }
    return rc;
}

static int
hear_loaded(struct nursery *nursery, json_t *event)
{
    struct nursery_loaded said;
    const char *sandbox;
    json_int_t signatures;
    json_int_t memory;
    if (nursery->has_said ||
        json_unpack(event, "{s:I, s:i, s:F, s:s, s:I}", "signatures", &signatures, "landlock",
                    &said.landlock, "load_seconds", &said.load_seconds, "sandbox", &sandbox,
                    "memory", &memory) < 0) {
        return -EBADMSG;
    }
    said.signatures = (guint64)MAX(signatures, 0);
    said.memory = (guint64)MAX(memory, 0);
    said.sandbox = text_escape(sandbox, ERROR_MAX);
    const char *left_out = json_string_value(json_object_get(event, "left_out"));
    if (left_out != NULL) {
        g_autofree char *safe = text_escape(left_out, ERROR_MAX);
        log_warning("generation %s: not all of it is looked for: %s", nursery->generation, safe);
    }
    nursery->said = said;
    int rc = sd_event_add_time_relative(nursery->engine->event, &nursery->ping, CLOCK_MONOTONIC,
                                        PING_USEC, 0, on_ping, nursery);
    if (rc < 0) {
        return rc;
    }
    nursery->deadline = sd_event_source_disable_unref(nursery->deadline);
    nursery->has_said = TRUE;
    return 0;
}

static int
on_loaded(struct nursery *nursery, json_t *event, int fd)
{
    (void)fd;
    int rc = hear_loaded(nursery, event);
    if (rc == 0) {
        vouch_loaded(nursery->vouch);
    }
    return rc;
}

static int
on_failed(struct nursery *nursery, json_t *event, int fd)
{
    const char *error;
    (void)fd;
    int loading = 0;
    if (json_unpack(event, "{s:s, s?b}", "error", &error, "loading", &loading) < 0) {
        return -EBADMSG;
    }
    report_set_text(&nursery->error, error);
    /* As libclamav says it (CL_EMEM): that there is no memory is no fault of a generation. */
    if (loading && nursery->fault == NURSERY_FAULT_NONE &&
        strstr(error, "allocate memory") == NULL) {
        nursery->fault = NURSERY_FAULT_LOADER;
    }
    return 0;
}

static int
on_forked(struct nursery *nursery, json_t *event, int fd)
{
    json_int_t number;
    if (fd < 0 || json_unpack(event, "{s:I}", "worker", &number) < 0) {
        return -EBADMSG;
    }
    nursery->ops->forked(nursery, (uint64_t)number, fd, nursery->data);
    return 0;
}

static int
on_exited(struct nursery *nursery, json_t *event, int fd)
{
    json_int_t number;
    int status;
    (void)fd;
    if (json_unpack(event, "{s:I, s:i}", "worker", &number, "status", &status) < 0) {
        return -EBADMSG;
    }
    nursery->ops->exited(nursery, (uint64_t)number, status, nursery->data);
    return 0;
}

static int
on_alive(struct nursery *nursery, json_t *event, int fd)
{
    (void)nursery;
    (void)event;
    (void)fd;
    return 0;
}

static const struct {
    const char *event;
    /* FD is borrowed. Returns 0 or -EBADMSG. */
    int (*handle)(struct nursery *nursery, json_t *event, int fd);
} events[] = {
    {"loaded", on_loaded}, {"failed", on_failed}, {"forked", on_forked},
    {"exited", on_exited}, {"alive", on_alive},
};

static int
dispatch(struct nursery *nursery, json_t *packet, int fd)
{
    const char *name = json_string_value(json_object_get(packet, "event"));
    nursery->pings = 0;
    for (size_t i = 0; name != NULL && i < G_N_ELEMENTS(events); i++) {
        if (strcmp(events[i].event, name) == 0) {
            return events[i].handle(nursery, packet, fd);
        }
    }
    return -EBADMSG;
}

static int
on_message(sd_event_source *source, int sock, uint32_t revents, void *data)
{
    struct nursery *nursery = data;
    json_auto_t *packet = NULL;
    int fd = -1;
    (void)revents;
    int rc = packet_receive(sock, &packet, &fd);
    if (rc == -EAGAIN) {
        return 0;
    }
    if (rc > 0) {
        rc = dispatch(nursery, packet, fd);
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
        nursery_kill(nursery, "sends what is no packet");
    }
    return 0;
}

static char *
death_text(const struct nursery *nursery, const siginfo_t *info)
{
    if (nursery->error != NULL) {
        return text_escape(nursery->error, ERROR_MAX);
    }
    return info->si_code == CLD_EXITED ? g_strdup_printf("ended with exit %d", info->si_status)
                                       : g_strdup_printf("ended by signal %d", info->si_status);
}

static int
on_death(sd_event_source *source, const siginfo_t *info, void *data)
{
    struct nursery *nursery = data;
    g_autofree char *text = death_text(nursery, info);
    (void)source;
    vouch_free(g_steal_pointer(&nursery->vouch));
    nursery->has_said = FALSE;
    nursery->loaded = FALSE;
    unlist(nursery);
    nursery->ops->ended(nursery, nursery->unneeded ? "not needed any more" : text, nursery->data);
    return 0;
}

static int
on_deadline(sd_event_source *source, uint64_t usec, void *data)
{
    struct nursery *nursery = data;
    (void)source;
    (void)usec;
    nursery->deadline = sd_event_source_disable_unref(nursery->deadline);
    nursery_kill(nursery, "did not load the signatures in time");
    return 0;
}

/* Starting */

static int
watch(struct nursery *nursery, guint64 seconds)
{
    sd_event *event = nursery->engine->event;
    const struct launched *zygote = &nursery->zygote;
    if (fcntl(zygote->channel, F_SETFL, O_NONBLOCK) < 0) {
        return -errno;
    }
    int rc =
        sd_event_add_io(event, &nursery->messages, zygote->channel, EPOLLIN, on_message, nursery);
    if (rc >= 0) {
        /* What it said before it died is to be heard before its death. */
        rc = sd_event_source_set_priority(nursery->messages, SD_EVENT_PRIORITY_IMPORTANT);
    }
    if (rc >= 0) {
        rc = sd_event_add_child_pidfd(event, &nursery->death, zygote->pidfd, WEXITED, on_death,
                                      nursery);
    }
    if (rc >= 0 && seconds > 0) {
        rc = sd_event_add_time_relative(event, &nursery->deadline, CLOCK_MONOTONIC,
                                        seconds * G_USEC_PER_SEC, 0, on_deadline, nursery);
    }
    return rc;
}

/* Before it touches its first page: the signatures are to count for its group. */
static void
place(const struct nursery *nursery)
{
    int rc = groups_place_zygote(nursery->engine->groups, nursery->zygote.pidfd);
    if (rc < 0) {
        log_warning("zygote: not in its control group: %s", g_strerror(-rc));
    }
}

static int
start(struct nursery *nursery, const struct nursery_plan *plan, char **error_r)
{
    const struct settings *settings = nursery->engine->settings;
    bool one_user = launch_one_user();
    g_autofree char *program = nursery_program(error_r);
    g_autoptr(orders_t) orders = orders_new(settings, plan->name, one_user);
    orders->beside = plan->beside;
    json_auto_t *packet = orders_to_json(orders);
    if (program == NULL) {
        return -ENOENT;
    }
    const struct launch launch = {
        .zygote = program,
        .signatures = plan->path,
        .id_base = (uint32_t)settings->id_base,
        .one_user = one_user,
        .orders = packet,
    };
    int rc = launch_zygote(&launch, &nursery->zygote, error_r);
    if (rc < 0) {
        return rc;
    }
    place(nursery);
    rc = watch(nursery, plan->seconds);
    if (rc >= 0) {
        nursery->vouch =
            vouch_new(nursery->engine, nursery->path, plan->beside, on_vouched, nursery);
        rc = vouch_begin(nursery->vouch);
    }
    if (rc < 0) {
        *error_r = g_strdup_printf("cannot be watched: %s", g_strerror(-rc));
        send_kill(nursery);
        waitpid(nursery->zygote.pid, NULL, 0);
    }
    return MIN(rc, 0);
}

static struct nursery *
create(struct engine *engine, const struct nursery_plan *plan, const struct nursery_ops *ops,
       void *data)
{
    struct nursery *nursery = g_new0(struct nursery, 1);
    nursery->engine = engine;
    nursery->ops = ops;
    nursery->data = data;
    nursery->generation = g_strdup(plan->name != NULL ? plan->name : "builtin");
    nursery->path = g_strdup(plan->path);
    nursery->builtin = plan->name == NULL;
    return nursery;
}

int
nursery_new(struct engine *engine, const struct nursery_plan *plan, const struct nursery_ops *ops,
            void *data, struct nursery **ret, char **error_r)
{
    struct nursery *nursery = create(engine, plan, ops, data);
    int rc = start(nursery, plan, error_r);
    if (rc < 0) {
        nursery_free(nursery);
        return rc;
    }
    log_info("zygote: process %d loads generation %s", (int)nursery->zygote.pid,
             nursery->generation);
    g_ptr_array_add(engine->nurseries, nursery);
    *ret = nursery;
    return 0;
}

static int
go_on(struct nursery *nursery, json_t *loaded)
{
    const struct settings *settings = nursery->engine->settings;
    json_auto_t *serve =
        json_pack("{s:s, s:I}", "op", "serve", "scan_timeout", (json_int_t)settings->scan_timeout);
    place(nursery);
    int rc = watch(nursery, 0);
    if (rc >= 0) {
        rc = hear_loaded(nursery, loaded);
    }
    if (rc >= 0) {
        rc = packet_send(nursery->zygote.channel, serve, -1);
    }
    return MIN(rc, 0);
}

int
nursery_take(struct engine *engine, const struct nursery_plan *plan, struct launched *zygote,
             json_t *loaded, const struct nursery_ops *ops, void *data, struct nursery **ret,
             char **error_r)
{
    struct nursery *nursery = create(engine, plan, ops, data);
    nursery->zygote = *zygote;
    int rc = go_on(nursery, loaded);
    if (rc < 0) {
        *error_r = g_strdup_printf("the zygote that was tried cannot serve: %s", g_strerror(-rc));
        nursery->zygote.pid = 0;
        nursery_free(nursery);
        launch_end(zygote);
        return rc;
    }
    nursery->loaded = TRUE;
    nursery->loaded_us = g_get_monotonic_time();
    log_notice("generation %s: what was tried goes on", nursery->generation);
    g_ptr_array_add(engine->nurseries, nursery);
    *ret = nursery;
    return 0;
}

void
nursery_give(struct nursery *nursery, const struct nursery_ops *ops, void *data)
{
    nursery->ops = ops;
    nursery->data = data;
}

gboolean
nursery_is_loaded(const struct nursery *nursery)
{
    return nursery->loaded;
}

const char *
nursery_generation(const struct nursery *nursery)
{
    return nursery->generation;
}

const char *
nursery_path(const struct nursery *nursery)
{
    return nursery->path;
}

gboolean
nursery_is_builtin(const struct nursery *nursery)
{
    return nursery->builtin;
}

enum nursery_fault
nursery_fault(const struct nursery *nursery)
{
    return nursery->fault;
}

const struct nursery_loaded *
nursery_said(const struct nursery *nursery)
{
    return &nursery->said;
}

gint64
nursery_loaded_us(const struct nursery *nursery)
{
    return nursery->loaded_us;
}

int
nursery_fork(struct nursery *nursery, uint64_t number, unsigned slot, int channel)
{
    if (!nursery->loaded) {
        return -EHOSTDOWN;
    }
    json_auto_t *packet =
        json_pack("{s:s, s:I, s:i}", "op", "fork", "worker", (json_int_t)number, "slot", (int)slot);
    return packet_send(nursery->zygote.channel, packet, channel);
}
