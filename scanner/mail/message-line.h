/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef MESSAGE_LINE_H
#define MESSAGE_LINE_H

/* The one line that the log has for each message. */

#include "envelope.h"

struct message_line {
    const struct envelope *envelope;
    guint64 size;        /* bytes */
    const char *verdict; /* NULL = none was reached */
    const char *reason;  /* NULL = none */
    const char *action;
    const char *rule; /* that asked for it; NULL = none, and then not there */
    const char *key;  /* of the copy in the quarantine; the same */
    guint64 scan_us;  /* waiting for a worker included */
    guint64 store_us;
    guint64 total_us; /* from the end of the message to the reply */
};

/*
 * "QUEUEID: message-id=... client=name[address] user=... direction=... from=... rcpts=n size=n
 * verdict=... reason=... action=... [rule=...] [key=...] scan_ms=n store_ms=n total_ms=n"; "-"
 * stands for what is unknown. What comes from outside is escaped, and quoted when it could be taken
 * for another field. The caller frees with g_free().
 */
char *message_line(const struct message_line *line);

#endif
