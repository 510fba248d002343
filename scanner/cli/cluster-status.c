/* SPDX-License-Identifier: GPL-2.0-only */
/* postern cluster status */
#include "cluster-commands.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "ask.h"
#include "cluster-page.h"
#include "cluster-peers.h"
#include "score.h"
#include "terminal.h"
#include "text.h"

#define DAY 86400
#define OLD_DAYS 3
#define HASH_SHOWN 8

G_GNUC_PRINTF(2, 3)
static void
line(const char *label, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    g_autofree char *text = g_strdup_vprintf(format, args);
    va_end(args);
    printf("%-12s%s\n", label, text);
}

static gboolean
is(const json_t *object, const char *name)
{
    return json_is_true(json_object_get(object, name));
}

static char *
shown(const json_t *object, const char *name, size_t max)
{
    return text_escape(ask_text(object, name), max);
}

/* What the cluster wants of a node, or why it is not there. */
static char *
role_cell(const json_t *page, const json_t *node)
{
    const char *role = ask_text(node, "role");
    if (!is(node, "online")) {
        return terminal_colour(COLOUR_BAD, is(node, "unclean")   ? "LOST"
                                           : is(node, "pending") ? "joining"
                                                                 : "OFFLINE");
    }
    if (is(node, "standby") || is(node, "maintenance")) {
        return terminal_colour(COLOUR_DOUBT, is(node, "standby") ? "standby" : "maintenance");
    }
    if (role == NULL && json_is_null(json_object_get(page, "resource"))) {
        return g_strdup("-");
    }
    if (role == NULL) {
        return terminal_colour(COLOUR_BAD, "stopped");
    }
    g_autofree char *safe = text_escape(role, 20);
    return strcmp(role, "Promoted") == 0 ? terminal_colour(COLOUR_GOOD, safe)
                                         : g_steal_pointer(&safe);
}

static char *
state_cell(const json_t *node)
{
    const json_t *score = json_object_get(node, "score");
    const char *state = ask_text(node, "state");
    const char *engine =
        ask_text(json_object_get(json_object_get(node, "report"), "engine"), "state");
    g_autofree char *text = text_escape(state != NULL ? state : engine, 60);
    gboolean ready = json_is_integer(score) ? json_integer_value(score) >= SCORE_READY
                                            : g_strcmp0(engine, "ready") == 0;
    if (state == NULL && engine == NULL) {
        return g_strdup("-");
    }
    return terminal_colour(ready ? COLOUR_GOOD : COLOUR_DOUBT, text);
}

static char *
health_cell(const json_t *node)
{
    const char *health = ask_text(node, "health");
    g_autofree char *text = text_escape(health, 20);
    return health == NULL || strcmp(health, "green") == 0
               ? g_strdup(text)
               : terminal_colour(strcmp(health, "red") == 0 ? COLOUR_BAD : COLOUR_DOUBT, text);
}

static char *
signatures_cell(const json_t *report)
{
    const json_t *signatures = json_object_get(report, "signatures");
    gint64 date = ask_number(signatures, "date");
    g_autofree char *name = text_escape(ask_text(signatures, "generation"), HASH_SHOWN + 3);
    if (report == NULL || ask_text(signatures, "generation") == NULL) {
        return report == NULL ? g_strdup("-") : terminal_colour(COLOUR_BAD, "none");
    }
    name[MIN(strlen(name), HASH_SHOWN)] = '\0';
    gint64 days = (g_get_real_time() / G_USEC_PER_SEC - date) / DAY;
    g_autofree char *text =
        date == 0 ? g_strdup(name)
                  : g_strdup_printf("%s, %" G_GINT64_FORMAT " d old", name, MAX(days, 0));
    return date == 0 || days < OLD_DAYS ? g_steal_pointer(&text)
                                        : terminal_colour(COLOUR_DOUBT, text);
}

static char *
load_cell(const json_t *report)
{
    const json_t *seconds = json_object_get(report, "load_seconds");
    return json_is_number(seconds) ? g_strdup_printf("%.1f s", json_number_value(seconds))
                                   : g_strdup("-");
}

/* The best known of the instances that count: one that runs, else those that name Postern. */
static char *
milter_cell(const json_t *report)
{
    const char *word = NULL;
    size_t i;
    const json_t *instance;
    json_array_foreach(json_object_get(report, "postfix"), i, instance)
    {
        const char *milter = ask_text(instance, "milter");
        gboolean runs = ask_number(instance, "master_pid") != 0;
        if (word == NULL || runs || g_strcmp0(word, "off") == 0) {
            word = milter;
        }
    }
    if (word == NULL) {
        return g_strdup("-");
    }
    g_autofree char *safe = text_escape(word, 20);
    return strcmp(word, "enabled") == 0 ? g_steal_pointer(&safe)
                                        : terminal_colour(COLOUR_BAD, safe);
}

/* What PATH differs in: marked, so that the eye finds it. */
static char *
marked(const json_t *page, const char *path, const char *text)
{
    size_t i;
    const json_t *difference;
    json_array_foreach(json_object_get(page, "differences"), i, difference)
    {
        if (g_strcmp0(ask_text(difference, "path"), path) == 0) {
            g_autofree char *star = g_strconcat(text, " *", NULL);
            return terminal_colour(COLOUR_BAD, star);
        }
    }
    return g_strdup(text);
}

static char *
version_cell(const json_t *page, const json_t *report)
{
    g_autofree char *version = text_escape(ask_text(report, "postern"), 30);
    return marked(page, "postern", version);
}

static char *
config_cell(const json_t *page, const json_t *report)
{
    const json_t *config = json_object_get(report, "config");
    if (report == NULL) {
        return g_strdup("-");
    }
    if (ask_text(config, "error") != NULL) {
        return terminal_colour(COLOUR_BAD, "BROKEN");
    }
    const char *hash = ask_text(config, "sha256");
    g_autofree char *text = hash == NULL ? g_strdup("presets") : g_strndup(hash, HASH_SHOWN);
    return marked(page, "config.sha256", text);
}

static void
print_nodes(const json_t *page)
{
    static const char *const titles[] = {"NODE", "ROLE",   "STATE",   "HEALTH",        "SIGNATURES",
                                         "LOAD", "MILTER", "VERSION", "CONFIGURATION", NULL};
    struct table *table = table_new(titles);
    size_t i;
    const json_t *node;
    json_array_foreach(json_object_get(page, "nodes"), i, node)
    {
        const json_t *report = json_object_get(node, "report");
        report = json_is_object(report) ? report : NULL;
        char *const cells[] = {shown(node, "name", 60),   role_cell(page, node),
                               state_cell(node),          health_cell(node),
                               signatures_cell(report),   load_cell(report),
                               milter_cell(report),       version_cell(page, report),
                               config_cell(page, report), NULL};
        char **row = g_new0(char *, G_N_ELEMENTS(cells));
        memcpy(row, cells, sizeof cells);
        table_add(table, row);
    }
    table_print(table, stdout);
}

static void
print_service(const json_t *page)
{
    const json_t *active = cluster_page_active(page);
    const json_t *report = json_object_get(active, "report");
    const json_t *service = json_object_get(report, "service");
    const json_t *pool = json_object_get(service, "pool");
    const json_t *spool = json_object_get(service, "spool");
    const json_t *kept = json_object_get(report, "quarantine");
    g_autofree char *name = shown(active, "name", 60);
    if (!json_is_object(service)) {
        return;
    }
    gboolean ready = is(service, "ready");
    g_autofree char *word =
        terminal_colour(ready ? COLOUR_GOOD : COLOUR_BAD, ready ? "serves" : "answers 451");
    g_autofree char *used = terminal_size((guint64)ask_number(spool, "used"));
    g_autofree char *limit = terminal_size((guint64)ask_number(spool, "limit"));
    g_autofree char *since = terminal_time(ask_number(service, "since"));
    line("Service", "%s %s since %s, epoch %" G_GINT64_FORMAT, name, word, since,
         ask_number(service, "epoch"));
    line("Queue",
         "%" G_GINT64_FORMAT " waiting, %" G_GINT64_FORMAT " of %" G_GINT64_FORMAT
         " workers idle, %s of %s for messages in progress",
         ask_number(pool, "queued"), ask_number(pool, "idle"), ask_number(pool, "workers"), used,
         limit);
    if (json_is_object(kept)) {
        g_autofree char *bytes = terminal_size((guint64)ask_number(kept, "bytes"));
        line("Quarantine", "%" G_GINT64_FORMAT " message(s), %s", ask_number(kept, "entries"),
             bytes);
    }
}

/* What NODE has to do with the generation that the cluster is to have; g_free(). */
static char *
share_cell(const json_t *node)
{
    const json_t *here =
        json_object_get(json_object_get(json_object_get(node, "report"), "share"), "here");
    const json_t *given = json_object_get(here, "given");
    const char *loaded = ask_text(here, "loaded");
    gboolean has = loaded != NULL && g_strcmp0(loaded, ask_text(given, "name")) == 0;
    g_autofree char *name = shown(node, "name", 60);
    g_autofree char *state = shown(given, "state", 20);
    if (!json_is_object(given)) {
        return NULL;
    }
    const json_t *share = json_object_get(json_object_get(node, "report"), "share");
    g_autofree char *why = shown(share, "why", 300);
    return has ? g_strdup_printf("%s uses them", name)
           : ask_text(share, "why") != NULL
               ? g_strdup_printf("%s waits: %s", name, why)
               : g_strdup_printf("%s: %s", name, strcmp(state, "none") == 0 ? "not there" : state);
}

/* While a generation is on its way through the cluster, and who fetches. */
static void
print_share(const json_t *page)
{
    const json_t *active = cluster_page_active(page);
    const json_t *report = json_object_get(active, "report");
    const json_t *share = json_object_get(report, "share");
    g_autoptr(GString) text = g_string_new(NULL);
    g_autofree char *gives = shown(share, "gives", HASH_SHOWN + 3);
    g_autofree char *name = shown(active, "name", 60);
    size_t i;
    const json_t *node;
    if (g_strcmp0(ask_text(report, "update_on"), "every node") == 0 ||
        g_strcmp0(ask_text(json_object_get(report, "peers"), "mark"), PEERS_MARK_NONE) == 0) {
        line("Updates", "each node fetches by itself");
        return;
    }
    if (ask_text(share, "gives") == NULL) {
        return;
    }
    json_array_foreach(json_object_get(page, "nodes"), i, node)
    {
        g_autofree char *cell = share_cell(node);
        g_string_append_printf(text, "%s%s", cell == NULL ? "" : "; ", cell == NULL ? "" : cell);
    }
    gives[MIN(strlen(gives), HASH_SHOWN)] = '\0';
    line("Updates", "%s gives %s%s", name, gives, text->str);
}

static void
print_cluster(const json_t *page)
{
    const json_t *cluster = json_object_get(page, "cluster");
    g_autofree char *resource = shown(page, "resource", 100);
    g_autofree char *dc = shown(cluster, "dc", 60);
    g_autoptr(GString) devices = g_string_new(NULL);
    size_t i;
    const json_t *device;
    json_array_foreach(json_object_get(cluster, "devices"), i, device)
    {
        g_autofree char *id = text_escape(json_string_value(device), 60);
        g_string_append_printf(devices, "%s%s", i > 0 ? ", " : "", id);
    }
    const char *doubt = !is(cluster, "quorum")       ? "NO QUORUM"
                        : is(cluster, "maintenance") ? "MAINTENANCE"
                                                     : NULL;
    g_autofree char *loud = doubt == NULL ? g_strdup("quorum") : terminal_colour(COLOUR_BAD, doubt);
    g_autofree char *fencing =
        is(cluster, "fencing") ? g_strdup(devices->str) : terminal_colour(COLOUR_BAD, "OFF");
    line("Cluster", "%s, DC %s; scanner %s", loud, dc, resource);
    line("Fencing", "%s", *fencing == '\0' ? "no device" : fencing);
}

static void
print_fenced(const json_t *page)
{
    size_t i;
    const json_t *event;
    json_array_foreach(json_object_get(page, "fencing"), i, event)
    {
        g_autofree char *target = shown(event, "target", 60);
        g_autofree char *status = shown(event, "status", 40);
        g_autofree char *time = shown(event, "time", 40);
        line("Fenced", "%s: %s, %s", target, status, time);
    }
}

static void
print_failures(const json_t *page)
{
    size_t i;
    const json_t *failure;
    json_array_foreach(json_object_get(page, "failures"), i, failure)
    {
        g_autofree char *operation = shown(failure, "operation", 80);
        g_autofree char *node = shown(failure, "node", 60);
        const char *reason = ask_text(failure, "reason");
        gboolean told = reason != NULL && *reason != '\0';
        g_autofree char *why = shown(failure, told ? "reason" : "status", 300);
        g_autofree char *word = terminal_colour(COLOUR_BAD, "Failed");
        printf("%s      %s on %s: %s\n", word, operation, node, why);
        printf("            -> `crm_resource --cleanup` when its cause is mended\n");
    }
}

static void
print_differences(const json_t *page)
{
    size_t i;
    const json_t *difference;
    json_array_foreach(json_object_get(page, "differences"), i, difference)
    {
        const char *name;
        json_t *value;
        g_autoptr(GString) values = g_string_new(NULL);
        json_object_foreach(json_object_get(difference, "values"), name, value)
        {
            g_autofree char *node = text_escape(name, 60);
            g_autofree char *text = text_escape(json_string_value(value), 16);
            g_string_append_printf(values, "%s%s %s", values->len > 0 ? ", " : "", node, text);
        }
        gboolean usual = is(difference, "note");
        g_autofree char *word = terminal_colour(usual ? COLOUR_DOUBT : COLOUR_BAD, "Differs");
        g_autofree char *what = shown(difference, "what", 60);
        g_autofree char *todo = shown(difference, "todo", 200);
        printf("%s     %s: %s\n            -> %s\n", word, what, values->str, todo);
    }
}

static void
print_findings(const json_t *page)
{
    static const struct {
        const char *level;
        const char *word;
        enum colour colour;
    } words[] = {{"problem", "Problem", COLOUR_BAD},
                 {"warning", "Warning", COLOUR_DOUBT},
                 {"unchecked", "Unknown", COLOUR_DOUBT},
                 {"note", "Note", COLOUR_GOOD}};
    for (size_t w = 0; w < G_N_ELEMENTS(words); w++) {
        size_t i;
        const json_t *finding;
        json_array_foreach(json_object_get(page, "findings"), i, finding)
        {
            if (g_strcmp0(ask_text(finding, "level"), words[w].level) != 0) {
                continue;
            }
            g_autofree char *word = terminal_colour(words[w].colour, words[w].word);
            g_autofree char *where = shown(finding, "where", 200);
            g_autofree char *what = shown(finding, "what", 600);
            g_autofree char *todo = shown(finding, "todo", 300);
            printf("%s%*s%s: %s\n", word, (int)(12 - strlen(words[w].word)), "", where, what);
            if (ask_text(finding, "todo") != NULL) {
                printf("            -> %s\n", todo);
            }
        }
    }
}

static void
print_page(const json_t *page)
{
    const char *verdict = ask_text(page, "verdict");
    if (json_is_null(json_object_get(page, "cluster"))) {
        g_autofree char *error = shown(page, "cluster_error", 300);
        line("Cluster", "does not answer on this node: %s", error);
    } else {
        print_nodes(page);
        putchar('\n');
        print_service(page);
        print_share(page);
        print_cluster(page);
    }
    print_fenced(page);
    print_failures(page);
    print_differences(page);
    print_findings(page);
    g_autofree char *word = terminal_colour(strcmp(verdict, "healthy") == 0    ? COLOUR_GOOD
                                            : strcmp(verdict, "degraded") == 0 ? COLOUR_BAD
                                                                               : COLOUR_DOUBT,
                                            verdict);
    line("Verdict", "%s", word);
}

static int
page_exit(const json_t *page)
{
    const char *verdict = ask_text(page, "verdict");
    return strcmp(verdict, "healthy") == 0    ? CLI_OK
           : strcmp(verdict, "degraded") == 0 ? CLI_FOUND
                                              : CLI_ERROR;
}

static int
show(struct cli *cli, gboolean clear)
{
    g_autofree char *named = cli_config_path(cli);
    g_autofree char *config = named == NULL ? NULL : g_canonicalize_filename(named, NULL);
    json_t *page = cluster_page(cli_settings(cli), config);
    int rc = page_exit(page);
    if (clear) {
        fputs("\033[H\033[2J", stdout);
    }
    if (cli->json) {
        json_dumpf(page, stdout, JSON_INDENT(2));
        putchar('\n');
    } else {
        print_page(page);
    }
    json_decref(page);
    return rc;
}

int
cluster_status(struct cli *cli, int argc, char **argv)
{
    int seconds = 0;
    const GOptionEntry entries[] = {
        {"watch", 'w', 0, G_OPTION_ARG_INT, &seconds, "Again every so many seconds, until Ctrl-C",
         "SECONDS"},
        {NULL, 0, 0, G_OPTION_ARG_NONE, NULL, NULL, NULL},
    };
    if (!cli_options(cli, entries, "", "Prints all nodes of the cluster on one page.", &argc,
                     &argv) ||
        cli_settings(cli) == NULL) {
        return CLI_ERROR;
    }
    if (seconds < 0) {
        return cli_fail("--watch needs a number of seconds above 0");
    }
    if (seconds == 0) {
        return show(cli, FALSE);
    }
    while (!ferror(stdout)) {
        (void)show(cli, isatty(STDOUT_FILENO) && !cli->json);
        (void)fflush(stdout);
        g_usleep((gulong)seconds * G_USEC_PER_SEC);
    }
    return CLI_ERROR;
}
