/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef LOG_H
#define LOG_H

/*
 * Logging: a thin layer over libqb's qb_log, so that every program has the targets and the
 * format that people know from Pacemaker. Programs log, libraries return errors.
 *
 * Text from outside (addresses, file names, signature names) must pass text_escape() first:
 * a line break in it would forge a log line.
 */

#include <stdbool.h>
#include <syslog.h>
#include <qb/qblog.h>

/*
 * Opens the log of PROGRAM: syslog (so the journal) when it runs as a service, stderr when
 * TO_STDERR. Messages up to LEVEL (a syslog priority: LOG_INFO, LOG_DEBUG) are shown.
 * PROGRAM must outlive the log.
 */
void log_init(const char *program, bool to_stderr, int level);
void log_fini(void);

#define log_alert(...) qb_log(LOG_ALERT, __VA_ARGS__)
#define log_err(...) qb_log(LOG_ERR, __VA_ARGS__)
#define log_warning(...) qb_log(LOG_WARNING, __VA_ARGS__)
#define log_notice(...) qb_log(LOG_NOTICE, __VA_ARGS__)
#define log_info(...) qb_log(LOG_INFO, __VA_ARGS__)
#define log_debug(...) qb_log(LOG_DEBUG, __VA_ARGS__)

#endif
