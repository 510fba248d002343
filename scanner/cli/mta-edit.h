/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef MTA_EDIT_H
#define MTA_EDIT_H

/*
 * main.cf and master.cf, edited by postconf(1) on a copy in a private directory: so the result can
 * be shown, judged and compared before the real files are touched, and Postfix's own program knows
 * its own syntax.
 */

#include <glib.h>

#include "postfix.h"

/* The texts of both files; mta_files_clear() frees them. */
struct mta_files {
    char *main;
    char *master;
};

void mta_files_clear(struct mta_files *files);
gboolean mta_files_equal(const struct mta_files *a, const struct mta_files *b);

struct mta_edit;

/* A copy of FILES to edit. NULL with one sentence in *ERROR_R when there is no room for it. */
struct mta_edit *mta_edit_open(const struct mta_files *files, char **error_r);
/* Takes the copy away; NULL is fine. */
void mta_edit_close(struct mta_edit *edit);

/* Each returns FALSE with one sentence in *ERROR_R. VALUE NULL takes the parameter out. */
gboolean mta_edit_main(struct mta_edit *edit, const char *name, const char *value, char **error_r);
/* SERVICE is "submission/inet"; VALUE has no blanks. */
gboolean mta_edit_override(struct mta_edit *edit, const char *service, const char *name,
                           const char *value, char **error_r);
/* LINE as in master.cf; NULL takes the service out. */
gboolean mta_edit_service(struct mta_edit *edit, const char *service, const char *line,
                          char **error_r);

/* What stands there now, references not resolved; g_free(), NULL with *ERROR_R. SERVICE NULL:
 * main.cf, where "" is also what is not set. */
char *mta_edit_get(const struct mta_edit *edit, const char *service, const char *name,
                   char **error_r);
/* NAME is set in main.cf. */
gboolean mta_edit_is_set(const struct mta_edit *edit, const char *name);

/* The instance as it is with the edits; the array has this one and owns it. */
GPtrArray *mta_edit_instance(const struct mta_edit *edit, char **error_r);

/* The edited texts. FALSE with *ERROR_R. */
gboolean mta_edit_take(const struct mta_edit *edit, struct mta_files *files, char **error_r);

#endif
