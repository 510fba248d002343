/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef CIB_H
#define CIB_H

/*
 * The cluster's configuration and state (CIB) as an XML document: read whole with cibadmin, changed
 * in memory, and written back as a difference (commit.h). What is asked of it is asked by XPath.
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
/* Any XML that a tool has printed; NULL when it is none. */
xmlDoc *cib_parse_xml(const char *text);

/* DOC as text; g_free(). */
char *cib_text(xmlDoc *doc);
/* <configuration> in its canonical form, with the order of attributes and blanks taken out: equal
 * texts are equal configurations. g_free(). */
char *cib_configuration(xmlDoc *doc);
/* "ADMIN_EPOCH.EPOCH": changes with each change of the configuration, not of the state. g_free() */
char *cib_epoch(const xmlDoc *doc);

/*
 * What an XPath expression finds: the first element (NULL: none), all of them (never NULL,
 * g_ptr_array_unref(), in document order), or the text of the first attribute (NULL: none;
 * g_free()). Names that are put into an expression must be valid XML ids: cib_is_id().
 */
xmlNode *cib_find(xmlDoc *doc, const char *format, ...) G_GNUC_PRINTF(2, 3);
GPtrArray *cib_all(xmlDoc *doc, const char *format, ...) G_GNUC_PRINTF(2, 3);
char *cib_value(xmlDoc *doc, const char *format, ...) G_GNUC_PRINTF(2, 3);

/* Whether TEXT can be an id in a CIB: a letter or '_', then letters, digits, '_', '-' and '.'. */
gboolean cib_is_id(const char *text);

/* The attribute NAME of NODE; NULL: none. g_free(). */
char *cib_attribute(const xmlNode *node, const char *name);
gboolean cib_attribute_is(const xmlNode *node, const char *name, const char *value);

/* The value of the nvpair NAME in NODE's own TAG sets ("meta_attributes"...); NULL: none. g_free().
 */
char *cib_nvpair(xmlNode *node, const char *tag, const char *name);

/* A new element at the end of PARENT, with attributes NAME, VALUE... up to NULL; those whose value
 * is NULL are left out. Borrowed. */
xmlNode *cib_add(xmlNode *parent, const char *tag, ...) G_GNUC_NULL_TERMINATED;

/* Pacemaker's words for true (crm_is_true()) and false. */
gboolean cib_is_true(const char *text);
gboolean cib_is_false(const char *text);
/* A score: INFINITY and what is beyond is +-1000000; no number is 0. */
long cib_score(const char *text);
#define CIB_INFINITY 1000000

#endif
