/* SPDX-License-Identifier: GPL-2.0-only */
#include "cluster-judge.h"

#include <math.h>
#include <string.h>

#include "ask.h"
#include "cluster-page.h"
#include "doctor.h"
#include "remote.h"
#include "score.h"

#define CLOCK_SECONDS 5

/* "a.b" in the report: what should be the same everywhere. */
static const struct {
    const char *path;
    const char *what;
    const char *todo;
    gboolean is_note; /* a difference for some time is usual: of updates */
} same[] = {
    {"postern", "version of Postern", "install the same on all nodes", FALSE},
    {"config.sha256", "configuration",
     "run `postern cluster push-config` on the node that has the right one", FALSE},
    {"libclamav", "version of libclamav", "install the same on all nodes", FALSE},
    {"pacemaker", "version of Pacemaker", "install the same on all nodes", FALSE},
    {"users.postern", "numbers of user postern",
     "give it the same number everywhere: the state on the shared storage is its", FALSE},
    {"state_formats", "forms of the state", "install the same on all nodes", FALSE},
    {"signatures.generation", "signatures",
     "a new set comes to one node after the other; if it stays so, see `postern signatures status` "
     "on each",
     TRUE},
    {"peers.mark", "key and addresses for the giving of signatures", "`postern cluster rekey`",
     FALSE},
    {"update_on", "update_on", "run `postern cluster push-config` on the node that has it right",
     FALSE},
};

G_GNUC_PRINTF(5, 6)
static void
find(json_t *page, const char *level, const char *where, const char *todo, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    g_autofree char *what = g_strdup_vprintf(format, args);
    va_end(args);
    json_array_append_new(json_object_get(page, "findings"),
                          json_pack("{s:s, s:s, s:s, s:s?}", "level", level, "where", where, "what",
                                    what, "todo", todo));
}

/* As text, to compare and to show; NULL: this node does not say. g_free(). */
static char *
value_at(const json_t *report, const char *path)
{
    g_auto(GStrv) words = g_strsplit(path, ".", -1);
    for (char **word = words; *word != NULL; word++) {
        report = json_object_get(report, *word);
    }
    if (report == NULL) {
        return NULL;
    }
    return json_is_string(report) ? g_strdup(json_string_value(report))
                                  : json_dumps(report, JSON_ENCODE_ANY | JSON_COMPACT);
}

static void
compare(json_t *page, const char *path, const char *what, const char *todo, gboolean is_note)
{
    json_t *values = json_object();
    g_autofree char *first = NULL;
    gboolean differs = FALSE;
    size_t i;
    const json_t *node;
    json_array_foreach(json_object_get(page, "nodes"), i, node)
    {
        g_autofree char *value = value_at(json_object_get(node, "report"), path);
        if (value == NULL) {
            continue;
        }
        json_object_set_new(values, ask_text(node, "name"), json_string(value));
        differs = differs || (first != NULL && strcmp(first, value) != 0);
        if (first == NULL) {
            first = g_steal_pointer(&value);
        }
    }
    if (differs) {
        json_array_append_new(json_object_get(page, "differences"),
                              json_pack("{s:s, s:s, s:O, s:s, s:b}", "what", what, "path", path,
                                        "values", values, "todo", todo, "note", is_note));
    }
    json_decref(values);
}

static gboolean
is(const json_t *object, const char *name)
{
    return json_is_true(json_object_get(object, name));
}

/* What the cluster manager says of one node. */
static void
judge_membership(json_t *page, const json_t *node, const char *name)
{
    if (!is(node, "online")) {
        find(page, "problem", name, "bring it back", "%s",
             is(node, "unclean") ? "is lost and was not fenced yet" : "is offline");
        return;
    }
    if (is(node, "standby")) {
        find(page, "warning", name, "`pcs node unstandby` or `crm node online` when it may serve",
             "is in standby: it cannot take over");
    }
    if (is(node, "maintenance")) {
        find(page, "warning", name, "end the maintenance when the work is done",
             "is in maintenance: the cluster looks after nothing on it");
    }
    const char *health = ask_text(node, "health");
    if (health != NULL && strcmp(health, "green") != 0) {
        find(page, "warning", name, "see the attributes #health-* in `crm_mon -A`",
             "its health is %s", health);
    }
}

static void
judge_readiness(json_t *page, const json_t *node, const char *name)
{
    const char *state = ask_text(node, "state");
    const json_t *score = json_object_get(node, "score");
    gboolean has_role = ask_text(node, "role") != NULL;
    const json_t *resource = json_object_get(page, "resource");
    if (!is(node, "online") || is(node, "standby") || json_is_null(resource)) {
        return;
    }
    if (!has_role) {
        find(page, "problem", name, "`crm_resource --why` says what keeps it from running there",
             "no engine of the scanner runs there");
    } else if (json_is_integer(score) && json_integer_value(score) < SCORE_READY) {
        find(page, "warning", name, NULL, "is not ready: %s", state == NULL ? "no reason" : state);
    }
}

/* A report is made between the question and the last answer. */
static void
judge_clock(json_t *page, const char *name, double clock)
{
    double begin = (double)json_integer_value(json_object_get(page, "time"));
    double end = (double)json_integer_value(json_object_get(page, "until")) + 1;
    double off = clock < begin ? clock - begin : clock > end ? clock - end : 0;
    if (fabs(off) > CLOCK_SECONDS) {
        find(page, "warning", name, "let chrony or ntpd set it", "its clock is %.0f s off", off);
    }
}

static void
judge_report(json_t *page, const json_t *node, const char *name)
{
    const json_t *report = json_object_get(node, "report");
    const char *wrong = ask_text(json_object_get(report, "config"), "error");
    if (!json_is_object(report)) {
        if (is(node, "online")) {
            find(page, "unchecked", name,
                 "let root log in from here by key, as setup wants it, or run this on that node",
                 "%s", ask_text(node, "error"));
        }
        return;
    }
    if (wrong != NULL) {
        find(page, "problem", name, "mend it: posternd will not start there", "%s", wrong);
    }
    if (is(json_object_get(report, "engine"), "test_only")) {
        find(page, "problem", name, "`postern signatures update` there, or `add`",
             "only the test signatures are loaded: no real virus is found");
    }
    judge_clock(page, name, json_number_value(json_object_get(report, "clock")));
}

/* A node that cannot have the signatures of the one that fetches. */
static void
judge_share(json_t *page, const json_t *node, const char *name)
{
    const json_t *report = json_object_get(node, "report");
    const json_t *share = json_object_get(report, "share");
    const char *wrong = ask_text(json_object_get(report, "peers"), "error");
    const char *error = ask_text(share, "error");
    const char *reason =
        ask_text(json_object_get(json_object_get(share, "here"), "given"), "reason");
    const char *state = ask_text(json_object_get(json_object_get(share, "here"), "given"), "state");
    static const char *const units[] = {"postern-share.service", "postern-update.service"};
    for (size_t i = 0; i < G_N_ELEMENTS(units); i++) {
        const json_t *unit = json_object_get(json_object_get(report, "units"), units[i]);
        const char *active = ask_text(unit, "active");
        if (ask_text(node, "role") != NULL && active != NULL && is(unit, "present") &&
            strcmp(active, "active") != 0) {
            find(page, "warning", name,
                 "`journalctl -u` it there; the next start of the resource "
                 "starts it too",
                 "%s is %s: no new signatures come", units[i], active);
        }
    }
    if (wrong != NULL) {
        find(page, "warning", name, "`postern cluster rekey`", "%s", wrong);
    }
    if (error != NULL) {
        find(page, "warning", name, "`journalctl -u postern-share` there",
             "gets no new signatures from the other nodes: %s", error);
    }
    if (g_strcmp0(state, "rejected") == 0) {
        find(page, "warning", name, "`postern signatures show` there says more",
             "rejected the signatures %s: %s", ask_text(share, "gives"),
             reason != NULL ? reason : "no reason");
    }
}

/* Where the group's mail server has its configuration: all instances count that have Postern on
 * one node. */
static gboolean
is_used(const json_t *page, const char *directory)
{
    size_t i;
    size_t j;
    const json_t *node;
    const json_t *instance;
    json_array_foreach(json_object_get(page, "nodes"), i, node)
    {
        json_array_foreach(json_object_get(json_object_get(node, "report"), "postfix"), j, instance)
        {
            if (g_strcmp0(ask_text(instance, "config_directory"), directory) == 0 &&
                g_strcmp0(ask_text(instance, "milter"), "off") != 0) {
                return TRUE;
            }
        }
    }
    return FALSE;
}

static void
judge_instance(json_t *page, const char *name, const json_t *instance, gboolean active)
{
    const char *directory = ask_text(instance, "config_directory");
    const char *milter = ask_text(instance, "milter");
    const char *action = ask_text(instance, "milter_default_action");
    const char *milters = ask_text(instance, "smtpd_milters");
    gboolean runs = json_integer_value(json_object_get(instance, "master_pid")) != 0;
    gboolean counts = is_used(page, directory) || (active && runs);
    if (counts && g_strcmp0(milter, "enabled") != 0) {
        const char *const argv[] = {"postern", "cluster", "node", "milter",
                                    "enable",  directory, NULL};
        g_autofree char *line = remote_command_text(argv);
        g_autofree char *todo = g_strdup_printf("`%s` there", line);
        find(page, "problem", name, todo,
             "Postfix in %s has Postern as a milter %s: mail passes unscanned when it runs there",
             directory, g_strcmp0(milter, "partly") == 0 ? "for some mail only" : "for none");
    } else if (counts && g_strcmp0(action, "accept") == 0 &&
               (milters == NULL || strstr(milters, "default_action") == NULL)) {
        find(page, "problem", name, "set milter_default_action = tempfail",
             "Postfix in %s delivers mail unscanned while Postern does not answer", directory);
    }
}

/* What is kept as an older Postern reads it, until somebody says that none is left. */
static void
judge_format(json_t *page, const char *name, const json_t *service)
{
    gint64 format = ask_number(service, "state_format");
    gint64 newest =
        json_integer_value(json_array_get(json_object_get(service, "state_formats"), 1));
    if (format > 0 && format < newest) {
        find(page, "note", name,
             "`postern cluster finish-upgrade` when all nodes have the newer Postern",
             "state format %" G_GINT64_FORMAT ", %" G_GINT64_FORMAT " available", format, newest);
    }
}

static void
judge_service(json_t *page)
{
    const json_t *active = cluster_page_active(page);
    const json_t *report = json_object_get(active, "report");
    const json_t *service = json_object_get(report, "service");
    if (json_is_null(json_object_get(page, "cluster"))) {
        return;
    }
    judge_format(page, ask_text(active, "name"), service);
    if (json_is_null(json_object_get(page, "resource"))) {
        find(page, "problem", "cluster", "`postern cluster setup`",
             "there is no resource ocf:postern:scanner");
    } else if (active == NULL) {
        find(page, "problem", "cluster", "`crm_resource --why`, `crm_simulate -sL` say why",
             "no node serves: mail gets 451, or no answer");
    } else if (json_is_object(report) && !json_is_object(service)) {
        find(page, "problem", ask_text(active, "name"), "`journalctl -u posternd` there",
             "posternd does not answer: mail gets 451");
    } else if (json_is_object(service) && !is(service, "ready")) {
        find(page, "problem", ask_text(active, "name"), "`postern status` there",
             "posternd cannot give verdicts: mail gets 451");
    }
}

static void
judge_nodes(json_t *page)
{
    size_t i;
    size_t j;
    const json_t *node;
    const json_t *instance;
    json_array_foreach(json_object_get(page, "nodes"), i, node)
    {
        const char *name = ask_text(node, "name");
        gboolean active = g_strcmp0(ask_text(node, "role"), "Promoted") == 0;
        judge_membership(page, node, name);
        judge_readiness(page, node, name);
        judge_report(page, node, name);
        judge_share(page, node, name);
        json_array_foreach(json_object_get(json_object_get(node, "report"), "postfix"), j, instance)
        {
            judge_instance(page, name, instance, active);
        }
    }
}

/* What doctor finds in the CIB: fencing, constraints that are missing or wrong, stickiness. */
static void
judge_configuration(json_t *page, const struct settings *settings)
{
    static const char *const words[] = {[DOCTOR_UNCHECKED] = "unchecked",
                                        [DOCTOR_WARNING] = "warning",
                                        [DOCTOR_PROBLEM] = "problem"};
    struct doctor doctor = {.settings = settings,
                            .findings = g_ptr_array_new_with_free_func(doctor_finding_free)};
    doctor_cluster(&doctor);
    for (guint i = 0; i < doctor.findings->len; i++) {
        const struct finding *f = g_ptr_array_index(doctor.findings, i);
        if (f->level != DOCTOR_OK && strcmp(f->id, "cluster.resource") != 0) {
            find(page, words[f->level], f->where, f->todo, "%s", f->what);
        }
    }
    g_ptr_array_unref(doctor.findings);
}

/* A difference that is only a note does not make the cluster degraded; a failed action does. */
static const char *
verdict(const json_t *page)
{
    gboolean unchecked = json_is_null(json_object_get(page, "cluster"));
    gboolean bad = json_array_size(json_object_get(page, "failures")) > 0;
    size_t i;
    const json_t *entry;
    json_array_foreach(json_object_get(page, "findings"), i, entry)
    {
        const char *level = ask_text(entry, "level");
        gboolean open = g_strcmp0(level, "unchecked") == 0;
        unchecked = unchecked || open;
        bad = bad || (!open && g_strcmp0(level, "note") != 0);
    }
    json_array_foreach(json_object_get(page, "differences"), i, entry)
    {
        bad = bad || !is(entry, "note");
    }
    return bad ? "degraded" : unchecked ? "unknown" : "healthy";
}

void
cluster_judge(json_t *page, const struct settings *settings)
{
    for (size_t i = 0; i < G_N_ELEMENTS(same); i++) {
        compare(page, same[i].path, same[i].what, same[i].todo, same[i].is_note);
    }
    judge_service(page);
    judge_nodes(page);
    if (!json_is_null(json_object_get(page, "cluster"))) {
        judge_configuration(page, settings);
    }
    json_object_set_new(page, "verdict", json_string(verdict(page)));
}
