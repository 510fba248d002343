/* SPDX-License-Identifier: GPL-2.0-only */
#include "config.h"
#include "worker.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "canary.h"
#include "facts.h"
#include "faultguard.h"
#include "known.h"
#include "packet.h"
#include "scan.h"
#include "tmpdir.h"

#define CHANNEL 3
#define PROC 4
#define TMPDIR 5
#define TRIM_EVERY 16
#define SEALS (F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK)

static _Noreturn void
give_up(int channel, enum worker_exit status, const char *what, int error)
{
    g_autofree char *text =
        error != 0 ? g_strdup_printf("%s: %s", what, g_strerror(error)) : g_strdup(what);
    json_t *packet = json_pack("{s:b, s:s}", "ready", 0, "error", text);
    (void)packet_send(channel, packet, -1);
    _exit((int)status);
}

/*
 * Only CHANNEL, PROC and the tmpdir stay, and /dev/null for the standard three: a stray message
 * on stderr must not end in a temporary file. A forked worker holds its siblings' sockets, so it
 * would never see the end of its own otherwise.
 */
static void
keep_descriptors(const struct worker *worker, int tmpdir)
{
    int null = open("/dev/null", O_RDWR);
    int channel = fcntl(worker->channel, F_DUPFD, 16);
    int proc = fcntl(worker->proc, F_DUPFD, 16);
    tmpdir = fcntl(tmpdir, F_DUPFD, 16);
    if (null < 0 || channel < 0 || proc < 0 || tmpdir < 0) {
        give_up(worker->channel, WORKER_EXIT_SANDBOX, "descriptors", errno);
    }
    if (dup2(null, 0) < 0 || dup2(null, 1) < 0 || dup2(channel, CHANNEL) < 0 ||
        dup2(proc, PROC) < 0 || dup2(tmpdir, TMPDIR) < 0) {
        give_up(channel, WORKER_EXIT_SANDBOX, "descriptors", errno);
    }
#ifndef SANITIZERS
    dup2(null, 2);
#endif
    if (close_range(TMPDIR + 1, ~0U, 0) < 0) {
        give_up(CHANNEL, WORKER_EXIT_SANDBOX, "close_range", errno);
    }
}

static void
enter_sandbox(const struct worker *worker)
{
    const struct orders *orders = worker->orders;
    unsigned uid = orders->one_user ? 0 : worker->slot + 1;
    guint64 tmp_size = orders_tmp_size(orders);
    int tmpdir = tmpdir_new(tmp_size, uid, uid);
    if (tmpdir < 0) {
        give_up(worker->channel, WORKER_EXIT_SANDBOX, "temporary file system", -tmpdir);
    }
    keep_descriptors(worker, tmpdir);
    const struct sandbox_worker sandbox = {
        .uid = uid,
        .one_user = orders->one_user,
        .tmpdir = TMPDIR,
        .proc = PROC,
        .tmp_size = tmp_size,
        .memory = orders_memory(orders),
    };
    const char *failed = sandbox_enter(worker->sandbox, &sandbox);
    if (failed != NULL) {
        give_up(CHANNEL, WORKER_EXIT_SANDBOX, failed, errno);
    }
}

/*
 * The message, mapped: it must not change under the scanner, nor end in a SIGBUS. Returns NULL
 * when it is all right, else what is wrong. An empty one is at NULL.
 */
static const char *
map_message(int fd, void **ret_data, size_t *ret_size)
{
    struct stat st;
    int seals = fd < 0 ? -1 : fcntl(fd, F_GET_SEALS);
    if (seals < 0 || (seals & SEALS) != SEALS || fstat(fd, &st) < 0) {
        return "the message is not a sealed memfd";
    }
    *ret_size = (size_t)st.st_size;
    *ret_data = NULL;
    if (st.st_size > 0) {
        *ret_data = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    }
    return *ret_data == MAP_FAILED ? "the message cannot be mapped" : NULL;
}

static struct facts *
scan_descriptor(const struct worker *worker, int fd)
{
    size_t size;
    void *data;
    const char *error = map_message(fd, &data, &size);
    if (error != NULL) {
        struct facts *facts = facts_new();
        facts_add_fault(facts, error);
        return facts;
    }
    struct facts *facts = scan_object(worker->clam, worker->orders, data, size);
    if (size > 0) {
        munmap(data, size);
    }
    return facts;
}

/* PARTS, what known_end() said, saves time and nothing else: it is the first to be left out. */
static int
answer(struct facts *facts, json_int_t id, bool retire, json_t *parts)
{
    int rc;
    do {
        json_auto_t *packet = json_pack("{s:I, s:o, s:b, s:O*}", "id", id, "facts",
                                        facts_to_json(facts), "retire", retire, "parts", parts);
        rc = packet == NULL ? -EINVAL : packet_send(CHANNEL, packet, -1);
        if (rc == -EMSGSIZE && parts != NULL) {
            return answer(facts, id, retire, NULL);
        }
    } while (rc == -EMSGSIZE && facts_shorten(facts));
    return rc;
}

struct life {
    guint64 scans;
    gint64 end_us; /* monotonic */
    bool retired;
};

/* posternd answers at once; when it does not, it ends this process with the scan's deadline. */
static struct facts *
ask_posternd(void *data, const char *key)
{
    json_auto_t *question = json_pack("{s:s, s:s}", "op", "known", "key", key);
    json_auto_t *reply = NULL;
    (void)data;
    if (packet_send(CHANNEL, question, -1) < 0 || packet_receive(CHANNEL, &reply, NULL) != 1) {
        _exit(WORKER_EXIT_PROTOCOL);
    }
    return json_is_true(json_object_get(reply, "known"))
               ? facts_from_json(json_object_get(reply, "facts"))
               : NULL;
}

/* Between two mails, when nobody waits: what the last ones left free goes back, or a worker keeps
 * the heap of the largest mail it has seen. */
static void
return_memory(const struct life *life)
{
    if (life->scans % TRIM_EVERY == 0) {
        malloc_trim(0);
    }
}

/* Returns 0 or -errno: then the channel is of no more use. */
static int
handle(const struct worker *worker, struct life *life, json_t *request, int fd)
{
    const char *op;
    json_int_t id;
    if (json_unpack(request, "{s:s, s:I}", "op", &op, "id", &id) < 0 || strcmp(op, "scan") != 0) {
        json_auto_t *refusal =
            json_pack("{s:b, s:s}", "ok", 0, "error", "a worker knows only {op:scan,id:n}");
        return packet_send(CHANNEL, refusal, -1);
    }
    known_set(json_is_true(json_object_get(request, "ask")) ? ask_posternd : NULL, NULL);
    g_autoptr(facts_t) facts = scan_descriptor(worker, fd);
    json_auto_t *parts = known_end();
    life->scans++;
    life->retired = life->scans >= worker->orders->worker_scans ||
                    g_get_monotonic_time() >= life->end_us || facts->faults->len > 0 ||
                    !facts->complete;
    int rc = answer(facts, id, life->retired, parts);
    return_memory(life);
    return rc;
}

static void
serve(const struct worker *worker)
{
    struct life life = {
        .end_us = g_get_monotonic_time() + (gint64)worker->orders->worker_age * G_USEC_PER_SEC,
    };
    while (!life.retired) {
        json_t *request = NULL;
        int fd = -1;
        int rc = packet_receive(CHANNEL, &request, &fd);
        if (rc == 0) {
            return;
        }
        if (rc > 0) {
            rc = handle(worker, &life, request, fd);
            json_decref(request);
        }
        if (fd >= 0) {
            close(fd);
        }
        if (rc < 0) {
            _exit(WORKER_EXIT_PROTOCOL);
        }
    }
}

void
worker_run(const struct worker *worker)
{
    prctl(PR_SET_NAME, "postern-worker");
    enter_sandbox(worker);
    /* libclamav asks its engine, its Rust parts ask the environment. */
    int rc = tmpdir_adopt();
    if (rc < 0 || clam_set_tmpdir(worker->clam, ".") < 0 || setenv("TMPDIR", ".", 1) < 0) {
        give_up(CHANNEL, WORKER_EXIT_CANARY, "temporary directory", -rc);
    }
    g_autofree char *wrong = canary_scan(worker->clam, worker->orders);
    if (wrong != NULL) {
        give_up(CHANNEL, WORKER_EXIT_CANARY, wrong, 0);
    }
    json_auto_t *ready = json_pack("{s:b}", "ready", 1);
    if (packet_send(CHANNEL, ready, -1) < 0) {
        _exit(WORKER_EXIT_PROTOCOL);
    }
    faultguard_crash_with(WORKER_EXIT_VOID);
    serve(worker);
    /* Without freeing anything: that would copy the memory that all workers share. */
    _exit(WORKER_EXIT_RETIRED);
}
