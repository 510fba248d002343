/* SPDX-License-Identifier: GPL-2.0-only */
#include "cib.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <libxml/c14n.h>
#include <libxml/parser.h>
#include <libxml/xpath.h>

#include "tool.h"

#define READ_MS 30000

xmlDoc *
cib_parse_xml(const char *text)
{
    return xmlReadMemory(text, (int)strlen(text), NULL, NULL,
                         XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING |
                             XML_PARSE_NOBLANKS | XML_PARSE_HUGE);
}

int
cib_parse(const char *text, xmlDoc **doc_r, char **error_r)
{
    g_autoptr(cib_doc_t) doc = cib_parse_xml(text);
    const xmlNode *root = doc == NULL ? NULL : xmlDocGetRootElement(doc);
    if (root == NULL || strcmp((const char *)root->name, "cib") != 0) {
        *error_r = g_strdup("what should be the cluster's configuration is no CIB");
        return -EBADMSG;
    }
    *doc_r = g_steal_pointer(&doc);
    return 0;
}

int
cib_read(xmlDoc **doc_r, char **error_r)
{
    static const char *const argv[] = {TOOL_CIBADMIN, "--query", NULL};
    g_autofree char *text = NULL;
    g_autofree char *why = NULL;
    int rc = tool_output(argv, NULL, NULL, READ_MS, &text, &why);
    if (rc != 0) {
        *error_r = g_strdup_printf("the cluster's configuration cannot be read (does Pacemaker "
                                   "run here, and are you root?): %s",
                                   why);
        return -ENOTCONN;
    }
    return cib_parse(text, doc_r, error_r);
}

char *
cib_text(xmlDoc *doc)
{
    xmlChar *text = NULL;
    int size = 0;
    xmlDocDumpFormatMemory(doc, &text, &size, 1);
    char *copy = g_strndup((const char *)text, (gsize)size);
    xmlFree(text);
    return copy;
}

char *
cib_configuration(xmlDoc *doc)
{
    xmlChar *text = NULL;
    xmlNode *from = cib_find(doc, "/cib/configuration");
    if (from == NULL) {
        return g_strdup("");
    }
    g_autoptr(cib_doc_t) part = xmlNewDoc((const xmlChar *)"1.0");
    xmlDocSetRootElement(part, xmlDocCopyNode(from, part, 1));
    int size = xmlC14NDocDumpMemory(part, NULL, XML_C14N_1_0, NULL, 0, &text);
    char *copy = g_strndup((const char *)text, size > 0 ? (gsize)size : 0);
    xmlFree(text);
    return copy;
}

char *
cib_epoch(const xmlDoc *doc)
{
    const xmlNode *root = xmlDocGetRootElement(doc);
    g_autofree char *admin = cib_attribute(root, "admin_epoch");
    g_autofree char *epoch = cib_attribute(root, "epoch");
    return g_strdup_printf("%s.%s", admin != NULL ? admin : "0", epoch != NULL ? epoch : "0");
}

static GPtrArray *
evaluate(xmlDoc *doc, const char *format, va_list args)
{
    GPtrArray *found = g_ptr_array_new();
    g_autofree char *path = g_strdup_vprintf(format, args);
    xmlXPathContext *context = xmlXPathNewContext(doc);
    xmlXPathObject *object = xmlXPathEvalExpression((const xmlChar *)path, context);
    g_assert(object != NULL);
    for (int i = 0; object->nodesetval != NULL && i < object->nodesetval->nodeNr; i++) {
        g_ptr_array_add(found, object->nodesetval->nodeTab[i]);
    }
    xmlXPathFreeObject(object);
    xmlXPathFreeContext(context);
    return found;
}

GPtrArray *
cib_all(xmlDoc *doc, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    GPtrArray *found = evaluate(doc, format, args);
    va_end(args);
    return found;
}

xmlNode *
cib_find(xmlDoc *doc, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    g_autoptr(GPtrArray) found = evaluate(doc, format, args);
    va_end(args);
    return found->len > 0 ? g_ptr_array_index(found, 0) : NULL;
}

char *
cib_value(xmlDoc *doc, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    g_autoptr(GPtrArray) found = evaluate(doc, format, args);
    va_end(args);
    if (found->len == 0) {
        return NULL;
    }
    xmlChar *text = xmlNodeGetContent(g_ptr_array_index(found, 0));
    char *copy = g_strdup((const char *)text);
    xmlFree(text);
    return copy;
}

gboolean
cib_is_id(const char *text)
{
    if (!g_ascii_isalpha(*text) && *text != '_') {
        return FALSE;
    }
    for (; *text != '\0'; text++) {
        if (!g_ascii_isalnum(*text) && strchr("_-.", *text) == NULL) {
            return FALSE;
        }
    }
    return TRUE;
}

char *
cib_attribute(const xmlNode *node, const char *name)
{
    xmlChar *value = xmlGetNoNsProp(node, (const xmlChar *)name);
    char *copy = g_strdup((const char *)value);
    xmlFree(value);
    return copy;
}

gboolean
cib_attribute_is(const xmlNode *node, const char *name, const char *value)
{
    g_autofree char *have = cib_attribute(node, name);
    return g_strcmp0(have, value) == 0;
}

static gboolean
is_element(const xmlNode *node, const char *tag)
{
    return node->type == XML_ELEMENT_NODE && strcmp((const char *)node->name, tag) == 0;
}

char *
cib_nvpair(xmlNode *node, const char *tag, const char *name)
{
    for (xmlNode *set = node->children; set != NULL; set = set->next) {
        for (xmlNode *pair = is_element(set, tag) ? set->children : NULL; pair != NULL;
             pair = pair->next) {
            if (is_element(pair, "nvpair") && cib_attribute_is(pair, "name", name)) {
                return cib_attribute(pair, "value");
            }
        }
    }
    return NULL;
}

xmlNode *
cib_add(xmlNode *parent, const char *tag, ...)
{
    va_list args;
    const char *name;
    xmlNode *node = xmlNewChild(parent, NULL, (const xmlChar *)tag, NULL);
    va_start(args, tag);
    while ((name = va_arg(args, const char *)) != NULL) {
        const char *value = va_arg(args, const char *);
        if (value != NULL) {
            xmlNewProp(node, (const xmlChar *)name, (const xmlChar *)value);
        }
    }
    va_end(args);
    return node;
}

static gboolean
is_one_of(const char *text, const char *const words[])
{
    for (; text != NULL && *words != NULL; words++) {
        if (g_ascii_strcasecmp(text, *words) == 0) {
            return TRUE;
        }
    }
    return FALSE;
}

gboolean
cib_is_true(const char *text)
{
    static const char *const words[] = {"true", "on", "yes", "y", "1", NULL};
    return is_one_of(text, words);
}

gboolean
cib_is_false(const char *text)
{
    static const char *const words[] = {"false", "off", "no", "n", "0", NULL};
    return is_one_of(text, words);
}

long
cib_score(const char *text)
{
    static const struct {
        const char *word;
        long score;
    } words[] = {
        {"INFINITY", CIB_INFINITY}, {"+INFINITY", CIB_INFINITY}, {"-INFINITY", -CIB_INFINITY}};
    for (size_t i = 0; text != NULL && i < G_N_ELEMENTS(words); i++) {
        if (g_ascii_strcasecmp(text, words[i].word) == 0) {
            return words[i].score;
        }
    }
    long score = text == NULL ? 0 : strtol(text, NULL, 10);
    return CLAMP(score, -CIB_INFINITY, CIB_INFINITY);
}
