/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef STORE_INNER_H
#define STORE_INNER_H

/* For the files of the store alone. */

#include "store.h"

#define STORE_CURRENT "current"
#define STORE_PREVIOUS "previous"
#define STORE_PINNED "pinned"
#define STORE_LOCK ".lock"

struct store {
    char *dir;
    int fd;
    int lock; /* -1: none */
};

/* The generation that the link leads to; NULL: to none. To be freed by g_free(). */
char *store_link(const struct store *store, const char *link);
/* Points LINK at NAME, durably. Returns 0 or -errno. */
int store_link_set(struct store *store, const char *link, const char *name);
/* Opens the directory of NAME. Returns a descriptor or -errno. */
int store_open_generation(const struct store *store, const char *name);
/* The same as store_find() for a whole name, and no error when it has neither files nor record. */
struct store_entry *store_entry_of(const struct store *store, const char *name);
/* Writes the record of ENTRY in a new STATE. Returns 0 or -errno, with one sentence. */
int store_record(struct store *store, struct store_entry *entry, enum record_state state,
                 const char *reason, char **error_r);

#endif
