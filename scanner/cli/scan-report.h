/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef SCAN_REPORT_H
#define SCAN_REPORT_H

/*
 * What `postern scan` prints: results in the order in which the files were found, though scans end
 * in another; progress on a terminal; the sums.
 */

#include <glib.h>
#include <jansson.h>

#include "facts.h"

struct scan_report_options {
    gboolean json;       /* one object a line, the last is {"summary":{...}} */
    gboolean found_only; /* neither what is clean nor what is passed over */
    gboolean no_summary;
};

struct scan_result {
    char *path;
    gboolean skipped; /* passed over; then only path and reason hold */
    enum verdict verdict;
    char *reason; /* "" = none */
    guint64 size;
    json_t *facts; /* may be NULL */
};

struct scan_report;

struct scan_report *scan_report_new(const struct scan_report_options *options);

/* The next number in the order of the output. */
guint64 scan_report_reserve(struct scan_report *report);
/* Numbers that are reserved and still without a result. */
guint64 scan_report_open(const struct scan_report *report);
/* The result with NUMBER; the texts and the facts are taken over. */
void scan_report_add(struct scan_report *report, guint64 number, const struct scan_result *result);

/* Shows that PATH is being looked at, now and then and only on a terminal. */
void scan_report_progress(struct scan_report *report, const char *path);
/* Something to know, for people: on stderr. */
void scan_report_note(struct scan_report *report, const char *path, const char *text);

/* Prints the sums. COMPLETE: every file was asked for. Returns the exit status, and frees it. */
int scan_report_end(struct scan_report *report, guint directories, gboolean complete);

#endif
