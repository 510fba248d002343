/* SPDX-License-Identifier: GPL-2.0-only */
#include "rehearse.h"

#include <string.h>

#include "cib.h"
#include "commit.h"
#include "score.h"
#include "simulate.h"

#define READY_TEXT G_STRINGIFY(SCORE_READY)
#define PLOST_TEXT G_STRINGIFY(SCORE_PLOST)

void
rehearsal_clear(struct rehearsal *rehearsal)
{
    for (size_t i = 0; i < PLAN_SETUP_STEPS; i++) {
        g_free(rehearsal->steps[i]);
    }
    for (size_t i = 0; i < REHEARSE_QUESTIONS; i++) {
        g_free(rehearsal->then[i].answer);
    }
    memset(rehearsal, 0, sizeof *rehearsal);
}

static void
set_scores(xmlDoc *cib, const struct plan *plan, const char *active, const char *others)
{
    g_autofree char *name = g_strconcat("master-", plan->name, NULL);
    for (guint i = 0; i < plan->allowed->len; i++) {
        const char *node = g_ptr_array_index(plan->allowed, i);
        simulate_attribute(cib, node, name, g_strcmp0(node, plan->active) == 0 ? active : others);
    }
}

/* EDIT on *CIB, which becomes what the cluster is afterwards. */
static int
step(xmlDoc **cib, const struct plan *plan, plan_edit *edit, gboolean is_ready, char **text_r,
     GPtrArray *refusals, char **error_r)
{
    g_autoptr(simulation_t) simulation = NULL;
    g_autoptr(cib_doc_t) edited = commit_preview(*cib, edit, plan);
    if (is_ready) {
        set_scores(edited, plan, READY_TEXT, READY_TEXT);
    }
    int rc = simulate(edited, &simulation, error_r);
    if (rc < 0) {
        return rc;
    }
    const struct simulate_action *stranger = simulation_stranger(simulation, plan->name);
    if (stranger != NULL) {
        g_autofree char *what = simulate_action_text(stranger);
        refuse(refusals, stranger->resource,
               "let crm_mon show a cluster at rest; else set it up by hand: EXAMPLES in "
               "ocf_postern_scanner(7)",
               "the cluster would touch what is not the scanner's: %s", what);
    }
    *text_r = simulation_text(simulation);
    xmlFreeDoc(*cib);
    *cib = g_steal_pointer(&simulation->after);
    return 0;
}

static gboolean
mail_moves(const struct model *model, const struct simulation *simulation)
{
    for (guint i = 0; i < model->members->len; i++) {
        const struct model_member *member = g_ptr_array_index(model->members, i);
        if (!simulation_has(simulation, "move", member->id, NULL) &&
            !simulation_has(simulation, "migrate", member->id, NULL)) {
            return FALSE;
        }
    }
    return TRUE;
}

enum question { PEER_READY, NONE_READY, STANDBY };

static const struct {
    const char *question;
    gboolean moves;
    const char *todo;
} questions[REHEARSE_QUESTIONS] = {
    [PEER_READY] = {"the engine of the active node dies, a peer is ready", TRUE,
                    "lower resource-stickiness or the location preferences of the mail group"},
    [NONE_READY] = {"the engine of the active node dies, no peer is ready", FALSE, NULL},
    [STANDBY] = {"the active node goes to standby", TRUE, NULL},
};

static int
ask(const struct model *model, const struct plan *plan, xmlDoc *cib, enum question question,
    struct rehearsal *rehearsal, GPtrArray *refusals, char **error_r)
{
    g_autoptr(simulation_t) simulation = NULL;
    g_autoptr(cib_doc_t) changed = xmlCopyDoc(cib, 1);
    if (question == STANDBY) {
        simulate_standby(changed, plan->active);
    } else {
        set_scores(changed, plan, PLOST_TEXT,
                   question == PEER_READY ? READY_TEXT : G_STRINGIFY(SCORE_LOAD));
    }
    int rc = simulate(changed, &simulation, error_r);
    if (rc < 0) {
        return rc;
    }
    gboolean moves = mail_moves(model, simulation);
    rehearsal->then[question].question = questions[question].question;
    rehearsal->then[question].answer = simulation_text(simulation);
    if (moves && !questions[question].moves) {
        refuse(refusals, plan->group, "set it up by hand: EXAMPLES in ocf_postern_scanner(7)",
               "when %s, mail would move for nothing", questions[question].question);
    } else if (!moves && questions[question].moves) {
        refuse(refusals, plan->group, questions[question].todo, "when %s, mail would not move: %s",
               questions[question].question, rehearsal->then[question].answer);
    }
    return 0;
}

int
rehearse_setup(const struct model *model, const struct plan *plan, struct rehearsal *rehearsal,
               GPtrArray *refusals, char **error_r)
{
    g_autoptr(cib_doc_t) cib = xmlCopyDoc(model->doc, 1);
    int rc = 0;
    for (unsigned i = 0; i < PLAN_SETUP_STEPS && rc == 0; i++) {
        rc = step(&cib, plan, plan_setup_steps[i].edit, i > 0, &rehearsal->steps[i], refusals,
                  error_r);
    }
    for (unsigned i = 0; i < REHEARSE_QUESTIONS && rc == 0 && plan->allowed->len > 1; i++) {
        rc = ask(model, plan, cib, (enum question)i, rehearsal, refusals, error_r);
    }
    return rc;
}

int
rehearse_remove(const struct model *model, const struct plan *plan, struct rehearsal *rehearsal,
                GPtrArray *refusals, char **error_r)
{
    g_autoptr(cib_doc_t) cib = xmlCopyDoc(model->doc, 1);
    int rc = 0;
    for (unsigned i = 0; i < PLAN_REMOVE_STEPS && rc == 0; i++) {
        rc = step(&cib, plan, plan_remove_steps[i].edit, FALSE, &rehearsal->steps[i], refusals,
                  error_r);
    }
    return rc;
}
