/* SPDX-License-Identifier: GPL-2.0-only */
#include "listener.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <systemd/sd-daemon.h>
#include <glib.h>

#include "log.h"
#include "networks.h"

#define SOCKET_MODE 0660U
/* Connections accepted per wake-up: in a storm those that are served get their turn too. */
#define ACCEPTS_PER_WAKE 32
#define PAUSE_US (200 * G_TIME_SPAN_MILLISECOND)

struct listener {
    char *address;
    char *path; /* unix socket that was bound; NULL = none */
    struct stat bound;
    int lock; /* of PATH.lock; -1 = none */
    unsigned mode;
    int fd;
    sd_event_source *io;
    sd_event_source *pause;
    gboolean complained;
    listener_accept *accepted;
    void *data;
};

static int
path_address(const char *path, struct sockaddr_un *ret)
{
    *ret = (struct sockaddr_un){.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof ret->sun_path) {
        return -ENAMETOOLONG;
    }
    strcpy(ret->sun_path, path);
    return 0;
}

/* A file left by a dead process would make bind() fail for ever; a living one keeps its own. */
static void
remove_stale(const struct sockaddr_un *addr)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return;
    }
    if (connect(fd, (const struct sockaddr *)addr, sizeof *addr) < 0 && errno == ECONNREFUSED) {
        (void)unlink(addr->sun_path);
    }
    close(fd);
}

/* Whether FD is still what the name PATH stands for. */
static bool
is_file_of(int fd, const char *path)
{
    struct stat own;
    struct stat now;
    return fstat(fd, &own) == 0 && stat(path, &now) == 0 && own.st_dev == now.st_dev &&
           own.st_ino == now.st_ino;
}

/* Returns the lock's descriptor, -EADDRINUSE when another holds it, or -errno. */
static int
lock_path(const char *path)
{
    g_autofree char *name = g_strconcat(path, ".lock", NULL);
    for (;;) {
        int fd = open(name, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (fd < 0) {
            return -errno;
        }
        if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
            int rc = errno == EWOULDBLOCK ? -EADDRINUSE : -errno;
            close(fd);
            return rc;
        }
        if (is_file_of(fd, name)) {
            return fd;
        }
        /* Its owner removed it between our open and our lock. */
        close(fd);
    }
}

static void
unlock_path(const struct listener *listener)
{
    g_autofree char *name = g_strconcat(listener->path, ".lock", NULL);
    (void)unlink(name);
    close(listener->lock);
}

static int
open_unix(struct listener *listener, const char *path)
{
    struct sockaddr_un addr;
    int rc = path_address(path, &addr);
    if (rc < 0) {
        return rc;
    }
    listener->lock = lock_path(path);
    if (listener->lock < 0) {
        return listener->lock;
    }
    listener->path = g_strdup(path);
    remove_stale(&addr);
    listener->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    /* The mode is given before the name: at no moment has the socket a wider one. */
    if (listener->fd < 0 || fchmod(listener->fd, listener->mode) < 0 ||
        bind(listener->fd, (struct sockaddr *)&addr, sizeof addr) < 0) {
        return -errno;
    }
    if (chmod(path, listener->mode) < 0 || stat(path, &listener->bound) < 0 ||
        listen(listener->fd, SOMAXCONN) < 0) {
        return -errno;
    }
    return 0;
}

/*
 * In a cluster the address may come a moment after posternd: the group that has it and the
 * promotion need not wait for each other.
 */
static int
bind_ahead(const struct listener *listener, const struct addrinfo *addr)
{
    int on = 1;
    int level = addr->ai_family == AF_INET6 ? IPPROTO_IPV6 : IPPROTO_IP;
    int option = addr->ai_family == AF_INET6 ? IPV6_FREEBIND : IP_FREEBIND;
    if (bind(listener->fd, addr->ai_addr, addr->ai_addrlen) == 0) {
        return 0;
    }
    if (errno != EADDRNOTAVAIL || setsockopt(listener->fd, level, option, &on, sizeof on) < 0 ||
        bind(listener->fd, addr->ai_addr, addr->ai_addrlen) < 0) {
        return -errno;
    }
    log_warning("%s: this host does not have that address yet; it answers there as soon as it has",
                listener->address);
    return 0;
}

static int
bind_inet(struct listener *listener, const struct addrinfo *addr)
{
    int on = 1;
    listener->fd = socket(addr->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (listener->fd < 0 ||
        setsockopt(listener->fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) < 0 ||
        (addr->ai_family == AF_INET6 &&
         setsockopt(listener->fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on) < 0) ||
        /* Inherited by what is accepted: replies are small and must not wait for more. */
        setsockopt(listener->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) < 0 ||
        bind_ahead(listener, addr) < 0 || listen(listener->fd, SOMAXCONN) < 0) {
        return -errno;
    }
    return 0;
}

static int
open_inet(struct listener *listener, const char *text)
{
    struct addrinfo *addr = network_endpoint(text);
    if (addr == NULL) {
        return -EINVAL;
    }
    int rc = bind_inet(listener, addr);
    freeaddrinfo(addr);
    return rc;
}

/* --- sockets that systemd has passed --------------------------------------------------------- */

static struct {
    int *fds; /* -1: taken */
    int n;
} passed;

int
listener_passed_open(char **error_r)
{
    int n = sd_listen_fds(1);
    if (n < 0) {
        *error_r = g_strdup_printf("the sockets of systemd cannot be used: %s", strerror(-n));
        return n;
    }
    passed.fds = g_new(int, (gsize)n + 1);
    passed.n = n;
    for (int i = 0; i < n; i++) {
        passed.fds[i] = SD_LISTEN_FDS_START + i;
    }
    return n;
}

/* As it would be written in the configuration. */
static char *
passed_address(int fd)
{
    struct sockaddr_storage addr = {0};
    socklen_t len = sizeof addr;
    char host[NI_MAXHOST];
    char port[NI_MAXSERV];
    if (getsockname(fd, (struct sockaddr *)&addr, &len) < 0) {
        return g_strdup_printf("descriptor %d, which is no socket", fd);
    }
    if (addr.ss_family == AF_UNIX) {
        return g_strconcat("unix:", ((struct sockaddr_un *)&addr)->sun_path, NULL);
    }
    if (getnameinfo((struct sockaddr *)&addr, len, host, sizeof host, port, sizeof port,
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0) {
        return g_strdup_printf("descriptor %d of family %d", fd, (int)addr.ss_family);
    }
    return g_strdup_printf(addr.ss_family == AF_INET6 ? "inet:[%s]:%s" : "inet:%s:%s", host, port);
}

char *
listener_passed_close(void)
{
    char *first = NULL;
    for (int i = 0; i < passed.n; i++) {
        if (passed.fds[i] < 0) {
            continue;
        }
        if (first == NULL) {
            first = passed_address(passed.fds[i]);
        }
        close(passed.fds[i]);
    }
    g_clear_pointer(&passed.fds, g_free);
    passed.n = 0;
    return first;
}

static bool
is_address_of(int fd, const char *text)
{
    struct sockaddr_storage addr = {0};
    socklen_t len = sizeof addr;
    if (g_str_has_prefix(text, "unix:")) {
        return sd_is_socket_unix(fd, SOCK_STREAM, 1, text + strlen("unix:"), 0) > 0;
    }
    struct addrinfo *wanted = network_endpoint(text + strlen("inet:"));
    bool is_it = wanted != NULL && sd_is_socket(fd, AF_UNSPEC, SOCK_STREAM, 1) > 0 &&
                 getsockname(fd, (struct sockaddr *)&addr, &len) == 0 &&
                 len == wanted->ai_addrlen && memcmp(&addr, wanted->ai_addr, len) == 0;
    if (wanted != NULL) {
        freeaddrinfo(wanted);
    }
    return is_it;
}

/* Takes the passed socket of this address. Returns 0, -ENOENT (there is none), or -errno. */
static int
open_passed(struct listener *listener)
{
    for (int i = 0; i < passed.n; i++) {
        int fd = passed.fds[i];
        if (fd < 0 || !is_address_of(fd, listener->address)) {
            continue;
        }
        passed.fds[i] = -1;
        listener->fd = fd;
        int on = 1;
        /* Of no meaning for a unix socket, and refused there. */
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        int flags = fcntl(fd, F_GETFL);
        return flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ? -errno : 0;
    }
    return -ENOENT;
}

static int
open_address(struct listener *listener)
{
    int rc = open_passed(listener);
    if (rc != -ENOENT) {
        return rc;
    }
    if (g_str_has_prefix(listener->address, "unix:")) {
        return open_unix(listener, listener->address + strlen("unix:"));
    }
    if (g_str_has_prefix(listener->address, "inet:")) {
        return open_inet(listener, listener->address + strlen("inet:"));
    }
    return -EINVAL;
}

static void
pause_accepting(struct listener *listener, int error)
{
    if (!listener->complained) {
        log_err("%s: cannot accept connections: %s; trying again", listener->address,
                strerror(error));
        listener->complained = TRUE;
    }
    (void)sd_event_source_set_enabled(listener->io, SD_EVENT_OFF);
    (void)sd_event_source_set_time_relative(listener->pause, PAUSE_US);
    (void)sd_event_source_set_enabled(listener->pause, SD_EVENT_ONESHOT);
}

static int
on_pause_over(sd_event_source *source, uint64_t now_us, void *data)
{
    struct listener *listener = data;
    (void)source;
    (void)now_us;
    return sd_event_source_set_enabled(listener->io, SD_EVENT_ON);
}

static bool
is_shortage(int error)
{
    return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM;
}

static int
on_io(sd_event_source *source, int fd, uint32_t revents, void *data)
{
    struct listener *listener = data;
    (void)source;
    (void)revents;
    for (int i = 0; i < ACCEPTS_PER_WAKE; i++) {
        int peer = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (peer >= 0) {
            listener->complained = FALSE;
            listener->accepted(listener->data, peer);
        } else if (is_shortage(errno)) {
            pause_accepting(listener, errno);
            return 0;
        } else if (errno == EAGAIN) {
            return 0;
        }
        /* Any other error is that of one connection, which has gone again. */
    }
    return 0;
}

static int
watch(struct listener *listener, sd_event *event)
{
    int rc = sd_event_add_io(event, &listener->io, listener->fd, EPOLLIN, on_io, listener);
    if (rc >= 0) {
        rc = sd_event_add_time_relative(event, &listener->pause, CLOCK_MONOTONIC, PAUSE_US, 0,
                                        on_pause_over, listener);
    }
    if (rc >= 0) {
        rc = sd_event_source_set_enabled(listener->pause, SD_EVENT_OFF);
    }
    return rc;
}

int
listener_open(sd_event *event, const struct listener_options *options, listener_accept *accepted,
              void *data, struct listener **ret, char **error_r)
{
    struct listener *listener = g_new0(struct listener, 1);
    listener->address = g_strdup(options->address);
    listener->mode = options->mode != 0 ? options->mode : SOCKET_MODE;
    listener->fd = -1;
    listener->lock = -1;
    listener->accepted = accepted;
    listener->data = data;
    int rc = open_address(listener);
    if (rc == 0) {
        rc = watch(listener, event);
    }
    if (rc < 0) {
        *error_r = g_strdup_printf("%s = %s: cannot listen: %s", options->setting, options->address,
                                   rc == -EINVAL ? "ADDRESS:PORT must be numbers, IPv6 in brackets"
                                                 : strerror(-rc));
        listener_free(listener);
        return rc;
    }
    *ret = listener;
    return 0;
}

/* Another posternd may have put its own socket there since. */
static void
remove_own(const struct listener *listener)
{
    struct stat now;
    if (stat(listener->path, &now) == 0 && now.st_dev == listener->bound.st_dev &&
        now.st_ino == listener->bound.st_ino) {
        (void)unlink(listener->path);
    }
}

void
listener_free(struct listener *listener)
{
    if (listener == NULL) {
        return;
    }
    sd_event_source_disable_unref(listener->io);
    sd_event_source_disable_unref(listener->pause);
    if (listener->path != NULL) {
        remove_own(listener);
        unlock_path(listener);
    }
    if (listener->fd >= 0) {
        close(listener->fd);
    }
    g_free(listener->path);
    g_free(listener->address);
    g_free(listener);
}

const char *
listener_address(const struct listener *listener)
{
    return listener->address;
}

unsigned
listener_port(const struct listener *listener)
{
    struct sockaddr_storage addr = {0};
    socklen_t len = sizeof addr;
    if (getsockname(listener->fd, (struct sockaddr *)&addr, &len) < 0) {
        return 0;
    }
    if (addr.ss_family == AF_INET6) {
        return ntohs(((struct sockaddr_in6 *)&addr)->sin6_port);
    }
    return addr.ss_family == AF_INET ? ntohs(((struct sockaddr_in *)&addr)->sin_port) : 0;
}

bool
listener_is_public(const struct listener *listener)
{
    struct sockaddr_storage addr = {0};
    socklen_t len = sizeof addr;
    if (getsockname(listener->fd, (struct sockaddr *)&addr, &len) < 0) {
        return false;
    }
    if (addr.ss_family == AF_INET6) {
        return !IN6_IS_ADDR_LOOPBACK(&((struct sockaddr_in6 *)&addr)->sin6_addr);
    }
    return addr.ss_family == AF_INET &&
           ntohl(((struct sockaddr_in *)&addr)->sin_addr.s_addr) >> 24 != IN_LOOPBACKNET;
}
