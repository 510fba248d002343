/* SPDX-License-Identifier: GPL-2.0-only */
/* postern cluster drill */
#include "cluster-commands.h"

#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "actions.h"
#include "drill-check.h"
#include "drill-report.h"
#include "drill.h"
#include "text.h"

#define INFECTED_EVERY 5
#define RATE_MAX 100
#define SHOWN 200

struct options {
    char *group;
    char *to;
    char *recipient;
    char *sender;
    char *server;
    double rate;
    double max_outage;
    int timeout;
    int rest;
    gboolean standby;
    gboolean stay;
    gboolean yes;
    gboolean clear;
};

/* "10.0.0.1", "10.0.0.1:25", "[::1]:25", "mail.example.org:smtp" */
static int
server_resolve(const char *text, struct sockaddr_storage *ret)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    const char *colon = strrchr(text, ':');
    gboolean bracket = *text == '[';
    gboolean port = colon != NULL && (bracket ? colon[-1] == ']' : strchr(text, ':') == colon);
    g_autofree char *host = port ? g_strndup(text, (gsize)(colon - text)) : g_strdup(text);
    if (bracket && strlen(host) > 2) {
        host[strlen(host) - 1] = '\0';
        memmove(host, host + 1, strlen(host));
    }
    int rc = getaddrinfo(host, port ? colon + 1 : "25", &hints, &found);
    if (rc != 0) {
        return cli_fail("--server %s: %s", text, gai_strerror(rc));
    }
    memcpy(ret, found->ai_addr, found->ai_addrlen);
    freeaddrinfo(found);
    return CLI_OK;
}

static int
refusals_show(struct cli *cli, GPtrArray *refusals)
{
    json_t *list = json_array();
    for (guint i = 0; i < refusals->len; i++) {
        const struct refusal *r = g_ptr_array_index(refusals, i);
        if (r->is_remark) {
            continue;
        }
        json_array_append_new(list, json_pack("{s:s, s:s, s:s?}", "where", r->where, "what",
                                              r->what, "todo", r->todo));
        cli_fail("%s: %s%s%s", r->where, r->what, r->todo != NULL ? "; " : "",
                 r->todo != NULL ? r->todo : "");
    }
    if (cli->json) {
        json_t *all = json_pack("{s:b, s:o}", "ok", 0, "refused", json_incref(list));
        json_dumpf(all, stdout, JSON_COMPACT);
        putchar('\n');
        json_decref(all);
    }
    json_decref(list);
    return CLI_ERROR;
}

static void
announce(const struct options *o, const struct drill_job *job, const char *server)
{
    const struct drill_plan *plan = &job->plan;
    fprintf(stderr,
            "%s moves from %s to %s%s, %s. Meanwhile %.3g messages a second go to <%s> by "
            "%s.\n",
            job->rule.group, plan->from, plan->to, plan->stay ? " and stays there" : " and back",
            plan->standby ? "by standby" : "by a location rule that expires", job->probes.rate,
            job->probes.recipient, server);
    if (o->recipient != NULL) {
        fprintf(stderr, "The clean ones are delivered there; one in %u has the test virus: ",
                job->probes.infected_every);
    } else {
        fprintf(stderr, "All have the test virus, so nothing is delivered to anybody "
                        "(--recipient ADDRESS sends clean ones too): ");
    }
    fprintf(stderr, "%s.\n",
            job->probes.infected_taken ? "on_infected has them accepted, and kept or replaced"
                                       : "refused, and a copy of each may be kept");
}

static gboolean
confirm(const struct options *o)
{
    char answer[16];
    if (o->yes) {
        return TRUE;
    }
    if (!isatty(STDIN_FILENO)) {
        cli_fail("nobody to ask: --yes says that the mail group may be moved now");
        return FALSE;
    }
    fprintf(stderr, "Mail is refused for seconds, twice, and comes again. Begin? [y/N] ");
    return fgets(answer, sizeof answer, stdin) != NULL && (*answer == 'y' || *answer == 'Y');
}

/* Failed actions of which the cluster did not know before: there were none. */
static char **
failures_now(const char *group)
{
    g_autofree char *error = NULL;
    g_autoptr(model_t) model = NULL;
    GPtrArray *texts = g_ptr_array_new();
    if (model_read(group, &model, &error) == 0) {
        for (guint i = 0; i < model->failures->len; i++) {
            const struct model_failure *f = g_ptr_array_index(model->failures, i);
            g_autofree char *text =
                g_strdup_printf("%s on %s: %s", f->operation, f->node, f->reason);
            g_ptr_array_add(texts, text_escape(text, SHOWN));
        }
    }
    g_ptr_array_add(texts, NULL);
    return (char **)g_ptr_array_free(texts, FALSE);
}

static void
how_to_tidy(const struct drill_job *job)
{
    if (!job->probes.infected_taken) {
        fprintf(stderr,
                "Copies of the refused ones, on the node that serves: postern quarantine "
                "delete --all --subject %s\n",
                job->probes.run);
    }
}

static int
report(struct cli *cli, const struct options *o, const struct drill_job *job, const char *server,
       const struct drill_result *result)
{
    g_auto(GStrv) failures = failures_now(job->rule.group);
    const struct drill_report r = {.machine = &result->machine,
                                   .log = result->log,
                                   .group = job->rule.group,
                                   .server = server,
                                   .recipient = job->probes.recipient,
                                   .run = job->probes.run,
                                   .max_outage = o->max_outage,
                                   .new_failures = failures,
                                   .order_error = result->order_error,
                                   .left = result->left,
                                   .wall_us = g_get_real_time() - g_get_monotonic_time()};
    g_auto(GStrv) problems = drill_report_problems(&r);
    if (cli->json) {
        json_t *object = drill_report_json(&r);
        json_dumpf(object, stdout, JSON_COMPACT);
        putchar('\n');
        json_decref(object);
    } else {
        drill_report_print(&r, stdout);
    }
    if (drill_report_is_void(&r)) {
        return result->last_bad != NULL ? cli_fail("%s answered: %s", server, result->last_bad)
                                        : CLI_ERROR;
    }
    how_to_tidy(job);
    return *problems == NULL ? CLI_OK : CLI_FOUND;
}

static int
run(struct cli *cli, const struct options *o, const struct drill_job *job, const char *server)
{
    g_autofree char *error = NULL;
    struct drill_result result = {0};
    announce(o, job, server);
    if (!confirm(o)) {
        return CLI_ERROR;
    }
    if (drill_run(job, &result, &error) < 0) {
        return cli_fail("%s", error);
    }
    int rc = report(cli, o, job, server, &result);
    drill_result_clear(&result);
    return rc;
}

static gboolean
is_taken(int on_infected)
{
    return on_infected == ACTION_DISCARD || on_infected == ACTION_REPLACE;
}

static int
prepare_and_run(struct cli *cli, const struct options *o, const struct model *model,
                const struct drill_route *route, const struct settings *settings)
{
    g_autofree char *run_name = g_strdup_printf("%08x", g_random_int());
    const char *server = o->server != NULL ? o->server : route->address;
    struct drill_job job = {
        .plan = {.from = route->from,
                 .to = route->to,
                 .standby = o->standby,
                 .stay = o->stay,
                 .warm_us = o->rest * G_USEC_PER_SEC,
                 .rest_us = o->rest * G_USEC_PER_SEC,
                 .limit_us = o->timeout * G_USEC_PER_SEC},
        .rule = {.group = model->group,
                 .run = run_name,
                 .standby = o->standby ? route->from : NULL},
        .probes = {.sender = o->sender != NULL ? o->sender : "",
                   .recipient = o->recipient != NULL ? o->recipient : "postmaster",
                   .run = run_name,
                   .rate = o->rate,
                   .infected_every = o->recipient != NULL ? INFECTED_EVERY : 1,
                   .infected_taken = is_taken(settings->on_infected)},
        .progress = cli->json ? stderr : stdout,
    };
    if (settings->on_infected == ACTION_TEMPFAIL) {
        return cli_fail(
            "on_infected = tempfail: a message with the test virus would be tried again "
            "for ever, and show nothing");
    }
    if (server == NULL) {
        return cli_fail("the mail group has no address of its own: --server ADDRESS names it");
    }
    if (server_resolve(server, &job.probes.server) != CLI_OK) {
        return CLI_ERROR;
    }
    return run(cli, o, &job, server);
}

static gboolean
address_is_valid(const char *address)
{
    for (const char *c = address; c != NULL && *c != '\0'; c++) {
        if ((unsigned char)*c <= ' ' || *c == '\177' || *c == '<' || *c == '>') {
            return FALSE;
        }
    }
    return TRUE;
}

static gboolean
options_check(const struct options *o)
{
    if (!(o->rate > 0 && o->rate <= RATE_MAX)) {
        cli_fail("--rate must be above 0, and at most %d", RATE_MAX);
    } else if (!(o->max_outage >= 0)) {
        cli_fail("--max-outage must not be below 0");
    } else if (o->timeout < 1 || o->timeout > 3600) {
        cli_fail("--timeout must be 1 to 3600 seconds");
    } else if (o->rest < 1 || o->rest > 3600) {
        cli_fail("--rest must be 1 to 3600 seconds");
    } else if (!address_is_valid(o->recipient) || !address_is_valid(o->sender)) {
        cli_fail("an address is written without blanks and <>: user@example.org");
    } else {
        return TRUE;
    }
    return FALSE;
}

static int
drill(struct cli *cli, const struct options *o)
{
    g_autofree char *error = NULL;
    g_autoptr(model_t) model = NULL;
    g_autoptr(GPtrArray) refusals = refusals_new();
    struct drill_route route = {0};
    const struct settings *settings = cli_settings(cli);
    if (settings == NULL) {
        return CLI_ERROR;
    }
    if (model_read(o->group, &model, &error) < 0) {
        return cli_fail("%s", error);
    }
    drill_check(model, o->to, TRUE, refusals, &route);
    int rc = refusals_count(refusals) > 0 ? refusals_show(cli, refusals)
                                          : prepare_and_run(cli, o, model, &route, settings);
    drill_route_clear(&route);
    return rc;
}

static int
clear(void)
{
    g_autofree char *error = NULL;
    int n = drill_rule_clear(&error);
    if (n < 0) {
        return cli_fail("%s", error);
    }
    printf(n == 0 ? "Nothing is left of earlier drills.\n" : "Taken away: %d.\n", n);
    return CLI_OK;
}

static void
options_free(struct options *o)
{
    g_free(o->group);
    g_free(o->to);
    g_free(o->recipient);
    g_free(o->sender);
    g_free(o->server);
}

int
cluster_drill(struct cli *cli, int argc, char **argv)
{
    struct options o = {.rate = 5, .max_outage = 30, .timeout = 120, .rest = 4};
    const GOptionEntry entries[] = {
        {"to", 't', 0, G_OPTION_ARG_STRING, &o.to, "Move there (default: a ready node)", "NODE"},
        {"recipient", 'r', 0, G_OPTION_ARG_STRING, &o.recipient,
         "Send clean messages too, to this address", "ADDRESS"},
        {"sender", 0, 0, G_OPTION_ARG_STRING, &o.sender, "Envelope sender (default: none)",
         "ADDRESS"},
        {"server", 0, 0, G_OPTION_ARG_STRING, &o.server,
         "Send there (default: the mail group's address, port 25)", "HOST[:PORT]"},
        {"rate", 0, 0, G_OPTION_ARG_DOUBLE, &o.rate, "Messages a second (5)", "N"},
        {"max-outage", 0, 0, G_OPTION_ARG_DOUBLE, &o.max_outage,
         "Exit with 1 when mail is refused for longer (30)", "SECONDS"},
        {"timeout", 0, 0, G_OPTION_ARG_INT, &o.timeout, "Give a move up after (120)", "SECONDS"},
        {"rest", 0, 0, G_OPTION_ARG_INT, &o.rest, "Pause before and after each move (4)",
         "SECONDS"},
        {"standby", 0, 0, G_OPTION_ARG_NONE, &o.standby,
         "Set the active node to standby instead of moving the group", NULL},
        {"stay", 0, 0, G_OPTION_ARG_NONE, &o.stay, "Do not move back", NULL},
        {"group", 'g', 0, G_OPTION_ARG_STRING, &o.group, "The mail group, when there are several",
         "NAME"},
        {"yes", 'y', 0, G_OPTION_ARG_NONE, &o.yes, "Do not ask", NULL},
        {"clear", 0, 0, G_OPTION_ARG_NONE, &o.clear,
         "Take away what an earlier drill has left, and nothing else", NULL},
        {NULL, 0, 0, G_OPTION_ARG_NONE, NULL, NULL, NULL},
    };
    int rc = CLI_ERROR;
    if (cli_options(cli, entries, "",
                    "Fails the mail group over for real and back, while numbered messages go "
                    "through it, and tells how long mail was refused and whether every verdict was "
                    "right.",
                    &argc, &argv) &&
        options_check(&o)) {
        rc = o.clear ? clear() : drill(cli, &o);
    }
    options_free(&o);
    return rc;
}
