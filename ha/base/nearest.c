/* SPDX-License-Identifier: GPL-2.0-only */
#include "nearest.h"

#include <stddef.h>
#include <string.h>
#include <glib.h>

#define LONGEST 32

/* Edits (insert, delete, replace) from A to B, both at most LONGEST bytes. */
static size_t
distance(const char *a, const char *b)
{
    size_t row[LONGEST + 1];
    size_t n = strlen(b);
    for (size_t j = 0; j <= n; j++) {
        row[j] = j;
    }
    for (size_t i = 0; a[i] != '\0'; i++) {
        size_t diagonal = row[0];
        row[0] = i + 1;
        for (size_t j = 0; j < n; j++) {
            size_t replaced = diagonal + (a[i] != b[j]);
            diagonal = row[j + 1];
            row[j + 1] = MIN(replaced, 1 + MIN(row[j], diagonal));
        }
    }
    return row[n];
}

const char *
nearest_name(const char *typed, const char *const names[])
{
    const char *best = NULL;
    size_t length = strlen(typed);
    size_t least = length / 3 + 1;
    if (length > LONGEST) {
        return NULL;
    }
    for (; *names != NULL; names++) {
        size_t edits = distance(typed, *names);
        if (edits < least || (edits == least && best == NULL && length > 1)) {
            least = edits;
            best = *names;
        }
    }
    return best;
}
