/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef ANSWER_H
#define ANSWER_H

#include <jansson.h>

#include "facts.h"

/* What a worker says at the end of a scan (docs/ARCHITECTURE.md, "posternd -> worker"). */
struct answer {
    struct facts *facts; /* for facts_free() */
    bool retire;         /* it ends itself now */
    json_t *parts;       /* what it found out about parts (borrowed), NULL = nothing */
};

/* Returns false when it is not whole, not understood, or not to the scan ID. */
bool answer_decode(json_t *json, gint64 id, struct answer *ret);

#endif
