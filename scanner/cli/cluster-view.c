/* SPDX-License-Identifier: GPL-2.0-only */
#include "cluster-view.h"

#include <stdio.h>
#include <string.h>

#include "fencing.h"
#include "terminal.h"
#include "text.h"
#include "words.h"

static const char *const kinds[] = {
    [MODEL_OTHER] = "",
    [MODEL_FILESYSTEM] = "file system",
    [MODEL_ADDRESS] = "address",
    [MODEL_POSTFIX] = "mail server",
    [MODEL_SENDMAIL] = "mail server",
    [MODEL_NO_MILTER] = "mail server",
    [MODEL_DOVECOT] = "Dovecot",
    [MODEL_LVM] = "volume",
    [MODEL_DRBD] = "DRBD",
};

static const char *
fencing_word(const struct model *model, const char *node)
{
    static const char *const words[] = {
        [FENCING_NONE] = "not fenced",
        [FENCING_UNKNOWN] = "fencing not known",
        [FENCING_DEVICE] = "fenced",
        [FENCING_WATCHDOG] = "fenced by its watchdog",
    };
    return words[fencing_of(model, node)];
}

static void
say(const char *label, const char *text)
{
    g_autofree char *safe = text_escape(text, 2000);
    printf("%-12s %s\n", label, safe);
}

static void
found_print(const struct model *model)
{
    for (guint i = 0; i < model->nodes->len; i++) {
        const struct model_node *node = g_ptr_array_index(model->nodes, i);
        g_autofree char *text =
            g_strdup_printf("%s (%s, %s%s)", node->name, node->online ? "online" : "offline",
                            fencing_word(model, node->name),
                            g_strcmp0(node->name, model->active) == 0 ? ", has the mail" : "");
        say(i == 0 ? "Nodes" : "", text);
    }
    if (model->group != NULL) {
        say("Mail group", model->group);
    }
    for (guint i = 0; i < model->members->len; i++) {
        const struct model_member *member = g_ptr_array_index(model->members, i);
        const char *kind = kinds[member->kind];
        g_autofree char *text = g_strdup_printf("  %s: %s%s%s%s%s", member->id, member->agent,
                                                *kind != '\0' ? ", " : "", kind,
                                                member->directory != NULL ? " at " : "",
                                                member->directory != NULL ? member->directory : "");
        say("", text);
    }
    if (model->scanner.primitive != NULL) {
        say("Scanner", model->scanner.primitive);
    }
}

void
view_refusals(const GPtrArray *refusals)
{
    for (guint i = 0; i < refusals->len; i++) {
        const struct refusal *r = g_ptr_array_index(refusals, i);
        g_autofree char *where = text_escape(r->where, 200);
        g_autofree char *what = text_escape(r->what, 800);
        g_autofree char *todo = text_escape(r->todo, 400);
        g_autofree char *word =
            terminal_colour(r->is_remark ? COLOUR_DOUBT : COLOUR_BAD, r->is_remark ? "note" : "no");
        printf("%s  %s%s: %s\n", word, r->is_remark ? "" : "  ", where, what);
        if (r->todo != NULL) {
            printf("      -> %s\n", todo);
        }
    }
}

static unsigned
step_count(const struct view *view)
{
    return view->removing ? PLAN_REMOVE_STEPS : PLAN_SETUP_STEPS;
}

static const struct plan_step *
step_at(const struct view *view, unsigned i)
{
    return view->removing ? &plan_remove_steps[i] : &plan_setup_steps[i];
}

static GPtrArray *
words(const struct view *view, unsigned i, enum words_tool tool)
{
    return view->removing ? words_remove(view->plan, view->model, i, tool)
                          : words_setup(view->plan, i, tool);
}

/* A line for a shell may end with a backslash, which an escaped text cannot have. */
static void
shell_line_print(const char *line)
{
    gboolean goes_on = g_str_has_suffix(line, " \\");
    g_autofree char *part = g_strndup(line, strlen(line) - (goes_on ? 2 : 0));
    g_autofree char *safe = text_escape(part, 2000);
    printf("    %s%s\n", safe, goes_on ? " \\" : "");
}

static void
step_print(const struct view *view, unsigned i)
{
    static const char *const names[] = {[WORDS_PCS] = "pcs", [WORDS_CRMSH] = "crmsh"};
    const struct plan_step *step = step_at(view, i);
    printf("\nStep %u: %s\n", i + 1, step->title);
    if (view->rehearsal->steps[i] != NULL) {
        g_autofree char *safe = text_escape(view->rehearsal->steps[i], 2000);
        printf("  simulated: %s\n", safe);
    }
    for (int tool = WORDS_PCS; tool <= WORDS_CRMSH; tool++) {
        g_autoptr(GPtrArray) lines = words(view, i, (enum words_tool)tool);
        printf("  with %s:\n", names[tool]);
        for (guint n = 0; n < lines->len; n++) {
            shell_line_print(g_ptr_array_index(lines, n));
        }
    }
    printf("  then: wait until %s\n", step->wait);
}

static void
plan_print(const struct view *view)
{
    if (view->plan == NULL || view->rehearsal == NULL) {
        return;
    }
    for (unsigned i = 0; i < step_count(view); i++) {
        step_print(view, i);
    }
    for (int i = 0; i < REHEARSE_QUESTIONS && view->rehearsal->then[i].answer != NULL; i++) {
        g_autofree char *answer = text_escape(view->rehearsal->then[i].answer, 2000);
        printf("%sWhen %s: %s\n", i == 0 ? "\nSimulated, after that.\n" : "",
               view->rehearsal->then[i].question, answer);
    }
}

void
view_print(const struct view *view)
{
    found_print(view->model);
    plan_print(view);
    if (view->extra != NULL && view->extra->len > 0) {
        puts("\nBeside the cluster's configuration:");
        for (guint i = 0; i < view->extra->len; i++) {
            g_autofree char *safe = text_escape(g_ptr_array_index(view->extra, i), 2000);
            printf("  %s\n", safe);
        }
    }
    if (view->refusals->len > 0) {
        putchar('\n');
        view_refusals(view->refusals);
    }
}

static json_t *
lines_json(const GPtrArray *lines)
{
    json_t *all = json_array();
    for (guint i = 0; lines != NULL && i < lines->len; i++) {
        json_array_append_new(all, json_string(g_ptr_array_index(lines, i)));
    }
    return all;
}

static json_t *
found_json(const struct model *model)
{
    json_t *nodes = json_array();
    json_t *members = json_array();
    for (guint i = 0; i < model->nodes->len; i++) {
        const struct model_node *node = g_ptr_array_index(model->nodes, i);
        json_array_append_new(nodes,
                              json_pack("{s:s, s:b, s:s}", "name", node->name, "online",
                                        node->online, "fencing", fencing_word(model, node->name)));
    }
    for (guint i = 0; i < model->members->len; i++) {
        const struct model_member *member = g_ptr_array_index(model->members, i);
        json_array_append_new(members, json_pack("{s:s, s:s, s:s}", "id", member->id, "agent",
                                                 member->agent, "kind", kinds[member->kind]));
    }
    return json_pack("{s:o, s:s?, s:s?, s:o, s:s?}", "nodes", nodes, "group", model->group,
                     "active", model->active, "members", members, "scanner",
                     model->scanner.primitive);
}

static json_t *
refusals_json(const GPtrArray *refusals, gboolean remarks)
{
    json_t *all = json_array();
    for (guint i = 0; i < refusals->len; i++) {
        const struct refusal *r = g_ptr_array_index(refusals, i);
        if (r->is_remark == remarks) {
            json_array_append_new(all, json_pack("{s:s, s:s, s:s?}", "where", r->where, "what",
                                                 r->what, "todo", r->todo));
        }
    }
    return all;
}

static json_t *
steps_json(const struct view *view)
{
    json_t *all = json_array();
    for (unsigned i = 0; view->plan != NULL && i < step_count(view); i++) {
        const struct plan_step *step = step_at(view, i);
        g_autoptr(GPtrArray) pcs = words(view, i, WORDS_PCS);
        g_autoptr(GPtrArray) crmsh = words(view, i, WORDS_CRMSH);
        json_array_append_new(all,
                              json_pack("{s:s, s:o, s:o, s:s?, s:s}", "title", step->title, "pcs",
                                        lines_json(pcs), "crmsh", lines_json(crmsh), "simulated",
                                        view->rehearsal == NULL ? NULL : view->rehearsal->steps[i],
                                        "wait", step->wait));
    }
    return all;
}

json_t *
view_json(const struct view *view)
{
    json_t *then = json_array();
    for (int i = 0; view->rehearsal != NULL && i < REHEARSE_QUESTIONS; i++) {
        if (view->rehearsal->then[i].answer != NULL) {
            json_array_append_new(then,
                                  json_pack("{s:s, s:s}", "when", view->rehearsal->then[i].question,
                                            "simulated", view->rehearsal->then[i].answer));
        }
    }
    return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o}", "found", found_json(view->model), "refusals",
                     refusals_json(view->refusals, FALSE), "remarks",
                     refusals_json(view->refusals, TRUE), "steps", steps_json(view), "then", then,
                     "beside", lines_json(view->extra));
}
