/* SPDX-License-Identifier: GPL-2.0-only */
/* Which generation is adopted, whether there is room for it, and that it is adopted. All but the
 * last function runs in processes of its own. */
#include "config.h"
#include "adoption-inner.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "generation.h"
#include "nursery.h"
#include "precedence.h"
#include "room.h"
#include "store.h"
#include "update-files.h"

/* A load takes more for a moment than what is loaded (measured: a tenth). */
#define PEAK_PERCENT 115U

void
choice_clear(struct choice *choice)
{
    g_free(choice->name);
    g_free(choice->path);
    g_free(choice->before);
    g_free(choice->reject);
    g_free(choice->waits);
    g_free(choice->broken);
    g_free(choice->mended);
    *choice = (struct choice){0};
}

char *
choice_path(const struct engine *engine, const char *name)
{
    return g_build_filename(engine->settings->signatures_dir, name, NULL);
}

/* Where `current` leads; NULL also when it cannot be followed. */
static char *
current_name(const struct engine *engine)
{
    struct generation generation;
    g_autofree char *error = NULL;
    if (generation_resolve(engine->settings->signatures_dir, &generation, &error) < 0) {
        return NULL;
    }
    char *name = g_steal_pointer(&generation.name);
    generation_clear(&generation);
    return name;
}

/* When the newest of those that are or were in use was put together. Not when it was adopted: that
 * may take hours, and what came meanwhile is newer. One from the future does not count, for a clock
 * was wrong. */
static gint64
newest_adopted(GPtrArray *list)
{
    const gint64 now = g_get_real_time() / G_USEC_PER_SEC;
    gint64 newest = 0;
    for (guint i = 0; i < list->len; i++) {
        const struct store_entry *entry = g_ptr_array_index(list, i);
        if (entry->manifest != NULL && entry->manifest->created <= now &&
            (entry->is_current || entry->record.state == RECORD_ADOPTED)) {
            newest = MAX(newest, entry->manifest->created);
        }
    }
    return newest;
}

/* The newest that was tried and is not older than what is or was in use; borrowed from LIST. */
static const struct store_entry *
newest_tried(GPtrArray *list)
{
    const gint64 since = newest_adopted(list);
    const struct store_entry *pinned = NULL;
    for (guint i = 0; i < list->len; i++) {
        const struct store_entry *entry = g_ptr_array_index(list, i);
        pinned = entry->is_pinned ? entry : pinned;
    }
    for (guint i = 0; i < list->len; i++) {
        const struct store_entry *entry = g_ptr_array_index(list, i);
        bool may =
            entry->manifest != NULL && (entry->record.state == RECORD_TRIED ||
                                        (pinned == entry && entry->record.state == RECORD_ADOPTED));
        if (may && !entry->is_current &&
            (pinned == NULL ? entry->manifest->created >= since : pinned == entry)) {
            return entry;
        }
    }
    return NULL;
}

/* Newest first: that was tried or in use, and whose files are what they were; borrowed from LIST.
 */
static const struct store_entry *
newest_whole(const struct store *store, GPtrArray *list)
{
    for (guint i = 0; i < list->len; i++) {
        const struct store_entry *entry = g_ptr_array_index(list, i);
        g_autofree char *error = NULL;
        bool may = !entry->is_current &&
                   (entry->record.state == RECORD_TRIED || entry->record.state == RECORD_ADOPTED);
        if (may && store_verify(store, entry->name, &error) == 0) {
            return entry;
        }
    }
    return NULL;
}

/* Nothing is whole: a generation that was tried or in use may still be offered. Returns the name of
 * the one whose files are what they were again; NULL: none. */
static char *
mend(const struct engine *engine)
{
    const struct settings *settings = engine->settings;
    const char *const dirs[] = {settings->update_dir, settings->share_dir};
    char name[MANIFEST_NAME_DIGITS + 1];
    bool is_mended = false;
    for (size_t i = 0; i < G_N_ELEMENTS(dirs) && !is_mended; i++) {
        g_autofree char *path = g_build_filename(dirs[i], OFFER_DIR, NULL);
        g_autofree char *error = NULL;
        g_autoptr(store_t) store = NULL;
        int offer = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
        if (offer >= 0 && store_open(settings->signatures_dir, TRUE, &store, &error) == 0) {
            is_mended = store_mend(store, offer, settings->update_size, name, &error) == 0;
        }
        if (offer >= 0) {
            close(offer);
        }
    }
    return is_mended ? g_strdup(name) : NULL;
}

/* `current` cannot be loaded: what takes its place is worth more than what is not pinned, or what
 * other nodes think. */
static void
find_instead(const struct engine *engine, const struct store *store, GPtrArray *list,
             struct choice *choice)
{
    g_autofree char *why = NULL;
    const struct store_entry *entry = newest_whole(store, list);
    if (entry == NULL) {
        choice->mended = mend(engine);
        return;
    }
    choice->name = g_strdup(entry->name);
    choice->broken = g_strdup(engine->report.error != NULL ? engine->report.error : "it ends");
    choice->fault = supervisor_fault(engine->supervisor);
    if (choice->before != NULL && store_is_name(choice->before)) {
        int rc = store_verify(store, choice->before, &why);
        choice->fault = rc == -EBADMSG || rc == -ENOENT ? NURSERY_FAULT_DAMAGED
                        : rc < 0                        ? NURSERY_FAULT_NONE
                                                        : choice->fault;
    }
}

void
choice_measure(const struct engine *engine, struct choice *choice)
{
    const struct nursery *serving = supervisor_nursery(engine->supervisor);
    struct generation_about old;
    guint64 memory = engine->report.memory;
    generation_look(choice->path, &choice->about);
    generation_look(serving != NULL ? nursery_path(serving) : NULL, &old);
    /* Of one that was made by hand nothing is known but that it is a set of signatures. */
    guint64 need = choice->about.manifest != NULL
                       ? room_needed(choice->about.manifest, old.manifest, memory)
                       : memory;
    choice->need = need / 100 * PEAK_PERCENT;
    generation_about_clear(&choice->about);
    generation_about_clear(&old);
}

/* In a cluster passive nodes go first. Where nothing serves there is nothing to lose. */
static void
precede(const struct engine *engine, struct choice *choice)
{
    if (!choice->is_set && !engine->report.test_only && !supervisor_failed(engine->supervisor)) {
        (void)precedence_of(engine->settings, choice->name, engine->role, &choice->waits);
    }
}

/* What is tried in a pause; also before what failed last, which waits for longer each time. */
static void
find_untried(const struct engine *engine, struct choice *choice)
{
    const char *waits = trial_waits_for_memory(engine->trial);
    bool has_failed = choice->name != NULL && !choice->is_set && choice->broken == NULL &&
                      g_strcmp0(choice->name, engine->adoption->failure.name) == 0;
    if (waits != NULL && (choice->name == NULL || has_failed)) {
        g_free(choice->name);
        choice->name = g_strdup(waits);
        choice->is_untried = true;
    }
}

/* What serves and could not be noted is what `current` leads to, as soon as that can be written.
 * Returns whether it is so still. */
static bool
is_behind(const struct engine *engine, const char *serving, struct choice *ret)
{
    const struct choice *unnoted = &engine->adoption->unnoted;
    g_autofree char *ignored = NULL;
    if (unnoted->name == NULL || g_strcmp0(serving, unnoted->name) != 0 ||
        g_strcmp0(ret->before, unnoted->before) != 0) {
        return false;
    }
    ret->is_noted = choice_commit(engine, unnoted, &ignored) == 0;
    if (ret->is_noted) {
        g_free(ret->before);
        ret->before = g_strdup(unnoted->name);
    }
    return !ret->is_noted;
}

/* What was damaged after its trial is new where it is offered again. */
static void
forget_damaged(const struct engine *engine, struct choice *ret)
{
    const char *name = engine->adoption->damaged;
    g_autoptr(store_t) store = NULL;
    g_autofree char *ignored = NULL;
    if (name == NULL || store_open(engine->settings->signatures_dir, TRUE, &store, &ignored) < 0) {
        return;
    }
    g_autoptr(store_entry_t) entry = store_find(store, name, &ignored);
    bool may = entry != NULL && !entry->is_current &&
               (entry->record.state == RECORD_TRIED || entry->record.state == RECORD_ADOPTED);
    g_clear_pointer(&ignored, g_free);
    ret->is_forgotten = may && store_discard(store, name, &ignored) == 0;
    ret->is_settled = !may || ret->is_forgotten;
}

void
choice_find(const struct engine *engine, const char *serving, struct choice *ret)
{
    g_autofree char *error = NULL;
    g_autoptr(store_t) store = NULL;
    *ret = (struct choice){.before = current_name(engine)};
    bool behind = is_behind(engine, serving, ret);
    forget_damaged(engine, ret);
    if (ret->before != NULL && !behind && g_strcmp0(ret->before, serving) != 0) {
        ret->name = g_strdup(ret->before);
        ret->is_set = true;
    } else if (store_open(engine->settings->signatures_dir, FALSE, &store, &error) == 0) {
        g_autoptr(GPtrArray) list = store_list(store);
        if (supervisor_failed(engine->supervisor)) {
            find_instead(engine, store, list, ret);
        } else {
            const struct store_entry *entry = newest_tried(list);
            ret->name = g_strdup(entry != NULL ? entry->name : NULL);
        }
    }
    find_untried(engine, ret);
    if (ret->name != NULL) {
        ret->path = choice_path(engine, ret->name);
        choice_measure(engine, ret);
        precede(engine, ret);
    }
}

enum record_state
choice_state(const struct engine *engine, const struct choice *choice, char **reason_r)
{
    g_autofree char *error = NULL;
    g_autoptr(store_t) store = NULL;
    g_autoptr(store_entry_t) entry = NULL;
    if (store_open(engine->settings->signatures_dir, FALSE, &store, &error) < 0) {
        return RECORD_TRYING;
    }
    entry = store_find(store, choice->name, &error);
    if (entry == NULL) {
        return RECORD_TRYING;
    }
    *reason_r = g_strdup(entry->record.reason);
    return entry->record.state;
}

/* Why ENTRY is not adopted without force; NULL: it may be. */
static const char *
refusal(const struct store_entry *entry)
{
    return entry->record.state == RECORD_REJECTED                     ? "it was rejected"
           : entry->record.state == RECORD_TRIED || entry->is_current ? NULL
           : entry->record.state == RECORD_ADOPTED                    ? NULL
                                                                      : "it was not tried yet";
}

int
choice_order(const struct engine *engine, const struct adoption_request *request,
             struct choice *ret, char **error_r)
{
    g_autoptr(store_t) store = NULL;
    *ret = (struct choice){0};
    int rc = store_open(engine->settings->signatures_dir, FALSE, &store, error_r);
    if (rc < 0) {
        return rc;
    }
    g_autoptr(store_entry_t) entry = store_find(store, request->generation, error_r);
    if (entry == NULL) {
        return -ENOENT;
    }
    const char *why = entry->manifest == NULL ? "its files are gone"
                      : request->force        ? NULL
                                              : refusal(entry);
    if (why != NULL) {
        *error_r = g_strdup_printf("%s is not adopted: %s", entry->name, why);
        return -EPERM;
    }
    *ret = (struct choice){
        .name = g_strdup(entry->name),
        .path = choice_path(engine, entry->name),
        .before = current_name(engine),
        .reject = g_strdup(request->reject),
        .is_set = entry->is_current,
        .by_order = true,
        .force = request->force,
    };
    choice_measure(engine, ret);
    return 0;
}

/* The record of what somebody else made current; only for people, so nothing depends on it. */
static void
note_adopted(struct store *store, const char *name)
{
    g_autofree char *ignored = NULL;
    g_autofree char *error = NULL;
    g_autoptr(store_entry_t) entry = store_find(store, name, &error);
    if (entry != NULL && entry->record.state != RECORD_ADOPTED) {
        (void)store_adopt(store, name, TRUE, &ignored);
    }
}

/* It is adopted by now: what cannot be noted is no reason to take that back. */
static void
reject_before(const struct engine *engine, struct store *store, const struct choice *choice,
              char **warning_r)
{
    g_autofree char *error = NULL;
    g_autofree char *ignored = NULL;
    if (choice->reject != NULL && choice->before != NULL &&
        strcmp(choice->before, choice->name) != 0 &&
        store_set(store, choice->before, RECORD_REJECTED, choice->reject, &error) < 0) {
        g_free(*warning_r);
        *warning_r = g_strdup_printf("%s cannot be rejected: %s", choice->before, error);
    }
    (void)store_prune(store, (guint)engine->settings->generations, &ignored);
}

/* What could not be loaded: it is not "previous" any more, and new where it is offered again,
 * unless it cannot be loaded although it is whole. */
static void
put_away(struct store *store, const struct choice *choice)
{
    g_autofree char *ignored = NULL;
    if (choice->broken == NULL || choice->before == NULL || !store_is_name(choice->before)) {
        return;
    }
    if (choice->fault == NURSERY_FAULT_DAMAGED) {
        (void)store_discard(store, choice->before, &ignored);
    } else if (choice->fault == NURSERY_FAULT_LOADER) {
        (void)store_set(store, choice->before, RECORD_REJECTED, choice->broken, &ignored);
    }
}

/* `current` leads to it, whatever else has failed on a full disk: its record is for people, and
 * store_recover() mends it. */
static bool
is_linked(const struct engine *engine, const struct choice *choice)
{
    g_autofree char *now = current_name(engine);
    return g_strcmp0(now, choice->name) == 0;
}

int
choice_commit(const struct engine *engine, const struct choice *choice, char **error_r)
{
    g_autoptr(store_t) store = NULL;
    g_autofree char *now = current_name(engine);
    if (g_strcmp0(now, choice->before) != 0) {
        *error_r =
            g_strdup_printf("%s/current was changed meanwhile", engine->settings->signatures_dir);
        return -ESTALE;
    }
    int rc = store_open(engine->settings->signatures_dir, TRUE, &store, error_r);
    if (choice->is_set) {
        /* What a user who may not write there has linked by hand is adopted, too. */
        if (rc == 0) {
            note_adopted(store, choice->name);
        }
        g_clear_pointer(error_r, g_free);
        return 0;
    }
    if (rc == 0) {
        rc = choice->broken != NULL ? store_return(store, choice->name, error_r)
                                    : store_adopt(store, choice->name, choice->force, error_r);
    }
    if (rc < 0 && (store == NULL || !is_linked(engine, choice))) {
        /* Whole, and tried or in use before: what cannot be written is no reason for 451. */
        return choice->broken != NULL && rc != -EBUSY && rc != -ENOENT ? 1 : rc;
    }
    reject_before(engine, store, choice, error_r);
    put_away(store, choice);
    return 0;
}

/* --- memory --------------------------------------------------------------------------------- */

bool
choice_fits(const struct engine *engine, const struct choice *choice, char **why_r)
{
    const struct settings *settings = engine->settings;
    guint64 need = choice->need;
    guint64 room = room_available(groups_directory(engine->groups));
    double wait = room_pressure();
    /* What may be taken is what leaves this node above the mark at which it is unwell. */
    guint64 reserve = room > settings->health_memory ? settings->health_memory : room;
    *why_r = NULL;
    if (settings->memory > 0 && engine->report.memory + need > settings->memory) {
        *why_r = g_strdup_printf("a second engine of about %" G_GUINT64_FORMAT
                                 " MB is more than the setting memory allows",
                                 need >> 20);
    } else if (room > 0 && room - reserve < need) {
        *why_r = g_strdup_printf("a second engine needs about %" G_GUINT64_FORMAT
                                 " MB, and only %" G_GUINT64_FORMAT " MB are available",
                                 need >> 20, (room - reserve) >> 20);
    } else if (wait >= (double)settings->health_pressure / 2) {
        *why_r = g_strdup_printf("programs wait for memory %.0f %% of the time", wait);
    }
    return *why_r == NULL;
}
