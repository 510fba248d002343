/* SPDX-License-Identifier: GPL-2.0-only */
#include "config.h"
#include "handed.h"

#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include <glib.h>

#include "adoption.h"
#include "launch.h"
#include "log.h"
#include "packet.h"

void
handed_init(struct handed *handed)
{
    *handed = (struct handed){.pidfd = -1, .channel = -1};
}

static void
replace(int *fd, int fresh)
{
    if (*fd >= 0) {
        close(*fd);
    }
    *fd = fresh;
}

void
handed_clear(struct handed *handed)
{
    json_decref(g_steal_pointer(&handed->zygote));
    replace(&handed->pidfd, -1);
    replace(&handed->channel, -1);
}

/* From here on the process may end. */
static void
expect(int channel)
{
    json_auto_t *taken = json_pack("{s:s}", "op", "taken");
    if (prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0) {
        (void)packet_send(channel, taken, -1);
    }
}

void
handed_hear(struct handed *handed, json_t *packet, int fd, int channel)
{
    const char *event = json_string_value(json_object_get(packet, "event"));
    if (fd < 0) {
        return;
    }
    if (g_strcmp0(event, "zygote") == 0) {
        json_decref(handed->zygote);
        handed->zygote = json_incref(packet);
        replace(&handed->pidfd, fd);
    } else if (g_strcmp0(event, "channel") == 0 && handed->pidfd >= 0) {
        replace(&handed->channel, fd);
        expect(channel);
    } else {
        close(fd);
    }
}

/* The process that PIDFD means is this one's child now. */
static bool
is_child(int pidfd)
{
    siginfo_t info = {.si_pid = 0};
    return waitid(P_PIDFD, (id_t)pidfd, &info, WEXITED | WNOHANG | WNOWAIT) == 0;
}

void
handed_settle(struct handed *handed, struct engine *engine)
{
    if (handed->channel < 0) {
        handed_clear(handed);
        return;
    }
    (void)prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0);
    struct launched zygote = {
        .pid = (pid_t)json_integer_value(json_object_get(handed->zygote, "pid")),
        .pidfd = handed->pidfd,
        .channel = handed->channel,
    };
    if (!is_child(handed->pidfd)) {
        log_warning("trial: its zygote cannot go on without it");
        handed_clear(handed);
        return;
    }
    handed->pidfd = -1;
    handed->channel = -1;
    adoption_take_tried(engine, &zygote, json_object_get(handed->zygote, "loaded"));
    handed_clear(handed);
}
