/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef MANIFEST_H
#define MANIFEST_H

/*
 * manifest.json of a generation: which files belong to it, and where each came from. Its identity
 * is a SHA-256 over the sorted names and the SHA-256 of each content, so the same files are the
 * same generation, wherever and whenever they were put together.
 *
 *   {"version":1, "identity":HEX64, "created":SECONDS, "files":[{"file":NAME, "size":BYTES,
 *    "sha256":HEX64, "origin":PATH or URL, "time":SECONDS, and of a CVD or CLD
 *    "database_version":N, "signatures":N, "built":SECONDS}]}
 */

#include <glib.h>

#define MANIFEST_NAME "manifest.json"
/* Digits of the identity that are a generation's name. */
#define MANIFEST_NAME_DIGITS 16
/* Files of one generation, many times what anybody has: each costs whoever looks at it. */
#define MANIFEST_FILES_MAX 1000

struct manifest_file {
    char *name;
    char *origin;
    char sha256[65];
    guint64 size;
    gint64 time;        /* Unix seconds: last changed, as the origin said */
    guint version;      /* of a CVD or CLD, else 0 */
    guint64 signatures; /* as its header says; 0: not known */
    gint64 built;       /* 0: not known */
};

struct manifest {
    char identity[65];
    gint64 created;
    GPtrArray *files; /* of struct manifest_file *, sorted by name */
};

struct manifest *manifest_new(void);
void manifest_free(struct manifest *manifest);
typedef struct manifest manifest_t;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(manifest_t, manifest_free)

/* Takes FILE over, which g_new0() made; sorts and counts it into the identity. */
void manifest_add(struct manifest *manifest, struct manifest_file *file);
const struct manifest_file *manifest_find(const struct manifest *manifest, const char *name);
guint64 manifest_bytes(const struct manifest *manifest);
/*
 * The first database (CVD or CLD) of MANIFEST that THAN has in a newer version, which *VERSION is
 * then; NULL: there is none. An old one is signed as well as a new one, so no signature tells.
 */
const struct manifest_file *manifest_older(const struct manifest *manifest,
                                           const struct manifest *than, guint *version);
/* Unix seconds: when the official daily database was built, for other files say nothing of its age;
 * without one the newest file, built or last changed. One from the future (a mirror's clock, touch)
 * does not count beside others: it would make a set look new for ever. */
gint64 manifest_time(const struct manifest *manifest);

/* Writes DIRFD/manifest.json durably. Returns 0; -EFBIG: nobody would read it; or -errno. */
int manifest_write(const struct manifest *manifest, int dirfd);

/*
 * Reads DIRFD/manifest.json, whoever wrote it: a regular file of at most 1 MB, at most
 * MANIFEST_FILES_MAX names that stay in the directory and have a signature file's extension, each
 * once, an identity that is that of the files it lists. The files themselves are not looked at.
 * Returns 0, or -errno with one sentence (without the directory's name).
 */
int manifest_read(int dirfd, struct manifest **ret, char **error_r);

/*
 * manifest_time() of the current generation in SIGNATURES_DIR: how old the set is. 0 when there is
 * none or it cannot be read.
 */
gint64 manifest_newest(const char *signatures_dir);

#endif
