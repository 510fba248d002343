/* SPDX-License-Identifier: GPL-2.0-only */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "drill-rule.h"

/* A tool of the dead drill may still be at work: what it does then is taken away too. */
#define AGAIN_SECONDS 5
#define TRIES 24

struct drill_guard {
    pid_t pid;
    int pipe; /* a byte: all is done; its end without one: the drill has died */
};

static void
ignore_signals(void)
{
    static const int signals[] = {SIGHUP, SIGINT, SIGTERM, SIGQUIT, SIGPIPE};
    for (size_t i = 0; i < G_N_ELEMENTS(signals); i++) {
        (void)signal(signals[i], SIG_IGN);
    }
}

/* Nothing of the caller's is held: an ssh that waits for the end of its output must not wait. */
static void
detach(int pipe)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    (void)setsid();
    ignore_signals();
    for (int fd = 0; fd < 3 && null >= 0; fd++) {
        (void)dup2(null, fd);
    }
    (void)dup2(pipe, 3);
    (void)close_range(4, ~0U, 0);
}

G_GNUC_NORETURN static void
guard(const struct drill_rule *rule, int pipe)
{
    char byte;
    ssize_t n;
    int gone = 0;
    detach(pipe);
    do {
        n = read(3, &byte, 1);
    } while (n < 0 && errno == EINTR);
    for (int i = 0; n != 1 && i < TRIES && gone < 2; i++) {
        g_autofree char *why = NULL;
        gone = drill_rule_remove(rule, &why) == 0 ? gone + 1 : 0;
        (void)sleep(gone < 2 ? AGAIN_SECONDS : 0);
    }
    _exit(EXIT_SUCCESS);
}

int
drill_guard_start(const struct drill_rule *rule, struct drill_guard **guard_r)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0) {
        return -errno;
    }
    pid_t pid = fork();
    if (pid == 0) {
        close(ends[1]);
        guard(rule, ends[0]);
    }
    int error = errno;
    close(ends[0]);
    if (pid < 0) {
        close(ends[1]);
        return -error;
    }
    *guard_r = g_new0(struct drill_guard, 1);
    (*guard_r)->pid = pid;
    (*guard_r)->pipe = ends[1];
    return 0;
}

void
drill_guard_end(struct drill_guard *guard)
{
    if (guard != NULL) {
        (void)!write(guard->pipe, "", 1);
        close(guard->pipe);
        while (waitpid(guard->pid, NULL, 0) < 0 && errno == EINTR) {
        }
        g_free(guard);
    }
}
