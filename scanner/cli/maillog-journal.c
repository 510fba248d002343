/* SPDX-License-Identifier: GPL-2.0-only */
#include "maillog.h"

#include <errno.h>
#include <string.h>
#include <systemd/sd-journal.h>

#define PROGRAM "posternd"

struct journal {
    sd_journal *handle;
    uid_t daemon;
    char tag[128];
    char text[16384];
};

static void
journal_free(void *p)
{
    struct journal *journal = p;
    sd_journal_close(journal->handle);
    g_free(journal);
}

/* Copies the value of FIELD ("" when the entry has none); returns whether there is one. */
static gboolean
field_get(sd_journal *handle, const char *field, char *buffer, size_t size)
{
    const void *data;
    size_t length;
    size_t name = strlen(field) + 1;
    buffer[0] = '\0';
    if (sd_journal_get_data(handle, field, &data, &length) < 0 || length < name) {
        return FALSE;
    }
    length = MIN(length - name, size - 1);
    memcpy(buffer, (const char *)data + name, length);
    buffer[length] = '\0';
    return TRUE;
}

static guint64
number_get(sd_journal *handle, const char *field, guint64 otherwise)
{
    char buffer[32];
    return field_get(handle, field, buffer, sizeof buffer) ? g_ascii_strtoull(buffer, NULL, 10)
                                                           : otherwise;
}

/* journald itself says who wrote a line; the name in it anybody could choose. */
static gboolean
is_forged(const struct journal *journal)
{
    guint64 uid = number_get(journal->handle, "_UID", journal->daemon);
    return strcmp(journal->tag, PROGRAM) == 0 && uid != 0 && uid != journal->daemon;
}

static int
journal_read(void *source, struct maillog_line *line, char **error_r)
{
    struct journal *journal = source;
    uint64_t time;
    int rc = sd_journal_next(journal->handle);
    if (rc <= 0) {
        *error_r =
            rc < 0 ? g_strdup_printf("the journal cannot be read: %s", g_strerror(-rc)) : NULL;
        return rc;
    }
    if (sd_journal_get_realtime_usec(journal->handle, &time) < 0 ||
        !field_get(journal->handle, "SYSLOG_IDENTIFIER", journal->tag, sizeof journal->tag) ||
        !field_get(journal->handle, "MESSAGE", journal->text, sizeof journal->text) ||
        is_forged(journal)) {
        return -EBADMSG;
    }
    line->time = (gint64)time;
    line->tag = journal->tag;
    line->text = journal->text;
    line->pid = number_get(journal->handle, "SYSLOG_PID", number_get(journal->handle, "_PID", 0));
    return 1;
}

static int
matches_add(sd_journal *handle)
{
    /* Facility 2 is mail: Postfix's, and posternd's. */
    int rc = sd_journal_add_match(handle, "SYSLOG_FACILITY=2", 0);
    if (rc >= 0) {
        rc = sd_journal_add_disjunction(handle);
    }
    if (rc >= 0) {
        rc = sd_journal_add_match(handle, "SYSLOG_IDENTIFIER=" PROGRAM, 0);
    }
    return rc;
}

int
maillog_add_journal(struct maillog *log, const char *dir, uid_t daemon, char **error_r)
{
    sd_journal *handle = NULL;
    int rc = dir == NULL ? sd_journal_open(&handle, SD_JOURNAL_LOCAL_ONLY)
                         : sd_journal_open_directory(&handle, dir, 0);
    if (rc >= 0) {
        rc = matches_add(handle);
    }
    if (rc >= 0) {
        rc = maillog_since(log) > 0
                 ? sd_journal_seek_realtime_usec(handle, (uint64_t)maillog_since(log))
                 : sd_journal_seek_head(handle);
    }
    if (rc < 0) {
        *error_r = g_strdup_printf("%s: the journal cannot be opened: %s",
                                   dir == NULL ? "this host" : dir, g_strerror(-rc));
        sd_journal_close(handle);
        return rc;
    }
    struct journal *journal = g_new0(struct journal, 1);
    journal->handle = handle;
    journal->daemon = daemon;
    maillog_add(log, journal, journal_read, journal_free);
    return 0;
}
