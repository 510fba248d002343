/* SPDX-License-Identifier: GPL-2.0-only */
#include "postfix.h"

#include <stdlib.h>
#include <string.h>

#include "program.h"

static void
service_free(void *p)
{
    struct postfix_service *service = p;
    g_free(service->name);
    g_free(service->type);
    g_free(service->command);
    g_hash_table_unref(service->overrides);
    g_free(service);
}

static void
instance_free(void *p)
{
    struct postfix *postfix = p;
    g_free(postfix->name);
    g_free(postfix->dir);
    g_hash_table_unref(postfix->main);
    g_ptr_array_unref(postfix->services);
    g_free(postfix);
}

static GHashTable *
texts_new(void)
{
    return g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
}

/* "name = value" into TEXTS. */
static void
assign(GHashTable *texts, const char *line)
{
    const char *equals = strchr(line, '=');
    if (equals != NULL) {
        g_hash_table_replace(texts, g_strchomp(g_strndup(line, (gsize)(equals - line))),
                             g_strstrip(g_strdup(equals + 1)));
    }
}

static char *
postconf(const struct postfix *postfix, const char *flags, char **error_r)
{
    const char *const argv[] = {"postconf", "-c", postfix->dir, flags, NULL};
    return program_output(argv, error_r);
}

/* Up to compatibility_level 0 a service whose chroot column is "-" is chrooted. */
static gboolean
chroot_default(const struct postfix *postfix)
{
    return atof(postfix_get(postfix, NULL, "compatibility_level")) < 1;
}

static void
service_add(struct postfix *postfix, const char *line)
{
    g_auto(GStrv) raw = g_strsplit_set(line, " \t", -1);
    const char *columns[8] = {NULL};
    size_t n = 0;
    for (char **word = raw; *word != NULL && n < G_N_ELEMENTS(columns); word++) {
        if (**word != '\0') {
            columns[n++] = *word;
        }
    }
    if (n < G_N_ELEMENTS(columns)) {
        return;
    }
    struct postfix_service *service = g_new0(struct postfix_service, 1);
    service->name = g_strdup(columns[0]);
    service->type = g_strdup(columns[1]);
    /* master(5): private defaults to yes. */
    service->is_private = *columns[2] != 'n';
    service->chroot = *columns[4] == '-' ? chroot_default(postfix) : *columns[4] == 'y';
    service->command = g_strdup(columns[7]);
    service->overrides = texts_new();
    g_ptr_array_add(postfix->services, service);
}

/* "10025/inet/smtpd_milters = ..." */
static void
override_add(struct postfix *postfix, const char *line)
{
    for (guint i = 0; i < postfix->services->len; i++) {
        const struct postfix_service *service = g_ptr_array_index(postfix->services, i);
        g_autofree char *prefix = g_strdup_printf("%s/%s/", service->name, service->type);
        if (g_str_has_prefix(line, prefix)) {
            assign(service->overrides, line + strlen(prefix));
            return;
        }
    }
}

typedef void each_line(struct postfix *postfix, const char *line);

static void
main_add(struct postfix *postfix, const char *line)
{
    assign(postfix->main, line);
}

static gboolean
load_lines(struct postfix *postfix, const char *flags, each_line *each, char **error_r)
{
    g_autofree char *text = postconf(postfix, flags, error_r);
    if (text == NULL) {
        return FALSE;
    }
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    for (char **line = lines; *line != NULL; line++) {
        each(postfix, *line);
    }
    return TRUE;
}

static struct postfix *
instance_load(const char *name, const char *dir, char **error_r)
{
    struct postfix *postfix = g_new0(struct postfix, 1);
    postfix->name = g_strdup(strcmp(name, "-") == 0 ? "postfix" : name);
    postfix->dir = g_strdup(dir);
    postfix->main = texts_new();
    postfix->services = g_ptr_array_new_with_free_func(service_free);
    if (!load_lines(postfix, "-x", main_add, error_r) ||
        !load_lines(postfix, "-M", service_add, error_r) ||
        !load_lines(postfix, "-Px", override_add, error_r)) {
        g_clear_pointer(&postfix, instance_free);
    }
    return postfix;
}

static gboolean
instance_add(GPtrArray *all, const char *name, const char *dir, char **error_r)
{
    struct postfix *postfix = instance_load(name, dir, error_r);
    if (postfix != NULL) {
        g_ptr_array_add(all, postfix);
    }
    return postfix != NULL;
}

/* postmulti gives up when the configuration of one instance is on storage that is elsewhere now. */
static gboolean
instances_here(GPtrArray *all)
{
    const char *const argv[] = {"postconf", "-h", "config_directory", "multi_instance_directories",
                                NULL};
    g_autofree char *error = NULL;
    g_autofree char *text = program_output(argv, &error);
    g_auto(GStrv) dirs = g_strsplit_set(text == NULL ? "" : text, ", \t\n", -1);
    gboolean absent = FALSE;
    for (char **dir = dirs; *dir != NULL; dir++) {
        g_autofree char *main_cf = g_build_filename(*dir, "main.cf", NULL);
        if (**dir != '/') {
            continue;
        }
        if (!g_file_test(main_cf, G_FILE_TEST_EXISTS)) {
            absent = TRUE;
        } else if (!instance_add(all, dir == dirs ? "-" : *dir, *dir, &error)) {
            return FALSE;
        }
        const struct postfix *last = all->len == 0 ? NULL : g_ptr_array_index(all, all->len - 1);
        if (dir != dirs && last != NULL && strcmp(last->dir, *dir) == 0 &&
            strcmp(postfix_get(last, NULL, "multi_instance_enable"), "yes") != 0) {
            g_ptr_array_remove_index(all, all->len - 1);
        }
    }
    return absent && all->len > 0;
}

/* "NAME GROUP ENABLED DIRECTORY" for each; what is disabled receives no mail. */
static gboolean
instances_add(GPtrArray *all, char **error_r)
{
    const char *const argv[] = {"postmulti", "-l", NULL};
    g_autofree char *text = program_output(argv, error_r);
    if (text == NULL) {
        gboolean is_enough = instances_here(all);
        if (is_enough) {
            g_clear_pointer(error_r, g_free);
        }
        return is_enough;
    }
    g_autoptr(GRegex) form = g_regex_new("^(\\S+)\\s+\\S+\\s+(\\S+)\\s+(/.*)$",
                                         G_REGEX_MULTILINE | G_REGEX_OPTIMIZE, 0, NULL);
    g_autoptr(GMatchInfo) match = NULL;
    gboolean good = TRUE;
    for (g_regex_match(form, text, 0, &match); good && g_match_info_matches(match);
         g_match_info_next(match, NULL)) {
        g_autofree char *name = g_match_info_fetch(match, 1);
        g_autofree char *enabled = g_match_info_fetch(match, 2);
        g_autofree char *dir = g_strchomp(g_match_info_fetch(match, 3));
        good = *enabled != 'y' || instance_add(all, name, dir, error_r);
    }
    return good;
}

GPtrArray *
postfix_instances(const char *dir, char **error_r)
{
    GPtrArray *all = g_ptr_array_new_with_free_func(instance_free);
    gboolean good =
        dir == NULL ? instances_add(all, error_r) : instance_add(all, "-", dir, error_r);
    if (!good) {
        g_clear_pointer(&all, g_ptr_array_unref);
    }
    return all;
}

const char *
postfix_get(const struct postfix *postfix, const struct postfix_service *service,
            const char *parameter)
{
    const char *value = service == NULL ? NULL : g_hash_table_lookup(service->overrides, parameter);
    if (value == NULL) {
        value = g_hash_table_lookup(postfix->main, parameter);
    }
    return value == NULL ? "" : value;
}

pid_t
postfix_master_pid(const struct postfix *postfix)
{
    g_autofree char *path =
        g_build_filename(postfix_get(postfix, NULL, "queue_directory"), "pid", "master.pid", NULL);
    g_autofree char *text = NULL;
    g_autofree char *name = NULL;
    gint64 pid = g_file_get_contents(path, &text, NULL, NULL) ? g_ascii_strtoll(text, NULL, 10) : 0;
    g_autofree char *comm = g_strdup_printf("/proc/%" G_GINT64_FORMAT "/comm", pid);
    if (pid <= 0 || !g_file_get_contents(comm, &name, NULL, NULL) ||
        strcmp(g_strchomp(name), "master") != 0) {
        return 0;
    }
    return (pid_t)pid;
}

static void
milter_free(void *p)
{
    struct postfix_milter *milter = p;
    g_free(milter->address);
    g_hash_table_unref(milter->options);
    g_free(milter);
}

/* WORD is an address, or the inside of braces: an address and options. */
static void
milter_add(GPtrArray *milters, const char *word)
{
    g_auto(GStrv) parts = g_strsplit_set(word, ", \t\n", -1);
    struct postfix_milter *milter = g_new0(struct postfix_milter, 1);
    milter->options = texts_new();
    for (char **part = parts; *part != NULL; part++) {
        if (**part == '\0') {
            continue;
        }
        if (milter->address == NULL) {
            milter->address = g_strdup(*part);
        } else {
            assign(milter->options, *part);
        }
    }
    if (milter->address == NULL || strcmp(milter->address, "none") == 0) {
        milter_free(milter);
    } else {
        g_ptr_array_add(milters, milter);
    }
}

GPtrArray *
postfix_milters(const char *list)
{
    GPtrArray *milters = g_ptr_array_new_with_free_func(milter_free);
    while (*(list += strspn(list, ", \t\n")) != '\0') {
        gboolean braced = *list == '{';
        size_t length = braced ? strcspn(++list, "}") : strcspn(list, ", \t\n");
        g_autofree char *word = g_strndup(list, length);
        milter_add(milters, word);
        list += length;
        if (braced && *list == '}') {
            list++;
        }
    }
    return milters;
}

gint64
postfix_seconds(const char *text, char unit)
{
    char *end;
    gint64 n = g_ascii_strtoll(text, &end, 10);
    if (end == text) {
        return -1;
    }
    switch (*end != '\0' ? *end : unit) {
    case 's':
        return n;
    case 'm':
        return n * 60;
    case 'h':
        return n * 3600;
    case 'd':
        return n * 86400;
    case 'w':
        return n * 7 * 86400;
    default:
        return -1;
    }
}

gboolean
postfix_list_has(const char *list, const char *word)
{
    g_auto(GStrv) words = g_strsplit_set(list, ", \t\n", -1);
    return g_strv_contains((const char *const *)words, word);
}
