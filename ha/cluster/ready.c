/* SPDX-License-Identifier: GPL-2.0-only */
#include "ready.h"

#include <string.h>

#include "cib.h"
#include "text.h"

/* Whatever Postern's version, no engine that is not ready has a score as high (ha/score.h). */
#define READY_SCORE 1000
#define STATE_ATTRIBUTE "postern-state"
#define SHOWN 100

static const struct model_node *
node_find(const struct model *model, const char *name)
{
    for (guint i = 0; i < model->nodes->len; i++) {
        const struct model_node *node = g_ptr_array_index(model->nodes, i);
        if (g_strcmp0(node->name, name) == 0) {
            return node;
        }
    }
    return NULL;
}

static gboolean
score_is_high(const struct model *model, const char *node)
{
    g_autofree char *name = g_strconcat("master-", model->scanner.primitive, NULL);
    g_autofree char *score = model_node_attribute(model, node, name);
    return score != NULL && cib_score(score) >= READY_SCORE;
}

gboolean
ready_node(const struct model *model, const char *node)
{
    const struct model_node *known = node_find(model, node);
    if (known == NULL || !known->member || !known->online || known->standby ||
        model->scanner.primitive == NULL) {
        return FALSE;
    }
    g_autofree char *state = model_node_attribute(model, node, STATE_ATTRIBUTE);
    return state != NULL && g_str_has_prefix(state, "ready") &&
           (!model->scanner.promotable || score_is_high(model, node));
}

char *
ready_text(const struct model *model, const char *node)
{
    const struct model_node *known = node_find(model, node);
    if (known == NULL) {
        return g_strdup("no such node");
    }
    if (!known->online) {
        return g_strdup("not online");
    }
    if (known->standby) {
        return g_strdup("standby");
    }
    g_autofree char *state = model_node_attribute(model, node, STATE_ATTRIBUTE);
    return state == NULL ? g_strdup("says nothing: is the scanner started there?")
                         : text_escape(state, SHOWN);
}

char *
ready_serving(const struct model *model)
{
    const struct model_scanner *scanner = &model->scanner;
    if (scanner->promotable) {
        return g_strdup(scanner->promoted);
    }
    return scanner->started != NULL && scanner->started->len == 1
               ? g_strdup(g_ptr_array_index(scanner->started, 0))
               : NULL;
}
