/* SPDX-License-Identifier: GPL-2.0-only */
#include "esmtp.h"

#include <string.h>

/* RFC 3461 4.2 and 4.4: so long at most, with NAME=. */
#define ENVID_MAX 106U
#define ORCPT_MAX 506U

static gboolean
is_one_of(const char *value, const char *const words[])
{
    for (; *words != NULL; words++) {
        if (g_ascii_strcasecmp(value, *words) == 0) {
            return TRUE;
        }
    }
    return FALSE;
}

/* Seven bits make no difference, and what is sent by DATA cannot be binary. */
static gboolean
body_is_kept(const char *value)
{
    static const char *const words[] = {"8BITMIME", NULL};
    return is_one_of(value, words);
}

static gboolean
ret_is_valid(const char *value)
{
    static const char *const words[] = {"FULL", "HDRS", NULL};
    return is_one_of(value, words);
}

static gboolean
notify_is_valid(const char *value)
{
    static const char *const words[] = {"SUCCESS", "FAILURE", "DELAY", NULL};
    g_auto(GStrv) parts = g_strsplit(value, ",", 4);
    gboolean valid = g_strv_length(parts) <= 3 && *parts != NULL;
    for (char **part = parts; *part != NULL && valid; part++) {
        valid = is_one_of(*part, words);
    }
    return valid || g_ascii_strcasecmp(value, "NEVER") == 0;
}

/* RFC 3461 4: visible characters; "+" begins two hexadecimal digits, "=" does not occur. */
static gboolean
xtext_is_valid(const char *value)
{
    for (const char *c = value; *c != '\0'; c++) {
        if (*c <= ' ' || *c > '~' || *c == '=') {
            return FALSE;
        }
        if (*c == '+' && (!g_ascii_isxdigit(c[1]) || !g_ascii_isxdigit(c[2]))) {
            return FALSE;
        }
    }
    return *value != '\0';
}

static gboolean
envid_is_valid(const char *value)
{
    return strlen(value) <= ENVID_MAX && xtext_is_valid(value);
}

/*
 * "rfc822;" and xtext. For utf-8 (RFC 6533 3) the address is encoded in visible ASCII too, but with
 * "\\x{...}" in it, or is UTF-8.
 */
static gboolean
orcpt_is_valid(const char *value)
{
    const char *address = strchr(value, ';');
    if (address == NULL || address == value || strlen(value) > ORCPT_MAX) {
        return FALSE;
    }
    if (g_ascii_strncasecmp(value, "utf-8;", 6) != 0) {
        return xtext_is_valid(address + 1) && xtext_is_valid(value);
    }
    for (const char *c = address + 1; *c != '\0'; c++) {
        if ((guchar)*c <= ' ' || *c == '\177') {
            return FALSE;
        }
    }
    return address[1] != '\0' && g_utf8_validate(address, -1, NULL);
}

static const struct parameter {
    const char *name;
    enum esmtp_command command;
    enum esmtp_extension extension;
    gboolean (*is_valid)(const char *value); /* NULL: it has none */
} known[] = {
    {"BODY", ESMTP_MAIL, ESMTP_8BITMIME, body_is_kept},
    {"SMTPUTF8", ESMTP_MAIL, ESMTP_SMTPUTF8, NULL},
    {"RET", ESMTP_MAIL, ESMTP_DSN, ret_is_valid},
    {"ENVID", ESMTP_MAIL, ESMTP_DSN, envid_is_valid},
    {"NOTIFY", ESMTP_RCPT, ESMTP_DSN, notify_is_valid},
    {"ORCPT", ESMTP_RCPT, ESMTP_DSN, orcpt_is_valid},
};

guint
esmtp_extension_of(const char *line)
{
    static const struct {
        const char *word;
        guint extension;
    } words[] = {{"8BITMIME", ESMTP_8BITMIME}, {"SMTPUTF8", ESMTP_SMTPUTF8}, {"DSN", ESMTP_DSN}};
    for (size_t i = 0; i < G_N_ELEMENTS(words); i++) {
        if (g_ascii_strcasecmp(line, words[i].word) == 0) {
            return words[i].extension;
        }
    }
    return 0;
}

/* Returns NULL when TEXT is none that is kept, or is not well-formed. */
static const struct parameter *
parameter_find(enum esmtp_command command, const char *text)
{
    size_t len = strcspn(text, "=");
    for (size_t i = 0; i < G_N_ELEMENTS(known); i++) {
        const struct parameter *p = &known[i];
        if (p->command != command || strlen(p->name) != len ||
            g_ascii_strncasecmp(text, p->name, len) != 0) {
            continue;
        }
        if (p->is_valid == NULL) {
            return text[len] == '\0' ? p : NULL;
        }
        return text[len] == '=' && p->is_valid(text + len + 1) ? p : NULL;
    }
    return NULL;
}

/* Which of them are in PARAMETERS already, as bits of their places in the table. */
static guint
present(const char *parameters, enum esmtp_command command)
{
    guint bits = 0;
    g_auto(GStrv) words = g_strsplit(parameters, " ", -1);
    for (char **word = words; *word != NULL; word++) {
        const struct parameter *p = parameter_find(command, *word);
        bits |= p == NULL ? 0 : 1U << (guint)(p - known);
    }
    return bits;
}

char *
esmtp_add(char *parameters, enum esmtp_command command, const char *parameter)
{
    const struct parameter *p = parameter_find(command, parameter);
    if (p == NULL) {
        return parameters;
    }
    if (parameters == NULL) {
        return g_strdup(parameter);
    }
    if ((present(parameters, command) & 1U << (guint)(p - known)) != 0) {
        return parameters;
    }
    char *both = g_strconcat(parameters, " ", parameter, NULL);
    g_free(parameters);
    return both;
}

char *
esmtp_select(const char *parameters, enum esmtp_command command, guint extensions)
{
    GString *selected = g_string_new(NULL);
    g_auto(GStrv) words = g_strsplit(parameters == NULL ? "" : parameters, " ", -1);
    guint taken = 0;
    for (char **word = words; *word != NULL; word++) {
        const struct parameter *p = parameter_find(command, *word);
        guint bit = p == NULL ? 0 : 1U << (guint)(p - known);
        if (p != NULL && (p->extension & extensions) != 0 && (taken & bit) == 0) {
            g_string_append_printf(selected, " %s", *word);
            taken |= bit;
        }
    }
    return g_string_free(selected, FALSE);
}

gboolean
esmtp_has(const char *parameters, const char *parameter)
{
    g_auto(GStrv) words = g_strsplit(parameters == NULL ? "" : parameters, " ", -1);
    for (char **word = words; *word != NULL; word++) {
        if (g_ascii_strcasecmp(*word, parameter) == 0) {
            return TRUE;
        }
    }
    return FALSE;
}
