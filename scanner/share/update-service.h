/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef UPDATE_SERVICE_H
#define UPDATE_SERVICE_H

/* What postern-update and postern-share have in common: options, and the configuration's reading.
 */

#include "settings.h"

struct update_service {
    const char *program;
    const char *summary;
    const char *debug_text;   /* of --debug */
    const GOptionEntry *more; /* options of its own; NULL: none */
};

struct update_service_options {
    char *config;
    char *role;
    gboolean foreground;
    gboolean debug;
    gboolean version;
};

/* FALSE after a message on standard error. */
gboolean update_service_parse(const struct update_service *service,
                              struct update_service_options *options, int argc, char **argv);
void update_service_clear(struct update_service_options *options);

/* Reads the configuration anew. FALSE: it is broken, which is logged, and *SETTINGS stays. */
gboolean update_service_read_again(const struct update_service_options *options,
                                   struct settings **settings);

#endif
