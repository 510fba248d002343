/* SPDX-License-Identifier: GPL-2.0-only */
/* postern cluster wait */
#include "cluster-commands.h"

#include <stdio.h>
#include <jansson.h>

#include "ready.h"

#define LOOK_MS 700

struct options {
    char **nodes;
    gboolean all;
    gboolean promoted;
    int timeout;
};

struct waiting {
    char *node; /* the first that is not ready; NULL = all are */
    char *text; /* what it says */
};

static void
waiting_clear(struct waiting *w)
{
    g_clear_pointer(&w->node, g_free);
    g_clear_pointer(&w->text, g_free);
}

static gboolean
is_wanted(const struct options *o, const struct model_node *node)
{
    if (o->nodes != NULL) {
        return g_strv_contains((const char *const *)o->nodes, node->name);
    }
    return node->member;
}

/* One look. Names that are no nodes were found before. */
static void
look(const struct options *o, const struct model *model, struct waiting *w)
{
    g_autofree char *serving = ready_serving(model);
    unsigned ready = 0;
    for (guint i = 0; i < model->nodes->len; i++) {
        const struct model_node *node = g_ptr_array_index(model->nodes, i);
        if (!is_wanted(o, node)) {
            continue;
        }
        if (ready_node(model, node->name)) {
            ready++;
        } else if (w->node == NULL) {
            w->node = g_strdup(node->name);
            w->text = ready_text(model, node->name);
        }
    }
    if (o->nodes == NULL && !o->all && ready > 0) {
        waiting_clear(w);
    }
    if (o->promoted && w->node == NULL &&
        (serving == NULL || g_strcmp0(serving, model->active) != 0)) {
        w->node = g_strdup(serving != NULL ? serving : "no node");
        w->text = g_strdup(serving != NULL ? "the mail group is not there yet" : "serves");
    }
}

static int
nodes_check(const struct options *o, const struct model *model)
{
    if (model->scanner.primitive == NULL) {
        return cli_fail("the cluster has no scanner: `postern cluster setup`");
    }
    for (char **name = o->nodes; name != NULL && *name != NULL; name++) {
        gboolean known = FALSE;
        for (guint i = 0; i < model->nodes->len; i++) {
            const struct model_node *node = g_ptr_array_index(model->nodes, i);
            known |= g_strcmp0(node->name, *name) == 0;
        }
        if (!known) {
            return cli_fail("the cluster has no node %s", *name);
        }
    }
    return CLI_OK;
}

static void
tell(struct cli *cli, const struct waiting *w, gint64 began)
{
    double seconds = (double)(g_get_monotonic_time() - began) / G_USEC_PER_SEC;
    if (!cli->json) {
        if (w->node == NULL) {
            printf("ready after %.1f s\n", seconds);
        } else {
            printf("not ready after %.1f s: %s: %s\n", seconds, w->node, w->text);
        }
        return;
    }
    json_t *object = json_pack("{s:b, s:f, s:s?, s:s?}", "ready", w->node == NULL, "seconds",
                               seconds, "waiting_for", w->node, "says", w->text);
    json_dumpf(object, stdout, JSON_COMPACT);
    putchar('\n');
    json_decref(object);
}

/* The last answer counts: a cluster that cannot be asked for a moment is asked again. */
static int
wait_ready(struct cli *cli, const struct options *o)
{
    const gint64 began = g_get_monotonic_time();
    const gint64 end = began + (gint64)o->timeout * G_USEC_PER_SEC;
    g_autofree char *shown = NULL;
    for (;;) {
        g_autofree char *error = NULL;
        g_autoptr(model_t) model = NULL;
        struct waiting w = {0};
        gboolean over = g_get_monotonic_time() >= end;
        if (model_read(NULL, &model, &error) == 0) {
            if (nodes_check(o, model) != CLI_OK) {
                return CLI_ERROR;
            }
            look(o, model, &w);
            gboolean ready = w.node == NULL;
            if (ready || over) {
                tell(cli, &w, began);
                waiting_clear(&w);
                return ready ? CLI_OK : CLI_FOUND;
            }
            if (g_strcmp0(shown, w.text) != 0) {
                fprintf(stderr, "%s: %s\n", w.node, w.text);
                g_free(shown);
                shown = g_strdup(w.text);
            }
            waiting_clear(&w);
        } else if (over || shown == NULL) {
            return cli_fail("%s", error);
        }
        g_usleep(LOOK_MS * 1000);
    }
}

int
cluster_wait(struct cli *cli, int argc, char **argv)
{
    struct options o = {.timeout = 300};
    const GOptionEntry entries[] = {
        {"node", 'n', 0, G_OPTION_ARG_STRING_ARRAY, &o.nodes, "For this node; may be repeated",
         "NODE"},
        {"all", 'a', 0, G_OPTION_ARG_NONE, &o.all, "For all nodes (default: for any)", NULL},
        {"promoted", 'p', 0, G_OPTION_ARG_NONE, &o.promoted,
         "And until the scanner serves where the mail group runs", NULL},
        {"timeout", 't', 0, G_OPTION_ARG_INT, &o.timeout, "Give up after (300)", "SECONDS"},
        {NULL, 0, 0, G_OPTION_ARG_NONE, NULL, NULL, NULL},
    };
    int rc = CLI_ERROR;
    if (cli_options(cli, entries, "", "Waits until scanners can give verdicts at once.", &argc,
                    &argv)) {
        if (o.nodes != NULL && o.all) {
            rc = cli_fail("--node and --all exclude each other");
        } else {
            rc = o.timeout < 0 ? cli_fail("--timeout must not be below 0") : wait_ready(cli, &o);
        }
    }
    g_strfreev(o.nodes);
    return rc;
}
