/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef VISITS_H
#define VISITS_H

/*
 * What libclamav came upon by itself in a message, so that nothing is scanned twice for nothing.
 *
 * Texts that are shown as the body of a mail: libclamav scans them with LF alone at the ends of
 * lines, the sender wrote CR LF. Its own reading counts as a visit of such a text. In normalised
 * text and HTML, on which signatures for texts are matched, the two are the same; what stands in
 * the mail without an encoding is also scanned as it is, in the raw message. What is shown as a
 * file (entity_is_body()) is one, of which somebody may have made a hash, and what has NULs or
 * single CRs is no text: there only the very bytes count.
 */

#include <stdbool.h>
#include <glib.h>

#include "clam.h"
#include "leaves.h"

/* Notes of each of LEAVES (struct mime_leaf *) that is the text of a mail what it is without CRs
 * and without the ends of its last lines, of which libclamav adds some. */
void visits_prepare(GPtrArray *leaves);

/*
 * The leaf that the layer is, of several the first that was not shown yet; all of them are marked
 * as visited. *RET_WHOLE: byte for byte.
 */
struct mime_leaf *visits_find(GPtrArray *leaves, const struct clam_layer *layer, bool *ret_whole);

#endif
