/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef ORDERS_H
#define ORDERS_H

/*
 * What postern-engine tells a new zygote in its first packet: {"op":"start", ...}. The zygote
 * reads no configuration: by the time it could, it is in a root that holds none.
 */

#include <stdbool.h>
#include <glib.h>
#include <jansson.h>

#include "settings.h"

struct orders {
    char *generation;       /* name of the signature generation, for people */
    bool builtin;           /* no generation: only the built-in EICAR signature */
    bool one_user;          /* only one user number is mapped: all workers share it */
    bool beside;            /* others scan mail while it loads: it takes a back seat */
    guint64 scan_size;      /* bytes, as the settings of the same name */
    guint64 scan_file_size; /* bytes */
    guint64 scan_recursion;
    guint64 scan_files;
    guint64 scan_timeout; /* seconds */
    guint64 message_size; /* bytes */
    guint64 worker_scans;
    guint64 worker_age; /* seconds */
};

/* The numbers of SETTINGS, with GENERATION (NULL = built-in set only). Freed by orders_free(). */
struct orders *orders_new(const struct settings *settings, const char *generation, bool one_user);
void orders_free(struct orders *orders);
typedef struct orders orders_t;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(orders_t, orders_free)

/* The packet, a new reference. */
json_t *orders_to_json(const struct orders *orders);
/* Returns NULL when JSON is not such a packet. */
struct orders *orders_from_json(json_t *json);

/*
 * Size of a worker's temporary file system, bytes: what one scan may unpack, and as much again
 * as the largest file, because libclamav writes some of it twice (raw and normalised).
 */
guint64 orders_tmp_size(const struct orders *orders);

/*
 * Address space that a worker may take beyond what the zygote has, bytes: the message, its decoded
 * parts, the files that libclamav maps, and what libclamav needs to work.
 */
guint64 orders_memory(const struct orders *orders);

/*
 * Milliseconds that libclamav may take for one message. Less than scan_timeout, after which
 * posternd has the worker killed: a limit that the worker reports beats a worker that dies.
 */
guint64 orders_scan_ms(const struct orders *orders);

#endif
