/* SPDX-License-Identifier: GPL-2.0-only */
#include "release.h"

#include <errno.h>
#include <unistd.h>

#include "catalog.h"
#include "copy.h"
#include "format.h"
#include "incident.h"
#include "note.h"

#define SHOWN_RECIPIENTS 5

void
release_ticket_free(struct release_ticket *ticket)
{
    if (ticket == NULL) {
        return;
    }
    if (ticket->fd >= 0) {
        close(ticket->fd);
    }
    if (ticket->recipients != NULL) {
        g_ptr_array_unref(ticket->recipients);
    }
    if (ticket->recipient_parameters != NULL) {
        g_ptr_array_unref(ticket->recipient_parameters);
    }
    g_free(ticket->key);
    g_free(ticket->sender);
    g_free(ticket->parameters);
    g_free(ticket);
}

/* A format without them has no rule for what is in a file all the same. */
static void
parameters_take(const struct state *state, const struct envelope *envelope,
                struct release_ticket *ticket)
{
    if (state_format(state) >= FORMAT_PARAMETERS) {
        ticket->parameters = g_strdup(envelope->parameters);
        ticket->recipient_parameters = g_ptr_array_ref(envelope->recipient_parameters);
    }
}

/* Opens the file and takes the envelope from it. Returns 0, -ENODATA, -EBADMSG, or -errno. */
static int
file_open(const struct state *state, struct release_ticket *ticket)
{
    int dirfd = state_quarantine_fd(state);
    json_t *meta = NULL;
    guint64 size = 0;
    int rc = copy_open(dirfd, ticket->key, &meta, &ticket->fd, &size);
    if (rc < 0) {
        return rc == -ENOENT ? -ENODATA : rc;
    }
    g_autoptr(envelope_t) envelope = envelope_from_json(json_object_get(meta, "envelope"));
    json_int_t promised = json_integer_value(json_object_get(meta, "size"));
    json_decref(meta);
    off_t end = lseek(ticket->fd, 0, SEEK_END);
    if (envelope == NULL || promised < 0 || (guint64)promised != size || end < 0) {
        return -EBADMSG;
    }
    ticket->from = end - (off_t)size;
    ticket->sender = g_strdup(envelope->sender);
    ticket->recipients = g_ptr_array_ref(envelope->recipients);
    parameters_take(state, envelope, ticket);
    return 0;
}

/* Others than the sender's own are none of his business: he is not told what becomes of theirs. */
static void
recipients_set(struct release_ticket *ticket, char **to)
{
    if (to == NULL) {
        return;
    }
    g_clear_pointer(&ticket->recipient_parameters, g_ptr_array_unref);
    g_ptr_array_unref(ticket->recipients);
    ticket->recipients = g_ptr_array_new_with_free_func(g_free);
    for (; *to != NULL; to++) {
        g_ptr_array_add(ticket->recipients, g_strdup(*to));
    }
}

static char *
recipients_text(const GPtrArray *recipients)
{
    GString *text = g_string_new(NULL);
    for (guint i = 0; i < recipients->len && i < SHOWN_RECIPIENTS; i++) {
        g_string_append_printf(text, "%s%s", i == 0 ? "" : ", ",
                               (const char *)g_ptr_array_index(recipients, i));
    }
    if (recipients->len > SHOWN_RECIPIENTS) {
        g_string_append_printf(text, " and %u more", recipients->len - SHOWN_RECIPIENTS);
    }
    return g_string_free(text, FALSE);
}

/* The row follows the note, and the record of who did it goes with it. */
struct change {
    const char *key;
    const struct note *note;
    struct incident record;
};

static int
row_change(struct state *state, void *data)
{
    const struct change *change = data;
    int rc = catalog_set_release(state_db(state), change->key, change->note);
    return rc < 0 ? rc : incident_add(state_db(state), &change->record);
}

static int
change_write(struct state *state, const char *key, const struct note *note, gint64 uid,
             const char *detail)
{
    struct change change = {
        .key = key,
        .note = note,
        .record = {.kind = INCIDENT_RELEASE, .key = key, .uid = uid, .detail = detail}};
    int rc = note_write(state_quarantine_fd(state), key, note);
    return rc < 0 ? rc : state_write(state, row_change, &change);
}

/* Returns 0 also when there is no note yet. A note that cannot be read is begun anew. */
static int
note_load(struct state *state, const char *key, struct note *ret)
{
    int rc = note_read(state_quarantine_fd(state), key, ret);
    return rc == -ENOENT || rc == -EBADMSG ? 0 : rc;
}

static int
begin_write(struct state *state, struct release_ticket *ticket, char **to, gint64 uid)
{
    struct note note = {0};
    int rc = note_load(state, ticket->key, &note);
    if (rc < 0) {
        return rc;
    }
    if (to != NULL || !note.pending) {
        g_strfreev(note.to);
        note.to = g_strdupv(to);
    }
    recipients_set(ticket, note.to);
    note.pending = TRUE;
    note.since = g_get_real_time() / G_USEC_PER_SEC;
    note.uid = uid == INCIDENT_NOBODY ? note.uid : uid;
    ticket->attempt = ++note.attempts;
    g_autofree char *names = recipients_text(ticket->recipients);
    g_autofree char *detail =
        g_strdup_printf("attempt %" G_GINT64_FORMAT " begins, to %s", ticket->attempt, names);
    rc = change_write(state, ticket->key, &note, uid, detail);
    note_clear(&note);
    return rc;
}

int
release_begin(struct state *state, const char *prefix, char **to, gint64 uid,
              struct release_ticket **ret_ticket)
{
    struct catalog_found found;
    int rc = catalog_find(state_db(state), prefix, &found);
    if (rc == 0 && state_is_busy(state, found.key)) {
        rc = -EBUSY;
    }
    if (rc < 0) {
        return rc;
    }
    struct release_ticket *ticket = g_new0(struct release_ticket, 1);
    ticket->key = g_strdup(found.key);
    ticket->fd = -1;
    rc = file_open(state, ticket);
    if (rc == 0) {
        rc = begin_write(state, ticket, to, uid);
    }
    if (rc < 0) {
        release_ticket_free(ticket);
        return rc;
    }
    state_set_busy(state, ticket->key);
    *ret_ticket = ticket;
    return 0;
}

static int
end_write(struct state *state, const struct release_ticket *ticket, enum smtp_outcome outcome,
          const char *answer, gint64 uid)
{
    struct note note = {0};
    int rc = note_load(state, ticket->key, &note);
    if (rc < 0) {
        return rc;
    }
    note.pending = outcome == SMTP_UNCERTAIN;
    g_free(note.answer);
    note.answer = g_strdup(answer);
    if (outcome == SMTP_ACCEPTED) {
        note.released = g_get_real_time() / G_USEC_PER_SEC;
    }
    static const char *const words[] = {[SMTP_ACCEPTED] = "succeeded",
                                        [SMTP_REFUSED] = "failed",
                                        [SMTP_LATER] = "failed",
                                        [SMTP_UNCERTAIN] = "may have succeeded"};
    g_autofree char *detail = g_strdup_printf("attempt %" G_GINT64_FORMAT " %s: %s",
                                              ticket->attempt, words[outcome], answer);
    rc = change_write(state, ticket->key, &note, uid, detail);
    note_clear(&note);
    return rc;
}

int
release_end(struct state *state, const struct release_ticket *ticket, enum smtp_outcome outcome,
            const char *answer, gboolean keep_trying, gint64 uid)
{
    state_set_busy(state, NULL);
    if (outcome == SMTP_LATER && keep_trying) {
        return 0;
    }
    return end_write(state, ticket, outcome, answer, uid);
}

int
release_unfinished(struct state *state, GPtrArray **ret_keys)
{
    return catalog_open_keys(state_db(state), CATALOG_RELEASING, RELEASE_UNFINISHED, ret_keys);
}
