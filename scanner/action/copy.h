/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef COPY_H
#define COPY_H

/*
 * The file of one kept message, KEY.eml: a first line COPY_HEADER {JSON}, then the message byte
 * for byte. Whoever reads one trusts nothing in it: the file may have been damaged.
 */

#include <glib.h>
#include <jansson.h>

#define COPY_HEADER "X-Postern-Quarantine: "
#define COPY_VERSION 1
#define COPY_SUFFIX ".eml"
/* 64 hexadecimal digits */
#define COPY_KEY_LENGTH 64

/* Whether NAME is a key and SUFFIX (COPY_SUFFIX, NOTE_SUFFIX); then RET_KEY has the key. */
gboolean copy_name_parse(const char *name, const char *suffix, char ret_key[COPY_KEY_LENGTH + 1]);

/* There is such a file. */
gboolean copy_exists(int dirfd, const char *key);

/*
 * Writes META and the whole content of FD (a sealed memfd) as DIRFD/KEY.eml, durably; replaces an
 * older file. Returns 0 or -errno as durable_write().
 */
int copy_write(int dirfd, const char *key, const json_t *meta, int fd);

/*
 * Opens DIRFD/KEY.eml: *RET_META is the first line's object (new reference), *RET_FD the file at
 * its start, *RET_SIZE the size of the message itself. RET_FD and RET_SIZE may be NULL. Returns 0,
 * -ENOENT, -EBADMSG (no regular file, or not one of ours), or -errno.
 */
int copy_open(int dirfd, const char *key, json_t **ret_meta, int *ret_fd, guint64 *ret_size);

/* Removes it. A file that is not there is fine. Returns 0 or -errno. */
int copy_remove(int dirfd, const char *key);

#endif
