/* SPDX-License-Identifier: GPL-2.0-only */
#include "ledger.h"

#include <errno.h>
#include <time.h>

#include "log.h"
#include "retention.h"
#include "tally.h"

#define HOUR 3600
#define NAME_MAX_BYTES 256
/* Expiry: how often it is looked for; while there is more, step follows step. */
#define EXPIRY_SECONDS 60
#define EXPIRY_PAUSE_US 20000
/* Rows are pruned once in so many writes. */
#define PRUNE_EVERY 30

/* What is written in one go. */
struct page {
    struct ledger *ledger; /* NULL: gone */
    gint64 hour;
    GPtrArray *incidents;           /* of struct incident *, with texts of their own */
    guint lost;                     /* incidents that were too many */
    GHashTable *names[TALLY_KINDS]; /* of struct tally *, by name */
    gboolean prune;
};

struct ledger {
    sd_event *event;
    struct storage *storage;
    struct page *page; /* being filled */
    struct page *writing;
    guint writes;
    sd_event_source *timer;
    sd_event_source *expiry;
    struct sweep *sweep; /* in the storage thread */
};

struct sweep {
    struct ledger *ledger; /* NULL: gone */
    gboolean more;
};

static void
incident_free(void *p)
{
    struct incident *incident = p;
    g_free((char *)(uintptr_t)incident->key);
    g_free((char *)(uintptr_t)incident->queue_id);
    g_free((char *)(uintptr_t)incident->sender);
    g_free((char *)(uintptr_t)incident->client);
    g_free((char *)(uintptr_t)incident->detail);
    g_free(incident);
}

static gint64
now_seconds(void)
{
    return g_get_real_time() / G_USEC_PER_SEC;
}

static struct page *
page_new(struct ledger *ledger)
{
    struct page *page = g_new0(struct page, 1);
    page->ledger = ledger;
    page->hour = now_seconds() / HOUR;
    page->incidents = g_ptr_array_new_with_free_func(incident_free);
    for (int i = 0; i < TALLY_KINDS; i++) {
        page->names[i] = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    }
    return page;
}

static void
page_free(struct page *page)
{
    g_ptr_array_unref(page->incidents);
    for (int i = 0; i < TALLY_KINDS; i++) {
        g_hash_table_unref(page->names[i]);
    }
    g_free(page);
}

static gboolean
page_is_empty(const struct page *page)
{
    return page->incidents->len == 0 && g_hash_table_size(page->names[TALLY_HOUR]) == 0;
}

void
ledger_incident(struct ledger *ledger, const struct incident *incident)
{
    if (ledger == NULL) {
        return;
    }
    if (ledger->page->incidents->len >= LEDGER_INCIDENTS) {
        ledger->page->lost++;
        return;
    }
    struct incident *copy = g_new0(struct incident, 1);
    copy->time = incident->time > 0 ? incident->time : now_seconds();
    copy->kind = incident->kind;
    copy->uid = incident->uid;
    copy->key = g_strdup(incident->key);
    copy->queue_id = g_strdup(incident->queue_id);
    copy->sender = g_strndup(incident->sender, INCIDENT_TEXT_MAX);
    copy->client = g_strndup(incident->client, INCIDENT_TEXT_MAX);
    copy->detail = g_strndup(incident->detail, INCIDENT_TEXT_MAX);
    g_ptr_array_add(ledger->page->incidents, copy);
}

static void
count(struct page *page, enum tally_by by, const char *name, const struct ledger_message *message)
{
    GHashTable *names = page->names[by];
    g_autofree char *cut = g_strndup(name, NAME_MAX_BYTES);
    g_autofree char *valid = g_utf8_make_valid(cut, -1);
    g_autofree char *low = g_ascii_strdown(valid, -1);
    const char *as = low;
    if (!g_hash_table_contains(names, as) && g_hash_table_size(names) >= LEDGER_NAMES) {
        as = TALLY_OTHERS;
    }
    struct tally *tally = g_hash_table_lookup(names, as);
    if (tally == NULL) {
        tally = g_new0(struct tally, 1);
        g_hash_table_insert(names, g_strdup(as), tally);
    }
    tally->messages++;
    tally->infected += message->verdict == VERDICT_INFECTED;
    tally->unscanned += message->verdict == VERDICT_UNSCANNED;
    tally->errors += message->verdict == VERDICT_ERROR;
    tally->bytes += message->size;
}

static void
count_all(struct page *page, const struct ledger_message *message)
{
    const struct envelope *envelope = message->envelope;
    const char *client = envelope->client_addr != NULL ? envelope->client_addr : "unknown";
    if (page_is_empty(page)) {
        page->hour = now_seconds() / HOUR;
    }
    count(page, TALLY_HOUR, "", message);
    count(page, TALLY_SENDER, *envelope->sender == '\0' ? "<>" : envelope->sender, message);
    count(page, TALLY_CLIENT, client, message);
    for (guint i = 0; i < envelope->recipients->len && i < LEDGER_RECIPIENTS; i++) {
        count(page, TALLY_RECIPIENT, g_ptr_array_index(envelope->recipients, i), message);
    }
}

static void
message_note(struct ledger *ledger, const struct ledger_message *message, enum incident_kind kind,
             const char *why)
{
    const struct envelope *envelope = message->envelope;
    g_autofree char *detail =
        g_strdup_printf("%s%s%s: %s", why, *why == '\0' ? "" : "; ", message->action,
                        message->reason == NULL ? "" : message->reason);
    const struct incident incident = {.kind = kind,
                                      .queue_id = envelope->queue_id,
                                      .sender = envelope->sender,
                                      .client = envelope->client_addr,
                                      .uid = INCIDENT_NOBODY,
                                      .detail = detail};
    ledger_incident(ledger, &incident);
}

void
ledger_message(struct ledger *ledger, const struct ledger_message *message)
{
    static const enum incident_kind kinds[] = {[VERDICT_INFECTED] = INCIDENT_INFECTED,
                                               [VERDICT_UNSCANNED] = INCIDENT_UNSCANNED,
                                               [VERDICT_ERROR] = INCIDENT_ERROR};
    if (ledger == NULL) {
        return;
    }
    count_all(ledger->page, message);
    if (message->verdict != VERDICT_CLEAN) {
        message_note(ledger, message, kinds[message->verdict], "");
    }
    if (message->store_error < 0) {
        message_note(ledger, message, INCIDENT_REFUSED,
                     message->store_error == -EDQUOT   ? "its origin is above quarantine_quota"
                     : message->store_error == -ENOSPC ? "the quarantine is full"
                                                       : g_strerror(-message->store_error));
    }
}

static int
names_write(struct db *db, const struct page *page)
{
    int rc = 0;
    for (int by = 0; by < TALLY_KINDS; by++) {
        GHashTableIter iter;
        void *name;
        void *tally;
        g_hash_table_iter_init(&iter, page->names[by]);
        while (rc == 0 && g_hash_table_iter_next(&iter, &name, &tally)) {
            rc = tally_add(db, (enum tally_by)by, page->hour, name, tally);
        }
    }
    return rc;
}

static int
incidents_write(struct db *db, const struct page *page)
{
    int rc = 0;
    for (guint i = 0; i < page->incidents->len && rc == 0; i++) {
        rc = incident_add(db, g_ptr_array_index(page->incidents, i));
    }
    if (rc == 0 && page->lost > 0) {
        g_autofree char *detail = g_strdup_printf("%u more incidents, in the log only", page->lost);
        const struct incident more = {
            .kind = INCIDENT_ERROR, .uid = INCIDENT_NOBODY, .detail = detail};
        rc = incident_add(db, &more);
    }
    return rc;
}

/* Not by state_write(): this is worth no ballast. */
static int
page_work(struct state *state, void *data)
{
    const struct page *page = data;
    struct db *db = state_db(state);
    int rc = state_begin(state);
    if (rc < 0) {
        return rc;
    }
    rc = incidents_write(db, page);
    if (rc == 0) {
        rc = names_write(db, page);
    }
    if (rc == 0 && page->prune) {
        rc = incident_prune(db);
    }
    if (rc == 0 && page->prune) {
        rc = tally_prune(db, page->hour);
    }
    return state_end(state, rc);
}

static void
on_written(void *data, int result)
{
    struct page *page = data;
    if (result < 0 && result != -ECANCELED) {
        log_warning("counters and incidents of the last seconds could not be written: %s",
                    g_strerror(-result));
    }
    if (page->ledger != NULL) {
        page->ledger->writing = NULL;
    }
    page_free(page);
}

static void
page_write(struct ledger *ledger)
{
    if (ledger->writing != NULL || page_is_empty(ledger->page)) {
        return;
    }
    struct page *page = ledger->page;
    ledger->page = page_new(ledger);
    ledger->writing = page;
    page->prune = page->hour != now_seconds() / HOUR || ledger->writes % PRUNE_EVERY == 0;
    ledger->writes++;
    storage_submit_background(ledger->storage, page_work, on_written, page);
}

static void
again(sd_event_source *source, uint64_t us)
{
    (void)sd_event_source_set_time_relative(source, us);
    (void)sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

static int
on_timer(sd_event_source *source, uint64_t usec, void *data)
{
    (void)usec;
    page_write(data);
    again(source, LEDGER_SECONDS * G_USEC_PER_SEC);
    return 0;
}

static int
sweep_work(struct state *state, void *data)
{
    struct sweep *sweep = data;
    return retention_step(state, now_seconds(), &sweep->more);
}

static void
on_swept(void *data, int result)
{
    struct sweep *sweep = data;
    struct ledger *ledger = sweep->ledger;
    if (result < 0 && result != -ECANCELED) {
        log_warning("what is older than quarantine_days could not be deleted: %s",
                    g_strerror(-result));
    }
    if (ledger != NULL) {
        ledger->sweep = NULL;
        again(ledger->expiry, sweep->more ? EXPIRY_PAUSE_US : EXPIRY_SECONDS * G_USEC_PER_SEC);
    }
    g_free(sweep);
}

static int
on_expiry(sd_event_source *source, uint64_t usec, void *data)
{
    struct ledger *ledger = data;
    (void)source;
    (void)usec;
    ledger->sweep = g_new0(struct sweep, 1);
    ledger->sweep->ledger = ledger;
    storage_submit_background(ledger->storage, sweep_work, on_swept, ledger->sweep);
    return 0;
}

int
ledger_new(sd_event *event, struct storage *storage, struct ledger **ret)
{
    struct ledger *ledger = g_new0(struct ledger, 1);
    ledger->event = event;
    ledger->storage = storage;
    ledger->page = page_new(ledger);
    int rc = sd_event_add_time_relative(event, &ledger->timer, CLOCK_MONOTONIC,
                                        LEDGER_SECONDS * G_USEC_PER_SEC, 0, on_timer, ledger);
    if (rc >= 0) {
        rc = sd_event_add_time_relative(event, &ledger->expiry, CLOCK_MONOTONIC, EXPIRY_PAUSE_US, 0,
                                        on_expiry, ledger);
    }
    if (rc < 0) {
        ledger_free(ledger);
        return rc;
    }
    *ret = ledger;
    return 0;
}

void
ledger_free(struct ledger *ledger)
{
    if (ledger == NULL) {
        return;
    }
    if (ledger->writing != NULL) {
        ledger->writing->ledger = NULL;
        ledger->writing = NULL;
    }
    page_write(ledger);
    if (ledger->writing != NULL) {
        ledger->writing->ledger = NULL;
    }
    if (ledger->sweep != NULL) {
        ledger->sweep->ledger = NULL;
    }
    page_free(ledger->page);
    sd_event_source_disable_unref(ledger->timer);
    sd_event_source_disable_unref(ledger->expiry);
    g_free(ledger);
}
