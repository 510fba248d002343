/* SPDX-License-Identifier: GPL-2.0-only */
#include "strikes.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "db.h"
#include "log.h"
#include "state.h"

/* So much of a header tells messages apart. */
#define HEADER_MAX 65536

struct strikes {
    const struct settings *settings;
    struct storage *storage;
    GHashTable *entries; /* key -> struct entry *, owned */
    GHashTable *bodies;  /* set of body hashes: who is not in it needs no key */
};

struct entry {
    char *key;
    char *body;
    guint64 count;
    gint64 last; /* Unix seconds */
};

/* --- what a message is known by ------------------------------------------------------------- */

/* Added or renewed on the way, so a retry may differ in them. A name that ends in "-" is a prefix.
 */
static const char *const volatile_names[] = {
    "Received", "Received-SPF",           "Return-Path",   "Message-ID",
    "Date",     "Delivered-To",           "X-Original-To", "DKIM-Signature",
    "ARC-",     "Authentication-Results", "X-Postern",     "X-Postern-",
};

static gboolean
is_volatile(const char *line, gsize len)
{
    const char *colon = memchr(line, ':', len);
    gsize name = colon == NULL ? 0 : (gsize)(colon - line);
    for (size_t i = 0; i < G_N_ELEMENTS(volatile_names); i++) {
        gsize known = strlen(volatile_names[i]);
        gboolean is_prefix = volatile_names[i][known - 1] == '-';
        if ((is_prefix ? name >= known : name == known) &&
            g_ascii_strncasecmp(line, volatile_names[i], known) == 0) {
            return TRUE;
        }
    }
    return FALSE;
}

/* The lines up to the empty one; a line that begins with a space belongs to the one before. */
static void
digest_header(GChecksum *sum, const char *text, gsize len)
{
    gboolean skip = FALSE;
    while (len > 0) {
        const char *newline = memchr(text, '\n', len);
        gsize line = newline == NULL ? len : (gsize)(newline - text) + 1;
        if (*text == '\r' || *text == '\n') {
            return;
        }
        if (*text != ' ' && *text != '\t') {
            skip = is_volatile(text, line);
        }
        if (!skip) {
            g_checksum_update(sum, (const guchar *)text, (gssize)line);
        }
        text += line;
        len -= line;
    }
}

/*
 * What a message is known by: SHA-256 over BODY_HASH and the header in FD but for what changes on
 * the way (Received, Message-ID, Date, signatures, our own).
 */
static char *
make_key(const char *body_hash, int fd)
{
    g_autofree char *header = g_malloc(HEADER_MAX);
    g_autoptr(GChecksum) sum = g_checksum_new(G_CHECKSUM_SHA256);
    ssize_t n = pread(fd, header, HEADER_MAX, 0);
    g_checksum_update(sum, (const guchar *)body_hash, (gssize)strlen(body_hash));
    digest_header(sum, header, n > 0 ? (gsize)n : 0);
    return g_strdup(g_checksum_get_string(sum));
}

/* --- in memory ------------------------------------------------------------------------------ */

static void
entry_free(void *p)
{
    struct entry *entry = p;
    g_free(entry->key);
    g_free(entry->body);
    g_free(entry);
}

static gint64
now_seconds(void)
{
    return g_get_real_time() / G_USEC_PER_SEC;
}

/* As the table in the state does. */
static void
forget_oldest(struct strikes *strikes)
{
    GHashTableIter iter;
    void *p;
    const struct entry *oldest = NULL;
    guint same = 0; /* that have its body */
    g_hash_table_iter_init(&iter, strikes->entries);
    while (g_hash_table_iter_next(&iter, NULL, &p)) {
        const struct entry *entry = p;
        oldest = oldest == NULL || entry->last < oldest->last ? entry : oldest;
    }
    g_assert(oldest != NULL); /* only a full table forgets */
    g_hash_table_iter_init(&iter, strikes->entries);
    while (g_hash_table_iter_next(&iter, NULL, &p)) {
        same += strcmp(((const struct entry *)p)->body, oldest->body) == 0;
    }
    if (same == 1) {
        g_hash_table_remove(strikes->bodies, oldest->body);
    }
    g_hash_table_remove(strikes->entries, oldest->key);
}

/* Takes ENTRY over. */
static void
entry_remember(struct strikes *strikes, struct entry *entry)
{
    if (g_hash_table_size(strikes->entries) >= STRIKES_MAX &&
        !g_hash_table_contains(strikes->entries, entry->key)) {
        forget_oldest(strikes);
    }
    g_hash_table_add(strikes->bodies, g_strdup(entry->body));
    g_hash_table_replace(strikes->entries, entry->key, entry);
}

guint64
strikes_count(const struct strikes *strikes, const char *body_hash, int fd)
{
    if (!g_hash_table_contains(strikes->bodies, body_hash)) {
        return 0;
    }
    g_autofree char *key = make_key(body_hash, fd);
    const struct entry *entry = g_hash_table_lookup(strikes->entries, key);
    gint64 oldest = now_seconds() - (gint64)strikes->settings->poison_age;
    return entry == NULL || entry->last < oldest ? 0 : entry->count;
}

gboolean
strikes_are_enough(const struct strikes *strikes, guint64 count)
{
    return count >= strikes->settings->poison_strikes;
}

/* --- in the state --------------------------------------------------------------------------- */

/* One job of the storage thread, for which it alone has this. */
struct strike_work {
    struct strikes *strikes;
    gint64 oldest;
    struct entry *entry; /* to be added; NULL: only read */
    GPtrArray *found;    /* of struct entry * */
    strikes_done *done;
    void *data;
};

static int
table_expire(struct db *db, gint64 oldest)
{
    return db_run(db, "DELETE FROM strike WHERE last < ?1", DB_VALUES(DB_NUMBER(oldest)));
}

static int
table_add(struct db *db, const struct entry *entry)
{
    int rc = db_run(db,
                    "INSERT INTO strike(key, body, count, last) VALUES(?1, ?2, 1, ?3)"
                    " ON CONFLICT(key) DO UPDATE SET count = count + 1, last = ?3",
                    DB_VALUES(DB_TEXT(entry->key), DB_TEXT(entry->body), DB_NUMBER(entry->last)));
    if (rc == 0) {
        rc = db_run(db,
                    "DELETE FROM strike WHERE key IN"
                    " (SELECT key FROM strike ORDER BY last DESC, rowid DESC LIMIT -1 OFFSET ?1)",
                    DB_VALUES(DB_NUMBER(STRIKES_MAX)));
    }
    return rc;
}

/* KEY NULL: all. */
static int
table_read(struct db *db, const char *key, GPtrArray *found)
{
    g_autoptr(db_statement) statement = NULL;
    int rc = db_prepare(db, &statement,
                        "SELECT key, body, count, last FROM strike WHERE ?1 IS NULL OR key = ?1",
                        DB_VALUES(DB_TEXT(key)));
    if (rc < 0) {
        return rc;
    }
    while ((rc = db_step(db, statement)) == 1) {
        struct entry *entry = g_new0(struct entry, 1);
        entry->key = g_strdup(db_text(statement, 0));
        entry->body = g_strdup(db_text(statement, 1));
        entry->count = (guint64)db_number(statement, 2);
        entry->last = db_number(statement, 3);
        g_ptr_array_add(found, entry);
    }
    return rc;
}

static int
work_run(struct state *state, void *data)
{
    struct strike_work *work = data;
    struct db *db = state_db(state);
    int rc = state_begin(state);
    if (rc < 0) {
        return rc;
    }
    rc = table_expire(db, work->oldest);
    if (rc == 0 && work->entry != NULL) {
        rc = table_add(db, work->entry);
    }
    if (rc == 0) {
        rc = table_read(db, work->entry == NULL ? NULL : work->entry->key, work->found);
    }
    return state_end(state, rc);
}

static void
work_done(void *data, int result)
{
    struct strike_work *work = data;
    guint64 count = 0;
    for (guint i = 0; result == 0 && i < work->found->len; i++) {
        struct entry *entry = g_steal_pointer(&g_ptr_array_index(work->found, i));
        count = entry->count;
        entry_remember(work->strikes, entry);
    }
    if (work->done != NULL) {
        work->done(work->data, result, count);
    } else if (result < 0 && result != -ECANCELED) {
        log_warning("the strikes in state.db cannot be read: %s", g_strerror(-result));
    }
    g_clear_pointer(&work->entry, entry_free);
    g_ptr_array_unref(work->found);
    g_free(work);
}

static void
found_free(void *p)
{
    if (p != NULL) {
        entry_free(p);
    }
}

static void
work_submit(struct strikes *strikes, struct entry *entry, strikes_done *done, void *data)
{
    struct strike_work *work = g_new0(struct strike_work, 1);
    work->strikes = strikes;
    work->oldest = now_seconds() - (gint64)strikes->settings->poison_age;
    work->entry = entry;
    work->found = g_ptr_array_new_with_free_func(found_free);
    work->done = done;
    work->data = data;
    storage_submit(strikes->storage, work_run, work_done, work);
}

struct strikes *
strikes_new(const struct settings *settings, struct storage *storage)
{
    struct strikes *strikes = g_new0(struct strikes, 1);
    strikes->settings = settings;
    strikes->storage = storage;
    strikes->entries = g_hash_table_new_full(g_str_hash, g_str_equal, NULL, entry_free);
    strikes->bodies = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    work_submit(strikes, NULL, NULL, NULL);
    return strikes;
}

void
strikes_free(struct strikes *strikes)
{
    if (strikes != NULL) {
        g_hash_table_unref(strikes->entries);
        g_hash_table_unref(strikes->bodies);
        g_free(strikes);
    }
}

void
strikes_add(struct strikes *strikes, const char *body_hash, int fd, strikes_done *done, void *data)
{
    struct entry *entry = g_new0(struct entry, 1);
    entry->key = make_key(body_hash, fd);
    entry->body = g_strdup(body_hash);
    entry->last = now_seconds();
    work_submit(strikes, entry, done, data);
}
