/* SPDX-License-Identifier: GPL-2.0-only */
#include "when.h"

#include <string.h>
#include <time.h>

#include "text.h"

static bool
parse_ago(const char *text, gint64 now, gint64 *ret)
{
    static const char units[] = "smhdw";
    static const gint64 seconds[] = {1, 60, 3600, 86400, 7 * 86400};
    char *end;
    guint64 n = g_ascii_strtoull(text, &end, 10);
    const char *unit = *end == '\0' ? NULL : strchr(units, *end);
    if (!g_ascii_isdigit(*text) || unit == NULL ||
        (end[1] != '\0' && strcmp(end + 1, " ago") != 0) || n > 1000000000) {
        return false;
    }
    *ret = MAX(now - (gint64)n * seconds[unit - units], 0);
    return true;
}

static gint64
midnight(gint64 now, int days_before)
{
    struct tm tm;
    time_t t = (time_t)now;
    localtime_r(&t, &tm);
    tm.tm_hour = tm.tm_min = tm.tm_sec = 0;
    tm.tm_mday -= days_before;
    tm.tm_isdst = -1;
    return mktime(&tm);
}

static bool
parse_date(const char *text, gint64 *ret)
{
    static const char *const forms[] = {"%Y-%m-%d", "%Y-%m-%d %H:%M", "%Y-%m-%d %H:%M:%S",
                                        "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"};
    for (size_t i = 0; i < G_N_ELEMENTS(forms); i++) {
        struct tm tm = {.tm_isdst = -1};
        const char *end = strptime(text, forms[i], &tm);
        if (end != NULL && *end == '\0') {
            *ret = MAX(mktime(&tm), 0);
            return true;
        }
    }
    return false;
}

bool
when_parse(const char *text, gint64 *ret_unix_seconds)
{
    gint64 now = g_get_real_time() / G_USEC_PER_SEC;
    if (*text == '@') {
        return g_ascii_string_to_signed(text + 1, 10, 0, G_MAXINT64, ret_unix_seconds, NULL);
    }
    if (strcmp(text, "now") == 0) {
        *ret_unix_seconds = now;
        return true;
    }
    if (strcmp(text, "today") == 0 || strcmp(text, "yesterday") == 0) {
        *ret_unix_seconds = midnight(now, *text == 'y');
        return true;
    }
    return parse_ago(text, now, ret_unix_seconds) || parse_date(text, ret_unix_seconds);
}

bool
when_option(const char *name, const char *text, gint64 *ret_unix_seconds, char **error_r)
{
    if (when_parse(text, ret_unix_seconds)) {
        return true;
    }
    g_autofree char *shown = text_escape(text, 40);
    *error_r = g_strdup_printf("--%s %s is no time; for example 2026-03-01, "
                               "\"2026-03-01 12:00\", yesterday, 90m, 12h or 3d",
                               name, shown);
    return false;
}
