/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * postern-notify: tells the cluster manager at once what changed on this node. Root, because
 * only root may report a failure; so it has no configuration, parses no message, and says
 * nothing but the words of score.c and watch.c.
 */
#include "config.h"

#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <glib.h>
#include <systemd/sd-daemon.h>

#include "log.h"
#include "watch.h"

static gboolean foreground;
static gboolean version;

static const GOptionEntry entries[] = {
    {"foreground", 0, 0, G_OPTION_ARG_NONE, &foreground, "Log to stderr", NULL},
    {"version", 0, 0, G_OPTION_ARG_NONE, &version, "Print the version and exit", NULL},
    {NULL, 0, 0, 0, NULL, NULL, NULL},
};

static gboolean
options_parse(int *argc, char ***argv)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GOptionContext) context = g_option_context_new(NULL);
    g_option_context_set_summary(context, "Tells the cluster manager about Postern on this node.");
    g_option_context_add_main_entries(context, entries, NULL);
    if (!g_option_context_parse(context, argc, argv, &error)) {
        fprintf(stderr, "postern-notify: %s\n", error->message);
        return FALSE;
    }
    if (*argc > 1) {
        fprintf(stderr, "postern-notify: %s: no arguments are taken\n", (*argv)[1]);
        return FALSE;
    }
    return TRUE;
}

static int
run(sd_event *event)
{
    g_autofree char *error = NULL;
    struct watch *watch = NULL;
    int rc = watch_new(event, &watch, &error);
    if (rc < 0) {
        log_err("%s", error);
        return rc;
    }
    (void)sd_notify(0, "READY=1");
    rc = sd_event_loop(event);
    (void)sd_notify(0, "STOPPING=1");
    watch_free(watch);
    return rc;
}

int
main(int argc, char **argv)
{
    sd_event *event = NULL;
    sigset_t signals;
    setlocale(LC_CTYPE, "");
    if (!options_parse(&argc, &argv)) {
        return 2;
    }
    if (version) {
        printf("postern-notify %s\n", PACKAGE_VERSION);
        return 0;
    }
    log_init("postern-notify", foreground, LOG_INFO);
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    (void)sigprocmask(SIG_BLOCK, &signals, NULL);
    int rc = sd_event_default(&event);
    if (rc >= 0) {
        (void)sd_event_add_signal(event, NULL, SIGTERM, NULL, NULL);
        (void)sd_event_add_signal(event, NULL, SIGINT, NULL, NULL);
        rc = run(event);
    }
    sd_event_unref(event);
    log_fini();
    return rc == 0 ? 0 : 2;
}
