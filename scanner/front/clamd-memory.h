/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef CLAMD_MEMORY_H
#define CLAMD_MEMORY_H

/*
 * What clamd's clients may hold of the memory for messages: half of it, so that mail always finds
 * the other half free (one object alone may be larger). Who finds it in use waits while scans are
 * under way, because each of them gives its memory back; when none is, waiting could last for
 * ever and he is refused.
 */

#include <systemd/sd-event.h>
#include <glib.h>

#include "spool.h"

struct clamd_memory;

/* BUDGET outlives it. Returns 0 or -errno. */
int clamd_memory_new(sd_event *event, struct spool_budget *budget, struct clamd_memory **ret);
/* All is given back before. NULL is fine. */
void clamd_memory_free(struct clamd_memory *memory);

/*
 * LEN more bytes for one who has OWN of them already. Returns 0, -EAGAIN (wait), or -ENOBUFS.
 * This counts the clients' share alone; the budget itself is charged by a spool.
 */
int clamd_memory_take(struct clamd_memory *memory, guint64 own, guint64 len);
/* Gives back LEN bytes that have not become a content. */
void clamd_memory_release(struct clamd_memory *memory, guint64 len);

/* A whole object, sealed, for which all memory was taken; on its way through a scan. */
struct clamd_content;

/* Takes over SPOOL. */
struct clamd_content *clamd_content_of_spool(struct clamd_memory *memory, struct spool *spool);
/*
 * Memory for a file of SIZE bytes, charged to the budget too: returns 0, -EAGAIN or -ENOBUFS as
 * clamd_memory_take(). What holds the bytes (a sealed memfd, then the content's) is set later.
 */
int clamd_content_new(struct clamd_memory *memory, guint64 size, struct clamd_content **ret);
void clamd_content_set(struct clamd_content *content, int fd);
/* Gives the memory back. NULL is fine. */
void clamd_content_free(struct clamd_content *content);
/* The sealed memfd, borrowed. */
int clamd_content_fd(const struct clamd_content *content);

/* WAKE is called once, from the event loop, after memory was given back. */
typedef void clamd_memory_wake(void *data);
void clamd_memory_wait(struct clamd_memory *memory, clamd_memory_wake *wake, void *data);
/* Waits no more, if it did. */
void clamd_memory_forget(struct clamd_memory *memory, void *data);

#endif
