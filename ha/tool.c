/* SPDX-License-Identifier: GPL-2.0-only */
#include "tool.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "text.h"

#define OUTPUT_MAX 4096
#define EXEC_FAILED 127

static const char *const tool_environ[] = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", NULL};

static gboolean is_shielded;

void
tool_shield(void)
{
    is_shielded = TRUE;
}

static void
limit_output(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_FSIZE, &limit) == 0) {
        limit.rlim_cur = MIN(limit.rlim_max, TOOL_OUTPUT_MAX);
        (void)setrlimit(RLIMIT_FSIZE, &limit);
    }
}

G_GNUC_NORETURN static void
child_exec(const char *const *argv, const char *const *environment, const int fds[3])
{
    sigset_t none;
    sigemptyset(&none);
    if (is_shielded) {
        (void)setpgid(0, 0);
    }
    limit_output();
    (void)signal(SIGPIPE, SIG_DFL);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    for (int i = 0; i < 3; i++) {
        if (dup2(fds[i], i) < 0) {
            _exit(EXEC_FAILED);
        }
    }
    (void)close_range(3, ~0U, 0);
    /* execve's prototype is older than const; it changes neither. */
    execve(argv[0], (char *const *)(guintptr)argv, (char *const *)(guintptr)environment);
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

/* A child with FDS as its first descriptors, until its end; its wait status in *RET_STATUS. */
static int
run(const char *const *argv, const char *const *environment, const int fds[3], int timeout_ms,
    int *ret_status)
{
    pid_t pid = fork();
    if (pid == 0) {
        child_exec(argv, environment, fds);
    }
    return pid < 0 ? -errno : wait_for(pid, timeout_ms, ret_status);
}

static int
memory_file(const char *text)
{
    int fd = memfd_create("tool", MFD_CLOEXEC);
    size_t length = text == NULL ? 0 : strlen(text);
    for (size_t done = 0; fd >= 0 && done < length;) {
        ssize_t n = write(fd, text + done, length - done);
        if (n < 0 && errno != EINTR) {
            close(fd);
            return -errno;
        }
        done += n > 0 ? (size_t)n : 0;
    }
    return fd < 0 || lseek(fd, 0, SEEK_SET) < 0 ? -errno : fd;
}

static char *
whole_text(int fd)
{
    off_t size = lseek(fd, 0, SEEK_END);
    GString *text = g_string_new(NULL);
    g_string_set_size(text, size > 0 ? (gsize)size : 0);
    ssize_t n = size > 0 ? pread(fd, text->str, text->len, 0) : 0;
    g_string_set_size(text, n > 0 ? (gsize)n : 0);
    return g_string_free(text, FALSE);
}

static char *
end_text(const char *program, int rc, int status, int output)
{
    if (rc < 0) {
        return g_strdup_printf("%s: %s", program, g_strerror(-rc));
    }
    g_autofree char *line = last_line(output);
    return g_strdup_printf("%s ended with %d: %s", program,
                           WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status), line);
}

int
tool_run(const char *const *argv, int timeout_ms, char **error_r)
{
    int rc = tool_output(argv, NULL, NULL, timeout_ms, NULL, error_r);
    return rc > 0 || rc == -ECANCELED ? -EREMOTEIO : rc;
}

/* What was said goes where the errors go when nobody wants it, so that its last line is known. */
static int
run_into(const char *const *argv, const char *const *environment, int input, int timeout_ms,
         char **output_r, char **error_r)
{
    int status = 0;
    int said = memory_file(NULL);
    int output = output_r != NULL ? memory_file(NULL) : said;
    int rc = said < 0 ? said : output < 0 ? output : 0;
    if (rc == 0) {
        const int fds[3] = {input, output, said};
        rc = run(argv, environment, fds, timeout_ms, &status);
    }
    if (rc < 0 || status != 0) {
        *error_r = end_text(argv[0], rc, status, said);
    }
    if (rc == 0 && output_r != NULL) {
        *output_r = whole_text(output);
    }
    if (output != said && output >= 0) {
        close(output);
    }
    if (said >= 0) {
        close(said);
    }
    return rc < 0 ? rc : WIFEXITED(status) ? WEXITSTATUS(status) : -ECANCELED;
}

int
tool_output(const char *const *argv, const char *const *environment, const char *input,
            int timeout_ms, char **output_r, char **error_r)
{
    g_autoptr(GPtrArray) variables = g_ptr_array_new();
    if (access(argv[0], X_OK) < 0) {
        *error_r = g_strdup_printf("%s: %s", argv[0], g_strerror(errno));
        return -ENOENT;
    }
    for (const char *const *v = tool_environ; *v != NULL; v++) {
        g_ptr_array_add(variables, (void *)(guintptr)*v);
    }
    for (; environment != NULL && *environment != NULL; environment++) {
        g_ptr_array_add(variables, (void *)(guintptr)*environment);
    }
    g_ptr_array_add(variables, NULL);
    int fd = memory_file(input);
    if (fd < 0) {
        *error_r = g_strdup_printf("%s: no room for its input: %s", argv[0], g_strerror(-fd));
        return fd;
    }
    int rc =
        run_into(argv, (const char *const *)variables->pdata, fd, timeout_ms, output_r, error_r);
    close(fd);
    return rc;
}
