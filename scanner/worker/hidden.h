/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef HIDDEN_H
#define HIDDEN_H

/*
 * Archives behind a program, a picture or anything else, where unpackers find them and libclamav
 * does not: RAR, LHA, tar.
 */

#include <stddef.h>

#include "container.h"

/* The archive in the LEN bytes at DATA, which are no container by their first bytes; or NULL. */
const struct container *hidden_find(const unsigned char *data, size_t len);

#endif
