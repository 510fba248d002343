/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * postern-recheck RESOURCE NODE: has the cluster's recurring monitor of RESOURCE run now instead of
 * at its next turn, so that a failure that postern-notify has seen reaches the cluster at once and
 * with the agent's own reason (crm_resource -F knows but one, "Simulated failure", and mostly
 * counts it twice).
 *
 * pacemaker-execd runs a recurring operation at once when it is asked for a second time, and
 * reports the result to pacemaker-controld under what the last request brought along
 * (merge_recurring_duplicate() in daemons/execd/execd_commands.c). So that the report is
 * understood, the request has the transition key that the operation has in the CIB.
 *
 * A program of its own: it links Pacemaker's libraries, which postern-notify is not to carry all
 * the time, and may hang with the daemons that it asks, where it is killed.
 * Exit codes: 0 asked for; 1 there is no such operation now, or the daemons do not answer;
 * RECHECK_UNKNOWN.
 */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <glib.h>
#include <libxml/tree.h>
#include <crm/cib.h>
#include <crm/lrmd.h>

#include "recheck.h"

#define NAME "postern-recheck"
#define MONITOR "monitor"
#define CALL_TIMEOUT_MS 5000
#define NAME_CHARACTERS                                              \
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789" \
    "._-"

struct recheck {
    const char *resource;
    const char *node;
    guint interval_ms;
    int timeout_ms;
    char *key;
};

static int
complain(const char *what, const char *why)
{
    fprintf(stderr, NAME ": %s: %s\n", what, why);
    return EXIT_FAILURE;
}

/* The recurring monitor that the executor has for the resource; there is one for each role, and
 * only that of the present role is there. */
static bool
operation_find(lrmd_t *lrmd, struct recheck *recheck)
{
    GList *operations = NULL;
    int rc = lrmd->cmds->get_recurring_ops(lrmd, recheck->resource, CALL_TIMEOUT_MS, lrmd_opt_none,
                                           &operations);
    for (const GList *at = rc == 0 ? operations : NULL; at != NULL; at = at->next) {
        const lrmd_op_info_t *info = at->data;
        guint64 interval = g_ascii_strtoull(info->interval_ms_s, NULL, 10);
        if (g_strcmp0(info->action, MONITOR) == 0 && interval > 0 &&
            (recheck->interval_ms == 0 || interval < recheck->interval_ms)) {
            recheck->interval_ms = (guint)interval;
            recheck->timeout_ms = (int)g_ascii_strtoll(info->timeout_ms_s, NULL, 10);
        }
    }
    return recheck->interval_ms > 0;
}

static char *
attribute(xmlNode *node, const char *name)
{
    xmlChar *value = xmlGetProp(node, (const xmlChar *)name);
    char *copy = g_strdup((const char *)value);
    xmlFree(value);
    return copy;
}

/* 0 and the first element that PATH finds in the CIB, -ENXIO if there is none, or what keeps from
 * asking; what the answer of the CIB holds lives to the end. */
static int
cib_find(const char *path, xmlNode **found)
{
    cib_t *cib = cib_new();
    int rc = cib != NULL ? cib->cmds->signon(cib, NAME, cib_query) : -ENOMEM;
    if (rc == 0) {
        rc = cib->cmds->query(cib, path, found, cib_xpath | cib_sync_call);
        (void)cib->cmds->signoff(cib);
    }
    cib_delete(cib);
    return rc == 0 && *found == NULL ? -ENXIO : rc;
}

/* The transition key of the operation (not that of a failure that nobody has cleaned up: then there
 * were two). */
static bool
key_find(struct recheck *recheck)
{
    g_autofree char *path =
        g_strdup_printf("//node_state[@uname='%s']//lrm_resource[@id='%s']"
                        "/lrm_rsc_op[@operation='" MONITOR "' and @interval='%u' and @op-status='0'"
                        " and not(contains(@id, '_last_failure_'))]",
                        recheck->node, recheck->resource, recheck->interval_ms);
    xmlNode *found = NULL;
    recheck->key = cib_find(path, &found) == 0 ? attribute(found, "transition-key") : NULL;
    return recheck->key != NULL;
}

/* Why there is no recurring monitor; a probe under way (op-status -1) is no record yet. */
static int
without_monitor(const struct recheck *recheck)
{
    g_autofree char *path = g_strdup_printf("//node_state[@uname='%s' and @join='member']"
                                            "//lrm_resource[@id='%s']/lrm_rsc_op[@op-status >= 0]",
                                            recheck->node, recheck->resource);
    xmlNode *found = NULL;
    if (cib_find(path, &found) == -ENXIO) {
        (void)complain(recheck->resource, "the cluster has yet to ask what runs here");
        return RECHECK_UNKNOWN;
    }
    return complain(recheck->resource, "it has no recurring monitor now");
}

static int
run(struct recheck *recheck)
{
    lrmd_t *lrmd = lrmd_api_new();
    int rc = lrmd->cmds->connect(lrmd, NAME, NULL);
    if (rc != 0) {
        return complain("pacemaker-execd cannot be reached", g_strerror(abs(rc)));
    }
    if (!operation_find(lrmd, recheck)) {
        return without_monitor(recheck);
    }
    if (!key_find(recheck)) {
        return complain(recheck->resource, "the CIB does not know its monitor");
    }
    rc = lrmd->cmds->exec(lrmd, recheck->resource, MONITOR, recheck->key, recheck->interval_ms,
                          recheck->timeout_ms, 0, lrmd_opt_notify_changes_only, NULL);
    if (rc < 0) {
        return complain("pacemaker-execd", g_strerror(abs(rc)));
    }
    (void)lrmd->cmds->disconnect(lrmd);
    lrmd_api_delete(lrmd);
    return EXIT_SUCCESS;
}

/* Both become part of an XPath. */
static bool
is_plain(const char *name)
{
    return *name != '\0' && name[strspn(name, NAME_CHARACTERS)] == '\0';
}

int
main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "--version") == 0) {
        puts(NAME " " PACKAGE_VERSION);
        return EXIT_SUCCESS;
    }
    if (argc != 3 || !is_plain(argv[1]) || !is_plain(argv[2])) {
        fprintf(stderr, "usage: " NAME " RESOURCE NODE\n");
        return EXIT_FAILURE;
    }
    struct recheck recheck = {.resource = argv[1], .node = argv[2]};
    int rc = run(&recheck);
    g_free(recheck.key);
    return rc;
}
