/* SPDX-License-Identifier: GPL-2.0-only */
#include "record.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <jansson.h>

#include "durable.h"
#include "json-file.h"

#define RECORD_MAX 65536
#define BIT(state) (1U << (state))

static const struct {
    const char *word;
    unsigned next;
} states[] = {
    [RECORD_FETCHED] = {"fetched", BIT(RECORD_TRYING) | BIT(RECORD_ADOPTED) | BIT(RECORD_REJECTED)},
    [RECORD_TRYING] = {"trying", BIT(RECORD_FETCHED) | BIT(RECORD_TRIED) | BIT(RECORD_REJECTED)},
    [RECORD_TRIED] = {"tried", BIT(RECORD_TRYING) | BIT(RECORD_ADOPTED) | BIT(RECORD_REJECTED)},
    [RECORD_ADOPTED] = {"adopted", BIT(RECORD_ADOPTED) | BIT(RECORD_REJECTED)},
    [RECORD_REJECTED] = {"rejected", BIT(RECORD_FETCHED) | BIT(RECORD_REJECTED)},
};

const char *
record_state_word(enum record_state state)
{
    return states[state].word;
}

gboolean
record_may_become(enum record_state from, enum record_state to)
{
    return (states[from].next & BIT(to)) != 0;
}

void
record_clear(struct record *record)
{
    g_clear_pointer(&record->reason, g_free);
}

static guint64
amount(const json_t *object, const char *key)
{
    return (guint64)MAX(json_integer_value(json_object_get(object, key)), 0);
}

static void
parse_trial(const json_t *object, struct record_trial *ret)
{
    ret->signatures = amount(object, "signatures");
    ret->memory = amount(object, "memory");
    ret->load_us = amount(object, "load_us");
    ret->scan_us = amount(object, "scan_us");
}

json_t *
record_trial_json(const struct record_trial *trial)
{
    return json_pack("{s:I, s:I, s:I, s:I}", "signatures", (json_int_t)trial->signatures, "memory",
                     (json_int_t)trial->memory, "load_us", (json_int_t)trial->load_us, "scan_us",
                     (json_int_t)trial->scan_us);
}

static int
parse(json_t *object, struct record *ret)
{
    const char *word = json_string_value(json_object_get(object, "state"));
    const char *identity = json_string_value(json_object_get(object, "identity"));
    if (word == NULL || identity == NULL || strlen(identity) != 64) {
        return -EBADMSG;
    }
    for (size_t i = 0; i < G_N_ELEMENTS(states); i++) {
        if (strcmp(states[i].word, word) == 0) {
            ret->state = (enum record_state)i;
            g_strlcpy(ret->identity, identity, sizeof ret->identity);
            ret->since = json_integer_value(json_object_get(object, "since"));
            ret->adopted = json_integer_value(json_object_get(object, "adopted"));
            ret->trials = (guint)json_integer_value(json_object_get(object, "trials"));
            parse_trial(json_object_get(object, "trial"), &ret->trial);
            ret->reason = g_strdup(json_string_value(json_object_get(object, "reason")));
            return 0;
        }
    }
    return -EBADMSG;
}

static char *
path_of(const char *name)
{
    return g_strconcat(RECORD_DIR "/", name, ".json", NULL);
}

int
record_read(int dirfd, const char *name, struct record *ret)
{
    g_autofree char *path = path_of(name);
    *ret = (struct record){.state = RECORD_FETCHED};
    int fd = openat(dirfd, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0) {
        return -errno;
    }
    json_t *object = json_file_read(fd, RECORD_MAX);
    close(fd);
    int rc = parse(object, ret);
    json_decref(object);
    return rc;
}

int
record_share(int dirfd, int fd)
{
    struct stat st;
    if (geteuid() != 0) {
        return 0;
    }
    return fstat(dirfd, &st) < 0 || fchown(fd, st.st_uid, st.st_gid) < 0 ? -errno : 0;
}

static int
records_open(int dirfd)
{
    int rc = durable_mkdir(dirfd, RECORD_DIR, 0755);
    /* Root would give away what a link leads to. */
    int fd =
        rc < 0 ? rc : openat(dirfd, RECORD_DIR, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (fd >= 0) {
        rc = fchmod(fd, 0755) < 0 && errno != EPERM ? -errno : record_share(dirfd, fd);
    }
    if (fd >= 0 && rc < 0) {
        close(fd);
        return rc;
    }
    return fd < 0 && rc == 0 ? -errno : fd;
}

int
record_write(int dirfd, const char *name, const struct record *record)
{
    g_autofree char *file = g_strconcat(name, ".json", NULL);
    int dir = records_open(dirfd);
    if (dir < 0) {
        return dir;
    }
    json_t *object = json_pack("{s:s, s:s, s:I, s:s?, s:i, s:I}", "identity", record->identity,
                               "state", record_state_word(record->state), "since",
                               (json_int_t)record->since, "reason", record->reason, "trials",
                               (int)record->trials, "adopted", (json_int_t)record->adopted);
    if (record->trial.signatures > 0) {
        json_object_set_new(object, "trial", record_trial_json(&record->trial));
    }
    char *text = json_dumps(object, JSON_INDENT(2));
    struct iovec iov = {.iov_base = text, .iov_len = strlen(text)};
    int rc = durable_write(dir, file, &iov, 1, 0644);
    json_decref(object);
    free(text);
    close(dir);
    return rc;
}
