/* SPDX-License-Identifier: GPL-2.0-only */
#include "fencing.h"

#include <string.h>

#include "cib.h"
#include "remote.h"
#include "tool.h"

#define ASK_MS 30000

gboolean
fencing_enabled(const struct model *model)
{
    g_autofree char *enabled = model_property(model, "stonith-enabled");
    return enabled == NULL || !cib_is_false(enabled);
}

/* Lists of nodes are separated by blanks, commas or semicolons; a map has NODE:PORT. */
static gboolean
names_node(const char *list, const char *node, gboolean is_map)
{
    g_auto(GStrv) words = g_strsplit_set(list, " \t\n,;", -1);
    for (char **word = words; *word != NULL; word++) {
        if (is_map) {
            (*word)[strcspn(*word, ":=")] = '\0';
        }
        if (g_ascii_strcasecmp(*word, node) == 0) {
            return TRUE;
        }
    }
    return FALSE;
}

static gboolean
is_stopped(const struct model *model, const char *device)
{
    g_autofree char *role = cib_value(model->doc,
                                      "//resources//*[@id='%s']/ancestor-or-self::*/"
                                      "meta_attributes/nvpair[@name='target-role']/@value",
                                      device);
    return role != NULL && g_ascii_strcasecmp(role, "Stopped") == 0;
}

/* pcmk_host_check has its default by what else is set; a device that knows its nodes itself has to
 * be asked ("dynamic-list", "status"). */
static enum fencing
device_covers(const struct model *model, xmlNode *device, const char *node)
{
    g_autofree char *id = cib_attribute(device, "id");
    g_autofree char *list = cib_nvpair(device, "instance_attributes", "pcmk_host_list");
    g_autofree char *map = cib_nvpair(device, "instance_attributes", "pcmk_host_map");
    g_autofree char *check = cib_nvpair(device, "instance_attributes", "pcmk_host_check");
    if (is_stopped(model, id)) {
        return FENCING_NONE;
    }
    if (check != NULL && strcmp(check, "none") == 0) {
        return FENCING_DEVICE;
    }
    if ((list != NULL && names_node(list, node, FALSE)) ||
        (map != NULL && names_node(map, node, TRUE))) {
        return FENCING_DEVICE;
    }
    gboolean is_static =
        check != NULL ? strcmp(check, "static-list") == 0 : list != NULL || map != NULL;
    return is_static ? FENCING_NONE : FENCING_UNKNOWN;
}

static gboolean
level_covers(const struct model *model, const xmlNode *level, const char *node)
{
    g_autofree char *target = cib_attribute(level, "target");
    g_autofree char *pattern = cib_attribute(level, "target-pattern");
    g_autofree char *name = cib_attribute(level, "target-attribute");
    g_autofree char *value = cib_attribute(level, "target-value");
    g_autofree char *devices = cib_attribute(level, "devices");
    g_autofree char *have =
        name == NULL ? NULL
                     : cib_value(model->doc,
                                 "//nodes/node[@uname='%s']/instance_attributes/nvpair[@name='%s']"
                                 "/@value",
                                 node, name);
    gboolean meant =
        (target != NULL && g_ascii_strcasecmp(target, node) == 0) ||
        (pattern != NULL && g_regex_match_simple(pattern, node, G_REGEX_CASELESS, 0)) ||
        (value != NULL && g_strcmp0(have, value) == 0);
    g_auto(GStrv) words = g_strsplit_set(devices != NULL ? devices : "", ", ", -1);
    gboolean any = FALSE;
    for (char **word = words; meant && *word != NULL; word++) {
        if (**word == '\0') {
            continue;
        }
        any = TRUE;
        meant = strcmp(*word, "watchdog") == 0 ||
                (cib_is_id(*word) && !is_stopped(model, *word) &&
                 cib_find(model->doc, "//resources//primitive[@id='%s'][@class='stonith']", *word));
    }
    return meant && any;
}

static gboolean
has_watchdog(const struct model *model)
{
    g_autofree char *watchdog = model_property(model, "have-watchdog");
    g_autofree char *timeout = model_property(model, "stonith-watchdog-timeout");
    return cib_is_true(watchdog) && timeout != NULL && strspn(timeout, "0") != strlen(timeout) &&
           !g_str_has_prefix(timeout, "0s");
}

enum fencing
fencing_of(const struct model *model, const char *node)
{
    enum fencing best = FENCING_NONE;
    g_autoptr(GPtrArray) levels = cib_all(model->doc, "//fencing-topology/fencing-level");
    g_autoptr(GPtrArray) devices = cib_all(model->doc, "//resources//primitive[@class='stonith']");
    for (guint i = 0; i < levels->len; i++) {
        if (level_covers(model, g_ptr_array_index(levels, i), node)) {
            return FENCING_DEVICE;
        }
    }
    for (guint i = 0; i < devices->len && best != FENCING_DEVICE; i++) {
        enum fencing one = device_covers(model, g_ptr_array_index(devices, i), node);
        best = one != FENCING_NONE ? one : best;
    }
    if (best != FENCING_DEVICE && has_watchdog(model)) {
        return FENCING_WATCHDOG;
    }
    return best;
}

/* The fencer of a node does not offer to fence that node itself, so it cannot be asked about it. */
enum fencing
fencing_of_live(const struct model *model, const char *node)
{
    const char *const argv[] = {TOOL_STONITH_ADMIN, "--list", node, "--output-as=xml", NULL};
    enum fencing known = fencing_of(model, node);
    g_autofree char *text = NULL;
    g_autofree char *error = NULL;
    if (known != FENCING_UNKNOWN || strcmp(node, remote_local_node()) == 0 ||
        tool_output(argv, NULL, NULL, ASK_MS, &text, &error) != 0) {
        return known;
    }
    return strstr(text, "<item") != NULL ? FENCING_DEVICE : FENCING_NONE;
}
