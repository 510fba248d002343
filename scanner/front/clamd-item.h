/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef CLAMD_ITEM_H
#define CLAMD_ITEM_H

/*
 * One file on its way: its size, memory for it, a copy, a scan. What is scanned is the copy, so
 * nobody can change it meanwhile. All that touches the file runs in threads (offload.h): neither
 * its size nor the kind of its file system would tell whether a read comes back.
 */

#include "clamd-memory.h"
#include "clamd-scan.h"
#include "clamd-verdict.h"
#include "offload.h"

/* What the clamd front-end's parts share; owned by clamd.c. */
struct clamd_services {
    sd_event *event;
    const struct settings *settings;
    struct pool *pool;
    struct spool_budget *budget;
    struct clamd_memory *memory;
    struct clamd_scans *scans;
    struct offload *offload;
    guint parallel; /* files that one client may have under way */
    /* May be NULL. Each returns NULL, or a sentence that refuses (g_free()). */
    char *(*reload)(void *data);
    char *(*shutdown)(void *data);
    void *data;
    /* The commands under way, for STATS. */
    GHashTable *sessions;
    guint64 scanned;
    guint64 found;
};

/* clamd_verdict_of(), and what age_unsafe and on_old say. */
void clamd_services_judge(const struct clamd_services *services, const struct scan_outcome *outcome,
                          struct clamd_verdict *ret);

struct clamd_item;

/* The end, exactly once unless it was cancelled, from the event loop. VERDICT is the callee's. */
typedef void clamd_item_done(void *owner, struct clamd_item *item, struct clamd_verdict *verdict);

/* Takes over FD, whatever it is. DONE never comes from within this call. */
struct clamd_item *clamd_item_start(struct clamd_services *services, int fd, clamd_item_done *done,
                                    void *owner);
/* Without a call of DONE. NULL is fine. */
void clamd_item_cancel(struct clamd_item *item);

#endif
