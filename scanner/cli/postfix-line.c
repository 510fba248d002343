/* SPDX-License-Identifier: GPL-2.0-only */
#include "postfix-line.h"

#include <string.h>

/* Five hexadecimal digits of microseconds and the inode; or, long, time and inode in base 52. */
#define SHORT_LEAST 6
#define LONG_LEAST 10
#define LONG_DIGITS "0123456789BCDFGHJKLMNPQRSTVWXYZbcdfghjklmnpqrstvwxyz"

static gboolean
id_take(const char *text, size_t length, char ret_id[QUEUE_ID_MAX])
{
    size_t hex = strspn(text, "0123456789ABCDEF");
    size_t wide = strspn(text, LONG_DIGITS);
    if (length >= QUEUE_ID_MAX ||
        !((length >= SHORT_LEAST && hex >= length) || (length >= LONG_LEAST && wide >= length))) {
        return FALSE;
    }
    memcpy(ret_id, text, length);
    ret_id[length] = '\0';
    return TRUE;
}

const char *
queue_id_parse(const char *text, char ret_id[QUEUE_ID_MAX])
{
    const char *colon = strchr(text, ':');
    if (colon == NULL || colon[1] != ' ' || !id_take(text, (size_t)(colon - text), ret_id)) {
        return NULL;
    }
    return colon + 2;
}

/* A queue id that follows WORD in TEXT; "" when there is none. */
static void
id_after(const char *text, const char *word, char ret_id[QUEUE_ID_MAX])
{
    const char *found = strstr(text, word);
    ret_id[0] = '\0';
    if (found != NULL) {
        found += strlen(word);
        (void)id_take(found, strspn(found, LONG_DIGITS "AE"), ret_id);
    }
}

static void
value_set(struct postfix_line *line, const char *text, size_t length)
{
    length = MIN(length, sizeof line->value - 1);
    memcpy(line->value, text, length);
    line->value[length] = '\0';
}

/* The milter's answer is what follows the third ": ", "4.7.1 ..." or "5.7.1 ...". */
static void
refusal_parse(struct postfix_line *line, const char *text)
{
    const char *code = strstr(text, "]: ");
    line->by_milter = g_str_has_prefix(text, "milter-reject: ");
    line->temporary = code != NULL && code[3] == '4';
    code = code == NULL ? text : code + 3;
    value_set(line, code, strcspn(code, ";"));
}

static void
parse_session(struct postfix_line *line, const char *text)
{
    value_set(line, text, strlen(text));
}

static void
parse_local(struct postfix_line *line, const char *text)
{
    value_set(line, text, strlen(text));
    id_after(text, " orig_id=", line->parent);
}

static void
parse_receive(struct postfix_line *line, const char *text)
{
    const char *client = text + strlen("client=");
    value_set(line, client, strcspn(client, ","));
}

static void
parse_angle(struct postfix_line *line, const char *text)
{
    const char *open = strchr(text, '=') + 1;
    value_set(line, open, *open == '<' ? strcspn(open, ">") + 1 : strlen(open));
}

static void
parse_queued(struct postfix_line *line, const char *text)
{
    if (strstr(text, ", nrcpt=") == NULL) {
        line->event = POSTFIX_NONE;
    }
    parse_angle(line, text);
}

static gboolean
is_own_relay(const char *text)
{
    return strstr(text, ", relay=127.") != NULL || strstr(text, ", relay=localhost[") != NULL ||
           strstr(text, "[127.0.0.1]:") != NULL || strstr(text, "[::1]:") != NULL ||
           strstr(text, "[private/") != NULL;
}

/* What a content filter on this host handed back, and what an alias made of it, are its children.
 */
static void
parse_delivery(struct postfix_line *line, const char *text)
{
    const char *status = strstr(text, ", status=");
    if (status == NULL) {
        line->event = POSTFIX_NONE;
        return;
    }
    status += strlen(", status=");
    value_set(line, status, strspn(status, "abcdefghijklmnopqrstuvwxyz"));
    id_after(status, "forwarded as ", line->child);
    if (line->child[0] == '\0' && is_own_relay(text)) {
        id_after(status, "queued as ", line->child);
    }
}

static void
parse_notice(struct postfix_line *line, const char *text)
{
    id_after(text, "notification: ", line->child);
    if (line->child[0] == '\0') {
        line->event = POSTFIX_NONE;
    }
}

static void
parse_refusal(struct postfix_line *line, const char *text)
{
    refusal_parse(line, text);
}

static void
parse_discard(struct postfix_line *line, const char *text)
{
    line->by_milter = g_str_has_prefix(text, "milter-");
}

static void
parse_nothing(struct postfix_line *line, const char *text)
{
    (void)line;
    (void)text;
}

/* Only the first that fits counts; NULL stands for every daemon. */
static const struct {
    const char *daemon;
    const char *prefix;
    enum postfix_event event;
    void (*parse)(struct postfix_line *line, const char *text);
} forms[] = {
    {"smtpd", "client=", POSTFIX_RECEIVE, parse_receive},
    {"qmqpd", "client=", POSTFIX_RECEIVE, parse_receive},
    {"pickup", "uid=", POSTFIX_LOCAL, parse_local},
    {"cleanup", "message-id=", POSTFIX_ID, parse_angle},
    {"cleanup", "milter-reject: END-OF-MESSAGE ", POSTFIX_REJECT, parse_refusal},
    {"cleanup", "reject: ", POSTFIX_REJECT, parse_refusal},
    {"cleanup", "milter-discard: ", POSTFIX_DISCARD, parse_discard},
    {"cleanup", "discard: ", POSTFIX_DISCARD, parse_discard},
    {"cleanup", "milter-hold: ", POSTFIX_HOLD, parse_nothing},
    {"cleanup", "hold: ", POSTFIX_HOLD, parse_nothing},
    {"postsuper", "placed on hold", POSTFIX_HOLD, parse_nothing},
    {"postsuper", "requeued", POSTFIX_REQUEUED, parse_nothing},
    {"postsuper", "removed", POSTFIX_DELETED, parse_nothing},
    {"qmgr", "from=", POSTFIX_QUEUED, parse_queued},
    {"oqmgr", "from=", POSTFIX_QUEUED, parse_queued},
    {"nqmgr", "from=", POSTFIX_QUEUED, parse_queued},
    {"qmgr", "removed", POSTFIX_REMOVED, parse_nothing},
    {"oqmgr", "removed", POSTFIX_REMOVED, parse_nothing},
    {"nqmgr", "removed", POSTFIX_REMOVED, parse_nothing},
    {"bounce", "sender ", POSTFIX_NOTICE, parse_notice},
    {"bounce", "postmaster ", POSTFIX_NOTICE, parse_notice},
    {NULL, "to=<", POSTFIX_DELIVERY, parse_delivery},
};

/* Lines without a queue id. */
static gboolean
parse_unnamed(const char *daemon, const char *text, struct postfix_line *line)
{
    if (strcmp(daemon, "smtpd") == 0 && g_str_has_prefix(text, "connect from ")) {
        line->event = POSTFIX_SESSION;
        parse_session(line, text + strlen("connect from "));
    } else if (g_str_has_prefix(text, "warning: ") &&
               (strstr(text, " milter ") != NULL || strstr(text, "Milter service") != NULL)) {
        line->event = POSTFIX_TROUBLE;
        value_set(line, text, strlen(text));
    } else if (g_str_has_prefix(text, "NOQUEUE: ") && strstr(text, "reject: ") != NULL) {
        line->event = POSTFIX_REFUSED;
        refusal_parse(line, text + strlen("NOQUEUE: "));
    }
    return line->event != POSTFIX_NONE;
}

gboolean
postfix_line_parse(const char *daemon, const char *text, struct postfix_line *ret)
{
    ret->event = POSTFIX_NONE;
    ret->queue_id[0] = ret->value[0] = ret->parent[0] = ret->child[0] = '\0';
    ret->temporary = ret->by_milter = FALSE;
    const char *rest = queue_id_parse(text, ret->queue_id);
    if (rest == NULL) {
        return parse_unnamed(daemon, text, ret);
    }
    for (size_t i = 0; i < G_N_ELEMENTS(forms); i++) {
        if ((forms[i].daemon == NULL || strcmp(forms[i].daemon, daemon) == 0) &&
            g_str_has_prefix(rest, forms[i].prefix)) {
            ret->event = forms[i].event;
            forms[i].parse(ret, rest);
            break;
        }
    }
    return ret->event != POSTFIX_NONE;
}
