/* SPDX-License-Identifier: GPL-2.0-only */
#include "witness.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <glib.h>

#define N_DAEMONS 2
/* Of "PID (NAME) ..." in /proc/PID/stat: the start time is word 22, the 20th after the name. */
#define START_WORD 19
#define STAT_MAX 1024

/* The kernel keeps 15 characters of a name. */
static const char *const daemons[N_DAEMONS] = {"pacemaker-attrd", "pacemaker-contr"};

/* "PID:START" when process PID has the name DAEMON, else NULL. */
static char *
process_match(const char *pid, const char *daemon)
{
    char text[STAT_MAX + 1];
    g_autofree char *path = g_build_filename("/proc", pid, "stat", NULL);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, text, STAT_MAX) : -1;
    if (fd >= 0) {
        close(fd);
    }
    text[n > 0 ? n : 0] = '\0';
    const char *open_at = strchr(text, '(');
    const char *close_at = strrchr(text, ')');
    size_t len = strlen(daemon);
    if (open_at == NULL || close_at == NULL || close_at != open_at + 1 + len ||
        strncmp(open_at + 1, daemon, len) != 0) {
        return NULL;
    }
    g_auto(GStrv) words = g_strsplit(close_at + 1, " ", START_WORD + 3);
    return g_strv_length(words) > START_WORD + 1 && *words[1] != 'Z'
               ? g_strconcat(pid, ":", words[START_WORD + 1], NULL)
               : NULL;
}

static char *
search(const char *daemon)
{
    GDir *dir = g_dir_open("/proc", 0, NULL);
    char *found = NULL;
    const char *name;
    while (dir != NULL && found == NULL && (name = g_dir_read_name(dir)) != NULL) {
        found = g_ascii_isdigit(*name) ? process_match(name, daemon) : NULL;
    }
    g_clear_pointer(&dir, g_dir_close);
    return found;
}

/* KNOWN when it still holds. */
static char *
confirm(const char *known, const char *daemon)
{
    const char *colon = strchr(known, ':');
    g_autofree char *pid = colon != NULL ? g_strndup(known, (size_t)(colon - known)) : NULL;
    g_autofree char *now = pid != NULL ? process_match(pid, daemon) : NULL;
    return g_strcmp0(now, known) == 0 ? g_steal_pointer(&now) : NULL;
}

char *
witness_read(const char *known)
{
    g_auto(GStrv) before = g_strsplit(known != NULL ? known : "", " ", N_DAEMONS);
    bool usable = g_strv_length(before) == N_DAEMONS;
    char *now[N_DAEMONS] = {NULL};
    for (size_t i = 0; i < N_DAEMONS; i++) {
        now[i] = usable ? confirm(before[i], daemons[i]) : NULL;
        if (now[i] == NULL) {
            now[i] = search(daemons[i]);
        }
    }
    char *both = g_strdup_printf("%s %s", now[0] != NULL ? now[0] : "-", now[1] ? now[1] : "-");
    g_free(now[0]);
    g_free(now[1]);
    return both;
}
