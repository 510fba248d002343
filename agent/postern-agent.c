/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * postern-agent: the resource agent ocf:postern:scanner. The cluster manager runs it once per
 * action, with the action as its only argument and all else in the environment.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "action.h"
#include "log.h"
#include "param.h"
#include "unit.h"

#define ACTION_LOCK ROLE_DIR "/agent.lock"

static int
usage(FILE *to, int rc)
{
    g_autofree char *names = action_names();
    fprintf(to, "usage: postern-agent {%s}\n", names);
    fprintf(to, "The resource agent ocf:postern:scanner; see ocf_postern_scanner(7).\n");
    return rc;
}

static enum role_mode
mode_of(const struct ocf *ocf)
{
    const char *part = ocf_param(ocf, PARAM_PART);
    if (ocf->promotable) {
        return ROLE_PROMOTABLE;
    }
    return part != NULL && strcmp(part, "engine") == 0 ? ROLE_ENGINE : ROLE_PRIMITIVE;
}

/*
 * In primitive mode two resources share the engine, so one's stop must not overlap the other's
 * start. Waits: the cluster's timeout is the limit. Released by the end of the process.
 */
static void
lock_node(void)
{
    int lock = open(ACTION_LOCK, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    while (lock >= 0 && flock(lock, LOCK_EX) < 0 && errno == EINTR) {
    }
}

/* start refuses such a name, so nothing runs under it: an error of stop would fence the node. */
static int
answer_misnamed(const struct action *action, const struct agent *agent, const char *error)
{
    if (action->run == action_stop) {
        return PCMK_OCF_OK;
    }
    return action->run == action_monitor || action->run == action_demote
               ? PCMK_OCF_NOT_RUNNING
               : ocf_fail(&agent->ocf, PCMK_OCF_INVALID_PARAM, "%s", error);
}

/* A systemd that executes itself anew (an upgrade does) drops its connections, which says nothing
 * about the units: all actions are idempotent, so the action is done again. */
static int
act(const struct action *action, struct agent *agent)
{
    for (;;) {
        int rc = action->run(agent);
        bool lost = agent->bus != NULL && sd_bus_is_open(agent->bus) == 0;
        if (rc == PCMK_OCF_OK || !lost || g_get_monotonic_time() >= agent->ocf.deadline) {
            return rc;
        }
        log_notice("%s: systemd closed the connection; %s once more", agent->ocf.resource,
                   action->name);
        g_clear_pointer(&agent->bus, unit_bus_close);
        g_clear_pointer(&agent->settings, settings_free);
    }
}

static int
run(const struct action *action, struct agent *agent)
{
    g_autofree char *error = NULL;
    if (ocf_read(environ, &agent->ocf, &error) < 0 && action->run != action_meta_data) {
        return answer_misnamed(action, agent, error);
    }
    if (!action->as_anyone && geteuid() != 0) {
        return ocf_fail(&agent->ocf, PCMK_OCF_INSUFFICIENT_PRIV, "%s is for root", action->name);
    }
    (void)umask(022); /* the cluster manager's is tighter; nothing here is a secret */
    agent->mode = mode_of(&agent->ocf);
    if (action->exclusive) {
        lock_node();
    }
    return act(action, agent);
}

int
main(int argc, char **argv)
{
    struct agent agent = {0};
    const struct action *action = argc == 2 ? action_find(argv[1]) : NULL;
    if (argc == 2 && (strcmp(argv[1], "usage") == 0 || strcmp(argv[1], "--help") == 0)) {
        return usage(stdout, PCMK_OCF_OK);
    }
    if (argc == 2 && strcmp(argv[1], "--version") == 0) {
        printf("postern-agent %s\n", PACKAGE_VERSION);
        return PCMK_OCF_OK;
    }
    if (action == NULL) {
        return usage(stderr, PCMK_OCF_UNIMPLEMENT_FEATURE);
    }
    if (!action->as_anyone) {
        log_init("postern-agent", isatty(STDERR_FILENO), LOG_INFO);
    }
    int rc = run(action, &agent);
    unit_bus_close(agent.bus);
    settings_free(agent.settings);
    ocf_clear(&agent.ocf);
    return rc;
}
