/* SPDX-License-Identifier: GPL-2.0-only */
#include "config.h"
#include "node-state.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "store.h"
#include "update-files.h"

#define TEXT_MAX 300
#define WORD_MAX 40
/* Where they stand in the line of the engine's state file. */
#define ENGINE_WORD 0
#define ENGINE_GENERATION 3

/* At most MAX bytes of TEXT, in whole characters; null for NULL. Whoever shows it escapes it. */
static json_t *
text_or_null(const char *text, size_t max)
{
    const char *end = NULL;
    if (text == NULL) {
        return json_null();
    }
    (void)g_utf8_validate_len(text, MIN(strlen(text), max), &end);
    return json_stringn(text, (size_t)(end - text));
}

gboolean
node_state_is_name(const char *name)
{
    return name != NULL && strlen(name) == MANIFEST_NAME_DIGITS &&
           strspn(name, "0123456789abcdef") == MANIFEST_NAME_DIGITS;
}

char *
node_state_received(const struct settings *settings)
{
    g_autofree char *path = g_build_filename(settings->share_dir, OFFER_DIR, NULL);
    g_autofree char *error = NULL;
    g_autoptr(manifest_t) manifest = NULL;
    int dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (dir >= 0) {
        (void)manifest_read(dir, &manifest, &error);
        close(dir);
    }
    return manifest == NULL ? NULL : g_strndup(manifest->identity, MANIFEST_NAME_DIGITS);
}

static json_t *
given_state(const struct settings *settings, const struct store *store, const char *given)
{
    g_autofree char *ignored = NULL;
    g_autofree char *received = NULL;
    g_autoptr(store_entry_t) entry = store == NULL ? NULL : store_find(store, given, &ignored);
    const char *state = "none";
    gboolean interrupted = FALSE;
    if (entry != NULL) {
        state = record_state_word(entry->record.state);
        interrupted =
            entry->record.state == RECORD_REJECTED && entry->record.trials >= RECORD_TRIALS_MAX;
    } else {
        received = node_state_received(settings);
        state = g_strcmp0(received, given) == 0 ? "received" : state;
    }
    return json_pack("{s:s, s:s, s:o, s:b}", "name", given, "state", state, "reason",
                     text_or_null(entry != NULL ? entry->record.reason : NULL, TEXT_MAX),
                     "interrupted", interrupted);
}

static void
engine_state(const struct settings *settings, json_t *state)
{
    g_autofree char *path = g_build_filename(settings->engine_dir, "state", NULL);
    g_autofree char *line = NULL;
    if (!g_file_get_contents(path, &line, NULL, NULL)) {
        return;
    }
    g_auto(GStrv) words = g_strsplit(g_strstrip(line), " ", -1);
    guint n = g_strv_length(words);
    if (n > ENGINE_WORD) {
        json_object_set_new(state, "engine", text_or_null(words[ENGINE_WORD], WORD_MAX));
    }
    if (n > ENGINE_GENERATION) {
        json_object_set_new(state, "loaded", text_or_null(words[ENGINE_GENERATION], WORD_MAX));
    }
}

static void
entry_state(json_t *state, const char *key, const struct store *store, const char *which)
{
    g_autofree char *ignored = NULL;
    g_autoptr(store_entry_t) entry = store == NULL ? NULL : store_find(store, which, &ignored);
    if (entry == NULL) {
        return;
    }
    json_object_set_new(state, key, json_string(entry->name));
    if (entry->is_current && entry->manifest != NULL) {
        json_object_set_new(state, "time", json_integer(manifest_time(entry->manifest)));
    }
}

json_t *
node_state_of(const struct settings *settings, const char *given, const char *error)
{
    g_autoptr(store_t) store = NULL;
    g_autofree char *ignored = NULL;
    json_t *state = json_pack("{s:s, s:s, s:n, s:n, s:i, s:n, s:o, s:n}", "postern",
                              PACKAGE_VERSION, "engine", NODE_STATE_STOPPED, "loaded", "current",
                              "time", 0, "pinned", "error", text_or_null(error, TEXT_MAX), "given");
    (void)store_open(settings->signatures_dir, FALSE, &store, &ignored);
    engine_state(settings, state);
    entry_state(state, "pinned", store, "pinned");
    entry_state(state, "current", store, "current");
    if (given != NULL) {
        json_object_set_new(state, "given", given_state(settings, store, given));
    }
    return state;
}

static json_t *
clean_text(const json_t *from, const char *name, size_t max)
{
    return text_or_null(json_string_value(json_object_get(from, name)), max);
}

json_t *
node_state_clean(const json_t *state)
{
    const json_t *given = json_object_get(state, "given");
    if (!json_is_object(state)) {
        return NULL;
    }
    json_t *clean = json_object();
    static const char *const words[] = {"postern", "engine", "loaded", "current", "pinned"};
    for (size_t i = 0; i < G_N_ELEMENTS(words); i++) {
        json_object_set_new(clean, words[i], clean_text(state, words[i], WORD_MAX));
    }
    json_object_set_new(clean, "error", clean_text(state, "error", TEXT_MAX));
    json_object_set_new(clean, "time",
                        json_integer(json_integer_value(json_object_get(state, "time"))));
    json_object_set_new(clean, "given",
                        json_is_object(given)
                            ? json_pack("{s:o, s:o, s:o, s:b}", "name",
                                        clean_text(given, "name", WORD_MAX), "state",
                                        clean_text(given, "state", WORD_MAX), "reason",
                                        clean_text(given, "reason", TEXT_MAX), "interrupted",
                                        json_is_true(json_object_get(given, "interrupted")))
                            : json_null());
    return clean;
}
