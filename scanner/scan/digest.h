/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef DIGEST_H
#define DIGEST_H

/*
 * SHA-256 over whole messages. A small one takes microseconds; a large one (100 MB: 80 ms) would
 * keep everybody waiting, so a thread does it.
 */

#include <systemd/sd-event.h>
#include <glib.h>

#include "lru.h"

/* Up to this size it is made at once: 0.2 ms. */
#define DIGEST_NOW_MAX (256U << 10)

struct digester;
struct digest;

/* KEY is NULL when the message could not be read. */
typedef void digest_done(void *data, const guint8 *key);

/* Returns 0 or -errno. */
int digester_new(sd_event *event, struct digester **ret);
/* All digests have ended or were cancelled. NULL is fine. */
void digester_free(struct digester *digester);

/*
 * Of the whole content of FD (borrowed, and may be closed meanwhile; its offset stays). Of a small
 * message DONE is called from within, and NULL is returned; of a large one from the event loop.
 */
struct digest *digest_start(struct digester *digester, int fd, digest_done *done, void *data);
/* DONE will not be called. NULL is fine. */
void digest_cancel(struct digest *digest);

#endif
