/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * posternd: takes mail from MTAs, has it scanned, keeps what must be kept, answers.
 *
 * Runs as its own user without capabilities, on the node where the cluster manager has promoted
 * the service; respawned by systemd. It parses no mail: that is done by the workers.
 */
#include "config.h"

#include <errno.h>
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <systemd/sd-daemon.h>

#include "clamd.h"
#include "control.h"
#include "counters.h"
#include "format.h"
#include "listener.h"
#include "ledger.h"
#include "log.h"
#include "memory.h"
#include "milter.h"
#include "pool.h"
#include "reload.h"
#include "role.h"
#include "releaser.h"
#include "settings.h"
#include "service-health.h"
#include "storage.h"
#include "transaction.h"

/* Did not start: configuration, state, sockets. A failure later on is EXIT_FAILURE. */
#define EXIT_NO_START 2
/* How long the end waits for the replies that the disk is about to allow. */
#define DRAIN_US (3 * G_TIME_SPAN_SECOND)
/* Per connection: the socket and the message; and what the rest of the process has open. */
#define DESCRIPTORS_PER_CLIENT 2
/* The socket, what was passed by it, its copy. */
#define DESCRIPTORS_PER_CLAMD_CLIENT 3
#define DESCRIPTORS_OTHER 1024
/* Smaller changes of the memory for mail are not worth a line in the log. */
#define MEMORY_STEP (64U * 1048576U)

struct posternd {
    char *config;
    gboolean foreground;
    struct settings *settings;
    struct counters counters;
    struct spool_budget budget;
    struct memory_limits memory;
    guint64 told; /* the budget's limit that the log was told */
    struct transaction_services transaction;
    sd_event *event;
    sd_event_source *drain;
    struct storage *storage;
    struct strikes *strikes;
    struct ledger *ledger;
    struct releaser *releaser;
    struct pool *pool;
    struct service_health *health;
    struct control *control;
    struct milter *milter;
    struct clamd *clamd;
};

static gboolean
print_version(const char *name, const char *value, gpointer data, GError **error)
{
    (void)name;
    (void)value;
    (void)data;
    (void)error;
    puts("posternd " PACKAGE_VERSION);
    exit(EXIT_SUCCESS);
}

static int
options_parse(struct posternd *self, int argc, char **argv, char **error_r)
{
    const GOptionEntry entries[] = {
        {"config", 'c', 0, G_OPTION_ARG_FILENAME, &self->config,
         "Configuration (default: " SETTINGS_PATH ")", "FILE"},
        {"foreground", 'f', 0, G_OPTION_ARG_NONE, &self->foreground, "Log to stderr", NULL},
        {"version", 'V', G_OPTION_FLAG_NO_ARG, G_OPTION_ARG_CALLBACK,
         (gpointer)(GOptionArgFunc)print_version, "Print the version", NULL},
        {NULL, 0, 0, G_OPTION_ARG_NONE, NULL, NULL, NULL},
    };
    g_autoptr(GError) error = NULL;
    g_autoptr(GOptionContext) context = g_option_context_new(NULL);
    g_option_context_set_summary(context, "Scans mail for the MTA (milter) and keeps what is "
                                          "found.");
    g_option_context_add_main_entries(context, entries, NULL);
    if (!g_option_context_parse(context, &argc, &argv, &error)) {
        *error_r = g_strdup(error->message);
        return -EINVAL;
    }
    if (argc > 1) {
        *error_r = g_strdup_printf("unknown argument \"%s\"; see --help", argv[1]);
        return -EINVAL;
    }
    return 0;
}

/* No core files (they would hold people's mail), and a descriptor for each client. */
static void
limits_set(const struct settings *settings)
{
    const struct rlimit none = {0, 0};
    struct rlimit files;
    rlim_t wanted = DESCRIPTORS_PER_CLIENT * (rlim_t)settings->clients + DESCRIPTORS_OTHER;
    if (*settings->clamd_listen != NULL) {
        wanted += DESCRIPTORS_PER_CLAMD_CLIENT * (rlim_t)settings->clamd_clients;
    }
    if (setrlimit(RLIMIT_CORE, &none) < 0) {
        log_warning("cannot forbid core files: %s", strerror(errno));
    }
    if (getrlimit(RLIMIT_NOFILE, &files) < 0 || files.rlim_cur >= wanted) {
        return;
    }
    files.rlim_cur = MIN(wanted, files.rlim_max);
    if (setrlimit(RLIMIT_NOFILE, &files) < 0 || files.rlim_cur < wanted) {
        log_warning("clients = %" G_GUINT64_FORMAT " needs %lu descriptors, but only %lu are "
                    "allowed: raise LimitNOFILE or lower clients",
                    settings->clients, (unsigned long)wanted, (unsigned long)files.rlim_cur);
    }
}

static int
on_drain_time(sd_event_source *source, uint64_t now_us, void *data)
{
    struct posternd *self = data;
    (void)source;
    (void)now_us;
    log_warning("the disk is too slow: ending without the last replies");
    return sd_event_exit(self->event, EXIT_SUCCESS);
}

static void
on_drained(void *data)
{
    struct posternd *self = data;
    (void)sd_event_exit(self->event, EXIT_SUCCESS);
}

static int
drain(struct posternd *self)
{
    (void)sd_notify(0, "STOPPING=1");
    clamd_free(g_steal_pointer(&self->clamd));
    milter_drain(self->milter, on_drained, self);
    return sd_event_add_time_relative(self->event, &self->drain, CLOCK_MONOTONIC, DRAIN_US, 0,
                                      on_drain_time, self);
}

static int
on_signal(sd_event_source *source, const struct signalfd_siginfo *info, void *data)
{
    struct posternd *self = data;
    (void)source;
    if (self->drain != NULL) {
        return sd_event_exit(self->event, EXIT_SUCCESS);
    }
    log_notice("ending (signal %d)", (int)info->ssi_signo);
    return drain(self);
}

static void
on_storage_fatal(void *data, int error, const char *text)
{
    struct posternd *self = data;
    log_err("state_dir %s: %s (%s); posternd ends, the cluster manager decides what follows",
            self->settings->state_dir, text, strerror(-error));
    if (self->health != NULL) {
        service_health_state_failed(self->health);
    }
    (void)sd_event_exit(self->event, EXIT_FAILURE);
}

static json_t *
on_milter_status(void *data)
{
    const struct posternd *self = data;
    return self->milter != NULL ? milter_status(self->milter) : NULL;
}

/* The engine's part of the memory has become known, or another. */
static void
memory_share(void *data)
{
    struct posternd *self = data;
    struct memory_plan plan = memory_plan(self->settings, &self->memory, pool_engine(self->pool));
    self->budget.limit = plan.mail;
    if (plan.mail / MEMORY_STEP == self->told / MEMORY_STEP) {
        return;
    }
    self->told = plan.mail;
    log_notice("memory: %" G_GUINT64_FORMAT " MB for mail in progress, of %" G_GUINT64_FORMAT
               " MB; engine and workers may take %" G_GUINT64_FORMAT " MB",
               plan.mail >> 20, plan.total >> 20, plan.engine >> 20);
    if (plan.tight) {
        log_warning("memory is short: one message of message_size fits, nothing beside it; raise "
                    "memory, or lower workers, scan_size or message_size");
    }
}

static bool
reload(struct posternd *self)
{
    if (self->drain != NULL || !reload_run(self->config, self->settings, self->storage)) {
        return false;
    }
    limits_set(self->settings);
    memory_share(self);
    return true;
}

static int
on_reload(sd_event_source *source, const struct signalfd_siginfo *info, void *data)
{
    (void)source;
    (void)info;
    (void)reload(data);
    return 0;
}

/* Signals are blocked before the storage thread starts, so that they reach the loop alone. */
static int
event_new(struct posternd *self, char **error_r)
{
    sigset_t ours;
    sigemptyset(&ours);
    sigaddset(&ours, SIGTERM);
    sigaddset(&ours, SIGINT);
    sigaddset(&ours, SIGHUP);
    (void)signal(SIGPIPE, SIG_IGN);
    int rc = sigprocmask(SIG_BLOCK, &ours, NULL) < 0 ? -errno : sd_event_default(&self->event);
    if (rc >= 0) {
        rc = sd_event_add_signal(self->event, NULL, SIGTERM, on_signal, self);
    }
    if (rc >= 0) {
        rc = sd_event_add_signal(self->event, NULL, SIGINT, on_signal, self);
    }
    if (rc >= 0) {
        rc = sd_event_add_signal(self->event, NULL, SIGHUP, on_reload, self);
    }
    if (rc < 0) {
        *error_r = g_strdup_printf("the event loop failed: %s", strerror(-rc));
    }
    return rc;
}

/* systemd counts from the first sign of life on, whether the start has ended or not: so the first
 * comes when the loop begins to turn. */
static void
ready_tell(struct posternd *self)
{
    (void)sd_event_set_watchdog(self->event, true);
    (void)sd_notify(0, "READY=1");
    log_notice("posternd " PACKAGE_VERSION " serves");
}

/* The cluster manager has started it, so it alone may stop it. */
static gboolean
is_clustered(void)
{
    return g_file_test(ROLE_DIR "/role", G_FILE_TEST_EXISTS);
}

/* A peer that an older Postern runs on has to be able to take a new state over. */
static int
fresh_format(void)
{
    return is_clustered() ? FORMAT_OLDEST : FORMAT_NEWEST;
}

/* The state, and those who work in it beside the mail. */
static int
storage_open(struct posternd *self, char **error_r)
{
    int rc = storage_new(self->event, self->settings, fresh_format(), on_storage_fatal, self,
                         &self->storage, error_r);
    if (rc < 0) {
        return rc;
    }
    rc = ledger_new(self->event, self->storage, &self->ledger);
    if (rc >= 0) {
        rc = releaser_new(self->event, self->settings, self->storage, &self->releaser);
    }
    if (rc < 0) {
        *error_r = g_strdup_printf("the event loop failed: %s", strerror(-rc));
    }
    return rc;
}

static int
pool_open(struct posternd *self, char **error_r)
{
    int rc = pool_new(self->event, self->settings, &self->pool);
    if (rc == 0) {
        pool_tell_quiet(self->pool, !is_clustered());
    }
    if (rc < 0) {
        *error_r = g_strdup_printf("the worker pool failed: %s", strerror(-rc));
        return rc;
    }
    self->memory = memory_limits_read("/sys/fs/cgroup", "/proc/self/cgroup");
    pool_watch(self->pool, memory_share, self);
    memory_share(self);
    return 0;
}

static json_t *
on_clamd_status(void *data)
{
    const struct posternd *self = data;
    return self->clamd != NULL ? clamd_status(self->clamd) : NULL;
}

static int
control_open(struct posternd *self, char **error_r)
{
    int rc = service_health_new(self->event, self->settings, self->storage, self->pool,
                                self->releaser, &self->budget, &self->health);
    if (rc < 0) {
        *error_r = g_strdup_printf("the event loop failed: %s", strerror(-rc));
        return rc;
    }
    const struct control_services services = {
        .pool = self->pool,
        .storage = self->storage,
        .releaser = self->releaser,
        .counters = &self->counters,
        .budget = &self->budget,
        .health = self->health,
        .milter_status = on_milter_status,
        .milter_data = self,
        .clamd_status = on_clamd_status,
    };
    return control_new(self->event, self->settings, &services, &self->control, error_r);
}

/* What mail comes in by is opened last: then all that it needs is there. */
static int
milter_open(struct posternd *self, char **error_r)
{
    self->transaction = (struct transaction_services){
        .pool = self->pool,
        .storage = self->storage,
        .ledger = self->ledger,
        .counters = &self->counters,
        .budget = &self->budget,
        .settings = self->settings,
        .strikes = self->strikes,
    };
    return milter_new(self->event, self->settings, &self->transaction, &self->budget, &self->milter,
                      error_r);
}

/* The configuration; signatures are the engine's, which takes new ones by itself. */
static char *
on_clamd_reload(void *data)
{
    return reload(data) ? NULL : g_strdup("the configuration stays as it was, see the log");
}

/* Not at once: the session that asked is still being worked on. */
static char *
on_clamd_shutdown(void *data)
{
    (void)data;
    if (is_clustered()) {
        return g_strdup("the cluster manager stops Postern, try pcs resource disable");
    }
    if (raise(SIGTERM) != 0) {
        return g_strdup(g_strerror(errno));
    }
    return NULL;
}

static int
clamd_open(struct posternd *self, char **error_r)
{
    const struct clamd_controls controls = {
        .reload = on_clamd_reload, .shutdown = on_clamd_shutdown, .data = self};
    return clamd_new(self->event, self->settings, self->pool, &self->budget, &controls,
                     &self->clamd, error_r);
}

/* A socket that systemd holds would answer on a node that does not serve. */
static int
passed_open(char **error_r)
{
    int n = listener_passed_open(error_r);
    if (n > 0 && is_clustered()) {
        *error_r = g_strdup("systemd has passed sockets: socket activation is for a single host; "
                            "disable the .socket unit, the cluster manager starts posternd");
        return -EINVAL;
    }
    return n;
}

static int
passed_check(char **error_r)
{
    g_autofree char *left = listener_passed_close();
    if (left == NULL) {
        return 0;
    }
    *error_r = g_strdup_printf(
        "systemd has passed %s, which is in none of milter_listen, "
        "submission_listen and clamd_listen: make the .socket unit and the configuration agree",
        left);
    return -EINVAL;
}

static int
open_front(struct posternd *self, char **error_r)
{
    int rc = passed_open(error_r);
    if (rc >= 0) {
        rc = milter_open(self, error_r);
    }
    if (rc >= 0) {
        rc = clamd_open(self, error_r);
    }
    return rc >= 0 ? passed_check(error_r) : rc;
}

static int
open_all(struct posternd *self, char **error_r)
{
    int rc = event_new(self, error_r);
    if (rc >= 0) {
        rc = storage_open(self, error_r);
    }
    if (rc >= 0) {
        self->strikes = strikes_new(self->settings, self->storage);
        rc = pool_open(self, error_r);
    }
    if (rc >= 0) {
        rc = control_open(self, error_r);
    }
    return rc >= 0 ? open_front(self, error_r) : rc;
}

/* In the order of use: what is still under way is abandoned before what it uses goes. */
static void
close_all(struct posternd *self)
{
    clamd_free(self->clamd);
    milter_free(self->milter);
    control_free(self->control);
    releaser_free(self->releaser);
    ledger_free(self->ledger);
    storage_free(self->storage);
    service_health_free(self->health);
    strikes_free(self->strikes);
    pool_free(self->pool);
    sd_event_source_disable_unref(self->drain);
    sd_event_unref(self->event);
}

static int
serve(struct posternd *self)
{
    g_autofree char *error = NULL;
    int code = EXIT_NO_START;
    limits_set(self->settings);
    if (open_all(self, &error) < 0) {
        log_err("%s", error);
        (void)sd_notifyf(0, "STATUS=%s", error);
    } else {
        ready_tell(self);
        code = sd_event_loop(self->event);
    }
    close_all(self);
    return code < 0 ? EXIT_FAILURE : code;
}

int
main(int argc, char **argv)
{
    struct posternd self = {0};
    g_autofree char *error = NULL;
    int code = EXIT_NO_START;
    setlocale(LC_CTYPE, "");
    if (options_parse(&self, argc, argv, &error) == 0) {
        self.settings = settings_load(self.config, &error);
    }
    if (self.settings == NULL) {
        fprintf(stderr, "posternd: %s\n", error);
        return code;
    }
    log_init("posternd", self.foreground, LOG_INFO);
    code = serve(&self);
    log_fini();
    settings_free(self.settings);
    g_free(self.config);
    return code;
}
