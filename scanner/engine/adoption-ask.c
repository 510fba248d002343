/* SPDX-License-Identifier: GPL-2.0-only */
/* All that an adoption wants of the disk is asked of a process of its own (aside.h). */
#include "config.h"
#include "adoption-inner.h"

#include <errno.h>
#include <string.h>

#include "text.h"

#define TEXT_MAX 400
#define WHOLE_SECONDS 1800

struct task {
    const struct choice *choice;
    const struct adoption_request *request;
    const char *serving;
};

/* --- a choice as JSON ----------------------------------------------------------------------- */

static json_t *
choice_json(const struct choice *choice)
{
    return json_pack(
        "{s:s?, s:s?, s:s?, s:s?, s:s?, s:i, s:b, s:b, s:I, s:I, s:i, s:I, s:b, s:b, "
        "s:b, s:s?}",
        "name", choice->name, "before", choice->before, "reject", choice->reject, "waits",
        choice->waits, "broken", choice->broken, "fault", (int)choice->fault, "set", choice->is_set,
        "untried", choice->is_untried, "need", (json_int_t)choice->need, "newest",
        (json_int_t)choice->about.newest, "database", (int)choice->about.database, "database_time",
        (json_int_t)choice->about.database_time, "noted", choice->is_noted, "settled",
        choice->is_settled, "forgotten", choice->is_forgotten, "mended", choice->mended);
}

static char *
text_of(const json_t *json, const char *key)
{
    return g_strdup(json_string_value(json_object_get(json, key)));
}

static gint64
number_of(const json_t *json, const char *key)
{
    return (gint64)json_integer_value(json_object_get(json, key));
}

static struct choice
choice_from(const struct adoption *adoption, const json_t *json)
{
    const char *name = json_string_value(json_object_get(json, "name"));
    return (struct choice){
        .name = g_strdup(name),
        .path = name != NULL ? choice_path(adoption->engine, name) : NULL,
        .before = text_of(json, "before"),
        .reject = text_of(json, "reject"),
        .waits = text_of(json, "waits"),
        .broken = text_of(json, "broken"),
        .fault = (enum nursery_fault)number_of(json, "fault"),
        .is_set = json_is_true(json_object_get(json, "set")),
        .is_untried = json_is_true(json_object_get(json, "untried")),
        .is_noted = json_is_true(json_object_get(json, "noted")),
        .is_settled = json_is_true(json_object_get(json, "settled")),
        .is_forgotten = json_is_true(json_object_get(json, "forgotten")),
        .mended = text_of(json, "mended"),
        .need = (guint64)number_of(json, "need"),
        .about = {.newest = number_of(json, "newest"),
                  .database = (guint)number_of(json, "database"),
                  .database_time = number_of(json, "database_time")},
    };
}

/* What came of something: RC and one sentence. */
static json_t *
result_json(int rc, const char *text)
{
    g_autofree char *safe = text != NULL ? text_escape(text, TEXT_MAX) : NULL;
    return json_pack("{s:i, s:s?}", "rc", rc, "text", safe);
}

static int
result_of(const json_t *told)
{
    return told == NULL ? -EIO : (int)number_of(told, "rc");
}

static const char *
sentence_of(const json_t *told, const char *why)
{
    return told == NULL ? why : json_string_value(json_object_get(told, "text"));
}

/* --- what is asked, and who is told --------------------------------------------------------- */

static json_t *
work_look(const struct engine *engine, const void *data)
{
    const struct task *task = data;
    struct choice choice;
    choice_find(engine, task->serving, &choice);
    return choice_json(&choice);
}

static void
told_look(const json_t *told, const char *why, void *data)
{
    struct choice choice = choice_from(data, told);
    adoption_looked(data, told != NULL ? &choice : NULL, why);
}

static json_t *
work_order(const struct engine *engine, const void *data)
{
    const struct task *task = data;
    struct choice choice;
    g_autofree char *error = NULL;
    int rc = choice_order(engine, task->request, &choice, &error);
    json_t *told = result_json(rc, error);
    json_object_set_new(told, "choice", choice_json(&choice));
    json_object_set_new(told, "force", json_boolean(choice.force));
    return told;
}

static void
told_order(const json_t *told, const char *why, void *data)
{
    struct choice choice = choice_from(data, json_object_get(told, "choice"));
    choice.by_order = true;
    choice.force = json_is_true(json_object_get(told, "force"));
    adoption_ordered(data, result_of(told), &choice, sentence_of(told, why));
}

static json_t *
work_trial(const struct engine *engine, const void *data)
{
    const struct task *task = data;
    g_autofree char *reason = NULL;
    enum record_state state = choice_state(engine, task->choice, &reason);
    return result_json((int)state, reason);
}

static void
told_trial(const json_t *told, const char *why, void *data)
{
    (void)why;
    adoption_trial_told(data, told != NULL ? (enum record_state)result_of(told) : RECORD_TRYING,
                        sentence_of(told, NULL));
}

static json_t *
work_commit(const struct engine *engine, const void *data)
{
    const struct task *task = data;
    g_autofree char *text = NULL;
    int rc = choice_commit(engine, task->choice, &text);
    return result_json(rc, text);
}

static void
told_commit(const json_t *told, const char *why, void *data)
{
    adoption_committed(data, result_of(told), sentence_of(told, why));
}

static int
ask(struct adoption *adoption, aside_work *work, aside_done *done, const struct task *task)
{
    const struct aside_plan plan = {
        .work = work,
        .task = task,
        .done = done,
        .data = adoption,
        /* What is taken in the place of what cannot be loaded is read whole. */
        .seconds = supervisor_failed(adoption->engine->supervisor) ? WHOLE_SECONDS : 0,
    };
    aside_forget(&adoption->asked);
    return aside_start(adoption->engine, &plan, &adoption->asked);
}

int
adoption_ask_look(struct adoption *adoption, const char *serving)
{
    const struct task task = {.serving = serving};
    return ask(adoption, work_look, told_look, &task);
}

int
adoption_ask_trial(struct adoption *adoption)
{
    const struct task task = {.choice = &adoption->choice};
    return ask(adoption, work_trial, told_trial, &task);
}

int
adoption_ask_commit(struct adoption *adoption)
{
    const struct task task = {.choice = &adoption->choice};
    return ask(adoption, work_commit, told_commit, &task);
}

int
adoption_ask_order(struct adoption *adoption, const struct adoption_request *request)
{
    const struct task task = {.request = request};
    const struct aside_plan plan = {
        .work = work_order, .task = &task, .done = told_order, .data = adoption};
    return adoption->order != NULL ? -EBUSY
                                   : aside_start(adoption->engine, &plan, &adoption->order);
}
