/* SPDX-License-Identifier: GPL-2.0-only */
#include "maillog.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <zlib.h>

/* Longer than any line that syslog passes on; what is longer is cut. */
#define LINE_BYTES 16384
#define BUFFER_BYTES (256U * 1024U)
#define DAY 86400

struct file {
    char *path;
    gzFile stream;
    char line[LINE_BYTES];
    int year; /* of the line before; 0 = none yet */
    int month;
    gint64 changed;     /* Unix seconds: no line is much newer */
    struct tm minute;   /* of the line before, */
    gint64 minute_time; /* and its Unix seconds: mktime() is slow */
};

static void
file_free(void *p)
{
    struct file *file = p;
    gzclose(file->stream);
    g_free(file->path);
    g_free(file);
}

static gint64
local_time(struct file *file, struct tm *tm)
{
    struct tm *known = &file->minute;
    if (known->tm_min != tm->tm_min || known->tm_hour != tm->tm_hour ||
        known->tm_mday != tm->tm_mday || known->tm_mon != tm->tm_mon ||
        known->tm_year != tm->tm_year || file->minute_time == 0) {
        *known = *tm;
        struct tm whole = *tm;
        whole.tm_sec = 0;
        whole.tm_isdst = -1;
        file->minute_time = mktime(&whole);
    }
    return file->minute_time + tm->tm_sec;
}

/* The first line is not newer than the file's last change; from then on months only go round. */
static gint64
year_guess(struct file *file, struct tm *tm)
{
    if (file->year == 0) {
        struct tm changed;
        time_t last = (time_t)file->changed;
        localtime_r(&last, &changed);
        file->year = changed.tm_year;
        tm->tm_year = file->year;
        if (local_time(file, tm) > file->changed + DAY) {
            file->year--;
        }
    } else if (file->month == 11 && tm->tm_mon == 0) {
        file->year++;
    } else if (file->month == 0 && tm->tm_mon == 11) {
        /* A line that came late, after the turn of the year. */
        tm->tm_year = file->year - 1;
        return local_time(file, tm);
    }
    file->month = tm->tm_mon;
    tm->tm_year = file->year;
    return local_time(file, tm);
}

static int
digits(const char **p, int n)
{
    int value = 0;
    for (int i = 0; i < n; i++, (*p)++) {
        if (!g_ascii_isdigit(**p)) {
            return -1;
        }
        value = value * 10 + (**p - '0');
    }
    return value;
}

/* "hh:mm:ss" */
static gboolean
clock_parse(const char **p, struct tm *tm)
{
    tm->tm_hour = digits(p, 2);
    if (tm->tm_hour < 0 || *(*p)++ != ':') {
        return FALSE;
    }
    tm->tm_min = digits(p, 2);
    if (tm->tm_min < 0 || *(*p)++ != ':') {
        return FALSE;
    }
    tm->tm_sec = digits(p, 2);
    return tm->tm_sec >= 0 && tm->tm_hour < 24 && tm->tm_min < 60 && tm->tm_sec <= 60;
}

/* RFC 3164: "Mar  1 12:03:10 ". */
static gboolean
traditional_parse(struct file *file, const char **p, gint64 *ret)
{
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    struct tm tm = {.tm_isdst = -1};
    char name[4] = {(*p)[0], (*p)[0] == '\0' ? '\0' : (*p)[1], '\0', '\0'};
    name[2] = name[1] == '\0' ? '\0' : (*p)[2];
    const char *found = strlen(name) == 3 ? strstr(months, name) : NULL;
    if (found == NULL || (found - months) % 3 != 0 || (*p)[3] != ' ') {
        return FALSE;
    }
    tm.tm_mon = (int)(found - months) / 3;
    *p += 4;
    *p += strspn(*p, " ");
    tm.tm_mday = digits(p, g_ascii_isdigit((*p)[0]) && g_ascii_isdigit((*p)[1]) ? 2 : 1);
    if (tm.tm_mday < 1 || *(*p)++ != ' ' || !clock_parse(p, &tm) || *(*p)++ != ' ') {
        return FALSE;
    }
    *ret = year_guess(file, &tm) * G_USEC_PER_SEC;
    return TRUE;
}

/* The fraction and the zone of RFC 3339, "+0100" too, as journalctl writes it. */
static gboolean
zone_parse(const char **p, gint64 *ret_us, gint64 *ret_offset)
{
    gint64 unit = G_USEC_PER_SEC / 10;
    *ret_us = 0;
    if (**p == '.' || **p == ',') {
        for ((*p)++; g_ascii_isdigit(**p); (*p)++, unit /= 10) {
            *ret_us += (**p - '0') * unit;
        }
    }
    *ret_offset = 0;
    if (**p == 'Z') {
        (*p)++;
        return TRUE;
    }
    int sign = **p == '-' ? -1 : 1;
    if (**p != '+' && **p != '-') {
        return FALSE;
    }
    (*p)++;
    int hours = digits(p, 2);
    if (**p == ':') {
        (*p)++;
    }
    int minutes = digits(p, 2);
    *ret_offset = (gint64)sign * (hours * 3600 + minutes * 60);
    return hours >= 0 && minutes >= 0;
}

/* "2026-03-01T12:03:10.123456+01:00 " */
static gboolean
iso_parse(const char **p, gint64 *ret)
{
    struct tm tm = {0};
    gint64 us;
    gint64 offset;
    tm.tm_year = digits(p, 4) - 1900;
    if (tm.tm_year < 0 || *(*p)++ != '-') {
        return FALSE;
    }
    tm.tm_mon = digits(p, 2) - 1;
    if (tm.tm_mon < 0 || *(*p)++ != '-') {
        return FALSE;
    }
    tm.tm_mday = digits(p, 2);
    if (tm.tm_mday < 1 || *(*p)++ != 'T' || !clock_parse(p, &tm) || !zone_parse(p, &us, &offset) ||
        *(*p)++ != ' ') {
        return FALSE;
    }
    *ret = ((gint64)timegm(&tm) - offset) * G_USEC_PER_SEC + us;
    return TRUE;
}

/* "HOST TAG[PID]: TEXT" */
static gboolean
rest_parse(char *p, struct maillog_line *line)
{
    char *tag = strchr(p, ' ');
    char *colon = tag == NULL ? NULL : strstr(tag, ": ");
    if (colon == NULL) {
        return FALSE;
    }
    *colon = '\0';
    line->tag = tag + 1;
    line->text = colon + 2;
    line->pid = 0;
    char *pid = strchr(line->tag, '[');
    if (pid != NULL) {
        *pid = '\0';
        line->pid = g_ascii_strtoull(pid + 1, NULL, 10);
    }
    return TRUE;
}

/* The rest of a line that is longer than the buffer. */
static void
line_skip(struct file *file)
{
    int c;
    do {
        c = gzgetc(file->stream);
    } while (c != '\n' && c != -1);
}

static int
file_read(void *source, struct maillog_line *line, char **error_r)
{
    struct file *file = source;
    int error = 0;
    if (gzgets(file->stream, file->line, sizeof file->line) == NULL) {
        const char *text = gzerror(file->stream, &error);
        if (error == Z_OK || error == Z_STREAM_END) {
            return 0;
        }
        *error_r = g_strdup_printf("%s: cannot be read: %s", file->path,
                                   error == Z_ERRNO ? g_strerror(errno) : text);
        return -EIO;
    }
    size_t length = strlen(file->line);
    if (length > 0 && file->line[length - 1] == '\n') {
        file->line[length - 1] = '\0';
    } else if (length == sizeof file->line - 1) {
        line_skip(file);
    }
    const char *p = file->line;
    gboolean good =
        g_ascii_isdigit(*p) ? iso_parse(&p, &line->time) : traditional_parse(file, &p, &line->time);
    return good && rest_parse(file->line + (p - file->line), line) ? 1 : -EBADMSG;
}

int
maillog_add_file(struct maillog *log, const char *path, char **error_r)
{
    gboolean input = strcmp(path, "-") == 0;
    int fd = input ? fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3) : open(path, O_RDONLY | O_CLOEXEC);
    struct stat st = {0};
    int error = 0;
    if (fd < 0 || fstat(fd, &st) < 0) {
        error = errno;
    } else if (S_ISDIR(st.st_mode)) {
        error = EISDIR;
    }
    gzFile stream = error == 0 ? gzdopen(fd, "r") : NULL;
    if (stream == NULL) {
        error = error == 0 ? ENOMEM : error;
        *error_r = g_strdup_printf("%s: cannot be read: %s", path, g_strerror(error));
        if (fd >= 0) {
            close(fd);
        }
        return -error;
    }
    (void)gzbuffer(stream, BUFFER_BYTES);
    struct file *file = g_new0(struct file, 1);
    file->path = g_strdup(input ? "standard input" : path);
    file->stream = stream;
    file->changed = S_ISREG(st.st_mode) ? st.st_mtime : time(NULL);
    maillog_add(log, file, file_read, file_free);
    return 0;
}
