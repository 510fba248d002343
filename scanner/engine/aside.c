/* SPDX-License-Identifier: GPL-2.0-only */
#include "config.h"
#include "aside.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "durable.h"
#include "engine.h"

#define OUT 3

struct aside {
    struct engine *engine;
    struct aside **owner; /* NULL: nobody waits for it any more */
    aside_done *done;
    void *data;
    pid_t pid;
    int out; /* what it tells; -1: closed */
    sd_event_source *end;
    sd_event_source *deadline;
};

static _Noreturn void
child(struct engine *engine, const struct aside_plan *plan, int out, pid_t parent)
{
    sigset_t none;
    sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    /* It goes to all of the unit; the engine ends us, when it ends. */
    (void)signal(SIGTERM, SIG_IGN);
    (void)prctl(PR_SET_NAME, "postern-aside", 0, 0, 0);
    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0 || getppid() != parent ||
        (out != OUT && dup2(out, OUT) < 0) || close_range(OUT + 1, ~0U, 0) < 0) {
        _exit(1);
    }
    json_t *told = plan->work(engine, plan->task);
    char *text = told != NULL ? json_dumps(told, JSON_COMPACT) : NULL;
    /* The engine reads when we are gone: what the pipe does not hold would keep us. */
    bool is_said = text != NULL && strlen(text) <= ASIDE_MAX &&
                   durable_write_all(OUT, text, strlen(text)) == 0;
    _exit(is_said ? 0 : 1);
}

static void
stop_waiting(struct aside *aside)
{
    aside->deadline = sd_event_source_disable_unref(aside->deadline);
    if (aside->out >= 0) {
        close(aside->out);
        aside->out = -1;
    }
    if (aside->owner != NULL) {
        *aside->owner = NULL;
        aside->owner = NULL;
    }
}

/* By its source alone, when that goes: with the process, or with the event loop. */
static void
on_destroy(void *data)
{
    struct aside *aside = data;
    stop_waiting(aside);
    g_free(aside);
}

static json_t *
read_told(int fd)
{
    g_autofree char *text = g_malloc(ASIDE_MAX);
    ssize_t n = read(fd, text, ASIDE_MAX);
    return n > 0 ? json_loadb(text, (size_t)n, 0, NULL) : NULL;
}

static int
on_end(sd_event_source *source, const siginfo_t *info, void *data)
{
    struct aside *aside = data;
    (void)info;
    if (aside->owner == NULL) {
        aside->engine->asides_left--;
    } else {
        json_auto_t *told = read_told(aside->out);
        stop_waiting(aside);
        aside->done(told, "the process that looks at the signatures has ended", aside->data);
    }
    /* The event loop's reference is the last one. */
    (void)sd_event_source_set_floating(source, false);
    return 0;
}

static void
give_up(struct aside *aside)
{
    (void)kill(aside->pid, SIGKILL);
    aside->engine->asides_left++;
    stop_waiting(aside);
}

static int
on_deadline(sd_event_source *source, uint64_t usec, void *data)
{
    struct aside *aside = data;
    (void)source;
    (void)usec;
    give_up(aside);
    aside->done(NULL, "the disk of signatures_dir does not answer", aside->data);
    return 0;
}

void
aside_forget(struct aside **aside)
{
    if (*aside != NULL) {
        give_up(*aside);
    }
}

static int
watch(struct aside *aside, uint64_t seconds)
{
    sd_event *event = aside->engine->event;
    int rc = sd_event_add_child(event, &aside->end, aside->pid, WEXITED, on_end, aside);
    if (rc < 0) {
        return rc;
    }
    rc = sd_event_add_time_relative(event, &aside->deadline, CLOCK_MONOTONIC,
                                    seconds * G_USEC_PER_SEC, 0, on_deadline, aside);
    if (rc < 0) {
        aside->end = sd_event_source_disable_unref(aside->end);
        return rc;
    }
    (void)sd_event_source_set_destroy_callback(aside->end, on_destroy);
    (void)sd_event_source_set_floating(aside->end, true);
    sd_event_source_unref(aside->end);
    return 0;
}

int
aside_start(struct engine *engine, const struct aside_plan *plan, struct aside **ret)
{
    pid_t parent = getpid();
    int pair[2];
    if (engine->asides_left >= ASIDE_LEFT_MAX) {
        return -EBUSY;
    }
    if (pipe2(pair, O_CLOEXEC) < 0) {
        return -errno;
    }
    pid_t pid = fork();
    if (pid == 0) {
        child(engine, plan, pair[1], parent);
    }
    int rc = pid < 0 ? -errno : 0;
    close(pair[1]);
    if (rc < 0) {
        close(pair[0]);
        return rc;
    }
    struct aside *aside = g_new0(struct aside, 1);
    *aside = (struct aside){.engine = engine,
                            .owner = ret,
                            .done = plan->done,
                            .data = plan->data,
                            .pid = pid,
                            .out = pair[0]};
    *ret = aside;
    rc = watch(aside, plan->seconds > 0 ? plan->seconds : ASIDE_SECONDS);
    if (rc < 0) {
        (void)kill(pid, SIGKILL);
        (void)waitpid(pid, NULL, 0);
        on_destroy(aside);
    }
    return MIN(rc, 0);
}
