/* SPDX-License-Identifier: GPL-2.0-only */
#include "cluster-carry.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "cib.h"
#include "commit.h"
#include "score.h"
#include "text.h"
#include "tool.h"

#define SETTLE_S 180
#define STEP_S 180
/* A load takes that many times as long as the last one at most, and never less than the minimum. */
#define LOAD_FACTOR 6
#define LOAD_MIN_S 300
#define LOAD_UNKNOWN_S 900
#define UNDO_TRIES 5

static sigset_t
interrupts(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGHUP);
    return set;
}

void
carry_hold_signals(void)
{
    sigset_t set = interrupts();
    (void)sigprocmask(SIG_BLOCK, &set, NULL);
    (void)signal(SIGPIPE, SIG_IGN);
    tool_shield();
}

gboolean
carry_interrupted(void)
{
    const struct timespec now = {0};
    sigset_t set = interrupts();
    return sigtimedwait(&set, NULL, &now) > 0;
}

/* Waits MS milliseconds; FALSE when somebody interrupts. */
static gboolean
pause_ms(unsigned ms)
{
    sigset_t set = interrupts();
    struct timespec time = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};
    return sigtimedwait(&set, NULL, &time) < 0;
}

static void say(const struct carry *carry, const char *format, ...) G_GNUC_PRINTF(2, 3);

static void
say(const struct carry *carry, const char *format, ...)
{
    if (!carry->quiet) {
        va_list args;
        va_start(args, format);
        g_autofree char *raw = g_strdup_vprintf(format, args);
        va_end(args);
        g_autofree char *text = text_escape(raw, 400);
        puts(text);
        (void)fflush(stdout);
    }
}

char *
carry_mail_history(const struct model *model)
{
    GString *text = g_string_new(NULL);
    for (guint i = 0; i < model->members->len; i++) {
        const struct model_member *member = g_ptr_array_index(model->members, i);
        g_autoptr(GPtrArray) ops =
            cib_all(model->doc,
                    "//status//lrm_resource[@id='%s']/lrm_rsc_op[@operation='start' or "
                    "@operation='stop']",
                    member->id);
        for (guint n = 0; n < ops->len; n++) {
            const xmlNode *op = g_ptr_array_index(ops, n);
            g_autofree char *node = cib_attribute(op, "on_node");
            g_autofree char *call = cib_attribute(op, "call-id");
            g_autofree char *id = cib_attribute(op, "id");
            g_string_append_printf(text, "%s %s %s %s\n", member->id, id, node, call);
        }
    }
    return g_string_free(text, FALSE);
}

/* Whatever was not planned and makes waiting senseless. */
static int
look_out(const struct carry *carry, const struct model *model, char **error_r)
{
    const struct plan *plan = carry->plan;
    if (strcmp(model->epoch, carry->epoch) != 0) {
        *error_r = g_strdup("the cluster's configuration was changed by somebody else");
        return -ESTALE;
    }
    for (guint i = 0; i < model->nodes->len; i++) {
        const struct model_node *node = g_ptr_array_index(model->nodes, i);
        if (node->member && (!node->online || node->standby)) {
            *error_r = g_strdup_printf("node %s has left the cluster meanwhile", node->name);
            return -ECANCELED;
        }
    }
    for (guint i = 0; i < model->failures->len; i++) {
        const struct model_failure *failure = g_ptr_array_index(model->failures, i);
        if (!carry->removing && g_strcmp0(failure->resource, plan->name) == 0) {
            *error_r = g_strdup_printf("%s failed on %s: %s", failure->operation, failure->node,
                                       failure->reason);
            return -ECANCELED;
        }
    }
    if (g_strcmp0(model->active, plan->active) != 0) {
        *error_r = g_strdup_printf("mail does not run on %s any more", plan->active);
        return -ECANCELED;
    }
    return 0;
}

/* 1: done; 0: wait on; -errno. TEXT_R says how far it is. */
typedef int carry_state(struct carry *carry, const struct model *model, char **text_r,
                        char **error_r);

static int
wait_until(struct carry *carry, carry_state *state, unsigned limit_s, char **error_r)
{
    g_autofree char *last = NULL;
    gint64 end = g_get_monotonic_time() + (gint64)limit_s * G_USEC_PER_SEC;
    for (;;) {
        g_autoptr(model_t) model = NULL;
        g_autofree char *text = NULL;
        int rc = model_read(carry->group, &model, error_r);
        rc = rc < 0 ? rc : look_out(carry, model, error_r);
        rc = rc < 0 ? rc : state(carry, model, &text, error_r);
        if (rc != 0) {
            return rc < 0 ? rc : 0;
        }
        if (g_strcmp0(text, last) != 0) {
            say(carry, "     %s", text);
            g_free(last);
            last = g_steal_pointer(&text);
        }
        if (g_get_monotonic_time() > end) {
            *error_r = g_strdup_printf("after %u s still: %s", limit_s, last);
            return -ETIMEDOUT;
        }
        if (!pause_ms(500)) {
            *error_r = g_strdup("interrupted");
            return -EINTR;
        }
    }
}

static int
loaded(struct carry *carry, const struct model *model, char **text_r, char **error_r)
{
    const struct plan *plan = carry->plan;
    g_autofree char *name = g_strconcat("master-", plan->name, NULL);
    GString *text = g_string_new(NULL);
    gboolean all = TRUE;
    int rc = 0;
    for (guint i = 0; i < plan->allowed->len && rc == 0; i++) {
        const char *node = g_ptr_array_index(plan->allowed, i);
        g_autofree char *score = model_node_attribute(model, node, name);
        g_autofree char *state = model_node_attribute(model, node, SCORE_TEXT_ATTRIBUTE);
        all = all && cib_score(score) >= SCORE_READY;
        g_string_append_printf(text, "%s%s: %s", i == 0 ? "" : "; ", node,
                               state != NULL ? state : "starting");
        if (state != NULL && g_str_has_prefix(state, "engine failed")) {
            *error_r = g_strdup_printf("the signatures cannot be loaded on %s: `journalctl -u "
                                       "postern-engine` there says why",
                                       node);
            rc = -ECANCELED;
        }
    }
    *text_r = g_string_free(text, FALSE);
    return rc < 0 ? rc : all;
}

static int
promoted(struct carry *carry, const struct model *model, char **text_r, char **error_r)
{
    (void)error_r;
    *text_r = g_strdup_printf("waiting for the promotion on %s", carry->plan->active);
    return g_strcmp0(model->scanner.promoted, carry->plan->active) == 0;
}

static int
joined(struct carry *carry, const struct model *model, char **text_r, char **error_r)
{
    int rc = commit_settle(SETTLE_S, error_r);
    *text_r = g_strdup("waiting for the cluster to come to rest");
    return rc < 0 ? rc : promoted(carry, model, text_r, error_r) && model->scanner.mail_follows;
}

static int
stopped(struct carry *carry, const struct model *model, char **text_r, char **error_r)
{
    (void)carry;
    (void)error_r;
    *text_r = g_strdup("waiting for the scanner's end on every node");
    return model->scanner.started->len == 0;
}

static int
at_rest(struct carry *carry, const struct model *model, char **text_r, char **error_r)
{
    (void)carry;
    (void)model;
    int rc = commit_settle(SETTLE_S, error_r);
    *text_r = g_strdup("waiting for the cluster to come to rest");
    return rc < 0 ? rc : 1;
}

static unsigned
load_limit(const struct carry *carry)
{
    if (carry->limit_s > 0) {
        return carry->limit_s;
    }
    return carry->load_s == 0 ? LOAD_UNKNOWN_S : MAX(LOAD_MIN_S, LOAD_FACTOR * carry->load_s);
}

static int
take_step(struct carry *carry, const struct plan_step *step, unsigned number, carry_state *state,
          unsigned limit_s, char **error_r)
{
    say(carry, "%u.   %s", number, step->title);
    g_autofree char *before = g_strdup(carry->epoch);
    int rc = commit_edit(&carry->epoch, step->edit, carry->plan, error_r);
    carry->written = carry->written || strcmp(before, carry->epoch) != 0;
    return rc < 0 ? rc : wait_until(carry, state, limit_s, error_r);
}

int
carry_setup(struct carry *carry, char **error_r)
{
    gint64 begun = g_get_monotonic_time();
    int rc = take_step(carry, &plan_setup_steps[0], 1, loaded, load_limit(carry), error_r);
    if (rc == 0) {
        unsigned took = (unsigned)((g_get_monotonic_time() - begun) / G_USEC_PER_SEC) + 1;
        carry->load_s = MAX(carry->load_s, took);
        carry->plan->timeouts = plan_timeouts(carry->load_s);
        say(carry, "     every node is ready after %u s", took);
        rc = take_step(carry, &plan_setup_steps[1], 2, promoted,
                       carry->plan->timeouts.promote + STEP_S, error_r);
    }
    if (rc == 0) {
        rc = take_step(carry, &plan_setup_steps[2], 3, joined, STEP_S, error_r);
    }
    return rc;
}

int
carry_remove(struct carry *carry, char **error_r)
{
    carry->removing = TRUE;
    int rc = take_step(carry, &plan_remove_steps[0], 1, stopped, 2 * STEP_S, error_r);
    commit_forget(carry->plan->name, carry->plan->allowed);
    return rc < 0 ? rc : take_step(carry, &plan_remove_steps[1], 2, at_rest, STEP_S, error_r);
}

/* One try; the configuration may be changed by others between the steps. */
static int
undo_once(struct carry *carry, char **error_r)
{
    g_autoptr(model_t) model = NULL;
    gint64 end = g_get_monotonic_time() + (gint64)STEP_S * G_USEC_PER_SEC;
    int rc = model_read(carry->group, &model, error_r);
    if (rc < 0 || g_strcmp0(model->scanner.primitive, carry->plan->name) != 0) {
        return rc;
    }
    g_free(carry->epoch);
    carry->epoch = g_strdup(model->epoch);
    rc = commit_edit(&carry->epoch, plan_leave, carry->plan, error_r);
    while (rc == 0 && model->scanner.started->len > 0) {
        (void)pause_ms(500);
        g_clear_pointer(&model, model_free);
        rc = model_read(carry->group, &model, error_r);
        if (rc == 0 && g_get_monotonic_time() > end) {
            *error_r = g_strdup("the scanner does not stop");
            rc = -ETIMEDOUT;
        }
    }
    if (rc < 0) {
        return rc;
    }
    commit_forget(carry->plan->name, carry->plan->allowed);
    return commit_edit(&carry->epoch, plan_delete, carry->plan, error_r);
}

int
carry_undo(struct carry *carry, char **error_r)
{
    int rc = -ESTALE;
    for (int i = 0; i < UNDO_TRIES && (rc == -ESTALE || rc == -EBUSY || rc == -ENOTCONN); i++) {
        g_clear_pointer(error_r, g_free);
        rc = undo_once(carry, error_r);
        if (rc == -EBUSY || rc == -ENOTCONN) {
            (void)pause_ms(2000);
        }
    }
    return rc;
}
