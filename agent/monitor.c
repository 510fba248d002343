/* SPDX-License-Identifier: GPL-2.0-only */
#include "service.h"

#include <string.h>
#include <unistd.h>
#include <jansson.h>

#include "packet.h"
#include "score.h"
#include "text.h"

#define SELFTEST_LEVEL 10
/* Mail is refused as long; a promotion elsewhere takes seconds. */
#define AWAY_MAX_US (20 * G_TIME_SPAN_SECOND)

/* systemd runs it, or is about to run it again: nothing for the cluster to do. */
static bool
alive(enum unit_condition condition)
{
    return condition == UNIT_UP || condition == UNIT_RESPAWNING || condition == UNIT_LEAVING;
}

/* "failed" is systemd's verdict on the main process; others may have outlived it. */
static bool
has_orphans(struct agent *agent, const char *unit, enum unit_condition condition)
{
    return condition == UNIT_FAILED && unit_processes(agent->bus, unit) > 0;
}

static int
dead(struct agent *agent, const char *unit, enum unit_condition condition)
{
    const char *how = condition == UNIT_FAILED ? "has failed and systemd has given it up"
                                               : "is not running although it was started";
    return ocf_fail(&agent->ocf, PCMK_OCF_UNKNOWN_ERROR, "%s %s; see journalctl -u %s", unit, how,
                    unit);
}

static int
engine_alone(struct agent *agent, const struct service_status *status)
{
    if (alive(status->engine)) {
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
    return status->stage == ROLE_SERVING && status->daemon == UNIT_RESPAWNING &&
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
    if (alive(status->daemon)) {
        int running = agent->mode == ROLE_PRIMITIVE ? PCMK_OCF_OK : PCMK_OCF_RUNNING_PROMOTED;
        return alive(status->engine) ? running : dead(agent, SCORE_ENGINE_UNIT, status->engine);
    }
    if ((status->known && status->stage == ROLE_SERVING) ||
        has_orphans(agent, SCORE_DAEMON_UNIT, status->daemon)) {
        return dead(agent, SCORE_DAEMON_UNIT, status->daemon);
    }
    return agent->mode == ROLE_PRIMITIVE ? PCMK_OCF_NOT_RUNNING : engine_alone(agent, status);
}

/* One exchange with the engine; NULL with *ERROR_R when there is no answer. */
static json_t *
engine_ask(int sock, const char *op, int timeout_ms, char **error_r)
{
    json_t *answer = NULL;
    json_t *request = json_pack("{s:s}", "op", op);
    int rc = packet_call(sock, request, -1, timeout_ms, &answer, NULL);
    json_decref(request);
    if (rc != 1) {
        *error_r = g_strdup_printf("the engine does not answer to %s: %s", op,
                                   rc == 0 ? "closed" : g_strerror(-rc));
        return NULL;
    }
    return answer;
}

static int
selftest_on(const struct ocf *ocf, int sock)
{
    g_autofree char *error = NULL;
    const char *text = "";
    json_t *status = engine_ask(sock, "status", ocf_time_left_ms(ocf), &error);
    const char *state = json_string_value(json_object_get(status, "state"));
    bool ready = state != NULL && strcmp(state, "ready") == 0;
    json_t *answer = ready ? engine_ask(sock, "selftest", ocf_time_left_ms(ocf), &error) : NULL;
    bool passed = status != NULL && (!ready || json_is_true(json_object_get(answer, "ok")));
    int rc = PCMK_OCF_OK;
    if (!passed) {
        (void)json_unpack(answer, "{s?s}", "error", &text);
        g_autofree char *shown = text_escape(error != NULL ? error : text, 200);
        rc = ocf_fail(ocf, PCMK_OCF_UNKNOWN_ERROR, "the scan of the test virus failed: %s", shown);
    }
    json_decref(answer);
    json_decref(status);
    return rc;
}

/* A fresh worker scans the test virus. Nothing to test while the signatures are being loaded. */
static int
selftest(struct agent *agent)
{
    g_autoptr(roles_t) roles = NULL;
    g_autofree char *path = NULL;
    if (roles_open(NULL, &roles) == 0) {
        const struct role *role = roles_find(roles, agent->ocf.resource);
        const char *dir = role != NULL ? role->engine_dir : NULL;
        path = dir != NULL ? g_build_filename(dir, "engine.sock", NULL) : NULL;
    }
    g_clear_pointer(&roles, roles_close);
    if (path == NULL) {
        return PCMK_OCF_OK;
    }
    int sock = packet_connect(path);
    if (sock < 0) {
        return ocf_fail(&agent->ocf, PCMK_OCF_UNKNOWN_ERROR, "%s: %s", path, g_strerror(-sock));
    }
    int rc = selftest_on(&agent->ocf, sock);
    close(sock);
    return rc;
}

int
action_monitor(struct agent *agent)
{
    struct service_status status = {.known = false};
    g_autofree char *error = NULL;
    int rc = service_bus(agent, &error);
    if (rc == PCMK_OCF_NOT_INSTALLED) {
        return PCMK_OCF_NOT_RUNNING; /* without systemd none of our units runs */
    }
    rc =
        rc == PCMK_OCF_OK ? service_status(agent, &status) : ocf_fail(&agent->ocf, rc, "%s", error);
    if (rc == PCMK_OCF_OK) {
        rc = role_of(agent, &status);
    }
    if (rc != PCMK_OCF_OK && rc != PCMK_OCF_RUNNING_PROMOTED) {
        return rc;
    }
    if (!status.known) {
        service_adopt(agent, alive(status.daemon));
    }
    service_publish(agent, agent->ocf.probe);
    if (agent->ocf.check_level >= SELFTEST_LEVEL) {
        int tested = selftest(agent);
        rc = tested == PCMK_OCF_OK ? rc : tested;
    }
    return rc;
}
