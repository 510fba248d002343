/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef SETTINGS_H
#define SETTINGS_H

/*
 * The configuration, as every program reads it: one table (settings.def), one parser (libconfuse).
 * Programs read it once, before they give up rights; posternd again when it is told to.
 */

#include <stdbool.h>
#include <glib.h>

#define SETTINGS_PATH SYSCONFDIR "/postern/postern.conf"

#define SETTINGS_TYPE_STRING char *
#define SETTINGS_TYPE_LIST char **
#define SETTINGS_TYPE_COUNT guint64
#define SETTINGS_TYPE_SECONDS guint64
#define SETTINGS_TYPE_SIZE guint64
#define SETTINGS_TYPE_ACTION int /* enum action, policy/actions.h */

struct settings {
#define SETTING(kind, name, preset, low, high, text) SETTINGS_TYPE_##kind name;
#include "settings.def"
#undef SETTING
    GPtrArray *rules; /* of struct rule * (policy/rule.h), in the file's order */
};

/*
 * Reads PATH; NULL means SETTINGS_PATH, which may be absent (all defaults), while a named PATH
 * may not. Returns the settings, or NULL with *ERROR_R: one sentence with file and line, to be
 * freed by g_free().
 */
struct settings *settings_load(const char *path, char **error_r);
void settings_free(struct settings *settings);
typedef struct settings settings_t;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(settings_t, settings_free)

/*
 * Takes over into CURRENT what FRESH has otherwise and what a running posternd can change; the
 * rest stays in FRESH. CHANGED is told of each difference, IS_TAKEN false: it needs a restart.
 * Texts and lists that are borrowed beyond a call are not among what is taken.
 */
typedef void settings_changed(const char *name, const char *old, const char *fresh, bool is_taken,
                              void *data);
void settings_take(struct settings *current, struct settings *fresh, settings_changed *changed,
                   void *data);

/* Number of workers: the setting, or one per processor that this process may use. */
unsigned settings_workers(const struct settings *settings);

/*
 * The table, for printing: calls EACH with name, value as text, default and description; then for
 * each rule, whose name is `rule "NAME"` and whose default is NULL.
 */
typedef void settings_each(const char *name, const char *value, const char *preset,
                           const char *text, void *data);
void settings_foreach(const struct settings *settings, settings_each *each, void *data);

#endif
