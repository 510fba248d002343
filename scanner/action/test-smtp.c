/* SPDX-License-Identifier: GPL-2.0-only */
/* The client against servers that answer well, badly, or not at all. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "smtp.h"

/* What the server says to each command in turn, the greeting first; NULL closes. */
struct server {
    char *dir;
    char *path;
    int sock;
    const char *const *script;
    GString *heard;
    GThread *thread;
};

static const char hello[] = "250-mx.test\r\n250-8BITMIME\r\n250 SMTPUTF8\r\n";

static gboolean
message_is_over(const GString *heard, gsize from)
{
    return heard->len - from >= 5 && strcmp(heard->str + heard->len - 5, "\r\n.\r\n") == 0;
}

/* Reads one command, or after 354 a whole message. */
static void
hear(struct server *s, int sock, gboolean content)
{
    char chunk[65536];
    gsize from = s->heard->len - (content ? 2 : 0);
    do {
        ssize_t n = recv(sock, chunk, sizeof chunk, 0);
        if (n <= 0) {
            return;
        }
        g_string_append_len(s->heard, chunk, n);
    } while (content && !message_is_over(s->heard, from));
}

static void *
serve(void *data)
{
    struct server *s = data;
    int sock = accept(s->sock, NULL, NULL);
    for (const char *const *line = s->script; *line != NULL; line++) {
        ssize_t n = send(sock, *line, strlen(*line), MSG_NOSIGNAL);
        (void)n;
        if (line[1] != NULL || g_str_has_prefix(*line, "354")) {
            hear(s, sock, g_str_has_prefix(*line, "354"));
        }
    }
    close(sock);
    return NULL;
}

static void
server_start(struct server *s, const char *const script[])
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    s->dir = g_dir_make_tmp("postern-smtp-XXXXXX", NULL);
    s->path = g_build_filename(s->dir, "s", NULL);
    s->heard = g_string_new(NULL);
    s->script = script;
    s->sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    g_strlcpy(address.sun_path, s->path, sizeof address.sun_path);
    assert_int_equal(bind(s->sock, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(s->sock, 1), 0);
    s->thread = g_thread_new("server", serve, s);
}

static void
server_clear(struct server *s)
{
    close(s->sock);
    unlink(s->path);
    rmdir(s->dir);
    g_free(s->path);
    g_free(s->dir);
    g_string_free(s->heard, TRUE);
}

static enum smtp_outcome
deliver(const char *path, const char *sender, const char *one, const char *two, const char *text,
        char **answer)
{
    g_autoptr(GPtrArray) recipients = g_ptr_array_new();
    g_ptr_array_add(recipients, (void *)(uintptr_t)one);
    if (two != NULL) {
        g_ptr_array_add(recipients, (void *)(uintptr_t)two);
    }
    int fd = memfd_create("message", MFD_CLOEXEC);
    g_autofree char *whole = g_strconcat("first\n", text, NULL);
    assert_int_equal(write(fd, whole, strlen(whole)), (ssize_t)strlen(whole));
    const struct smtp_message message = {.socket = path,
                                         .sender = sender,
                                         .recipients = recipients,
                                         .fd = fd,
                                         .from = 6,
                                         .cancel = -1};
    enum smtp_outcome outcome = smtp_deliver(&message, answer);
    close(fd);
    return outcome;
}

static void
check(const char *const script[], const char *text, enum smtp_outcome expected, const char *says,
      const char *heard)
{
    struct server s;
    g_autofree char *answer = NULL;
    server_start(&s, script);
    assert_int_equal(deliver(s.path, "", "a@x.test", "b@x.test", text, &answer), expected);
    g_thread_join(s.thread);
    if (strstr(answer, says) == NULL) {
        fail_msg("'%s' does not say '%s'", answer, says);
    }
    if (heard != NULL && strstr(s.heard->str, heard) == NULL) {
        fail_msg("'%s' was not heard in: %s", heard, s.heard->str);
    }
    server_clear(&s);
}

#define OK "250 Ok\r\n"

static void
test_accepted(void **data)
{
    static const char *const script[] = {
        "220 hi\r\n", hello, OK, OK, OK, "354 go\r\n", "250 2.0.0 queued as X\r\n", NULL};
    (void)data;
    check(script, "S: x\r\n\r\nbody\r\n", SMTP_ACCEPTED, "queued as X",
          "EHLO localhost\r\nMAIL FROM:<>\r\nRCPT TO:<a@x.test>\r\nRCPT TO:<b@x.test>\r\nDATA\r\n"
          "S: x\r\n\r\nbody\r\n.\r\n");
    check(script, "a\n.\nb\r\n..\r\n.c\r\r\nend", SMTP_ACCEPTED, "queued",
          "DATA\r\na\r\n..\r\nb\r\n...\r\n..c\r\r\nend\r\n.\r\n"); /* nothing ends it early */
    check(script, "", SMTP_ACCEPTED, "queued", "DATA\r\n.\r\n");
    check(script, "\xe4", SMTP_ACCEPTED, "queued", "MAIL FROM:<> BODY=8BITMIME\r\n");
}

static void
test_refused(void **data)
{
    static const char *const recipient[] = {
        "220 hi\r\n", hello, OK, OK, "550-5.1.1 no\r\n550 such user\r\n", NULL};
    static const char *const later[] = {"220 hi\r\n", hello, OK, "451 4.3.0 busy\r\n", NULL};
    static const char *const content[] = {"220 hi\r\n",      hello, OK, OK, OK, "354 go\r\n",
                                          "552 too big\r\n", NULL};
    static const char *const greeting[] = {"554 go away\r\n", NULL};
    (void)data;
    check(recipient, "x", SMTP_REFUSED, "550 5.1.1 no such user", "RCPT TO:<b@x.test>");
    check(later, "x", SMTP_LATER, "451 4.3.0 busy", NULL);
    check(content, "x", SMTP_REFUSED, "552 too big", NULL);
    check(greeting, "x", SMTP_REFUSED, "554", NULL);
}

/* Only after the last byte it is unknown what became of the message. */
static void
test_broken_servers(void **data)
{
    static const char *const lost[] = {"220 hi\r\n", hello, OK, OK, OK, "354 go\r\n", NULL};
    static const char *const early[] = {"220 hi\r\n", hello, OK, NULL};
    static const char *const nonsense[] = {"hello\r\n", NULL};
    static const char *const short_code[] = {"22\r\n", NULL};
    (void)data;
    check(lost, "x", SMTP_UNCERTAIN, "no answer to the message", NULL);
    check(early, "x", SMTP_LATER, "", NULL);
    check(nonsense, "x", SMTP_LATER, "no answer to the connection", NULL);
    check(short_code, "x", SMTP_LATER, "", NULL);
}

static void
test_addresses(void **data)
{
    static const char *const old[] = {"220 hi\r\n", "250 mx.test\r\n", NULL};
    struct server s;
    char *answer = NULL;
    (void)data;
    assert_int_equal(deliver("/nowhere", "a@x\r\nDATA", "b@x", NULL, "x", &answer), SMTP_REFUSED);
    g_free(answer);
    assert_int_equal(deliver("/nowhere", "a@x", "", NULL, "x", &answer), SMTP_REFUSED);
    g_free(answer);
    assert_int_equal(deliver("/nowhere", "a@x", "b@x", NULL, "x", &answer), SMTP_LATER);
    assert_non_null(strstr(answer, "release_socket = /nowhere"));
    g_free(answer);
    server_start(&s, old);
    assert_int_equal(deliver(s.path, "a@x", "\xc3\xbc@x.test", NULL, "x", &answer), SMTP_REFUSED);
    assert_non_null(strstr(answer, "no SMTPUTF8"));
    g_free(answer);
    g_thread_join(s.thread);
    server_clear(&s);
}

/* A stop of posternd must not wait for a server whose queue of connections is full. */
static void
test_cancel_while_connecting(void **data)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    g_autofree char *dir = g_dir_make_tmp("postern-smtp-XXXXXX", NULL);
    g_autofree char *path = g_build_filename(dir, "s", NULL);
    g_autoptr(GPtrArray) recipients = g_ptr_array_new();
    char *answer = NULL;
    int waiting[2];
    (void)data;
    int sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int cancel = eventfd(1, EFD_CLOEXEC);
    g_strlcpy(address.sun_path, path, sizeof address.sun_path);
    assert_int_equal(bind(sock, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(sock, 0), 0);
    for (int i = 0; i < 2; i++) {
        waiting[i] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        int rc = connect(waiting[i], (struct sockaddr *)&address, sizeof address);
        assert_int_equal(rc, i == 0 ? 0 : -1);
    }
    g_ptr_array_add(recipients, (void *)(uintptr_t) "b@x.test");
    const struct smtp_message message = {
        .socket = path, .sender = "", .recipients = recipients, .fd = -1, .cancel = cancel};
    alarm(60);
    assert_int_equal(smtp_deliver(&message, &answer), SMTP_LATER);
    alarm(0);
    assert_non_null(strstr(answer, "canceled"));
    g_free(answer);
    close(waiting[0]);
    close(waiting[1]);
    close(cancel);
    close(sock);
    unlink(path);
    rmdir(dir);
}

/* Parameters that a release says again, as far as the server understands them. */
static void
check_parameters(const char *ehlo, const char *parameters, const char *text,
                 enum smtp_outcome expected, const char *heard)
{
    const char *const script[] = {"220 hi\r\n", ehlo, OK, OK, OK, "354 go\r\n", OK, NULL};
    const char *const refused[] = {"220 hi\r\n", ehlo, NULL};
    struct server s;
    char *answer = NULL;
    char one[] = "a@x.test", two[] = "b@x.test", asked[] = "NOTIFY=NEVER AUTH=x ORCPT=rfc822;a@x";
    g_autoptr(GPtrArray) recipients = g_ptr_array_new();
    g_autoptr(GPtrArray) all = g_ptr_array_new();
    g_ptr_array_add(recipients, one);
    g_ptr_array_add(recipients, two);
    g_ptr_array_add(all, asked); /* shorter than RECIPIENTS */
    int fd = memfd_create("message", MFD_CLOEXEC);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    server_start(&s, expected == SMTP_ACCEPTED ? script : refused);
    const struct smtp_message message = {.socket = s.path,
                                         .sender = "c@x.test",
                                         .recipients = recipients,
                                         .parameters = parameters,
                                         .recipient_parameters = all,
                                         .fd = fd,
                                         .cancel = -1};
    assert_int_equal(smtp_deliver(&message, &answer), expected);
    g_thread_join(s.thread);
    if (strstr(s.heard->str, heard) == NULL) {
        fail_msg("'%s' was not heard in: %s", heard, s.heard->str);
    }
    g_free(answer);
    close(fd);
    server_clear(&s);
}

static void
test_parameters(void **data)
{
    static const char all[] = "250-mx.test\r\n250-8BITMIME\r\n250-DSN\r\n250 SMTPUTF8\r\n";
    static const char old[] = "250-mx.test\r\n250 8BITMIME\r\n";
    static const char asked[] = "BODY=8BITMIME RET=HDRS ENVID=QQ+3D1";
    (void)data;
    check_parameters(all, asked, "x", SMTP_ACCEPTED,
                     "MAIL FROM:<c@x.test> BODY=8BITMIME RET=HDRS ENVID=QQ+3D1\r\n"
                     "RCPT TO:<a@x.test> NOTIFY=NEVER ORCPT=rfc822;a@x\r\n"
                     "RCPT TO:<b@x.test>\r\n");
    check_parameters(old, asked, "\xe4", SMTP_ACCEPTED,
                     "MAIL FROM:<c@x.test> BODY=8BITMIME\r\nRCPT TO:<a@x.test>\r\n");
    check_parameters(all, "SMTPUTF8", "\xe4", SMTP_ACCEPTED,
                     "MAIL FROM:<c@x.test> BODY=8BITMIME SMTPUTF8\r\n");
    check_parameters(old, "SMTPUTF8", "x", SMTP_REFUSED, "EHLO localhost\r\n");
    /* A file that was tampered with says no command. */
    check_parameters(all, "RET=FULL\r\nRCPT RET=HDRS ENVID=a=b SIZE=1", "x", SMTP_ACCEPTED,
                     "MAIL FROM:<c@x.test> RET=HDRS\r\nRCPT TO:<a@x.test>");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_accepted),       cmocka_unit_test(test_refused),
        cmocka_unit_test(test_broken_servers), cmocka_unit_test(test_addresses),
        cmocka_unit_test(test_parameters),     cmocka_unit_test(test_cancel_while_connecting),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
