/* SPDX-License-Identifier: GPL-2.0-only */
#include "config.h"
#include "clamd-info.h"

#include <time.h>

#include "clamd-codec.h"
#include "clamd-session.h"

/* A number of the pool's status, or of its engine's. */
static json_int_t
number_of(const json_t *object, const char *name)
{
    return json_integer_value(json_object_get(object, name));
}

char *
clamd_info_version(const struct clamd_services *services)
{
    static const char own[] = "ClamAV " CLAMAV_VERSION "-postern-" PACKAGE_VERSION;
    json_t *status = pool_status(services->pool);
    const json_t *engine = json_object_get(status, "engine");
    json_int_t database = number_of(engine, "database");
    time_t when = (time_t)number_of(engine, "database_time");
    json_decref(status);
    struct tm tm;
    char text[32];
    if (database <= 0 || localtime_r(&when, &tm) == NULL ||
        strftime(text, sizeof text, "%a %b %e %H:%M:%S %Y", &tm) == 0) {
        return g_strdup(own);
    }
    return g_strdup_printf("%s/%" JSON_INTEGER_FORMAT "/%s", own, database, text);
}

char *
clamd_info_commands(const struct clamd_services *services)
{
    g_autofree char *version = clamd_info_version(services);
    g_autofree char *names = clamd_command_list();
    return g_strdup_printf("%s| COMMANDS: %s", version, names);
}

static void
stats_command(void *data, const char *command, double seconds, const char *path)
{
    g_string_append_printf(data, "\t%s %f %s\n", command, seconds, path != NULL ? path : "");
}

char *
clamd_info_stats(const struct clamd_services *services)
{
    const double mega = 1024 * 1024;
    GString *text = g_string_new("POOLS: 1\n\nSTATE: VALID PRIMARY\n");
    json_t *status = pool_status(services->pool);
    json_int_t workers = number_of(status, "workers");
    g_string_append_printf(text,
                           "THREADS: live %" JSON_INTEGER_FORMAT "  idle %" JSON_INTEGER_FORMAT
                           " max %u idle-timeout 0\n",
                           workers, number_of(status, "idle"),
                           settings_workers(services->settings));
    g_string_append_printf(text, "QUEUE: %" JSON_INTEGER_FORMAT " items\n",
                           number_of(status, "queued") + clamd_scans_waiting(services->scans));
    json_decref(status);
    GHashTableIter iter;
    void *session;
    g_hash_table_iter_init(&iter, services->sessions);
    while (g_hash_table_iter_next(&iter, &session, NULL)) {
        clamd_session_foreach(session, stats_command, text);
    }
    g_string_append_printf(text,
                           "\nMEMSTATS: heap N/A mmap N/A used N/A free N/A releasable N/A pools 1 "
                           "pools_used %.3fM pools_total %.3fM\nEND",
                           (double)services->budget->used / mega,
                           (double)services->budget->limit / mega);
    return g_string_free(text, FALSE);
}
