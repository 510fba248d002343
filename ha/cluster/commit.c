/* SPDX-License-Identifier: GPL-2.0-only */
#include "commit.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cib.h"
#include "durable.h"
#include "scratch.h"
#include "tool.h"

#define TOOL_MS 60000
/* cibadmin: "Update was older than existing configuration" (CRM_EX_OLD). */
#define EXIT_OLD 103
/* crm_diff: there is a difference (CRM_EX_ERROR stands for it). */
#define EXIT_DIFFERENT 1
/* The cluster's state changes all the time; each change between reading and writing costs a try. */
#define TRIES 20

static void
raise_epoch(xmlDoc *cib)
{
    xmlNode *root = xmlDocGetRootElement(cib);
    g_autofree char *epoch = cib_attribute(root, "epoch");
    g_autofree char *next =
        g_strdup_printf("%lu", (epoch != NULL ? strtoul(epoch, NULL, 10) : 0) + 1);
    xmlSetProp(root, (const xmlChar *)"epoch", (const xmlChar *)next);
    xmlSetProp(root, (const xmlChar *)"num_updates", (const xmlChar *)"0");
}

xmlDoc *
commit_preview(const xmlDoc *cib, plan_edit *edit, const void *data)
{
    xmlDoc *copy = xmlCopyDoc((xmlDoc *)(guintptr)cib, 1);
    edit(copy, data);
    return copy;
}

static int
difference(xmlDoc *old, xmlDoc *new, char **patch_r, char **error_r)
{
    g_autofree char *old_path = scratch_file(old, error_r);
    g_autofree char *new_path = old_path == NULL ? NULL : scratch_file(new, error_r);
    int rc = -EIO;
    if (new_path != NULL) {
        const char *const argv[] = {TOOL_CRM_DIFF, "--original", old_path, "--new", new_path, NULL};
        g_autofree char *said = NULL;
        rc = tool_output(argv, NULL, NULL, TOOL_MS, patch_r, &said);
        if (rc != EXIT_DIFFERENT) {
            *error_r = g_strdup(said != NULL ? said : TOOL_CRM_DIFF " finds no difference");
            rc = rc < 0 ? rc : -EREMOTEIO;
        }
        scratch_remove(new_path);
    }
    if (old_path != NULL) {
        scratch_remove(old_path);
    }
    return rc < 0 ? rc : 0;
}

/*
 * The cluster raises the epoch by itself once more when it takes a patch, so it is asked which one
 * it has now; that must be of what was written.
 */
static int
read_back(xmlDoc *written, char **epoch_r, char **error_r)
{
    g_autoptr(cib_doc_t) now = NULL;
    int rc = cib_read(&now, error_r);
    if (rc < 0) {
        *epoch_r = g_strdup("unknown");
        return rc;
    }
    g_autofree char *wanted = cib_configuration(written);
    g_autofree char *have = cib_configuration(now);
    *epoch_r = cib_epoch(now);
    if (strcmp(wanted, have) != 0) {
        *error_r = g_strdup("the cluster's configuration was changed at the same moment");
        return -ESTALE;
    }
    return 0;
}

/* 1: the state has changed meanwhile, try again. */
static int
try_once(const char *epoch, plan_edit *edit, const void *data, char **epoch_r, char **error_r)
{
    static const char *const argv[] = {TOOL_CIBADMIN, "--patch", "--xml-pipe", NULL};
    g_autoptr(cib_doc_t) old = NULL;
    g_autofree char *patch = NULL;
    g_autofree char *said = NULL;
    int rc = cib_read(&old, error_r);
    if (rc < 0) {
        return rc;
    }
    g_autofree char *now = cib_epoch(old);
    if (strcmp(now, epoch) != 0) {
        *error_r = g_strdup_printf("the cluster's configuration was changed meanwhile (version %s, "
                                   "not %s)",
                                   now, epoch);
        return -ESTALE;
    }
    g_autoptr(cib_doc_t) new = commit_preview(old, edit, data);
    raise_epoch(new);
    rc = difference(old, new, &patch, error_r);
    if (rc < 0) {
        return rc;
    }
    rc = tool_output(argv, NULL, patch, TOOL_MS, NULL, &said);
    if (rc == EXIT_OLD) {
        return 1;
    }
    if (rc != 0) {
        /* Of a tool that did not end by itself nobody knows what it has done. */
        *epoch_r = rc < 0 ? g_strdup("unknown") : NULL;
        *error_r = g_strdup_printf("the cluster does not take the change: %s", said);
        return rc < 0 ? rc : -EREMOTEIO;
    }
    return read_back(new, epoch_r, error_r);
}

int
commit_edit(char **epoch, plan_edit *edit, const void *data, char **error_r)
{
    char *next = NULL;
    int rc = 1;
    for (int i = 0; i < TRIES && rc == 1; i++) {
        rc = try_once(*epoch, edit, data, &next, error_r);
    }
    if (rc == 1) {
        *error_r = g_strdup("the cluster's state changes too fast for a change of its "
                            "configuration; try again when it is at rest");
        return -EBUSY;
    }
    if (next != NULL) {
        g_free(*epoch);
        *epoch = next;
    }
    return rc;
}

int
commit_settle(unsigned timeout_s, char **error_r)
{
    g_autofree char *limit = g_strdup_printf("--timeout=%us", timeout_s);
    const char *const argv[] = {TOOL_CRM_RESOURCE, "--wait", limit, NULL};
    g_autofree char *said = NULL;
    int rc = tool_output(argv, NULL, NULL, (int)(timeout_s + 30) * 1000, NULL, &said);
    if (rc != 0) {
        *error_r = g_strdup_printf("the cluster does not come to rest: %s", said);
        return rc < 0 ? rc : -ETIMEDOUT;
    }
    return 0;
}

void
commit_forget(const char *resource, const GPtrArray *nodes)
{
    const char *const argv[] = {TOOL_CRM_RESOURCE, "--cleanup", "--resource", resource, NULL};
    g_autofree char *score = g_strconcat("master-", resource, NULL);
    g_autofree char *said = NULL;
    (void)tool_run(argv, TOOL_MS, &said);
    for (guint i = 0; i < nodes->len; i++) {
        const char *node = g_ptr_array_index(nodes, i);
        const char *const clear[] = {TOOL_ATTRD_UPDATER, "-n", score, "-D", "-N", node, NULL};
        g_clear_pointer(&said, g_free);
        (void)tool_run(clear, TOOL_MS, &said);
    }
}

char *
commit_backup(xmlDoc *cib, const char *dir, char **error_r)
{
    g_autoptr(GDateTime) now = g_date_time_new_now_local();
    g_autofree char *stamp = g_date_time_format(now, "%Y%m%d-%H%M%S");
    g_autofree char *path = NULL;
    g_autofree char *text = cib_text(cib);
    int rc = durable_private_dir(dir);
    if (rc < 0) {
        *error_r = g_strdup_printf("%s cannot be made: %s", dir, g_strerror(-rc));
        return NULL;
    }
    for (int i = 0; path == NULL; i++) { /* two in one second */
        g_autofree char *name = i == 0 ? g_strdup_printf("cib-%s.xml", stamp)
                                       : g_strdup_printf("cib-%s-%d.xml", stamp, i);
        g_autofree char *there = g_build_filename(dir, name, NULL);
        if (!g_file_test(there, G_FILE_TEST_EXISTS)) {
            path = g_steal_pointer(&there);
        }
    }
    return scratch_write(path, text, error_r) < 0 ? NULL : g_steal_pointer(&path);
}
