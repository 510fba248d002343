/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The cluster's configuration, as far as it can undo what Postern promises. Read with cibadmin,
 * nothing is changed; CIB_file=FILE looks at a saved one.
 */
#include "doctor.h"

#include <string.h>
#include <libxml/parser.h>
#include <libxml/xpath.h>

#include "drill-rule.h"
#include "program.h"

/* The scanner's promotable clone, or what it is in; and everything below it. */
#define SCANNER "//primitive[@provider='postern'][@type='scanner']"

struct cib {
    struct doctor *doctor;
    xmlXPathContext *context;
    char *clone; /* id of the scanner's clone, or of the scanner alone */
};

/* The value of the first match of an XPath expression; NULL = none; g_free(). */
static char *find(const struct cib *cib, const char *format, ...) G_GNUC_PRINTF(2, 3);

static char *
find(const struct cib *cib, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    g_autofree char *path = g_strdup_vprintf(format, args);
    va_end(args);
    xmlXPathObject *object = xmlXPathEvalExpression((const xmlChar *)path, cib->context);
    char *value = NULL;
    if (object != NULL && !xmlXPathNodeSetIsEmpty(object->nodesetval)) {
        xmlChar *text = xmlNodeGetContent(object->nodesetval->nodeTab[0]);
        value = g_strdup((const char *)text);
        xmlFree(text);
    }
    xmlXPathFreeObject(object);
    return value;
}

static char *
property(const struct cib *cib, const char *name)
{
    return find(cib, "//crm_config//nvpair[@name='%s']/@value", name);
}

static gboolean
is_false(const char *value)
{
    static const char *const words[] = {"false", "off", "no", "n", "0", NULL};
    return value != NULL && g_strv_contains(words, value);
}

static void
check_fencing(const struct cib *cib)
{
    g_autofree char *enabled = property(cib, "stonith-enabled");
    g_autofree char *device = find(cib, "//resources//primitive[@class='stonith']/@id");
    if (is_false(enabled)) {
        doctor_add(cib->doctor, DOCTOR_PROBLEM, "cluster.fencing", "stonith-enabled",
                   "configure fencing and set it to true",
                   "%s: after a split two nodes can mount the state at once, and it is destroyed",
                   enabled);
    } else if (device == NULL) {
        doctor_add(cib->doctor, DOCTOR_PROBLEM, "cluster.fencing", "resources",
                   "add a fencing resource for each node",
                   "no fencing device is configured: a lost node can never be taken over");
    } else {
        doctor_add(cib->doctor, DOCTOR_OK, "cluster.fencing", device, NULL,
                   "fencing is on, and there is a device");
    }
}

static void
check_quorum(const struct cib *cib)
{
    g_autofree char *policy = property(cib, "no-quorum-policy");
    g_autofree char *maintenance = property(cib, "maintenance-mode");
    if (g_strcmp0(policy, "ignore") == 0) {
        doctor_add(cib->doctor, DOCTOR_WARNING, "cluster.quorum", "no-quorum-policy",
                   "set it to stop, with two_node in corosync.conf for two nodes",
                   "ignore: both halves of a split cluster start the mail");
    }
    if (maintenance != NULL && !is_false(maintenance)) {
        doctor_add(cib->doctor, DOCTOR_WARNING, "cluster.maintenance", "maintenance-mode",
                   "set it to false when the work is done", "the cluster looks after nothing now");
    }
}

static gboolean
is_infinite(const char *score)
{
    static const char *const words[] = {"INFINITY", "+INFINITY", "infinity", "1000000", NULL};
    return g_strv_contains(words, score);
}

static void
check_colocation(const struct cib *cib)
{
    g_autofree char *id = find(
        cib,
        "//rsc_colocation[@with-rsc='%s'][@with-rsc-role='Promoted' or @with-rsc-role='Master']"
        "/@id",
        cib->clone);
    g_autofree char *set = find(cib,
                                "//rsc_colocation/resource_set[@role='Promoted' or @role='Master']"
                                "[resource_ref/@id='%s']/@id",
                                cib->clone);
    g_autofree char *score = find(cib, "//rsc_colocation[@id='%s']/@score", id == NULL ? "" : id);
    if (score != NULL && !is_infinite(score)) {
        doctor_add(cib->doctor, DOCTOR_PROBLEM, "cluster.colocation", id, "set it to INFINITY",
                   "its score is %s: a move can leave mail on another node than the scanner",
                   score);
    } else if (id == NULL && set == NULL) {
        doctor_add(cib->doctor, DOCTOR_PROBLEM, "cluster.colocation", cib->clone,
                   "colocate the mail group with its Promoted role, see ocf_postern_scanner(7)",
                   "no colocation names its promoted instance: mail can be on another node than "
                   "the scanner");
    } else {
        doctor_add(cib->doctor, DOCTOR_OK, "cluster.colocation", id != NULL ? id : set, NULL,
                   "the mail is where the promoted instance is");
    }
}

/* The scanner serves from state_dir, so its file system has to be there first. */
static void
check_mount_order(const struct cib *cib)
{
    g_autofree char *id = find(cib,
                               "//rsc_order[@then='%s'][@then-action='promote']/@id"
                               " | //rsc_order/resource_set[@action='promote']"
                               "[resource_ref/@id='%s']/@id",
                               cib->clone, cib->clone);
    if (id == NULL) {
        doctor_add(cib->doctor, DOCTOR_PROBLEM, "cluster.order", cib->clone,
                   "add the order of the file system's start before its promotion, see "
                   "ocf_postern_scanner(7)",
                   "nothing is ordered before its promotion: it can be promoted before the file "
                   "system of state_dir is mounted, which fails");
    }
}

static void
check_order(const struct cib *cib)
{
    g_autofree char *kind =
        find(cib, "//rsc_order[@first='%s'][@first-action='promote']/@kind", cib->clone);
    g_autofree char *id =
        find(cib, "//rsc_order[@first='%s'][@first-action='promote']/@id", cib->clone);
    if (id != NULL && g_strcmp0(kind, "Optional") != 0) {
        doctor_add(cib->doctor, DOCTOR_WARNING, "cluster.order", id, "set kind=Optional",
                   "%s: each recovery of the scanner in place restarts the mail server too",
                   kind == NULL ? "Mandatory" : kind);
    } else if (id == NULL) {
        doctor_add(cib->doctor, DOCTOR_WARNING, "cluster.order", cib->clone,
                   "add the order of its promotion before the mail server's start, kind=Optional, "
                   "see ocf_postern_scanner(7)",
                   "no order names its promotion first: in a failover the mail server starts "
                   "before the scanner, and mail gets 451 meanwhile");
    } else {
        doctor_add(cib->doctor, DOCTOR_OK, "cluster.order", id, NULL,
                   "the mail server does not restart with the scanner");
    }
}

/* A sum that is too high keeps the mail on a node whose engine is dead: ha/score.h. */
static void
check_stickiness(const struct cib *cib)
{
    g_autofree char *all = find(cib, "//rsc_defaults//nvpair[@name='resource-stickiness']/@value");
    g_autofree char *own =
        find(cib, "//resources//meta_attributes/nvpair[@name='resource-stickiness']"
                  "[@value='INFINITY' or @value='+INFINITY' or @value='1000000']/@id");
    if (own != NULL || g_strcmp0(all, "INFINITY") == 0 || g_strcmp0(all, "+INFINITY") == 0) {
        doctor_add(cib->doctor, DOCTOR_PROBLEM, "cluster.stickiness",
                   own != NULL ? own : "rsc_defaults", "set it to 1 to 1000",
                   "resource-stickiness is INFINITY: the mail never leaves a node whose scanner "
                   "cannot give verdicts");
    } else {
        doctor_add(cib->doctor, DOCTOR_OK, "cluster.stickiness", "resource-stickiness", NULL, "%s",
                   all == NULL ? "not set for all" : all);
    }
}

/* Without an end of the failures a node that failed once never serves again. */
static void
check_failures(const struct cib *cib)
{
    g_autofree char *threshold = find(cib, "(" SCANNER "/ancestor-or-self::*/meta_attributes/nvpair"
                                           "[@name='migration-threshold'] | //rsc_defaults//nvpair"
                                           "[@name='migration-threshold'])/@value");
    g_autofree char *timeout = find(cib, "(" SCANNER "/ancestor-or-self::*/meta_attributes/nvpair"
                                         "[@name='failure-timeout'] | //rsc_defaults//nvpair"
                                         "[@name='failure-timeout'])/@value");
    if (threshold != NULL && timeout == NULL) {
        doctor_add(cib->doctor, DOCTOR_WARNING, "cluster.failure-timeout", cib->clone,
                   "set failure-timeout=10min",
                   "migration-threshold is %s without a failure-timeout: failures add up for ever, "
                   "and in the end no node is left",
                   threshold);
    } else {
        doctor_add(cib->doctor, DOCTOR_OK, "cluster.failure-timeout", cib->clone, NULL,
                   "failures do not add up for ever");
    }
}

/* Pacemaker looks at it on the clone alone: without it a red node's instance is stopped, and there
 * is nobody left to say that the node is well again. */
static void
check_unhealthy(const struct cib *cib)
{
    g_autofree char *strategy = property(cib, "node-health-strategy");
    g_autofree char *allowed =
        find(cib,
             "//*[@id='%s']/meta_attributes/nvpair[@name='allow-unhealthy-nodes']"
             "[@value='true']/@id",
             cib->clone);
    if (allowed == NULL) {
        gboolean acts = strategy != NULL && strcmp(strategy, "none") != 0;
        doctor_add(cib->doctor, acts ? DOCTOR_PROBLEM : DOCTOR_WARNING, "cluster.unhealthy",
                   cib->clone, "set allow-unhealthy-nodes=true on it, not on the primitive inside",
                   "node-health-strategy is %s: on a red node the engine %s stopped, and never "
                   "comes back by itself",
                   strategy != NULL ? strategy : "none", acts ? "is" : "would be");
    }
}

static void
check_monitor(const struct cib *cib)
{
    g_autofree char *id = find(
        cib, SCANNER "/operations/op[@name='monitor'][@role='Promoted' or @role='Master']/@id");
    g_autofree char *part =
        find(cib, SCANNER "/instance_attributes/nvpair[@name='part'][@value='engine']/@id");
    if (id == NULL && part == NULL && strstr(cib->clone, "clone") != NULL) {
        doctor_add(cib->doctor, DOCTOR_WARNING, "cluster.monitor", cib->clone,
                   "add op monitor role=Promoted interval=7s",
                   "the promoted instance has no monitor: its death is only seen by "
                   "postern-notify");
    }
}

/* A drill that was killed together with its guard leaves something for a while. */
static void
check_drill(const struct cib *cib)
{
    g_auto(GStrv) left = drill_rule_left(cib->context->doc);
    for (char **text = left; *text != NULL; text++) {
        doctor_add(cib->doctor, DOCTOR_WARNING, "cluster.drill", "constraints",
                   "`postern cluster drill --clear`, unless a drill runs now",
                   "of a drill there is left: %s", *text);
    }
}

/* What a check needs to be there. */
enum needs { NEEDS_CLUSTER, NEEDS_SCANNER, NEEDS_ROLES };

static const struct {
    enum needs needs;
    void (*check)(const struct cib *cib);
} checks[] = {
    {NEEDS_CLUSTER, check_fencing},  {NEEDS_CLUSTER, check_quorum},
    {NEEDS_ROLES, check_colocation}, {NEEDS_ROLES, check_mount_order},
    {NEEDS_ROLES, check_order},      {NEEDS_SCANNER, check_stickiness},
    {NEEDS_SCANNER, check_failures}, {NEEDS_ROLES, check_monitor},
    {NEEDS_ROLES, check_unhealthy},  {NEEDS_CLUSTER, check_drill},
};

/* The clone that serves; an anonymous one with part=engine beside a primitive does not. */
static enum needs
find_scanner(struct cib *cib)
{
    cib->clone = find(cib, SCANNER "/ancestor::master/@id | " SCANNER
                                   "/ancestor::clone[meta_attributes/nvpair[@name='promotable']"
                                   "[@value='true' or @value='1' or @value='yes' or @value='on']]"
                                   "/@id");
    if (cib->clone != NULL) {
        return NEEDS_ROLES;
    }
    cib->clone = find(cib, SCANNER "[not(ancestor::clone)]/@id | " SCANNER "/ancestor::clone/@id");
    return cib->clone != NULL ? NEEDS_SCANNER : NEEDS_CLUSTER;
}

static void
check_document(struct doctor *doctor, xmlDoc *document)
{
    struct cib cib = {.doctor = doctor, .context = xmlXPathNewContext(document)};
    enum needs there = find_scanner(&cib);
    if (cib.clone == NULL) {
        doctor_add(doctor, DOCTOR_WARNING, "cluster.resource", "resources",
                   "see EXAMPLES in ocf_postern_scanner(7)",
                   "the cluster has no resource ocf:postern:scanner");
    }
    for (size_t i = 0; i < G_N_ELEMENTS(checks); i++) {
        if (checks[i].needs <= there) {
            checks[i].check(&cib);
        }
    }
    g_free(cib.clone);
    xmlXPathFreeContext(cib.context);
}

void
doctor_cluster(struct doctor *doctor)
{
    const char *const argv[] = {"cibadmin", "--query", "--local", NULL};
    g_autofree char *error = NULL;
    if (!doctor_has_cluster()) {
        return;
    }
    g_autofree char *text = program_output(argv, &error);
    if (text == NULL) {
        doctor_add(doctor, DOCTOR_UNCHECKED, "cluster.cib", "Pacemaker",
                   "run this as root, or as a user in group haclient",
                   "its configuration cannot be read: %s", error);
        return;
    }
    xmlDoc *document = xmlReadMemory(text, (int)strlen(text), NULL, NULL,
                                     XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING);
    if (document == NULL) {
        doctor_add(doctor, DOCTOR_UNCHECKED, "cluster.cib", "Pacemaker", NULL,
                   "cibadmin did not print XML");
        return;
    }
    check_document(doctor, document);
    xmlFreeDoc(document);
}
