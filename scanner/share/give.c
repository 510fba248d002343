/* SPDX-License-Identifier: GPL-2.0-only */
#include "give.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "board.h"
#include "callers.h"
#include "give-answer.h"
#include "guests.h"
#include "listener.h"
#include "log.h"
#include "node-state.h"

/* So often is looked for what is new here. */
#define LOOK_SECONDS 5
#define POLL_MAX_MS 1000
/* Of all nodes; guests.h has the limits of each. */
#define CONNECTIONS_MAX 160
#define SILENT_SECONDS 30
#define MEMORY_PER_CONNECTION 32768

struct give {
    struct give_place place;
    struct callers *callers;
    struct MHD_Daemon *daemon;
    struct guests *guests;
    GArray *listeners;
    gint64 looked;
    gboolean is_late; /* something new is being hashed */
    char *damaged;    /* as was logged */
};

static const struct peer_node *
node_of(const struct give *give, struct MHD_Connection *connection)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    return info == NULL ? NULL : peers_of_address(give->place.peers, info->client_addr);
}

/* Anybody on a node may connect from its address; only its postern-share has the key. */
static gboolean
guest_known(struct give *give, struct MHD_Connection *connection)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    struct guest *guest = info == NULL ? NULL : info->socket_context;
    return guest != NULL && guests_know(give->guests, guest);
}

static void
on_connection(void *data, struct MHD_Connection *connection, void **context,
              enum MHD_ConnectionNotificationCode code)
{
    struct give *give = data;
    const struct peer_node *node = node_of(give, connection);
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    if (code == MHD_CONNECTION_NOTIFY_CLOSED) {
        guests_end(give->guests, g_steal_pointer(context));
    } else if (node != NULL && info != NULL) {
        *context = guests_begin(give->guests, node, info->connect_fd, g_get_monotonic_time());
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
        return guest_known(give, connection) ? MHD_YES : MHD_NO;
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
    if (peers_of_address(give->place.peers, from) == NULL) {
        close(fd);
    } else {
        (void)MHD_add_connection(give->daemon, fd, from, length); /* closes it when it fails */
    }
}

/* A node that fetches for minutes says nothing else meanwhile. */
static void
touch_connected(struct give *give, gint64 now)
{
    const struct peers *peers = give->place.peers;
    for (guint i = 0; i < peers->nodes->len; i++) {
        const struct peer_node *node = g_ptr_array_index(peers->nodes, i);
        if (guests_are_known(give->guests, node)) {
            board_touch(give->place.board, node->name, now);
        }
    }
}

/* Says once what is not given. */
static void
look_damaged(struct give *give, const char *damaged)
{
    if (damaged != NULL && g_strcmp0(damaged, give->damaged) != 0) {
        log_err("%s", damaged);
    }
    g_free(give->damaged);
    give->damaged = g_strdup(damaged);
    board_set_error(give->place.board, damaged);
}

static void
look(struct give *give)
{
    gint64 now = board_now();
    struct give_choice choice;
    if (give->looked != 0 && now - give->looked < (give->is_late ? 1 : LOOK_SECONDS)) {
        return;
    }
    give_choose(&give->place, &choice);
    if (g_strcmp0(choice.name, board_given(give->place.board)) != 0 &&
        (choice.name != NULL || !choice.is_late)) {
        log_notice("%s is given to the other nodes", choice.name != NULL ? choice.name : "nothing");
    }
    board_set_given(give->place.board, choice.name, NULL);
    board_set_held(give->place.board, choice.name != NULL && !choice.is_used);
    look_damaged(give, choice.damaged);
    give->is_late = choice.is_late;
    give_choice_clear(&choice);
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
    guests_expire(give->guests, g_get_monotonic_time());
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
                  .board = board_new(settings, peers, "gives"),
                  .check = check_new(settings)},
        .callers = callers_new(board_now()),
        .guests = guests_new(),
        .listeners = listeners_open(peers, (guint16)settings->share_port, error_r),
    };
    int rc = give.listeners == NULL ? -EADDRNOTAVAIL : server_start(&give, error_r);
    if (rc == 0) {
        rc = loop(&give, error_r);
        MHD_stop_daemon(give.daemon);
    }
    listeners_close(give.listeners);
    guests_free(give.guests);
    callers_free(give.callers);
    board_free(give.place.board);
    check_free(give.place.check);
    g_free(give.damaged);
    return rc;
}
