/* SPDX-License-Identifier: GPL-2.0-only */
#include "maillog.h"

#include <errno.h>

struct source {
    void *data;
    maillog_read *read;
    GDestroyNotify destroy;
    struct maillog_line line;
    gboolean filled; /* line is the next one */
    gboolean ended;
    gint64 first; /* time of its first line, 0 = none yet */
};

struct maillog {
    gint64 since; /* microseconds */
    guint64 skipped;
    GPtrArray *sources;  /* of struct source * */
    struct source *last; /* gave the line that the caller has */
};

static void
source_free(void *p)
{
    struct source *source = p;
    source->destroy(source->data);
    g_free(source);
}

struct maillog *
maillog_new(gint64 since)
{
    struct maillog *log = g_new0(struct maillog, 1);
    log->since = since * G_USEC_PER_SEC;
    log->sources = g_ptr_array_new_with_free_func(source_free);
    return log;
}

void
maillog_free(struct maillog *log)
{
    if (log != NULL) {
        g_ptr_array_unref(log->sources);
        g_free(log);
    }
}

void
maillog_add(struct maillog *log, void *data, maillog_read *read, GDestroyNotify destroy)
{
    struct source *source = g_new0(struct source, 1);
    source->data = data;
    source->read = read;
    source->destroy = destroy;
    g_ptr_array_add(log->sources, source);
}

gint64
maillog_since(const struct maillog *log)
{
    return log->since;
}

guint64
maillog_skipped(const struct maillog *log)
{
    return log->skipped;
}

/* Returns 0 with the next line or the end noted, or -errno. */
static int
source_fill(struct maillog *log, struct source *source, char **error_r)
{
    while (!source->filled && !source->ended) {
        int rc = source->read(source->data, &source->line, error_r);
        if (rc == -EBADMSG) {
            log->skipped++;
        } else if (rc < 0) {
            return rc;
        } else if (rc == 0) {
            source->ended = TRUE;
        } else {
            source->first = source->first == 0 ? source->line.time : source->first;
            source->filled = source->line.time >= log->since;
        }
    }
    return 0;
}

/* At the moment of a rotation both files have lines of it; the one that began earlier goes first.
 */
static gboolean
comes_before(const struct source *a, const struct source *b)
{
    return a->line.time != b->line.time ? a->line.time < b->line.time : a->first < b->first;
}

int
maillog_next(struct maillog *log, struct maillog_line *ret_line, char **error_r)
{
    struct source *first = NULL;
    if (log->last != NULL) {
        log->last->filled = FALSE;
    }
    for (guint i = 0; i < log->sources->len; i++) {
        struct source *source = g_ptr_array_index(log->sources, i);
        int rc = source_fill(log, source, error_r);
        if (rc < 0) {
            return rc;
        }
        if (source->filled && (first == NULL || comes_before(source, first))) {
            first = source;
        }
    }
    log->last = first;
    if (first == NULL) {
        return 0;
    }
    *ret_line = first->line;
    return 1;
}
