/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * postern-update: fetches signatures every hour or so and offers them as a generation. It loads
 * none, adopts none, and writes nothing outside update_dir.
 *
 * SECURITY: a user of its own, which owns update_dir alone. What strangers send is parsed by
 * postern-fetch, one process per source; this one reads JSON of that and the 512 bytes of a header.
 * It may be killed at any moment: what is on the disk is whole, and the next round goes on.
 */
#include "config.h"

#include <errno.h>
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <jansson.h>
#include <systemd/sd-daemon.h>

#include "log.h"
#include "precedence.h"
#include "progress.h"
#include "round.h"
#include "schedule.h"

/* The clock is looked at so often: it may be set, and a laptop may sleep. */
#define LOOK_SECONDS 60
/* On a passive node: whether it has become the active one. */
#define HOLD_SECONDS 5

struct options {
    char *config;
    char *role;
    gboolean once;
    gboolean foreground;
    gboolean debug;
    gboolean version;
};

static void
say_json(json_t *event, void *data)
{
    json_dumpf(event, data, JSON_COMPACT);
    fputc('\n', data);
    fflush(data);
}

static const char *
text_of(const json_t *object, const char *name)
{
    return json_string_value(json_object_get(object, name));
}

static void
log_event(json_t *event, void *data)
{
    (void)data;
    const char *result = text_of(event, "result");
    const char *error = text_of(event, "error");
    const char *origin = text_of(event, "origin");
    if (origin != NULL) {
        if (error != NULL) {
            log_warning("%s: %s", origin, error);
        } else {
            log_info("%s: %s", origin, result);
        }
    } else if (strcmp(result, "offered") == 0) {
        log_notice("generation %s is offered", text_of(event, "offer"));
    } else if (error != NULL) {
        log_warning("nothing is offered: %s", error);
    }
}

static gint64
next_round(const struct settings *settings)
{
    json_t *progress = progress_load(settings);
    struct schedule schedule = {
        .interval = (gint64)settings->update_interval,
        .jitter = (gint64)settings->update_jitter,
        .last = json_integer_value(json_object_get(progress, "started")),
        .failures = (guint)json_integer_value(json_object_get(progress, "failures")),
    };
    gint64 next = schedule_next(&schedule, time(NULL), g_random_int());
    json_object_set_new(progress, "next", json_integer(next));
    (void)progress_save(settings, progress);
    json_decref(progress);
    return next;
}

/* Waits until NEXT. A clock that was set back makes it no longer than the longest pause. */
static void
wait_until(const struct settings *settings, gint64 next)
{
    gint64 longest = (gint64)(settings->update_interval + settings->update_jitter);
    gint64 since = g_get_monotonic_time();
    sigset_t hangup;
    sigemptyset(&hangup);
    sigaddset(&hangup, SIGHUP);
    while (time(NULL) < next && (g_get_monotonic_time() - since) / G_USEC_PER_SEC <= longest) {
        const struct timespec pause = {.tv_sec = MIN(LOOK_SECONDS, next - time(NULL))};
        if (sigtimedwait(&hangup, NULL, &pause) == SIGHUP) {
            return;
        }
    }
}

/* Reads the configuration anew; keeps the old one when that is broken. */
static void
read_again(const struct options *options, struct settings **settings)
{
    g_autofree char *error = NULL;
    struct settings *fresh = settings_load(options->config, &error);
    if (fresh == NULL) {
        log_err("the configuration stays as it was: %s", error);
        return;
    }
    settings_free(*settings);
    *settings = fresh;
}

/* In a cluster the active node fetches for all. Returns whether this one may. */
static gboolean
hold(const struct options *options, struct settings **settings)
{
    const struct timespec pause = {.tv_sec = HOLD_SECONDS};
    sigset_t hangup;
    if (precedence_may_fetch(*settings, options->role)) {
        return TRUE;
    }
    sigemptyset(&hangup);
    sigaddset(&hangup, SIGHUP);
    if (sigtimedwait(&hangup, NULL, &pause) == SIGHUP) {
        read_again(options, settings);
    }
    return FALSE;
}

static int
serve(const struct options *options, struct settings **settings)
{
    sigset_t hangup;
    sigemptyset(&hangup);
    sigaddset(&hangup, SIGHUP);
    (void)sigprocmask(SIG_BLOCK, &hangup, NULL);
    (void)sd_notify(0, "READY=1");
    for (;;) {
        g_autofree char *error = NULL;
        if (!hold(options, settings)) {
            continue;
        }
        wait_until(*settings, next_round(*settings));
        read_again(options, settings);
        if (!precedence_may_fetch(*settings, options->role)) {
            continue;
        }
        if (time(NULL) < next_round(*settings) - (gint64)(*settings)->update_jitter - 1) {
            continue; /* the interval became longer, or somebody else was quicker */
        }
        int rc = round_run(*settings, options->config, log_event, NULL, &error);
        if (rc == -EBUSY) {
            log_info("%s", error);
            wait_until(*settings, time(NULL) + LOOK_SECONDS);
        } else if (rc < 0) {
            log_err("%s", error);
            return 2;
        }
    }
}

static int
once(const struct options *options, const struct settings *settings)
{
    g_autofree char *error = NULL;
    int rc = round_run(settings, options->config, say_json, stdout, &error);
    if (rc < 0) {
        fprintf(stderr, "postern-update: %s\n", error);
        return 2;
    }
    return 0;
}

static gboolean
options_parse(struct options *options, int argc, char **argv)
{
    const GOptionEntry entries[] = {
        {"config", 'c', 0, G_OPTION_ARG_FILENAME, &options->config,
         "Configuration (" SETTINGS_PATH ")", "FILE"},
        {"role", 0, 0, G_OPTION_ARG_FILENAME, &options->role,
         "What the cluster wants of this node (" PRECEDENCE_ROLE ")", "FILE"},
        {"once", 0, 0, G_OPTION_ARG_NONE, &options->once, "Look now, tell it as JSON, and end",
         NULL},
        {"foreground", 0, 0, G_OPTION_ARG_NONE, &options->foreground, "Log to stderr", NULL},
        {"debug", 0, 0, G_OPTION_ARG_NONE, &options->debug, "Log what libfreshclam says", NULL},
        {"version", 0, 0, G_OPTION_ARG_NONE, &options->version, "Print the version", NULL},
        {NULL, 0, 0, G_OPTION_ARG_NONE, NULL, NULL, NULL},
    };
    g_autoptr(GError) error = NULL;
    g_autoptr(GOptionContext) context = g_option_context_new(NULL);
    g_option_context_set_summary(context, "Fetches signatures and offers them as a generation.");
    g_option_context_add_main_entries(context, entries, NULL);
    if (!g_option_context_parse(context, &argc, &argv, &error)) {
        fprintf(stderr, "postern-update: %s\n", error->message);
        return FALSE;
    }
    if (argc > 1) {
        fprintf(stderr, "postern-update: %s: no arguments are taken\n", argv[1]);
        return FALSE;
    }
    return TRUE;
}

int
main(int argc, char **argv)
{
    struct options options = {.config = NULL};
    g_autofree char *error = NULL;
    setlocale(LC_CTYPE, "");
    if (!options_parse(&options, argc, argv)) {
        return 2;
    }
    if (options.version) {
        puts("postern-update " PACKAGE_VERSION);
        return 0;
    }
    struct settings *settings = settings_load(options.config, &error);
    if (settings == NULL) {
        fprintf(stderr, "postern-update: %s\n", error);
        return 2;
    }
    umask(022);
    log_init("postern-update", options.foreground || options.once,
             options.debug  ? LOG_DEBUG
             : options.once ? LOG_WARNING
                            : LOG_INFO);
    int rc = options.once ? once(&options, settings) : serve(&options, &settings);
    settings_free(settings);
    g_free(options.config);
    g_free(options.role);
    log_fini();
    return rc;
}
