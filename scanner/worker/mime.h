/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef MIME_H
#define MIME_H

/*
 * A mail taken apart; only mime.c, entity.c and defects.c include GMime. GMime and libclamav
 * disagree about malformed mail, either finds what the other misses: so what GMime yields is
 * scanned beside the raw message, not instead of it.
 *
 * Bounds: MIME_DEPTH_MAX levels, MIME_LEAVES_MAX leaves, and in all leaves together a few times
 * the message's size; what lies beyond is reported as not scanned.
 */

#include <stddef.h>
#include <glib.h>

#include "facts.h"
#include "leaves.h"

#define MIME_DEPTH_MAX 50

/* Before the sandbox closes. Takes GLib's log over: what is logged while a mail is parsed counts as
 * damage of that mail. */
void mime_init(void);

/*
 * Takes the mail apart. The leaves (struct mime_leaf *, owned by the array) are returned; into
 * FACTS go the parts, and what cannot be scanned: fragments of a message (message/partial),
 * encoded multiparts, nesting or numbers beyond the bounds. A message/rfc822 that is encoded is
 * decoded, becomes a leaf, and is taken apart in its turn; so are mails attached as files, and
 * what an S/MIME signature encloses. Base64 with padding in its middle, and an encoding that is
 * named oddly or twice, is read differently by different mail programs: such a part yields two
 * leaves. Where the structure itself has a defect (defects.h), everything that looks like an entity
 * (readings.h) yields a leaf too, and no part has a byte range. Files in the middle of text
 * (inline.h) are leaves too; they are looked for in DATA even when it is no mail. When DATA begins
 * with an empty line, all that follows it is a leaf.
 */
GPtrArray *mime_parse(const unsigned char *data, size_t len, struct facts *facts);

/*
 * Another reading of what is at PATH, or a mail that lies in it: adds to LEAVES what is not yet
 * among them, as "PATH/n", and describes it.
 */
void mime_parse_more(const unsigned char *data, size_t len, const char *path, GPtrArray *leaves,
                     struct facts *facts);

#endif
