/* SPDX-License-Identifier: GPL-2.0-only */
#include "mta.h"

#include <string.h>

#define BLANKS ", \t\n"

static gboolean
is_smtpd(const struct postfix_service *service)
{
    return strcmp(service->command, "smtpd") == 0;
}

enum mta_way
mta_way(const struct postfix_service *service)
{
    static const char *const loopback[] = {"127.", "localhost:", "[::1]:", "::1:"};
    if (strcmp(service->type, "unix") == 0) {
        return MTA_LOCAL;
    }
    for (size_t i = 0; i < G_N_ELEMENTS(loopback); i++) {
        if (g_str_has_prefix(service->name, loopback[i])) {
            return MTA_LOOPBACK;
        }
    }
    return MTA_NETWORK;
}

/* Takes main.cf's list of milters, so that one address has to suit it. */
static gboolean
takes_main(const struct postfix_service *s)
{
    if (strcmp(s->command, "cleanup") == 0) {
        return !g_hash_table_contains(s->overrides, "non_smtpd_milters");
    }
    return is_smtpd(s) && mta_way(s) != MTA_LOCAL &&
           !g_hash_table_contains(s->overrides, "smtpd_milters");
}

gboolean
mta_is_chrooted(const struct postfix *postfix)
{
    for (guint i = 0; i < postfix->services->len; i++) {
        const struct postfix_service *s = g_ptr_array_index(postfix->services, i);
        if (is_smtpd(s) && mta_way(s) == MTA_NETWORK && s->chroot) {
            return TRUE;
        }
    }
    return FALSE;
}

static gboolean
is_unix(const char *address)
{
    return g_str_has_prefix(address, "unix:") || g_str_has_prefix(address, "local:");
}

gboolean
mta_same_inet(const char *mta, const char *ours)
{
    static const char *const local[] = {"127.0.0.1", "localhost", "[::1]", "::1",
                                        "0.0.0.0",   "[::]",      "::",    NULL};
    const char *a = strrchr(mta, ':');
    const char *b = strrchr(ours, ':');
    if (!g_str_has_prefix(mta, "inet:") || a == mta + 4 || strcmp(a, b) != 0) {
        return FALSE;
    }
    g_autofree char *host = g_strndup(mta + 5, (gsize)(a - mta - 5));
    g_autofree char *listen = g_strndup(ours + 5, (gsize)(b - ours - 5));
    return g_ascii_strcasecmp(host, listen) == 0 ||
           (g_strv_contains(local, host) && g_strv_contains(local, listen)) ||
           g_strv_contains(local + 4, listen);
}

const char *
mta_signer(const char *address)
{
    static const char *const signers[][2] = {
        {"opendkim", "OpenDKIM"}, {"openarc", "OpenARC"},    {"dkimpy", "dkimpy-milter"},
        {"rspamd", "rspamd"},     {"dkim", "a DKIM milter"},
    };
    static const char *const ports[][2] = {{":8891", "OpenDKIM"},
                                           {":8892", "dkimpy-milter"},
                                           {":8893", "OpenARC"},
                                           {":11332", "rspamd"}};
    for (size_t i = 0; i < G_N_ELEMENTS(signers); i++) {
        if (is_unix(address) && strstr(address, signers[i][0]) != NULL) {
            return signers[i][1];
        }
    }
    for (size_t i = 0; i < G_N_ELEMENTS(ports); i++) {
        if (g_str_has_suffix(address, ports[i][0])) {
            return ports[i][1];
        }
    }
    return NULL;
}

/* The names that one socket has: outside, below the queue with and without a change of root. */
static gboolean
names_socket(const struct postfix *postfix, const char *path, const char *socket)
{
    g_autofree char *name = g_path_get_basename(socket);
    g_autofree char *relative = g_build_filename("postern", name, NULL);
    g_autofree char *inside = g_build_filename("/postern", name, NULL);
    g_autofree char *outside =
        g_build_filename(postfix_get(postfix, NULL, "queue_directory"), relative, NULL);
    const char *const names[] = {socket, relative, inside, outside, NULL};
    return g_strv_contains(names, path);
}

gboolean
mta_is_ours(const struct postfix *postfix, const char *address, char *const *listen)
{
    for (; *listen != NULL; listen++) {
        const char *path = strchr(address, ':');
        gboolean same =
            is_unix(*listen)
                ? is_unix(address) && names_socket(postfix, path + 1, *listen + strlen("unix:"))
                : mta_same_inet(address, *listen);
        if (same) {
            return TRUE;
        }
    }
    return FALSE;
}

gboolean
mta_list_has(const struct postfix *postfix, const char *list, char *const *listen)
{
    g_autoptr(GPtrArray) milters = postfix_milters(list);
    for (guint i = 0; i < milters->len; i++) {
        const struct postfix_milter *milter = g_ptr_array_index(milters, i);
        if (mta_is_ours(postfix, milter->address, listen)) {
            return TRUE;
        }
    }
    return FALSE;
}

static gboolean
is_covered(const struct postfix *postfix, const struct postfix_service *s, const char *parameter,
           char *const *listen)
{
    return mta_list_has(postfix, postfix_get(postfix, s, parameter), listen) &&
           !postfix_list_has(postfix_get(postfix, s, "receive_override_options"), "no_milters");
}

enum mta_state
mta_state(const struct postfix *postfix, char *const *listen)
{
    guint with = 0;
    guint without = 0;
    for (guint i = 0; i < postfix->services->len; i++) {
        const struct postfix_service *s = g_ptr_array_index(postfix->services, i);
        gboolean cleanup = strcmp(s->command, "cleanup") == 0;
        if (cleanup || (is_smtpd(s) && mta_way(s) == MTA_NETWORK)) {
            gboolean covered =
                is_covered(postfix, s, cleanup ? "non_smtpd_milters" : "smtpd_milters", listen);
            with += covered;
            without += !covered;
        }
    }
    return with == 0 ? MTA_OFF : without == 0 ? MTA_ENABLED : MTA_PARTLY;
}

const char *
mta_state_word(enum mta_state state)
{
    static const char *const words[] = {
        [MTA_OFF] = "off", [MTA_PARTLY] = "partly", [MTA_ENABLED] = "enabled"};
    return words[state];
}

/* "inet:0.0.0.0:8894" is a place to listen, not one to connect to. */
static char *
inet_address(const char *listen)
{
    const char *port = strrchr(listen, ':');
    g_autofree char *host = g_strndup(listen + 5, (gsize)(port - listen - 5));
    if (strcmp(host, "0.0.0.0") == 0) {
        return g_strconcat("inet:127.0.0.1", port, NULL);
    }
    if (strcmp(host, "[::]") == 0 || strcmp(host, "::") == 0) {
        return g_strconcat("inet:[::1]", port, NULL);
    }
    return g_strdup(listen);
}

char *
mta_address(const struct postfix *postfix, char *const *listen)
{
    const char *chosen = NULL;
    guint chrooted = 0;
    guint all = 0;
    for (char *const *l = listen; *l != NULL && chosen == NULL; l++) {
        chosen = is_unix(*l) ? *l : NULL;
    }
    if (chosen == NULL) {
        return *listen == NULL ? NULL : inet_address(*listen);
    }
    for (guint i = 0; i < postfix->services->len; i++) {
        const struct postfix_service *s = g_ptr_array_index(postfix->services, i);
        if (takes_main(s)) {
            all++;
            chrooted += s->chroot ? 1 : 0;
        }
    }
    g_autofree char *name = g_path_get_basename(chosen + strlen("unix:"));
    if (chrooted == 0) {
        return g_strdup(chosen);
    }
    return g_strconcat(chrooted == all ? "unix:/postern/" : "unix:postern/", name, NULL);
}

/* The length of the entry that LIST begins with: a word, or all in braces. */
static size_t
entry_length(const char *list)
{
    if (*list != '{') {
        return strcspn(list, BLANKS);
    }
    size_t inside = strcspn(list, "}");
    return list[inside] == '}' ? inside + 1 : inside;
}

static char *
entry_address(const char *entry, size_t length)
{
    g_autofree char *word = g_strndup(entry, length);
    g_autoptr(GPtrArray) milters = postfix_milters(word);
    if (milters->len == 0) {
        return NULL;
    }
    const struct postfix_milter *milter = g_ptr_array_index(milters, 0);
    return g_strdup(milter->address);
}

char *
mta_list_add(const char *list, const char *entry)
{
    const char *at = list + strspn(list, BLANKS);
    if (*at == '\0' || strcmp(at, "none") == 0) {
        return g_strdup(entry);
    }
    while (*at != '\0') {
        size_t length = entry_length(at);
        g_autofree char *address = entry_address(at, length);
        if (address != NULL && mta_signer(address) != NULL) {
            return g_strdup_printf("%.*s%s, %s", (int)(at - list), list, entry, at);
        }
        at += length + strspn(at + length, BLANKS);
    }
    g_autofree char *before = g_strchomp(g_strdup(list));
    size_t end = strlen(before);
    while (end > 0 && strchr(BLANKS, before[end - 1]) != NULL) {
        end--;
    }
    return g_strdup_printf("%.*s, %s", (int)end, before, entry);
}

char *
mta_list_remove(const struct postfix *postfix, const char *list, char *const *listen)
{
    GString *kept = g_string_new(NULL);
    const char *at = list;
    while (*at != '\0') {
        size_t gap = strspn(at, BLANKS);
        size_t length = entry_length(at + gap);
        g_autofree char *address = entry_address(at + gap, length);
        if (address == NULL || !mta_is_ours(postfix, address, listen)) {
            /* The blanks that led to an entry go with it when it is now the first. */
            const char *from = kept->len == 0 ? at + gap : at;
            g_string_append_len(kept, from, at + gap + length - from);
        }
        at += gap + length;
    }
    return g_string_free(kept, FALSE);
}

char *
mta_list_compact(const char *list)
{
    GString *out = g_string_new(NULL);
    for (list += strspn(list, BLANKS); *list != '\0';) {
        size_t word = strcspn(list, BLANKS "{}");
        size_t gap = 0;
        g_string_append_len(out, list, (gssize)word);
        list += word;
        if (*list == '{' || *list == '}') {
            g_string_append_c(out, *list);
            gap = strspn(list + 1, BLANKS);
            gboolean last = list[1 + gap] == '\0';
            if (*list == '}' && gap > 0 && !last) {
                g_string_append_c(out, ',');
            }
            list += 1 + gap;
            continue;
        }
        gap = strspn(list, BLANKS);
        if (list[gap] != '\0' && list[gap] != '}') {
            g_string_append_c(out, ',');
        }
        list += gap;
    }
    return g_string_free(out, FALSE);
}
