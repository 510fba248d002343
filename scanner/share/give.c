/* SPDX-License-Identifier: GPL-2.0-only */
#include "give.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "board.h"
#include "callers.h"
#include "give-answer.h"
#include "listener.h"
#include "log.h"
#include "node-state.h"

/* So often is looked for what is new here. */
#define LOOK_SECONDS 5
#define POLL_MAX_MS 1000
#define CONNECTIONS_MAX 64
#define CONNECTIONS_PER_NODE 4
#define SILENT_SECONDS 30
#define MEMORY_PER_CONNECTION 32768

struct give {
    struct give_place place;
    struct callers *callers;
    struct MHD_Daemon *daemon;
    GHashTable *open;  /* struct peer_node *: its connections */
    GHashTable *known; /* the same: those that have shown the key */
    GArray *listeners;
    gint64 looked;
};

/* A connection, from its beginning to its end. */
struct visit {
    const struct peer_node *node; /* whose address it has */
    gboolean is_known;            /* it has shown the key */
};

static const struct peer_node *
node_of(const struct give *give, struct MHD_Connection *connection)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    return info == NULL ? NULL : peers_of_address(give->place.peers, info->client_addr);
}

static void
count(GHashTable *counts, const struct peer_node *node, int by)
{
    gint n = GPOINTER_TO_INT(g_hash_table_lookup(counts, node)) + by;
    g_hash_table_insert(counts, (void *)(guintptr)node, GINT_TO_POINTER(n));
}

static void
visit_end(struct give *give, struct visit *visit)
{
    if (visit != NULL && visit->node != NULL) {
        count(give->open, visit->node, -1);
        count(give->known, visit->node, visit->is_known ? -1 : 0);
    }
    g_free(visit);
}

/* Anybody on a node may connect from its address; only its postern-share has the key. */
static void
visit_known(struct give *give, struct MHD_Connection *connection)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    struct visit *visit = info == NULL ? NULL : info->socket_context;
    if (visit != NULL && visit->node != NULL && !visit->is_known) {
        visit->is_known = TRUE;
        count(give->known, visit->node, 1);
    }
}

static void
on_connection(void *data, struct MHD_Connection *connection, void **context,
              enum MHD_ConnectionNotificationCode code)
{
    struct give *give = data;
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        struct visit *visit = g_new0(struct visit, 1);
        visit->node = node_of(give, connection);
        *context = visit;
    } else {
        visit_end(give, g_steal_pointer(context));
    }
}

static void
on_completed(void *data, struct MHD_Connection *connection, void **context,
             enum MHD_RequestTerminationCode code)
{
    (void)data;
    (void)connection;
    (void)code;
    give_call_free(*context);
    *context = NULL;
}

static enum MHD_Result
refuse(const struct give *give, struct MHD_Connection *connection)
{
    struct MHD_Response *response =
        MHD_create_response_from_buffer(0, NULL, MHD_RESPMEM_PERSISTENT);
    MHD_add_response_header(response, SEAL_NONCE_HEADER, callers_nonce(give->callers));
    enum MHD_Result rc = MHD_queue_response(connection, MHD_HTTP_UNAUTHORIZED, response);
    MHD_destroy_response(response);
    return rc;
}

static gboolean
is_trusted(struct give *give, struct MHD_Connection *connection, const char *method,
           const char *path, struct seal_request *request)
{
    const char *value = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, SEAL_HEADER);
    const struct peer_node *node = node_of(give, connection);
    return node != NULL &&
           seal_request_check(value, give->place.peers, method, path, request) == 0 &&
           strcmp(node->name, request->from) == 0 && callers_admit(give->callers, request);
}

/* Called with the headers, with each piece of the body, and at its end. */
static enum MHD_Result
on_request(void *data, struct MHD_Connection *connection, const char *path, const char *method,
           const char *version, const char *piece, size_t *size, void **context)
{
    struct give *give = data;
    struct give_call *call = *context;
    (void)version;
    if (call == NULL) {
        call = give_call_new();
        *context = call;
        if (!is_trusted(give, connection, method, path, &call->request)) {
            return refuse(give, connection);
        }
        visit_known(give, connection);
        return MHD_YES;
    }
    if (*size > 0) {
        if (call->body->len + *size > GIVE_BODY_MAX) {
            return MHD_NO;
        }
        g_byte_array_append(call->body, (const guint8 *)piece, (guint)*size);
        *size = 0;
        return MHD_YES;
    }
    return give_answer(&give->place, connection, call, method, path);
}

static void
on_log(void *data, const char *format, va_list args)
{
    (void)data;
    g_autofree char *text = g_strdup_vprintf(format, args);
    log_debug("%s", g_strchomp(text));
}

static int
server_start(struct give *give, char **error_r)
{
    give->daemon = MHD_start_daemon(
        MHD_USE_EPOLL | MHD_USE_NO_LISTEN_SOCKET | MHD_USE_ERROR_LOG, 0, NULL, NULL, on_request,
        give, MHD_OPTION_EXTERNAL_LOGGER, on_log, NULL, MHD_OPTION_NOTIFY_COMPLETED, on_completed,
        give, MHD_OPTION_NOTIFY_CONNECTION, on_connection, give, MHD_OPTION_CONNECTION_LIMIT,
        (unsigned)CONNECTIONS_MAX, MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)SILENT_SECONDS,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)MEMORY_PER_CONNECTION, MHD_OPTION_END);
    if (give->daemon == NULL) {
        *error_r = g_strdup("libmicrohttpd does not start");
        return -EIO;
    }
    return 0;
}

static void
caller_take(struct give *give, int fd, const struct sockaddr_storage *address, socklen_t length)
{
    const struct sockaddr *from = (const struct sockaddr *)(const void *)address;
    const struct peer_node *node = peers_of_address(give->place.peers, from);
    if (node == NULL ||
        GPOINTER_TO_INT(g_hash_table_lookup(give->open, node)) >= CONNECTIONS_PER_NODE) {
        close(fd);
        return;
    }
    count(give->open, node, 1);
    /* It closes FD when it fails, and then tells nobody. */
    if (MHD_add_connection(give->daemon, fd, from, length) != MHD_YES) {
        count(give->open, node, -1);
    }
}

/* A node that fetches for minutes says nothing else meanwhile. */
static void
touch_connected(struct give *give, gint64 now)
{
    GHashTableIter iter;
    void *node;
    void *n;
    g_hash_table_iter_init(&iter, give->known);
    while (g_hash_table_iter_next(&iter, &node, &n)) {
        if (GPOINTER_TO_INT(n) > 0) {
            board_touch(give->place.board, ((const struct peer_node *)node)->name, now);
        }
    }
}

static void
look(struct give *give)
{
    gint64 now = board_now();
    if (give->looked != 0 && now - give->looked < LOOK_SECONDS) {
        return;
    }
    g_autofree char *name = give_choose(give->place.settings);
    if (g_strcmp0(name, board_given(give->place.board)) != 0) {
        log_notice("%s is given to the other nodes", name != NULL ? name : "nothing");
    }
    board_set_given(give->place.board, name, NULL);
    touch_connected(give, now);
    int rc = board_write(give->place.board, now);
    if (rc < 0) {
        log_warning("%s: what the nodes say cannot be kept: %s", give->place.settings->share_dir,
                    g_strerror(-rc));
    }
    give->looked = now;
}

static int
turn(struct give *give, int epoll)
{
    guint n = give->listeners->len;
    g_autofree struct pollfd *fds = g_new0(struct pollfd, n + 1);
    MHD_UNSIGNED_LONG_LONG most = POLL_MAX_MS;
    for (guint i = 0; i < n; i++) {
        fds[i] = (struct pollfd){.fd = g_array_index(give->listeners, int, i), .events = POLLIN};
    }
    fds[n] = (struct pollfd){.fd = epoll, .events = POLLIN};
    if (MHD_get_timeout(give->daemon, &most) == MHD_YES) {
        most = MIN(most, POLL_MAX_MS);
    }
    if (poll(fds, n + 1, (int)most) < 0 && errno != EINTR) {
        return -errno;
    }
    for (guint i = 0; i < n; i++) {
        struct sockaddr_storage address = {0};
        socklen_t length = sizeof address;
        int fd =
            (fds[i].revents & POLLIN) == 0 ? -1 : listener_accept(fds[i].fd, &address, &length);
        if (fd >= 0) {
            caller_take(give, fd, &address, length);
        }
    }
    return MHD_run(give->daemon) == MHD_YES ? 0 : -EIO;
}

static int
loop(struct give *give, char **error_r)
{
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(give->daemon, MHD_DAEMON_INFO_EPOLL_FD);
    int rc = info == NULL ? -EIO : 0;
    while (rc == 0) {
        look(give);
        callers_age(give->callers, board_now());
        rc = turn(give, info->epoll_fd);
    }
    *error_r = g_strdup_printf("it can serve no longer: %s", g_strerror(-rc));
    return rc;
}

int
give_run(const struct settings *settings, const struct peers *peers, char **error_r)
{
    struct give give = {
        .place = {.settings = settings,
                  .peers = peers,
                  .board = board_new(settings, peers, "gives")},
        .callers = callers_new(board_now()),
        .open = g_hash_table_new(NULL, NULL),
        .known = g_hash_table_new(NULL, NULL),
        .listeners = listeners_open(peers, (guint16)settings->share_port, error_r),
    };
    int rc = give.listeners == NULL ? -EADDRNOTAVAIL : server_start(&give, error_r);
    if (rc == 0) {
        rc = loop(&give, error_r);
        MHD_stop_daemon(give.daemon);
    }
    listeners_close(give.listeners);
    g_hash_table_unref(give.open);
    g_hash_table_unref(give.known);
    callers_free(give.callers);
    board_free(give.place.board);
    return rc;
}
