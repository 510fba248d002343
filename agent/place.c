/* SPDX-License-Identifier: GPL-2.0-only */
#include "place.h"

#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <string.h>
#include <sys/stat.h>

static const char *const own_places[] = {"/", "/run", "/var/lib/pacemaker"};

static int
place_stat(const char *path, struct statx *ret)
{
    unsigned mask = STATX_TYPE | STATX_UID | STATX_MNT_ID;
    return statx(AT_FDCWD, path, AT_STATX_DONT_SYNC, mask, ret) < 0 ? -errno : 0;
}

/* By mount, since a bind mount has the device of its source; by device on kernels before 5.8. */
static bool
same_mount(const struct statx *a, const struct statx *b)
{
    if ((a->stx_mask & b->stx_mask & STATX_MNT_ID) != 0) {
        return a->stx_mnt_id == b->stx_mnt_id;
    }
    return a->stx_dev_major == b->stx_dev_major && a->stx_dev_minor == b->stx_dev_minor;
}

static int
check_mounted(const char *path, const struct statx *state, char **error_r)
{
    for (size_t i = 0; i < G_N_ELEMENTS(own_places); i++) {
        struct statx own;
        if (place_stat(own_places[i], &own) == 0 && same_mount(state, &own)) {
            *error_r = g_strdup_printf("state_dir %s is on the file system of %s: is the shared "
                                       "storage mounted, and ordered before the promotion?",
                                       path, own_places[i]);
            return -ENODEV;
        }
    }
    return 0;
}

int
place_check(const struct settings *settings, char **error_r)
{
    struct statx state;
    const char *path = settings->state_dir;
    const struct passwd *user = getpwnam(settings->daemon_user);
    int rc = place_stat(path, &state);
    if (rc == 0 && !S_ISDIR(state.stx_mode)) {
        rc = -ENOTDIR;
    }
    if (rc < 0) {
        *error_r = g_strdup_printf("state_dir %s: %s; it has to be made once, on the shared "
                                   "storage, for user %s",
                                   path, g_strerror(-rc), settings->daemon_user);
        return rc;
    }
    if (strcmp(settings->state_storage, "shared") != 0 &&
        (rc = check_mounted(path, &state, error_r)) < 0) {
        return rc;
    }
    if (user == NULL || state.stx_uid != user->pw_uid) {
        *error_r = g_strdup_printf("state_dir %s belongs to user number %u, not to %s: chown it",
                                   path, state.stx_uid, settings->daemon_user);
        return -EACCES;
    }
    return 0;
}
