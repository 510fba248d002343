/* SPDX-License-Identifier: GPL-2.0-only */
#include "config.h"
#include "settings.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>
#include <sched.h>
#include <confuse.h>

#include "networks.h"
#include "text.h"

enum kind {
    KIND_STRING,
    KIND_LIST,
    KIND_COUNT,
    KIND_SECONDS,
    KIND_SIZE,
};

struct row {
    enum kind kind;
    const char *name;
    const char *preset;
    guint64 low;
    guint64 high;
    const char *text;
    size_t offset;
};

static const struct row rows[] = {
#define SETTING(kind, name, preset, low, high, text) \
    {KIND_##kind, #name, preset, low, high, text, offsetof(struct settings, name)},
#include "settings.def"
#undef SETTING
};

#define N_ROWS G_N_ELEMENTS(rows)

/* libconfuse's error callback has no context; settings are read once, at start, by one thread. */
static char *parse_error;

G_GNUC_PRINTF(2, 0)
static void
remember_error(cfg_t *cfg, const char *format, va_list args)
{
    if (parse_error != NULL) {
        return;
    }
    g_autofree char *what = g_strdup_vprintf(format, args);
    if (cfg != NULL && cfg->filename != NULL && cfg->line > 0) {
        parse_error = g_strdup_printf("%s:%d: %s", cfg->filename, cfg->line, what);
    } else {
        parse_error = g_steal_pointer(&what);
    }
}

/* Numbers are read as text, so that sizes may have suffixes and a bad one names its line. */
static int
number_parse(const struct row *row, const char *text, guint64 *ret)
{
    unsigned long long n = 0;
    if (row->kind == KIND_SIZE) {
        if (text_size_parse(text, &n) < 0) {
            return -EINVAL;
        }
    } else if (!g_ascii_string_to_unsigned(text, 10, 0, G_MAXUINT64, (guint64 *)&n, NULL)) {
        return -EINVAL;
    }
    if (n < row->low || n > row->high) {
        return -ERANGE;
    }
    *ret = n;
    return 0;
}

static const struct row *
row_of(const char *name)
{
    for (size_t i = 0; i < N_ROWS; i++) {
        if (strcmp(rows[i].name, name) == 0) {
            return &rows[i];
        }
    }
    return NULL;
}

/* Called by libconfuse at the value's line, so that cfg_error() can name it. */
static int
check_value(cfg_t *cfg, cfg_opt_t *opt)
{
    const struct row *row = row_of(opt->name);
    guint64 n;
    const char *value = cfg_opt_getnstr(opt, cfg_opt_size(opt) - 1);
    if (row->kind == KIND_STRING || row->kind == KIND_LIST) {
        if (value != NULL && *value != '\0') {
            return 0;
        }
        cfg_error(cfg, "%s is empty", row->name);
        return -1;
    }
    if (number_parse(row, value, &n) == 0) {
        return 0;
    }
    cfg_error(cfg, "%s = %s: not a %s between %" G_GUINT64_FORMAT " and %" G_GUINT64_FORMAT,
              row->name, value, row->kind == KIND_SIZE ? "size" : "number", row->low, row->high);
    return -1;
}

static void
options_init(cfg_opt_t opts[N_ROWS + 1])
{
    for (size_t i = 0; i < N_ROWS; i++) {
        if (rows[i].kind == KIND_LIST) {
            cfg_opt_t list = CFG_STR_LIST(rows[i].name, NULL, CFGF_NODEFAULT);
            opts[i] = list;
        } else {
            cfg_opt_t one = CFG_STR(rows[i].name, NULL, CFGF_NODEFAULT);
            opts[i] = one;
        }
    }
    cfg_opt_t end = CFG_END();
    opts[N_ROWS] = end;
}

static char **
list_value(cfg_t *cfg, const struct row *row)
{
    unsigned n = cfg == NULL ? 0 : cfg_size(cfg, row->name);
    GStrvBuilder *list = g_strv_builder_new();
    for (unsigned i = 0; i < n; i++) {
        g_strv_builder_add(list, cfg_getnstr(cfg, row->name, i));
    }
    if (n == 0 && row->preset != NULL) {
        g_strv_builder_add(list, row->preset);
    }
    char **value = g_strv_builder_end(list);
    g_strv_builder_unref(list);
    return value;
}

static void
value_set(struct settings *settings, cfg_t *cfg, const struct row *row)
{
    void *field = (char *)settings + row->offset;
    if (row->kind == KIND_LIST) {
        *(char ***)field = list_value(cfg, row);
        return;
    }
    const char *text =
        cfg != NULL && cfg_size(cfg, row->name) > 0 ? cfg_getstr(cfg, row->name) : row->preset;
    if (row->kind == KIND_STRING) {
        *(char **)field = g_strdup(text);
    } else {
        int rc = number_parse(row, text, field);
        g_assert(rc == 0);
    }
}

static char *
check_listen(const char *name, char *const *addresses)
{
    for (; *addresses != NULL; addresses++) {
        if (!g_str_has_prefix(*addresses, "unix:/") && !g_str_has_prefix(*addresses, "inet:")) {
            return g_strdup_printf("%s = %s: must be unix:/PATH or inet:ADDRESS:PORT", name,
                                   *addresses);
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

/* What the table cannot say. Returns a sentence, or NULL when all is well. */
static char *
check_whole(const struct settings *s)
{
    if (strcmp(s->state_storage, "exclusive") != 0 && strcmp(s->state_storage, "shared") != 0) {
        return g_strdup_printf("state_storage = %s: must be exclusive or shared", s->state_storage);
    }
    if (s->message_size > s->spool_memory) {
        return g_strdup("message_size is larger than spool_memory: no such message could ever be "
                        "received; lower the one or raise the other");
    }
    char *wrong = check_listen("milter_listen", s->milter_listen);
    if (wrong == NULL) {
        wrong = check_listen("submission_listen", s->submission_listen);
    }
    return wrong != NULL ? wrong : check_networks("submission_clients", s->submission_clients);
}

static struct settings *
settings_from(cfg_t *cfg, const char *path, char **error_r)
{
    g_autoptr(settings_t) settings = g_new0(struct settings, 1);
    for (size_t i = 0; i < N_ROWS; i++) {
        value_set(settings, cfg, &rows[i]);
    }
    g_autofree char *wrong = check_whole(settings);
    if (wrong != NULL) {
        *error_r = g_strdup_printf("%s: %s", path, wrong);
        return NULL;
    }
    return g_steal_pointer(&settings);
}

struct settings *
settings_load(const char *path, char **error_r)
{
    bool named = path != NULL;
    path = named ? path : SETTINGS_PATH;
    if (!named && access(path, F_OK) < 0 && errno == ENOENT) {
        return settings_from(NULL, path, error_r);
    }
    cfg_opt_t opts[N_ROWS + 1];
    options_init(opts);
    cfg_t *cfg = cfg_init(opts, CFGF_NONE);
    cfg_set_error_function(cfg, remember_error);
    for (size_t i = 0; i < N_ROWS; i++) {
        cfg_set_validate_func(cfg, rows[i].name, check_value);
    }
    struct settings *settings = NULL;
    int rc = cfg_parse(cfg, path);
    if (rc == CFG_SUCCESS) {
        settings = settings_from(cfg, path, error_r);
    } else if (rc == CFG_FILE_ERROR) {
        *error_r = g_strdup_printf("%s: cannot be read: %s", path, g_strerror(errno));
    } else {
        *error_r = g_strdup(parse_error != NULL ? parse_error : "the configuration is broken");
    }
    g_clear_pointer(&parse_error, g_free);
    cfg_free(cfg);
    return settings;
}

void
settings_free(struct settings *settings)
{
    if (settings == NULL) {
        return;
    }
    for (size_t i = 0; i < N_ROWS; i++) {
        void *field = (char *)settings + rows[i].offset;
        if (rows[i].kind == KIND_LIST) {
            g_strfreev(*(char ***)field);
        } else if (rows[i].kind == KIND_STRING) {
            g_free(*(char **)field);
        }
    }
    g_free(settings);
}

unsigned
settings_workers(const struct settings *settings)
{
    cpu_set_t cpus;
    if (settings->workers > 0) {
        return (unsigned)settings->workers;
    }
    return sched_getaffinity(0, sizeof cpus, &cpus) == 0 ? (unsigned)CPU_COUNT(&cpus) : 1;
}

void
settings_foreach(const struct settings *settings, settings_each *each, void *data)
{
    for (size_t i = 0; i < N_ROWS; i++) {
        const void *field = (const char *)settings + rows[i].offset;
        g_autofree char *value = NULL;
        if (rows[i].kind == KIND_STRING) {
            value = g_strdup(*(char *const *)field);
        } else if (rows[i].kind == KIND_LIST) {
            value = g_strjoinv(", ", *(char **const *)field);
        } else {
            value = g_strdup_printf("%" G_GUINT64_FORMAT, *(const guint64 *)field);
        }
        each(rows[i].name, value, rows[i].preset != NULL ? rows[i].preset : "", rows[i].text, data);
    }
}
