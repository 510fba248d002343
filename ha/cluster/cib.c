/* SPDX-License-Identifier: GPL-2.0-only */
#include "cib.h"

#include <errno.h>
#include <string.h>
#include <libxml/parser.h>

#include "tool.h"

#define READ_MS 30000

int
cib_parse(const char *text, xmlDoc **doc_r, char **error_r)
{
    g_autoptr(cib_doc_t) doc = xmlReadMemory(text, (int)strlen(text), NULL, NULL,
                                             XML_PARSE_NONET | XML_PARSE_NOERROR |
                                                 XML_PARSE_NOWARNING | XML_PARSE_NOBLANKS);
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
        *error_r = g_strdup_printf("the cluster's configuration cannot be read (is pacemaker "
                                   "running here?): %s",
                                   why);
        return -ENOTCONN;
    }
    return cib_parse(text, doc_r, error_r);
}
