/* SPDX-License-Identifier: GPL-2.0-only */
#include "settings-check.h"

#include <netdb.h>
#include <stdint.h>
#include <string.h>

#include "nearest.h"
#include "networks.h"

static bool
is_listen(const char *address)
{
    if (!g_str_has_prefix(address, "inet:")) {
        return g_str_has_prefix(address, "unix:/");
    }
    struct addrinfo *found = network_endpoint(address + strlen("inet:"));
    if (found != NULL) {
        freeaddrinfo(found);
    }
    return found != NULL;
}

static char *
check_listen(const char *name, char *const *addresses)
{
    for (; *addresses != NULL; addresses++) {
        if (!is_listen(*addresses)) {
            return g_strdup_printf("%s = %s: must be unix:/PATH or inet:ADDRESS:PORT, with the "
                                   "address in numbers",
                                   name, *addresses);
        }
    }
    return NULL;
}

static char *
check_networks(const char *name, char *const *networks)
{
    for (; *networks != NULL; networks++) {
        const char *wrong = network_wrong(*networks);
        if (wrong != NULL) {
            return g_strdup_printf("%s = %s: %s", name, *networks, wrong);
        }
    }
    return NULL;
}

static char *
check_clamd(const struct settings *s)
{
    guint64 mode = 0;
    if (!g_ascii_string_to_unsigned(s->clamd_socket_mode, 8, 0600, 0777, &mode, NULL) ||
        (mode & 0600) != 0600) {
        return g_strdup_printf("clamd_socket_mode = %s: must be an octal mode from 0600 to 0666",
                               s->clamd_socket_mode);
    }
    for (char **path = s->clamd_paths; *path != NULL; path++) {
        if (**path != '/') {
            return g_strdup_printf("clamd_paths = %s: must begin with /", *path);
        }
    }
    return check_listen("clamd_listen", s->clamd_listen);
}

/* Settings with two possible values. */
static char *
check_words(const struct settings *s)
{
    const struct {
        const char *name;
        const char *value;
        const char *words[3];
    } settings[] = {
        {"state_storage", s->state_storage, {"exclusive", "shared", NULL}},
        {"update_on", s->update_on, {"active node", "every node", NULL}},
        {"adopt_move", s->adopt_move, {"yes", "no", NULL}},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(settings); i++) {
        const char *const *words = settings[i].words;
        const char *near = nearest_name(settings[i].value, words);
        if (!g_strv_contains(words, settings[i].value)) {
            return g_strdup_printf("%s = %s: must be %s or %s%s%s%s", settings[i].name,
                                   settings[i].value, words[0], words[1],
                                   near != NULL ? "; did you mean " : "", near != NULL ? near : "",
                                   near != NULL ? "?" : "");
        }
    }
    return NULL;
}

/* What libcurl speaks, or, with BARE, a host name alone. */
static bool
is_url(const char *text, const char *const schemes[], bool bare)
{
    const char *host = strstr(text, "://");
    g_autofree char *scheme = host != NULL ? g_strndup(text, (gsize)(host - text)) : NULL;
    if (text[strcspn(text, " \t\r\n\"")] != '\0' || (host == NULL && !bare)) {
        return false;
    }
    return host == NULL ? *text != '\0' && *text != '/'
                        : host[3] != '\0' && g_strv_contains(schemes, scheme);
}

/* "main", "daily": a name that libfreshclam makes files of. */
static char *
check_databases(char *const *names)
{
    for (char *const *name = names; *name != NULL; name++) {
        size_t n = strspn(*name, G_CSET_a_2_z G_CSET_A_2_Z G_CSET_DIGITS "_-");
        if (n == 0 || (*name)[n] != '\0') {
            return g_strdup_printf("update_databases = %s: must be a database's name without "
                                   "extension, like daily",
                                   *name);
        }
        if (strcmp(*name, "none") == 0 && names[1] != NULL) {
            return g_strdup("update_databases: none excludes others");
        }
    }
    return NULL;
}

/* Each file of the sets of others has a name of its own in a generation. */
static char *
check_urls(char *const *urls)
{
    static const char *const schemes[] = {"http", "https", "ftp", "file", NULL};
    g_autoptr(GHashTable) names = g_hash_table_new(g_str_hash, g_str_equal);
    for (; *urls != NULL; urls++) {
        const char *name = strrchr(*urls, '/');
        if (!is_url(*urls, schemes, false) || name[1] == '\0' || strpbrk(name, "?#") != NULL) {
            return g_strdup_printf("update_urls = %s: must be a URL (http, https, ftp, file) that "
                                   "ends in the file's name",
                                   *urls);
        }
        if (!g_hash_table_add(names, (void *)(uintptr_t)name)) {
            return g_strdup_printf("update_urls = %s: another one ends in that name, too; a set "
                                   "has each name once",
                                   *urls);
        }
    }
    return NULL;
}

static char *
check_update(const struct settings *s)
{
    static const char *const schemes[] = {"http", "https", NULL};
    static const char *const proxies[] = {"http", "https", "socks4", "socks5", "socks5h", NULL};
    char *wrong = check_databases(s->update_databases);
    for (char **each = s->update_mirrors; *each != NULL && wrong == NULL; each++) {
        if (!is_url(*each, schemes, true)) {
            wrong = g_strdup_printf("update_mirrors = %s: must be a host name or a URL (http, "
                                    "https)",
                                    *each);
        }
    }
    for (char **each = s->update_directories; *each != NULL && wrong == NULL; each++) {
        if (**each != '/') {
            wrong = g_strdup_printf("update_directories = %s: must begin with /", *each);
        }
    }
    if (wrong == NULL && strcmp(s->update_proxy, "none") != 0 &&
        !is_url(s->update_proxy, proxies, false)) {
        wrong =
            g_strdup_printf("update_proxy = %s: must be none or http://HOST:PORT", s->update_proxy);
    }
    return wrong != NULL ? wrong : check_urls(s->update_urls);
}

char *
settings_check(const struct settings *s)
{
    char *wrong = check_words(s);
    if (wrong != NULL) {
        return wrong;
    }
    if (s->age_unsafe > 0 && s->age_unsafe < s->age_limit) {
        return g_strdup("age_unsafe is shorter than age_limit: nobody would be warned "
                        "before; lower age_limit, too");
    }
    if (s->message_size > s->spool_memory) {
        return g_strdup("message_size is larger than spool_memory: no such message could ever be "
                        "received; lower the one or raise the other");
    }
    if (s->health_needed > s->health_window || 2 * s->health_needed <= s->health_window) {
        return g_strdup_printf("health_needed = %" G_GUINT64_FORMAT ": must be more than half of "
                               "health_window, and at most all",
                               s->health_needed);
    }
    wrong = check_update(s);
    if (wrong == NULL) {
        wrong = check_listen("milter_listen", s->milter_listen);
    }
    if (wrong == NULL) {
        wrong = check_listen("submission_listen", s->submission_listen);
    }
    if (wrong == NULL) {
        wrong = check_networks("submission_clients", s->submission_clients);
    }
    return wrong != NULL ? wrong : check_clamd(s);
}
