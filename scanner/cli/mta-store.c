/* SPDX-License-Identifier: GPL-2.0-only */
#include "mta-store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "durable.h"

#define RECORD "record.json"
#define RECORD_VERSION 1
#define XATTR_MAX 65536
/* Of the names of durable.c's temporary files. */
#define TMP_DIGITS 16

enum which { WHICH_MAIN, WHICH_MASTER, N_WHICH };

static const char *const names[N_WHICH] = {"main.cf", "master.cf"};

struct mta_store {
    char *dir;
    char *paths[N_WHICH];
    struct timespec times[N_WHICH]; /* of the record's "before"; 0: not known */
    char *records;
    int lock;
};

static const char *
text_of(const struct mta_files *files, enum which which)
{
    return which == WHICH_MAIN ? files->main : files->master;
}

static char **
place_of(struct mta_files *files, enum which which)
{
    return which == WHICH_MAIN ? &files->main : &files->master;
}

const char *
mta_store_main(const struct mta_store *store)
{
    return store->paths[WHICH_MAIN];
}

const char *
mta_store_master(const struct mta_store *store)
{
    return store->paths[WHICH_MASTER];
}

const char *
mta_store_records(const struct mta_store *store)
{
    return store->records;
}

void
mta_record_clear(struct mta_record *record)
{
    mta_files_clear(&record->before);
    mta_files_clear(&record->after);
    g_clear_pointer(&record->answers, json_decref);
}

/* Neither the file system of /etc nor that of /var/lib: the one that moves between the nodes. */
static gboolean
is_elsewhere(const char *path)
{
    struct stat is;
    struct stat etc;
    struct stat var;
    return stat(path, &is) == 0 && stat("/etc", &etc) == 0 && stat("/var/lib", &var) == 0 &&
           is.st_dev != etc.st_dev && is.st_dev != var.st_dev;
}

static char *
records_of(const struct mta_store *store, const char *records)
{
    g_autofree char *folder = g_path_get_dirname(store->paths[WHICH_MAIN]);
    if (records == NULL && is_elsewhere(folder)) {
        return g_build_filename(folder, ".postern", NULL);
    }
    g_autofree char *name = g_uri_escape_string(store->dir, NULL, FALSE);
    return g_build_filename(records == NULL ? MTA_RECORDS : records, "milter", name, NULL);
}

#define LOCK_TRIES 100
#define LOCK_PAUSE_US 100000

/* One that was removed while it was waited for is nobody's: -ESTALE. */
static int
lock_file(int fd)
{
    struct stat is;
    int rc = flock(fd, LOCK_EX | LOCK_NB);
    for (int i = 0; rc < 0 && errno == EWOULDBLOCK && i < LOCK_TRIES; i++) {
        g_usleep(LOCK_PAUSE_US);
        rc = flock(fd, LOCK_EX | LOCK_NB);
    }
    if (rc < 0 || fstat(fd, &is) < 0) {
        return -errno;
    }
    return is.st_nlink == 0 ? -ESTALE : 0;
}

static int
lock_records(struct mta_store *store, char **error_r)
{
    g_autofree char *path = g_build_filename(store->records, "lock", NULL);
    int rc = -ESTALE;
    for (int i = 0; rc == -ESTALE && i < LOCK_TRIES; i++) {
        /* Who goes takes the directory along. */
        rc = durable_private_dir(store->records);
        if (rc < 0) {
            break;
        }
        store->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
        rc = store->lock < 0 ? (errno == ENOENT ? -ESTALE : -errno) : lock_file(store->lock);
        if (rc < 0 && store->lock >= 0) {
            close(store->lock);
            store->lock = -1;
        }
    }
    if (rc == -EWOULDBLOCK) {
        rc = -EBUSY;
        *error_r = g_strdup_printf("%s: another postern is changing it now", store->dir);
    } else if (rc < 0) {
        *error_r = g_strdup_printf("%s: %s", path, g_strerror(-rc));
    }
    return rc;
}

int
mta_store_open(const char *dir, const char *records, struct mta_store **ret, char **error_r)
{
    struct mta_store *store = g_new0(struct mta_store, 1);
    int rc = 0;
    store->lock = -1;
    store->dir = g_canonicalize_filename(dir, "/");
    for (int i = 0; rc == 0 && i < N_WHICH; i++) {
        g_autofree char *path = g_build_filename(store->dir, names[i], NULL);
        char *real = realpath(path, NULL);
        if (real == NULL) {
            rc = -errno;
            *error_r = g_strdup_printf("%s: %s", path, g_strerror(errno));
        }
        store->paths[i] = g_strdup(real);
        free(real);
    }
    if (rc == 0) {
        store->records = records_of(store, records);
        rc = lock_records(store, error_r);
    }
    if (rc < 0) {
        mta_store_close(store);
        return rc;
    }
    *ret = store;
    return 0;
}

void
mta_store_close(struct mta_store *store)
{
    if (store == NULL) {
        return;
    }
    if (store->lock >= 0) {
        /* Nothing but the lock was made: leave no trace, as long as it is ours. */
        g_autofree char *record = g_build_filename(store->records, RECORD, NULL);
        struct stat is;
        if (access(record, F_OK) < 0 && fstat(store->lock, &is) == 0 && is.st_nlink > 0) {
            mta_store_forget(store);
        }
        close(store->lock);
    }
    for (int i = 0; i < N_WHICH; i++) {
        g_free(store->paths[i]);
    }
    g_free(store->records);
    g_free(store->dir);
    g_free(store);
}

static int
read_text(const char *path, char **ret_text, char **error_r)
{
    g_autoptr(GError) error = NULL;
    gsize length;
    if (!g_file_get_contents(path, ret_text, &length, &error)) {
        *error_r = g_strdup(error->message);
        return -EIO;
    }
    if (strlen(*ret_text) != length) {
        g_clear_pointer(ret_text, g_free);
        *error_r = g_strdup_printf("%s has a NUL byte in it: it is no file of Postfix", path);
        return -EBADMSG;
    }
    return 0;
}

int
mta_store_read(const struct mta_store *store, struct mta_files *files, char **error_r)
{
    *files = (struct mta_files){0};
    for (int i = 0; i < N_WHICH; i++) {
        int rc = read_text(store->paths[i], place_of(files, i), error_r);
        if (rc < 0) {
            mta_files_clear(files);
            return rc;
        }
    }
    return 0;
}

/* Names in main.cf may be in any charset, which JSON would not take. */
static json_t *
encode(const char *text)
{
    g_autofree char *base64 = g_base64_encode((const guchar *)text, strlen(text));
    return json_string(base64);
}

static char *
decode(const json_t *file, const char *name)
{
    const char *base64 = json_string_value(json_object_get(file, name));
    gsize length;
    if (base64 == NULL) {
        return NULL;
    }
    g_autofree guchar *bytes = g_base64_decode(base64, &length);
    return g_strndup((const char *)bytes, length);
}

static gboolean
file_decode(struct mta_store *store, const json_t *all, enum which which, struct mta_record *record)
{
    const json_t *file = json_object_get(all, names[which]);
    const json_t *time = json_object_get(file, "mtime");
    *place_of(&record->before, which) = decode(file, "before");
    *place_of(&record->after, which) = decode(file, "after");
    store->times[which].tv_sec = json_integer_value(json_array_get(time, 0));
    store->times[which].tv_nsec = (long)json_integer_value(json_array_get(time, 1));
    return text_of(&record->before, which) != NULL && text_of(&record->after, which) != NULL;
}

int
mta_store_record(struct mta_store *store, struct mta_record *record, char **error_r)
{
    g_autofree char *path = g_build_filename(store->records, RECORD, NULL);
    json_error_t error;
    *record = (struct mta_record){0};
    if (access(path, F_OK) < 0) {
        return 0;
    }
    json_t *all = json_load_file(path, 0, &error);
    gboolean good = json_integer_value(json_object_get(all, "version")) == RECORD_VERSION;
    for (int i = 0; good && i < N_WHICH; i++) {
        good = file_decode(store, all, i, record);
    }
    if (!good) {
        *error_r = g_strdup_printf("%s is damaged; the plain copies beside it are what the files "
                                   "were before: compare, put them back by hand, and delete it",
                                   path);
        mta_record_clear(record);
        json_decref(all);
        return -EBADMSG;
    }
    record->answers = json_incref(json_object_get(all, "answers"));
    json_decref(all);
    return 1;
}

/* The time of a file that is still as it was, or the one that is known already. */
static void
remember_time(struct mta_store *store, enum which which, const char *before)
{
    g_autofree char *error = NULL;
    g_autofree char *text = NULL;
    struct stat is;
    if (read_text(store->paths[which], &text, &error) == 0 && strcmp(text, before) == 0 &&
        stat(store->paths[which], &is) == 0) {
        store->times[which] = is.st_mtim;
    }
}

static json_t *
file_encode(struct mta_store *store, enum which which, const struct mta_record *record)
{
    const char *before = text_of(&record->before, which);
    const char *after = text_of(&record->after, which);
    g_autofree char *old = g_compute_checksum_for_string(G_CHECKSUM_SHA256, before, -1);
    g_autofree char *fresh = g_compute_checksum_for_string(G_CHECKSUM_SHA256, after, -1);
    remember_time(store, which, before);
    return json_pack(
        "{s:s, s:s, s:s, s:[I, I], s:o, s:o}", "path", store->paths[which], "before_sha256", old,
        "after_sha256", fresh, "mtime", (json_int_t)store->times[which].tv_sec,
        (json_int_t)store->times[which].tv_nsec, "before", encode(before), "after", encode(after));
}

static int
write_named(int dirfd, const char *name, const char *text)
{
    const struct iovec iov = {.iov_base = (void *)(uintptr_t)text, .iov_len = strlen(text)};
    return durable_write(dirfd, name, &iov, 1, 0600);
}

int
mta_store_save(struct mta_store *store, const struct mta_record *record, char **error_r)
{
    json_t *all = json_pack("{s:i, s:s, s:o, s:o, s:O}", "version", RECORD_VERSION,
                            "config_directory", store->dir, names[WHICH_MAIN],
                            file_encode(store, WHICH_MAIN, record), names[WHICH_MASTER],
                            file_encode(store, WHICH_MASTER, record), "answers", record->answers);
    g_autofree char *text = json_dumps(all, JSON_INDENT(2));
    int dirfd = open(store->records, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int rc = dirfd < 0 ? -errno : 0;
    for (int i = 0; rc == 0 && i < N_WHICH; i++) {
        g_autofree char *copy = g_strconcat(names[i], ".before", NULL);
        rc = write_named(dirfd, copy, text_of(&record->before, i));
    }
    rc = rc == 0 ? write_named(dirfd, RECORD, text) : rc;
    if (rc < 0) {
        *error_r = g_strdup_printf("%s: the record cannot be written: %s", store->records,
                                   g_strerror(-rc));
    }
    if (dirfd >= 0) {
        close(dirfd);
    }
    json_decref(all);
    return rc;
}

void
mta_store_forget(struct mta_store *store)
{
    static const char *const all[] = {RECORD, "main.cf.before", "master.cf.before", "lock"};
    for (size_t i = 0; i < G_N_ELEMENTS(all); i++) {
        g_autofree char *path = g_build_filename(store->records, all[i], NULL);
        (void)unlink(path);
    }
    (void)rmdir(store->records);
}

/* SELinux contexts and access lists; what cannot be set is left to the file system's policy. */
static void
copy_attributes(int from, int to)
{
    g_autofree char *list = g_malloc(XATTR_MAX);
    g_autofree char *value = g_malloc(XATTR_MAX);
    ssize_t length = flistxattr(from, list, XATTR_MAX);
    for (const char *name = list; length > 0 && name < list + length; name += strlen(name) + 1) {
        ssize_t size = fgetxattr(from, name, value, XATTR_MAX);
        if (size >= 0) {
            (void)fsetxattr(to, name, value, (size_t)size, 0);
        }
    }
}

static int
fill(int old, int fresh, const char *text, const struct timespec *time)
{
    struct stat is;
    const struct timespec times[2] = {
        {.tv_nsec = UTIME_OMIT},
        time != NULL && time->tv_sec != 0 ? *time : (struct timespec){.tv_nsec = UTIME_NOW}};
    int rc = durable_write_all(fresh, text, strlen(text));
    if (rc < 0) {
        return rc;
    }
    if (fstat(old, &is) < 0 || fchown(fresh, is.st_uid, is.st_gid) < 0 ||
        fchmod(fresh, is.st_mode & 07777) < 0) {
        return -errno;
    }
    copy_attributes(old, fresh);
    return futimens(fresh, times) < 0 ? -errno : 0;
}

/* What a killed run of ours left in the directory; while we have the lock nobody else's. */
static void
sweep(const char *folder)
{
    g_autoptr(GDir) dir = g_dir_open(folder, 0, NULL);
    const char *name;
    while (dir != NULL && (name = g_dir_read_name(dir)) != NULL) {
        if (g_str_has_prefix(name, DURABLE_TMP_PREFIX) &&
            strlen(name) == strlen(DURABLE_TMP_PREFIX) + TMP_DIGITS) {
            g_autofree char *path = g_build_filename(folder, name, NULL);
            (void)unlink(path);
        }
    }
}

static int
replace(const char *path, const char *text, const struct timespec *time)
{
    g_autofree char *folder = g_path_get_dirname(path);
    g_autofree char *name = g_path_get_basename(path);
    struct durable_file file = {.fd = -1};
    sweep(folder);
    int dirfd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int old = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    int rc = dirfd < 0 || old < 0 ? -errno : durable_begin(&file, dirfd, 0600);
    if (rc == 0) {
        rc = fill(old, file.fd, text, time);
        if (rc < 0) {
            durable_abort(&file);
        } else {
            rc = durable_commit(&file, name);
        }
    }
    if (old >= 0) {
        close(old);
    }
    if (dirfd >= 0) {
        close(dirfd);
    }
    return rc;
}

static int
install(struct mta_store *store, enum which which, const char *now, const char *fresh,
        gboolean restore, char **error_r)
{
    const char *path = store->paths[which];
    g_autofree char *text = NULL;
    int rc = read_text(path, &text, error_r);
    if (rc < 0) {
        return rc;
    }
    if (strcmp(text, now) != 0) {
        *error_r =
            g_strdup_printf("%s was changed by somebody else just now; run this again", path);
        return -ESTALE;
    }
    rc = replace(path, fresh, restore ? &store->times[which] : NULL);
    if (rc < 0) {
        *error_r = g_strdup_printf("%s cannot be replaced: %s", path, g_strerror(-rc));
    }
    return rc;
}

int
mta_store_install(struct mta_store *store, const struct mta_files *now,
                  const struct mta_files *fresh, gboolean restore, char **error_r)
{
    int rc = 0;
    for (int i = 0; rc == 0 && i < N_WHICH; i++) {
        if (strcmp(text_of(now, i), text_of(fresh, i)) != 0) {
            rc = install(store, i, text_of(now, i), text_of(fresh, i), restore, error_r);
        }
    }
    return rc;
}
