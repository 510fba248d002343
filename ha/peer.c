/* SPDX-License-Identifier: GPL-2.0-only */
#include "peer.h"

#include <errno.h>
#include <string.h>

#include "score.h"
#include "tool.h"

#define QUERY_TIMEOUT_MS 5000

/* The value of KEY="..." in LINE; NULL. g_free(). */
static char *
quoted(const char *line, const char *key)
{
    g_autofree char *begin = g_strdup_printf(" %s=\"", key);
    const char *at = strstr(line, begin);
    const char *value = at == NULL ? NULL : at + strlen(begin);
    const char *end = value == NULL ? NULL : strchr(value, '"');
    return end == NULL ? NULL : g_strndup(value, (gsize)(end - value));
}

bool
peer_parse(const char *text, const char *node)
{
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    for (char **line = lines; *line != NULL; line++) {
        g_autofree char *host = quoted(*line, "host");
        g_autofree char *value = quoted(*line, "value");
        if (host != NULL && value != NULL && g_strcmp0(host, node) != 0 &&
            (strcmp(value, "INFINITY") == 0 || g_ascii_strtoll(value, NULL, 10) >= SCORE_READY)) {
            return true;
        }
    }
    return false;
}

int
peer_is_ready(const char *resource, const char *node, bool *ret, char **error_r)
{
    g_autofree char *attribute = g_strconcat("master-", resource, NULL);
    g_autofree char *text = NULL;
    const char *argv[] = {TOOL_ATTRD_UPDATER, "-Q", "-A", "-n", attribute, NULL};
    int rc = tool_output(argv, NULL, NULL, QUERY_TIMEOUT_MS, &text, error_r);
    *ret = rc == 0 && peer_parse(text, node);
    if (rc > 0) {
        /* Nobody has the attribute yet. */
        g_clear_pointer(error_r, g_free);
        rc = 0;
    }
    return rc;
}
