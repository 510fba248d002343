/* SPDX-License-Identifier: GPL-2.0-only */
#include "give-answer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "give.h"
#include "node-state.h"
#include "signature-files.h"
#include "store.h"

#define MANIFEST_MAX (1024 * 1024)
#define VERSION 1
#define PREFIX "/1/"

struct give_call *
give_call_new(void)
{
    struct give_call *call = g_new0(struct give_call, 1);
    call->body = g_byte_array_new();
    return call;
}

void
give_call_free(struct give_call *call)
{
    if (call != NULL) {
        g_byte_array_unref(call->body);
        g_free(call);
    }
}

void
give_choice_clear(struct give_choice *choice)
{
    g_free(choice->name);
    g_free(choice->damaged);
}

/* Of two that were put together in the same second: what nobody has adopted yet came later. */
static gint64
turn_of(const struct store_entry *entry)
{
    return entry->record.adopted == 0 ? G_MAXINT64 : entry->record.adopted;
}

/* Puts the best first: what is pinned, then what came last. */
static int
best_first(const void *a, const void *b)
{
    const struct store_entry *one = *(struct store_entry *const *)a;
    const struct store_entry *two = *(struct store_entry *const *)b;
    gint64 x = one->manifest->created;
    gint64 y = two->manifest->created;
    if (one->is_pinned != two->is_pinned) {
        return one->is_pinned ? -1 : 1;
    }
    if (x == y) {
        x = turn_of(one);
        y = turn_of(two);
    }
    return x == y ? strcmp(one->name, two->name) : x > y ? -1 : 1;
}

/* Of struct store_entry *, borrowed from LIST. */
static GPtrArray *
those_to_give(GPtrArray *list)
{
    GPtrArray *good = g_ptr_array_new();
    for (guint i = 0; i < list->len; i++) {
        struct store_entry *entry = g_ptr_array_index(list, i);
        if (entry->manifest != NULL && entry->record.state != RECORD_REJECTED) {
            g_ptr_array_add(good, entry);
        }
    }
    g_ptr_array_sort(good, best_first);
    return good;
}

static void
choice_set(struct give_choice *choice, const struct store_entry *entry)
{
    choice->name = g_strdup(entry->name);
    choice->is_used = entry->is_current;
}

/* Until the best one has been hashed the others get what they got before. */
static void
choice_stays(struct give_place *place, GPtrArray *good, struct give_choice *ret)
{
    const char *before = board_given(place->board);
    ret->is_late = TRUE;
    for (guint i = 0; i < good->len && before != NULL; i++) {
        const struct store_entry *entry = g_ptr_array_index(good, i);
        if (strcmp(entry->name, before) == 0 &&
            check_look(place->check, before, board_now(), NULL) == CHECK_WHOLE) {
            choice_set(ret, entry);
        }
    }
}

void
give_choose(struct give_place *place, struct give_choice *ret)
{
    g_autofree char *ignored = NULL;
    g_autoptr(store_t) store = NULL;
    *ret = (struct give_choice){.name = NULL};
    if (store_open(place->settings->signatures_dir, FALSE, &store, &ignored) < 0) {
        return;
    }
    g_autoptr(GPtrArray) list = store_list(store);
    g_autoptr(GPtrArray) good = those_to_give(list);
    for (guint i = 0; i < good->len; i++) {
        const struct store_entry *entry = g_ptr_array_index(good, i);
        const char *why = NULL;
        enum check_state state = check_look(place->check, entry->name, board_now(), &why);
        if (state == CHECK_RUNS) {
            choice_stays(place, good, ret);
            return;
        }
        if (state == CHECK_WHOLE) {
            choice_set(ret, entry);
            return;
        }
        if (ret->damaged == NULL) {
            ret->damaged = g_strdup_printf("%s %s: %s; it is not given to others", entry->name,
                                           state == CHECK_DAMAGED ? "is damaged on this node's disk"
                                                                  : "cannot be read on this node",
                                           why);
        }
    }
}

/* RESPONSE is taken over. */
static enum MHD_Result
answer(const struct give_place *place, struct MHD_Connection *connection,
       const struct give_call *call, unsigned status, const char *digest,
       struct MHD_Response *response)
{
    g_autofree char *seal = seal_answer(
        &call->request, peers_key_find(place->peers, call->request.key), status, digest);
    enum MHD_Result rc = MHD_NO;
    if (response != NULL) {
        MHD_add_response_header(response, SEAL_HEADER, seal);
        rc = MHD_queue_response(connection, status, response);
        MHD_destroy_response(response);
    }
    return rc;
}

/* TEXT, from malloc(), is taken over. */
static enum MHD_Result
answer_text(const struct give_place *place, struct MHD_Connection *connection,
            const struct give_call *call, unsigned status, char *text, size_t length)
{
    char digest[65];
    seal_digest(text, length, digest);
    return answer(place, connection, call, status, digest,
                  MHD_create_response_from_buffer(length, text, MHD_RESPMEM_MUST_FREE));
}

static enum MHD_Result
answer_nothing(const struct give_place *place, struct MHD_Connection *connection,
               const struct give_call *call, unsigned status)
{
    return answer_text(place, connection, call, status, NULL, 0);
}

static enum MHD_Result
answer_turn(struct give_place *place, struct MHD_Connection *connection,
            const struct give_call *call)
{
    gint64 now = board_now();
    const char *given = board_given(place->board);
    json_t *state =
        json_loadb((const char *)call->body->data, call->body->len, JSON_REJECT_DUPLICATES, NULL);
    if (!json_is_object(state)) {
        json_decref(state);
        return answer_nothing(place, connection, call, MHD_HTTP_BAD_REQUEST);
    }
    board_hear(place->board, call->request.from, state, now);
    (void)board_write(place->board, now);
    json_decref(state);
    json_t *object =
        json_pack("{s:i, s:s, s:s?, s:o, s:o}", "version", VERSION, "node", place->peers->self,
                  "gives", given, "state", node_state_of(place->settings, given, NULL), "nodes",
                  board_nodes(place->board, now));
    char *text = json_dumps(object, JSON_COMPACT);
    json_decref(object);
    return answer_text(place, connection, call, MHD_HTTP_OK, text, strlen(text));
}

static enum MHD_Result
answer_manifest(struct give_place *place, struct MHD_Connection *connection,
                const struct give_call *call, int fd)
{
    size_t size = 0;
    ssize_t n;
    char *text = malloc(MANIFEST_MAX);
    while (text != NULL && size < MANIFEST_MAX &&
           (n = read(fd, text + size, MANIFEST_MAX - size)) > 0) {
        size += (size_t)n;
    }
    close(fd);
    return text == NULL ? MHD_NO : answer_text(place, connection, call, MHD_HTTP_OK, text, size);
}

/* Whether ENTRY (NULL: none) is NAME, and fit to be given. */
static gboolean
is_good(const struct give_place *place, const struct store_entry *entry, const char *name)
{
    return entry != NULL && strcmp(entry->name, name) == 0 && entry->manifest != NULL &&
           entry->record.state != RECORD_REJECTED &&
           check_look(place->check, name, board_now(), NULL) == CHECK_WHOLE;
}

/* Opens FILE of the generation NAME, which was whole when this process first looked at it; who
 * takes it compares size and hash again. */
static int
file_open(const struct give_place *place, const char *name, const char *file, char digest[65],
          guint64 *size_r)
{
    const struct settings *settings = place->settings;
    g_autofree char *ignored = NULL;
    g_autoptr(store_t) store = NULL;
    g_autoptr(store_entry_t) entry = NULL;
    struct stat st;
    if (store_open(settings->signatures_dir, FALSE, &store, &ignored) == 0) {
        entry = store_find(store, name, &ignored);
    }
    if (!is_good(place, entry, name)) {
        return -ENOENT;
    }
    const struct manifest_file *known = manifest_find(entry->manifest, file);
    if (known == NULL && strcmp(file, MANIFEST_NAME) != 0) {
        return -ENOENT;
    }
    g_autofree char *path = g_build_filename(settings->signatures_dir, name, file, NULL);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
    if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) ||
        (known != NULL && (guint64)st.st_size != known->size)) {
        if (fd >= 0) {
            close(fd);
        }
        return -ENOENT;
    }
    g_strlcpy(digest, known != NULL ? known->sha256 : "", 65);
    *size_r = (guint64)st.st_size;
    return fd;
}

static enum MHD_Result
answer_file(struct give_place *place, struct MHD_Connection *connection,
            const struct give_call *call, const char *path)
{
    char digest[65];
    guint64 size = 0;
    g_auto(GStrv) words = g_strsplit(path + strlen(PREFIX), "/", 3);
    int fd =
        g_strv_length(words) == 2 ? file_open(place, words[0], words[1], digest, &size) : -ENOENT;
    if (fd < 0) {
        return answer_nothing(place, connection, call, MHD_HTTP_NOT_FOUND);
    }
    if (*digest == '\0') {
        return answer_manifest(place, connection, call, fd);
    }
    struct MHD_Response *response = MHD_create_response_from_fd64(size, fd);
    if (response == NULL) {
        close(fd);
    }
    return answer(place, connection, call, MHD_HTTP_OK, digest, response);
}

enum MHD_Result
give_answer(struct give_place *place, struct MHD_Connection *connection,
            const struct give_call *call, const char *method, const char *path)
{
    char digest[65];
    seal_digest(call->body->data, call->body->len, digest);
    if (!seal_is_same(digest, call->request.body)) {
        return MHD_NO;
    }
    if (strcmp(method, MHD_HTTP_METHOD_POST) == 0 && strcmp(path, GIVE_TURN) == 0) {
        return answer_turn(place, connection, call);
    }
    if (strcmp(method, MHD_HTTP_METHOD_GET) == 0 && g_str_has_prefix(path, PREFIX)) {
        return answer_file(place, connection, call, path);
    }
    return answer_nothing(place, connection, call, MHD_HTTP_NOT_FOUND);
}
