/* SPDX-License-Identifier: GPL-2.0-only */
#include "score.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "durable.h"
#include "peer.h"
#include "tool.h"
#include "witness.h"

#define STATE_MAX 512
#define PUSH_TIMEOUT_MS 5000
#define WITHDRAW_TRIES 3
#define WITHDRAW_PAUSE_US 500000
/*
 * The cluster forgets, and a node without a score is not promoted, be it the last. A
 * pacemaker-attrd that died has lost the values: so all is said again to a new one. When a
 * pacemaker-controld died, its node's attributes are erased from the CIB some time later, while
 * pacemaker-attrd has them still and so writes nothing that is said again: for SETTLE_S it is told
 * to write all. What is there already makes the cluster do nothing. For all else that can take a
 * value away, say a person, it is done every REASSERT_S.
 */
#define SETTLE_S 30
#define REASSERT_S 60
#define LOAD_S_MAX 86400

static const struct {
    const char *name;
    enum score_engine engine;
} state_names[] = {
    {"loading", SCORE_ENGINE_LOADING},
    {"ready", SCORE_ENGINE_READY},
    {"failed", SCORE_ENGINE_BROKEN},
};

static int
state_name_parse(const char *name, enum score_engine *ret)
{
    for (size_t i = 0; i < G_N_ELEMENTS(state_names); i++) {
        if (strcmp(name, state_names[i].name) == 0) {
            *ret = state_names[i].engine;
            return 0;
        }
    }
    return -EBADMSG;
}

/* Seconds with or without a fraction, rounded up. */
static int
seconds_parse(const char *word, unsigned *ret)
{
    char *end = NULL;
    double seconds = g_ascii_strtod(word, &end);
    if (!g_ascii_isdigit(*word) || *end != '\0' || !(seconds >= 0 && seconds <= LOAD_S_MAX)) {
        return -EBADMSG;
    }
    *ret = (unsigned)ceil(seconds);
    return 0;
}

/* A folder's name: shown when it is plain, and never a reason to distrust the rest. */
static void
generation_copy(const char *word, char *ret, size_t size)
{
    static const char safe[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.+:_-";
    bool plain = *word != '\0' && strlen(word) < size && word[strspn(word, safe)] == '\0';
    g_strlcpy(ret, plain ? word : "?", size);
}

int
score_state_parse(const char *text, struct score_state *ret)
{
    struct score_state state = {0};
    guint64 since = 0;
    *ret = (struct score_state){.engine = SCORE_ENGINE_LOADING};
    g_autofree char *line = g_strchomp(g_strdup(text));
    g_auto(GStrv) words = g_strsplit(line, " ", 5);
    guint n = g_strv_length(words);
    if (n < 4 || state_name_parse(words[0], &state.engine) < 0 ||
        !g_ascii_string_to_unsigned(words[1], 10, 0, G_MAXINT64, &since, NULL) ||
        seconds_parse(words[2], &state.load_s) < 0) {
        return -EBADMSG;
    }
    state.since = (gint64)since;
    generation_copy(words[3], state.generation, sizeof state.generation);
    state.has_health = n == 5 && health_parse(words[4], HEALTH_OF_NODE, &state.health) == 0;
    *ret = state;
    return 0;
}

/* The directory belongs to another user: no link is followed, no pipe is waited on. Returns TEXT,
 * empty when there is nothing. */
static const char *
file_read(const char *path, char text[STATE_MAX + 1])
{
    ssize_t n = -1;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd >= 0) {
        n = read(fd, text, STATE_MAX);
        close(fd);
    }
    text[n > 0 ? n : 0] = '\0';
    return text;
}

static void
state_file_read(const char *engine_dir, struct score_state *ret)
{
    char text[STATE_MAX + 1];
    g_autofree char *path = g_build_filename(engine_dir, "state", NULL);
    (void)score_state_parse(file_read(path, text), ret);
}

/* The state file speaks only for an engine that is up: it outlives one that died. */
static int
state_read(sd_bus *bus, const char *engine_dir, struct score_state *ret, char **error_r)
{
    enum unit_condition condition;
    int rc = unit_condition(bus, SCORE_ENGINE_UNIT, &condition, error_r);
    *ret = (struct score_state){.engine = SCORE_ENGINE_DEAD};
    if (rc < 0) {
        return rc;
    }
    if (condition == UNIT_UP && engine_dir != NULL) {
        state_file_read(engine_dir, ret);
    } else if (condition == UNIT_UP || condition == UNIT_RESPAWNING || condition == UNIT_LEAVING) {
        ret->engine = SCORE_ENGINE_LOADING;
    }
    return 0;
}

/* What posternd knows of comes on top, where it serves. */
static void
service_health_add(const struct role *role, struct score_state *state)
{
    char text[STATE_MAX + 1];
    struct health service;
    if (!state->has_health || role->stage != ROLE_SERVING || role->engine_dir == NULL) {
        return;
    }
    g_autofree char *dir = g_path_get_dirname(role->engine_dir);
    g_autofree char *path = g_build_filename(dir, SCORE_SERVICE_HEALTH, NULL);
    g_autofree char *word = g_strchomp(g_strdup(file_read(path, text)));
    if (health_parse(word, HEALTH_OF_SERVICE, &service) == 0) {
        health_drop_untold(&service);
        health_merge(&state->health, &service);
    }
}

unsigned
score_keep_seconds(unsigned measured_load_s)
{
    if (measured_load_s == 0) {
        return SCORE_KEEP_UNKNOWN;
    }
    return CLAMP(2 * MIN(measured_load_s, SCORE_KEEP_MAX), SCORE_KEEP_MIN, SCORE_KEEP_MAX);
}

static struct score
score_not_ready(const struct role *role, const struct score_state *state, unsigned keep_s,
                gint64 now)
{
    gint64 left_s = role->since + keep_s - now;
    if (role->keep && state->engine == SCORE_ENGINE_LOADING && left_s > 0) {
        return (struct score){.promotion = SCORE_READY, .keep = true, .recheck_s = left_s};
    }
    return (struct score){.promotion = SCORE_PLOST, .fell = role->fell > 0 ? role->fell : now};
}

/* Until when a loss counts: a move may begin as long as the engine is not ready, and lasts on after
 * the demotion. */
static gint64
held_until(const struct role *role, gint64 now)
{
    gint64 from = role->stage == ROLE_STANDBY ? role->since : role->again > 0 ? role->again : now;
    return role->fell > 0 ? from + SCORE_HOLD : 0;
}

/* Counts as a loss: when nothing waits any more, the mail is on its way all the same. */
static struct score
score_moves(const struct role *role, gint64 now)
{
    gint64 fell = role->fell > 0 ? role->fell : now;
    return (struct score){.promotion = SCORE_PLOST, .fell = fell, .recheck_s = 1, .moves = true};
}

struct score
score_compute(const struct role *role, const struct score_state *state, unsigned keep_s, gint64 now)
{
    gint64 hold_s = MAX(held_until(role, now) - now, 0);
    struct score held = {.fell = hold_s > 0 ? role->fell : 0};
    if (state->engine != SCORE_ENGINE_READY) {
        held.promotion = SCORE_LOAD;
        return role->stage == ROLE_STANDBY ? held : score_not_ready(role, state, keep_s, now);
    }
    held.promotion = hold_s > 0 ? SCORE_PLOST : SCORE_READY;
    held.again = hold_s == 0 ? 0 : role->again > 0 ? role->again : now;
    held.recheck_s = hold_s;
    return state->has_health && state->health.level[HEALTH_SIGNATURES_MOVE] != HEALTH_GREEN
               ? score_moves(role, now)
               : held;
}

static char *
engine_text(const struct score_state *state, unsigned load_s)
{
    g_autoptr(GDateTime) since = g_date_time_new_from_unix_local(state->since);
    g_autofree char *clock = since != NULL ? g_date_time_format(since, "%H:%M:%S") : g_strdup("?");
    switch (state->engine) {
    case SCORE_ENGINE_DEAD:
        return g_strdup("engine failed");
    case SCORE_ENGINE_BROKEN:
        return g_strdup_printf("signatures cannot be loaded since %s", clock);
    case SCORE_ENGINE_READY:
        return g_strdup_printf("ready (%s)", state->generation);
    case SCORE_ENGINE_LOADING:
        break;
    }
    if (state->since == 0) {
        return NULL;
    }
    return load_s == 0 ? g_strdup_printf("loading since %s", clock)
                       : g_strdup_printf("loading since %s, about %u s", clock, load_s);
}

char *
score_text(const struct score_state *state, unsigned load_s)
{
    g_autofree char *engine = engine_text(state, load_s);
    bool is_old = state->has_health && state->health.level[HEALTH_SIGNATURES_OLD] != HEALTH_GREEN;
    g_autofree char *text =
        engine == NULL ? NULL : g_strconcat(engine, is_old ? ", with OLD signatures" : "", NULL);
    if (text == NULL || !state->has_health || health_worst(&state->health) < HEALTH_RED) {
        return g_steal_pointer(&text);
    }
    GString *out = g_string_new(text);
    const char *before = "; this node is red: ";
    for (unsigned i = 0; i < HEALTH_CAUSES; i++) {
        if (state->health.level[i] == HEALTH_RED) {
            g_string_append_printf(out, "%s%s", before, health_cause_name((enum health_cause)i));
            before = ", ";
        }
    }
    return g_string_free(out, FALSE);
}

/* How long a load takes on this node: what the engine has measured, else what it did once. */
static unsigned
load_seconds(const struct score_state *state)
{
    g_autofree char *text = NULL;
    guint64 known = 0;
    if (!g_file_get_contents(SCORE_LOAD_FILE, &text, NULL, NULL) ||
        !g_ascii_string_to_unsigned(g_strchomp(text), 10, 1, LOAD_S_MAX, &known, NULL)) {
        known = 0;
    }
    if (state->load_s > 0 && state->load_s != known) {
        g_autofree char *now = g_strdup_printf("%u\n", state->load_s);
        /* Only an estimate: when it cannot be kept, the next boot does without. */
        (void)durable_replace_text(SCORE_LOAD_FILE, now, 0644);
        known = state->load_s;
    }
    return (unsigned)known;
}

static int
push(const char *attribute, const char *value, char **error_r)
{
    const char *set[] = {TOOL_ATTRD_UPDATER, "-n", attribute, "-U", value, "-d", "0", NULL};
    const char *clear[] = {TOOL_ATTRD_UPDATER, "-n", attribute, "-D", NULL};
    return tool_run(value != NULL ? set : clear, PUSH_TIMEOUT_MS, error_r);
}

static int
rewrite(char **error_r)
{
    const char *argv[] = {TOOL_ATTRD_UPDATER, "-R", NULL};
    return tool_run(argv, PUSH_TIMEOUT_MS, error_r);
}

static int
push_score(const struct role *role, const char *value, char **error_r)
{
    g_autofree char *attribute = g_strconcat("master-", role->resource, NULL);
    return role->mode == ROLE_PROMOTABLE ? push(attribute, value, error_r) : 0;
}

/* Has what was published to be said again? */
static bool
is_due(struct role *role)
{
    gint64 now = role_now();
    g_autofree char *witness = witness_read(role->witness);
    if (g_strcmp0(witness, role->witness) != 0) {
        g_free(role->witness);
        role->witness = g_steal_pointer(&witness);
        role->witnessed = now;
    }
    return now - role->witnessed < SETTLE_S || now - role->published >= REASSERT_S;
}

/*
 * A dead engine judges nothing: what it said last would strand the node. One that is just being
 * started again goes on from what it said.
 */
static int
health_publish(struct role *role, const struct score_state *state, bool force, char **error_r)
{
    if (!state->has_health && state->engine != SCORE_ENGINE_DEAD) {
        return 0;
    }
    const char *value = state->has_health ? health_level_name(health_worst(&state->health)) : NULL;
    if (g_strcmp0(role->health, value) == 0 && !(force && value != NULL)) {
        return 0;
    }
    int rc = push(SCORE_HEALTH_ATTRIBUTE, value, error_r);
    if (rc == 0) {
        g_free(role->health);
        role->health = g_strdup(value);
    }
    return rc;
}

static int
role_publish(struct role *role, int promotion, const char *text, const struct score_state *state,
             bool force, char **error_r)
{
    int rc = 0;
    force = is_due(role) || force;
    if (force || role->score != promotion) {
        g_autofree char *value = g_strdup_printf("%d", promotion);
        rc = push_score(role, value, error_r);
        role->score = rc == 0 ? promotion : -1;
    }
    if (rc == 0 && text != NULL && (force || g_strcmp0(role->text, text) != 0)) {
        rc = push(SCORE_TEXT_ATTRIBUTE, text, error_r);
        g_free(role->text);
        role->text = rc == 0 ? g_strdup(text) : NULL;
    }
    if (rc == 0) {
        rc = health_publish(role, state, force, error_r);
    }
    if (rc == 0 && force) {
        rc = rewrite(error_r);
        role->published = rc == 0 ? role_now() : 0;
    }
    return rc;
}

/* Ready again, but the loss still counts. */
static bool
score_is_held(const struct score *score)
{
    return score->promotion == SCORE_PLOST && score->recheck_s > 0;
}

void
score_wait(const struct role *role, bool peer_ready, struct score *score)
{
    if (role->require_ready && score->promotion == SCORE_LOAD) {
        score->promotion = peer_ready ? SCORE_WAIT : SCORE_LOAD;
        score->recheck_s = 1;
    }
}

void
score_hold(bool peer_ready, struct score *score)
{
    if (score_is_held(score)) {
        bool moves = score->moves;
        *score = peer_ready ? *score : (struct score){.promotion = SCORE_READY, .moves = moves};
        score->recheck_s = peer_ready ? 1 : moves ? SCORE_MOVE_S : 0;
    }
}

/* Asks for the peers only when the answer matters. Nobody who could be asked is as nobody ready:
 * then the node can be promoted. */
static void
look_at_peers(const struct role *role, struct score *score)
{
    bool peer_ready = false;
    g_autofree char *error = NULL;
    bool waits = role->require_ready && score->promotion == SCORE_LOAD;
    if (role->mode == ROLE_PROMOTABLE && (waits || score_is_held(score))) {
        (void)peer_is_ready(role->resource, role->node, &peer_ready, &error);
        score_wait(role, peer_ready, score);
        score_hold(peer_ready, score);
    }
}

int
score_publish(struct roles *roles, sd_bus *bus, bool force, gint64 *ret_recheck_s, char **error_r)
{
    int rc = 0;
    g_autofree struct role **all = roles_all(roles);
    *ret_recheck_s = 0;
    for (struct role **role = all; rc == 0 && *role != NULL; role++) {
        struct score_state state;
        rc = state_read(bus, (*role)->engine_dir, &state, error_r);
        if (rc < 0) {
            break;
        }
        service_health_add(*role, &state);
        unsigned load_s = load_seconds(&state);
        struct score score = score_compute(*role, &state, score_keep_seconds(load_s), role_now());
        look_at_peers(*role, &score);
        g_autofree char *text = score_text(&state, load_s);
        (*role)->keep = score.keep;
        (*role)->fell = score.fell;
        (*role)->again = score.again;
        rc = role_publish(*role, score.promotion, text, &state, force, error_r);
        if (score.recheck_s > 0) {
            *ret_recheck_s = score.recheck_s;
        }
    }
    int saved = roles_save(roles);
    if (saved < 0 && rc == 0) {
        *error_r = g_strdup_printf("%s cannot be written: %s", ROLE_DIR, g_strerror(-saved));
        rc = saved;
    }
    return rc;
}

int
score_refresh(sd_bus *bus, bool force, gint64 *ret_recheck_s, char **error_r)
{
    g_autoptr(roles_t) roles = NULL;
    int rc = roles_open(NULL, &roles);
    *ret_recheck_s = 0;
    if (rc < 0) {
        *error_r = g_strdup_printf("%s: %s", ROLE_DIR, g_strerror(-rc));
        return rc;
    }
    return score_publish(roles, bus, force, ret_recheck_s, error_r);
}

static int
withdraw(const struct role *role, bool last, char **error_r)
{
    struct score score = {.promotion = SCORE_LOAD};
    look_at_peers(role, &score);
    g_autofree char *value = g_strdup_printf("%d", score.promotion);
    int rc = push_score(role, value, error_r);
    if (rc == 0 && last) {
        rc = push(SCORE_TEXT_ATTRIBUTE, NULL, error_r);
    }
    if (rc == 0 && last) {
        rc = push(SCORE_HEALTH_ATTRIBUTE, NULL, error_r);
    }
    return rc;
}

/* Nobody would do it later: a red that stayed behind would keep the node from all other resources.
 * A pacemaker-attrd that died is there again at once; one that hangs is not waited for twice. */
int
score_withdraw(const struct role *role, bool last, char **error_r)
{
    int rc = withdraw(role, last, error_r);
    for (unsigned i = 0; rc == -EREMOTEIO && i < WITHDRAW_TRIES; i++) {
        g_clear_pointer(error_r, g_free);
        g_usleep(WITHDRAW_PAUSE_US);
        rc = withdraw(role, last, error_r);
    }
    return rc;
}
