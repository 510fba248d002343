/* SPDX-License-Identifier: GPL-2.0-only */
#include "smtp-answer.h"

#include <errno.h>
#include <string.h>

/* RFC 5321 4.5.3.1.5 allows 512 bytes a line; more than this is no SMTP server. */
#define ANSWER_MAX 16384

struct smtp_answer *
smtp_answer_new(void)
{
    struct smtp_answer *answer = g_new0(struct smtp_answer, 1);
    answer->text = g_string_new(NULL);
    answer->line = g_string_new(NULL);
    return answer;
}

void
smtp_answer_free(struct smtp_answer *answer)
{
    if (answer != NULL) {
        g_string_free(answer->text, TRUE);
        g_string_free(answer->line, TRUE);
        g_free(answer);
    }
}

/* Takes one line out of what was read. Returns 1 with it in LINE, 0, or -EPROTO. */
static int
line_take(GString *in, GString *line)
{
    const char *end = memchr(in->str, '\n', in->len);
    if (end == NULL) {
        return in->len > ANSWER_MAX ? -EPROTO : 0;
    }
    gsize n = (gsize)(end - in->str);
    g_string_truncate(line, 0);
    g_string_append_len(line, in->str, (gssize)n);
    g_string_erase(in, 0, (gssize)n + 1);
    if (line->len > 0 && line->str[line->len - 1] == '\r') {
        g_string_truncate(line, line->len - 1);
    }
    return 1;
}

static gboolean
line_is_valid(const GString *line)
{
    return line->len >= 3 && line->str[0] >= '2' && line->str[0] <= '5' &&
           g_ascii_isdigit(line->str[1]) && g_ascii_isdigit(line->str[2]) &&
           strchr(" -", line->str[3]) != NULL;
}

int
smtp_answer_take(struct smtp_answer *answer, GString *in, smtp_answer_line *each, void *data)
{
    int rc;
    if (!answer->more) {
        g_string_truncate(answer->text, 0);
    }
    while ((rc = line_take(in, answer->line)) > 0) {
        const GString *line = answer->line;
        if (!line_is_valid(line) || answer->text->len > ANSWER_MAX) {
            return -EPROTO;
        }
        const char *rest = line->len > 4 ? line->str + 4 : "";
        g_string_append_printf(answer->text, "%s%s", answer->text->len > 0 ? " " : "", rest);
        if (each != NULL) {
            each(rest, data);
        }
        answer->more = line->str[3] == '-';
        if (!answer->more) {
            answer->code = (int)g_ascii_strtoll(line->str, NULL, 10);
            return 1;
        }
    }
    return rc;
}
