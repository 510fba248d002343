/* SPDX-License-Identifier: GPL-2.0-only */
/* postern signatures list, show, status */
#include "signatures-commands.h"

#include <stdio.h>
#include <string.h>

#include "ask.h"
#include "board.h"
#include "json-file.h"
#include "precedence.h"
#include "terminal.h"
#include "text.h"
#include "update-files.h"

#define SECONDS_PER_DAY 86400
#define UPDATE_MAX (1024 * 1024)
/* A round under way takes update_timeout for each source. */
#define OVERDUE_SECONDS 7200

json_t *
signatures_json(const struct store_entry *entry)
{
    const struct record *record = &entry->record;
    json_t *object =
        json_pack("{s:s, s:s, s:I, s:s?, s:I, s:i, s:b, s:b, s:b, s:s?}", "generation", entry->name,
                  "state", record_state_word(record->state), "since", (json_int_t)record->since,
                  "reason", record->reason, "adopted", (json_int_t)record->adopted, "trials",
                  (int)record->trials, "current", entry->is_current, "pinned", entry->is_pinned,
                  "present", entry->manifest != NULL, "damage", entry->damage);
    if (record->trial.signatures > 0) {
        json_object_set_new(object, "trial", record_trial_json(&record->trial));
    }
    if (entry->manifest != NULL) {
        json_object_set_new(object, "files", json_integer(entry->manifest->files->len));
        json_object_set_new(object, "bytes",
                            json_integer((json_int_t)manifest_bytes(entry->manifest)));
        json_object_set_new(object, "created", json_integer(entry->manifest->created));
        json_object_set_new(object, "time", json_integer(manifest_time(entry->manifest)));
    }
    return object;
}

static char *
marks_of(const struct store_entry *entry)
{
    return g_strdup(entry->damage != NULL ? entry->is_current ? "in use, damaged" : "damaged"
                    : entry->is_current && entry->is_pinned ? "in use, pinned"
                    : entry->is_current                     ? "in use"
                    : entry->is_pinned                      ? "pinned"
                    : entry->manifest == NULL               ? "files gone"
                                                            : "");
}

static void
list_row(struct table *table, const struct store_entry *entry)
{
    const struct manifest *manifest = entry->manifest;
    char *row[] = {
        g_strdup(entry->name),
        g_strdup(record_state_word(entry->record.state)),
        terminal_time(entry->record.since),
        manifest == NULL ? g_strdup("-") : terminal_time(manifest_time(manifest)),
        manifest == NULL ? g_strdup("-") : g_strdup_printf("%u", manifest->files->len),
        manifest == NULL ? g_strdup("-") : terminal_size(manifest_bytes(manifest)),
        marks_of(entry),
        entry->damage != NULL          ? text_escape(entry->damage, 200)
        : entry->record.reason != NULL ? text_escape(entry->record.reason, 200)
                                       : g_strdup(""),
        NULL,
    };
    table_add(table, g_memdup2(row, sizeof row));
}

int
signatures_list(struct cli *cli, int argc, char **argv)
{
    static const char *const titles[] = {"GENERATION", "STATE", "SINCE",  "NEWEST", "FILES",
                                         "SIZE",       "",      "REASON", NULL};
    if (!cli_options(cli, NULL, "",
                     "The generations on this node, newest first; those that were rejected too, "
                     "when their files are gone.",
                     &argc, &argv)) {
        return CLI_ERROR;
    }
    g_autoptr(store_t) store = signatures_store(cli, FALSE);
    if (store == NULL) {
        return CLI_ERROR;
    }
    g_autoptr(GPtrArray) list = store_list(store);
    json_t *all = json_array();
    struct table *table = table_new(titles);
    for (guint i = 0; i < list->len; i++) {
        list_row(table, g_ptr_array_index(list, i));
        json_array_append_new(all, signatures_json(g_ptr_array_index(list, i)));
    }
    if (cli->json) {
        table_free(table);
        signatures_print(all);
        return CLI_OK;
    }
    json_decref(all);
    if (list->len == 0) {
        table_free(table);
        puts("None yet: `postern signatures update` fetches signatures, `add` installs files.");
        return CLI_OK;
    }
    table_print(table, stdout);
    return CLI_OK;
}

static json_t *
file_json(const struct manifest_file *file)
{
    return json_pack("{s:s, s:I, s:s, s:s, s:I, s:i, s:I, s:I}", "file", file->name, "size",
                     (json_int_t)file->size, "sha256", file->sha256, "origin", file->origin, "time",
                     (json_int_t)file->time, "version", (int)file->version, "signatures",
                     (json_int_t)file->signatures, "built", (json_int_t)file->built);
}

static void
show_files(const struct manifest *manifest)
{
    static const char *const titles[] = {"FILE", "VERSION", "SIGNATURES", "SIZE",
                                         "TIME", "SHA-256", "ORIGIN",     NULL};
    struct table *table = table_new(titles);
    for (guint i = 0; i < manifest->files->len; i++) {
        const struct manifest_file *file = g_ptr_array_index(manifest->files, i);
        char *row[] = {
            text_escape(file->name, 100),
            file->version > 0 ? g_strdup_printf("%u", file->version) : g_strdup("-"),
            file->version > 0 ? g_strdup_printf("%" G_GUINT64_FORMAT, file->signatures)
                              : g_strdup("-"),
            terminal_size(file->size),
            terminal_time(file->built > 0 ? file->built : file->time),
            g_strndup(file->sha256, 16),
            text_escape(file->origin, 200),
            NULL,
        };
        table_add(table, g_memdup2(row, sizeof row));
    }
    table_print(table, stdout);
}

static int
show_json(const struct store_entry *entry, const char *verified)
{
    json_t *object = signatures_json(entry);
    json_t *files = json_array();
    for (guint i = 0; entry->manifest != NULL && i < entry->manifest->files->len; i++) {
        json_array_append_new(files, file_json(g_ptr_array_index(entry->manifest->files, i)));
    }
    json_object_set_new(object, "identity", json_string(entry->record.identity));
    json_object_set_new(object, "contents", files);
    json_object_set_new(object, "wrong", verified != NULL ? json_string(verified) : json_null());
    signatures_print(object);
    return verified != NULL ? CLI_FOUND : CLI_OK;
}

static int
show_text(const struct store_entry *entry, const char *wrong)
{
    g_autofree char *since = terminal_time(entry->record.since);
    g_autofree char *marks = marks_of(entry);
    g_autofree char *reason = text_escape(entry->record.reason, 300);
    printf("Generation %s\nIdentity   %s\nState      %s since %s%s%s\n", entry->name,
           entry->record.identity, record_state_word(entry->record.state), since,
           *marks != '\0' ? ", " : "", marks);
    if (entry->record.reason != NULL) {
        printf("Reason     %s\n", reason);
    }
    if (entry->record.trial.signatures > 0) {
        const struct record_trial *trial = &entry->record.trial;
        g_autofree char *memory = terminal_size(trial->memory);
        printf("Trial      %" G_GUINT64_FORMAT " signatures, %s; processor time: %.1f s to load, "
               "%.2f s for the clean samples\n",
               trial->signatures, memory, (double)trial->load_us / G_USEC_PER_SEC,
               (double)trial->scan_us / G_USEC_PER_SEC);
    }
    if (entry->manifest != NULL) {
        show_files(entry->manifest);
    }
    if (wrong != NULL) {
        g_autofree char *bad = terminal_colour(COLOUR_BAD, wrong);
        puts(bad);
    }
    return wrong != NULL ? CLI_FOUND : CLI_OK;
}

int
signatures_show(struct cli *cli, int argc, char **argv)
{
    gboolean verify = FALSE;
    g_autofree char *error = NULL;
    g_autofree char *wrong = NULL;
    const GOptionEntry entries[] = {
        {"verify", 0, 0, G_OPTION_ARG_NONE, &verify, "Read all files and compare the hashes", NULL},
        {NULL, 0, 0, G_OPTION_ARG_NONE, NULL, NULL, NULL},
    };
    if (!cli_options(cli, entries, "[GENERATION]",
                     "What a generation consists of, and where it came from; without a name, the "
                     "current one.",
                     &argc, &argv)) {
        return CLI_ERROR;
    }
    if (argc > 2) {
        return cli_fail("signatures show needs one generation; see `postern signatures list`");
    }
    g_autoptr(store_t) store = signatures_store(cli, FALSE);
    if (store == NULL) {
        return CLI_ERROR;
    }
    g_autoptr(store_entry_t) entry = store_find(store, argc > 1 ? argv[1] : "current", &error);
    if (entry == NULL) {
        return cli_fail("%s", error);
    }
    if (verify) {
        (void)store_verify(store, entry->name, &wrong);
    } else if (entry->damage != NULL) {
        wrong = text_escape(entry->damage, 300);
    }
    return cli->json ? show_json(entry, wrong) : show_text(entry, wrong);
}

/* The newest that waits for its trial or adoption; NULL: none. Borrowed. */
static const struct store_entry *
waiting_of(GPtrArray *list)
{
    for (guint i = 0; i < list->len; i++) {
        const struct store_entry *entry = g_ptr_array_index(list, i);
        if (entry->manifest != NULL && !entry->is_current &&
            (entry->record.state == RECORD_FETCHED || entry->record.state == RECORD_TRYING ||
             entry->record.state == RECORD_TRIED)) {
            return entry;
        }
    }
    return NULL;
}

static const struct store_entry *
marked(GPtrArray *list, gboolean pinned)
{
    for (guint i = 0; i < list->len; i++) {
        const struct store_entry *entry = g_ptr_array_index(list, i);
        if (pinned ? entry->is_pinned : entry->is_current) {
            return entry;
        }
    }
    return NULL;
}

const struct store_entry *
signatures_rejected(GPtrArray *list)
{
    const struct store_entry *current = marked(list, FALSE);
    const struct store_entry *found = NULL;
    for (guint i = 0; i < list->len; i++) {
        const struct store_entry *entry = g_ptr_array_index(list, i);
        gboolean counts = entry->record.state == RECORD_REJECTED &&
                          (current == NULL || entry->record.since >= current->record.adopted);
        if (counts && (found == NULL || entry->record.since > found->record.since)) {
            found = entry;
        }
    }
    return found;
}

static void
print_sources(const json_t *update)
{
    static const char *const titles[] = {"SOURCE", "RESULT", "LAST GOOD", "", NULL};
    struct table *table = table_new(titles);
    size_t i;
    json_t *source;
    json_array_foreach(json_object_get(update, "sources"), i, source)
    {
        gint64 good = ask_number(source, "succeeded");
        gboolean is_local = g_strcmp0(ask_text(source, "name"), UPDATE_DIRECTORY) == 0;
        char *row[] = {
            text_escape(ask_text(source, "origin"), 200),
            text_escape(ask_text(source, "result"), 20),
            good > 0   ? terminal_time(good)
            : is_local ? g_strdup("-")
                       : g_strdup("never"),
            ask_text(source, "error") != NULL ? text_escape(ask_text(source, "error"), 300)
                                              : g_strdup(""),
            NULL,
        };
        table_add(table, g_memdup2(row, sizeof row));
    }
    table_print(table, stdout);
}

static void
print_update(const json_t *update)
{
    if (ask_number(update, "ended") == 0) {
        puts("Update     never: postern-update has not looked yet");
        return;
    }
    g_autofree char *ended = terminal_time(ask_number(update, "ended"));
    g_autofree char *result = text_escape(ask_text(update, "result"), 20);
    printf("Update     %s: %s", ended, result);
    gint64 next = ask_number(update, "next");
    if (next > 0) {
        g_autofree char *when = terminal_time(next);
        gboolean is_late = next + OVERDUE_SECONDS < g_get_real_time() / G_USEC_PER_SEC;
        g_autofree char *word = terminal_colour(is_late ? COLOUR_DOUBT : COLOUR_GOOD,
                                                is_late ? "the next one was due" : "next");
        printf("; %s %s", word, when);
    }
    putchar('\n');
    if (ask_text(update, "error") != NULL) {
        g_autofree char *error = text_escape(ask_text(update, "error"), 500);
        printf("           %s\n", error);
    }
    print_sources(update);
}

/* In a cluster: who has which signatures from whom. */
static void
print_share(const json_t *share)
{
    g_autofree char *from = text_escape(ask_text(share, "from"), 100);
    g_autofree char *error = text_escape(ask_text(share, "error"), 300);
    const char *role = ask_text(share, "role");
    if (role == NULL) {
        return;
    }
    if (strcmp(role, "gives") == 0) {
        printf("Shared     this node gives signatures to the others");
    } else if (ask_text(share, "from") != NULL) {
        printf("Shared     this node takes signatures from %s", from);
    } else {
        printf("Shared     this node takes signatures, and nobody gave any yet");
    }
    printf("%s%s\n", ask_text(share, "error") != NULL ? ": " : "",
           ask_text(share, "error") != NULL ? error : "");
}

static void
print_entry(const char *title, const struct store_entry *entry, gint64 now, gint64 limit)
{
    if (entry == NULL) {
        printf("%-10s none\n", title);
        return;
    }
    gint64 time = entry->manifest != NULL ? manifest_time(entry->manifest) : 0;
    g_autofree char *newest = terminal_time(time);
    gint64 days = MAX(now - time, 0) / SECONDS_PER_DAY;
    gboolean is_old = limit > 0 && now - time > limit;
    g_autofree char *age =
        time == 0
            ? text_escape(entry->damage != NULL ? entry->damage : "its files are gone", 200)
            : g_strdup_printf("signatures of %s, %" G_GINT64_FORMAT " day(s) old", newest, days);
    g_autofree char *shown = terminal_colour(time == 0 || is_old ? COLOUR_DOUBT : COLOUR_GOOD, age);
    printf("%-10s %s, %s, %s\n", title, entry->name, record_state_word(entry->record.state), shown);
}

static void
print_last(const json_t *last)
{
    g_autofree char *generation = text_escape(ask_text(last, "generation"), 40);
    g_autofree char *outcome = text_escape(ask_text(last, "outcome"), 20);
    g_autofree char *reason = text_escape(ask_text(last, "reason"), 300);
    g_autofree char *time = terminal_time(ask_number(last, "time"));
    gboolean good = g_strcmp0(ask_text(last, "outcome"), "tried") == 0;
    g_autofree char *word = terminal_colour(good ? COLOUR_GOOD : COLOUR_BAD, outcome);
    printf("Trial      last %s: %s %s%s%s\n", time, generation, word,
           ask_text(last, "reason") != NULL ? ": " : "",
           ask_text(last, "reason") != NULL ? reason : "");
}

/* What the engine tries now, and what came of the last one. */
static void
print_trial(const json_t *engine)
{
    const json_t *trial = json_object_get(engine, "trial");
    const char *state = ask_text(trial, "state");
    if (state != NULL && strcmp(state, "idle") != 0) {
        g_autofree char *word = text_escape(state, 20);
        g_autofree char *generation = text_escape(ask_text(trial, "generation"), 40);
        g_autofree char *since = terminal_time(ask_number(trial, "since"));
        g_autofree char *reason = text_escape(ask_text(trial, "reason"), 300);
        printf("Trial      %s: %s since %s", generation, word, since);
        if (ask_number(trial, "total") > 0) {
            printf(", %" G_GINT64_FORMAT " of %" G_GINT64_FORMAT, ask_number(trial, "done"),
                   ask_number(trial, "total"));
        }
        printf("%s%s\n", ask_text(trial, "reason") != NULL ? ": " : "",
               ask_text(trial, "reason") != NULL ? reason : "");
    }
    const json_t *last = json_object_get(trial, "last");
    if (json_is_object(last) && g_strcmp0(ask_text(last, "outcome"), "rejected") != 0) {
        print_last(last);
    }
}

/* What is in use is not always what is loaded. */
static const char *
engine_error(const json_t *engine)
{
    return g_strcmp0(ask_text(engine, "state"), "failed") == 0 ? ask_text(engine, "error") : NULL;
}

static void
print_engine(const json_t *engine)
{
    if (engine_error(engine) != NULL) {
        g_autofree char *error = text_escape(engine_error(engine), 400);
        g_autofree char *text = g_strdup_printf("cannot load it: %s", error);
        g_autofree char *shown = terminal_colour(COLOUR_BAD, text);
        printf("Engine     %s\n", shown);
    }
}

/* What the engine puts in the place of what is in use, or would if it could. */
static void
print_adoption(const json_t *adoption)
{
    const char *text = ask_text(adoption, "text");
    const char *why = ask_text(adoption, "why");
    if (text != NULL) {
        g_autofree char *generation = text_escape(ask_text(adoption, "generation"), 40);
        g_autofree char *safe = text_escape(text, 100);
        g_autofree char *reason = text_escape(why, 300);
        printf("Adoption   %s: %s%s%s\n", generation, safe, why != NULL ? ": " : "",
               why != NULL ? reason : "");
    }
}

static void
print_rejected(const struct store_entry *entry)
{
    g_autofree char *time = terminal_time(entry->record.since);
    g_autofree char *reason = text_escape(entry->record.reason, 300);
    g_autofree char *word = terminal_colour(COLOUR_BAD, "rejected");
    printf("Rejected   %s: %s %s%s%s\n", entry->name, word, time,
           entry->record.reason != NULL ? ": " : "", entry->record.reason != NULL ? reason : "");
}

/* What postern-share says; NULL when it does not run here. A new reference. */
static json_t *
shared(const struct settings *settings)
{
    json_t *share = board_load(settings);
    gint64 age = share == NULL ? -1 : board_age(share, board_now());
    if (age < 0 || age > precedence_silence(settings)) {
        json_decref(share);
        return NULL;
    }
    return share;
}

static json_t *
entry_or_null(const struct store_entry *entry)
{
    return entry == NULL ? json_null() : signatures_json(entry);
}

int
signatures_status(struct cli *cli, int argc, char **argv)
{
    if (!cli_options(cli, NULL, "",
                     "What is in use, how old it is, what waits, and what was fetched last.", &argc,
                     &argv)) {
        return CLI_ERROR;
    }
    g_autoptr(store_t) store = signatures_store(cli, FALSE);
    if (store == NULL) {
        return CLI_ERROR;
    }
    g_autoptr(GPtrArray) list = store_list(store);
    g_autofree char *path = g_build_filename(cli->settings->update_dir, STATUS_FILE, NULL);
    json_t *update = json_file_load(path, UPDATE_MAX);
    json_t *engine = signatures_engine(cli);
    json_t *share = shared(cli->settings);
    const struct store_entry *current = marked(list, FALSE);
    const struct store_entry *rejected = signatures_rejected(list);
    if (cli->json) {
        signatures_print(json_pack(
            "{s:o, s:o, s:o, s:o, s:O?, s:O?, s:O?, s:O?, s:s?}", "current", entry_or_null(current),
            "waiting", entry_or_null(waiting_of(list)), "pinned", entry_or_null(marked(list, TRUE)),
            "rejected", entry_or_null(rejected), "update", update, "trial",
            json_object_get(engine, "trial"), "adoption", json_object_get(engine, "adoption"),
            "share", share, "engine_error", engine_error(engine)));
    } else {
        gint64 now = g_get_real_time() / G_USEC_PER_SEC;
        gint64 limit = (gint64)cli->settings->age_limit;
        print_entry("In use", current, now, limit);
        print_engine(engine);
        print_entry("Waiting", waiting_of(list), now, limit);
        if (marked(list, TRUE) != NULL) {
            print_entry("Pinned", marked(list, TRUE), now, limit);
        }
        print_trial(engine);
        print_adoption(json_object_get(engine, "adoption"));
        if (rejected != NULL) {
            print_rejected(rejected);
        }
        print_share(share);
        print_update(update);
    }
    gboolean good = current != NULL && current->manifest != NULL && engine_error(engine) == NULL;
    json_decref(share);
    json_decref(update);
    json_decref(engine);
    return good ? CLI_OK : CLI_FOUND;
}
