/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * postern-engine: keeps scanning processes ready on every node, whether mail arrives there or
 * not. Starts the zygote in fresh namespaces, hands its workers to posternd, replaces what dies.
 *
 * SECURITY: runs as a user of its own with CAP_SETUID and CAP_SETGID. Loads no signature and
 * reads no mail; it parses JSON of posternd, of the zygote, and one packet of each new worker.
 */
#include "config.h"
#include "engine.h"

#include <errno.h>
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <systemd/sd-daemon.h>

#include "log.h"
#include "precedence.h"
#include "nursery.h"
#include "orders.h"
#include "text.h"

#define VALUE_SHOWN 1000
#define GAP_USEC (1000 * 1000ULL)

struct options {
    char *role;
    char *config;
    gboolean foreground;
    gboolean version;
    gboolean debug;
};

static int
on_gap_end(sd_event_source *source, uint64_t usec, void *data)
{
    (void)source;
    (void)usec;
    struct engine *engine = data;
    engine->gap = sd_event_source_disable_unref(engine->gap);
    engine->gap_over = true;
    engine_changed(engine);
    return 0;
}

/* True while `ready` may be kept although no worker is. */
static bool
in_gap(struct engine *engine)
{
    if (engine->report.state != REPORT_READY || engine->gap_over) {
        return false;
    }
    if (engine->gap == NULL) {
        return sd_event_add_time_relative(engine->event, &engine->gap, CLOCK_MONOTONIC, GAP_USEC, 1,
                                          on_gap_end, engine) >= 0;
    }
    return true;
}

static enum report_state
find_state(struct engine *engine)
{
    /* Workers of before serve on, even when the zygote of a new generation is gone. */
    if (adoption_pauses(engine)) {
        return REPORT_LOADING;
    }
    if (crew_ready(engine->crew) > 0) {
        engine->gap = sd_event_source_disable_unref(engine->gap);
        engine->gap_over = false;
        return REPORT_READY;
    }
    /* An older generation may take its place, which takes no longer than a start. */
    if (supervisor_failed(engine->supervisor)) {
        bool may_help = engine->report.state != REPORT_FAILED && adoption_may_help(engine);
        return may_help ? REPORT_LOADING : REPORT_FAILED;
    }
    if (!supervisor_loaded(engine->supervisor)) {
        return REPORT_LOADING;
    }
    return in_gap(engine) ? REPORT_READY : REPORT_LOADING;
}

void
engine_changed(struct engine *engine)
{
    enum report_state before = engine->report.state;
    enum report_state state = find_state(engine);
    engine->report.workers = crew_alive(engine->crew);
    if (supervisor_loaded(engine->supervisor)) {
        report_set_text(&engine->report.error, crew_error(engine->crew));
    }
    int rc = report_publish(&engine->report, state);
    if (rc < 0) {
        log_err("%s: %s", engine->report.state_path, g_strerror(-rc));
    }
    if (state != before) {
        static const char *const texts[] = {
            [REPORT_LOADING] = "loading",
            [REPORT_READY] = "ready",
            [REPORT_FAILED] = "FAILED",
        };
        log_notice("engine: %s", texts[state]);
    }
    clients_state_changed(engine->clients);
}

static int
on_terminate(sd_event_source *source, const struct signalfd_siginfo *info, void *data)
{
    (void)source;
    struct engine *engine = data;
    log_notice("engine: stopping on signal %u", info->ssi_signo);
    sd_notify(0, "STOPPING=1");
    nursery_stop_all(engine);
    return 0;
}

/* What posternd takes over while it runs is not the engine's; the rest came to the zygote with its
 * orders. */
static void
on_changed(const char *name, const char *old, const char *fresh, bool is_taken, void *data)
{
    (void)data;
    if (!is_taken) {
        g_autofree char *from = text_escape(old, VALUE_SHOWN);
        g_autofree char *to = text_escape(fresh, VALUE_SHOWN);
        log_warning("configuration: %s = %s needs a restart; until then: %s", name, to, from);
    }
}

static int
on_hangup(sd_event_source *source, const struct signalfd_siginfo *info, void *data)
{
    struct engine *engine = data;
    g_autofree char *error = NULL;
    (void)source;
    (void)info;
    g_autoptr(settings_t) fresh = settings_load(engine->config, &error);
    if (fresh == NULL) {
        log_err("the configuration stays as it was: %s", error);
        return 0;
    }
    settings_take(engine->settings, fresh, on_changed, NULL);
    log_notice("configuration read again");
    return 0;
}

static int
watch_signals(struct engine *engine)
{
    static const struct {
        int number;
        sd_event_signal_handler_t handler;
    } signals[] = {
        {SIGTERM, on_terminate},
        {SIGINT, on_terminate},
        {SIGHUP, on_hangup},
    };
    sigset_t mask;
    sigemptyset(&mask);
    sigaddset(&mask, SIGCHLD);
    for (size_t i = 0; i < G_N_ELEMENTS(signals); i++) {
        sigaddset(&mask, signals[i].number);
    }
    if (sigprocmask(SIG_BLOCK, &mask, NULL) < 0) {
        return -errno;
    }
    signal(SIGPIPE, SIG_IGN);
    int rc = 0;
    for (size_t i = 0; rc >= 0 && i < G_N_ELEMENTS(signals); i++) {
        rc =
            sd_event_add_signal(engine->event, NULL, signals[i].number, signals[i].handler, engine);
    }
    return rc;
}

/* The worst that a worker may take is what its rlimits and its tmpfs allow. */
static void
make_groups(struct engine *engine)
{
    g_autoptr(orders_t) orders = orders_new(engine->settings, NULL, false);
    g_autofree char *why = NULL;
    engine->report.worker_memory = orders_memory(orders) + orders_tmp_size(orders);
    engine->groups = groups_new(crew_slots(engine->settings), engine->report.worker_memory, &why);
    engine->groups_text = engine->groups != NULL ? g_strdup("a control group per worker")
                                                 : g_strdup_printf("NO control groups (%s)", why);
}

static void
on_health(const struct health *health, void *data)
{
    struct engine *engine = data;
    engine->report.health = *health;
    engine->report.judged = true;
    engine_changed(engine);
}

/* The mail may move only where there is somewhere to, which ha/score.h sees to. */
static void
ask_signatures(struct health_signatures *ret, void *data)
{
    struct engine *engine = data;
    ret->memory = engine->report.memory;
    ret->old = age_is_over(&engine->age, engine->settings, &engine->report);
    ret->waits = adoption_waits_for_memory(engine);
    ret->moves = strcmp(engine->settings->adopt_move, "yes") == 0;
}

/* A crash is no cure: what ailed the node before still counts. */
static int
watch_health(struct engine *engine, char **error_r)
{
    struct health before;
    bool known = report_left_behind(&engine->report, &before);
    if (known) {
        engine->report.health = before;
        engine->report.judged = true;
    }
    int rc = health_watch_new(engine->event, engine->settings, known ? &before : NULL, on_health,
                              ask_signatures, engine, &engine->health);
    if (rc < 0) {
        *error_r = g_strdup_printf("no watch over this node's health: %s", g_strerror(-rc));
    }
    return rc;
}

static int
engine_start(struct engine *engine, char **error_r)
{
    int rc = sd_event_default(&engine->event);
    if (rc >= 0) {
        rc = watch_signals(engine);
    }
    if (rc >= 0) {
        rc = sd_event_set_watchdog(engine->event, true);
    }
    if (rc < 0) {
        *error_r = g_strdup_printf("no event loop: %s", g_strerror(-rc));
        return rc;
    }
    /* The state file is for everybody, whatever UMask= the unit has. */
    umask(022);
    report_init(&engine->report, engine->settings);
    make_groups(engine);
    engine->nurseries = g_ptr_array_new();
    engine->supervisor = supervisor_new(engine, error_r);
    engine->crew = crew_new(engine);
    if (engine->supervisor == NULL) {
        return -ENOENT;
    }
    rc = clients_new(engine, &engine->clients, error_r);
    if (rc == 0) {
        rc = watch_health(engine, error_r);
    }
    if (rc >= 0) {
        rc = adoption_new(engine, &engine->adoption, error_r);
    }
    if (rc >= 0) {
        rc = trial_new(engine, &engine->trial, error_r);
    }
    if (rc < 0) {
        return rc;
    }
    engine->evidence = evidence_new(engine);
    /* Before systemd says that we are up: what a killed engine left behind may say "ready". */
    engine_changed(engine);
    sd_notify(0, "READY=1");
    supervisor_start(engine->supervisor);
    return 0;
}

static void
engine_end(struct engine *engine)
{
    if (engine->clients != NULL) {
        /* Only who got the socket owns the state file. */
        report_clear(&engine->report);
    }
    trial_free(engine->trial);
    health_watch_free(engine->health);
    evidence_free(engine->evidence);
    adoption_free(engine->adoption);
    supervisor_free(engine->supervisor);
    g_clear_pointer(&engine->nurseries, g_ptr_array_unref);
    crew_free(engine->crew);
    clients_free(engine->clients);
    groups_free(engine->groups);
    g_free(engine->groups_text);
    sd_event_source_disable_unref(engine->gap);
    sd_event_unref(engine->event);
    settings_free(engine->settings);
}

static bool
parse_options(int argc, char **argv, struct options *options)
{
    const GOptionEntry entries[] = {
        {"config", 'c', 0, G_OPTION_ARG_FILENAME, &options->config,
         "Configuration (default " SETTINGS_PATH ")", "FILE"},
        {"role", 0, 0, G_OPTION_ARG_FILENAME, &options->role,
         "What the cluster wants of this node (" PRECEDENCE_ROLE ")", "FILE"},
        {"foreground", 'f', 0, G_OPTION_ARG_NONE, &options->foreground, "Log to stderr", NULL},
        {"debug", 'd', 0, G_OPTION_ARG_NONE, &options->debug, "Log more", NULL},
        {"version", 'V', 0, G_OPTION_ARG_NONE, &options->version, "Print the version", NULL},
        G_OPTION_ENTRY_NULL,
    };
    g_autoptr(GOptionContext) context = g_option_context_new("- keeps mail scanners ready");
    g_autoptr(GError) error = NULL;
    g_option_context_add_main_entries(context, entries, NULL);
    if (!g_option_context_parse(context, &argc, &argv, &error) || argc > 1) {
        fprintf(stderr, "postern-engine: %s\n",
                error != NULL ? error->message : "takes no arguments; see --help");
        return false;
    }
    return true;
}

int
main(int argc, char **argv)
{
    struct options options = {0};
    struct engine engine = {0};
    g_autofree char *error = NULL;
    setlocale(LC_CTYPE, "");
    if (!parse_options(argc, argv, &options)) {
        return 2;
    }
    if (options.version) {
        puts("postern-engine " PACKAGE_VERSION);
        return 0;
    }
    log_init("postern-engine", options.foreground, options.debug ? LOG_DEBUG : LOG_INFO);
    engine.config = options.config;
    engine.role = options.role;
    engine.settings = settings_load(options.config, &error);
    int rc = engine.settings == NULL ? -EINVAL : engine_start(&engine, &error);
    if (rc == 0) {
        rc = sd_event_loop(engine.event);
    }
    if (error != NULL) {
        log_err("%s", error);
    }
    if (engine.settings != NULL) {
        engine_end(&engine);
    }
    log_fini();
    g_free(options.config);
    g_free(options.role);
    return rc < 0 ? 2 : 0;
}
