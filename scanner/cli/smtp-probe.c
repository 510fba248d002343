/* SPDX-License-Identifier: GPL-2.0-only */
#include "smtp-probe.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "smtp-answer.h"

/* The client's name in EHLO: an address literal needs no name server at the other side. */
#define HELLO "[127.0.0.1]"

enum step { STEP_CONNECT, STEP_GREETING, STEP_HELLO, STEP_FROM, STEP_TO, STEP_DATA, STEP_END };

struct smtp_probe {
    sd_event_source *io;
    sd_event_source *timer;
    int sock;
    int refused; /* what connect() said at once, 0 = nothing */
    enum step step;
    char *commands[STEP_END + 1]; /* what is said when a step's answer was right */
    GString *out;                 /* still to be written */
    GString *in;
    struct smtp_answer *answer;
    smtp_probe_done *done;
    void *data;
};

static const struct {
    int code;      /* that leads to the next step */
    unsigned wait; /* for it, in milliseconds */
} steps[] = {
    [STEP_CONNECT] = {0, PROBE_CONNECT_MS}, [STEP_GREETING] = {220, PROBE_ANSWER_MS},
    [STEP_HELLO] = {250, PROBE_ANSWER_MS},  [STEP_FROM] = {250, PROBE_ANSWER_MS},
    [STEP_TO] = {250, PROBE_ANSWER_MS},     [STEP_DATA] = {354, PROBE_ANSWER_MS},
    [STEP_END] = {250, PROBE_VERDICT_MS},
};

const char *
probe_end_name(enum probe_end end)
{
    static const char *const names[PROBE_ENDS] = {
        [PROBE_ACCEPTED] = "accepted",     [PROBE_REFUSED] = "refused",
        [PROBE_UNWANTED] = "unwanted",     [PROBE_LATER] = "later",
        [PROBE_NO_CONTACT] = "no contact", [PROBE_BROKEN] = "broken",
        [PROBE_UNCERTAIN] = "uncertain",
    };
    return names[end];
}

static void
finish(struct smtp_probe *probe, enum probe_end end, int code, const char *text)
{
    probe->done(probe, end, code, text, probe->data);
    smtp_probe_free(probe);
}

/* Sent to its last byte, a message may be the server's: until then it is not. */
static void
fail(struct smtp_probe *probe, int error)
{
    enum probe_end end = PROBE_BROKEN;
    if (probe->step == STEP_CONNECT) {
        end = PROBE_NO_CONTACT;
    } else if (probe->step == STEP_END && probe->out->len == 0) {
        end = PROBE_UNCERTAIN;
    }
    finish(probe, end, 0, g_strerror(error));
}

static void
arm(struct smtp_probe *probe)
{
    (void)sd_event_source_set_time_relative(probe->timer, steps[probe->step].wait * 1000ULL);
    (void)sd_event_source_set_enabled(probe->timer, SD_EVENT_ONESHOT);
}

/* Returns 0, or -errno of a connection that is gone. */
static int
write_out(struct smtp_probe *probe)
{
    while (probe->out->len > 0) {
        ssize_t n = send(probe->sock, probe->out->str, probe->out->len, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            if (errno != EAGAIN) {
                return -errno;
            }
            break;
        }
        g_string_erase(probe->out, 0, n);
    }
    uint32_t events = EPOLLIN | (probe->out->len > 0 ? EPOLLOUT : 0U);
    return sd_event_source_set_io_events(probe->io, events);
}

static int
next_step(struct smtp_probe *probe)
{
    const char *command = probe->commands[probe->step];
    probe->step++;
    arm(probe);
    if (command != NULL) {
        g_string_append(probe->out, command);
    }
    return write_out(probe);
}

/* Returns TRUE when the probe has ended and is gone. */
static gboolean
heard(struct smtp_probe *probe)
{
    int code = probe->answer->code;
    const char *text = probe->answer->text->str;
    if (code == steps[probe->step].code || (code == 251 && probe->step == STEP_TO)) {
        if (probe->step == STEP_END) {
            /* Not waited for: the message is the server's. */
            (void)send(probe->sock, "QUIT\r\n", 6, MSG_NOSIGNAL | MSG_DONTWAIT);
            finish(probe, PROBE_ACCEPTED, code, text);
            return TRUE;
        }
        int rc = next_step(probe);
        if (rc < 0) {
            fail(probe, -rc);
        }
        return rc < 0;
    }
    (void)send(probe->sock, "QUIT\r\n", 6, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (code >= 500) {
        finish(probe, probe->step == STEP_END ? PROBE_REFUSED : PROBE_UNWANTED, code, text);
    } else if (code >= 400) {
        finish(probe, PROBE_LATER, code, text);
    } else {
        fail(probe, EPROTO);
    }
    return TRUE;
}

static void
read_in(struct smtp_probe *probe)
{
    char chunk[2048];
    ssize_t n = recv(probe->sock, chunk, sizeof chunk, MSG_DONTWAIT);
    int rc;
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        return;
    }
    if (n <= 0) {
        fail(probe, n == 0 ? ECONNRESET : errno);
        return;
    }
    g_string_append_len(probe->in, chunk, n);
    while ((rc = smtp_answer_take(probe->answer, probe->in, NULL, NULL)) > 0) {
        if (heard(probe)) {
            return;
        }
    }
    if (rc < 0) {
        fail(probe, -rc);
    }
}

static int
on_io(sd_event_source *source, int fd, uint32_t events, void *data)
{
    struct smtp_probe *probe = data;
    int rc = 0;
    (void)source;
    if (probe->step == STEP_CONNECT) {
        int error = probe->refused;
        socklen_t size = sizeof error;
        if (error == 0) {
            (void)getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
        }
        rc = error != 0 ? -error : next_step(probe);
    } else if ((events & EPOLLOUT) != 0) {
        rc = write_out(probe);
    }
    if (rc < 0) {
        fail(probe, -rc);
    } else if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0) {
        read_in(probe);
    }
    return 0;
}

static int
on_timer(sd_event_source *source, uint64_t usec, void *data)
{
    (void)source;
    (void)usec;
    fail(data, ETIMEDOUT);
    return 0;
}

static void
commands_make(struct smtp_probe *probe, const struct probe_message *message)
{
    probe->commands[STEP_GREETING] = g_strdup("EHLO " HELLO "\r\n");
    probe->commands[STEP_HELLO] = g_strdup_printf("MAIL FROM:<%s>\r\n", message->sender);
    probe->commands[STEP_FROM] = g_strdup_printf("RCPT TO:<%s>\r\n", message->recipient);
    probe->commands[STEP_TO] = g_strdup("DATA\r\n");
    probe->commands[STEP_DATA] = g_strconcat(message->text, ".\r\n", NULL);
}

static int
begin(sd_event *event, struct smtp_probe *probe, const struct sockaddr_storage *server)
{
    int rc;
    probe->sock = socket(server->ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (probe->sock < 0) {
        return -errno;
    }
    /* A connection that cannot even begin ends in the loop, like all others. */
    socklen_t size =
        server->ss_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
    if (connect(probe->sock, (const struct sockaddr *)server, size) < 0 && errno != EINPROGRESS) {
        probe->refused = errno;
    }
    rc = sd_event_add_io(event, &probe->io, probe->sock, EPOLLOUT, on_io, probe);
    if (rc >= 0) {
        rc = sd_event_add_time_relative(event, &probe->timer, CLOCK_BOOTTIME, 0, 1000, on_timer,
                                        probe);
    }
    if (rc >= 0) {
        arm(probe);
    }
    return rc < 0 ? rc : 0;
}

int
smtp_probe_start(sd_event *event, const struct probe_message *message, smtp_probe_done *done,
                 void *data, struct smtp_probe **probe_r)
{
    struct smtp_probe *probe = g_new0(struct smtp_probe, 1);
    probe->sock = -1;
    probe->in = g_string_new(NULL);
    probe->out = g_string_new(NULL);
    probe->answer = smtp_answer_new();
    probe->done = done;
    probe->data = data;
    commands_make(probe, message);
    int rc = begin(event, probe, message->server);
    if (rc < 0) {
        smtp_probe_free(probe);
        return rc;
    }
    *probe_r = probe;
    return 0;
}

void
smtp_probe_free(struct smtp_probe *probe)
{
    if (probe == NULL) {
        return;
    }
    sd_event_source_disable_unref(probe->io);
    sd_event_source_disable_unref(probe->timer);
    if (probe->sock >= 0) {
        close(probe->sock);
    }
    for (size_t i = 0; i < G_N_ELEMENTS(probe->commands); i++) {
        g_free(probe->commands[i]);
    }
    g_string_free(probe->in, TRUE);
    g_string_free(probe->out, TRUE);
    smtp_answer_free(probe->answer);
    g_free(probe);
}
