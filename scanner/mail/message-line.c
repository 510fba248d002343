/* SPDX-License-Identifier: GPL-2.0-only */
#include "message-line.h"

#include <string.h>

#include "text.h"

#define ID_MAX 40U
#define FIELD_MAX 160U

/* Names and addresses are chosen by whoever sends: none may look like a field of ours. */
static void
append_text(GString *line, const char *name, const char *raw, size_t max)
{
    g_autofree char *text = text_escape(raw, max);
    g_string_append_printf(line, " %s=", name);
    if (raw == NULL || (*text != '\0' && strpbrk(text, " \"=") == NULL)) {
        g_string_append(line, text);
        return;
    }
    g_string_append_c(line, '"');
    for (const char *p = text; *p != '\0'; p++) {
        if (*p == '"') {
            g_string_append(line, "\\x22");
        } else {
            g_string_append_c(line, *p);
        }
    }
    g_string_append_c(line, '"');
}

static void
append_number(GString *line, const char *name, guint64 n)
{
    g_string_append_printf(line, " %s=%" G_GUINT64_FORMAT, name, n);
}

static char *
client_text(const struct envelope *e)
{
    if (e->client_name == NULL && e->client_addr == NULL) {
        return NULL;
    }
    return g_strdup_printf("%s[%s]", e->client_name != NULL ? e->client_name : "unknown",
                           e->client_addr != NULL ? e->client_addr : "unknown");
}

char *
message_line(const struct message_line *m)
{
    const struct envelope *e = m->envelope;
    g_autofree char *client = client_text(e);
    g_autofree char *id = text_escape(e->queue_id, ID_MAX);
    GString *line = g_string_new(id);
    g_string_append_c(line, ':');
    append_text(line, "message-id", e->message_id, FIELD_MAX);
    append_text(line, "client", client, FIELD_MAX);
    append_text(line, "user", e->auth_user, FIELD_MAX);
    append_text(line, "direction", direction_name(e->direction), FIELD_MAX);
    append_text(line, "from", e->sender, FIELD_MAX);
    append_number(line, "rcpts", e->recipients->len);
    append_number(line, "size", m->size);
    append_text(line, "verdict", m->verdict, FIELD_MAX);
    append_text(line, "reason", m->reason != NULL && *m->reason != '\0' ? m->reason : NULL,
                2 * FIELD_MAX);
    append_text(line, "action", m->action, FIELD_MAX);
    if (m->rule != NULL) {
        append_text(line, "rule", m->rule, FIELD_MAX);
    }
    if (m->key != NULL) {
        append_text(line, "key", m->key, FIELD_MAX);
    }
    append_number(line, "scan_ms", m->scan_us / 1000);
    append_number(line, "store_ms", m->store_us / 1000);
    append_number(line, "total_ms", m->total_us / 1000);
    return g_string_free(line, FALSE);
}
