/* SPDX-License-Identifier: GPL-2.0-only */
#include "config.h"
#include "report.h"

#include <string.h>
#include <time.h>
#include <unistd.h>
#include <systemd/sd-daemon.h>

#include "durable.h"
#include "protocol.h"
#include "wake.h"

static const char *const state_names[] = {
    [REPORT_LOADING] = "loading",
    [REPORT_READY] = "ready",
    [REPORT_FAILED] = "failed",
};

void
report_init(struct report *report, const struct settings *settings)
{
    *report = (struct report){
        .state = REPORT_LOADING,
        .since = (gint64)time(NULL),
        .generation = g_strdup("none"),
        .sandbox = g_strdup("not started yet"),
        .state_path = g_build_filename(settings->engine_dir, "state", NULL),
        .engine_dir = g_strdup(settings->engine_dir),
    };
}

void
report_clear(struct report *report)
{
    (void)unlink(report->state_path);
    g_free(report->generation);
    g_free(report->sandbox);
    g_free(report->error);
    g_free(report->state_path);
    g_free(report->engine_dir);
    g_free(report->line);
    json_decref(report->adoption);
    json_decref(report->refusal);
}

void
report_set_text(char **field, const char *text)
{
    char *copy = g_strdup(text);
    g_free(*field);
    *field = copy;
}

json_t *
report_to_json(const struct report *report)
{
    json_t *json = json_pack(
        "{s:s, s:I, s:s, s:I, s:b, s:s, s:f, s:I, s:s?, s:i, s:I, s:I, s:I, s:i, s:I, s:O?, s:O?, "
        "s:o}",
        "state", state_names[report->state], "since", (json_int_t)report->since, "generation",
        report->generation, "signatures", (json_int_t)report->signatures, "test_only",
        report->test_only, "sandbox", report->sandbox, "load_seconds", report->load_seconds,
        "restarts", (json_int_t)report->restarts, "error", report->error, "workers",
        (int)report->workers, "memory", (json_int_t)report->memory, "worker_memory",
        (json_int_t)report->worker_memory, "newest", (json_int_t)report->newest, "database",
        (int)report->database, "database_time", (json_int_t)report->database_time, "adoption",
        report->adoption, "adoption_failed", report->refusal, "health",
        health_to_json(&report->health));
    protocol_say(json);
    return json;
}

bool
report_left_behind(const struct report *report, struct health *ret)
{
    g_autofree char *text = NULL;
    if (!g_file_get_contents(report->state_path, &text, NULL, NULL)) {
        return false;
    }
    g_auto(GStrv) words = g_strsplit(g_strchomp(text), " ", -1);
    return g_strv_length(words) == 5 && health_parse(words[4], HEALTH_OF_NODE, ret) == 0;
}

/* "STATE SINCE LOAD_SECONDS GENERATION HEALTH\n"; HEALTH as soon as it is known */
static char *
make_line(const struct report *report)
{
    char seconds[G_ASCII_DTOSTR_BUF_SIZE];
    g_ascii_formatd(seconds, sizeof seconds, "%.3f", report->load_seconds);
    g_autofree char *health = report->judged ? health_format(&report->health) : NULL;
    return g_strdup_printf("%s %" G_GINT64_FORMAT " %s %s%s%s\n", state_names[report->state],
                           report->since, seconds, report->generation, health != NULL ? " " : "",
                           health != NULL ? health : "");
}

int
report_publish(struct report *report, enum report_state state)
{
    if (state != report->state) {
        report->state = state;
        report->since = (gint64)time(NULL);
    }
    g_autofree char *line = make_line(report);
    if (g_strcmp0(line, report->line) == 0) {
        return 0;
    }
    sd_notifyf(0, "STATUS=%s, signatures \"%s\"%s%s", state_names[state], report->generation,
               report->error != NULL ? ": " : "", report->error != NULL ? report->error : "");
    int rc = durable_keep_text(report->state_path, line, 0644);
    if (rc == 0) {
        g_free(report->line);
        report->line = g_steal_pointer(&line);
    }
    wake_notify(report->engine_dir);
    return rc;
}
