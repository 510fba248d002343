/* SPDX-License-Identifier: GPL-2.0-only */
#include "update-service.h"

#include <stdio.h>

#include "log.h"
#include "precedence.h"

gboolean
update_service_parse(const struct update_service *service, struct update_service_options *options,
                     int argc, char **argv)
{
    const GOptionEntry entries[] = {
        {"config", 'c', 0, G_OPTION_ARG_FILENAME, &options->config,
         "Configuration (" SETTINGS_PATH ")", "FILE"},
        {"role", 0, 0, G_OPTION_ARG_FILENAME, &options->role,
         "What the cluster wants of this node (" PRECEDENCE_ROLE ")", "FILE"},
        {"foreground", 0, 0, G_OPTION_ARG_NONE, &options->foreground, "Log to stderr", NULL},
        {"debug", 0, 0, G_OPTION_ARG_NONE, &options->debug, service->debug_text, NULL},
        {"version", 0, 0, G_OPTION_ARG_NONE, &options->version, "Print the version", NULL},
        {NULL, 0, 0, G_OPTION_ARG_NONE, NULL, NULL, NULL},
    };
    g_autoptr(GError) error = NULL;
    g_autoptr(GOptionContext) context = g_option_context_new(NULL);
    g_option_context_set_summary(context, service->summary);
    if (service->more != NULL) {
        g_option_context_add_main_entries(context, service->more, NULL);
    }
    g_option_context_add_main_entries(context, entries, NULL);
    if (!g_option_context_parse(context, &argc, &argv, &error)) {
        fprintf(stderr, "%s: %s\n", service->program, error->message);
        return FALSE;
    }
    if (argc > 1) {
        fprintf(stderr, "%s: %s: no arguments are taken\n", service->program, argv[1]);
        return FALSE;
    }
    return TRUE;
}

void
update_service_clear(struct update_service_options *options)
{
    g_free(options->config);
    g_free(options->role);
}

gboolean
update_service_read_again(const struct update_service_options *options, struct settings **settings)
{
    g_autofree char *error = NULL;
    struct settings *fresh = settings_load(options->config, &error);
    if (fresh == NULL) {
        log_err("the configuration stays as it was: %s", error);
        return FALSE;
    }
    settings_free(*settings);
    *settings = fresh;
    return TRUE;
}
