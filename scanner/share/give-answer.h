/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef GIVE_ANSWER_H
#define GIVE_ANSWER_H

/* What give.h answers to a request whose seal was right. */

#include <microhttpd.h>

#include "board.h"
#include "seal.h"

struct give_place {
    const struct settings *settings;
    const struct peers *peers;
    struct board *board;
};

struct give_call {
    struct seal_request request;
    GByteArray *body;
};

struct give_call *give_call_new(void);
/* NULL is fine. */
void give_call_free(struct give_call *call);

/* The name of the generation that is to be given; NULL: there is none. To be freed by g_free(). */
char *give_choose(const struct settings *settings);

/* Answers CALL, whose body has come whole. MHD_NO closes the connection. */
enum MHD_Result give_answer(struct give_place *place, struct MHD_Connection *connection,
                            const struct give_call *call, const char *method, const char *path);

#endif
