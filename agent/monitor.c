/* SPDX-License-Identifier: GPL-2.0-only */
#include "service.h"

#include "depth.h"
#include "score.h"

/* Mail is refused as long; a promotion elsewhere takes seconds. */
#define AWAY_MAX_US (20 * G_TIME_SPAN_SECOND)

/* "failed" is systemd's verdict on the main process; others may have outlived it. */
static bool
has_orphans(struct agent *agent, const char *unit, enum unit_condition condition)
{
    return condition == UNIT_FAILED && unit_processes(agent->bus, unit) > 0;
}

static int
dead(struct agent *agent, const char *unit, enum unit_condition condition)
{
    if (condition == UNIT_FAILED) {
        g_autofree char *words = unit_last_words(agent->bus, unit);
        return ocf_fail(&agent->ocf, PCMK_OCF_UNKNOWN_ERROR, "%s has failed and was given up: %s",
                        unit, words);
    }
    return ocf_fail(&agent->ocf, PCMK_OCF_UNKNOWN_ERROR,
                    "%s was ended by somebody else than the cluster; see journalctl -u %s", unit,
                    unit);
}

/* Who stops a file system kills those who use it. */
static int
daemon_dead(struct agent *agent, const struct service_status *status)
{
    if (status->unmounted) {
        return ocf_fail(&agent->ocf, PCMK_OCF_UNKNOWN_ERROR,
                        "the file system of state_dir was unmounted under %s: it has to be started "
                        "before the promotion and stopped after the demotion (order constraint)",
                        SCORE_DAEMON_UNIT);
    }
    return dead(agent, SCORE_DAEMON_UNIT, status->daemon);
}

static int
engine_alone(struct agent *agent, const struct service_status *status)
{
    if (service_alive(status->engine)) {
        return PCMK_OCF_OK;
    }
    return status->known || has_orphans(agent, SCORE_ENGINE_UNIT, status->engine)
               ? dead(agent, SCORE_ENGINE_UNIT, status->engine)
               : PCMK_OCF_NOT_RUNNING;
}

/*
 * systemd starts a crashed posternd again, and counts how often that fails: but one that neither
 * serves nor fails would be started for ever, with all mail refused and nobody told.
 */
static bool
stuck(struct agent *agent, const struct service_status *status)
{
    return status->stage == ROLE_SERVING &&
           (status->daemon == UNIT_RESPAWNING || status->daemon == UNIT_LEAVING) &&
           unit_away(agent->bus, SCORE_DAEMON_UNIT) > AWAY_MAX_US;
}

static int
role_of(struct agent *agent, const struct service_status *status)
{
    if (agent->mode == ROLE_ENGINE) {
        return engine_alone(agent, status);
    }
    if (status->taken && !status->known) {
        return PCMK_OCF_NOT_RUNNING; /* what runs is another resource's */
    }
    if (stuck(agent, status)) {
        return ocf_fail(&agent->ocf, PCMK_OCF_UNKNOWN_ERROR,
                        "%s does not come back to life; see journalctl -u %s", SCORE_DAEMON_UNIT,
                        SCORE_DAEMON_UNIT);
    }
    if (service_alive(status->daemon)) {
        int running = agent->mode == ROLE_PRIMITIVE ? PCMK_OCF_OK : PCMK_OCF_RUNNING_PROMOTED;
        return service_alive(status->engine) ? running
                                             : dead(agent, SCORE_ENGINE_UNIT, status->engine);
    }
    if ((status->known && status->stage == ROLE_SERVING) ||
        has_orphans(agent, SCORE_DAEMON_UNIT, status->daemon)) {
        return daemon_dead(agent, status);
    }
    return agent->mode == ROLE_PRIMITIVE ? PCMK_OCF_NOT_RUNNING : engine_alone(agent, status);
}

struct pids {
    unsigned engine;
    unsigned daemon;
};

static struct pids
main_pids(struct agent *agent)
{
    return (struct pids){unit_main_pid(agent->bus, SCORE_ENGINE_UNIT),
                         unit_main_pid(agent->bus, SCORE_DAEMON_UNIT)};
}

/* A program that died under the test, and that systemd starts again, is no failure (yet). */
static bool
was_interrupted(struct agent *agent, const struct pids *before, bool serving)
{
    struct service_status status = {.known = false};
    struct pids now = main_pids(agent);
    if (service_status(agent, &status) != PCMK_OCF_OK) {
        return false;
    }
    return now.engine != before->engine || status.engine == UNIT_RESPAWNING ||
           (serving && (now.daemon != before->daemon || status.daemon == UNIT_RESPAWNING));
}

/* RC: what the monitor says when the tests pass. */
static int
deep(struct agent *agent, const struct service_status *status, int rc)
{
    bool serving = status->stage == ROLE_SERVING && status->daemon == UNIT_UP;
    struct pids before = main_pids(agent);
    int tested = depth_check(agent, status->engine == UNIT_UP, serving);
    if (tested == PCMK_OCF_UNKNOWN_ERROR && was_interrupted(agent, &before, serving)) {
        return rc;
    }
    if (tested == PCMK_OCF_DEGRADED && rc == PCMK_OCF_RUNNING_PROMOTED) {
        return PCMK_OCF_DEGRADED_PROMOTED;
    }
    return tested == PCMK_OCF_OK ? rc : tested;
}

int
action_monitor(struct agent *agent)
{
    struct service_status status = {.known = false};
    g_autofree char *error = NULL;
    int rc = service_bus(agent, &error);
    rc =
        rc == PCMK_OCF_OK ? service_status(agent, &status) : ocf_fail(&agent->ocf, rc, "%s", error);
    if (rc == PCMK_OCF_OK) {
        rc = role_of(agent, &status);
    }
    if (rc != PCMK_OCF_OK && rc != PCMK_OCF_RUNNING_PROMOTED) {
        return rc;
    }
    if (!status.known) {
        service_adopt(agent, service_alive(status.daemon));
    }
    service_publish(agent, agent->ocf.probe);
    return agent->ocf.check_level >= DEPTH_SCAN ? deep(agent, &status, rc) : rc;
}
