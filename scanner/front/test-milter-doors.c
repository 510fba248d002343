/* SPDX-License-Identifier: GPL-2.0-only */
/* Listeners, and the connections that come in by them. */
#include "test-mta.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <glib/gstdio.h>

#include "listener.h"
#include "milter.h"

static struct {
    char *dir;
    char *path;
    char *address;
    int accepted;
    bool drained;
} d;

static int
doors_setup(void **state)
{
    memset(&d, 0, sizeof d);
    d.dir = g_dir_make_tmp("postern-XXXXXX", NULL);
    d.path = g_build_filename(d.dir, "sock", NULL);
    d.address = g_strconcat("unix:", d.path, NULL);
    return mta_setup(state);
}

static int
doors_teardown(void **state)
{
    (void)g_unlink(d.path);
    (void)g_rmdir(d.dir);
    g_free(d.address);
    g_free(d.path);
    g_free(d.dir);
    return mta_teardown(state);
}

static int
unix_connect(void)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    strcpy(addr.sun_path, d.path);
    assert_int_equal(connect(fd, (struct sockaddr *)&addr, sizeof addr), 0);
    return fd;
}

static void
on_accepted(void *data, int fd)
{
    int domain = 0;
    int no_delay = 0;
    socklen_t len = sizeof domain;
    assert_ptr_equal(data, &d);
    d.accepted++;
    assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len), 0);
    if (domain != AF_UNIX) {
        len = sizeof no_delay;
        assert_int_equal(getsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &no_delay, &len), 0);
        assert_int_equal(no_delay, 1);
    }
    close(fd);
}

static int
listen_at(const char *address, struct listener **ret, char **error_r)
{
    const struct listener_options options = {.setting = "milter_listen", .address = address};
    return listener_open(t.event, &options, on_accepted, &d, ret, error_r);
}

static void
check_refused(const char *address, int error, const char *expected)
{
    struct listener *listener = NULL;
    g_autofree char *text = NULL;
    assert_int_equal(listen_at(address, &listener, &text), error);
    assert_null(listener);
    assert_non_null(strstr(text, address));
    assert_non_null(strstr(text, expected));
}

static void
test_unix_socket(void **state)
{
    struct listener *listener = NULL;
    g_autofree char *error = NULL;
    struct stat st;
    (void)state;
    assert_int_equal(listen_at(d.address, &listener, &error), 0);
    assert_int_equal(stat(d.path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0660);
    int fd = unix_connect();
    run();
    assert_int_equal(d.accepted, 1);
    close(fd);
    /* Somebody answers there, so it stays. */
    check_refused(d.address, -EADDRINUSE, "Address already in use");
    assert_int_equal(stat(d.path, &st), 0);
    listener_free(listener);
    assert_int_equal(stat(d.path, &st), -1);
    listener_free(NULL);
}

static void
test_stale_socket(void **state)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    struct listener *listener = NULL;
    g_autofree char *error = NULL;
    struct stat st;
    (void)state;
    strcpy(addr.sun_path, d.path);
    int dead = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(dead, (struct sockaddr *)&addr, sizeof addr), 0);
    close(dead);
    assert_int_equal(listen_at(d.address, &listener, &error), 0);
    /* Another process has put its own there since: that one is not removed. */
    assert_int_equal(unlink(d.path), 0);
    int other = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(other, (struct sockaddr *)&addr, sizeof addr), 0);
    listener_free(listener);
    assert_int_equal(stat(d.path, &st), 0);
    close(other);
}

static void
test_inet(void **state)
{
    static const char *const addresses[] = {"inet:127.0.0.1:0", "inet:[::1]:0"};
    (void)state;
    for (size_t i = 0; i < G_N_ELEMENTS(addresses); i++) {
        struct sockaddr_in v4 = {.sin_family = AF_INET};
        struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
        struct listener *listener = NULL;
        g_autofree char *error = NULL;
        int rc = listen_at(addresses[i], &listener, &error);
        if (rc == -EAFNOSUPPORT) {
            continue; /* a machine without IPv6 */
        }
        assert_int_equal(rc, 0);
        v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        v4.sin_port = v6.sin6_port = htons((uint16_t)listener_port(listener));
        int fd = socket(i == 0 ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
        rc = i == 0 ? connect(fd, (struct sockaddr *)&v4, sizeof v4)
                    : connect(fd, (struct sockaddr *)&v6, sizeof v6);
        /* Or with IPv6, but without an address. */
        if (rc == 0 || i == 0 || errno != EADDRNOTAVAIL) {
            assert_int_equal(rc, 0);
            run();
            assert_int_equal(d.accepted, 1);
        }
        d.accepted = 0;
        close(fd);
        listener_free(listener);
    }
}

static void
test_addresses_refused(void **state)
{
    (void)state;
    check_refused("unix:/nonexistent/sock", -ENOENT, "No such file");
    check_refused("inet:127.0.0.1", -EINVAL, "must be numbers");
    check_refused("inet:localhost:25", -EINVAL, "must be numbers");
    check_refused("inet::25", -EINVAL, "must be numbers");
    check_refused("inet:127.0.0.1:99999999", -EINVAL, "must be numbers");
    g_autofree char *longer = g_strnfill(200, 'a');
    g_autofree char *address = g_strconcat("unix:/", longer, NULL);
    check_refused(address, -ENAMETOOLONG, "too long");
}

/* Out of descriptors: no spinning, and it goes on when there are some again. */
static void
test_no_descriptor(void **state)
{
    struct listener *listener = NULL;
    g_autofree char *error = NULL;
    struct rlimit old;
    struct rlimit none;
    int wakes = 0;
    (void)state;
    assert_int_equal(listen_at(d.address, &listener, &error), 0);
    int fd = unix_connect();
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
    none = old;
    none.rlim_cur = (rlim_t)fd; /* the highest that is open is the last that may be */
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    for (gint64 end = g_get_monotonic_time() + 300000; g_get_monotonic_time() < end;) {
        wakes += sd_event_run(t.event, 20000) > 0;
    }
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
    assert_int_equal(d.accepted, 0);
    assert_true(wakes <= 5);
    for (gint64 end = g_get_monotonic_time() + 120 * G_USEC_PER_SEC; d.accepted == 0;) {
        assert_true(g_get_monotonic_time() < end);
        assert_true(sd_event_run(t.event, 20000) >= 0);
    }
    close(fd);
    listener_free(listener);
}

static bool
is_closed(int fd)
{
    struct pollfd wait = {.fd = fd, .events = POLLIN};
    char byte;
    run();
    return poll(&wait, 1, 0) == 1 && recv(fd, &byte, 1, 0) == 0;
}

static void
check_status(const struct milter *milter, int connections)
{
    json_t *status = milter_status(milter);
    json_t *first = json_array_get(status, 0);
    assert_string_equal(json_string_value(json_object_get(first, "address")), d.address);
    assert_int_equal(json_integer_value(json_object_get(first, "connections")), connections);
    json_decref(status);
}

static struct milter *
doors_open(void)
{
    struct milter *milter = NULL;
    g_autofree char *error = NULL;
    char *addresses[] = {d.address, NULL};
    t.settings.milter_listen = addresses;
    assert_int_equal(milter_new(t.event, &t.settings, &t.transaction, &t.budget, &milter, &error),
                     0);
    return milter;
}

static void
test_submission_door(void **state)
{
    struct milter *milter = NULL;
    g_autofree char *error = NULL;
    static char wrong[] = "inet:127.0.0.1:99999999";
    char *inbound[] = {NULL};
    char *submission[] = {d.address, NULL};
    char *unusable[] = {wrong, NULL};
    (void)state;
    t.settings.milter_listen = inbound;
    t.settings.submission_listen = unusable;
    assert_int_equal(milter_new(t.event, &t.settings, &t.transaction, &t.budget, &milter, &error),
                     -EINVAL);
    assert_non_null(strstr(error, "submission_listen = inet:127.0.0.1:99999999"));
    t.settings.submission_listen = submission;
    g_clear_pointer(&error, g_free);
    assert_int_equal(milter_new(t.event, &t.settings, &t.transaction, &t.budget, &milter, &error),
                     0);
    json_t *status = milter_status(milter);
    assert_true(json_is_true(json_object_get(json_array_get(status, 0), "submission")));
    json_decref(status);
    milter_free(milter);
}

static void
test_too_many_clients(void **state)
{
    int fds[3];
    (void)state;
    t.settings.clients = 2;
    struct milter *milter = doors_open();
    for (int i = 0; i < 3; i++) {
        fds[i] = unix_connect();
    }
    assert_false(is_closed(fds[0]));
    assert_false(is_closed(fds[1]));
    assert_true(is_closed(fds[2]));
    assert_int_equal(t.counters.connections, 3);
    assert_int_equal(t.counters.refused, 1);
    check_status(milter, 2);
    close(fds[0]);
    run();
    check_status(milter, 1);
    int again = unix_connect();
    assert_false(is_closed(again));
    milter_free(milter);
    assert_true(is_closed(again));
    close(again);
    close(fds[1]);
    close(fds[2]);
}

static void
on_drained(void *data)
{
    assert_ptr_equal(data, &d);
    d.drained = true;
}

static void
test_drain_all(void **state)
{
    struct stat st;
    (void)state;
    t.settings.clients = 10;
    struct milter *milter = doors_open();
    int idle = unix_connect();
    run();
    milter_drain(milter, on_drained, &d);
    assert_int_equal(stat(d.path, &st), -1);
    assert_false(d.drained); /* from the event loop only */
    assert_true(is_closed(idle));
    assert_true(d.drained);
    milter_free(milter);
    close(idle);
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, doors_setup, doors_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_unix_socket),       TEST(test_stale_socket),  TEST(test_inet),
        TEST(test_addresses_refused), TEST(test_no_descriptor), TEST(test_too_many_clients),
        TEST(test_submission_door),   TEST(test_drain_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
