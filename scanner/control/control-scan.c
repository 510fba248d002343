/* SPDX-License-Identifier: GPL-2.0-only */
#include "control-client.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "policy.h"

#define SEALS (F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW)

/* One scan for a client; it holds its size of the budget until it ends. */
struct scan_work {
    struct control_client *client;
    struct spool_budget *budget;
    guint64 size;
    int fd;
    struct scan *scan;
};

static void
work_free(struct scan_work *work)
{
    work->budget->used -= work->size;
    close(work->fd);
    g_free(work);
}

static void
work_cancel(void *data)
{
    struct scan_work *work = data;
    scan_cancel(work->scan);
    work_free(work);
}

static void
judge_age(const struct control_client *client, struct decision *decision)
{
    const struct settings *settings = control_client_settings(client);
    guint64 limit = settings->age_unsafe;
    guint64 age = limit == 0 ? 0 : pool_signatures_age(control_client_services(client)->pool);
    if (age > limit) {
        policy_old(settings, NULL, age, decision);
    }
}

static void
on_scanned(void *data, const struct scan_outcome *outcome)
{
    static const char *const droppable[] = {"facts/parts", "facts", NULL};
    struct scan_work *work = data;
    struct control_client *client = work->client;
    struct decision decision;
    policy_decide(NULL, outcome->facts, outcome->error, &decision);
    judge_age(client, &decision);
    json_t *answer =
        json_pack("{s:b, s:s, s:s, s:o}", "ok", 1, "verdict", verdict_name(decision.verdict),
                  "reason", decision.reason, "facts",
                  outcome->facts == NULL ? json_null() : facts_to_json(outcome->facts));
    decision_clear(&decision);
    work_free(work);
    control_client_set_work(client, NULL, NULL);
    (void)control_fit(answer, droppable);
    control_client_answer(client, answer, -1, NULL);
}

/* Returns the size of the sealed memfd FD, -EPERM when it is none, or -errno. */
static gint64
sealed_size(int fd)
{
    struct stat st;
    int seals = fcntl(fd, F_GET_SEALS);
    if (seals < 0 || (seals & SEALS) != SEALS) {
        return -EPERM;
    }
    return fstat(fd, &st) < 0 ? -errno : st.st_size;
}

/* A description of our own: its offset and flags are not the client's to change. */
static int
reopen(int fd)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    int own = open(path, O_RDONLY | O_CLOEXEC);
    return own < 0 ? -errno : own;
}

static void
scan_begin(struct control_client *client, int fd, guint64 size)
{
    const struct control_services *services = control_client_services(client);
    struct scan_work *work = g_new0(struct scan_work, 1);
    work->client = client;
    work->budget = services->budget;
    work->size = size;
    work->fd = fd;
    work->budget->used += size;
    control_client_set_work(client, work, work_cancel);
    work->scan = pool_scan(services->pool, fd, on_scanned, work);
}

void
control_scan(struct control_client *client, json_t *request, int fd)
{
    const struct spool_budget *budget = control_client_services(client)->budget;
    (void)request;
    gint64 size = sealed_size(fd);
    int own = size < 0 ? -EPERM : reopen(fd);
    if (fd >= 0) {
        close(fd);
    }
    if (own < 0) {
        control_client_refuse(client, "scan needs the descriptor of a sealed memfd");
    } else if ((guint64)size > control_client_settings(client)->message_size) {
        close(own);
        control_client_refuse(client, "the file is larger than message_size");
    } else if ((guint64)size > budget->limit - MIN(budget->used, budget->limit)) {
        close(own);
        control_client_refuse(client, "the memory for messages (spool_memory) is in use; "
                                      "try again later");
    } else {
        scan_begin(client, own, (guint64)size);
    }
}
