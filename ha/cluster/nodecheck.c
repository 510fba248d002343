/* SPDX-License-Identifier: GPL-2.0-only */
#include "nodecheck.h"

#include <errno.h>
#include <string.h>

#include "refuse.h"
#include "remote.h"
#include "text.h"

#define REPORT_S 60
#define SHOWN 120

static void
take(json_t *reports, const struct remote_job *job, GPtrArray *refusals)
{
    json_error_t error;
    json_t *report = job->result == 0 ? json_loads(job->output, 0, &error) : NULL;
    if (json_is_object(report)) {
        json_object_set_new(reports, job->node, report);
        return;
    }
    json_decref(report);
    if (job->result == -EHOSTUNREACH) {
        refuse(refusals, job->node,
               "let root of this node log in there with a key and without a question (ssh), or "
               "give --no-ssh",
               "the node cannot be looked at: %s", job->error);
    } else if (job->result == -ENOENT) {
        refuse(refusals, job->node, "install Postern there", "Postern is not installed: %s",
               job->error);
    } else {
        refuse(refusals, job->node, "run `postern cluster node report` there",
               "the node's report failed: %s", job->error != NULL ? job->error : "it is no JSON");
    }
}

json_t *
nodecheck_gather(const struct model *model, const char *config, gboolean only_local,
                 GPtrArray *refusals)
{
    static const char *const argv[] = {"postern", "cluster", "node", "report", NULL};
    g_autoptr(GPtrArray) words = remote_words(argv, config, model->postfix_dirs);
    json_t *reports = json_object();
    g_autofree struct remote_job *jobs = g_new0(struct remote_job, model->nodes->len);
    size_t n = 0;
    for (guint i = 0; i < model->nodes->len; i++) {
        const struct model_node *node = g_ptr_array_index(model->nodes, i);
        gboolean is_local = strcmp(node->name, remote_local_node()) == 0;
        if (node->member && node->online && (is_local || !only_local)) {
            jobs[n++] = (struct remote_job){.node = node->name,
                                            .argv = (const char *const *)words->pdata,
                                            .timeout_s = REPORT_S};
        }
    }
    remote_run_all(jobs, n);
    for (size_t i = 0; i < n; i++) {
        take(reports, &jobs[i], refusals);
        remote_job_clear(&jobs[i]);
    }
    return reports;
}

/* The value at PATH ("config/sha256"); NULL when there is none. */
static const json_t *
at(const json_t *report, const char *path)
{
    g_auto(GStrv) names = g_strsplit(path, "/", -1);
    for (char **name = names; *name != NULL && report != NULL; name++) {
        report = json_object_get(report, *name);
    }
    return json_is_null(report) ? NULL : report;
}

static const char *
text_at(const json_t *report, const char *path)
{
    return json_string_value(at(report, path));
}

static char *
shown(const json_t *value)
{
    if (value == NULL) {
        return g_strdup("none");
    }
    if (json_is_string(value)) {
        return text_escape(json_string_value(value), SHOWN);
    }
    g_autofree char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
    return text_escape(text, SHOWN);
}

/* What has to be alike, and what only should be. */
static const struct {
    const char *path;
    const char *what;
    gboolean is_remark;
    const char *todo;
} alike[] = {
    {"postern", "the version of Postern", FALSE, "install the same version on all nodes"},
    {"pacemaker", "the version of Pacemaker", TRUE, "finish the cluster's upgrade first"},
    {"libclamav", "the version of libclamav", TRUE, "install the same version on all nodes"},
    {"users/postern", "the numbering of user postern", FALSE,
     "give the user and its group the same numbers on all nodes: the quarantine moves"},
    {"config/sha256", "the configuration", FALSE, "postern cluster push-config"},
    {"state_dir", "state_dir", FALSE, "postern cluster push-config"},
    {"signatures/generation", "the generation of the signatures", TRUE,
     "nothing: they take that of the active node"},
    {"state_formats", "the form of the state", TRUE, "install the same version on all nodes"},
};

static void
compare(const json_t *reports, GPtrArray *refusals)
{
    for (size_t i = 0; i < G_N_ELEMENTS(alike); i++) {
        const char *node;
        const char *first_node = NULL;
        const json_t *first = NULL;
        json_t *report;
        json_object_foreach((json_t *)(guintptr)reports, node, report)
        {
            const json_t *value = at(report, alike[i].path);
            if (first_node == NULL) {
                first_node = node;
                first = value;
            } else if (!(value == NULL && first == NULL) && !json_equal(value, first)) {
                g_autofree char *a = shown(first);
                g_autofree char *b = shown(value);
                (alike[i].is_remark ? remark : refuse)(refusals, node, alike[i].todo,
                                                       "%s differs: %s has %s, %s has %s",
                                                       alike[i].what, first_node, a, node, b);
            }
        }
    }
}

static void
check_needs(const char *node, const json_t *report, GPtrArray *refusals)
{
    static const struct {
        const char *path;
        const char *what;
        const char *todo;
    } needs[] = {
        {"users/postern", "there is no user postern", "systemd-sysusers"},
        {"users/postern-engine", "there is no user postern-engine", "systemd-sysusers"},
        {"signatures/generation", "no signatures are installed",
         "postern signatures update, or postern signatures add PATH"},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(needs); i++) {
        if (at(report, needs[i].path) == NULL) {
            refuse(refusals, node, needs[i].todo, "%s", needs[i].what);
        }
    }
    if (text_at(report, "config/error") != NULL) {
        refuse(refusals, node, "mend it; `postern config check` tells more",
               "the configuration is not correct: %s", text_at(report, "config/error"));
    }
    if (json_is_false(at(report, "agent"))) {
        refuse(refusals, node, "install Postern there as on the other nodes",
               "the resource agent ocf:postern:scanner is not installed");
    }
}

static void
check_units(const char *node, const json_t *report, gboolean in_cluster, GPtrArray *refusals)
{
    const char *name;
    json_t *unit;
    json_object_foreach((json_t *)(guintptr)at(report, "units"), name, unit)
    {
        g_autofree char *disable = g_strdup_printf("systemctl disable --now %s", name);
        const char *active = text_at(unit, "active");
        if (!g_str_has_prefix(name, "postern")) {
            continue; /* the report has those of others, too */
        }
        if (json_is_false(at(unit, "present"))) {
            refuse(refusals, node, "install Postern there as on the other nodes",
                   "systemd does not know the unit %s", name);
        } else if (json_is_true(at(unit, "enabled"))) {
            refuse(refusals, node, disable, "%s is enabled: the cluster alone may start it", name);
        } else if (!in_cluster &&
                   (g_strcmp0(active, "active") == 0 || json_is_true(at(unit, "active")))) {
            refuse(refusals, node, disable, "%s runs already, outside the cluster", name);
        }
    }
}

/* Scanners that look into mail by themselves; a milter that signs (opendkim) is none. */
static gboolean
is_scanner(const char *milters)
{
    static const char *const words[] = {"clamav",     "amavis",  "rspamd",
                                        "mimedefang", "spamass", "mailscanner"};
    for (size_t i = 0; i < G_N_ELEMENTS(words); i++) {
        if (strstr(milters, words[i]) != NULL) {
            return TRUE;
        }
    }
    return FALSE;
}

/* The socket is put into one queue directory, by one parameter for all nodes. */
static const char *
chrooted_queue(const json_t *report)
{
    size_t i;
    json_t *instance;
    json_array_foreach(at(report, "postfix"), i, instance)
    {
        if (json_is_true(at(instance, "chroot"))) {
            return text_at(instance, "queue_directory");
        }
    }
    return NULL;
}

static void
compare_queues(const json_t *reports, GPtrArray *refusals)
{
    const char *node;
    const char *first_node = NULL;
    const char *first = NULL;
    json_t *report;
    json_object_foreach((json_t *)(guintptr)reports, node, report)
    {
        const char *queue = chrooted_queue(report);
        if (queue != NULL && first == NULL) {
            first_node = node;
            first = queue;
        } else if (queue != NULL && strcmp(queue, first) != 0) {
            refuse(refusals, node, "give Postfix the same queue_directory on all nodes",
                   "queue_directory of the chrooted Postfix differs: %s has %s, %s has %s",
                   first_node, first, node, queue);
        }
    }
}

static void
check_postfix(const char *node, const json_t *report, GPtrArray *refusals)
{
    size_t i;
    json_t *instance;
    guint chrooted = 0;
    json_array_foreach(at(report, "postfix"), i, instance)
    {
        const char *milters = text_at(instance, "smtpd_milters");
        const char *directory = text_at(instance, "config_directory");
        chrooted += json_is_true(at(instance, "chroot"));
        if (milters != NULL && is_scanner(milters)) {
            remark(refusals, node, "take it out when Postern has proved itself",
                   "Postfix in %s has another scanner already (%s); Postern is put beside it",
                   directory, milters);
        }
    }
    if (chrooted > 1) {
        refuse(refusals, node,
               "let all but one have smtpd outside the chroot, or milter_listen a TCP address",
               "%u instances of Postfix have a chrooted smtpd; the socket can be in one queue "
               "directory",
               chrooted);
    }
}

void
nodecheck(const json_t *reports, const struct model *model, GPtrArray *refusals)
{
    const char *node;
    json_t *report;
    compare(reports, refusals);
    compare_queues(reports, refusals);
    json_object_foreach((json_t *)(guintptr)reports, node, report)
    {
        check_needs(node, report, refusals);
        check_units(node, report, model->scanner.primitive != NULL, refusals);
        check_postfix(node, report, refusals);
    }
}

void
nodecheck_busy(const json_t *reports, GPtrArray *refusals)
{
    const char *node;
    json_t *report;
    json_object_foreach((json_t *)(guintptr)reports, node, report)
    {
        const char *who = text_at(report, "changing");
        if (who != NULL && strcmp(node, remote_local_node()) != 0) {
            refuse(refusals, node, "wait for its end, then come again",
                   "the cluster is changed from there at this moment: %s", who);
        }
    }
}

static gboolean
postfix_is_shared(const json_t *reports, const struct model *model)
{
    const json_t *instances =
        model->active == NULL ? NULL : at(json_object_get(reports, model->active), "postfix");
    const char *main_cf = text_at(json_array_get(instances, 0), "main_cf");
    return main_cf != NULL && model_filesystem(model, main_cf) != NULL;
}

void
nodecheck_postfix(const json_t *reports, const struct model *model, const GPtrArray *nodes,
                  GPtrArray *refusals)
{
    gboolean is_shared = postfix_is_shared(reports, model);
    for (guint i = 0; i < nodes->len && !is_shared; i++) {
        const char *node = g_ptr_array_index(nodes, i);
        const json_t *report = json_object_get(reports, node);
        if (report != NULL && json_array_size(at(report, "postfix")) == 0) {
            const char *why = text_at(report, "postfix_error");
            refuse(refusals, node,
                   "install it there as on the other nodes, or forbid the mail group that node",
                   "the mail group may run there, and its Postfix cannot be looked at: %s",
                   why != NULL ? why : "there is none");
        }
    }
}

void
nodecheck_memory(const json_t *reports, guint64 need, GPtrArray *refusals)
{
    const char *node;
    json_t *report;
    json_object_foreach((json_t *)(guintptr)reports, node, report)
    {
        guint64 total = (guint64)json_integer_value(at(report, "memory/total"));
        guint64 available = (guint64)json_integer_value(at(report, "memory/available"));
        g_autofree char *needed = g_format_size_full(need, G_FORMAT_SIZE_IEC_UNITS);
        g_autofree char *has = g_format_size_full(total, G_FORMAT_SIZE_IEC_UNITS);
        g_autofree char *has_now = g_format_size_full(available, G_FORMAT_SIZE_IEC_UNITS);
        if (total > 0 && total < need) {
            refuse(refusals, node, "give the node more memory",
                   "the signatures need about %s of memory, and the node has %s", needed, has);
        } else if (available > 0 && available < need) {
            remark(refusals, node, "stop what is not needed, such as a clamd",
                   "the signatures need about %s of memory, and %s is free", needed, has_now);
        }
    }
}

static const json_t *
first_report(const json_t *reports)
{
    void *iterator = json_object_iter((json_t *)(guintptr)reports);
    return iterator == NULL ? NULL : json_object_iter_value(iterator);
}

const char *
nodecheck_state_dir(const json_t *reports)
{
    return text_at(first_report(reports), "state_dir");
}

const char *
nodecheck_queue_directory(const json_t *reports, const char *active)
{
    const char *node;
    json_t *report;
    const char *found = active == NULL ? NULL : chrooted_queue(json_object_get(reports, active));
    json_object_foreach((json_t *)(guintptr)reports, node, report)
    {
        found = found != NULL ? found : chrooted_queue(report);
    }
    return found;
}

unsigned
nodecheck_load_seconds(const json_t *reports)
{
    unsigned longest = 0;
    const char *node;
    json_t *report;
    json_object_foreach((json_t *)(guintptr)reports, node, report)
    {
        double seconds = json_number_value(at(report, "load_seconds"));
        longest = MAX(longest, seconds > 0 && seconds < 86400 ? (unsigned)seconds + 1 : 0);
    }
    return longest;
}

int
nodecheck_state_format(const json_t *reports, unsigned nodes)
{
    json_int_t common = G_MAXINT;
    const char *node;
    json_t *report;
    json_object_foreach((json_t *)(guintptr)reports, node, report)
    {
        json_int_t newest = json_integer_value(json_array_get(at(report, "state_formats"), 1));
        common = MIN(common, newest);
    }
    return json_object_size(reports) < nodes || nodes == 0 ? 0 : (int)common;
}

unsigned
nodecheck_milters(const json_t *reports, unsigned *with_postfix_r)
{
    unsigned enabled = 0;
    const char *node;
    json_t *report;
    *with_postfix_r = 0;
    json_object_foreach((json_t *)(guintptr)reports, node, report)
    {
        size_t i;
        json_t *instance;
        gboolean all = TRUE;
        json_array_foreach(at(report, "postfix"), i, instance)
        {
            all = all && g_strcmp0(text_at(instance, "milter"), "enabled") == 0;
        }
        if (json_array_size(at(report, "postfix")) > 0) {
            (*with_postfix_r)++;
            enabled += all;
        }
    }
    return enabled;
}
