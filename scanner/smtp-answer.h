/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef SMTP_ANSWER_H
#define SMTP_ANSWER_H

/*
 * What an SMTP server says (RFC 5321 4.2), taken out of the bytes that came: for the release of
 * kept mail and for probes. No input or output here.
 */

#include <glib.h>

struct smtp_answer {
    int code;      /* of the whole answer */
    GString *text; /* its lines without codes, joined by spaces */
    GString *line; /* the line in hand */
    gboolean more; /* the last line said that others follow */
};

struct smtp_answer *smtp_answer_new(void);
void smtp_answer_free(struct smtp_answer *answer);

/* A line of an answer, without its code. */
typedef void smtp_answer_line(const char *rest, void *data);

/*
 * Takes lines out of IN, which is appended to as bytes come. Returns 1 when the answer is whole
 * (code and text are valid until the next call, which begins a new one), 0 when more bytes are
 * needed, -EPROTO for what no SMTP server says. EACH, which may be NULL, gets each line.
 */
int smtp_answer_take(struct smtp_answer *answer, GString *in, smtp_answer_line *each, void *data);

#endif
