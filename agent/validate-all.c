/* SPDX-License-Identifier: GPL-2.0-only */
#include "service.h"

#include <pwd.h>
#include <unistd.h>

#include "param.h"
#include "programs.h"
#include "score.h"

static const char *const units[] = {SCORE_ENGINE_UNIT, SCORE_DAEMON_UNIT, SCORE_NOTIFY_UNIT,
                                    SCORE_SHARE_UNIT, SCORE_UPDATE_UNIT};

static int
check_users(const struct agent *agent)
{
    const char *const users[] = {agent->settings->engine_user, agent->settings->daemon_user,
                                 agent->settings->share_user, agent->settings->update_user};
    for (size_t i = 0; i < G_N_ELEMENTS(users); i++) {
        if (getpwnam(users[i]) == NULL) {
            return ocf_fail(&agent->ocf, PCMK_OCF_NOT_INSTALLED,
                            "there is no user %s: run systemd-sysusers", users[i]);
        }
    }
    return PCMK_OCF_OK;
}

/* For root only: nobody else can ask systemd to look for a unit that is not loaded. */
static int
check_units(struct agent *agent)
{
    g_autofree char *error = NULL;
    int rc = geteuid() == 0 ? service_bus(agent, &error) : PCMK_OCF_OK;
    if (rc != PCMK_OCF_OK) {
        return ocf_fail(&agent->ocf, rc, "%s", error);
    }
    for (size_t i = 0; agent->bus != NULL && i < G_N_ELEMENTS(units); i++) {
        enum unit_condition condition;
        if (unit_condition(agent->bus, units[i], &condition, &error) < 0) {
            return ocf_fail(&agent->ocf, PCMK_OCF_UNKNOWN_ERROR, "%s", error);
        }
        if (condition == UNIT_ABSENT) {
            return ocf_fail(&agent->ocf, PCMK_OCF_NOT_INSTALLED, "%s is not installed", units[i]);
        }
        if (programs_check_running(agent->bus, units[i], &error) < 0) {
            return ocf_fail(&agent->ocf, PCMK_OCF_NOT_INSTALLED, "%s", error);
        }
    }
    return PCMK_OCF_OK;
}

/* The only action that may answer "wrong everywhere": it changes nothing. */
int
action_validate_all(struct agent *agent)
{
    g_autofree char *error = NULL;
    if (param_check(&agent->ocf, &error) < 0) {
        return ocf_fail(&agent->ocf, PCMK_OCF_NOT_CONFIGURED, "%s", error);
    }
    int rc = service_settings(agent);
    if (rc == PCMK_OCF_OK) {
        rc = service_programs(agent);
    }
    if (rc == PCMK_OCF_OK) {
        rc = check_users(agent);
    }
    return rc == PCMK_OCF_OK ? check_units(agent) : rc;
}
