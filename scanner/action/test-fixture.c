/* SPDX-License-Identifier: GPL-2.0-only */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "test-fixture.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "format.h"
#include "quarantine.h"

int
fixture_setup(void **data)
{
    struct fixture *f = g_new0(struct fixture, 1);
    g_autofree char *error = NULL;
    f->fresh = FORMAT_NEWEST;
    f->dir = g_dir_make_tmp("postern-state-XXXXXX", NULL);
    g_autofree char *conf = g_build_filename(f->dir, "postern.conf", NULL);
    g_autofree char *text = g_strdup_printf("state_dir = \"%s/state\"\n"
                                            "control_socket = \"%s/control.sock\"\n"
                                            "engine_dir = \"%s/engine\"\n"
                                            "state_low_water = \"4K\"\n",
                                            f->dir, f->dir, f->dir);
    assert_true(g_file_set_contents(conf, text, -1, NULL));
    f->settings = settings_load(conf, &error);
    assert_non_null(f->settings);
    assert_int_equal(mkdir(f->settings->state_dir, 0700), 0);
    assert_int_equal(mkdir(f->settings->engine_dir, 0755), 0);
    *data = f;
    return 0;
}

int
fixture_teardown(void **data)
{
    struct fixture *f = *data;
    char *command[] = {(char[]){"rm"}, (char[]){"-rf"}, f->dir, NULL};
    g_spawn_sync(NULL, command, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, NULL, NULL, NULL, NULL);
    settings_free(f->settings);
    g_free(f->dir);
    g_free(f);
    return 0;
}

struct state *
fixture_open(struct fixture *f)
{
    struct state *state = NULL;
    g_autofree char *error = NULL;
    int rc = state_open(f->settings, f->fresh, &state, &error);
    if (rc < 0) {
        fail_msg("state_open: %s", error);
    }
    return state;
}

void
fixture_close(struct state *state)
{
    state_close(state);
}

struct envelope *
fixture_envelope(const char *sender, const char *one, const char *two)
{
    struct envelope *envelope = envelope_new();
    envelope->sender = g_strdup(sender);
    envelope->parameters = g_strdup(FIXTURE_MAIL);
    envelope_add_recipient(envelope, g_strdup(one), g_strdup(FIXTURE_RCPT));
    envelope_add_recipient(envelope, g_strdup(two), NULL);
    envelope->client_name = g_strdup("h.test");
    envelope->client_addr = g_strdup("192.0.2.1");
    return envelope;
}

static char *
content(const char *subject)
{
    char *bytes = g_malloc(FIXTURE_SIZE);
    size_t n = strlen(subject);
    for (size_t i = 0; i < FIXTURE_SIZE; i++) {
        bytes[i] = subject[i % n];
    }
    return bytes;
}

int
fixture_store(struct state *state, const char *subject, const char *queue_id)
{
    g_autoptr(envelope_t) envelope = fixture_envelope("from@x.test", "to@x.test", "cc@x.test");
    g_autoptr(facts_t) facts = facts_new();
    g_autofree char *bytes = content(subject);
    g_autofree char *hash =
        g_compute_checksum_for_data(G_CHECKSUM_SHA256, (guchar *)bytes, FIXTURE_SIZE);
    struct decision decision;
    int fd = memfd_create("message", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    assert_int_equal(write(fd, bytes, FIXTURE_SIZE), FIXTURE_SIZE);
    envelope->subject = g_strdup(subject);
    envelope->queue_id = g_strdup(queue_id);
    facts->complete = true;
    facts_add_detection(facts, "Test.Virus");
    policy_decide(envelope, facts, NULL, &decision);
    struct quarantine_entry entry = {
        .envelope = envelope, .facts = facts, .decision = &decision, .body_hash = hash, .fd = fd};
    int rc = quarantine_store(state, &entry);
    decision_clear(&decision);
    close(fd);
    return rc;
}

void
fixture_assert_content(int fd, const char *subject)
{
    g_autofree char *bytes = content(subject);
    FILE *file = fdopen(dup(fd), "r");
    char *line = NULL;
    size_t room = 0;
    assert_true(getline(&line, &room, file) > 0);
    free(line);
    g_autofree char *got = g_malloc(FIXTURE_SIZE + 1);
    assert_int_equal(fread(got, 1, FIXTURE_SIZE + 1, file), FIXTURE_SIZE);
    assert_memory_equal(got, bytes, FIXTURE_SIZE);
    fclose(file);
}

int
fixture_list(struct state *state, gint64 before, int limit, json_t **ret_rows)
{
    const struct listing_filter all = {0};
    gint64 next = 0;
    return quarantine_list(state, &all, before, limit, ret_rows, &next);
}

int
fixture_show(struct state *state, const char *key, json_t **ret_meta, int *ret_fd)
{
    return quarantine_show(state, key, 0, ret_meta, ret_fd);
}

int
fixture_attempts(struct state *state, const char *subject)
{
    json_t *rows = NULL;
    json_t *row;
    size_t i;
    int attempts = -1;
    assert_int_equal(fixture_list(state, 0, 1000, &rows), 0);
    json_array_foreach(rows, i, row)
    {
        if (g_strcmp0(json_string_value(json_object_get(row, "subject")), subject) == 0) {
            assert_int_equal(attempts, -1);
            attempts = (int)json_integer_value(json_object_get(row, "attempts"));
        }
    }
    json_decref(rows);
    return attempts;
}

int
fixture_missing(struct state *state)
{
    json_t *rows = NULL;
    json_t *row;
    size_t i;
    int missing = 0;
    assert_int_equal(fixture_list(state, 0, 1000, &rows), 0);
    json_array_foreach(rows, i, row)
    {
        missing += json_is_true(json_object_get(row, "missing"));
    }
    json_decref(rows);
    return missing;
}

static int
count_files(const char *dir, const char *prefix, const char *suffix, char **ret_first)
{
    GDir *handle = g_dir_open(dir, 0, NULL);
    const char *name;
    int n = 0;
    assert_non_null(handle);
    while ((name = g_dir_read_name(handle)) != NULL) {
        if (!g_str_has_prefix(name, prefix) || !g_str_has_suffix(name, suffix)) {
            continue;
        }
        if (n++ == 0 && ret_first != NULL) {
            *ret_first = g_build_filename(dir, name, NULL);
        }
    }
    g_dir_close(handle);
    return n;
}

int
fixture_files(const struct fixture *f, const char *suffix)
{
    g_autofree char *dir = g_build_filename(f->dir, "state/quarantine", NULL);
    return count_files(dir, "", suffix, NULL);
}

char *
fixture_first_file(const struct fixture *f)
{
    char *first = NULL;
    g_autofree char *dir = g_build_filename(f->dir, "state/quarantine", NULL);
    assert_true(count_files(dir, "", ".eml", &first) > 0);
    return first;
}

int
fixture_kept_aside(const struct fixture *f)
{
    g_autofree char *dir = g_build_filename(f->dir, "state", NULL);
    return count_files(dir, "state.db.damaged-", "Z", NULL);
}

static char *
key_of(unsigned i)
{
    return g_strdup_printf("%064x", i);
}

char *
fixture_path(const struct fixture *f, unsigned i)
{
    g_autofree char *key = key_of(i);
    return g_strdup_printf("%s/state/quarantine/%s.eml", f->dir, key);
}

void
fixture_put(const struct fixture *f, unsigned i, const char *text)
{
    g_autofree char *key = key_of(i);
    g_autofree char *path = fixture_path(f, i);
    g_auto(GStrv) pieces = g_strsplit(text, "%s", 2);
    g_autofree char *whole = g_strjoinv(key, pieces);
    assert_true(g_file_set_contents(path, whole, -1, NULL));
}
