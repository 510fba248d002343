/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef ENTRIES_H
#define ENTRIES_H

/*
 * Which of the kept messages a command is about: the options that choose them, and the walk over
 * them, a packet at a time, so that a hundred thousand need no more memory than a hundred.
 */

#include <jansson.h>

#include "ask.h"
#include "cli.h"

struct entries {
    char *since;
    char *until;
    char *sender;
    char *recipient;
    char *reason;
    char *subject;
    char *verdict;
    char *state;
};
void entries_clear(struct entries *entries);
gboolean entries_is_empty(const struct entries *entries);

/* The options of ENTRIES and then those of MORE (NULL-terminated); freed by g_free(). */
GOptionEntry *entries_options(struct entries *entries, const GOptionEntry more[]);

/*
 * The request for the list, a new reference, or NULL with *ERROR_R (a time that is none).
 * BEFORE and LIMIT as in docs/ARCHITECTURE.md.
 */
json_t *entries_request(const struct entries *entries, gint64 before, gint64 limit, char **error_r);

/*
 * Sends REQUEST (taken over) to a list operation and calls EACH for every row. *RET_NEXT (may be
 * NULL) is the row to go on before, 0 = there is no more. Returns 0 or -errno with *ERROR_R.
 */
typedef void entries_row(const json_t *row, void *data);
int entries_walk(struct ask *ask, json_t *request, entries_row *each, void *data, gint64 *ret_next,
                 char **error_r);

/* Connects to posternd; FALSE after a message to the user. */
gboolean entries_connect(struct cli *cli, struct ask *ask);

/* Prints JSON objects as they come, as one array. */
struct json_stream {
    gboolean begun;
};
void json_stream_add(struct json_stream *stream, const json_t *object);
void json_stream_end(struct json_stream *stream);

#endif
