/* SPDX-License-Identifier: GPL-2.0-only */
#include "log.h"

#define LINE_MAX_LENGTH 2048

void
log_init(const char *program, bool to_stderr, int level)
{
    qb_log_init(program, LOG_MAIL, (uint8_t)level);
    /* The line of a message is cut at libqb's 512 bytes otherwise, its verdict lost. */
    qb_log_ctl(QB_LOG_SYSLOG, QB_LOG_CONF_MAX_LINE_LEN, LINE_MAX_LENGTH);
    qb_log_ctl(QB_LOG_STDERR, QB_LOG_CONF_MAX_LINE_LEN, LINE_MAX_LENGTH);
    /* libqb's own, which another version may change: `postern prove` reads it. */
    qb_log_format_set(QB_LOG_SYSLOG, "[%p] %b");
    /* qb_log_init enables syslog for everything up to LEVEL; a person wants one place only. */
    qb_log_ctl(QB_LOG_SYSLOG, QB_LOG_CONF_ENABLED, to_stderr ? QB_FALSE : QB_TRUE);
    if (to_stderr) {
        qb_log_filter_ctl(QB_LOG_STDERR, QB_LOG_FILTER_ADD, QB_LOG_FILTER_FILE, "*",
                          (uint8_t)level);
        qb_log_format_set(QB_LOG_STDERR, "%N: %p: %b");
        qb_log_ctl(QB_LOG_STDERR, QB_LOG_CONF_ENABLED, QB_TRUE);
    }
}

void
log_fini(void)
{
    qb_log_fini();
}
