/* SPDX-License-Identifier: GPL-2.0-only */
#include "config.h"
#include "settings.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sched.h>
#include <confuse.h>

#include "nearest.h"
#include "networks.h"
#include "settings-check.h"
#include "settings-rule.h"
#include "settings-text.h"
#include "text.h"

enum kind {
    KIND_STRING,
    KIND_LIST,
    KIND_COUNT,
    KIND_SECONDS,
    KIND_SIZE,
    KIND_ACTION,
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

/* libconfuse's callbacks have no context; settings are read by one thread. */
static char *parse_error;
static int lines[N_ROWS]; /* where a setting stands; 0 = nowhere */

/* What a running posternd or engine asks for each time that it needs it, or postern-update reads by
 * itself, beside all of KIND_ACTION. */
static const char *const live[] = {"message_size",     "submission_clients",
                                   "clamd_clients",    "state_low_water",
                                   "quarantine_days",  "quarantine_size",
                                   "quarantine_quota", "spool_memory",
                                   "clients",          "poison_strikes",
                                   "poison_age",       "age_limit",
                                   "age_unsafe",       "adopt_quiet",
                                   "generations",      "trial_timeout",
                                   "trial_load_time",  "trial_scan_time",
                                   "trial_slowdown",   "trial_shrink",
                                   "trial_memory",     "trial_clean",
                                   "trial_infected",   "update_databases",
                                   "update_mirrors",   "update_dns",
                                   "update_urls",      "update_directories",
                                   "update_proxy",     "update_interval",
                                   "update_jitter",    "update_timeout",
                                   "update_attempts",  "update_size",
                                   "update_on",        "update_patience",
                                   "update_alone",     NULL};

/* As libconfuse says it; there is no other way to know which name it was. */
static const char unknown_option[] = "no such option '%s'";

static char *
unknown_text(const cfg_t *cfg, const char *name)
{
    const char *names[N_ROWS + 2] = {NULL}; /* a section has fewer */
    size_t n = 0;
    for (const cfg_opt_t *opt = cfg->opts; opt->name != NULL && n <= N_ROWS; opt++) {
        names[n++] = opt->name;
    }
    const char *near = nearest_name(name, names);
    return g_strdup_printf("there is no setting '%s'%s%s%s", name,
                           near != NULL ? "; did you mean " : "", near != NULL ? near : "",
                           near != NULL ? "?" : "");
}

G_GNUC_PRINTF(2, 0)
static void
remember_error(cfg_t *cfg, const char *format, va_list args)
{
    if (parse_error != NULL) {
        return;
    }
    g_autofree char *what = NULL;
    if (cfg != NULL && strcmp(format, unknown_option) == 0) {
        what = unknown_text(cfg, va_arg(args, const char *));
    } else {
        what = g_strdup_vprintf(format, args);
    }
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

static const char *
kind_noun(enum kind kind)
{
    return kind == KIND_SIZE ? "size" : kind == KIND_SECONDS ? "number of seconds" : "number";
}

/* What somebody meant who wrote a unit that is not known; NULL = who knows. */
static char *
unit_guess(enum kind kind, const char *text)
{
    static const struct {
        enum kind kind;
        char letter;
        guint64 seconds;
    } units[] = {{KIND_SIZE, 'K', 0},       {KIND_SIZE, 'M', 0},     {KIND_SIZE, 'G', 0},
                 {KIND_SECONDS, 'S', 1},    {KIND_SECONDS, 'M', 60}, {KIND_SECONDS, 'H', 3600},
                 {KIND_SECONDS, 'D', 86400}};
    gsize digits = strspn(text, "0123456789");
    gsize unit = digits + strspn(text + digits, " ");
    if (digits == 0 || digits > 9) {
        return NULL;
    }
    guint64 n = g_ascii_strtoull(text, NULL, 10);
    for (size_t i = 0; i < G_N_ELEMENTS(units); i++) {
        if (units[i].kind == kind && units[i].letter == g_ascii_toupper(text[unit])) {
            return kind == KIND_SIZE
                       ? g_strdup_printf("\"%.*s%c\"", (int)digits, text, units[i].letter)
                       : g_strdup_printf("%" G_GUINT64_FORMAT, n * units[i].seconds);
        }
    }
    return NULL;
}

static int
check_number(cfg_t *cfg, const struct row *row, const char *value)
{
    guint64 n;
    int rc = number_parse(row, value, &n);
    if (rc == 0) {
        return 0;
    }
    g_autofree char *guess = rc == -EINVAL ? unit_guess(row->kind, value) : NULL;
    cfg_error(cfg,
              "%s = %s: not a %s between %" G_GUINT64_FORMAT " and %" G_GUINT64_FORMAT "%s%s%s",
              row->name, value, kind_noun(row->kind), row->low, row->high,
              guess != NULL ? "; did you mean " : "", guess != NULL ? guess : "",
              guess != NULL ? "?" : "");
    return -1;
}

static int
check_action(cfg_t *cfg, const struct row *row, const char *value)
{
    enum action action;
    g_autofree char *allowed = action_set_text((unsigned)row->high);
    if (!action_parse(value, &action)) {
        g_auto(GStrv) words = g_strsplit(allowed, ", ", 0);
        const char *near = nearest_name(value, (const char *const *)words);
        cfg_error(cfg, "%s = %s: must be one of %s%s%s%s", row->name, value, allowed,
                  near != NULL ? "; did you mean " : "", near != NULL ? near : "",
                  near != NULL ? "?" : "");
        return -1;
    }
    if ((row->high & ACTION_BIT(action)) == 0) {
        cfg_error(cfg, "%s = %s: %s; must be one of %s", row->name, value,
                  action < ACTION_DISCARD
                      ? "nothing infected or unscanned is delivered like clean mail"
                      : "not for this",
                  allowed);
        return -1;
    }
    return 0;
}

static int
check_text(cfg_t *cfg, const struct row *row, const char *value)
{
    if (value != NULL && *value != '\0') {
        return 0;
    }
    cfg_error(cfg, "%s is empty", row->name);
    return -1;
}

/* Called by libconfuse at the value's line, so that cfg_error() can name it. */
static int
check_value(cfg_t *cfg, cfg_opt_t *opt)
{
    const struct row *row = row_of(opt->name);
    const char *value = cfg_opt_getnstr(opt, cfg_opt_size(opt) - 1);
    lines[row - rows] = cfg->line;
    if (row->kind == KIND_STRING || row->kind == KIND_LIST) {
        return check_text(cfg, row, value);
    }
    return row->kind == KIND_ACTION ? check_action(cfg, row, value) : check_number(cfg, row, value);
}

int
settings_check_action(cfg_t *cfg, cfg_opt_t *opt)
{
    return check_action(cfg, row_of(opt->name), cfg_opt_getnstr(opt, cfg_opt_size(opt) - 1));
}

static void
options_init(cfg_opt_t opts[N_ROWS + 2], cfg_opt_t *rule_options)
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
    cfg_opt_t rule =
        CFG_SEC(SETTINGS_RULE, rule_options, CFGF_MULTI | CFGF_TITLE | CFGF_NO_TITLE_DUPES);
    cfg_opt_t end = CFG_END();
    opts[N_ROWS] = rule;
    opts[N_ROWS + 1] = end;
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
        g_auto(GStrv) presets = g_strsplit(row->preset, ", ", -1);
        for (char **each = presets; *each != NULL; each++) {
            g_strv_builder_add(list, *each);
        }
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
    } else if (row->kind == KIND_ACTION) {
        enum action action = ACTION_TEMPFAIL;
        bool is_one = action_parse(text, &action);
        g_assert(is_one);
        *(int *)field = (int)action;
    } else {
        int rc = number_parse(row, text, field);
        g_assert(rc == 0);
    }
}

/* A sentence that begins with a setting's name is told where that stands. */
static char *
located(const char *path, const char *sentence)
{
    g_autofree char *name = g_strndup(sentence, strcspn(sentence, " "));
    const struct row *row = row_of(name);
    int line = row == NULL ? 0 : lines[row - rows];
    return line > 0 ? g_strdup_printf("%s:%d: %s", path, line, sentence)
                    : g_strdup_printf("%s: %s", path, sentence);
}

static struct settings *
settings_from(cfg_t *cfg, const char *path, char **error_r)
{
    g_autoptr(settings_t) settings = g_new0(struct settings, 1);
    for (size_t i = 0; i < N_ROWS; i++) {
        value_set(settings, cfg, &rows[i]);
    }
    settings->rules = settings_rules_of(cfg);
    g_autofree char *wrong = settings_check(settings);
    if (wrong != NULL) {
        *error_r = located(path, wrong);
        return NULL;
    }
    return g_steal_pointer(&settings);
}

/* Returns what cfg_parse() does; CFG_FILE_ERROR with errno. */
static int
parse(cfg_t *cfg, const char *path)
{
    g_autofree char *raw = NULL;
    g_autoptr(GError) error = NULL;
    gsize len;
    if (!g_file_get_contents(path, &raw, &len, &error)) {
        int fd = open(path, O_RDONLY | O_CLOEXEC); /* for errno: GError has its own numbers */
        if (fd >= 0) {
            close(fd);
            errno = EIO;
        }
        return CFG_FILE_ERROR;
    }
    if (strlen(raw) != len) {
        parse_error = g_strdup_printf("%s: is no text: it has a byte 0", path);
        return CFG_PARSE_ERROR;
    }
    g_autofree char *text = g_strconcat(raw, g_str_has_suffix(raw, "\n") ? NULL : "\n", NULL);
    settings_text_blank(text);
    FILE *file = fmemopen(text, strlen(text), "r");
    if (file == NULL) {
        return CFG_FILE_ERROR;
    }
    cfg->filename = strdup(path);
    int rc = cfg_parse_fp(cfg, file);
    fclose(file);
    return rc;
}

struct settings *
settings_load(const char *path, char **error_r)
{
    bool named = path != NULL;
    path = named ? path : SETTINGS_PATH;
    memset(lines, 0, sizeof lines);
    if (!named && access(path, F_OK) < 0 && errno == ENOENT) {
        return settings_from(NULL, path, error_r);
    }
    cfg_opt_t opts[N_ROWS + 2];
    cfg_opt_t rule_options[SETTINGS_RULE_OPTIONS];
    settings_rule_options(rule_options);
    options_init(opts, rule_options);
    cfg_t *cfg = cfg_init(opts, CFGF_NONE);
    cfg_set_error_function(cfg, remember_error);
    for (size_t i = 0; i < N_ROWS; i++) {
        cfg_set_validate_func(cfg, rows[i].name, check_value);
    }
    settings_rule_checks(cfg);
    struct settings *settings = NULL;
    int rc = parse(cfg, path);
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
    g_clear_pointer(&settings->rules, g_ptr_array_unref);
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

static char *
value_text(const struct settings *settings, const struct row *row)
{
    const void *field = (const char *)settings + row->offset;
    if (row->kind == KIND_STRING) {
        return g_strdup(*(char *const *)field);
    }
    if (row->kind == KIND_LIST) {
        return g_strjoinv(", ", *(char **const *)field);
    }
    if (row->kind == KIND_ACTION) {
        return g_strdup(action_name((enum action) * (const int *)field));
    }
    return g_strdup_printf("%" G_GUINT64_FORMAT, *(const guint64 *)field);
}

void
settings_foreach(const struct settings *settings, settings_each *each, void *data)
{
    for (size_t i = 0; i < N_ROWS; i++) {
        g_autofree char *value = value_text(settings, &rows[i]);
        each(rows[i].name, value, rows[i].preset, rows[i].text, data);
    }
    for (guint i = 0; i < settings->rules->len; i++) {
        const struct rule *rule = g_ptr_array_index(settings->rules, i);
        g_autofree char *name = g_strdup_printf(SETTINGS_RULE " \"%s\"", rule->name);
        g_autofree char *value = rule_text(rule);
        each(name, value, NULL, "What holds for some messages only", data);
    }
}

static bool
is_live(const struct row *row)
{
    return row->kind == KIND_ACTION || g_strv_contains(live, row->name);
}

static void
value_take(struct settings *current, struct settings *fresh, const struct row *row)
{
    void *to = (char *)current + row->offset;
    void *from = (char *)fresh + row->offset;
    if (row->kind == KIND_LIST || row->kind == KIND_STRING) {
        void *old = *(void **)to;
        *(void **)to = *(void **)from;
        *(void **)from = old;
    } else if (row->kind == KIND_ACTION) {
        *(int *)to = *(const int *)from;
    } else {
        *(guint64 *)to = *(const guint64 *)from;
    }
}

static char *
rules_text(const struct settings *settings)
{
    GString *text = g_string_new(NULL);
    for (guint i = 0; i < settings->rules->len; i++) {
        const struct rule *rule = g_ptr_array_index(settings->rules, i);
        g_autofree char *one = rule_text(rule);
        g_string_append_printf(text, "%s\"%s\" %s", i > 0 ? ", " : "", rule->name, one);
    }
    return g_string_free(text, FALSE);
}

static void
rules_take(struct settings *current, struct settings *fresh, settings_changed *changed, void *data)
{
    g_autofree char *old = rules_text(current);
    g_autofree char *new = rules_text(fresh);
    if (strcmp(old, new) != 0) {
        GPtrArray *rules = current->rules;
        current->rules = fresh->rules;
        fresh->rules = rules;
        changed(SETTINGS_RULE, old, new, true, data);
    }
}

void
settings_take(struct settings *current, struct settings *fresh, settings_changed *changed,
              void *data)
{
    for (size_t i = 0; i < N_ROWS; i++) {
        g_autofree char *old = value_text(current, &rows[i]);
        g_autofree char *new = value_text(fresh, &rows[i]);
        if (strcmp(old, new) == 0) {
            continue;
        }
        if (is_live(&rows[i])) {
            value_take(current, fresh, &rows[i]);
        }
        changed(rows[i].name, old, new, is_live(&rows[i]), data);
    }
    rules_take(current, fresh, changed, data);
}
