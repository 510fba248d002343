/* SPDX-License-Identifier: GPL-2.0-only */
/* `current` is set in a process of its own: it waits for the disk, and the engine, which has to
 * tell systemd every few seconds that it is alive, must not. */
#include "config.h"
#include "adoption-inner.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "text.h"

#define TEXT_MAX 400
#define OUT 3
#define EXIT_BUSY 3

static _Noreturn void
child(const struct engine *engine, const struct choice *choice, int out, pid_t parent)
{
    g_autofree char *text = NULL;
    sigset_t none;
    sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    /* It goes to all of the unit; the engine ends us, when it ends. */
    (void)signal(SIGTERM, SIG_IGN);
    (void)prctl(PR_SET_NAME, "postern-adopt", 0, 0, 0);
    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0 || getppid() != parent ||
        (out != OUT && dup2(out, OUT) < 0) || close_range(OUT + 1, ~0U, 0) < 0) {
        _exit(1);
    }
    int rc = choice_commit(engine, choice, &text);
    if (text != NULL) {
        (void)!write(OUT, text, MIN(strlen(text), TEXT_MAX));
    }
    _exit(rc == 0 ? 0 : rc == -EBUSY ? EXIT_BUSY : 1);
}

static char *
read_text(int fd)
{
    char text[TEXT_MAX + 1];
    ssize_t n = read(fd, text, TEXT_MAX);
    text[n > 0 ? n : 0] = '\0';
    return text_escape(text, TEXT_MAX);
}

static int
on_end(sd_event_source *source, const siginfo_t *info, void *data)
{
    struct adoption *adoption = data;
    g_autofree char *text = read_text(adoption->commit.out);
    bool exited = info->si_code == CLD_EXITED;
    int rc = exited && info->si_status == 0           ? 0
             : exited && info->si_status == EXIT_BUSY ? -EBUSY
                                                      : -EIO;
    (void)source;
    adoption->commit.pid = 0;
    adoption_commit_forget(adoption);
    adoption_committed(adoption, rc, *text != '\0' ? text : NULL);
    return 0;
}

void
adoption_commit_forget(struct adoption *adoption)
{
    if (adoption->commit.pid != 0) {
        (void)kill(adoption->commit.pid, SIGKILL);
        (void)waitpid(adoption->commit.pid, NULL, WNOHANG);
        adoption->commit.pid = 0;
    }
    adoption->commit.end = sd_event_source_disable_unref(adoption->commit.end);
    if (adoption->commit.out >= 0) {
        close(adoption->commit.out);
        adoption->commit.out = -1;
    }
}

int
adoption_commit_start(struct adoption *adoption)
{
    struct engine *engine = adoption->engine;
    pid_t parent = getpid();
    int pair[2];
    if (pipe2(pair, O_CLOEXEC) < 0) {
        return -errno;
    }
    pid_t pid = fork();
    if (pid == 0) {
        child(engine, &adoption->choice, pair[1], parent);
    }
    int rc = pid < 0 ? -errno : 0;
    close(pair[1]);
    adoption->commit.pid = MAX(pid, 0);
    adoption->commit.out = pair[0];
    if (rc == 0) {
        rc = sd_event_add_child(engine->event, &adoption->commit.end, pid, WEXITED, on_end,
                                adoption);
    }
    if (rc < 0) {
        adoption_commit_forget(adoption);
    }
    return MIN(rc, 0);
}
