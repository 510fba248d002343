/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef CANARY_H
#define CANARY_H

#include "clam.h"
#include "orders.h"

/*
 * The proof that a worker can see: a mail with a ZIP with EICAR in it, scanned by the same path
 * as every message. Made when it is needed, so that it lies on no disk. Returns NULL when EICAR
 * was found and nothing went wrong, else a sentence for g_free().
 */
char *canary_scan(struct clam *clam, const struct orders *orders);

/* The mail: LEN bytes, freed with g_free(). */
char *canary_mail(size_t *ret_len);

#endif
