/* SPDX-License-Identifier: GPL-2.0-only */
#include "board.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "durable.h"
#include "json-file.h"
#include "node-state.h"
#include "update-files.h"

#define FILE_MAX (1024 * 1024)
/* Before any boot: silent for longer than anybody asks. */
#define NEVER (-(gint64)G_MAXINT32 / 2)
/* By how much two processes may differ over when that was; no machine boots twice in so short a
 * time. */
#define BOOT_SPREAD 20

struct seen {
    json_t *state;
    gint64 heard;
    char *adopted;
    gint64 adopted_at;
    char *confirmed;
};

struct board {
    const struct settings *settings;
    const struct peers *peers;
    const char *role;
    GHashTable *nodes; /* name: struct seen * */
    char *given;
    char *from;
    char *error;
    gint64 since;
    gint64 given_at;
    gint64 held; /* 0: not */
    char *kept;  /* lasting() of what is in the file */
};

gint64
board_now(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_BOOTTIME, &now);
    return (gint64)now.tv_sec;
}

/*
 * By the clock: when that is set, what was written before is of no boot that is known, until it is
 * written anew. The kernel's boot ID would not do: in a container it is another for services that
 * have a /proc of their own.
 */
static json_int_t
boot_time(void)
{
    return (json_int_t)time(NULL) - (json_int_t)board_now();
}

static void
seen_free(void *p)
{
    struct seen *seen = p;
    json_decref(seen->state);
    g_free(seen->adopted);
    g_free(seen->confirmed);
    g_free(seen);
}

static const char *
text_of(const json_t *object, const char *name)
{
    return json_string_value(json_object_get(object, name));
}

/* The generation that OBJECT has under KEY, or NULL. g_free() */
static char *
generation_of(const json_t *object, const char *key)
{
    const char *name = text_of(object, key);
    return node_state_is_name(name) ? g_strdup(name) : NULL;
}

/* The entry of a peer, made when there is none; NULL: it is none of them, or this node. */
static struct seen *
seen_of(struct board *board, const char *name)
{
    struct seen *seen = name == NULL ? NULL : g_hash_table_lookup(board->nodes, name);
    if (seen == NULL && name != NULL && strcmp(name, board->peers->self) != 0 &&
        peers_find(board->peers, name) != NULL) {
        seen = g_new0(struct seen, 1);
        g_hash_table_insert(board->nodes, g_strdup(name), seen);
    }
    return seen;
}

static void
seen_learn(struct board *board, const json_t *node, gint64 now)
{
    struct seen *seen = seen_of(board, text_of(node, "name"));
    gint64 silent = json_integer_value(json_object_get(node, "silent"));
    json_t *state = node_state_clean(json_object_get(node, "state"));
    if (seen == NULL || state == NULL || silent < 0 || silent > now + G_MAXINT32 ||
        (seen->state != NULL && now - silent < seen->heard)) {
        json_decref(state);
        return;
    }
    json_decref(seen->state);
    seen->state = state;
    seen->heard = now - silent;
    g_free(seen->adopted);
    seen->adopted = generation_of(node, "adopted");
    seen->adopted_at = seen->heard;
    g_free(seen->confirmed);
    seen->confirmed = generation_of(node, "confirmed");
}

void
board_learn(struct board *board, const json_t *nodes, gint64 now)
{
    size_t i;
    json_t *node;
    json_array_foreach(nodes, i, node)
    {
        seen_learn(board, node, now);
    }
}

struct board *
board_new(const struct settings *settings, const struct peers *peers, const char *role)
{
    struct board *board = g_new0(struct board, 1);
    gint64 now = board_now();
    board->settings = settings;
    board->peers = peers;
    board->role = role;
    board->nodes = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, seen_free);
    board->since = now;
    board->given_at = now;
    json_t *before = board_load(settings);
    board_learn(board, json_object_get(before, "nodes"), now);
    /* What was seen before is old news, by however much: nobody counts as present by it. */
    GHashTableIter iter;
    void *value;
    g_hash_table_iter_init(&iter, board->nodes);
    while (g_hash_table_iter_next(&iter, NULL, &value)) {
        ((struct seen *)value)->heard = NEVER;
    }
    board->given = generation_of(before, "gives");
    if (board_age(before, now) >= 0) {
        board->held = CLAMP(json_integer_value(json_object_get(before, "held")), 0, now);
    }
    json_decref(before);
    return board;
}

void
board_free(struct board *board)
{
    if (board != NULL) {
        g_hash_table_unref(board->nodes);
        g_free(board->given);
        g_free(board->from);
        g_free(board->error);
        g_free(board->kept);
        g_free(board);
    }
}

void
board_set_given(struct board *board, const char *name, const char *from)
{
    if (g_strcmp0(board->given, name) != 0) {
        g_free(board->given);
        board->given = g_strdup(name);
        board->given_at = board_now();
    }
    if (g_strcmp0(board->from, from) != 0) {
        g_free(board->from);
        board->from = g_strdup(from);
    }
}

void
board_set_held(struct board *board, gboolean is_held)
{
    board->held = !is_held ? 0 : board->held > 0 ? board->held : MAX(board_now(), 1);
}

const char *
board_given(const struct board *board)
{
    return board->given;
}

void
board_set_error(struct board *board, const char *error)
{
    g_free(board->error);
    board->error = g_strdup(error);
}

void
board_hear(struct board *board, const char *node, const json_t *state, gint64 now)
{
    struct seen *seen = seen_of(board, node);
    json_t *clean = node_state_clean(state);
    if (seen == NULL || clean == NULL) {
        json_decref(clean);
        return;
    }
    const char *loaded = text_of(clean, "loaded");
    gboolean works = loaded != NULL && g_strcmp0(text_of(clean, "engine"), "ready") == 0;
    if (!works || g_strcmp0(seen->adopted, loaded) != 0) {
        g_free(seen->adopted);
        seen->adopted = works ? g_strdup(loaded) : NULL;
        seen->adopted_at = now;
        g_clear_pointer(&seen->confirmed, g_free);
    } else if (now - seen->adopted_at >= (gint64)board->settings->share_interval) {
        g_free(seen->confirmed);
        seen->confirmed = g_strdup(loaded);
    }
    json_decref(seen->state);
    seen->state = clean;
    seen->heard = now;
}

void
board_touch(struct board *board, const char *node, gint64 now)
{
    struct seen *seen = g_hash_table_lookup(board->nodes, node);
    if (seen != NULL) {
        seen->heard = now;
    }
}

json_t *
board_nodes(const struct board *board, gint64 now)
{
    json_t *nodes = json_array();
    for (guint i = 0; i < board->peers->nodes->len; i++) {
        const struct peer_node *node = g_ptr_array_index(board->peers->nodes, i);
        const struct seen *seen = g_hash_table_lookup(board->nodes, node->name);
        if (seen != NULL) {
            json_array_append_new(
                nodes, json_pack("{s:s, s:I, s:s?, s:s?, s:O}", "name", node->name, "silent",
                                 (json_int_t)(now - seen->heard), "adopted", seen->adopted,
                                 "confirmed", seen->confirmed, "state", seen->state));
        }
    }
    return nodes;
}

/* All of STATUS that is not a time of now. */
static char *
lasting(const json_t *status)
{
    static const char *const passing[] = {"at", "boot"};
    json_t *copy = json_deep_copy(status);
    size_t i;
    json_t *node;
    for (i = 0; i < G_N_ELEMENTS(passing); i++) {
        json_object_del(copy, passing[i]);
    }
    json_array_foreach(json_object_get(copy, "nodes"), i, node)
    {
        json_object_del(node, "silent");
    }
    char *dumped = json_dumps(copy, JSON_COMPACT | JSON_SORT_KEYS);
    char *text = g_strdup(dumped);
    free(dumped);
    json_decref(copy);
    return text;
}

/* On a full disk it is kept as well as it can be. */
static int
keep(const struct board *board, const char *text, gboolean is_news)
{
    g_autofree char *dir = g_build_filename(board->settings->share_dir, BOARD_DIR, NULL);
    g_autofree char *path = g_build_filename(dir, STATUS_FILE, NULL);
    const struct iovec iov = {.iov_base = (char *)(guintptr)text, .iov_len = strlen(text)};
    int fd = is_news ? open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    int rc = fd < 0 ? -errno : durable_write(fd, STATUS_FILE, &iov, 1, 0644);
    if (fd >= 0) {
        close(fd);
    }
    return is_news && rc == 0 ? 0 : durable_keep_text(path, text, 0644);
}

int
board_write(struct board *board, gint64 now)
{
    json_t *status = json_pack(
        "{s:i, s:s, s:s, s:s?, s:s?, s:I, s:I, s:s?, s:I, s:I, s:I, s:o}", "version", 1, "self",
        board->peers->self, "role", board->role, "from", board->from, "gives", board->given,
        "given", (json_int_t)board->given_at, "held", (json_int_t)board->held, "error",
        board->error, "boot", boot_time(), "since", (json_int_t)board->since, "at", (json_int_t)now,
        "nodes", board_nodes(board, now));
    g_autofree char *known = lasting(status);
    char *text = json_dumps(status, JSON_INDENT(2));
    int rc = keep(board, text, g_strcmp0(known, board->kept) != 0);
    if (rc == 0) {
        g_free(board->kept);
        board->kept = g_steal_pointer(&known);
    }
    free(text);
    json_decref(status);
    return rc;
}

json_t *
board_load(const struct settings *settings)
{
    g_autofree char *path = g_build_filename(settings->share_dir, BOARD_DIR, STATUS_FILE, NULL);
    json_t *status = json_file_load(path, FILE_MAX);
    if (!json_is_object(status)) {
        json_decref(status);
        status = NULL;
    }
    return status;
}

gint64
board_age(const json_t *status, gint64 now)
{
    gint64 at = json_integer_value(json_object_get(status, "at"));
    gint64 boot = json_integer_value(json_object_get(status, "boot")) - (gint64)boot_time();
    return ABS(boot) <= BOOT_SPREAD && at <= now ? now - at : -1;
}
