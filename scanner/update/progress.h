/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef PROGRESS_H
#define PROGRESS_H

/*
 * What became of the last round, for people and over restarts: update_dir/status.json
 *
 *   {"started":T, "ended":T, "next":T, "failures":N, "result":WORD, "error":TEXT or null,
 *    "offer":NAME or null, "sources":[{"name":S, "origin":S, "result":WORD, "error":TEXT or null,
 *    "succeeded":T, "retry":T}]}
 *
 * Results of a round: offered (something new), current, failed (see error; what there was stays).
 * Of a source, also of a directory of this machine with which something is wrong: updated, current,
 * failed, waiting (it was told to: until `retry`).
 */

#include <jansson.h>

#include "settings.h"

/* An object, empty when there is none. */
json_t *progress_load(const struct settings *settings);
/* Returns 0 or -errno. */
int progress_save(const struct settings *settings, json_t *progress);
/* What the last round said of the source NAME; NULL: nothing. Borrowed. */
json_t *progress_source(json_t *progress, const char *name);

#endif
