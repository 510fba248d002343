/* SPDX-License-Identifier: GPL-2.0-only */
#include "packet.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <glib.h>

union fd_control {
    struct cmsghdr header;
    char space[CMSG_SPACE(sizeof(int))];
};

int
packet_send(int sock, const json_t *object, int fd)
{
    char *text = json_dumps(object, JSON_COMPACT);
    if (text == NULL) {
        return -EINVAL;
    }
    struct iovec iov = {.iov_base = text, .iov_len = strlen(text)};
    union fd_control control = {0};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
    if (fd >= 0) {
        msg.msg_control = control.space;
        msg.msg_controllen = sizeof control.space;
        struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);
        cmsg->cmsg_level = SOL_SOCKET;
        cmsg->cmsg_type = SCM_RIGHTS;
        cmsg->cmsg_len = CMSG_LEN(sizeof fd);
        memcpy(CMSG_DATA(cmsg), &fd, sizeof fd);
    }
    int rc = -EMSGSIZE;
    if (iov.iov_len <= PACKET_MAX) {
        ssize_t n;
        do {
            n = sendmsg(sock, &msg, MSG_NOSIGNAL);
        } while (n < 0 && errno == EINTR);
        rc = n < 0 ? -errno : 0;
    }
    free(text);
    return rc;
}

/* The descriptor of MSG, -1 when there is none. More than one cannot fit: the kernel closes it
 * and sets MSG_CTRUNC. */
static int
control_fd(struct msghdr *msg)
{
    struct cmsghdr *cmsg = CMSG_FIRSTHDR(msg);
    int fd = -1;
    if (cmsg != NULL && cmsg->cmsg_level == SOL_SOCKET && cmsg->cmsg_type == SCM_RIGHTS &&
        cmsg->cmsg_len == CMSG_LEN(sizeof fd)) {
        memcpy(&fd, CMSG_DATA(cmsg), sizeof fd);
    }
    return fd;
}

static int
decode(const char *text, size_t len, json_t **ret_object)
{
    json_t *object = json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL);
    if (!json_is_object(object)) {
        json_decref(object);
        return -EBADMSG;
    }
    *ret_object = object;
    return 1;
}

int
packet_receive(int sock, json_t **ret_object, int *ret_fd)
{
    g_autofree char *text = g_malloc(PACKET_MAX);
    struct iovec iov = {.iov_base = text, .iov_len = PACKET_MAX};
    union fd_control control;
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = control.space,
                         .msg_controllen = sizeof control.space};
    ssize_t n;
    do {
        n = recvmsg(sock, &msg, MSG_CMSG_CLOEXEC);
    } while (n < 0 && errno == EINTR);
    if (n < 0) {
        return errno == ECONNRESET ? 0 : -errno;
    }
    int fd = control_fd(&msg);
    int rc = -EBADMSG;
    if (n == 0 && fd < 0) {
        rc = 0;
    } else if ((msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) == 0 && (fd < 0 || ret_fd != NULL)) {
        rc = decode(text, (size_t)n, ret_object);
    }
    if (rc != 1 && fd >= 0) {
        close(fd);
        fd = -1;
    }
    if (rc == 1 && ret_fd != NULL) {
        *ret_fd = fd;
    }
    return rc;
}

static int
address(const char *path, struct sockaddr_un *ret_addr)
{
    *ret_addr = (struct sockaddr_un){.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof ret_addr->sun_path) {
        return -ENAMETOOLONG;
    }
    strcpy(ret_addr->sun_path, path);
    return 0;
}

int
packet_connect(const char *path)
{
    struct sockaddr_un addr;
    int rc = address(path, &addr);
    if (rc < 0) {
        return rc;
    }
    int sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (sock < 0) {
        return -errno;
    }
    if (connect(sock, (struct sockaddr *)&addr, sizeof addr) < 0) {
        rc = -errno;
        close(sock);
        return rc;
    }
    return sock;
}

/* A socket file left by a dead process would make bind fail for ever. */
static int
remove_stale(const char *path)
{
    int sock = packet_connect(path);
    if (sock >= 0) {
        close(sock);
        return -EADDRINUSE;
    }
    if (sock == -ECONNREFUSED && unlink(path) < 0) {
        return -errno;
    }
    return 0;
}

int
packet_listen(const char *path, unsigned mode)
{
    struct sockaddr_un addr;
    int rc = address(path, &addr);
    if (rc == 0) {
        rc = remove_stale(path);
    }
    if (rc < 0) {
        return rc;
    }
    int sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (sock < 0) {
        return -errno;
    }
    if (bind(sock, (struct sockaddr *)&addr, sizeof addr) < 0 || chmod(path, mode) < 0 ||
        listen(sock, SOMAXCONN) < 0) {
        rc = -errno;
        close(sock);
        return rc;
    }
    return sock;
}

int
packet_pair(int ret_socks[2])
{
    return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ret_socks) < 0 ? -errno : 0;
}

int
packet_peer(int sock, struct packet_peer *ret_peer)
{
    struct ucred cred;
    socklen_t len = sizeof cred;
    if (getsockopt(sock, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0) {
        return -errno;
    }
    *ret_peer = (struct packet_peer){.pid = cred.pid, .uid = cred.uid, .gid = cred.gid};
    return 0;
}

int
packet_call(int sock, const json_t *request, int fd, int timeout_ms, json_t **ret_answer,
            int *ret_fd)
{
    int rc = packet_send(sock, request, fd);
    if (rc < 0) {
        return rc;
    }
    struct pollfd wait = {.fd = sock, .events = POLLIN};
    do {
        rc = poll(&wait, 1, timeout_ms);
    } while (rc < 0 && errno == EINTR);
    if (rc <= 0) {
        return rc == 0 ? -ETIMEDOUT : -errno;
    }
    return packet_receive(sock, ret_answer, ret_fd);
}
