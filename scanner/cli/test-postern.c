/* SPDX-License-Identifier: GPL-2.0-only */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "test-postern.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static void
result_clear(struct result *result)
{
    g_clear_pointer(&result->out, g_free);
    g_clear_pointer(&result->err, g_free);
}

static int
on_exit_of(sd_event_source *source, const siginfo_t *info, void *data)
{
    struct result *result = data;
    (void)source;
    result->status = info->si_code == CLD_EXITED ? info->si_status : 128 + info->si_status;
    return 0;
}

static void
redirect(int fd, const char *path)
{
    int file = open(path, fd == 0 ? O_RDONLY : O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (file < 0 || dup2(file, fd) < 0) {
        _exit(127);
    }
}

void
postern_start(struct bench *b, const char *input, struct result *result, const char *const words[])
{
    const char *argv[32] = {"postern", "--config"};
    g_autofree char *conf = g_build_filename(b->fixture->dir, "postern.conf", NULL);
    g_autofree char *out = g_build_filename(b->fixture->dir, "out", NULL);
    g_autofree char *err = g_build_filename(b->fixture->dir, "err", NULL);
    size_t n = 2;
    argv[n++] = conf;
    while (*words != NULL) {
        argv[n++] = *words++;
    }
    result->status = -1;
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        redirect(0, input == NULL ? "/dev/null" : input);
        redirect(1, out);
        redirect(2, err);
        execv("./postern", (char *const *)(uintptr_t)argv);
        _exit(127);
    }
    assert_true(sd_event_add_child(b->event, &result->source, child, WEXITED, on_exit_of, result) >=
                0);
}

void
postern_wait(struct bench *b, struct result *result)
{
    g_autofree char *out = g_build_filename(b->fixture->dir, "out", NULL);
    g_autofree char *err = g_build_filename(b->fixture->dir, "err", NULL);
    while (result->status < 0) {
        assert_true(sd_event_run(b->event, UINT64_MAX) >= 0);
    }
    result->source = sd_event_source_disable_unref(result->source);
    assert_true(g_file_get_contents(out, &result->out, NULL, NULL));
    assert_true(g_file_get_contents(err, &result->err, NULL, NULL));
}

void
postern(struct bench *b, const char *input, struct result *result, const char *const words[])
{
    postern_start(b, input, result, words);
    postern_wait(b, result);
}

void
check(struct result *result, int status, const char *out, const char *err)
{
    if (result->status != status || strstr(result->out, out) == NULL ||
        strstr(result->err, err) == NULL || (*err == '\0' && *result->err != '\0')) {
        fail_msg("status %d\n%s\n%s\nis not: status %d\n%s\n%s", result->status, result->out,
                 result->err, status, out, err);
    }
    result_clear(result);
}

char *
put(struct bench *b, const char *name, const char *text)
{
    char *path = g_build_filename(b->fixture->dir, name, NULL);
    assert_true(g_file_set_contents(path, text, -1, NULL));
    return path;
}

/* The end of a child reaches the loop only when the signal is blocked. */
void
postern_prepare(void)
{
    sigset_t child;
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    sigprocmask(SIG_BLOCK, &child, NULL);
    g_setenv("LC_ALL", "C", TRUE);
}
