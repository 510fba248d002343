/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef SOURCE_H
#define SOURCE_H

/*
 * Where signatures are fetched from. Each source has a directory of its own below update_dir, so
 * that one that fails, hangs or is told to wait is no other's trouble:
 *
 *   update_dir/sources/NAME/            what was fetched, freshclam.dat, tmp/
 *   update_dir/sources/NAME/whole.json  {"files":{NAME:SHA256}}: what was whole and on the disk
 */

#include <glib.h>

#include "settings.h"

#define SOURCE_OFFICIAL "official"
#define SOURCE_TMP "tmp"

struct source {
    char *name;   /* SOURCE_OFFICIAL, or "url-" and 12 digits of the URL's SHA-256 */
    char *url;    /* NULL: the official databases */
    char **files; /* NULL-terminated: what it has to bring, without extension if official */
};

/* All of SETTINGS; of struct source *. */
GPtrArray *sources_of(const struct settings *settings);
/* The one of that name; NULL: there is none. Borrowed from SOURCES. */
const struct source *source_find(GPtrArray *sources, const char *name);

/* TEXT without the users and passwords of the URLs in it. To be freed by g_free(). */
char *source_shown(const char *text);

/* What is said as a file's origin: the URL as it may be shown, or the first mirror. To be freed by
 * g_free(). */
char *source_origin(const struct source *source, const struct settings *settings);
/* A mirror as libfreshclam wants it: a host name becomes https://NAME. To be freed by g_free(). */
char *source_mirror_url(const char *mirror);

/* Its directory; to be freed by g_free(). */
char *source_dir(const struct settings *settings, const char *name);

/*
 * Makes the directory and removes from it what is not as whole.json says: a power cut may have
 * left half a file under its right name, for libfreshclam does not sync. Returns a descriptor, or
 * -errno with one sentence.
 */
int source_open(const struct settings *settings, const char *name, char **error_r);
/* Removes from its directory FD what is not SOURCE's, syncs the rest and writes whole.json,
 * without a CLD that lacks something (cld_members_check). Returns
 * 0 or -errno. */
int source_seal(const struct source *source, int fd);

/* Removes the directories of sources that are none any more. */
void sources_tidy(const struct settings *settings, GPtrArray *sources);

/* Bytes of what it has brought. */
guint64 source_bytes(const struct settings *settings, const struct source *source);

/* The name of the file in the directory FD that holds FILE: itself, or of an official database the
 * .cld or .cvd. NULL: it has not been fetched. To be freed by g_free(). */
char *source_file(const struct source *source, int fd, const char *file);

#endif
