/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef LEAVES_H
#define LEAVES_H

/*
 * The decoded contents that one or several readings of a mail yield, each to be scanned; at most
 * MIME_LEAVES_MAX, and no more bytes than there is room for: what lies beyond becomes a limit in
 * the facts.
 */

#include <stdbool.h>
#include <stddef.h>
#include <glib.h>

#include "facts.h"

#define MIME_LEAVES_MAX 1000

struct mime_leaf {
    char *path;
    unsigned char *data; /* decoded; NULL when size is 0 */
    size_t size;
    unsigned char sha256[32];
    size_t bare_size;    /* visits.h; 0 = none */
    bool is_body;        /* entity.h */
    bool lent;           /* DATA is somebody else's */
    bool is_message;     /* a mail as it stands in another: its parts are leaves themselves */
    bool is_mail;        /* taken apart as one */
    bool is_odd;         /* programs disagree about which parts it has */
    bool visited;        /* for the caller: libclamav has scanned exactly these bytes already */
    bool shown;          /* for the caller: libclamav has come upon it */
    bool taken_for_mail; /* for the caller: as a mail */
};

struct leaves {
    GPtrArray *list; /* of struct mime_leaf * */
    guint64 room;    /* bytes that may still be added */
    /* Another reading of what is at this path, NULL = the first one: then only what is not among
     * the leaves is added, and numbered below this path. */
    const char *another;
    unsigned found; /* by this reading */
};

/* An empty list, which frees its leaves. */
GPtrArray *leaves_list_new(void);

/* LIST may have leaves; all together may have ROOM bytes. */
struct leaves leaves_begin(GPtrArray *list, guint64 room);

/* From now on it is another reading of PATH. */
void leaves_read_again(struct leaves *leaves, const char *path);

bool leaves_are_full(const struct leaves *leaves);

/* Takes BYTES over. NULL when there are too many leaves already, or when another reading has found
 * nothing else than the first. */
struct mime_leaf *leaves_add(struct leaves *leaves, const char *path, GByteArray *bytes,
                             struct facts *facts);

/* DATA, which must live as long as the list, and takes no room. Not for another reading. */
struct mime_leaf *leaves_lend(struct leaves *leaves, const char *path, const unsigned char *data,
                              size_t size, struct facts *facts);

/* How many of LIST lie directly in PATH. */
unsigned leaves_count_in(const GPtrArray *list, const char *path);

/* Bytes of all leaves that archives hold: what a worker has memory for. */
#define LEAVES_BYTES_IN_ARCHIVES (128U << 20)
/* Adds a leaf that is the mail at DATA, for the caller to scan as one. */
void leaves_add_mail(const unsigned char *data, size_t len, const char *path, GPtrArray *list,
                     struct facts *facts);

#endif
