/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef FENCING_H
#define FENCING_H

#include "model.h"

enum fencing {
    FENCING_NONE,     /* nothing that is configured covers the node */
    FENCING_UNKNOWN,  /* only a device that has to be asked which nodes it covers */
    FENCING_DEVICE,   /* a device, or a level of the topology */
    FENCING_WATCHDOG, /* SBD without a disk: the node's own watchdog */
};

/* Whether fencing is switched on at all. */
gboolean fencing_enabled(const struct model *model);
/* How NODE would be fenced, by the configuration. */
enum fencing fencing_of(const struct model *model, const char *node);
/* The same, asking the running cluster's fencer about what FENCING_UNKNOWN leaves open. */
enum fencing fencing_of_live(const struct model *model, const char *node);

#endif
