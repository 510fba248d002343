/* SPDX-License-Identifier: GPL-2.0-only */
#include "depth.h"

#include <string.h>
#include <unistd.h>
#include <jansson.h>

#include "packet.h"
#include "text.h"

#define REASON_MAX 200

/* One exchange with WHO; NULL with *ERROR_R when there is no answer. */
static json_t *
ask(const struct agent *agent, int sock, const char *who, json_t *request, char **error_r)
{
    json_t *answer = NULL;
    int rc = packet_call(sock, request, -1, ocf_time_left_ms(&agent->ocf), &answer, NULL);
    if (rc != 1) {
        *error_r = g_strdup_printf("%s does not answer: %s", who,
                                   rc == 0 ? "it closed the connection" : g_strerror(-rc));
    }
    json_decref(request);
    return answer;
}

static int
fail_with(const struct agent *agent, const char *what, const char *error, const json_t *answer)
{
    const char *text = json_string_value(json_object_get(answer, "error"));
    g_autofree char *shown = text_escape(error != NULL  ? error
                                         : text != NULL ? text
                                                        : "no reason given",
                                         REASON_MAX);
    return ocf_fail(&agent->ocf, PCMK_OCF_UNKNOWN_ERROR, "%s: %s", what, shown);
}

static int
engine_selftest(struct agent *agent, int sock)
{
    g_autofree char *error = NULL;
    json_t *answer = NULL;
    json_t *status = ask(agent, sock, "the engine", json_pack("{s:s}", "op", "status"), &error);
    const char *state = json_string_value(json_object_get(status, "state"));
    bool ready = g_strcmp0(state, "ready") == 0;
    if (ready) {
        answer = ask(agent, sock, "the engine", json_pack("{s:s}", "op", "selftest"), &error);
    }
    bool passed = status != NULL && (!ready || json_is_true(json_object_get(answer, "ok")));
    int rc =
        passed ? PCMK_OCF_OK : fail_with(agent, "the scan of the test virus failed", error, answer);
    json_decref(answer);
    json_decref(status);
    return rc;
}

static int
daemon_selftest(struct agent *agent, int sock)
{
    g_autofree char *error = NULL;
    json_t *answer = ask(
        agent, sock, "posternd",
        json_pack("{s:s, s:b}", "op", "selftest", "state", agent->ocf.check_level >= DEPTH_STATE),
        &error);
    const char *degraded = json_string_value(json_object_get(answer, "degraded"));
    int rc = PCMK_OCF_OK;
    if (!json_is_true(json_object_get(answer, "ok"))) {
        rc = fail_with(agent, "posternd's test of itself failed", error, answer);
    } else if (degraded != NULL) {
        g_autofree char *shown = text_escape(degraded, REASON_MAX);
        rc = ocf_fail(&agent->ocf, PCMK_OCF_DEGRADED, "%s", shown);
    }
    json_decref(answer);
    return rc;
}

static int
test_on(struct agent *agent, const char *path, int (*test)(struct agent *agent, int sock))
{
    int sock = packet_connect(path);
    if (sock < 0) {
        return ocf_fail(&agent->ocf, PCMK_OCF_UNKNOWN_ERROR, "%s: %s", path, g_strerror(-sock));
    }
    int rc = test(agent, sock);
    close(sock);
    return rc;
}

int
depth_check(struct agent *agent, bool running, bool serving)
{
    g_autoptr(roles_t) roles = NULL;
    g_autofree char *engine = NULL;
    g_autofree char *control = NULL;
    if (roles_open(NULL, &roles) == 0) {
        const struct role *role = roles_find(roles, agent->ocf.resource);
        const char *dir = role != NULL ? role->engine_dir : NULL;
        engine = dir != NULL && running ? g_build_filename(dir, "engine.sock", NULL) : NULL;
        control = role != NULL && serving ? g_strdup(role->control) : NULL;
    }
    g_clear_pointer(&roles, roles_close);
    int rc = engine != NULL ? test_on(agent, engine, engine_selftest) : PCMK_OCF_OK;
    return rc == PCMK_OCF_OK && control != NULL ? test_on(agent, control, daemon_selftest) : rc;
}
