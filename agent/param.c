/* SPDX-License-Identifier: GPL-2.0-only */
#include "param.h"

#include <errno.h>
#include <string.h>

#include "text.h"

#define VALUE_SHOWN 100

typedef const char *value_check(const char *value);

struct param {
    const char *name;
    value_check *check; /* what is wrong with a value, or NULL */
};

/* Also what systemd takes as one word of a command line without quoting. */
static const char *
check_file(const char *value)
{
    static const char safe[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789/._-+@:,=";
    if (value[0] != '/') {
        return "is not an absolute path";
    }
    return value[strspn(value, safe)] != '\0' ? "has a character other than letters, digits and "
                                                "/._-+@:,="
                                              : NULL;
}

static const char *
check_directory(const char *value)
{
    g_autofree char *canonical = g_canonicalize_filename(value, "/");
    if (value[0] != '/') {
        return "is not an absolute path";
    }
    return strcmp(canonical, "/") == 0 ? "is the root directory" : NULL;
}

static const char *
check_part(const char *value)
{
    return strcmp(value, "all") == 0 || strcmp(value, "engine") == 0 ? NULL
                                                                     : "is neither all nor engine";
}

/* Pacemaker's words, crm_is_true(). */
static const char *const true_words[] = {"true", "on", "yes", "y", "1", NULL};
static const char *const false_words[] = {"false", "off", "no", "n", "0", NULL};

static const char *
check_boolean(const char *value)
{
    g_autofree char *word = g_ascii_strdown(value, -1);
    return g_strv_contains(true_words, word) || g_strv_contains(false_words, word)
               ? NULL
               : "is neither true nor false";
}

static const struct param params[] = {
    {PARAM_CONFIG, check_file},
    {PARAM_QUEUE_DIRECTORY, check_directory},
    {PARAM_PART, check_part},
    {PARAM_REQUIRE_READY, check_boolean},
};

static const struct param *
param_find(const char *name)
{
    for (size_t i = 0; i < G_N_ELEMENTS(params); i++) {
        if (strcmp(name, params[i].name) == 0) {
            return &params[i];
        }
    }
    return NULL;
}

static char *
known_names(void)
{
    GString *names = g_string_new(NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(params); i++) {
        g_string_append_printf(names, "%s%s", i > 0 ? ", " : "", params[i].name);
    }
    return g_string_free(names, FALSE);
}

static void
check_one(const char *name, const char *value, void *data)
{
    char **error_r = data;
    const struct param *param = param_find(name);
    if (*error_r != NULL) {
        return;
    }
    if (param == NULL) {
        g_autofree char *shown = text_escape(name, VALUE_SHOWN);
        g_autofree char *names = known_names();
        *error_r = g_strdup_printf("parameter %s is not known; there are %s", shown, names);
    } else if (*value != '\0' && param->check(value) != NULL) {
        g_autofree char *shown = text_escape(value, VALUE_SHOWN);
        *error_r = g_strdup_printf("parameter %s=%s %s", name, shown, param->check(value));
    }
}

int
param_check(const struct ocf *ocf, char **error_r)
{
    const char *part = ocf_param(ocf, PARAM_PART);
    ocf_params_foreach(ocf, check_one, error_r);
    if (*error_r == NULL && ocf->promotable && part != NULL && strcmp(part, "engine") == 0) {
        *error_r = g_strdup("parameter part=engine is for a clone that is not promotable");
    }
    return *error_r == NULL ? 0 : -EINVAL;
}

bool
param_is_true(const struct ocf *ocf, const char *name)
{
    const char *value = ocf_param(ocf, name);
    g_autofree char *word = value != NULL ? g_ascii_strdown(value, -1) : NULL;
    return word != NULL && g_strv_contains(true_words, word);
}
