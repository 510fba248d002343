/* SPDX-License-Identifier: GPL-2.0-only */
#include "scan-report.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"
#include "terminal.h"
#include "text.h"

#define PROGRESS_US 100000
#define PATH_MIN 20

struct scan_report {
    struct scan_report_options options;
    gboolean progress;
    gint64 shown; /* monotonic time of the last progress */
    gint64 began;
    guint64 reserved;
    guint64 printed;     /* all numbers below have been */
    GHashTable *waiting; /* number -> struct scan_result * */
    guint64 counts[VERDICT_ERROR + 1];
    guint64 skipped;
    guint64 bytes;
};

static void
result_free(void *p)
{
    struct scan_result *result = p;
    g_free(result->path);
    g_free(result->reason);
    json_decref(result->facts);
    g_free(result);
}

struct scan_report *
scan_report_new(const struct scan_report_options *options)
{
    struct scan_report *report = g_new0(struct scan_report, 1);
    report->options = *options;
    report->progress = isatty(STDERR_FILENO) != 0;
    report->began = g_get_monotonic_time();
    report->waiting = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, result_free);
    return report;
}

guint64
scan_report_reserve(struct scan_report *report)
{
    return report->reserved++;
}

guint64
scan_report_open(const struct scan_report *report)
{
    return report->reserved - report->printed;
}

static void
progress_clear(struct scan_report *report)
{
    if (report->progress && report->shown != 0) {
        fputs("\r\033[K", stderr);
        report->shown = 0;
    }
}

static guint64
done(const struct scan_report *report)
{
    guint64 n = 0;
    for (int i = 0; i <= VERDICT_ERROR; i++) {
        n += report->counts[i];
    }
    return n;
}

void
scan_report_progress(struct scan_report *report, const char *path)
{
    gint64 now = g_get_monotonic_time();
    if (!report->progress || now - report->shown < PROGRESS_US) {
        return;
    }
    g_autofree char *count =
        g_strdup_printf("%" G_GUINT64_FORMAT " done, %" G_GUINT64_FORMAT " found, ", done(report),
                        report->counts[VERDICT_INFECTED] + report->counts[VERDICT_UNSCANNED]);
    size_t width = terminal_width(STDERR_FILENO);
    size_t room = width > strlen(count) + PATH_MIN ? width - strlen(count) - 1 : PATH_MIN;
    g_autofree char *shown = text_escape(path, room > 3 ? room - 3 : room);
    fprintf(stderr, "\r\033[K%s%s", count, shown);
    report->shown = now;
}

void
scan_report_note(struct scan_report *report, const char *path, const char *text)
{
    g_autofree char *shown = text_escape(path, 4096);
    g_autofree char *why = text_escape(text, 4096);
    progress_clear(report);
    fprintf(stderr, "postern: note: %s: %s\n", shown, why);
}

static void
print_text(const struct scan_result *r)
{
    static const enum colour colours[] = {[VERDICT_CLEAN] = COLOUR_GOOD,
                                          [VERDICT_INFECTED] = COLOUR_BAD,
                                          [VERDICT_UNSCANNED] = COLOUR_BAD,
                                          [VERDICT_ERROR] = COLOUR_DOUBT};
    g_autofree char *shown = text_escape(r->path, 4096);
    g_autofree char *why = text_escape(r->reason, 500);
    if (r->skipped) {
        printf("%s: skipped (%s)\n", shown, why);
        return;
    }
    g_autofree char *word = terminal_colour(colours[r->verdict], verdict_name(r->verdict));
    if (r->verdict == VERDICT_CLEAN) {
        printf("%s: %s\n", shown, word);
    } else {
        printf("%s: %s (%s)\n", shown, word, why);
    }
}

static void
print_json(const struct scan_result *r)
{
    g_autofree char *path = g_utf8_make_valid(r->path, -1);
    g_autofree char *reason = g_utf8_make_valid(r->reason, -1);
    json_t *object = r->skipped ? json_pack("{s:s, s:s}", "path", path, "skipped", reason)
                                : json_pack("{s:s, s:s, s:s, s:I, s:O?}", "path", path, "verdict",
                                            verdict_name(r->verdict), "reason", reason, "size",
                                            (json_int_t)r->size, "facts", r->facts);
    json_dumpf(object, stdout, JSON_COMPACT);
    putchar('\n');
    json_decref(object);
}

static void
print(struct scan_report *report, const struct scan_result *r)
{
    if (r->skipped) {
        report->skipped++;
    } else {
        report->counts[r->verdict]++;
        report->bytes += r->size;
    }
    if (report->options.found_only && (r->skipped || r->verdict == VERDICT_CLEAN)) {
        return;
    }
    progress_clear(report);
    if (report->options.json) {
        print_json(r);
    } else {
        print_text(r);
    }
    fflush(stdout);
}

void
scan_report_add(struct scan_report *report, guint64 number, const struct scan_result *result)
{
    gint64 *key = g_new(gint64, 1);
    *key = (gint64)number;
    g_hash_table_insert(report->waiting, key, g_memdup2(result, sizeof *result));
    gint64 next = (gint64)report->printed;
    const struct scan_result *first;
    while ((first = g_hash_table_lookup(report->waiting, &next)) != NULL) {
        print(report, first);
        g_hash_table_remove(report->waiting, &next);
        next = (gint64)++report->printed;
    }
}

/* In the order and with the words that people know from clamscan. */
static void
summary_text(const struct scan_report *report, guint directories, double seconds)
{
    g_autofree char *size = terminal_size(report->bytes);
    const struct {
        const char *label;
        guint64 value;
    } lines[] = {
        {"Scanned directories", directories},
        {"Scanned files", done(report) - report->counts[VERDICT_ERROR]},
        {"Infected files", report->counts[VERDICT_INFECTED]},
        {"Not fully scanned", report->counts[VERDICT_UNSCANNED]},
        {"Errors", report->counts[VERDICT_ERROR]},
        {"Skipped", report->skipped},
    };
    puts("\n----------- SCAN SUMMARY -----------");
    for (size_t i = 0; i < G_N_ELEMENTS(lines); i++) {
        printf("%s: %" G_GUINT64_FORMAT "\n", lines[i].label, lines[i].value);
    }
    printf("Data scanned: %s\nTime: %.3f s\n", size, seconds);
}

static void
summary_json(const struct scan_report *report, guint directories, double seconds)
{
    json_t *all =
        json_pack("{s:{s:i, s:I, s:I, s:I, s:I, s:I, s:I, s:f}}", "summary", "directories",
                  (int)directories, "clean", (json_int_t)report->counts[VERDICT_CLEAN], "infected",
                  (json_int_t)report->counts[VERDICT_INFECTED], "not_fully_scanned",
                  (json_int_t)report->counts[VERDICT_UNSCANNED], "errors",
                  (json_int_t)report->counts[VERDICT_ERROR], "skipped", (json_int_t)report->skipped,
                  "bytes", (json_int_t)report->bytes, "seconds", seconds);
    json_dumpf(all, stdout, JSON_COMPACT);
    putchar('\n');
    json_decref(all);
}

/* What was found is certain, so it outweighs an error; 0 only if all are clean. */
static int
exit_of(const struct scan_report *report, gboolean complete)
{
    if (report->counts[VERDICT_INFECTED] + report->counts[VERDICT_UNSCANNED] > 0) {
        return CLI_FOUND;
    }
    return report->counts[VERDICT_ERROR] > 0 || !complete ? CLI_ERROR : CLI_OK;
}

int
scan_report_end(struct scan_report *report, guint directories, gboolean complete)
{
    double seconds = (double)(g_get_monotonic_time() - report->began) / G_USEC_PER_SEC;
    int rc = exit_of(report, complete);
    progress_clear(report);
    if (!report->options.no_summary) {
        if (report->options.json) {
            summary_json(report, directories, seconds);
        } else {
            summary_text(report, directories, seconds);
        }
    }
    g_hash_table_unref(report->waiting);
    g_free(report);
    return rc;
}
