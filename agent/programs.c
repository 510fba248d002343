/* SPDX-License-Identifier: GPL-2.0-only */
#include "config.h"
#include "programs.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "log.h"
#include "score.h"
#include "text.h"
#include "tool.h"
#include "unit.h"

#define VERSION_TIMEOUT_MS 5000
#define SHOWN 60
/* What the kernel adds to the name of a program whose file was replaced (proc(5)). */
#define DELETED " (deleted)"

static const struct {
    const char *path;
    const char *unit;  /* NULL: it is started by another program */
    const char *named; /* what comes before the version */
} programs[] = {
    {LIBEXECDIR "/postern-engine", SCORE_ENGINE_UNIT, "postern-engine "},
    {LIBEXECDIR "/postern-zygote", NULL, "postern-zygote "},
    {LIBEXECDIR "/posternd", SCORE_DAEMON_UNIT, "posternd "},
    {LIBEXECDIR "/postern-notify", SCORE_NOTIFY_UNIT, "postern-notify "},
    {LIBEXECDIR "/postern-recheck", NULL, "postern-recheck "},
    {LIBEXECDIR "/postern-share", SCORE_SHARE_UNIT, "postern-share "},
    {LIBEXECDIR "/postern-update", SCORE_UPDATE_UNIT, "postern-update "},
    {LIBEXECDIR "/postern-fetch", NULL, "postern-fetch "},
    {LIBEXECDIR "/postern-supervise", NULL, "postern-supervise "},
};

static const char *
program_of(const char *unit)
{
    for (size_t i = 0; i < G_N_ELEMENTS(programs); i++) {
        if (g_strcmp0(programs[i].unit, unit) == 0) {
            return programs[i].path;
        }
    }
    return NULL;
}

/* Whoever else can change it would be root by it. */
static int
check_owner(const char *path, char **error_r)
{
    struct stat is;
    if (stat(path, &is) < 0) {
        *error_r = g_strdup_printf("%s: %s", path, g_strerror(errno));
        return -errno;
    }
    if (is.st_uid != 0) {
        *error_r =
            g_strdup_printf("%s belongs to user number %u, not to root: chown it", path, is.st_uid);
        return -EPERM;
    }
    if ((is.st_mode & (S_IWGRP | S_IWOTH)) != 0) {
        *error_r =
            g_strdup_printf("%s can be written by others than root: chmod go-w %s", path, path);
        return -EPERM;
    }
    return 0;
}

int
programs_check(const char *config, char **error_r)
{
    int rc = check_owner(LIBEXECDIR, error_r);
    for (size_t i = 0; rc == 0 && i < G_N_ELEMENTS(programs); i++) {
        if (access(programs[i].path, X_OK) < 0) {
            *error_r = g_strdup_printf("%s is not installed", programs[i].path);
            return -ENOENT;
        }
        rc = check_owner(programs[i].path, error_r);
    }
    if (rc == 0 && access(config, F_OK) < 0) {
        return 0; /* who reads it says so, where it must be there */
    }
    return rc == 0 ? check_owner(config, error_r) : rc;
}

static int
check_version(const char *path, const char *named, char **error_r)
{
    const char *argv[] = {path, "--version", NULL};
    g_autofree char *output = NULL;
    int rc = tool_output(argv, NULL, NULL, VERSION_TIMEOUT_MS, &output, error_r);
    if (rc != 0) {
        return rc == -ETIMEDOUT ? rc : -EIO;
    }
    const char *version = g_strchomp(output);
    if (g_str_has_prefix(version, named)) {
        version += strlen(named);
    }
    if (strcmp(version, PACKAGE_VERSION) != 0) {
        g_autofree char *shown = text_escape(version, SHOWN);
        *error_r = g_strdup_printf("%s is of version %s, this agent of " PACKAGE_VERSION
                                   ": install one of them wholly",
                                   path, shown);
        return -EXDEV;
    }
    return 0;
}

int
programs_check_versions(char **error_r)
{
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < G_N_ELEMENTS(programs); i++) {
        rc = check_version(programs[i].path, programs[i].named, error_r);
    }
    if (rc == -ETIMEDOUT) {
        log_warning("%s; its version is not checked", *error_r);
        g_clear_pointer(error_r, g_free);
        rc = 0;
    }
    return rc;
}

int
programs_check_running(sd_bus *bus, const char *unit, char **error_r)
{
    unsigned pid = unit_main_pid(bus, unit);
    g_autofree char *link = g_strdup_printf("/proc/%u/exe", pid);
    g_autofree char *exe = pid != 0 ? g_file_read_link(link, NULL) : NULL;
    if (exe == NULL || !g_str_has_suffix(exe, DELETED)) {
        return 0;
    }
    *error_r = g_strdup_printf("%s runs a program older than the installed %s: have the cluster "
                               "stop and start the resource on this node",
                               unit, program_of(unit));
    return -ESTALE;
}
