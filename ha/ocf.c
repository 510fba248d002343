/* SPDX-License-Identifier: GPL-2.0-only */
#include "ocf.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define META "OCF_RESKEY_CRM_meta_"
#define PARAM "OCF_RESKEY_"
#define TIMEOUT_DEFAULT_MS 20000
#define MARGIN_MAX_MS 3000

/* Parameters that the cluster or its shells add to those of the agent's metadata. */
static const char *const foreign_params[] = {"CRM_meta_", "crm_feature_set", "trace_"};

/* An XML ID: it becomes an attribute's name, an argument and a section of the role file. */
static bool
resource_name_valid(const char *name)
{
    size_t n = strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-");
    return n > 0 && n < 200 && name[n] == '\0' && name[0] != '-' && name[0] != '.';
}

static int
read_resource(struct ocf *ret, char **error_r)
{
    const char *instance = g_environ_getenv(ret->environ, "OCF_RESOURCE_INSTANCE");
    g_autofree char *name = g_strdup(instance != NULL ? instance : "default");
    char *colon = strrchr(name, ':');
    if (colon != NULL && colon[1] != '\0' && strspn(colon + 1, "0123456789") == strlen(colon + 1)) {
        *colon = '\0';
    }
    if (!resource_name_valid(name)) {
        *error_r = g_strdup("OCF_RESOURCE_INSTANCE is not a resource's name");
        return -EINVAL;
    }
    ret->resource = g_steal_pointer(&name);
    return 0;
}

/* The number in NAME; PRESET when it is unset or no number. */
static guint64
read_number(const struct ocf *ocf, const char *name, guint64 preset)
{
    guint64 n = 0;
    const char *text = g_environ_getenv(ocf->environ, name);
    if (text == NULL || !g_ascii_string_to_unsigned(text, 10, 0, G_MAXINT32, &n, NULL)) {
        return preset;
    }
    return n;
}

static char *
read_node(const struct ocf *ocf)
{
    char host[256] = "";
    const char *node = g_environ_getenv(ocf->environ, META "on_node");
    if (node != NULL && *node != '\0') {
        return g_strdup(node);
    }
    (void)gethostname(host, sizeof host - 1);
    return g_strdup(host);
}

int
ocf_read(char **env, struct ocf *ret, char **error_r)
{
    memset(ret, 0, sizeof *ret);
    ret->environ = g_strdupv(env);
    guint64 timeout_ms = read_number(ret, META "timeout", TIMEOUT_DEFAULT_MS);
    guint64 margin_ms = MIN(timeout_ms / 5, MARGIN_MAX_MS);
    ret->deadline = g_get_monotonic_time() + (gint64)(timeout_ms - margin_ms) * 1000;
    /* Pacemaker sets no "promotable"; master_max is the name before 2.0. */
    ret->promotable =
        read_number(ret, META "promoted_max", 0) > 0 || read_number(ret, META "master_max", 0) > 0;
    ret->probe = read_number(ret, META "interval", 0) == 0;
    ret->check_level = (unsigned)read_number(ret, "OCF_CHECK_LEVEL", 0);
    ret->node = read_node(ret);
    ret->source = g_strdup(g_environ_getenv(ret->environ, META "migrate_source"));
    ret->target = g_strdup(g_environ_getenv(ret->environ, META "migrate_target"));
    return read_resource(ret, error_r);
}

void
ocf_clear(struct ocf *ocf)
{
    g_clear_pointer(&ocf->resource, g_free);
    g_clear_pointer(&ocf->node, g_free);
    g_clear_pointer(&ocf->source, g_free);
    g_clear_pointer(&ocf->target, g_free);
    g_clear_pointer(&ocf->environ, g_strfreev);
}

const char *
ocf_param(const struct ocf *ocf, const char *name)
{
    g_autofree char *key = g_strconcat(PARAM, name, NULL);
    const char *value = g_environ_getenv(ocf->environ, key);
    return value != NULL && *value != '\0' ? value : NULL;
}

static bool
is_foreign(const char *name)
{
    for (size_t i = 0; i < G_N_ELEMENTS(foreign_params); i++) {
        if (g_str_has_prefix(name, foreign_params[i])) {
            return true;
        }
    }
    return false;
}

void
ocf_params_foreach(const struct ocf *ocf, ocf_param_each *each, void *data)
{
    for (char **entry = ocf->environ; *entry != NULL; entry++) {
        const char *equals = strchr(*entry, '=');
        if (equals == NULL || !g_str_has_prefix(*entry, PARAM)) {
            continue;
        }
        const char *start = *entry + strlen(PARAM);
        g_autofree char *name = g_strndup(start, (size_t)(equals - start));
        if (!is_foreign(name)) {
            each(name, equals + 1, data);
        }
    }
}

int
ocf_time_left_ms(const struct ocf *ocf)
{
    gint64 left_ms = (ocf->deadline - g_get_monotonic_time()) / 1000;
    return (int)CLAMP(left_ms, 1, G_MAXINT32);
}

int
ocf_fail(const struct ocf *ocf, int code, const char *format, ...)
{
    va_list args;
    const char *prefix = g_environ_getenv(ocf->environ, "OCF_EXIT_REASON_PREFIX");
    va_start(args, format);
    g_autofree char *reason = g_strdup_vprintf(format, args);
    va_end(args);
    fprintf(stderr, "%s%s\n", prefix != NULL ? prefix : "ocf-exit-reason:", reason);
    return code;
}
