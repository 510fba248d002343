/* SPDX-License-Identifier: GPL-2.0-only */
#include "rings.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <string.h>

#include "text.h"
#include "tool.h"

#define TOOL_MS 20000
/* Of corosync 3: knet_links, "0 to 7". */
#define LINKS 8

struct entry {
    guint64 id;
    char *addresses[LINKS];
};

static void
entry_free(void *p)
{
    struct entry *entry = p;
    for (guint i = 0; i < LINKS; i++) {
        g_free(entry->addresses[i]);
    }
    g_free(entry);
}

static void
node_free(void *p)
{
    struct ring_node *node = p;
    g_free(node->name);
    g_strfreev(node->addresses);
    g_free(node);
}

/* "nodelist.node.0.ring1_addr (str) = 10.0.0.1": which entry, which key; the value. */
static gboolean
take_line(GHashTable *entries, const char *line)
{
    g_auto(GStrv) halves = g_strsplit(line, " = ", 2);
    if (g_strv_length(halves) != 2) {
        return FALSE;
    }
    *strchrnul(halves[0], ' ') = '\0';
    g_auto(GStrv) path = g_strsplit(halves[0], ".", 4);
    if (g_strv_length(path) != 4 || strcmp(path[0], "nodelist") != 0 ||
        strcmp(path[1], "node") != 0) {
        return FALSE;
    }
    struct entry *entry = g_hash_table_lookup(entries, path[2]);
    if (entry == NULL) {
        entry = g_new0(struct entry, 1);
        g_hash_table_insert(entries, g_strdup(path[2]), entry);
    }
    const char *value = g_strstrip(halves[1]);
    guint link = 0;
    if (strcmp(path[3], "nodeid") == 0) {
        entry->id = g_ascii_strtoull(value, NULL, 10);
    } else if (g_str_has_prefix(path[3], "ring") && g_str_has_suffix(path[3], "_addr")) {
        link = (guint)g_ascii_strtoull(path[3] + strlen("ring"), NULL, 10);
        if (link < LINKS && entry->addresses[link] == NULL) {
            entry->addresses[link] = g_strdup(value);
        }
    }
    return TRUE;
}

static gboolean
is_numeric(const char *text)
{
    struct in6_addr ignored;
    return inet_pton(AF_INET, text, &ignored) == 1 || inet_pton(AF_INET6, text, &ignored) == 1;
}

static char **
numeric(const struct entry *entry, char *(*resolve)(const char *name), char **error_r)
{
    g_autoptr(GPtrArray) found = g_ptr_array_new_with_free_func(g_free);
    for (guint i = 0; i < LINKS; i++) {
        const char *text = entry->addresses[i];
        if (text == NULL) {
            continue;
        }
        char *address = is_numeric(text) ? g_strdup(text) : resolve != NULL ? resolve(text) : NULL;
        if (address == NULL) {
            g_autofree char *shown = text_escape(text, 100);
            *error_r = g_strdup_printf("%s in corosync's nodelist has no address", shown);
            return NULL;
        }
        g_ptr_array_add(found, address);
    }
    g_ptr_array_add(found, NULL);
    g_ptr_array_set_free_func(found, NULL);
    return (char **)g_ptr_array_free(g_steal_pointer(&found), FALSE);
}

/* Lines of "ID NAME STATE". */
static char *
name_of(const char *names, guint64 id)
{
    g_auto(GStrv) lines = g_strsplit(names, "\n", -1);
    for (char **line = lines; *line != NULL; line++) {
        g_auto(GStrv) words = g_strsplit(*line, " ", 3);
        if (g_strv_length(words) >= 2 && *words[1] != '\0' &&
            g_ascii_strtoull(words[0], NULL, 10) == id) {
            return g_strdup(words[1]);
        }
    }
    return NULL;
}

static int
by_name(const void *a, const void *b)
{
    return strcmp((*(struct ring_node *const *)a)->name, (*(struct ring_node *const *)b)->name);
}

GPtrArray *
rings_parse(const char *cmap, const char *names, char *(*resolve)(const char *name), char **error_r)
{
    g_autoptr(GHashTable) entries =
        g_hash_table_new_full(g_str_hash, g_str_equal, g_free, entry_free);
    g_autoptr(GPtrArray) nodes = g_ptr_array_new_with_free_func(node_free);
    g_auto(GStrv) lines = g_strsplit(cmap, "\n", -1);
    GHashTableIter iter;
    void *entry;
    for (char **line = lines; *line != NULL; line++) {
        (void)take_line(entries, *line);
    }
    g_hash_table_iter_init(&iter, entries);
    while (g_hash_table_iter_next(&iter, NULL, &entry)) {
        char *name = name_of(names, ((struct entry *)entry)->id);
        if (name == NULL) {
            continue; /* corosync has it, and Pacemaker never saw it */
        }
        struct ring_node *node = g_new0(struct ring_node, 1);
        g_ptr_array_add(nodes, node);
        node->name = name;
        node->addresses = numeric(entry, resolve, error_r);
        if (node->addresses == NULL) {
            return NULL;
        }
        if (node->addresses[0] == NULL) {
            *error_r = g_strdup_printf("corosync's nodelist has no address of %s", name);
            return NULL;
        }
    }
    if (nodes->len == 0) {
        *error_r = g_strdup("corosync has no nodelist: is its configuration older than version 3?");
        return NULL;
    }
    g_ptr_array_sort(nodes, by_name);
    return g_steal_pointer(&nodes);
}

static char *
resolve_name(const char *name)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    char text[NI_MAXHOST] = "";
    if (getaddrinfo(name, NULL, &hints, &found) != 0) {
        return NULL;
    }
    int rc =
        getnameinfo(found->ai_addr, found->ai_addrlen, text, sizeof text, NULL, 0, NI_NUMERICHOST);
    freeaddrinfo(found);
    return rc == 0 && is_numeric(text) ? g_strdup(text) : NULL;
}

GPtrArray *
rings_read(char **error_r)
{
    static const char *const cmap[] = {TOOL_COROSYNC_CMAPCTL, "nodelist.", NULL};
    static const char *const names[] = {TOOL_CRM_NODE, "-l", NULL};
    g_autofree char *rings = NULL;
    g_autofree char *nodes = NULL;
    g_autofree char *why = NULL;
    if (tool_output(cmap, NULL, NULL, TOOL_MS, &rings, &why) != 0 ||
        tool_output(names, NULL, NULL, TOOL_MS, &nodes, &why) != 0) {
        *error_r = g_strdup_printf("the cluster does not say its addresses on this node: %s", why);
        return NULL;
    }
    return rings_parse(rings, nodes, resolve_name, error_r);
}
