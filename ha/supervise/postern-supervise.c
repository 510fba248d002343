/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * postern-supervise SERVICE: keeps one of Postern's programs on a machine without systemd. Started
 * by postern-agent alone.
 */
#include "config.h"

#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <glib.h>

#include "log.h"
#include "supervised.h"

static int
usage(FILE *to, int rc)
{
    fputs("usage: postern-supervise SERVICE\n"
          "Keeps a program of Postern where there is no systemd; postern-agent starts it.\n"
          "POSTERN_OPTIONS in the environment is passed on, as the units do.\n",
          to);
    return rc;
}

static int
run(const struct process_kind *kind)
{
    g_autofree char *error = NULL;
    struct supervised *supervised = NULL;
    sd_event *event = NULL;
    int rc = sd_event_default(&event);
    if (rc >= 0) {
        rc = supervised_new(event, kind, getenv("POSTERN_OPTIONS"), &supervised, &error);
    }
    if (rc >= 0) {
        rc = sd_event_loop(event);
    } else {
        log_err("%s", error != NULL ? error : "no event loop");
    }
    supervised_free(supervised);
    sd_event_unref(event);
    return rc < 0 ? 2 : rc;
}

int
main(int argc, char **argv)
{
    setlocale(LC_CTYPE, "");
    if (argc == 2 && strcmp(argv[1], "--help") == 0) {
        return usage(stdout, 0);
    }
    if (argc == 2 && strcmp(argv[1], "--version") == 0) {
        puts("postern-supervise " PACKAGE_VERSION);
        return 0;
    }
    const struct process_kind *kind = argc == 2 ? process_kind_find(argv[1]) : NULL;
    if (kind == NULL) {
        return usage(stderr, 2);
    }
    (void)umask(022);
    log_init("postern-supervise", false, LOG_INFO);
    int rc = run(kind);
    log_fini();
    return rc;
}
