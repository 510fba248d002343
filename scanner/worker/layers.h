/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef LAYERS_H
#define LAYERS_H

/*
 * The nesting that libclamav shows while it scans one object, kept as a stack: what is a
 * container, and whether what it holds was really brought out of it. A container that nobody
 * opened, or not whole, becomes an entry "unscanned" in the facts.
 *
 * Evidence for "opened": layers below it that are not derived from it; as many, and with as many
 * bytes, as the container announces of members (or as a ZIP's directory lists). Layers can be more
 * than members (files found embedded in others), so the count can miss a member, but it never
 * invents one.
 *
 * A layer that is as large as the limit for one file is taken for the beginning of a larger one:
 * libclamav cuts some there and says nothing.
 */

#include <glib.h>

#include "clam.h"
#include "facts.h"

struct layers {
    struct facts *facts;
    guint64 file_limit; /* bytes, scan_file_size */
    const char *path;   /* MIME path of the object */
    GArray *stack;      /* of struct layer */
};

void layers_begin(struct layers *layers, struct facts *facts, guint64 file_limit, const char *path);
/* PATH: the MIME path of the leaf that this layer is, NULL = whatever its parent belongs to. It
 * must live as long as the layer. */
void layers_enter(struct layers *layers, const struct clam_layer *layer, const char *path);
/* The layer just entered is known to be clean: nobody opens it, and nobody need to. */
void layers_known(struct layers *layers);
void layers_member(struct layers *layers, const struct clam_member *member);
void layers_leave(struct layers *layers);
/* The MIME path of the innermost layer. */
const char *layers_path(const struct layers *layers);
/* Ends what a scan that broke off left open. */
void layers_end(struct layers *layers);

#endif
