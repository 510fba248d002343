/* SPDX-License-Identifier: GPL-2.0-only */
#include "memory.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/*
 * Measured with ClamAV's official signatures: 1.48 GB for 8.7 million. What a worker has of its
 * own stays below 16 MB besides what it unpacks.
 */
#define BYTES_PER_SIGNATURE 170U
#define ENGINE_BASE (64U * 1048576U)
#define WORKER_BASE (16U * 1048576U)

/* The MTA and all else on the machine need their part, and the kernel its cache. */
static guint64
three_quarters(guint64 n)
{
    return n / 4 * 3;
}

/* "max", no such file or nonsense: no limit. */
static guint64
limit_in(const char *directory, const char *name)
{
    g_autofree char *path = g_build_filename(directory, name, NULL);
    g_autofree char *text = NULL;
    guint64 limit;
    if (!g_file_get_contents(path, &text, NULL, NULL) ||
        !g_ascii_string_to_unsigned(g_strchomp(text), 10, 0, G_MAXUINT64, &limit, NULL)) {
        return G_MAXUINT64;
    }
    return limit;
}

/* The path of our own group in version 2's tree, "" when that is its root. */
static char *
own_group(const char *self)
{
    g_autofree char *text = NULL;
    if (!g_file_get_contents(self, &text, NULL, NULL)) {
        return g_strdup("");
    }
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    for (char **line = lines; *line != NULL; line++) {
        if (g_str_has_prefix(*line, "0::/")) {
            return g_strdup(*line + strlen("0::/"));
        }
    }
    return g_strdup("");
}

struct memory_limits
memory_limits_read(const char *cgroups, const char *self)
{
    g_autofree char *container_v1 = g_build_filename(cgroups, "memory", NULL);
    g_autofree char *group = own_group(self);
    g_auto(GStrv) names = g_strsplit(group, "/", -1);
    g_autofree char *directory = g_strdup(cgroups);
    long pages = sysconf(_SC_PHYS_PAGES);
    long page = sysconf(_SC_PAGESIZE);
    struct memory_limits limits = {.machine = G_MAXUINT64, .own = G_MAXUINT64};
    if (pages > 0 && page > 0) {
        limits.machine = (guint64)pages * (guint64)page;
    }
    limits.machine = MIN(limits.machine, limit_in(cgroups, "memory.max"));
    limits.machine = MIN(limits.machine, limit_in(container_v1, "memory.limit_in_bytes"));
    for (char **name = names; *name != NULL && **name != '\0'; name++) {
        char *deeper = g_build_filename(directory, *name, NULL);
        g_free(directory);
        directory = deeper;
        limits.own = MIN(limits.own, limit_in(directory, "memory.max"));
    }
    return limits;
}

/* What the engine says of NAME; 0 when it says nothing. */
static guint64
said(json_t *engine, const char *name)
{
    json_int_t n = json_integer_value(json_object_get(engine, name));
    return n > 0 ? (guint64)n : 0;
}

static guint64
engine_share(const struct settings *settings, json_t *engine)
{
    guint64 signatures = said(engine, "memory");
    guint64 worker = said(engine, "worker_memory");
    if (signatures == 0) {
        signatures = ENGINE_BASE + said(engine, "signatures") * BYTES_PER_SIGNATURE;
    }
    if (worker == 0) {
        worker = WORKER_BASE + settings->scan_size + settings->scan_file_size;
    }
    return signatures + settings_workers(settings) * worker;
}

struct memory_plan
memory_plan(const struct settings *settings, const struct memory_limits *limits, json_t *engine)
{
    guint64 least = settings->message_size + MEMORY_MESSAGE_OVERHEAD;
    struct memory_plan plan = {
        .total = settings->memory > 0 ? settings->memory : three_quarters(limits->machine),
        .engine = engine_share(settings, engine),
    };
    guint64 left = plan.total > plan.engine ? plan.total - plan.engine : 0;
    plan.mail = MAX(left, plan.total / 8);
    if (limits->own != G_MAXUINT64) {
        plan.mail = MIN(plan.mail, three_quarters(limits->own));
    }
    plan.tight = plan.mail < least;
    plan.mail = MAX(MIN(plan.mail, settings->spool_memory), least);
    return plan;
}
