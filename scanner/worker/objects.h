/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef OBJECTS_H
#define OBJECTS_H

/*
 * What libclamav shows while it scans, as parts of the facts: members of archives, streams of
 * documents, at every depth. A MIME part gets its true type; what lies in it becomes a part of its
 * own, "1.2/3". Readings that libclamav makes of something (normalised text, its own idea of a
 * mail's text parts) are none: what is found in them belongs to what they were made of.
 */

#include <glib.h>

#include "clam.h"
#include "facts.h"
#include "leaves.h"

struct objects {
    struct facts *facts;
    const GPtrArray *leaves; /* of struct mime_leaf * */
    GHashTable *seen;        /* paths, over all scans of a message; owned by the caller */
    GArray *stack;           /* of struct object */
    GPtrArray *paths;        /* owns the paths of this scan */
    GHashTable *alerts;      /* signature name -> path of the innermost object that has it */
};

/* Before each scan. SEEN: a set of texts that it owns, empty before the first scan of a message. */
void objects_begin(struct objects *objects, struct facts *facts, const GPtrArray *leaves,
                   GHashTable *seen);
/* LEAF: the MIME part whose content the layer has, or NULL; PATH: of level 0 without a leaf.
 * SHA256: of the layer, NULL when unknown. Returns the layer's path, valid until objects_end(). */
const char *objects_enter(struct objects *objects, const struct clam_layer *layer,
                          const struct mime_leaf *leaf, const char *path,
                          const unsigned char *sha256);
void objects_member(struct objects *objects, const struct clam_member *member);
/* ALERT: what libclamav last found in this scan, NULL = nothing yet. Some of it, it reports only
 * at the end of the whole scan. */
void objects_leave(struct objects *objects, const char *alert);
void objects_end(struct objects *objects);

/* How deep in containers the innermost object is: 0 = it is a MIME part or the mail. */
unsigned objects_depth(const struct objects *objects);
/* Where NAME was found: the innermost open object, or what objects_leave() was told. */
const char *objects_path_of(const struct objects *objects, const char *name);

/* What was learnt of one part holds for every other part with the same content: libclamav's objects
 * are told apart by their content alone. */
void objects_share(struct facts *facts);

#endif
