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
#include "update-service.h"

/* The clock is looked at so often: it may be set, and a laptop may sleep. */
#define LOOK_SECONDS 60
/* On a passive node: whether it has become the active one. */
#define HOLD_SECONDS 5

struct options {
    struct update_service_options common;
    gboolean once;
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

/* In a cluster the active node fetches for all. Returns whether this one may. */
static gboolean
hold(const struct options *options, struct settings **settings)
{
    const struct timespec pause = {.tv_sec = HOLD_SECONDS};
    sigset_t hangup;
    if (precedence_may_fetch(*settings, options->common.role)) {
        return TRUE;
    }
    sigemptyset(&hangup);
    sigaddset(&hangup, SIGHUP);
    if (sigtimedwait(&hangup, NULL, &pause) == SIGHUP) {
        (void)update_service_read_again(&options->common, settings);
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
        (void)update_service_read_again(&options->common, settings);
        if (!precedence_may_fetch(*settings, options->common.role)) {
            continue;
        }
        if (time(NULL) < next_round(*settings) - (gint64)(*settings)->update_jitter - 1) {
            continue; /* the interval became longer, or somebody else was quicker */
        }
        int rc = round_run(*settings, options->common.config, log_event, NULL, &error);
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
    int rc = round_run(settings, options->common.config, say_json, stdout, &error);
    if (rc < 0) {
        fprintf(stderr, "postern-update: %s\n", error);
        return 2;
    }
    return 0;
}

int
main(int argc, char **argv)
{
    struct options options = {.once = FALSE};
    const GOptionEntry more[] = {
        {"once", 0, 0, G_OPTION_ARG_NONE, &options.once, "Look now, tell it as JSON, and end",
         NULL},
        {NULL, 0, 0, G_OPTION_ARG_NONE, NULL, NULL, NULL},
    };
    const struct update_service service = {
        .program = "postern-update",
        .summary = "Fetches signatures and offers them as a generation.",
        .debug_text = "Log what libfreshclam says",
        .more = more,
    };
    g_autofree char *error = NULL;
    setlocale(LC_CTYPE, "");
    if (!update_service_parse(&service, &options.common, argc, argv)) {
        return 2;
    }
    if (options.common.version) {
        puts("postern-update " PACKAGE_VERSION);
        return 0;
    }
    struct settings *settings = settings_load(options.common.config, &error);
    if (settings == NULL) {
        fprintf(stderr, "postern-update: %s\n", error);
        return 2;
    }
    umask(022);
    log_init("postern-update", options.common.foreground || options.once,
             options.common.debug ? LOG_DEBUG
             : options.once       ? LOG_WARNING
                                  : LOG_INFO);
    int rc = options.once ? once(&options, settings) : serve(&options, &settings);
    settings_free(settings);
    update_service_clear(&options.common);
    log_fini();
    return rc;
}
