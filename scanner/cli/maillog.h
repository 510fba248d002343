/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef MAILLOG_H
#define MAILLOG_H

/*
 * Mail logs, read once from front to end, line by line: syslog's files (plain or gzip, with
 * traditional or RFC 3339 times), the journal, or several of them joined in the order of their
 * times. Whatever their size, only one line of each is in memory.
 */

#include <glib.h>

struct maillog;

/* Valid until the next call. */
struct maillog_line {
    gint64 time;     /* Unix microseconds; whole seconds in a traditional file */
    const char *tag; /* "postfix/smtpd", "posternd" */
    guint64 pid;     /* 0 = none is named */
    const char *text;
};

/* Lines before SINCE (Unix seconds) are left out. */
struct maillog *maillog_new(gint64 since);
void maillog_free(struct maillog *log);

/*
 * Adds a file; "-" is the standard input. Traditional times have no year: the file's last change
 * tells it. Returns 0, or -errno with one sentence in *ERROR_R.
 */
int maillog_add_file(struct maillog *log, const char *path, char **error_r);

/*
 * Adds the journal's lines of the mail facility and of posternd, whose user number is DAEMON: what
 * others write under that name is left out. DIR holds journal files; NULL = this host's. Returns 0,
 * or -errno with one sentence in *ERROR_R.
 */
int maillog_add_journal(struct maillog *log, const char *dir, uid_t daemon, char **error_r);

/* Returns 1 with *RET_LINE, 0 at the end, or -errno with one sentence in *ERROR_R. */
int maillog_next(struct maillog *log, struct maillog_line *ret_line, char **error_r);

/* Lines that are none of a mail log. */
guint64 maillog_skipped(const struct maillog *log);

/* For the two kinds of sources. READ returns as maillog_next(), -EBADMSG for a line to be skipped.
 */
typedef int maillog_read(void *source, struct maillog_line *line, char **error_r);
void maillog_add(struct maillog *log, void *source, maillog_read *read, GDestroyNotify destroy);
gint64 maillog_since(const struct maillog *log);

#endif
