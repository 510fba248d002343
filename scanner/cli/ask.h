/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef ASK_H
#define ASK_H

/* One question to a service's socket, with a sentence for people when there is no answer. */

#include <glib.h>
#include <jansson.h>

struct ask {
    const char *service; /* "posternd" */
    const char *path;
    int sock;
};

/* Connects. Returns 0, or -errno with one sentence in *ERROR_R. */
int ask_open(struct ask *ask, const char *service, const char *path, char **error_r);
void ask_close(struct ask *ask);

/*
 * Sends REQUEST (borrowed; NULL: waits for one more packet of the last answer) with FD (borrowed;
 * -1 = none) and waits for the answer for up to TIMEOUT_MS. Returns 0 with *RET_ANSWER (a new
 * reference, "ok" is true) and *RET_FD (may be NULL: none is expected); or -errno with one
 * sentence in *ERROR_R: -EBADE when the service said no, then only this question failed; after
 * any other the connection is of no use any more.
 */
int ask_call(struct ask *ask, const json_t *request, int fd, int timeout_ms, json_t **ret_answer,
             int *ret_fd, char **error_r);

/* The two halves of ask_call(), for who waits for several services or connections at once. */
int ask_send(struct ask *ask, const json_t *request, int fd, char **error_r);
int ask_receive(struct ask *ask, int timeout_ms, json_t **ret_answer, int *ret_fd, char **error_r);

/* The status of a service, a new reference; NULL with *ERROR_R when it does not answer in time. */
json_t *ask_status(const char *service, const char *path, char **error_r);

/* What an answer, or an object in it, has under NAME: NULL when there is no text. */
const char *ask_text(const json_t *object, const char *name);
/* Rounded, for the engine tells some times as fractions; 0 when there is no number. */
gint64 ask_number(const json_t *object, const char *name);

#endif
