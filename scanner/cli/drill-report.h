/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef DRILL_REPORT_H
#define DRILL_REPORT_H

/* What a drill has shown: numbers of both moves, the account of the probes, and what was wrong. */

#include <stdio.h>
#include <jansson.h>

#include "drill-machine.h"
#include "probe-log.h"

struct drill_report {
    const struct drill_machine *machine;
    const struct probe_log *log;
    const char *group;
    const char *server;
    const char *recipient;
    const char *run;
    double max_outage;       /* seconds */
    char **new_failures;     /* failed actions that were not there before; NULL-terminated */
    const char *order_error; /* NULL */
    const char *left;        /* what could not be taken away; NULL */
    gint64 wall_us;          /* add to a monotonic moment: Unix microseconds */
};

/* Whether the drill did not even begin: then there is nothing to report but the problems. */
gboolean drill_report_is_void(const struct drill_report *report);
/* One sentence for each thing that was not as it should be; empty = all is well. g_strfreev(). */
char **drill_report_problems(const struct drill_report *report);

void drill_report_print(const struct drill_report *report, FILE *out);
/* A new reference. */
json_t *drill_report_json(const struct drill_report *report);

#endif
