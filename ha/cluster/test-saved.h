/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The saved CIBs (tests/make has how they were made), for test programs only. Include it after
 * cmocka.h; TOP_SRCDIR is the source tree. The scheduler is the real one, so the tools of Pacemaker
 * have to be installed.
 */
#ifndef TEST_SAVED_H
#define TEST_SAVED_H

#include <string.h>
#include <unistd.h>

#include "cib.h"
#include "model.h"
#include "refuse.h"
#include "tool.h"

/* Skips the test where Pacemaker's tools are missing. */
static inline void
saved_need_tools(void)
{
    if (access(TOOL_CRM_MON, X_OK) < 0 || access(TOOL_CRM_SIMULATE, X_OK) < 0) {
        skip();
    }
}

/* tests/NAME.xml; freed by xmlFreeDoc(). */
static inline xmlDoc *
saved_load(const char *name)
{
    xmlDoc *doc = NULL;
    g_autofree char *text = NULL;
    g_autofree char *error = NULL;
    g_autofree char *path = g_strdup_printf(TOP_SRCDIR "/ha/cluster/tests/%s.xml", name);
    assert_true(g_file_get_contents(path, &text, NULL, NULL));
    assert_int_equal(cib_parse(text, &doc, &error), 0);
    return doc;
}

/* The model of tests/NAME.xml and GROUP (NULL: the only one); freed by model_free(). */
static inline struct model *
saved_model(const char *name, const char *group)
{
    struct model *model = NULL;
    g_autofree char *error = NULL;
    if (model_new(saved_load(name), group, &model, &error) < 0) {
        fail_msg("%s", error);
    }
    return model;
}

/* The refusal (or remark) about WHERE among REFUSALS, NULL if there is none. */
static inline const struct refusal *
saved_refusal(const GPtrArray *refusals, const char *where, gboolean is_remark)
{
    for (guint i = 0; i < refusals->len; i++) {
        const struct refusal *r = g_ptr_array_index(refusals, i);
        if (r->is_remark == is_remark && strcmp(r->where, where) == 0) {
            return r;
        }
    }
    return NULL;
}

#endif
