/* SPDX-License-Identifier: GPL-2.0-only */
#include <stdio.h>

#include "drill.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <time.h>

#include "ready.h"
#include "tool.h"

#define LOOK_MS 300
#define DRAIN_MS 30000
#define ORDER_TRIES 3
/* The rule outlives the longest drill by this. */
#define LIFETIME_SPARE_S 120

struct drill {
    const struct drill_job *job;
    struct drill_machine machine;
    struct probe_run *probes;
    struct drill_guard *guard;
    gint64 began;
    unsigned interrupts;
    gboolean failed; /* the last order */
    char *order_error;
    char *left;
    /* what was told last */
    char *group;
    char *promoted;
    gboolean served;
};

static void say(const struct drill *d, const char *format, ...) G_GNUC_PRINTF(2, 3);

static void
say(const struct drill *d, const char *format, ...)
{
    va_list args;
    if (d->job->progress == NULL) {
        return;
    }
    va_start(args, format);
    g_autofree char *text = g_strdup_vprintf(format, args);
    va_end(args);
    fprintf(d->job->progress, "[%5.1f s] %s\n",
            (double)(g_get_monotonic_time() - d->began) / G_USEC_PER_SEC, text);
    fflush(d->job->progress);
}

static void
signal_set(sigset_t *set)
{
    sigemptyset(set);
    sigaddset(set, SIGINT);
    sigaddset(set, SIGTERM);
    sigaddset(set, SIGHUP);
}

/* The pause between two looks; ends early when somebody wants the drill to end. */
static void
rest(struct drill *d)
{
    const struct timespec pause = {.tv_nsec = LOOK_MS * 1000000L};
    sigset_t set;
    signal_set(&set);
    if (sigtimedwait(&set, NULL, &pause) > 0) {
        d->interrupts++;
        say(d, "%s",
            d->interrupts == 1 ? "interrupted: the mail group goes back first; once more: at once"
                               : "interrupted again: nothing is waited for");
    }
}

static unsigned
lifetime_s(const struct drill_plan *plan)
{
    return (unsigned)((3 * plan->limit_us + 3 * plan->rest_us) / G_USEC_PER_SEC) + LIFETIME_SPARE_S;
}

static int
carry_out_once(struct drill *d, enum drill_order order, char **error_r)
{
    const struct drill_rule *rule = &d->job->rule;
    const struct drill_plan *plan = &d->job->plan;
    switch (order) {
    case ORDER_GO:
        return plan->standby ? drill_rule_standby(rule, TRUE, error_r)
                             : drill_rule_set(rule, plan->to, lifetime_s(plan), error_r);
    case ORDER_WAKE:
        return drill_rule_standby(rule, FALSE, error_r);
    case ORDER_RETURN:
        return drill_rule_set(rule, plan->from, lifetime_s(plan), error_r);
    case ORDER_CLEAN:
        return drill_rule_remove(rule, error_r);
    case ORDER_WAIT:
    case ORDER_END:
        break;
    }
    return 0;
}

static const char *
order_text(const struct drill *d, enum drill_order order)
{
    switch (order) {
    case ORDER_GO:
        return d->job->plan.standby ? "the active node goes to standby" : "the mail group moves";
    case ORDER_WAKE:
        return "the standby ends";
    case ORDER_RETURN:
        return "the mail group moves back";
    case ORDER_CLEAN:
        return "what the drill has set is taken away";
    case ORDER_WAIT:
    case ORDER_END:
        break;
    }
    return NULL;
}

/* The cluster manager may have no answer for a moment: so there is a second try. */
static void
carry_out(struct drill *d, enum drill_order order)
{
    const char *text = order_text(d, order);
    int rc = -1;
    if (text != NULL) {
        say(d, "%s", text);
    }
    for (int i = 0; rc < 0 && i < ORDER_TRIES; i++) {
        g_autofree char *error = NULL;
        rc = carry_out_once(d, order, &error);
        if (rc < 0 && i + 1 == ORDER_TRIES) {
            char **where = order == ORDER_CLEAN ? &d->left : &d->order_error;
            g_free(*where);
            *where = g_steal_pointer(&error);
            say(d, "%s", *where);
        }
    }
    d->failed = rc < 0;
}

/* Tells when VALUE differs from what was told last. */
static void
tell(struct drill *d, char **told, const char *value, const char *what)
{
    if (g_strcmp0(*told, value) == 0) {
        return;
    }
    if (value != NULL) {
        say(d, "%s %s", what, value);
    }
    g_free(*told);
    *told = g_strdup(value);
}

static void
tell_service(struct drill *d, unsigned good)
{
    g_autofree char *bad = NULL;
    if (!d->served && good >= 1) {
        d->served = TRUE;
        say(d, "mail is served");
    } else if (d->served && good == 0) {
        unsigned tries = probe_run_tries(d->probes, &bad);
        d->served = tries == 0 || probe_run_good_since(d->probes, 0) > 0;
        if (!d->served) {
            say(d, "mail is not served: %s", bad != NULL ? bad : "no answer");
        }
    }
}

/* A cluster that gives no answer now is asked again: that it cannot be seen is no place. */
static void
look(struct drill *d, struct drill_seen *seen, char **promoted_r, char **group_r)
{
    g_autofree char *error = NULL;
    g_autoptr(model_t) model = NULL;
    if (model_read(d->job->rule.group, &model, &error) == 0) {
        *promoted_r = ready_serving(model);
        *group_r = g_strdup(model->active);
        seen->from_ready = ready_node(model, d->job->plan.from);
    }
    seen->now = g_get_monotonic_time();
    seen->promoted = *promoted_r;
    seen->group = *group_r;
    seen->good = probe_run_good_since(d->probes, drill_counts_since(&d->machine));
    seen->interrupts = d->interrupts;
    seen->failed = d->failed;
}

static void
loop(struct drill *d)
{
    enum drill_order order = ORDER_WAIT;
    drill_begin(&d->machine, &d->job->plan, g_get_monotonic_time());
    while (order != ORDER_END) {
        g_autofree char *promoted = NULL;
        g_autofree char *group = NULL;
        struct drill_seen seen = {0};
        rest(d);
        look(d, &seen, &promoted, &group);
        tell(d, &d->promoted, promoted, "the scanner serves on");
        tell(d, &d->group, group, "all of the mail group is on");
        tell_service(d, seen.good);
        order = drill_step(&d->machine, &seen);
        d->failed = FALSE;
        carry_out(d, order);
    }
}

static int
begin(struct drill *d, char **error_r)
{
    int rc = drill_guard_start(&d->job->rule, &d->guard);
    if (rc < 0) {
        *error_r = g_strdup_printf("no guard for the drill: %s", g_strerror(-rc));
        return rc;
    }
    rc = probe_run_start(&d->job->probes, &d->probes, error_r);
    if (rc < 0) {
        drill_guard_end(d->guard);
    }
    return rc;
}

int
drill_run(const struct drill_job *job, struct drill_result *result_r, char **error_r)
{
    struct drill d = {.job = job, .began = g_get_monotonic_time()};
    sigset_t set;
    sigset_t before;
    signal_set(&set);
    (void)pthread_sigmask(SIG_BLOCK, &set, &before);
    /* A terminal that hangs up takes the progress with it, and no more. */
    (void)signal(SIGPIPE, SIG_IGN);
    tool_shield();
    int rc = begin(&d, error_r);
    if (rc == 0) {
        loop(&d);
        (void)probe_run_tries(d.probes, &result_r->last_bad);
        result_r->log = probe_run_finish(d.probes, d.interrupts > 1 ? 0 : DRAIN_MS);
        drill_guard_end(d.guard);
        result_r->machine = d.machine;
        result_r->order_error = g_steal_pointer(&d.order_error);
        result_r->left = g_steal_pointer(&d.left);
    }
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    g_free(d.group);
    g_free(d.promoted);
    return rc;
}

void
drill_result_clear(struct drill_result *result)
{
    probe_log_free(result->log);
    g_free(result->order_error);
    g_free(result->left);
    g_free(result->last_bad);
}
