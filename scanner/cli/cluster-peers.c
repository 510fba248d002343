/* SPDX-License-Identifier: GPL-2.0-only */
#include "cluster-peers.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "ask.h"
#include "peers.h"
#include "remote.h"
#include "rings.h"

#define COMMAND_S 60
#define MARK_DIGITS 16

/* Nothing of the keys but their names goes into it. */
static char *
mark_of(const struct peers *peers)
{
    g_autoptr(GString) text = g_string_new(NULL);
    for (guint i = 0; i < peers->keys->len; i++) {
        const struct peers_key *key = g_ptr_array_index(peers->keys, i);
        g_string_append_printf(text, "key %s\n", key->id);
    }
    for (guint i = 0; i < peers->nodes->len; i++) {
        const struct peer_node *node = g_ptr_array_index(peers->nodes, i);
        g_autofree char *addresses = g_strjoinv(" ", node->addresses);
        g_string_append_printf(text, "node %s %s\n", node->name, addresses);
    }
    char *mark = g_compute_checksum_for_string(G_CHECKSUM_SHA256, text->str, -1);
    mark[MARK_DIGITS] = '\0';
    return mark;
}

json_t *
cluster_peers_report(const char *path)
{
    g_autofree char *error = NULL;
    g_autoptr(peers_t) peers = NULL;
    int rc = peers_read(path, &peers, &error);
    if (rc < 0) {
        return json_pack("{s:s, s:n, s:s?}", "mark", rc == -ENOENT ? PEERS_MARK_NONE : "unreadable",
                         "nodes", "error", rc == -ENOENT ? NULL : error);
    }
    g_autofree char *mark = mark_of(peers);
    json_t *nodes = json_array();
    for (guint i = 0; i < peers->nodes->len; i++) {
        const struct peer_node *node = g_ptr_array_index(peers->nodes, i);
        json_array_append_new(nodes, json_string(node->name));
    }
    return json_pack("{s:s, s:o, s:n}", "mark", mark, "nodes", nodes, "error");
}

/* Whether REPORTS are not all of one file with the N members of the cluster. */
static gboolean
differ(const json_t *reports, guint n)
{
    const char *first = NULL;
    const char *node;
    const json_t *report;
    json_object_foreach((json_t *)(guintptr)reports, node, report)
    {
        const json_t *peers = json_object_get(report, "peers");
        const char *mark = ask_text(peers, "mark");
        first = first == NULL ? mark : first;
        if (mark == NULL || strcmp(mark, first) != 0 ||
            json_array_size(json_object_get(peers, "nodes")) != n) {
            return TRUE;
        }
    }
    return FALSE;
}

/* The keys of the file that is here; those of one that strangers could read are worth nothing. */
static struct peers *
own(const char *path, const char *self, gboolean is_fresh)
{
    g_autofree char *ignored = NULL;
    g_autoptr(peers_t) peers = NULL;
    if (peers_read(path, &peers, &ignored) < 0) {
        return peers_new(self);
    }
    if (is_fresh) {
        peers_renew_key(peers);
    }
    peers_drop_nodes(peers);
    return g_steal_pointer(&peers);
}

static int
add_nodes(struct peers *peers, char **error_r)
{
    g_autoptr(GPtrArray) rings = rings_read(error_r);
    for (guint i = 0; rings != NULL && i < rings->len; i++) {
        const struct ring_node *node = g_ptr_array_index(rings, i);
        if (peers_add(peers, node->name, node->addresses) < 0) {
            *error_r = g_strdup_printf("%s is no name that signatures can be given to", node->name);
            return -EINVAL;
        }
    }
    if (rings != NULL && peers_find(peers, peers->self) == NULL) {
        *error_r = g_strdup_printf("corosync's nodelist does not have this node, %s", peers->self);
        return -ENOENT;
    }
    return rings == NULL ? -ENOTCONN : 0;
}

/* Runs `postern cluster node peers WORD` on all of NODES at once. */
static int
tell(const GPtrArray *nodes, const char *word, const char *config, const char *input,
     char **error_r)
{
    const char *const argv[] = {"postern", "cluster", "node", "peers", word, NULL};
    g_autoptr(GPtrArray) words = remote_words(argv, config, NULL);
    g_autofree struct remote_job *jobs = g_new0(struct remote_job, nodes->len);
    int rc = 0;
    for (guint i = 0; i < nodes->len; i++) {
        jobs[i] = (struct remote_job){.node = g_ptr_array_index(nodes, i),
                                      .argv = (const char *const *)words->pdata,
                                      .input = input,
                                      .timeout_s = COMMAND_S};
    }
    remote_run_all(jobs, nodes->len);
    for (guint i = 0; i < nodes->len; i++) {
        if (jobs[i].result != 0 && rc == 0) {
            rc = jobs[i].result < 0 ? jobs[i].result : -EREMOTEIO;
            *error_r = g_strdup(jobs[i].error);
        }
        remote_job_clear(&jobs[i]);
    }
    return rc;
}

static int
give(const GPtrArray *nodes, const char *config, const struct peers *peers, char **error_r)
{
    char *text = peers_text(peers);
    int rc = tell(nodes, "set", config, text, error_r);
    explicit_bzero(text, strlen(text));
    g_free(text);
    return rc;
}

int
cluster_peers_give(struct cli *cli, const GPtrArray *nodes, const char *config, gboolean is_fresh,
                   char **error_r)
{
    const struct settings *settings = cli_settings(cli);
    if (settings == NULL) {
        *error_r = g_strdup("the configuration of this node is not correct");
        return -EINVAL;
    }
    g_autoptr(peers_t) peers = own(settings->share_peers, remote_local_node(), is_fresh);
    int rc = add_nodes(peers, error_r);
    if (rc == 0) {
        rc = give(nodes, config, peers, error_r);
    }
    /* Only when every one of the cluster's nodes has the new key the old one may go. */
    if (rc == 0 && peers->keys->len > 1 && nodes->len >= peers->nodes->len) {
        peers_drop_keys(peers);
        rc = give(nodes, config, peers, error_r);
    }
    return rc;
}

void
cluster_peers_drop(const GPtrArray *nodes, const char *config)
{
    g_autofree char *ignored = NULL;
    (void)tell(nodes, "drop", config, NULL, &ignored);
}

static guint
members(const struct model *model)
{
    guint n = 0;
    for (guint i = 0; i < model->nodes->len; i++) {
        n += ((const struct model_node *)g_ptr_array_index(model->nodes, i))->member ? 1 : 0;
    }
    return n;
}

const char *
cluster_peers_plan(const struct model *model, const json_t *reports)
{
    guint n = members(model);
    if (n < 2 || !differ(reports, n)) {
        return NULL;
    }
    return json_object_size(reports) == n
               ? "on every node: a key by which the nodes give each other signatures, so that one "
                 "of them fetches for all"
               : "not every node is reached, so none gets a key and each fetches its signatures by "
                 "itself; `postern cluster rekey` changes that";
}

void
cluster_peers_share(struct cli *cli, const struct model *model, const json_t *reports,
                    const char *config)
{
    g_autofree char *error = NULL;
    g_autoptr(GPtrArray) nodes = g_ptr_array_new();
    guint n = members(model);
    const char *node;
    const json_t *report;
    if (n < 2 || json_object_size(reports) != n || !differ(reports, n)) {
        return;
    }
    json_object_foreach((json_t *)(guintptr)reports, node, report)
    {
        g_ptr_array_add(nodes, (void *)(guintptr)node);
    }
    if (cluster_peers_give(cli, nodes, config, FALSE, &error) < 0) {
        cluster_peers_drop(nodes, config);
        cli_fail("the nodes have no common key, so each fetches its signatures: %s; `postern "
                 "cluster rekey` mends it",
                 error);
    } else if (!cli->json) {
        puts("Every node has the key by which they give each other signatures.");
    }
}
