/* SPDX-License-Identifier: GPL-2.0-only */
#include "tool.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "text.h"

#define OUTPUT_MAX 4096
#define EXEC_FAILED 127

static const char *const tool_environ[] = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", NULL};

G_GNUC_NORETURN static void
child_exec(const char *const *argv, int output)
{
    sigset_t none;
    sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (null < 0 || dup2(null, 0) < 0 || dup2(output, 1) < 0 || dup2(output, 2) < 0) {
        _exit(EXEC_FAILED);
    }
    (void)close_range(3, ~0U, 0);
    /* execve's prototype is older than const; it changes neither. */
    execve(argv[0], (char *const *)(guintptr)argv, (char *const *)(guintptr)tool_environ);
    _exit(EXEC_FAILED);
}

static int
wait_for(pid_t pid, int timeout_ms, int *ret_status)
{
    int rc = 0;
    struct pollfd end = {.fd = pidfd_open(pid, 0), .events = POLLIN};
    if (end.fd >= 0 && poll(&end, 1, timeout_ms) == 0) {
        rc = -ETIMEDOUT;
        (void)kill(pid, SIGKILL);
    }
    while (waitpid(pid, ret_status, 0) < 0) {
        if (errno != EINTR) {
            rc = -errno;
            break;
        }
    }
    if (end.fd >= 0) {
        close(end.fd);
    }
    return rc;
}

/* The last line that the tool printed, fit for a log. */
static char *
last_line(int output)
{
    char text[OUTPUT_MAX + 1];
    off_t size = lseek(output, 0, SEEK_END);
    ssize_t n = pread(output, text, OUTPUT_MAX, size > OUTPUT_MAX ? size - OUTPUT_MAX : 0);
    text[n > 0 ? n : 0] = '\0';
    g_strchomp(text);
    const char *line = strrchr(text, '\n');
    return text_escape(line != NULL ? line + 1 : text, 300);
}

int
tool_run(const char *const *argv, int timeout_ms, char **error_r)
{
    int status = 0;
    if (access(argv[0], X_OK) < 0) {
        *error_r = g_strdup_printf("%s: %s", argv[0], g_strerror(errno));
        return -ENOENT;
    }
    int output = memfd_create("output", MFD_CLOEXEC);
    if (output < 0) {
        *error_r = g_strdup_printf("%s: no room for its output: %s", argv[0], g_strerror(errno));
        return -ENOMEM;
    }
    pid_t pid = fork();
    if (pid == 0) {
        child_exec(argv, output);
    }
    int rc = pid < 0 ? -errno : wait_for(pid, timeout_ms, &status);
    if (rc == 0 && status != 0) {
        rc = -EREMOTEIO;
    }
    if (rc == -EREMOTEIO) {
        g_autofree char *line = last_line(output);
        *error_r =
            g_strdup_printf("%s ended with %d: %s", argv[0],
                            WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status), line);
    } else if (rc < 0) {
        *error_r = g_strdup_printf("%s: %s", argv[0], g_strerror(-rc));
    }
    close(output);
    return rc;
}
