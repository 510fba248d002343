/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef INFLATED_H
#define INFLATED_H

/*
 * Streams that libclamav brings out of their container as they are, still deflated. It does so
 * with a PDF's streams whenever the filter's name is not where it looks: behind a hexadecimal
 * string such as the checksum that qpdf, LibreOffice and every ZUGFeRD invoice writes before it, in
 * another object, behind a crypt filter. PDF readers find the filter everywhere.
 */

#include <glib.h>

#include "clam.h"
#include "facts.h"

struct inflated {
    GPtrArray *leaves; /* of struct mime_leaf *, that the scan goes through; new ones are added */
    struct facts *facts;
    guint64 file_limit; /* bytes, of one stream */
    guint64 room;       /* bytes that all may still take */
};

/* If LAYER is such a stream, what it unpacks to becomes a leaf with PATH. Beyond the room, or
 * beyond MIME_LEAVES_MAX leaves, the stream is reported as not scanned. */
void inflated_add(struct inflated *inflated, const struct clam_layer *layer, const char *path);

#endif
