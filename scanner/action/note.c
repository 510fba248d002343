/* SPDX-License-Identifier: GPL-2.0-only */
#include "note.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <jansson.h>

#include "copy.h"
#include "durable.h"

/* A list of recipients as long as a kept message may have. */
#define NOTE_MAX_BYTES (8U * 1024U * 1024U)
#define NAME_SIZE (COPY_KEY_LENGTH + sizeof NOTE_SUFFIX)

static void
name_of(char name[NAME_SIZE], const char *key)
{
    snprintf(name, NAME_SIZE, "%s" NOTE_SUFFIX, key);
}

/* Returns NULL when ARRAY is no list of texts. */
static char **
recipients_parse(const json_t *array)
{
    size_t i;
    const json_t *value;
    g_autoptr(GPtrArray) list = g_ptr_array_new_with_free_func(g_free);
    json_array_foreach((json_t *)(uintptr_t)array, i, value)
    {
        if (!json_is_string(value)) {
            return NULL;
        }
        g_ptr_array_add(list, g_strdup(json_string_value(value)));
    }
    if (list->len == 0) {
        return NULL;
    }
    g_ptr_array_add(list, NULL);
    return (char **)g_ptr_array_free(g_steal_pointer(&list), FALSE);
}

static int
note_parse(json_t *json, struct note *ret)
{
    int version = 0;
    json_int_t attempts = 0;
    json_int_t released = 0;
    json_int_t since = 0;
    json_int_t uid = 0;
    json_t *to = NULL;
    const char *answer = NULL;
    struct note note = {0};
    if (json_unpack(json, "{s:i, s:I, s:I, s:b, s:I, s:I, s?o, s?s}", "version", &version,
                    "attempts", &attempts, "released", &released, "pending", &note.pending, "since",
                    &since, "uid", &uid, "to", &to, "answer", &answer) < 0 ||
        version != NOTE_VERSION || attempts < 0 || released < 0) {
        return -EBADMSG;
    }
    note.to = to == NULL ? NULL : recipients_parse(to);
    if (to != NULL && note.to == NULL) {
        return -EBADMSG;
    }
    note.attempts = attempts;
    note.released = released;
    note.since = since;
    note.uid = uid;
    note.answer = g_strdup(answer);
    *ret = note;
    return 0;
}

static int
text_read(int fd, GString *text)
{
    char chunk[4096];
    ssize_t n;
    while ((n = read(fd, chunk, sizeof chunk)) > 0 && text->len < NOTE_MAX_BYTES) {
        g_string_append_len(text, chunk, n);
    }
    return n < 0 ? -errno : 0;
}

int
note_read(int dirfd, const char *key, struct note *ret_note)
{
    char name[NAME_SIZE];
    g_autoptr(GString) text = g_string_new(NULL);
    name_of(name, key);
    int fd = openat(dirfd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0) {
        return errno == ELOOP ? -EBADMSG : -errno;
    }
    int rc = text_read(fd, text);
    close(fd);
    if (rc < 0) {
        return rc;
    }
    json_t *json = json_loadb(text->str, text->len, JSON_REJECT_DUPLICATES, NULL);
    rc = note_parse(json, ret_note);
    json_decref(json);
    return rc;
}

static json_t *
note_to_json(const struct note *note)
{
    json_t *json =
        json_pack("{s:i, s:I, s:I, s:b, s:I, s:I}", "version", NOTE_VERSION, "attempts",
                  (json_int_t)note->attempts, "released", (json_int_t)note->released, "pending",
                  note->pending, "since", (json_int_t)note->since, "uid", (json_int_t)note->uid);
    if (note->to != NULL) {
        json_t *to = json_array();
        for (char **one = note->to; *one != NULL; one++) {
            json_array_append_new(to, json_string(*one));
        }
        json_object_set_new(json, "to", to);
    }
    if (note->answer != NULL) {
        g_autofree char *valid = g_utf8_make_valid(note->answer, -1);
        json_object_set_new(json, "answer", json_string(valid));
    }
    return json;
}

int
note_write(int dirfd, const char *key, const struct note *note)
{
    char name[NAME_SIZE];
    name_of(name, key);
    json_t *json = note_to_json(note);
    char *text = json_dumps(json, JSON_COMPACT | JSON_ENSURE_ASCII);
    json_decref(json);
    if (text == NULL) {
        return -EINVAL;
    }
    const struct iovec pieces[] = {{text, strlen(text)}, {(char[]){"\n"}, 1}};
    int rc = durable_write(dirfd, name, pieces, 2, 0600);
    free(text);
    return rc;
}

int
note_remove(int dirfd, const char *key)
{
    char name[NAME_SIZE];
    name_of(name, key);
    return unlinkat(dirfd, name, 0) < 0 && errno != ENOENT ? -errno : 0;
}

void
note_clear(struct note *note)
{
    g_strfreev(note->to);
    g_free(note->answer);
    *note = (struct note){0};
}
