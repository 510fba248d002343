/* SPDX-License-Identifier: GPL-2.0-only */
#include "ask.h"

#include <errno.h>
#include <poll.h>
#include <unistd.h>

#include "packet.h"
#include "text.h"

#define STATUS_MS 5000

int
ask_open(struct ask *ask, const char *service, const char *path, char **error_r)
{
    ask->service = service;
    ask->path = path;
    ask->sock = packet_connect(path);
    if (ask->sock >= 0) {
        return 0;
    }
    int rc = ask->sock;
    if (rc == -ENOENT || rc == -ECONNREFUSED) {
        *error_r =
            g_strdup_printf("%s is not running on this node (nobody listens at %s)", service, path);
    } else if (rc == -EACCES) {
        *error_r = g_strdup_printf("%s: permission denied; only root and the user of %s may ask",
                                   path, service);
    } else {
        *error_r = g_strdup_printf("%s: %s", path, g_strerror(-rc));
    }
    return rc;
}

void
ask_close(struct ask *ask)
{
    if (ask->sock >= 0) {
        close(ask->sock);
        ask->sock = -1;
    }
}

static int
wait_answer(int sock, int timeout_ms, json_t **ret_answer, int *ret_fd)
{
    struct pollfd wait = {.fd = sock, .events = POLLIN};
    int rc;
    do {
        rc = poll(&wait, 1, timeout_ms);
    } while (rc < 0 && errno == EINTR);
    if (rc <= 0) {
        return rc == 0 ? -ETIMEDOUT : -errno;
    }
    return packet_receive(sock, ret_answer, ret_fd);
}

static int
answer_check(const struct ask *ask, json_t **ret_answer, json_t *answer, char **error_r)
{
    if (json_is_true(json_object_get(answer, "ok"))) {
        *ret_answer = answer;
        return 0;
    }
    g_autofree char *why = text_escape(json_string_value(json_object_get(answer, "error")), 300);
    json_decref(answer);
    *error_r = g_strdup_printf("%s: %s", ask->service, why);
    return -EBADE;
}

/* Returns RC, which is not 0, with a sentence. */
static int
ask_fail(const struct ask *ask, int rc, int timeout_ms, char **error_r)
{
    if (rc == -ETIMEDOUT) {
        *error_r =
            g_strdup_printf("%s did not answer within %d s", ask->service, timeout_ms / 1000);
    } else {
        *error_r = g_strdup_printf("%s ended the connection%s%s", ask->service, rc < 0 ? ": " : "",
                                   rc < 0 ? g_strerror(-rc) : "");
    }
    return rc;
}

int
ask_send(struct ask *ask, const json_t *request, int fd, char **error_r)
{
    int rc = packet_send(ask->sock, request, fd);
    /* A service that refuses a client says why and closes: that is worth reading. */
    return rc == 0 || rc == -EPIPE ? 0 : ask_fail(ask, rc, 0, error_r);
}

int
ask_receive(struct ask *ask, int timeout_ms, json_t **ret_answer, int *ret_fd, char **error_r)
{
    json_t *answer = NULL;
    int got = -1;
    int rc = wait_answer(ask->sock, timeout_ms, &answer, ret_fd == NULL ? NULL : &got);
    if (rc <= 0) {
        rc = ask_fail(ask, rc, timeout_ms, error_r);
        return rc == 0 ? -EPIPE : rc;
    }
    rc = answer_check(ask, ret_answer, answer, error_r);
    if (rc == 0 && ret_fd != NULL) {
        *ret_fd = got;
    } else if (got >= 0) {
        close(got);
    }
    return rc;
}

int
ask_call(struct ask *ask, const json_t *request, int fd, int timeout_ms, json_t **ret_answer,
         int *ret_fd, char **error_r)
{
    int rc = request == NULL ? 0 : ask_send(ask, request, fd, error_r);
    return rc < 0 ? rc : ask_receive(ask, timeout_ms, ret_answer, ret_fd, error_r);
}

json_t *
ask_status(const char *service, const char *path, char **error_r)
{
    struct ask ask;
    json_t *answer = NULL;
    if (ask_open(&ask, service, path, error_r) < 0) {
        return NULL;
    }
    json_t *request = json_pack("{s:s}", "op", "status");
    (void)ask_call(&ask, request, -1, STATUS_MS, &answer, NULL, error_r);
    json_decref(request);
    ask_close(&ask);
    return answer;
}

const char *
ask_text(const json_t *object, const char *name)
{
    return json_string_value(json_object_get(object, name));
}

gint64
ask_number(const json_t *object, const char *name)
{
    return (gint64)(json_number_value(json_object_get(object, name)) + 0.5);
}
