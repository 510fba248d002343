/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef MTA_STORE_H
#define MTA_STORE_H

/*
 * The files of one Postfix instance where they really are, and the record of what was changed in
 * them: the whole texts before and after, so that they can be brought back byte for byte, or, when
 * somebody changed them meanwhile, without what was added.
 *
 * The record is written before the first file is touched, and each file appears whole (temporary
 * file, fsync, rename, fsync of the directory), so that after a kill -9 at any moment the next
 * enable or disable finds out how far the last came. It is kept in
 * /var/lib/postern/cluster/milter/NAME/ (root's alone), beside plain copies for people; or, when
 * the configuration is on another file system than /etc and /var/lib (the shared one: the next
 * command may run on another node), in .postern/ beside main.cf.
 */

#include <jansson.h>

#include "mta-edit.h"

#define MTA_RECORDS "/var/lib/postern/cluster"

struct mta_store;

struct mta_record {
    struct mta_files before;
    struct mta_files after;
    json_t *answers; /* {"submission/inet": true}: what a person said about a service */
};

/*
 * Finds the files of the instance whose configuration is in DIR, follows links, and locks the
 * record. RECORDS: where records are kept; NULL = as above. Returns 0, or -errno with *ERROR_R:
 * -ENOENT the configuration is not on this node now, -EBUSY somebody else is at it
 * and does not come to an end within 10 s (one that was interrupted ends what it does).
 */
int mta_store_open(const char *dir, const char *records, struct mta_store **ret, char **error_r);
void mta_store_close(struct mta_store *store);

/* The paths of both files and of the record's directory, for people. */
const char *mta_store_main(const struct mta_store *store);
const char *mta_store_master(const struct mta_store *store);
const char *mta_store_records(const struct mta_store *store);

/* Both texts as they are. Returns 0 or -errno with *ERROR_R. */
int mta_store_read(const struct mta_store *store, struct mta_files *files, char **error_r);

/* Returns 1 with *RECORD (mta_record_clear()), 0: there is none, or -errno with *ERROR_R. */
int mta_store_record(struct mta_store *store, struct mta_record *record, char **error_r);
int mta_store_save(struct mta_store *store, const struct mta_record *record, char **error_r);
/* Forgets the record and takes its directory away. */
void mta_store_forget(struct mta_store *store);
void mta_record_clear(struct mta_record *record);

/*
 * Puts FRESH in place of NOW, file by file where they differ, with the owner, mode and extended
 * attributes that are there; with RESTORE also the time of change that the record has. -ESTALE:
 * somebody else changed a file since it was read as NOW; nothing was done to that one.
 */
int mta_store_install(struct mta_store *store, const struct mta_files *now,
                      const struct mta_files *fresh, gboolean restore, char **error_r);

#endif
