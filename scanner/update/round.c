/* SPDX-License-Identifier: GPL-2.0-only */
#include "round.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#include "offer.h"
#include "progress.h"
#include "run.h"
#include "schedule.h"
#include "source.h"
#include "text.h"
#include "update-files.h"

#define LOCK "lock"

struct round {
    const struct settings *settings;
    const char *config;
    json_t *before;
    GPtrArray *all; /* sources_of() */
    json_t *sources;
    round_event *event;
    void *data;
    gboolean failed;
};

static json_int_t
number_of(const json_t *object, const char *name)
{
    return json_integer_value(json_object_get(object, name));
}

/* The first file that could not be had, and why. */
static char *
failure_of(const json_t *result, const char *complaint)
{
    const json_t *failed = json_array_get(json_object_get(result, "failed"), 0);
    const char *file = json_string_value(json_object_get(failed, "file"));
    const char *error = json_string_value(json_object_get(failed, "error"));
    if (failed == NULL) {
        return NULL;
    }
    g_autofree char *shown = text_escape(file, 100);
    g_autofree char *why = text_escape(error, 300);
    return complaint == NULL ? g_strdup_printf("%s: %s", shown, why)
                             : g_strdup_printf("%s: %s (%s)", shown, why, complaint);
}

static char *
waiting_text(gint64 until)
{
    g_autoptr(GDateTime) time = g_date_time_new_from_unix_local(until);
    g_autofree char *shown = time == NULL ? NULL : g_date_time_format(time, "%F %T");
    return g_strdup_printf("the mirror said 403 or 429: it is left alone until %s",
                           shown != NULL ? shown : "it may be asked again");
}

/* Fetches from SOURCE. Returns its result, and what went wrong in *ERROR. */
static const char *
source_round(struct round *round, const struct source *source, json_int_t *retry, char **error)
{
    g_autofree char *complaint = NULL;
    json_t *result = NULL;
    int dir = source_open(round->settings, source->name, error);
    if (dir < 0) {
        return "failed";
    }
    struct bound bound;
    if (bound_begin(&bound, round->settings, round->all, source, dir, error) < 0) {
        close(dir);
        return "failed";
    }
    const struct run_task task = {.config = round->config,
                                  .source = source->name,
                                  .seconds = round->settings->update_timeout,
                                  .bound = &bound};
    int rc = run_fetch(&task, &result, &complaint);
    int sealed = source_seal(source, dir);
    close(dir);
    *retry = number_of(result, "retry");
    gboolean updated = number_of(result, "updated") > 0;
    *error = rc < 0 ? g_steal_pointer(&complaint) : failure_of(result, complaint);
    json_decref(result);
    if (sealed < 0 && *error == NULL) {
        *error = g_strdup_printf("what was fetched cannot be kept: %s", g_strerror(-sealed));
    }
    /* From now on: counted from when it was asked, a whole day would be more than the longest. */
    if (schedule_must_wait(*retry, time(NULL))) {
        g_free(*error);
        *error = waiting_text(*retry);
        return "waiting";
    }
    return *error != NULL ? "failed" : updated ? "updated" : "current";
}

static void
source_done(struct round *round, const struct source *source)
{
    g_autofree char *error = NULL;
    g_autofree char *origin = source_origin(source, round->settings);
    json_t *before = progress_source(round->before, source->name);
    json_int_t retry = number_of(before, "retry");
    json_int_t succeeded = number_of(before, "succeeded");
    const char *result = "waiting";
    if (schedule_must_wait(retry, time(NULL))) {
        error = waiting_text(retry);
    } else {
        result = source_round(round, source, &retry, &error);
    }
    if (strcmp(result, "updated") == 0 || strcmp(result, "current") == 0) {
        succeeded = time(NULL);
    }
    round->failed = round->failed || error != NULL;
    g_autofree char *shown = text_escape(origin, 500);
    json_t *object =
        json_pack("{s:s, s:s, s:s, s:s?, s:I, s:I}", "name", source->name, "origin", shown,
                  "result", result, "error", error, "succeeded", succeeded, "retry", retry);
    json_array_append_new(round->sources, object);
    round->event(object, round->data);
}

/* What a directory of this machine could not give. What came from it before is in the offer. */
static void
problem_done(struct round *round, const struct offer_problem *problem)
{
    g_autofree char *shown = text_escape(problem->path, 500);
    json_t *object =
        json_pack("{s:s, s:s, s:s, s:s, s:i, s:i}", "name", UPDATE_DIRECTORY, "origin", shown,
                  "result", "failed", "error", problem->error, "succeeded", 0, "retry", 0);
    round->failed = TRUE;
    json_array_append_new(round->sources, object);
    round->event(object, round->data);
}

static void
round_end(struct round *round, gint64 started)
{
    struct offer offer;
    g_autofree char *error = NULL;
    int rc = offer_make(round->settings, &offer, &error);
    for (guint i = 0; i < offer.problems->len; i++) {
        problem_done(round, g_ptr_array_index(offer.problems, i));
    }
    gboolean failed = round->failed || rc < 0;
    const char *result = rc == 0 && offer.is_new ? "offered" : failed ? "failed" : "current";
    json_int_t failures = failed ? number_of(round->before, "failures") + 1 : 0;
    json_t *progress =
        json_pack("{s:I, s:I, s:I, s:s, s:s?, s:s?, s:O}", "started", (json_int_t)started, "ended",
                  (json_int_t)time(NULL), "failures", failures, "result", result, "error", error,
                  "offer", rc == 0 ? offer.name : NULL, "sources", round->sources);
    /* The daemon's, which says another one when it looks. */
    json_t *next = json_object_get(round->before, "next");
    if (next != NULL) {
        json_object_set(progress, "next", next);
    }
    int saved = progress_save(round->settings, progress);
    if (saved < 0 && error == NULL) {
        g_autofree char *text = g_strdup_printf("%s/" STATUS_FILE ": %s",
                                                round->settings->update_dir, g_strerror(-saved));
        json_object_set_new(progress, "error", json_string(text));
    }
    round->event(progress, round->data);
    json_decref(progress);
    offer_clear(&offer);
}

static int
lock(const struct settings *settings, char **error_r)
{
    g_autofree char *path = g_build_filename(settings->update_dir, LOCK, NULL);
    int fd = g_mkdir_with_parents(settings->update_dir, 0755) < 0
                 ? -1
                 : open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) {
        int rc = -errno;
        *error_r = g_strdup_printf("%s: %s", path, g_strerror(-rc));
        return rc;
    }
    if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
        close(fd);
        *error_r = g_strdup_printf("%s: an update is under way already", settings->update_dir);
        return -EBUSY;
    }
    return fd;
}

int
round_run(const struct settings *settings, const char *config, round_event *event, void *data,
          char **error_r)
{
    gint64 started = time(NULL);
    int fd = lock(settings, error_r);
    if (fd < 0) {
        return fd;
    }
    struct round round = {.settings = settings,
                          .config = config,
                          .before = progress_load(settings),
                          .sources = json_array(),
                          .event = event,
                          .data = data};
    g_autoptr(GPtrArray) sources = sources_of(settings);
    round.all = sources;
    sources_tidy(settings, sources);
    for (guint i = 0; i < sources->len; i++) {
        source_done(&round, g_ptr_array_index(sources, i));
    }
    round_end(&round, started);
    json_decref(round.before);
    json_decref(round.sources);
    close(fd);
    return 0;
}
