/* SPDX-License-Identifier: GPL-2.0-only */
#include "config.h"
#include "trial-run.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "exam.h"
#include "generation.h"
#include "launch.h"
#include "update-files.h"
#include "orders.h"
#include "packet.h"
#include "precedence.h"
#include "room.h"
#include "store.h"
#include "trial-rules.h"

/* What comes of a trial that took minutes is not lost for somebody else's second. */
#define LOCK_TRIES 600
#define LOCK_PAUSE_US (100 * 1000)
/* Address space that is mapped and not used: libraries, files, arenas. */
#define ADDRESSES_FREE (1ULL << 30)
#define TAKEN_MS 10000

#ifdef SANITIZERS
#define WATCHED_BY_SANITIZERS 1
#else
#define WATCHED_BY_SANITIZERS 0
#endif

struct run {
    const struct trial_task *task;
    const struct settings *settings;
    struct store_entry *entry; /* the candidate */
    char *path;                /* of that */
    char *print;               /* generation_print() of it, before it was read */
    struct manifest *current;  /* of what is in use; NULL: not known */
    struct record_trial before;
    guint64 needed;
    guint64 available;
    double pressure;
    guint64 limit;    /* of memory */
    bool is_squeezed; /* the limit is what there was, less than it might have had */
    struct launched zygote;
    json_t *loaded; /* what it said; NULL: it does not remain */
    struct record_trial measured;
    char *reason;
    bool of_memory;  /* that is the reason */
    bool is_damaged; /* its files are, on this disk */
};

static void
say(const struct run *run, json_t *packet)
{
    (void)packet_send(run->task->channel, packet, -1);
    json_decref(packet);
}

static void
say_stage(const struct run *run, const char *stage)
{
    say(run, json_pack("{s:s, s:s, s:s}", "event", "stage", "stage", stage, "generation",
                       run->entry->name));
}

static void
say_end(const struct run *run, const char *outcome)
{
    say(run, json_pack("{s:s, s:s, s:s?, s:s?, s:o}", "event", "end", "outcome", outcome,
                       "generation", run->entry != NULL ? run->entry->name : NULL, "reason",
                       run->reason, "measured", record_trial_json(&run->measured)));
}

/* Why it cannot go on; OUTCOME is returned. */
static const char *
end_with(struct run *run, const char *outcome, char *reason)
{
    g_free(run->reason);
    run->reason = reason;
    return outcome;
}

static int
open_store(const struct run *run, unsigned tries, struct store **ret, char **error_r)
{
    int rc = -EBUSY;
    for (unsigned i = 0; i < tries && rc == -EBUSY; i++) {
        if (i > 0) {
            g_usleep(LOCK_PAUSE_US);
        }
        g_clear_pointer(error_r, g_free);
        rc = store_open(run->settings->signatures_dir, TRUE, ret, error_r);
    }
    return rc;
}

/* Taking */

/*
 * Whether what is in use was put together after the offer: then somebody chose it, and the offer
 * waits until postern-update has something newer. What a clock in the future has dated does not
 * count.
 */
static bool
is_old(const struct store *store, int offer)
{
    g_autofree char *ignored = NULL;
    g_autofree char *none = NULL;
    g_autoptr(manifest_t) manifest = NULL;
    g_autoptr(store_entry_t) current = store_find(store, "current", &none);
    return current != NULL && current->manifest != NULL &&
           current->manifest->created <= g_get_real_time() / G_USEC_PER_SEC &&
           manifest_read(offer, &manifest, &ignored) == 0 &&
           manifest->created < current->manifest->created;
}

/* What is wrong with an offer is postern-update's or postern-share's matter: what is here already
 * is tried all the same. */
static int
take_of(const struct run *run, struct store *store, const char *dir)
{
    g_autofree char *path = g_build_filename(dir, OFFER_DIR, NULL);
    g_autofree char *error = NULL;
    struct store_new taken;
    int offer = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (offer < 0) {
        return 0;
    }
    if (is_old(store, offer)) {
        close(offer);
        return 0;
    }
    int rc = store_take(store, offer, run->settings->update_size, &taken, &error);
    close(offer);
    if (rc == 0 && !taken.existed) {
        g_autofree char *ignored = NULL;
        (void)store_prune(store, (guint)run->settings->generations, &ignored);
    }
    if (rc < 0 && rc != -EALREADY && rc != -ESTALE) {
        say(run, json_pack("{s:s, s:s}", "event", "refused", "error", error));
    }
    return rc == -ESTALE ? -EBUSY : 0;
}

/* What this node has fetched, and what another one gave. */
static int
take(const struct run *run, struct store *store)
{
    int fetched = take_of(run, store, run->settings->update_dir);
    int given = take_of(run, store, run->settings->share_dir);
    return fetched < 0 ? fetched : given;
}

/* NULL: it is this node's turn, or somebody asked for it here. */
static const char *
wait_for_others(struct run *run)
{
    char *why = NULL;
    return run->task->wanted != NULL || precedence_of(run->settings, run->entry->name,
                                                      run->task->role, &why) == PRECEDENCE_GO
               ? NULL
               : end_with(run, TRIAL_HELD, why);
}

static struct store_entry *
wanted(const struct run *run, const struct store *store, char **error_r)
{
    g_autoptr(store_entry_t) entry = store_find(store, run->task->wanted, error_r);
    if (entry == NULL) {
        return NULL;
    }
    if (entry->manifest == NULL) {
        *error_r = g_strdup_printf("%s: %s", entry->name,
                                   entry->damage != NULL ? entry->damage : "its files are gone");
        return NULL;
    }
    if (!record_may_become(entry->record.state, RECORD_TRYING)) {
        *error_r = g_strdup_printf("%s is %s, and what is so is not tried", entry->name,
                                   record_state_word(entry->record.state));
        return NULL;
    }
    return g_steal_pointer(&entry);
}

static void
look_at_current(struct run *run, const struct store *store)
{
    g_autofree char *none = NULL;
    g_autoptr(store_entry_t) current = store_find(store, "current", &none);
    run->before = run->task->in_use;
    if (current != NULL) {
        run->current = g_steal_pointer(&current->manifest);
        run->before.scan_us = current->record.trial.scan_us;
        if (run->before.signatures == 0) {
            run->before.signatures = current->record.trial.signatures;
            run->before.memory = current->record.trial.memory;
        }
    }
}

/* Memory */

/* Bytes that may be taken now; G_MAXUINT64: nobody can tell. */
static guint64
room(const struct run *run)
{
    const struct settings *settings = run->settings;
    guint64 free = room_available(groups_directory(run->task->groups));
    free = free == 0 ? G_MAXUINT64 : free - MIN(free, settings->health_memory);
    return settings->memory == 0
               ? free
               : MIN(free, settings->memory - MIN(settings->memory, run->before.memory));
}

static bool
has_room(struct run *run)
{
    guint64 wish;
    run->needed = room_needed(run->entry->manifest, run->current, run->before.memory);
    wish = trial_rules_memory(run->settings, run->needed);
    run->limit = wish;
    run->available = room(run);
    if (run->task->whatever_memory) {
        return true;
    }
    run->pressure = room_pressure();
    if (run->pressure >= (double)run->settings->health_pressure / 2) {
        return false;
    }
    run->is_squeezed = run->available < wish;
    run->limit = MIN(wish, run->available);
    /* One whose limit is set lower will be rejected for that; it need not wait. */
    return run->available >= MIN(run->needed, wish);
}

static char *
memory_text(const struct run *run)
{
    if (run->pressure >= (double)run->settings->health_pressure / 2) {
        return g_strdup_printf("programs wait for memory %.0f %% of the time", run->pressure);
    }
    return g_strdup_printf("it is likely to need %" G_GUINT64_FORMAT " MB of memory beside what is "
                           "in use, and %" G_GUINT64_FORMAT " MB may be taken (health_memory and "
                           "memory keep the rest)",
                           run->needed >> 20, run->available >> 20);
}

static void
say_recovered(const struct run *run, const struct store *store, const char *name)
{
    g_autofree char *none = NULL;
    g_autoptr(store_entry_t) entry = store_find(store, name, &none);
    if (entry != NULL) {
        say(run,
            json_pack("{s:s, s:s, s:b, s:s?}", "event", "recovered", "generation", name, "rejected",
                      entry->record.state == RECORD_REJECTED, "reason", entry->record.reason));
    }
}

/* No other trial runs: what is found being tried was interrupted. */
static int
recover(const struct run *run, struct store *store, char **error_r)
{
    g_autoptr(GPtrArray) list = store_list(store);
    int rc = store_recover(store, error_r);
    for (guint i = 0; rc == 0 && i < list->len; i++) {
        const struct store_entry *entry = g_ptr_array_index(list, i);
        if (entry->record.state == RECORD_TRYING) {
            say_recovered(run, store, entry->name);
        }
    }
    return rc;
}

/* NULL: go on with run->entry, which is being tried from now on. */
static const char *
begin(struct run *run)
{
    g_autoptr(store_t) store = NULL;
    char *error = NULL;
    int rc = open_store(run, 1, &store, &error);
    if (rc < 0) {
        return end_with(run, rc == -EBUSY ? TRIAL_BUSY : TRIAL_FAILED, error);
    }
    rc = recover(run, store, &error);
    if (rc < 0) {
        return end_with(run, TRIAL_FAILED, error);
    }
    rc = take(run, store);
    run->entry = run->task->wanted != NULL ? wanted(run, store, &error) : store_candidate(store);
    if (run->entry == NULL) {
        const char *outcome = error != NULL ? TRIAL_FAILED : rc < 0 ? TRIAL_BUSY : TRIAL_NOTHING;
        return end_with(run, outcome, error);
    }
    const char *others = wait_for_others(run);
    if (others != NULL) {
        return others;
    }
    look_at_current(run, store);
    if (!has_room(run)) {
        return end_with(run, TRIAL_WAITING, memory_text(run));
    }
    rc = store_set(store, run->entry->name, RECORD_TRYING, NULL, &error);
    return rc < 0 ? end_with(run, TRIAL_FAILED, error) : NULL;
}

/* The zygote */

/* From here on this process reads what a scanning process of unknown signatures says. */
static int
drop_rights(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct none[2] = {{0}};
    (void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || syscall(SYS_capset, &header, none) < 0
               ? -errno
               : 0;
}

static int
launch(struct run *run, char **error_r)
{
    const struct settings *settings = run->settings;
    bool one_user = launch_one_user();
    g_autoptr(orders_t) orders = orders_new(settings, run->entry->name, one_user);
    /* Processor time is limited here; the clock of a busy node would reject what is good. */
    orders->scan_timeout = MAX(settings->scan_timeout, settings->trial_timeout);
    orders->beside = !run->task->whatever_memory;
    json_auto_t *packet = orders_to_json(orders);
    bool by_address = run->task->groups == NULL && !WATCHED_BY_SANITIZERS;
    const struct launch launch = {
        .zygote = run->task->program,
        .signatures = run->path,
        .id_base = (uint32_t)settings->id_base,
        .one_user = one_user,
        .memory = by_address ? run->limit + ADDRESSES_FREE : 0,
        .orders = packet,
    };
    int rc = launch_zygote(&launch, &run->zygote, error_r);
    if (rc < 0) {
        return rc;
    }
    rc = groups_place_trial(run->task->groups, run->zygote.pidfd,
                            run->limit + orders_memory(orders) + orders_tmp_size(orders),
                            run->task->whatever_memory);
    if (rc < 0) {
        *error_r = g_strdup_printf("it has no control group: %s", g_strerror(-rc));
        return rc;
    }
    rc = drop_rights();
    if (rc < 0) {
        *error_r = g_strdup_printf("the rights cannot be given up: %s", g_strerror(-rc));
    }
    return rc;
}

static void
end_zygote(struct run *run)
{
    if (run->zygote.pid > 0) {
        launch_end(&run->zygote);
    }
}

/* The examination */

static guint64
memory_kills(guint64 *own, void *data)
{
    const struct run *run = data;
    return groups_trial_oom_kills(run->task->groups, run->task->whatever_memory, own);
}

static void
progress(guint done, guint total, void *data)
{
    const struct run *run = data;
    say(run,
        json_pack("{s:s, s:i, s:i}", "event", "scanned", "done", (int)done, "total", (int)total));
}

static GPtrArray *
collect(const struct settings *settings, char **error_r)
{
    g_autoptr(GPtrArray) samples = samples_shipped();
    if ((strcmp(settings->trial_infected, "none") != 0 &&
         samples_add_dir(samples, settings->trial_infected, true, error_r) < 0) ||
        (strcmp(settings->trial_clean, "none") != 0 &&
         samples_add_dir(samples, settings->trial_clean, false, error_r) < 0)) {
        return NULL;
    }
    return g_steal_pointer(&samples);
}

/* What came of it, and in run->reason why. */
static enum exam_result
examine(struct run *run, struct exam *exam, GPtrArray *samples)
{
    enum exam_result result = exam_load(exam);
    if (result == EXAM_PASSED) {
        run->reason = trial_rules_empty(&exam->measured);
        if (run->reason == NULL) {
            run->reason = trial_rules_small(run->settings, &exam->measured, &run->before);
        }
        result = run->reason != NULL ? EXAM_FAILED : result;
    }
    if (result == EXAM_PASSED) {
        say_stage(run, "scanning");
        result = exam_scan(exam, samples);
    }
    if (result == EXAM_PASSED) {
        run->reason = trial_rules_slow(run->settings, &exam->measured, &run->before);
        result = run->reason != NULL ? EXAM_FAILED : result;
    }
    if (run->reason == NULL) {
        run->reason = g_steal_pointer(&exam->reason);
    }
    run->measured = exam->measured;
    run->of_memory = exam->of_memory;
    return result;
}

static enum exam_result
try(struct run *run)
{
    const struct settings *settings = run->settings;
    struct exam exam;
    const struct exam_limits limits = {
        .load_us = settings->trial_load_time * G_USEC_PER_SEC,
        .sample_us = settings->trial_scan_time * G_USEC_PER_SEC,
        .end_us = g_get_monotonic_time() + (gint64)settings->trial_timeout * G_USEC_PER_SEC,
        .size = settings->message_size,
    };
    g_autoptr(GPtrArray) samples = collect(settings, &run->reason);
    if (samples == NULL) {
        return EXAM_UNABLE;
    }
    say_stage(run, "loading");
    if (launch(run, &run->reason) < 0) {
        return EXAM_UNABLE;
    }
    exam_init(&exam, &run->zygote, &limits);
    exam.slot = run->task->slot;
    exam.memory_kills = memory_kills;
    exam.progress = progress;
    exam.data = run;
    enum exam_result result = examine(run, &exam, samples);
    g_autofree char *print = generation_print(run->path);
    if (result == EXAM_PASSED && run->task->whatever_memory && strcmp(print, run->print) == 0 &&
        exam_outlive(&exam)) {
        run->loaded = json_incref(exam.said);
    }
    exam_clear(&exam);
    return result;
}

static enum exam_result
verify(struct run *run)
{
    g_autoptr(store_t) store = NULL;
    say_stage(run, TRIAL_VERIFYING);
    if (store_open(run->settings->signatures_dir, FALSE, &store, &run->reason) < 0) {
        return EXAM_UNABLE;
    }
    run->path = g_build_filename(run->settings->signatures_dir, run->entry->name, NULL);
    run->print = generation_print(run->path);
    int rc = store_verify(store, run->entry->name, &run->reason);
    run->is_damaged = rc == -EBADMSG;
    return rc < 0 ? EXAM_UNABLE : EXAM_PASSED;
}

/* The first time it is tried again; then nobody knows how often it would cost the node. */
static const char *
interrupted(const struct run *run, struct store *store, const struct store_entry *entry,
            char **error_r)
{
    bool is_last = entry->record.trials >= RECORD_TRIALS_MAX;
    int rc = is_last ? store_set(store, entry->name, RECORD_REJECTED, run->reason, error_r)
                     : store_recover(store, error_r);
    return rc < 0 ? TRIAL_FAILED : is_last ? TRIAL_REJECTED : TRIAL_INTERRUPTED;
}

/* What RESULT makes of the generation. Returns the outcome. */
static const char *
record(struct run *run, struct store *store, enum exam_result result, char **error_r)
{
    const char *name = run->entry->name;
    g_autofree char *none = NULL;
    g_autoptr(store_entry_t) now = store_find(store, name, &none);
    int rc;
    if (now == NULL || now->record.state != RECORD_TRYING) {
        return TRIAL_OVERTAKEN;
    }
    switch (result) {
    case EXAM_PASSED:
        rc = store_tried(store, name, &run->measured, error_r);
        return rc < 0 ? TRIAL_FAILED : TRIAL_TRIED;
    case EXAM_FAILED:
        rc = store_set(store, name, RECORD_REJECTED, run->reason, error_r);
        return rc < 0 ? TRIAL_FAILED : TRIAL_REJECTED;
    case EXAM_INTERRUPTED:
        return interrupted(run, store, now, error_r);
    case EXAM_UNABLE:
        break;
    }
    rc = run->is_damaged ? store_discard(store, name, error_r)
                         : store_set(store, name, RECORD_FETCHED, run->reason, error_r);
    return rc == 0 && run->of_memory ? TRIAL_WAITING : TRIAL_FAILED;
}

static const char *
end(struct run *run, enum exam_result result)
{
    g_autoptr(store_t) store = NULL;
    char *error = NULL;
    g_autofree char *ignored = NULL;
    /* Killed for what this node has not got is no fault of the signatures. */
    if (result == EXAM_FAILED && run->is_squeezed && run->of_memory) {
        result = EXAM_UNABLE;
    }
    if (open_store(run, LOCK_TRIES, &store, &error) < 0) {
        return end_with(run, TRIAL_FAILED, error);
    }
    const char *outcome = record(run, store, result, &error);
    if (error != NULL) {
        return end_with(run, outcome, error);
    }
    (void)store_prune(store, (guint)run->settings->generations, &ignored);
    return outcome;
}

static void
forget_zygote(struct run *run)
{
    close(run->zygote.channel);
    close(run->zygote.pidfd);
    run->zygote.pid = 0;
}

/* The engine has it, or nobody. */
static void
hand_over(struct run *run)
{
    struct pollfd answer = {.fd = run->task->channel, .events = POLLIN};
    json_auto_t *zygote = json_pack("{s:s, s:i, s:O}", "event", "zygote", "pid",
                                    (int)run->zygote.pid, "loaded", run->loaded);
    json_auto_t *channel = json_pack("{s:s}", "event", "channel");
    json_auto_t *packet = NULL;
    if (packet_send(run->task->channel, zygote, run->zygote.pidfd) == 0 &&
        packet_send(run->task->channel, channel, run->zygote.channel) == 0 &&
        poll(&answer, 1, TAKEN_MS) == 1 && packet_receive(run->task->channel, &packet, NULL) == 1) {
        forget_zygote(run);
    }
}

void
trial_run(const struct trial_task *task)
{
    struct run run = {.task = task, .settings = task->settings};
    const char *outcome = begin(&run);
    if (outcome == NULL) {
        enum exam_result result = verify(&run);
        if (result == EXAM_PASSED) {
            result = try(&run);
        }
        if (run.loaded == NULL) {
            end_zygote(&run);
        }
        outcome = end(&run, result);
        if (run.loaded != NULL && strcmp(outcome, TRIAL_TRIED) == 0) {
            hand_over(&run);
        }
        end_zygote(&run);
    }
    say_end(&run, outcome);
    store_entry_free(run.entry);
    manifest_free(run.current);
    json_decref(run.loaded);
    g_free(run.reason);
    g_free(run.path);
    g_free(run.print);
}

bool
trial_is_resting(const char *outcome)
{
    return g_strcmp0(outcome, TRIAL_WAITING) == 0 || g_strcmp0(outcome, TRIAL_HELD) == 0;
}
