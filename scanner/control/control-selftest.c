/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * {"op":"selftest","state":b}: the cluster's deeper monitors. A mail with the test virus goes the
 * way of every message, through the pool and a worker to a verdict; with "state" something is then
 * written to the state and read back. Nothing of it is counted or kept.
 */
#include "control-client.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "durable.h"
#include "worker/eicar.h"
#include "policy.h"
#include "trial.h"

#define SEALS (F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

struct selftest {
    struct control_client *client; /* NULL: gone */
    struct storage *storage;
    gboolean state;   /* the state is to be tried, too */
    gboolean scanned; /* there was something to scan with */
    struct scan *scan;
    int fd;
};

static void
selftest_free(struct selftest *test)
{
    if (test->fd >= 0) {
        close(test->fd);
    }
    g_free(test);
}

/* The text is new each time, so that no cache knows it. */
static int
test_mail(void)
{
    unsigned char eicar[EICAR_SIZE];
    eicar_bytes(eicar);
    g_autofree char *coded = g_base64_encode(eicar, sizeof eicar);
    g_autofree char *mail = g_strdup_printf(
        "From: <>\r\nSubject: TEST VIRUS\r\nMessage-Id: <%08x%08x@postern.invalid>\r\n"
        "MIME-Version: 1.0\r\nContent-Type: application/octet-stream\r\n"
        "Content-Transfer-Encoding: base64\r\n\r\n%s\r\n",
        g_random_int(), g_random_int(), coded);
    int fd = memfd_create("selftest", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    int rc = fd < 0 ? -errno : durable_write_all(fd, mail, strlen(mail));
    if (rc == 0 && (lseek(fd, 0, SEEK_SET) < 0 || fcntl(fd, F_ADD_SEALS, SEALS) < 0)) {
        rc = -errno;
    }
    if (rc < 0 && fd >= 0) {
        close(fd);
    }
    return rc < 0 ? rc : fd;
}

static void
end(struct selftest *test, const char *degraded)
{
    struct control_client *client = test->client;
    json_t *answer = json_pack("{s:b, s:b, s:b}", "ok", 1, "scanned", test->scanned, "state",
                               test->state && degraded == NULL);
    if (degraded != NULL) {
        json_object_set_new(answer, "degraded", json_string(degraded));
    }
    selftest_free(test);
    control_client_set_work(client, NULL, NULL);
    control_client_answer(client, answer, -1, NULL);
}

static void
end_badly(struct selftest *test, const char *what, const char *why)
{
    struct control_client *client = test->client;
    selftest_free(test);
    control_client_set_work(client, NULL, NULL);
    control_client_refuse(client, "%s: %s", what, why);
}

static int
on_state(struct state *state, void *data)
{
    (void)data;
    return trial_run(state);
}

static void
on_state_done(void *data, int result)
{
    struct selftest *test = data;
    if (test->client == NULL) {
        selftest_free(test);
    } else if (result == -ENOSPC || result == -EDQUOT) {
        end(test, "the state is full: nothing can be kept; make room in state_dir");
    } else if (result < 0) {
        end_badly(test, "the state cannot be written and read back", g_strerror(-result));
    } else {
        end(test, NULL);
    }
}

/* While the storage thread has the test, it may only be marked. */
static void
orphan(void *data)
{
    struct selftest *test = data;
    test->client = NULL;
}

static void
try_state(struct selftest *test)
{
    if (!test->state) {
        end(test, NULL);
        return;
    }
    control_client_set_work(test->client, test, orphan);
    storage_submit(test->storage, on_state, on_state_done, test);
}

static void
on_scanned(void *data, const struct scan_outcome *outcome)
{
    struct selftest *test = data;
    struct decision decision;
    test->scan = NULL;
    policy_decide(NULL, outcome->facts, outcome->error, &decision);
    if (decision.verdict == VERDICT_INFECTED) {
        test->scanned = TRUE;
        try_state(test);
    } else if (outcome->facts == NULL && !outcome->lost) {
        /* Nobody could look, be it for want of a free worker: the sender of a mail hears 451, and
         * the engine's own test tells whether its workers are well. */
        try_state(test);
    } else {
        end_badly(test, "the test virus was not found", decision.reason);
    }
    decision_clear(&decision);
}

static void
cancel(void *data)
{
    struct selftest *test = data;
    scan_cancel(test->scan);
    selftest_free(test);
}

void
control_selftest(struct control_client *client, json_t *request, int fd)
{
    const struct control_services *services = control_client_services(client);
    struct selftest *test = g_new0(struct selftest, 1);
    (void)fd;
    test->client = client;
    test->storage = services->storage;
    test->state = json_is_true(json_object_get(request, "state"));
    test->fd = pool_ready(services->pool) ? test_mail() : -1;
    if (test->fd < 0) {
        try_state(test);
        return;
    }
    control_client_set_work(client, test, cancel);
    test->scan = pool_scan(services->pool, test->fd, on_scanned, test);
}
