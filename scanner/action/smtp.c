/* SPDX-License-Identifier: GPL-2.0-only */
#include "smtp.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "esmtp.h"
#include "smtp-answer.h"
#include "text.h"

#define TEXT_MAX 500
#define CHUNK 65536
#define CONNECT_PAUSE_MS 100

struct dialogue {
    const struct smtp_message *message;
    int sock;
    GString *in;                /* read and not yet used */
    struct smtp_answer *answer; /* the last one */
    GString *text;              /* what is told of the end */
    guint extensions;           /* enum esmtp_extension */
    gboolean sent;              /* the whole message */
};

static enum smtp_outcome fail(struct dialogue *d, enum smtp_outcome outcome, const char *format,
                              ...) G_GNUC_PRINTF(3, 4);

static enum smtp_outcome
fail(struct dialogue *d, enum smtp_outcome outcome, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    g_string_vprintf(d->text, format, args);
    va_end(args);
    return d->sent && outcome == SMTP_LATER ? SMTP_UNCERTAIN : outcome;
}

/* Returns 0 when the socket is ready, -ETIMEDOUT, -ECANCELED, or -errno. */
static int
ready_wait(const struct dialogue *d, short events, int seconds)
{
    const gint64 end = g_get_monotonic_time() + (gint64)seconds * G_USEC_PER_SEC;
    struct pollfd fds[] = {{.fd = d->sock, .events = events},
                           {.fd = d->message->cancel, .events = POLLIN}};
    for (;;) {
        gint64 left = (end - g_get_monotonic_time()) / 1000;
        int n = left <= 0 ? 0 : poll(fds, 2, (int)left);
        if (n == 0) {
            return -ETIMEDOUT;
        }
        if (n < 0 && errno != EINTR) {
            return -errno;
        }
        if (n > 0) {
            return fds[1].revents != 0 ? -ECANCELED : 0;
        }
    }
}

static int
send_all(struct dialogue *d, const char *data, size_t len)
{
    while (len > 0) {
        int rc = ready_wait(d, POLLOUT, SMTP_ANSWER_SECONDS);
        if (rc < 0) {
            return rc;
        }
        ssize_t n = send(d->sock, data, len, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno != EINTR && errno != EAGAIN) {
            return -errno;
        }
        if (n > 0) {
            data += n;
            len -= (size_t)n;
        }
    }
    return 0;
}

static void
extension_note(const char *word, void *data)
{
    struct dialogue *d = data;
    d->extensions |= esmtp_extension_of(word);
}

/* One answer, all its lines. Returns 0 or -errno. */
static int
answer_read(struct dialogue *d, int seconds)
{
    char chunk[2048];
    int rc;
    while ((rc = smtp_answer_take(d->answer, d->in, extension_note, d)) == 0) {
        rc = ready_wait(d, POLLIN, seconds);
        if (rc < 0) {
            return rc;
        }
        ssize_t n = recv(d->sock, chunk, sizeof chunk, MSG_DONTWAIT);
        if (n == 0) {
            return -ECONNRESET;
        }
        if (n < 0 && errno != EINTR && errno != EAGAIN) {
            return -errno;
        }
        g_string_append_len(d->in, chunk, MAX(n, 0));
    }
    return rc < 0 ? rc : 0;
}

/* Reads an answer that must have CODE. */
static enum smtp_outcome
expect(struct dialogue *d, int code, const char *what, int seconds)
{
    int rc = answer_read(d, seconds);
    if (rc < 0) {
        return fail(d, SMTP_LATER, "no answer to %s: %s", what, g_strerror(-rc));
    }
    const struct smtp_answer *answer = d->answer;
    if (answer->code == code || (code == 250 && answer->code == 251)) {
        d->sent = FALSE;
        g_string_assign(d->text, answer->text->str);
        return SMTP_ACCEPTED;
    }
    /* An answer, whatever it says, means that nothing was taken. */
    d->sent = FALSE;
    return fail(d, answer->code >= 500 ? SMTP_REFUSED : SMTP_LATER, "%d %s (to %s)", answer->code,
                answer->text->str, what);
}

static enum smtp_outcome
command(struct dialogue *d, int code, const char *text)
{
    g_autofree char *line = g_strconcat(text, "\r\n", NULL);
    int rc = send_all(d, line, strlen(line));
    if (rc < 0) {
        return fail(d, SMTP_LATER, "%s could not be sent: %s", text, g_strerror(-rc));
    }
    return expect(d, code, text, SMTP_ANSWER_SECONDS);
}

/* A command inside an address would be a command. */
static gboolean
address_is_valid(const char *address)
{
    for (const char *c = address; *c != '\0'; c++) {
        if ((unsigned char)*c < ' ' || *c == '\177') {
            return FALSE;
        }
    }
    return TRUE;
}

static gboolean
all_ascii(const struct smtp_message *message)
{
    gboolean ascii = g_str_is_ascii(message->sender);
    for (guint i = 0; i < message->recipients->len; i++) {
        ascii = ascii && g_str_is_ascii(g_ptr_array_index(message->recipients, i));
    }
    return ascii;
}

static gboolean
wants_utf8(const struct smtp_message *message)
{
    return !all_ascii(message) || esmtp_has(message->parameters, "SMTPUTF8");
}

static enum smtp_outcome
addresses_check(struct dialogue *d)
{
    const struct smtp_message *message = d->message;
    gboolean valid = address_is_valid(message->sender) && message->recipients->len > 0;
    for (guint i = 0; i < message->recipients->len; i++) {
        const char *recipient = g_ptr_array_index(message->recipients, i);
        valid = valid && *recipient != '\0' && address_is_valid(recipient);
    }
    return valid ? SMTP_ACCEPTED : fail(d, SMTP_REFUSED, "an address is empty or no address");
}

/*
 * A server that accepts nobody fills its queue, and a blocking connect() then waits for ever, deaf
 * to CANCEL. Nothing tells when there is room again.
 */
static int
connect_wait(const struct dialogue *d, const struct sockaddr_un *address)
{
    const gint64 end = g_get_monotonic_time() + (gint64)SMTP_ANSWER_SECONDS * G_USEC_PER_SEC;
    struct pollfd cancel = {.fd = d->message->cancel, .events = POLLIN};
    while (connect(d->sock, (const struct sockaddr *)address, sizeof *address) < 0) {
        if (errno != EAGAIN && errno != EINTR) {
            return -errno;
        }
        if (poll(&cancel, 1, CONNECT_PAUSE_MS) > 0) {
            return -ECANCELED;
        }
        if (g_get_monotonic_time() > end) {
            return -ETIMEDOUT;
        }
    }
    return 0;
}

static enum smtp_outcome
connect_to(struct dialogue *d)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const char *path = d->message->socket;
    if (g_strlcpy(address.sun_path, path, sizeof address.sun_path) >= sizeof address.sun_path) {
        return fail(d, SMTP_LATER, "release_socket = %s: the path is too long", path);
    }
    d->sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int rc = d->sock < 0 ? -errno : connect_wait(d, &address);
    if (rc < 0) {
        return fail(d, SMTP_LATER,
                    "release_socket = %s: %s; is the mail server's release service "
                    "set up, and running?",
                    path, g_strerror(-rc));
    }
    return expect(d, 220, "the connection", SMTP_ANSWER_SECONDS);
}

static enum smtp_outcome
hello(struct dialogue *d)
{
    enum smtp_outcome outcome = command(d, 250, "EHLO localhost");
    if (outcome == SMTP_ACCEPTED && (d->extensions & ESMTP_SMTPUTF8) == 0 &&
        wants_utf8(d->message)) {
        return fail(d, SMTP_REFUSED, "%s, and the mail server has no SMTPUTF8",
                    all_ascii(d->message) ? "the message came with SMTPUTF8"
                                          : "an address is not ASCII");
    }
    return outcome;
}

/* Returns 1, 0, or -errno. */
static int
has_eight_bits(const struct smtp_message *message)
{
    g_autofree char *chunk = g_malloc(CHUNK);
    off_t at = message->from;
    ssize_t n;
    while ((n = pread(message->fd, chunk, CHUNK, at)) > 0) {
        for (ssize_t i = 0; i < n; i++) {
            if ((chunk[i] & 0x80) != 0) {
                return 1;
            }
        }
        at += n;
    }
    return n < 0 ? -errno : 0;
}

/* What the client asked for then, and what the content and the addresses need anyway. */
static char *
mail_parameters(const struct dialogue *d, gboolean eight)
{
    const struct smtp_message *message = d->message;
    g_autofree char *asked = esmtp_select(message->parameters, ESMTP_MAIL, d->extensions);
    gboolean say_eight = eight && (d->extensions & ESMTP_8BITMIME) != 0 &&
                         !esmtp_has(message->parameters, "BODY=8BITMIME");
    gboolean say_utf8 = !all_ascii(message) && !esmtp_has(message->parameters, "SMTPUTF8");
    return g_strconcat(say_eight ? " BODY=8BITMIME" : "", say_utf8 ? " SMTPUTF8" : "", asked, NULL);
}

static enum smtp_outcome
recipient_send(struct dialogue *d, guint number)
{
    const struct smtp_message *message = d->message;
    const GPtrArray *all = message->recipient_parameters;
    const char *kept = all != NULL && number < all->len ? g_ptr_array_index(all, number) : NULL;
    g_autofree char *asked = esmtp_select(kept, ESMTP_RCPT, d->extensions);
    g_autofree char *rcpt = g_strdup_printf(
        "RCPT TO:<%s>%s", (char *)g_ptr_array_index(message->recipients, number), asked);
    return command(d, 250, rcpt);
}

static enum smtp_outcome
envelope_send(struct dialogue *d)
{
    const struct smtp_message *message = d->message;
    int eight = has_eight_bits(message);
    if (eight < 0) {
        return fail(d, SMTP_LATER, "the kept file cannot be read: %s", g_strerror(-eight));
    }
    g_autofree char *parameters = mail_parameters(d, eight != 0);
    g_autofree char *mail = g_strdup_printf("MAIL FROM:<%s>%s", message->sender, parameters);
    enum smtp_outcome outcome = command(d, 250, mail);
    for (guint i = 0; i < message->recipients->len && outcome == SMTP_ACCEPTED; i++) {
        outcome = recipient_send(d, i);
    }
    return outcome;
}

/*
 * The bytes as SMTP wants them. A bare LF is a line end to many a server, so "LF . CRLF" in a
 * message would end it there.
 */
struct stuffing {
    gboolean line_begins;
    gboolean after_cr;
};

static void
stuff(struct stuffing *s, const char *data, ssize_t len, GString *out)
{
    for (ssize_t i = 0; i < len; i++) {
        char c = data[i];
        if (s->line_begins && c == '.') {
            g_string_append_c(out, '.');
        }
        if (c == '\n' && !s->after_cr) {
            g_string_append_c(out, '\r');
        }
        g_string_append_c(out, c);
        s->line_begins = c == '\n';
        s->after_cr = c == '\r';
    }
}

static enum smtp_outcome
content_send(struct dialogue *d)
{
    g_autofree char *chunk = g_malloc(CHUNK);
    g_autoptr(GString) out = g_string_sized_new(CHUNK + 1024);
    struct stuffing s = {.line_begins = TRUE};
    off_t at = d->message->from;
    ssize_t n;
    while ((n = pread(d->message->fd, chunk, CHUNK, at)) > 0) {
        at += n;
        g_string_truncate(out, 0);
        stuff(&s, chunk, n, out);
        int rc = send_all(d, out->str, out->len);
        if (rc < 0) {
            return fail(d, SMTP_LATER, "the message could not be sent: %s", g_strerror(-rc));
        }
    }
    if (n < 0) {
        return fail(d, SMTP_LATER, "the kept file cannot be read: %s", g_strerror(errno));
    }
    const char *end = s.line_begins ? ".\r\n" : "\r\n.\r\n";
    d->sent = TRUE; /* from the first byte of its end: part of it may arrive */
    int rc = send_all(d, end, strlen(end));
    if (rc < 0) {
        return fail(d, SMTP_LATER, "the end of the message: %s", g_strerror(-rc));
    }
    return expect(d, 250, "the message", SMTP_END_SECONDS);
}

static enum smtp_outcome
dialogue_run(struct dialogue *d)
{
    enum smtp_outcome outcome = addresses_check(d);
    if (outcome == SMTP_ACCEPTED) {
        outcome = connect_to(d);
    }
    if (outcome == SMTP_ACCEPTED) {
        outcome = hello(d);
    }
    if (outcome == SMTP_ACCEPTED) {
        outcome = envelope_send(d);
    }
    if (outcome == SMTP_ACCEPTED) {
        outcome = command(d, 354, "DATA");
    }
    return outcome == SMTP_ACCEPTED ? content_send(d) : outcome;
}

enum smtp_outcome
smtp_deliver(const struct smtp_message *message, char **ret_text)
{
    struct dialogue d = {.message = message,
                         .sock = -1,
                         .in = g_string_new(NULL),
                         .answer = smtp_answer_new(),
                         .text = g_string_new(NULL)};
    enum smtp_outcome outcome = dialogue_run(&d);
    *ret_text = text_escape(d.text->str, TEXT_MAX);
    if (d.sock >= 0) {
        /* Not waited for: the message is the server's, or it has nothing. */
        (void)send(d.sock, "QUIT\r\n", 6, MSG_NOSIGNAL | MSG_DONTWAIT);
        close(d.sock);
    }
    g_string_free(d.in, TRUE);
    smtp_answer_free(d.answer);
    g_string_free(d.text, TRUE);
    return outcome;
}
