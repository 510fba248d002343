/* SPDX-License-Identifier: GPL-2.0-only */
/* postern doctor */
#include "cli.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "ask.h"
#include "doctor.h"
#include "terminal.h"
#include "text.h"

static const struct {
    const char *word;
    enum colour colour;
} levels[] = {
    [DOCTOR_OK] = {"ok", COLOUR_GOOD},
    [DOCTOR_UNCHECKED] = {"unchecked", COLOUR_DOUBT},
    [DOCTOR_WARNING] = {"warning", COLOUR_DOUBT},
    [DOCTOR_PROBLEM] = {"problem", COLOUR_BAD},
};

void
doctor_finding_free(void *p)
{
    struct finding *finding = p;
    g_free(finding->where);
    g_free(finding->what);
    g_free(finding->todo);
    g_free(finding);
}

static gboolean
is_known(const struct doctor *doctor, const char *id, const char *where, const char *what)
{
    for (guint i = 0; i < doctor->findings->len; i++) {
        const struct finding *f = g_ptr_array_index(doctor->findings, i);
        if (strcmp(f->id, id) == 0 && strcmp(f->where, where) == 0 && strcmp(f->what, what) == 0) {
            return TRUE;
        }
    }
    return FALSE;
}

/* What is found has names from outside in it: paths, addresses, errors of other programs. */
void
doctor_add(struct doctor *doctor, enum doctor_level level, const char *id, const char *where,
           const char *todo, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    g_autofree char *raw = g_strdup_vprintf(format, args);
    va_end(args);
    g_autofree char *what = text_escape(raw, 600);
    g_autofree char *safe = text_escape(where, 300);
    if (is_known(doctor, id, safe, what)) {
        return;
    }
    struct finding *finding = g_new0(struct finding, 1);
    finding->level = level;
    finding->id = id;
    finding->where = g_steal_pointer(&safe);
    finding->what = g_steal_pointer(&what);
    finding->todo = g_strdup(todo);
    g_ptr_array_add(doctor->findings, finding);
}

static void
count(const struct doctor *doctor, guint counts[G_N_ELEMENTS(levels)])
{
    for (guint i = 0; i < doctor->findings->len; i++) {
        const struct finding *f = g_ptr_array_index(doctor->findings, i);
        counts[f->level]++;
    }
}

static void
print_text(const struct doctor *doctor, const guint counts[], gboolean quiet)
{
    for (guint i = 0; i < doctor->findings->len; i++) {
        const struct finding *f = g_ptr_array_index(doctor->findings, i);
        if (quiet && f->level == DOCTOR_OK) {
            continue;
        }
        g_autofree char *word = terminal_colour(levels[f->level].colour, levels[f->level].word);
        printf("%s%*s  %s: %s\n", word, (int)(9 - strlen(levels[f->level].word)), "", f->where,
               f->what);
        if (f->todo != NULL) {
            printf("           -> %s\n", f->todo);
        }
    }
    printf("\n%u ok, %u warning(s), %u problem(s), %u not checked\n", counts[DOCTOR_OK],
           counts[DOCTOR_WARNING], counts[DOCTOR_PROBLEM], counts[DOCTOR_UNCHECKED]);
}

static void
print_json(const struct doctor *doctor, const guint counts[])
{
    json_t *findings = json_array();
    for (guint i = 0; i < doctor->findings->len; i++) {
        const struct finding *f = g_ptr_array_index(doctor->findings, i);
        json_array_append_new(findings, json_pack("{s:s, s:s, s:s, s:s, s:s?}", "level",
                                                  levels[f->level].word, "id", f->id, "where",
                                                  f->where, "what", f->what, "todo", f->todo));
    }
    json_t *all =
        json_pack("{s:o, s:i, s:i, s:i, s:i}", "findings", findings, "ok", (int)counts[DOCTOR_OK],
                  "warnings", (int)counts[DOCTOR_WARNING], "problems", (int)counts[DOCTOR_PROBLEM],
                  "unchecked", (int)counts[DOCTOR_UNCHECKED]);
    json_dumpf(all, stdout, JSON_INDENT(2));
    putchar('\n');
    json_decref(all);
}

static const struct {
    const char *name;
    void (*check)(struct doctor *doctor);
} subjects[] = {
    {"postfix", doctor_postfix},
    {"state", doctor_state},
    {"host", doctor_host},
    {"cluster", doctor_cluster},
};

/* Runs those in NAMES, or all. FALSE after a message when one of NAMES is no subject. */
static gboolean
subjects_run(struct doctor *doctor, char **names)
{
    for (char **name = names; *name != NULL; name++) {
        size_t i = 0;
        while (i < G_N_ELEMENTS(subjects) && strcmp(subjects[i].name, *name) != 0) {
            i++;
        }
        if (i == G_N_ELEMENTS(subjects)) {
            g_autofree char *shown = text_escape(*name, 40);
            cli_fail("doctor knows no subject %s: one of postfix, state, host, cluster", shown);
            return FALSE;
        }
    }
    for (size_t i = 0; i < G_N_ELEMENTS(subjects); i++) {
        if (*names == NULL || g_strv_contains((const char *const *)names, subjects[i].name)) {
            subjects[i].check(doctor);
        }
    }
    return TRUE;
}

static int
report(struct doctor *doctor, gboolean json, gboolean quiet)
{
    guint counts[G_N_ELEMENTS(levels)] = {0};
    count(doctor, counts);
    if (json) {
        print_json(doctor, counts);
    } else {
        print_text(doctor, counts, quiet);
    }
    if (counts[DOCTOR_PROBLEM] + counts[DOCTOR_WARNING] > 0) {
        return CLI_FOUND;
    }
    return counts[DOCTOR_UNCHECKED] > 0 ? CLI_ERROR : CLI_OK;
}

int
cli_doctor(struct cli *cli, int argc, char **argv)
{
    struct doctor doctor = {0};
    g_autofree char *postfix_config = NULL;
    g_autofree char *no_posternd = NULL;
    g_autofree char *no_engine = NULL;
    g_auto(GStrv) milters = NULL;
    gboolean quiet = FALSE;
    const GOptionEntry entries[] = {
        {"postfix-config", 0, 0, G_OPTION_ARG_FILENAME, &postfix_config,
         "Look at this Postfix instance only", "DIR"},
        {"milter", 0, 0, G_OPTION_ARG_STRING_ARRAY, &milters,
         "Postfix reaches Postern at this address, as main.cf has it", "ADDRESS"},
        {"quiet", 'q', 0, G_OPTION_ARG_NONE, &quiet, "Do not print what is well", NULL},
        {NULL, 0, 0, G_OPTION_ARG_NONE, NULL, NULL, NULL},
    };
    if (!cli_options(cli, entries, "[SUBJECT...]",
                     "Looks at this host for ways in which mail could pass unscanned, be lost or "
                     "be refused.",
                     &argc, &argv) ||
        cli_settings(cli) == NULL) {
        return CLI_ERROR;
    }
    doctor.settings = cli_settings(cli);
    doctor.postfix_config = postfix_config;
    doctor.milters = milters;
    doctor.findings = g_ptr_array_new_with_free_func(doctor_finding_free);
    g_autofree char *engine = g_build_filename(doctor.settings->engine_dir, "engine.sock", NULL);
    doctor.posternd = ask_status("posternd", doctor.settings->control_socket, &no_posternd);
    doctor.engine = ask_status("postern-engine", engine, &no_engine);
    int rc = subjects_run(&doctor, argv + 1) ? report(&doctor, cli->json, quiet) : CLI_ERROR;
    json_decref(doctor.posternd);
    json_decref(doctor.engine);
    g_ptr_array_unref(doctor.findings);
    return rc;
}
