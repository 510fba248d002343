/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef CIB_H
#define CIB_H

/*
 * The cluster's configuration and state (CIB) as an XML document: read whole with cibadmin, changed
 * in memory, and written back as a difference that the cluster takes only when nothing else was
 * changed meanwhile.
 */

#include <glib.h>
#include <libxml/tree.h>

typedef xmlDoc cib_doc_t;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(cib_doc_t, xmlFreeDoc)

/*
 * Reads the CIB of the cluster that this node is in. Returns 0 and the document in *DOC_R
 * (xmlFreeDoc(), or g_autoptr(cib_doc_t)), or -errno with one sentence in *ERROR_R: -ENOTCONN when
 * the cluster does not answer, -EBADMSG when the answer is no CIB.
 */
int cib_read(xmlDoc **doc_r, char **error_r);

/* The same of TEXT. */
int cib_parse(const char *text, xmlDoc **doc_r, char **error_r);

#endif
