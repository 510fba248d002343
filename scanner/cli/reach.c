/* SPDX-License-Identifier: GPL-2.0-only */
#include "reach.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

/* What the child tells: the error and how much of the path it holds for. */
struct answer {
    int error;
    int length;
};

static int
become(const char *root, const struct passwd *user)
{
    if (root != NULL && (chroot(root) < 0 || chdir("/") < 0)) {
        return -errno;
    }
    if (geteuid() == user->pw_uid) {
        return 0;
    }
    if (setgid(user->pw_gid) < 0 || setuid(user->pw_uid) < 0) {
        return -errno;
    }
    return 0;
}

/* The shortest beginning of PATH that USER cannot pass; the whole when all directories are open. */
static int
barrier(const char *path)
{
    char part[PATH_MAX];
    int length = (int)strlen(path);
    for (int i = 1; i < length && i < (int)sizeof part; i++) {
        if (path[i] != '/') {
            continue;
        }
        memcpy(part, path, (size_t)i);
        part[i] = '\0';
        if (faccessat(AT_FDCWD, part, X_OK, AT_EACCESS) < 0) {
            return i;
        }
    }
    return length;
}

static struct answer
attempt(const char *root, const char *path, const struct passwd *user)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct answer answer = {.error = become(root, user)};
    if (answer.error != 0) {
        return answer;
    }
    if (strlen(path) >= sizeof address.sun_path) {
        answer.error = -ENAMETOOLONG;
        return answer;
    }
    memcpy(address.sun_path, path, strlen(path));
    int sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (sock < 0 || connect(sock, (const struct sockaddr *)&address, sizeof address) < 0) {
        answer.error = -errno;
        answer.length = barrier(path);
    }
    return answer;
}

/* Groups are read before the root changes: the new one has no /etc/group. */
static void
child(int out, const char *root, const char *path, const struct passwd *user)
{
    struct answer answer = {.error = 0};
    if (geteuid() != user->pw_uid && initgroups(user->pw_name, user->pw_gid) < 0) {
        answer.error = -errno;
    } else {
        answer = attempt(root, path, user);
    }
    ssize_t n = write(out, &answer, sizeof answer);
    _exit(n == (ssize_t)sizeof answer ? 0 : 1);
}

static int
run_child(const char *root, const char *path, const struct passwd *user, struct answer *answer)
{
    int pipes[2];
    int status;
    if (pipe2(pipes, O_CLOEXEC) < 0) {
        return -errno;
    }
    pid_t pid = fork();
    if (pid == 0) {
        child(pipes[1], root, path, user);
    }
    int rc = pid < 0 ? -errno : 0;
    close(pipes[1]);
    if (rc == 0 && read(pipes[0], answer, sizeof *answer) != (ssize_t)sizeof *answer) {
        rc = -EIO;
    }
    close(pipes[0]);
    while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    return rc;
}

int
reach_socket(const char *root, const char *path, const char *user, char **ret_part)
{
    struct answer answer = {.error = 0};
    const struct passwd *entry = getpwnam(user);
    *ret_part = NULL;
    if (entry == NULL) {
        return -ESRCH;
    }
    int rc = run_child(root, path, entry, &answer);
    if (rc == 0 && answer.error < 0 && answer.length > 0) {
        *ret_part = g_strndup(path, (gsize)answer.length);
    }
    return rc < 0 ? rc : answer.error;
}
