/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef DRAFT_H
#define DRAFT_H

/*
 * A generation while it is being made: a temporary directory beside its future place, to which
 * files are copied, hashed and synced one after the other; finishing it writes the manifest and
 * gives it its name in one rename. Killed at any moment it leaves a temporary directory, which the
 * next one clears, and nothing else.
 */

#include <glib.h>

#include "manifest.h"

struct draft;

/*
 * Begins one in the directory BASE (borrowed; the caller sees to it that nobody else has a draft
 * there). LIMIT: most bytes of all files together. Returns 0 or -errno with one sentence.
 */
int draft_begin(int base, guint64 limit, struct draft **ret, char **error_r);

/*
 * Copies the regular file FD as NAME. ORIGIN is kept in the manifest. EXPECTED, if not NULL, says
 * what size and SHA-256 it must have. Returns 0; -ENODATA (empty), -EFBIG, -EINVAL (no regular
 * file, or no name for one), -EPERM (signature_files_refusal()), -EBADMSG (not as expected, or
 * cld_members_check()), or -errno, with one sentence.
 */
int draft_add(struct draft *draft, const char *name, int fd, const char *origin,
              const struct manifest_file *expected, char **error_r);

/* What has been added. */
const struct manifest *draft_manifest(const struct draft *draft);

/*
 * Puts it in place as NAME, durably; NULL: the name by its identity, and a directory that has that
 * name already stays (*EXISTED_R, may be NULL). Another NAME replaces what is there. Returns 0 or
 * -errno with one sentence.
 */
int draft_finish(struct draft *draft, const char *name, gboolean *existed_r, char **error_r);

/* Removes what is not in place; NULL is fine. */
void draft_free(struct draft *draft);
typedef struct draft draft_t;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(draft_t, draft_free)

/* Removes the directory NAME in BASE with the files in it, as far as it is there. */
void draft_remove_dir(int base, const char *name);

#endif
