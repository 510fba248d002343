/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef STORE_H
#define STORE_H

/*
 * signatures_dir, which root and engine_user own and nobody else writes:
 *
 * - NAME/: a generation, its files and manifest.json (manifest.h). It appears whole, by one rename,
 *   and is never changed; store_mend() replaces what is damaged. NAME: 16 digits of its identity.
 * - records/NAME.json: its state (record.h).
 * - current -> NAME: the one in use; the only truth about that.
 * - pinned -> NAME: nothing else is adopted by itself.
 * - .tmp-*: what a process that was killed left; the next change removes it.
 *
 * Everything appears by write, fsync, rename, fsync of the directory. Whoever changes something
 * holds a lock on the file .lock, for as long as a struct store lives that was opened for a change.
 *
 * postern-update writes none of this. It offers files in a directory of its own, and who takes them
 * (store_take) copies: regular files of the offer's owner alone, never through a link, no more
 * bytes than a limit, each with the hash and size that the offer's manifest says.
 */

#include <glib.h>

#include "manifest.h"
#include "record.h"

struct store;

struct store_entry {
    char name[MANIFEST_NAME_DIGITS + 1];
    struct record record;
    struct manifest *manifest; /* NULL: its files are gone, or `damage` says why not */
    char *damage;
    gboolean is_current;
    gboolean is_pinned;
};

/*
 * Opens DIR. With CHANGE it is made when it is absent, locked, cleared of what was left half done,
 * and store_recover() is what the caller does next when no trial runs. Returns 0; -EBUSY (another
 * process changes it); -ENOENT; or -errno, each with one sentence.
 */
int store_open(const char *dir, gboolean change, struct store **ret, char **error_r);
void store_free(struct store *store);
typedef struct store store_t;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(store_t, store_free)

/* Whether a generation of a store could be called so. */
gboolean store_is_name(const char *name);

/* All generations and records, newest first; of struct store_entry *. */
GPtrArray *store_list(const struct store *store);

/*
 * The one whose name begins with PREFIX (from 4 digits on), or "current", "pinned", or "previous":
 * what was in use before `current` and was not rejected. NULL with one sentence when there is none
 * or more than one. The caller frees it with store_entry_free().
 */
struct store_entry *store_find(const struct store *store, const char *prefix, char **error_r);
void store_entry_free(struct store_entry *entry);
typedef struct store_entry store_entry_t;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(store_entry_t, store_entry_free)

/* Reads all files of NAME and compares them with the manifest, which has to name all signatures
 * there. Returns 0, -EBADMSG (damaged), -ENOENT (a file is gone), or another -errno, with one
 * sentence. */
int store_verify(const struct store *store, const char *name, char **error_r);

/* What follows needs a store that was opened for a change. */

/* What was made or taken. */
struct store_new {
    char name[MANIFEST_NAME_DIGITS + 1];
    guint files;
    guint64 bytes;
    gboolean existed; /* it was there already */
};

/*
 * Makes a generation of PATHS (NULL-terminated; files, or directories whose signature files are
 * taken), fetched. Returns 0, or -errno with one sentence and nothing changed.
 */
int store_add(struct store *store, char *const paths[], struct store_new *ret, char **error_r);

/*
 * Takes the generation that the directory OFFER (a descriptor) holds, whoever owns it, of at most
 * LIMIT bytes. Returns 0 (fetched, or it was there); -EALREADY: it was rejected once; -ESTALE: the
 * offer changed meanwhile, try again; -ENOSPC: with it less than 64 MB would be left; -EPERM: a
 * database in it is older than the one of `current`; -EBADMSG or another -errno: it is not what it
 * says. With one sentence, and nothing changed.
 */
int store_take(struct store *store, int offer, guint64 limit, struct store_new *ret,
               char **error_r);

/*
 * Puts what the directory OFFER (a descriptor) holds, as store_take() takes it, in the place of the
 * generation of the same identity that was tried or in use, and is damaged or gone. Returns 0 with
 * its NAME; -ENOENT: there is none such; -EEXIST: it is whole; or -errno. With one sentence, and
 * nothing changed.
 */
int store_mend(struct store *store, int offer, guint64 limit, char name[MANIFEST_NAME_DIGITS + 1],
               char **error_r);

/*
 * Moves NAME to STATE with REASON (NULL: none). Returns 0; -EINVAL: there is no such way
 * (record.h); -EBUSY: what is current is not rejected, roll back first; -errno. Not for
 * RECORD_ADOPTED.
 */
int store_set(struct store *store, const char *name, enum record_state state, const char *reason,
              char **error_r);

/*
 * Moves NAME, which is being tried, to RECORD_TRIED with what its trial MEASURED. Returns as
 * store_set().
 */
int store_tried(struct store *store, const char *name, const struct record_trial *measured,
                char **error_r);

/*
 * The generation that is to be tried next: whole, fetched, not older than the current one (unless
 * that is from the future: a clock was wrong), and the pinned one, if any is. NULL: none.
 */
struct store_entry *store_candidate(const struct store *store);

/*
 * Points `current` at NAME. Without FORCE only at what was tried (or adopted before), and not past
 * a pinned one. Returns 0; -EPERM: pinned, rejected or not tried; -ENOENT; -errno.
 */
int store_adopt(struct store *store, const char *name, gboolean force, char **error_r);

/*
 * Points `current` at NAME, which was tried or in use, because what it leads to cannot be loaded.
 * When NAME was adopted stays as it was, so that what is newer is adopted over it as ever. Returns
 * 0; -ENOENT: gone, or rejected meanwhile; -errno.
 */
int store_return(struct store *store, const char *name, char **error_r);

/* Pins NAME; NULL: none is any more. Returns 0 or -errno. */
int store_pin(struct store *store, const char *name, char **error_r);

/*
 * Forgets NAME, whose files are damaged: when it is offered again it is new. Returns 0; -EBUSY: it
 * is `current`; or -errno, with one sentence.
 */
int store_discard(struct store *store, const char *name, char **error_r);

/*
 * After a start without a trial: `current` is adopted whatever its record says; what was being
 * tried was interrupted. Returns 0 or -errno.
 */
int store_recover(struct store *store, char **error_r);

/*
 * Removes files of generations beyond the KEEP newest; never of the current, the pinned, the
 * previous one, the one that is being tried, and of those newer than the current the newest that
 * waits for its trial and the newest that waits for its adoption. Of a rejected one the files go at
 * once, the record stays. Returns the number removed, or -errno.
 */
int store_prune(struct store *store, guint keep, char **error_r);

#endif
