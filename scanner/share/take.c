/* SPDX-License-Identifier: GPL-2.0-only */
#include "take.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "board.h"
#include "call.h"
#include "fetched.h"
#include "give.h"
#include "log.h"
#include "node-state.h"
#include "text.h"

#define ANSWER_MAX (1024 * 1024)
#define TURN_SECONDS 30
/* So often is looked whether there is something to tell. */
#define LOOK_SECONDS 2
/* What could not be had is tried again after twice as long each time. */
#define RETRY_MAX 3600

struct take {
    const struct settings *settings;
    const struct peers *peers;
    struct board *board;
    struct caller *caller;
    const struct peer_node *giver; /* who gave last; NULL: nobody yet */
    char *error;                   /* what is wrong, as was logged */
    char *told;                    /* the state that the giver knows */
    gint64 next;                   /* turn */
    char *failed;                  /* the generation that could not be had */
    guint failures;
    gint64 retry;
};

/* Says what changed. ERROR is taken over; NULL: all is well. */
static void
take_error(struct take *take, char *error)
{
    g_autofree char *shown = error == NULL ? NULL : text_escape(error, 500);
    g_free(error);
    if (g_strcmp0(shown, take->error) != 0) {
        if (shown != NULL) {
            log_warning("%s", shown);
        }
        g_free(take->error);
        take->error = g_steal_pointer(&shown);
    }
    board_set_error(take->board, take->error);
}

static char *
state_text(const struct take *take)
{
    json_t *state = node_state_of(take->settings, board_given(take->board), take->error);
    char *dumped = json_dumps(state, JSON_COMPACT | JSON_SORT_KEYS);
    char *text = g_strdup(dumped);
    free(dumped);
    json_decref(state);
    return text;
}

static int
answer_take(struct take *take, const struct peer_node *node, const char *text, char **error_r)
{
    json_t *answer = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
    const json_t *gives = json_object_get(answer, "gives");
    const char *name = json_string_value(gives);
    if (!json_is_object(answer) || (!json_is_null(gives) && !node_state_is_name(name))) {
        *error_r = g_strdup_printf("%s gives an answer that is not understood", node->name);
        json_decref(answer);
        return -EBADMSG;
    }
    gint64 now = board_now();
    board_learn(take->board, json_object_get(answer, "nodes"), now);
    board_hear(take->board, node->name, json_object_get(answer, "state"), now);
    board_set_given(take->board, name, node->name);
    json_decref(answer);
    return 0;
}

static int
turn_with(struct take *take, const struct peer_node *node, const char *state, char **error_r)
{
    char digest[65];
    g_autofree char *text = NULL;
    const struct call call = {.method = "POST",
                              .path = GIVE_TURN,
                              .body = state,
                              .limit = ANSWER_MAX,
                              .seconds = TURN_SECONDS,
                              .fd = -1};
    int rc = caller_call(take->caller, node, &call, digest, &text, error_r);
    if (rc >= 0 && rc != 200) {
        *error_r = g_strdup_printf("%s answers with %d", node->name, rc);
        rc = -EPROTO;
    }
    return rc < 0 ? rc : answer_take(take, node, text, error_r);
}

/* The one that gave last first. Returns who gives; NULL: nobody. */
static const struct peer_node *
find_giver(struct take *take, const char *state, char **error_r)
{
    guint n = take->peers->nodes->len;
    for (guint i = 0; i <= n; i++) {
        g_autofree char *error = NULL;
        const struct peer_node *node =
            i == 0 ? take->giver : g_ptr_array_index(take->peers->nodes, i - 1);
        if (node == NULL || (i > 0 && node == take->giver) ||
            strcmp(node->name, take->peers->self) == 0) {
            continue;
        }
        int rc = turn_with(take, node, state, &error);
        if (rc == 0) {
            return node;
        }
        /* Nobody listens on a passive node: only what is worse is worth a word. */
        if (rc != -ENOTCONN && *error_r == NULL) {
            *error_r = g_steal_pointer(&error);
        }
    }
    return NULL;
}

static void
bring(struct take *take, const char *name, gint64 now)
{
    g_autofree char *error = NULL;
    gboolean again = g_strcmp0(take->failed, name) == 0;
    if (again && now < take->retry) {
        return;
    }
    int rc = fetched_bring(take->settings, take->caller, take->giver, name, &error);
    if (rc == 0) {
        log_notice("%s was taken from %s", name, take->giver->name);
        g_clear_pointer(&take->failed, g_free);
        take->failures = 0;
        take_error(take, NULL);
        return;
    }
    gint64 wait = MIN((gint64)take->settings->share_interval << MIN(take->failures, 12), RETRY_MAX);
    take->failures = again ? take->failures + 1 : 1;
    take->retry = board_now() + wait;
    g_free(take->failed);
    take->failed = g_strdup(name);
    take_error(take, g_steal_pointer(&error));
}

static void
turn(struct take *take)
{
    g_autofree char *error = NULL;
    g_autofree char *state = state_text(take);
    const struct peer_node *giver = find_giver(take, state, &error);
    gint64 now = board_now();
    const char *name = board_given(take->board);
    take->next = now + (gint64)take->settings->share_interval;
    g_free(take->told);
    take->told = g_steal_pointer(&state);
    if (giver == NULL) {
        take_error(take, error != NULL ? g_steal_pointer(&error)
                                       : g_strdup("no other node gives signatures"));
    } else {
        take->giver = giver;
        if (name == NULL || fetched_is_here(take->settings, name)) {
            g_clear_pointer(&take->failed, g_free);
            take_error(take, NULL);
        } else {
            bring(take, name, now);
        }
    }
    int rc = board_write(take->board, board_now());
    if (rc < 0) {
        log_warning("%s: what the nodes say cannot be kept: %s", take->settings->share_dir,
                    g_strerror(-rc));
    }
}

static gboolean
has_news(const struct take *take)
{
    g_autofree char *state = state_text(take);
    return take->giver != NULL && g_strcmp0(state, take->told) != 0;
}

void
take_run(const struct settings *settings, const struct peers *peers)
{
    struct take take = {.settings = settings,
                        .peers = peers,
                        .board = board_new(settings, peers, "takes"),
                        .caller = caller_new(peers, (guint16)settings->share_port)};
    for (;;) {
        if (board_now() >= take.next || has_news(&take)) {
            turn(&take);
        }
        g_usleep(MIN(LOOK_SECONDS, settings->share_interval) * G_USEC_PER_SEC);
    }
}

void
take_farewell(const struct settings *settings, const struct peers *peers)
{
    json_t *before = board_load(settings);
    const char *from = json_string_value(json_object_get(before, "from"));
    struct take take = {.settings = settings,
                        .peers = peers,
                        .board = board_new(settings, peers, "takes"),
                        .caller = caller_new(peers, (guint16)settings->share_port),
                        .giver = from == NULL ? NULL : peers_find(peers, from)};
    g_autofree char *state = state_text(&take);
    g_autofree char *error = NULL;
    (void)find_giver(&take, state, &error);
    caller_free(take.caller);
    board_free(take.board);
    json_decref(before);
}
