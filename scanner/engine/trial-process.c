/* SPDX-License-Identifier: GPL-2.0-only */
#include "config.h"
#include "trial-process.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <glib.h>

#include "engine.h"
#include "packet.h"
#include "store.h"

/* What its zygote takes beside that while it loads is worker/backseat.h. */
#define NICE_FIRST 10
#define NICE_AGAIN 5
/* As the kernel has it for ioprio_set(2): IOPRIO_CLASS_IDLE << IOPRIO_CLASS_SHIFT. */
#define IO_IDLE (3 << 13)
#define IO_WHO_PROCESS 1
#define OOM_FIRST "1000"
#define CHANNEL 3
#define PATIENCE_MS 1000

static void
take_back_seat(bool again)
{
    (void)setpriority(PRIO_PROCESS, 0, again ? NICE_AGAIN : NICE_FIRST);
    (void)syscall(SYS_ioprio_set, IO_WHO_PROCESS, 0, IO_IDLE);
    int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    if (fd >= 0) {
        (void)!write(fd, OOM_FIRST, sizeof OOM_FIRST - 1);
        close(fd);
    }
}

static _Noreturn void
child(struct trial_task *task, bool again, int channel, pid_t parent)
{
    sigset_t none;
    sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    /* It goes to all of the unit; the engine ends us, when it ends. */
    (void)signal(SIGTERM, SIG_IGN);
    (void)prctl(PR_SET_NAME, "postern-trial", 0, 0, 0);
    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0 || getppid() != parent ||
        dup2(channel, CHANNEL) < 0 || close_range(CHANNEL + 1, ~0U, 0) < 0 ||
        fcntl(CHANNEL, F_SETFD, FD_CLOEXEC) < 0) {
        _exit(1);
    }
    /* In a pause everybody waits for it, and it may remain. */
    if (!task->whatever_memory) {
        take_back_seat(again);
    }
    task->channel = CHANNEL;
    trial_run(task);
    _exit(0);
}

int
trial_process_start(struct trial_task *task, bool again, pid_t *pid, int *channel)
{
    int pair[2];
    pid_t parent = getpid();
    int rc = packet_pair(pair);
    if (rc < 0) {
        return rc;
    }
    *pid = fork();
    if (*pid == 0) {
        child(task, again, pair[1], parent);
    }
    rc = *pid < 0 ? -errno : 0;
    close(pair[1]);
    if (rc == 0 && fcntl(pair[0], F_SETFL, O_NONBLOCK) < 0) {
        rc = -errno;
        (void)kill(*pid, SIGKILL);
        (void)waitpid(*pid, NULL, 0);
    }
    if (rc < 0) {
        close(pair[0]);
        *pid = 0;
        return rc;
    }
    *channel = pair[0];
    return 0;
}

bool
trial_process_must_wait(const struct engine *engine)
{
    return engine->report.state == REPORT_LOADING || adoption_is_busy(engine) ||
           evidence_is_busy(engine->evidence);
}

/* For at most 1 second, which what does not wait for a disk does not take. */
static void
wait_a_moment(pid_t pid)
{
    for (int i = 0; i < PATIENCE_MS && waitpid(pid, NULL, WNOHANG) == 0; i++) {
        g_usleep(1000);
    }
}

static void
take_back(const struct settings *settings, const char *generation)
{
    g_autoptr(store_t) store = NULL;
    g_autofree char *ignored = NULL;
    if (store_open(settings->signatures_dir, TRUE, &store, &ignored) < 0) {
        return;
    }
    g_autoptr(store_entry_t) entry = store_find(store, generation, &ignored);
    if (entry != NULL && entry->record.state == RECORD_TRYING) {
        (void)store_set(store, entry->name, RECORD_FETCHED, "the engine was stopped", &ignored);
    }
}

void
trial_process_end(pid_t pid, const struct settings *settings, const char *generation)
{
    (void)kill(pid, SIGKILL);
    wait_a_moment(pid);
    pid_t writer = generation != NULL ? fork() : -1;
    if (writer == 0) {
        take_back(settings, generation);
        _exit(0);
    }
    if (writer > 0) {
        wait_a_moment(writer);
        (void)kill(writer, SIGKILL);
    }
}
