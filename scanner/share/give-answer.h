/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef GIVE_ANSWER_H
#define GIVE_ANSWER_H

/* What give.h answers to a request whose seal was right. */

#include <microhttpd.h>

#include "board.h"
#include "check.h"
#include "seal.h"

struct give_place {
    const struct settings *settings;
    const struct peers *peers;
    struct board *board;
    struct check *check;
};

struct give_call {
    struct seal_request request;
    GByteArray *body;
};

struct give_call *give_call_new(void);
/* NULL is fine. */
void give_call_free(struct give_call *call);

/* What is to be given. */
struct give_choice {
    char *name;       /* NULL: nothing */
    gboolean is_used; /* by this node, too */
    gboolean is_late; /* another one is to be given, when it has been hashed */
    char *damaged;    /* why another one is not; NULL: none is left out */
};

/* To be called again and again: it goes on with what is being hashed. */
void give_choose(struct give_place *place, struct give_choice *ret);
void give_choice_clear(struct give_choice *choice);

/* Answers CALL, whose body has come whole. MHD_NO closes the connection. */
enum MHD_Result give_answer(struct give_place *place, struct MHD_Connection *connection,
                            const struct give_call *call, const char *method, const char *path);

#endif
