/* SPDX-License-Identifier: GPL-2.0-only */
#include "config.h"
#include "vouch.h"

#include <errno.h>
#include <string.h>
#include <sys/resource.h>

#include "aside.h"
#include "engine.h"
#include "generation.h"
#include "text.h"

#define ERROR_MAX 400
/* A slow disk, and a busy node. */
#define MOST_SECONDS 1800
#define BESIDE_NICE 10

struct vouch {
    struct engine *engine;
    const char *path;
    bool beside;
    vouch_done *done;
    void *data;
    struct aside *aside;
    char *print; /* NULL: the hashes are not known yet */
    bool has_loaded;
};

struct vouch *
vouch_new(struct engine *engine, const char *path, bool beside, vouch_done *done, void *data)
{
    struct vouch *vouch = g_new0(struct vouch, 1);
    *vouch = (struct vouch){
        .engine = engine, .path = path, .beside = beside, .done = done, .data = data};
    return vouch;
}

void
vouch_free(struct vouch *vouch)
{
    if (vouch != NULL) {
        aside_forget(&vouch->aside);
        g_free(vouch->print);
        g_free(vouch);
    }
}

static int
start(struct vouch *vouch, aside_work *work, aside_done *done)
{
    const struct aside_plan plan = {
        .work = work, .task = vouch, .done = done, .data = vouch, .seconds = MOST_SECONDS};
    return aside_start(vouch->engine, &plan, &vouch->aside);
}

/* When it has loaded */

static json_t *
work_print(const struct engine *engine, const void *task)
{
    const struct vouch *vouch = task;
    g_autofree char *print = generation_print(vouch->path);
    (void)engine;
    return json_pack("{s:s}", "print", print);
}

static void
on_print(const json_t *told, const char *why, void *data)
{
    struct vouch *vouch = data;
    const char *print = json_string_value(json_object_get(told, "print"));
    if (print == NULL) {
        vouch->done(-EIO, why, vouch->data);
    } else if (strcmp(print, vouch->print) != 0) {
        vouch->done(-ESTALE, "its files were touched while it was loaded", vouch->data);
    } else {
        vouch->done(0, NULL, vouch->data);
    }
}

static void
look_again(struct vouch *vouch)
{
    int rc = start(vouch, work_print, on_print);
    if (rc < 0) {
        vouch->done(rc, g_strerror(-rc), vouch->data);
    }
}

void
vouch_loaded(struct vouch *vouch)
{
    vouch->has_loaded = true;
    if (vouch->path == NULL) {
        vouch->done(0, NULL, vouch->data);
    } else if (vouch->print != NULL) {
        look_again(vouch);
    }
}

/* The hashes */

static json_t *
work_hashes(const struct engine *engine, const void *task)
{
    const struct vouch *vouch = task;
    g_autofree char *print = generation_print(vouch->path);
    g_autofree char *error = NULL;
    (void)engine;
    if (vouch->beside) {
        (void)setpriority(PRIO_PROCESS, 0, BESIDE_NICE);
    }
    int rc = generation_check(vouch->path, &error);
    g_autofree char *safe = text_escape(error, ERROR_MAX);
    return json_pack("{s:i, s:s?, s:s}", "rc", rc, "error", error != NULL ? safe : NULL, "print",
                     print);
}

static void
on_hashes(const json_t *told, const char *why, void *data)
{
    struct vouch *vouch = data;
    int rc = told == NULL ? -EIO : (int)json_integer_value(json_object_get(told, "rc"));
    if (rc < 0) {
        vouch->done(rc, told == NULL ? why : json_string_value(json_object_get(told, "error")),
                    vouch->data);
        return;
    }
    vouch->print = g_strdup(json_string_value(json_object_get(told, "print")));
    if (vouch->has_loaded) {
        look_again(vouch);
    }
}

int
vouch_begin(struct vouch *vouch)
{
    return vouch->path == NULL ? 0 : start(vouch, work_hashes, on_hashes);
}
