/* SPDX-License-Identifier: GPL-2.0-only */
#include "complaints.h"

#include <glib.h>

static unsigned number;

/* GLib's own writer asks whether stderr is the journal: no system call for a sandboxed worker. */
static GLogWriterOutput
count(GLogLevelFlags level, const GLogField *fields, gsize n_fields, void *data)
{
    (void)fields;
    (void)n_fields;
    (void)data;
    if ((level & (G_LOG_LEVEL_ERROR | G_LOG_LEVEL_CRITICAL | G_LOG_LEVEL_WARNING)) != 0) {
        number++;
    }
    return G_LOG_WRITER_HANDLED;
}

void
complaints_begin(void)
{
    g_log_set_writer_func(count, NULL, NULL);
}

unsigned
complaints_number(void)
{
    return number;
}
