/* SPDX-License-Identifier: GPL-2.0-only */
#include "lease.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <jansson.h>

#include "text.h"

#define LEASE_NAME "lease"

struct lease {
    int dirfd; /* borrowed */
    int fd;
    guint64 found_epoch;
    gboolean found_clean;
    char *found_owner;
    char written[LEASE_SIZE];
};

/* Returns 0, -ENODATA (not one whole record), or -errno. */
static int
record_read(int fd, char record[LEASE_SIZE])
{
    ssize_t n = pread(fd, record, LEASE_SIZE, 0);
    if (n < 0) {
        return -errno;
    }
    return n == LEASE_SIZE ? 0 : -ENODATA;
}

/* A lease that cannot be read says nothing; it never hinders: the lock is what counts. */
static void
found_set(struct lease *lease)
{
    char record[LEASE_SIZE];
    const char *node = NULL;
    json_int_t pid = 0;
    json_int_t epoch = 0;
    int clean = 0;
    json_t *json =
        record_read(lease->fd, record) == 0 ? json_loadb(record, LEASE_SIZE, 0, NULL) : NULL;
    if (json_unpack(json, "{s:s, s:I, s:I, s:b}", "node", &node, "pid", &pid, "epoch", &epoch,
                    "clean", &clean) < 0) {
        lease->found_owner = g_strdup("an unknown process");
    } else {
        g_autofree char *name = text_escape(node, 64);
        lease->found_owner = g_strdup_printf("node %s, process %" JSON_INTEGER_FORMAT, name, pid);
        lease->found_epoch = epoch > 0 ? (guint64)epoch : 0;
        lease->found_clean = clean;
    }
    json_decref(json);
}

static int
lock(int fd)
{
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    if (fcntl(fd, F_OFD_SETLK, &whole) == 0) {
        return 0;
    }
    return errno == EACCES || errno == EAGAIN ? -EBUSY : -errno;
}

static bool
is_to_end(void)
{
    sigset_t pending;
    return sigpending(&pending) == 0 && sigismember(&pending, SIGTERM) == 1;
}

static char *
busy_text(const struct lease *lease, const char *dir)
{
    return g_strdup_printf("%s is in use by %s; stop that process first", dir, lease->found_owner);
}

/* The owner, too, may have become another meanwhile. */
static int
lock_wait(struct lease *lease, const char *dir, unsigned wait_s, lease_waiting *waiting)
{
    int rc = lock(lease->fd);
    unsigned tries = wait_s * 1000 / LEASE_TRY_MS;
    for (unsigned i = 0; rc == -EBUSY && i < tries && !is_to_end(); i++) {
        if (i % (1000 / LEASE_TRY_MS) == 0 && waiting != NULL) {
            g_clear_pointer(&lease->found_owner, g_free);
            found_set(lease);
            g_autofree char *text = busy_text(lease, dir);
            waiting(text);
        }
        g_usleep(LEASE_TRY_MS * 1000);
        rc = lock(lease->fd);
    }
    return rc;
}

int
lease_acquire(int dirfd, const char *dir, unsigned wait_s, lease_waiting *waiting,
              struct lease **ret_lease, char **error_r)
{
    struct lease *lease = g_new0(struct lease, 1);
    lease->dirfd = dirfd;
    lease->fd = openat(dirfd, LEASE_NAME, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    int rc = lease->fd < 0 ? -errno : lock_wait(lease, dir, wait_s, waiting);
    if (lease->fd >= 0) {
        g_clear_pointer(&lease->found_owner, g_free);
        found_set(lease);
    }
    if (rc == 0) {
        *ret_lease = lease;
        return 0;
    }
    if (rc == -EBUSY) {
        *error_r = busy_text(lease, dir);
    } else {
        *error_r = g_strdup_printf("%s/" LEASE_NAME ": cannot be %s: %s", dir,
                                   lease->fd < 0 ? "opened" : "locked", g_strerror(-rc));
    }
    lease_free(lease);
    return rc;
}

guint64
lease_found_epoch(const struct lease *lease)
{
    return lease->found_epoch;
}

gboolean
lease_found_clean(const struct lease *lease)
{
    return lease->found_clean;
}

const char *
lease_found_owner(const struct lease *lease)
{
    return lease->found_owner;
}

/* Tells a process of an earlier boot from one that has the same number now. */
static char *
boot_id(void)
{
    char *id = NULL;
    if (!g_file_get_contents("/proc/sys/kernel/random/boot_id", &id, NULL, NULL)) {
        return g_strdup("");
    }
    return g_strstrip(id);
}

static int
record_compose(char record[LEASE_SIZE], guint64 epoch, gboolean clean)
{
    g_autofree char *boot = boot_id();
    json_t *json =
        json_pack("{s:i, s:s, s:i, s:s, s:I, s:b}", "version", 1, "node", g_get_host_name(), "pid",
                  (int)getpid(), "boot", boot, "epoch", (json_int_t)epoch, "clean", clean);
    memset(record, ' ', LEASE_SIZE);
    size_t n = json_dumpb(json, record, LEASE_SIZE - 1, JSON_COMPACT | JSON_ENSURE_ASCII);
    json_decref(json);
    record[LEASE_SIZE - 1] = '\n';
    return n > 0 && n < LEASE_SIZE ? 0 : -EOVERFLOW;
}

int
lease_write(struct lease *lease, guint64 epoch, gboolean clean)
{
    int rc = record_compose(lease->written, epoch, clean);
    if (rc < 0) {
        return rc;
    }
    ssize_t n = pwrite(lease->fd, lease->written, LEASE_SIZE, 0);
    if (n != LEASE_SIZE) {
        return n < 0 ? -errno : -ENOSPC;
    }
    return fsync(lease->fd) < 0 ? -errno : 0;
}

int
lease_check(const struct lease *lease)
{
    char record[LEASE_SIZE];
    int fd = openat(lease->dirfd, LEASE_NAME, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0) {
        return errno == ENOENT ? -ESTALE : -errno;
    }
    int rc = record_read(fd, record);
    close(fd);
    if (rc == -ENODATA || (rc == 0 && memcmp(record, lease->written, LEASE_SIZE) != 0)) {
        return -ESTALE;
    }
    return rc;
}

void
lease_free(struct lease *lease)
{
    if (lease == NULL) {
        return;
    }
    if (lease->fd >= 0) {
        close(lease->fd);
    }
    g_free(lease->found_owner);
    g_free(lease);
}
