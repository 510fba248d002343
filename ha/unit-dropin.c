/* SPDX-License-Identifier: GPL-2.0-only */
#include "unit.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "durable.h"

#define DROPIN_ROOT "/run/systemd/system/"
#define DROPIN_FILE "50-postern-cluster.conf"

char *
unit_quote(const char *text)
{
    GString *out = g_string_new("\"");
    for (; *text != '\0'; text++) {
        if (*text == '"' || *text == '\\') {
            g_string_append_c(out, '\\');
        } else if (*text == '%') {
            g_string_append_c(out, '%');
        }
        if (g_ascii_iscntrl(*text)) {
            g_string_append_printf(out, "\\x%02x", (unsigned char)*text);
        } else {
            g_string_append_c(out, *text);
        }
    }
    g_string_append_c(out, '"');
    return g_string_free(out, FALSE);
}

static char *
dropin_path(const char *name)
{
    return g_strconcat(DROPIN_ROOT, name, ".d/" DROPIN_FILE, NULL);
}

int
unit_configure(const char *name, const char *service, bool *changed, char **error_r)
{
    g_autofree char *path = dropin_path(name);
    g_autofree char *dir = g_path_get_dirname(path);
    g_autofree char *old = NULL;
    g_autofree char *text =
        g_strconcat("# written by postern-agent for as long as the cluster uses the unit\n"
                    "[Unit]\nBefore=pacemaker.service pacemaker_remote.service\n[Service]\n",
                    service, NULL);
    if (g_file_get_contents(path, &old, NULL, NULL) && strcmp(old, text) == 0) {
        return 0;
    }
    int rc = durable_public_dir(dir);
    if (rc == 0) {
        rc = durable_replace_text(path, text, 0644);
    }
    if (rc < 0) {
        *error_r = g_strdup_printf("%s: cannot be written: %s", path, g_strerror(-rc));
        return rc;
    }
    *changed = true;
    return 0;
}

static int
dropin_remove(const char *name, bool *changed, char **error_r)
{
    g_autofree char *path = dropin_path(name);
    g_autofree char *dir = g_path_get_dirname(path);
    if (unlink(path) < 0) {
        if (errno == ENOENT) {
            return 0;
        }
        *error_r = g_strdup_printf("%s: cannot be removed: %s", path, g_strerror(errno));
        return -errno;
    }
    (void)rmdir(dir); /* others may have drop-ins of their own there */
    *changed = true;
    return 0;
}

int
unit_release(sd_bus *bus, const char *const *names, gint64 deadline, char **error_r)
{
    bool changed = false;
    for (; *names != NULL; names++) {
        int rc = dropin_remove(*names, &changed, error_r);
        if (rc < 0) {
            return rc;
        }
    }
    return changed ? unit_reload(bus, deadline, error_r) : 0;
}
