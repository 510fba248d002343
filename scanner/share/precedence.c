/* SPDX-License-Identifier: GPL-2.0-only */
#include "precedence.h"

#include <string.h>
#include <time.h>
#include <unistd.h>

#include "board.h"
#include "node-state.h"
#include "store.h"
#include "text.h"

#define SILENT_INTERVALS 3
#define SILENT_MORE 10
#define WHY_MAX 500
/* Of update_patience, 22 minutes by default: enough for those that go first when all is well. */
#define SHORTEST_PART 16
/* A word that is worth more than that it does not get on: a day by default, in which a newer one
 * usually comes. */
#define REJECTED_TIMES 4

gint64
precedence_silence(const struct settings *settings)
{
    return SILENT_INTERVALS * (gint64)settings->share_interval + SILENT_MORE;
}

gboolean
precedence_is_active(const char *role)
{
    g_autoptr(GKeyFile) file = g_key_file_new();
    if (!g_key_file_load_from_file(file, role != NULL ? role : PRECEDENCE_ROLE, G_KEY_FILE_NONE,
                                   NULL)) {
        return FALSE;
    }
    g_auto(GStrv) resources = g_key_file_get_groups(file, NULL);
    for (char **resource = resources; *resource != NULL; resource++) {
        g_autofree char *stage = g_key_file_get_string(file, *resource, "stage", NULL);
        if (g_strcmp0(stage, "serving") == 0 || g_strcmp0(stage, "taking") == 0) {
            return TRUE;
        }
    }
    return FALSE;
}

static const char *
text_of(const json_t *object, const char *name)
{
    return json_string_value(json_object_get(object, name));
}

/* What the nodes say of one generation, taken together: of each kind a node's name. */
struct opinion {
    const char *rejected;
    const char *reason;
    gboolean interrupted; /* it never came to an end there */
    const char *lost;     /* silent since it began */
    const char *amid;     /* there, and in the middle of it */
    const char *idle;     /* there, and not */
    const char *state;    /* of IDLE */
    gboolean confirmed;
};

/* What one node has to do with it. */
enum stance {
    STANCE_NONE,      /* nothing: not there, or pinned to something else */
    STANCE_IDLE,      /* it may wait for memory, or for its turn */
    STANCE_AMID,      /* what happens now shows whether it is good */
    STANCE_CONFIRMED, /* works with it for a while */
    STANCE_REJECTED,
};

static enum stance
stance_of(const json_t *node, const char *name)
{
    const json_t *state = json_object_get(node, "state");
    const json_t *given = json_object_get(state, "given");
    const char *pinned = text_of(state, "pinned");
    const char *word =
        g_strcmp0(text_of(given, "name"), name) == 0 ? text_of(given, "state") : NULL;
    gboolean loads = g_strcmp0(text_of(node, "adopted"), name) == 0;
    const char *engine = text_of(state, "engine");
    gboolean works = g_strcmp0(engine, "ready") == 0;
    if (g_strcmp0(word, "rejected") == 0) {
        return STANCE_REJECTED;
    }
    if (g_strcmp0(text_of(node, "confirmed"), name) == 0) {
        return STANCE_CONFIRMED;
    }
    /* One that went back to another by hand works; one that died of it does not. Where the engine
     * was stopped in good order nothing happens. */
    if (g_strcmp0(engine, NODE_STATE_STOPPED) == 0) {
        return pinned == NULL || strcmp(pinned, name) == 0 ? STANCE_IDLE : STANCE_NONE;
    }
    if (loads || g_strcmp0(word, "trying") == 0 || (g_strcmp0(word, "adopted") == 0 && !works)) {
        return STANCE_AMID;
    }
    return pinned == NULL || strcmp(pinned, name) == 0 ? STANCE_IDLE : STANCE_NONE;
}

static gboolean
has_begun(const json_t *node, const char *name)
{
    const json_t *state = json_object_get(node, "state");
    const json_t *given = json_object_get(state, "given");
    const char *word = text_of(given, "state");
    return g_strcmp0(text_of(state, "engine"), NODE_STATE_STOPPED) != 0 &&
           g_strcmp0(text_of(given, "name"), name) == 0 &&
           (g_strcmp0(word, "tried") == 0 || g_strcmp0(word, "adopted") == 0);
}

static void
opinion_add(struct opinion *all, const struct settings *settings, const json_t *node,
            const char *name)
{
    const json_t *given = json_object_get(json_object_get(node, "state"), "given");
    const char *who = text_of(node, "name");
    enum stance stance = stance_of(node, name);
    gboolean is_silent =
        json_integer_value(json_object_get(node, "silent")) > precedence_silence(settings);
    if (stance == STANCE_REJECTED) {
        all->rejected = all->interrupted ? all->rejected : who;
        all->reason = text_of(given, "reason");
        all->interrupted = all->interrupted || json_is_true(json_object_get(given, "interrupted"));
    } else if (stance == STANCE_CONFIRMED) {
        all->confirmed = TRUE;
    } else if (is_silent && (stance == STANCE_AMID || has_begun(node, name))) {
        all->lost = who;
    } else if (!is_silent && stance == STANCE_AMID) {
        all->amid = who;
    } else if (!is_silent && stance == STANCE_IDLE) {
        const char *state = text_of(given, "state");
        all->idle = who;
        all->state = state != NULL && g_strcmp0(text_of(given, "name"), name) == 0 ? state : "none";
    }
}

G_GNUC_PRINTF(3, 4)
static enum precedence
say(enum precedence answer, char **why_r, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    g_autofree char *text = g_strdup_vprintf(format, args);
    va_end(args);
    *why_r = text_escape(text, WHY_MAX);
    return answer;
}

/* What holds whether or not anybody is heard now. */
static enum precedence
judge_memory(const struct opinion *all, char **why_r)
{
    if (all->lost != NULL) {
        return say(PRECEDENCE_WAIT, why_r,
                   "%s began with it and has not been heard of since; if that has another cause, "
                   "adopt it by hand",
                   all->lost);
    }
    if (all->interrupted) {
        return say(PRECEDENCE_REFUSED, why_r,
                   "%s rejected it, for its trial there was interrupted each time, as by a machine "
                   "that goes down; if that had another cause, adopt it by hand",
                   all->rejected);
    }
    return PRECEDENCE_GO;
}

static enum precedence
say_rejected(const struct opinion *all, gint64 patience, char **why_r)
{
    return say(PRECEDENCE_REFUSED, why_r,
               "%s rejected it: %s; this node waits for a newer one, and decides for itself when "
               "none came in %" G_GINT64_FORMAT " s (four times update_patience at first)",
               all->rejected, all->reason != NULL ? all->reason : "it gave no reason", patience);
}

/* How long a node may hold one up, TIMES update_patience at first. HELD: for how long one after the
 * other was. */
static gint64
patience_of(const struct settings *settings, gint64 times, gint64 held)
{
    gint64 patience = (gint64)settings->update_patience;
    gint64 first = times * patience;
    return first == 0 ? 0 : MAX(first >> MIN(held / first, 62), patience / SHORTEST_PART);
}

/* GIVEN: for how many seconds it has been given to the others; HELD: for how long one after the
 * other was, and none adopted here. */
static enum precedence
judge_others(const struct settings *settings, const struct opinion *all, gint64 given, gint64 held,
             char **why_r)
{
    gint64 left = patience_of(settings, 1, held) - given;
    gint64 rejected = patience_of(settings, REJECTED_TIMES, held);
    if (all->rejected != NULL && given < rejected) {
        return say_rejected(all, rejected, why_r);
    }
    if (all->amid != NULL &&
        (left > 0 || held < RECORD_TRIALS_MAX * (gint64)settings->trial_timeout)) {
        return say(PRECEDENCE_WAIT, why_r, "%s goes first, and is in the middle of it", all->amid);
    }
    if (all->idle != NULL && left > 0) {
        return say(PRECEDENCE_WAIT, why_r, "%s goes first: there it is %s", all->idle,
                   strcmp(all->state, "none") == 0 ? "not known yet" : all->state);
    }
    gboolean is_anybody = all->rejected != NULL || all->amid != NULL || all->idle != NULL;
    if (!is_anybody && !all->confirmed && given < (gint64)settings->update_alone) {
        return say(PRECEDENCE_WAIT, why_r,
                   "no other node is there to go first; it is adopted all the same when that was "
                   "so for %" G_GUINT64_FORMAT " s (update_alone)",
                   (guint64)settings->update_alone);
    }
    return PRECEDENCE_GO;
}

static gint64
number_of(const json_t *status, const char *name)
{
    return json_integer_value(json_object_get(status, name));
}

enum precedence
precedence_judge(const struct settings *settings, const json_t *status, gboolean is_fresh,
                 const char *name, gint64 waited, char **why_r)
{
    struct opinion all = {.state = ""};
    gint64 at = number_of(status, "at");
    size_t i;
    json_t *node;
    json_array_foreach(json_object_get(status, "nodes"), i, node)
    {
        opinion_add(&all, settings, node, name);
    }
    enum precedence answer = judge_memory(&all, why_r);
    if (answer != PRECEDENCE_GO) {
        return answer;
    }
    if (!is_fresh || g_strcmp0(text_of(status, "role"), "gives") != 0) {
        return waited >= (gint64)settings->update_patience
                   ? PRECEDENCE_GO
                   : say(PRECEDENCE_WAIT, why_r,
                         "what the other nodes do is not known: postern-share does not run here");
    }
    if (at - number_of(status, "since") <= precedence_silence(settings)) {
        return say(PRECEDENCE_WAIT, why_r, "the other nodes have not been heard yet");
    }
    if (g_strcmp0(text_of(status, "gives"), name) != 0) {
        return say(PRECEDENCE_WAIT, why_r, "it is not what is given to the other nodes");
    }
    gint64 given = at - number_of(status, "given");
    gint64 held = number_of(status, "held");
    return judge_others(settings, &all, given, held > 0 ? MAX(at - held, given) : given, why_r);
}

gboolean
precedence_may_fetch(const struct settings *settings, const char *role)
{
    return strcmp(settings->update_on, "every node") == 0 ||
           access(settings->share_peers, F_OK) < 0 || precedence_is_active(role);
}

static gboolean
has_current(const struct settings *settings)
{
    g_autofree char *path = g_build_filename(settings->signatures_dir, "current", NULL);
    return access(path, F_OK) == 0;
}

/* For how many seconds NAME has been here; of what is not here nothing is known. */
static gint64
waited(const struct settings *settings, const char *name)
{
    g_autofree char *ignored = NULL;
    g_autoptr(store_t) store = NULL;
    g_autoptr(store_entry_t) entry = NULL;
    if (store_open(settings->signatures_dir, FALSE, &store, &ignored) == 0) {
        entry = store_find(store, name, &ignored);
    }
    return entry == NULL || entry->manifest == NULL ? 0
                                                    : (gint64)time(NULL) - entry->manifest->created;
}

enum precedence
precedence_of(const struct settings *settings, const char *name, const char *role, char **why_r)
{
    if (strcmp(settings->update_on, "every node") == 0 || access(settings->share_peers, F_OK) < 0 ||
        !precedence_is_active(role) || !has_current(settings)) {
        return PRECEDENCE_GO;
    }
    json_t *status = board_load(settings);
    gint64 age = board_age(status, board_now());
    gboolean is_fresh = age >= 0 && age <= precedence_silence(settings);
    enum precedence answer =
        precedence_judge(settings, status, is_fresh, name, waited(settings, name), why_r);
    json_decref(status);
    return answer;
}
