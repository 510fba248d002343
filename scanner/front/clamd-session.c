/* SPDX-License-Identifier: GPL-2.0-only */
#include "clamd-session.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "clamd-codec.h"
#include "clamd-info.h"
#include "clamd-peer.h"
#include "clamd-tree.h"
#include "log.h"
#include "stream.h"
#include "text.h"

#define LOG_PATH_MAX 300

enum session_state {
    STATE_COMMAND,
    STATE_STREAM, /* the chunks of INSTREAM */
    STATE_WAIT,   /* the last command is given; its answer is awaited */
    STATE_END,
};

struct clamd_session {
    struct clamd_services *services;
    clamd_session_ended *ended;
    void *data;
    struct stream *stream;
    enum session_state state;
    gboolean numbered; /* IDSESSION */
    struct clamd_tag tag;
    int fd; /* passed, for the FILDES that is to come; -1 = none */
    struct spool *spool;
    struct clamd_chunks chunks;
    gboolean starved; /* waits for memory */
    GQueue commands;  /* of struct command *, under way */
    char *peer;
    bool is_root; /* on a unix socket */
};

/* A command that is not answered at once. */
struct command {
    struct clamd_session *session;
    enum clamd_command command;
    struct clamd_tag tag;
    gint64 since;
    char *path; /* as in the answer: a path, "fd[9]", "stream" */
    struct clamd_scan *scan;
    struct clamd_item *item;
    struct clamd_tree *tree;
};

/* --- commands under way --------------------------------------------------------------------- */

static void
command_free(void *p)
{
    struct command *command = p;
    clamd_scan_cancel(command->scan);
    clamd_item_cancel(command->item);
    clamd_tree_free(command->tree);
    g_free(command->path);
    g_free(command);
}

static struct command *
command_new(struct clamd_session *s, enum clamd_command kind, char *path)
{
    struct command *command = g_new0(struct command, 1);
    command->session = s;
    command->command = kind;
    command->tag = s->tag;
    command->since = g_get_monotonic_time();
    command->path = path;
    g_queue_push_tail(&s->commands, command);
    return command;
}

/* No more is read than can be worked on; and nothing behind the last command. */
static void
pace(struct clamd_session *s)
{
    gboolean full = s->commands.length >= s->services->parallel;
    if (s->state == STATE_WAIT && s->commands.length == 0) {
        s->state = STATE_END;
        stream_finish(s->stream);
    } else {
        stream_hold(s->stream, full || s->starved || s->state == STATE_WAIT);
    }
}

static void
command_end(struct command *command)
{
    struct clamd_session *s = command->session;
    g_queue_remove(&s->commands, command);
    command_free(command);
    stream_flush(s->stream);
    pace(s);
}

static void
log_verdict(const struct command *command, const char *path, const struct clamd_verdict *verdict)
{
    struct clamd_services *services = command->session->services;
    g_autofree char *safe = text_escape(path, LOG_PATH_MAX);
    services->scanned++;
    if (verdict->names != NULL) {
        services->found++;
        log_notice("clamd: %s from %s: %s: %s FOUND", clamd_command_name(command->command),
                   command->session->peer, safe, (char *)g_ptr_array_index(verdict->names, 0));
    } else if (verdict->verdict == VERDICT_ERROR) {
        log_warning("clamd: %s from %s: %s: %s", clamd_command_name(command->command),
                    command->session->peer, safe, verdict->error);
    }
}

/* The lines about one file. */
static void
answer_verdict(struct command *command, const char *path, const struct clamd_verdict *verdict)
{
    GByteArray *out = stream_output(command->session->stream);
    log_verdict(command, path, verdict);
    if (verdict->verdict == VERDICT_CLEAN) {
        clamd_answer(out, &command->tag, path, "OK");
    } else if (verdict->names == NULL) {
        clamd_answer(out, &command->tag, path, "%s ERROR", verdict->error);
    } else {
        guint n = command->command == CLAMD_ALLMATCHSCAN ? verdict->names->len : 1;
        for (guint i = 0; i < n; i++) {
            clamd_answer(out, &command->tag, path, "%s FOUND",
                         (char *)g_ptr_array_index(verdict->names, i));
        }
    }
}

static void
on_stream_scanned(void *data, const struct scan_outcome *outcome)
{
    struct command *command = data;
    struct clamd_verdict verdict;
    command->scan = NULL;
    clamd_services_judge(command->session->services, outcome, &verdict);
    answer_verdict(command, command->path, &verdict);
    clamd_verdict_clear(&verdict);
    command_end(command);
}

static void
on_item_done(void *owner, struct clamd_item *item, struct clamd_verdict *verdict)
{
    struct command *command = owner;
    (void)item;
    command->item = NULL;
    answer_verdict(command, command->path, verdict);
    clamd_verdict_clear(verdict);
    command_end(command);
}

static void
on_tree_result(void *owner, const char *path, const struct clamd_verdict *verdict)
{
    struct command *command = owner;
    answer_verdict(command, path, verdict);
    stream_flush(command->session->stream);
}

static gboolean
on_tree_takes(void *owner)
{
    const struct command *command = owner;
    return stream_output(command->session->stream)->len < STREAM_OUTPUT_PAUSE;
}

/* clamd says OK as well when some of the files gave errors; that would call them clean. */
static void
on_tree_ended(void *owner, gboolean clean)
{
    struct command *command = owner;
    if (clean) {
        clamd_answer(stream_output(command->session->stream), &command->tag, command->path, "OK");
    }
    command_end(command);
}

static const struct clamd_tree_ops tree_ops = {
    .result = on_tree_result,
    .takes = on_tree_takes,
    .ended = on_tree_ended,
};

/* --- the commands --------------------------------------------------------------------------- */

static void
run_ping(struct clamd_session *s, const struct clamd_request *request)
{
    (void)request;
    clamd_answer(stream_output(s->stream), &s->tag, NULL, "PONG");
}

static void
run_info(struct clamd_session *s, const struct clamd_request *request)
{
    g_autofree char *text = request->command == CLAMD_VERSION ? clamd_info_version(s->services)
                            : request->command == CLAMD_STATS ? clamd_info_stats(s->services)
                                                              : clamd_info_commands(s->services);
    clamd_answer(stream_output(s->stream), &s->tag, NULL, "%s", text);
}

static void
run_instream(struct clamd_session *s, const struct clamd_request *request)
{
    (void)request;
    s->spool = spool_new(s->services->budget, s->services->settings->message_size);
    s->chunks = (struct clamd_chunks){.room = s->services->settings->message_size};
    if (s->spool == NULL) {
        clamd_answer(stream_output(s->stream), &s->tag, NULL, "INSTREAM: %s. ERROR",
                     g_strerror(errno));
        s->state = STATE_WAIT;
        return;
    }
    s->state = STATE_STREAM;
}

static void
run_fildes(struct clamd_session *s, const struct clamd_request *request)
{
    if (s->fd < 0) {
        clamd_answer(stream_output(s->stream), &s->tag, NULL, "No file descriptor received. ERROR");
        s->state = STATE_WAIT;
        return;
    }
    struct command *command = command_new(s, request->command, g_strdup_printf("fd[%d]", s->fd));
    command->item = clamd_item_start(s->services, s->fd, on_item_done, command);
    s->fd = -1;
}

static void
run_scan(struct clamd_session *s, const struct clamd_request *request)
{
    const struct clamd_tree_options options = {
        .stop = request->command == CLAMD_SCAN || request->command == CLAMD_ALLMATCHSCAN,
        .parallel = request->command == CLAMD_MULTISCAN ? s->services->parallel : 1,
    };
    char *path = g_strndup(request->argument, request->argument_len);
    struct command *command = command_new(s, request->command, path);
    command->tree = clamd_tree_start(s->services, path, &options, &tree_ops, command);
}

static void
run_idsession(struct clamd_session *s, const struct clamd_request *request)
{
    (void)request;
    s->numbered = TRUE;
}

static void
run_end(struct clamd_session *s, const struct clamd_request *request)
{
    (void)request;
    if (!s->numbered) {
        clamd_answer(stream_output(s->stream), &s->tag, NULL, "UNKNOWN COMMAND");
    }
    s->state = STATE_WAIT;
}

static void
run_unknown(struct clamd_session *s, const struct clamd_request *request)
{
    (void)request;
    clamd_answer(stream_output(s->stream), &s->tag, NULL, "UNKNOWN COMMAND");
}

/* Only root, and only where the kernel says who it is; clamd asks nobody. */
static void
run_control(struct clamd_session *s, const struct clamd_request *request)
{
    GByteArray *out = stream_output(s->stream);
    const char *name = clamd_command_name(request->command);
    gboolean is_reload = request->command == CLAMD_RELOAD;
    char *(*call)(void *) = is_reload ? s->services->reload : s->services->shutdown;
    g_autofree char *refusal = NULL;
    if (!s->is_root) {
        log_warning("clamd: %s from %s is refused: only root may, on the unix socket", name,
                    s->peer);
        refusal = g_strdup("only root may say that, on the unix socket");
    } else if (call == NULL) {
        refusal = g_strdup("it is not possible here");
    } else {
        log_notice("clamd: %s from %s", name, s->peer);
        refusal = call(s->services->data);
    }
    if (refusal != NULL) {
        clamd_answer(out, &s->tag, NULL, "COMMAND UNAVAILABLE, %s. ERROR", refusal);
    } else if (is_reload) {
        clamd_answer(out, &s->tag, NULL, "RELOADING");
    }
}

static const struct {
    void (*run)(struct clamd_session *s, const struct clamd_request *request);
    bool numbered; /* may come within IDSESSION */
} runs[] = {
    [CLAMD_UNKNOWN] = {run_unknown, false},
    [CLAMD_PING] = {run_ping, true},
    [CLAMD_VERSION] = {run_info, true},
    [CLAMD_COMMANDS] = {run_info, true},
    [CLAMD_STATS] = {run_info, true},
    [CLAMD_INSTREAM] = {run_instream, true},
    [CLAMD_FILDES] = {run_fildes, true},
    [CLAMD_SCAN] = {run_scan, true},
    [CLAMD_CONTSCAN] = {run_scan, false},
    [CLAMD_MULTISCAN] = {run_scan, false},
    [CLAMD_ALLMATCHSCAN] = {run_scan, false},
    [CLAMD_IDSESSION] = {run_idsession, false},
    [CLAMD_END] = {run_end, true},
    [CLAMD_RELOAD] = {run_control, false},
    [CLAMD_SHUTDOWN] = {run_control, false},
};

/* A refusal after which no command is taken any more. */
static void
refuse(struct clamd_session *s, const char *text)
{
    clamd_answer(stream_output(s->stream), &s->tag, NULL, "%s ERROR", text);
    s->state = STATE_WAIT;
}

static void
run_request(struct clamd_session *s, const struct clamd_request *request)
{
    s->tag.terminator = request->terminator;
    s->tag.id += s->numbered ? 1 : 0;
    if (s->numbered && request->plain) {
        refuse(s, "Only nCMDS\\n and zCMDS\\0 are accepted inside IDSESSION.");
    } else if (s->numbered && !runs[request->command].numbered) {
        refuse(s, "Command invalid inside IDSESSION.");
    } else {
        runs[request->command].run(s, request);
        if (!s->numbered && s->state == STATE_COMMAND) {
            s->state = STATE_WAIT;
        }
    }
}

/* --- INSTREAM ------------------------------------------------------------------------------- */

static void
stream_reset(struct clamd_session *s)
{
    if (s->spool != NULL) {
        clamd_memory_release(s->services->memory, spool_size(s->spool));
        spool_free(g_steal_pointer(&s->spool));
    }
    clamd_memory_forget(s->services->memory, s);
}

/* The client is still sending: the answer must reach it all the same. */
static void
stream_refuse(struct clamd_session *s, const char *text)
{
    log_warning("clamd: INSTREAM from %s: %s", s->peer, text);
    stream_reset(s);
    clamd_answer(stream_output(s->stream), &s->tag, NULL, "%s ERROR", text);
    s->state = STATE_END;
    stream_linger(s->stream);
}

static void
on_memory(void *data)
{
    struct clamd_session *s = data;
    s->starved = FALSE;
    pace(s);
}

/* Returns 1, 0 to have the same input again later, or -errno. */
static int
stream_data(struct clamd_session *s, const char *data, gsize len)
{
    guint64 own = spool_size(s->spool);
    int rc = clamd_memory_take(s->services->memory, own, len);
    if (rc == -EAGAIN) {
        s->starved = TRUE;
        clamd_memory_wait(s->services->memory, on_memory, s);
        return 0;
    }
    if (rc == 0) {
        rc = spool_append(s->spool, data, len);
        if (rc < 0) {
            clamd_memory_release(s->services->memory, len);
        }
    }
    if (rc < 0) {
        stream_refuse(s, rc == -ENOBUFS ? "The memory for messages is in use, try again later."
                                        : "INSTREAM: the stream cannot be kept.");
    }
    return 1;
}

static int
stream_end(struct clamd_session *s)
{
    int rc = spool_seal(s->spool);
    s->state = s->numbered ? STATE_COMMAND : STATE_WAIT;
    if (rc < 0) {
        stream_refuse(s, "INSTREAM: the stream cannot be kept.");
        return 1;
    }
    struct command *command = command_new(s, CLAMD_INSTREAM, g_strdup("stream"));
    struct clamd_content *content =
        clamd_content_of_spool(s->services->memory, g_steal_pointer(&s->spool));
    command->scan = clamd_scan_start(s->services->scans, content, on_stream_scanned, command);
    return 1;
}

static int
step_stream(struct clamd_session *s, const char *bytes, gsize len, gsize *used)
{
    const char *data;
    gsize data_len;
    const struct clamd_chunks before = s->chunks;
    switch (clamd_chunks_next(&s->chunks, bytes, len, &data, &data_len, used)) {
    case CLAMD_PIECE_DATA:
        if (stream_data(s, data, data_len) == 0) {
            s->chunks = before;
            *used = 0;
            return 0;
        }
        return 1;
    case CLAMD_PIECE_END:
        return stream_end(s);
    case CLAMD_PIECE_TOO_LONG:
        stream_refuse(s, "INSTREAM size limit exceeded.");
        return 1;
    case CLAMD_PIECE_MORE:
        break;
    }
    return 0;
}

/* --- the connection ------------------------------------------------------------------------- */

static int
step_command(struct clamd_session *s, const char *bytes, gsize len, gsize *used)
{
    struct clamd_request request;
    int rc = clamd_request_parse(bytes, len, &request, used);
    if (rc == 1) {
        run_request(s, &request);
    }
    return rc;
}

static gssize
on_input(void *data, const char *bytes, gsize len)
{
    struct clamd_session *s = data;
    gsize at = 0;
    int rc = 1;
    while (rc == 1 && at < len && s->commands.length < s->services->parallel &&
           (s->state == STATE_COMMAND || s->state == STATE_STREAM)) {
        gsize used = 0;
        rc = s->state == STATE_STREAM ? step_stream(s, bytes + at, len - at, &used)
                                      : step_command(s, bytes + at, len - at, &used);
        at += used;
    }
    if (rc < 0) {
        return rc;
    }
    /* It came with the last byte, so what it could have belonged to has been read. */
    if (s->fd >= 0 && at == len && s->state == STATE_COMMAND) {
        refuse(s, "PROTOCOL ERROR: ancillary data sent without FILDES.");
    }
    if (s->state != STATE_END) {
        pace(s);
    }
    return s->state == STATE_WAIT || s->state == STATE_END ? (gssize)len : (gssize)at;
}

static int
on_descriptor(void *data, int fd)
{
    struct clamd_session *s = data;
    if (s->fd >= 0 || s->state != STATE_COMMAND) {
        close(fd);
        return -EPROTO;
    }
    s->fd = fd;
    return 0;
}

static void
on_sent(void *data, GByteArray *output)
{
    struct clamd_session *s = data;
    GList *next;
    (void)output;
    for (GList *l = s->commands.head; l != NULL; l = next) {
        const struct command *command = l->data;
        next = l->next;
        if (command->tree != NULL) {
            clamd_tree_continue(command->tree);
        }
    }
}

static void
on_ended(void *data, int reason)
{
    struct clamd_session *s = data;
    if (reason == -ETIMEDOUT && s->state != STATE_END) {
        log_info("clamd: idle connection from %s closed", s->peer);
    } else if (reason == -EPROTO || reason == -EMSGSIZE) {
        log_warning("clamd: connection from %s closed: what came is not the clamd protocol (%s)",
                    s->peer, strerror(-reason));
    } else if (s->state == STATE_STREAM) {
        log_info("clamd: INSTREAM from %s ended without its last chunk", s->peer);
    }
    s->ended(s->data, s);
}

static const struct stream_ops stream_ops = {
    .input = on_input,
    .ended = on_ended,
    .descriptor = on_descriptor,
    .sent = on_sent,
};

int
clamd_session_new(struct clamd_services *services, int fd, clamd_session_ended *ended, void *data,
                  struct clamd_session **ret)
{
    struct clamd_session *s = g_new0(struct clamd_session, 1);
    guint64 idle = MIN(services->settings->client_timeout, CLAMD_IDLE_SECONDS);
    s->services = services;
    s->ended = ended;
    s->data = data;
    s->fd = -1;
    s->tag.terminator = '\n';
    g_queue_init(&s->commands);
    s->peer = clamd_peer_name(fd, &s->is_root);
    int rc = stream_new(services->event, fd, idle * G_USEC_PER_SEC, CLAMD_COMMAND_MAX, &stream_ops,
                        s, &s->stream);
    if (rc < 0) {
        clamd_session_free(s);
        return rc;
    }
    *ret = s;
    return 0;
}

void
clamd_session_free(struct clamd_session *s)
{
    if (s == NULL) {
        return;
    }
    g_queue_clear_full(&s->commands, command_free);
    stream_reset(s);
    stream_free(s->stream);
    if (s->fd >= 0) {
        close(s->fd);
    }
    g_free(s->peer);
    g_free(s);
}

void
clamd_session_foreach(const struct clamd_session *s, clamd_session_each *each, void *data)
{
    gint64 now = g_get_monotonic_time();
    for (const GList *l = s->commands.head; l != NULL; l = l->next) {
        const struct command *command = l->data;
        g_autofree char *path = text_escape(command->path, CLAMD_COMMAND_MAX);
        each(data, clamd_command_name(command->command),
             (double)(now - command->since) / G_USEC_PER_SEC, path);
    }
}
