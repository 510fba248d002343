/* SPDX-License-Identifier: GPL-2.0-only */
#include "state.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>
#include <systemd/sd-daemon.h>

#include "ballast.h"
#include "durable.h"
#include "format.h"
#include "incident.h"
#include "lease.h"
#include "log.h"
#include "recovery.h"
#include "schema.h"

#define DB_NAME "state.db"
#define QUARANTINE_NAME "quarantine"

struct state {
    char *dir;
    gboolean shared;
    guint64 low_water;
    int dirfd;
    int quarantine;
    struct lease *lease;
    struct db *db;
    guint64 epoch;
    int made;          /* the format of a database that is made now */
    atomic_int format; /* for storage_format(), which any thread may call */
    gboolean abandoned;
    struct state_limits limits;
    char *busy;
};

guint64
state_epoch(const struct state *state)
{
    return state->epoch;
}

int
state_format(const struct state *state)
{
    return atomic_load(&state->format);
}

struct db *
state_db(const struct state *state)
{
    return state->db;
}

int
state_quarantine_fd(const struct state *state)
{
    return state->quarantine;
}

const struct state_limits *
state_limits(const struct state *state)
{
    return &state->limits;
}

void
state_set_limits(struct state *state, const struct settings *settings)
{
    state->low_water = settings->state_low_water;
    state->limits = (struct state_limits){.quarantine_size = settings->quarantine_size,
                                          .quarantine_quota = settings->quarantine_quota,
                                          .quarantine_days = settings->quarantine_days};
}

void
state_set_busy(struct state *state, const char *key)
{
    g_free(state->busy);
    state->busy = g_strdup(key);
}

gboolean
state_is_busy(const struct state *state, const char *key)
{
    return g_strcmp0(state->busy, key) == 0;
}

static guint64
free_bytes_of(const struct state *state)
{
    struct statvfs fs;
    return fstatvfs(state->dirfd, &fs) < 0 ? 0 : (guint64)fs.f_bavail * fs.f_frsize;
}

void
state_settle(struct state *state)
{
    ballast_lay(state->dirfd, state->low_water, free_bytes_of(state));
}

guint64
state_room(const struct state *state)
{
    guint64 free_bytes = free_bytes_of(state);
    return free_bytes > state->low_water ? free_bytes - state->low_water : 0;
}

gboolean
state_is_full(const struct state *state)
{
    return state_room(state) == 0;
}

int
state_begin(struct state *state)
{
    int rc = db_exec(state->db, "BEGIN IMMEDIATE");
    if (rc < 0) {
        return rc;
    }
    rc = lease_check(state->lease);
    return rc < 0 ? state_end(state, rc) : 0;
}

int
state_end(struct state *state, int rc)
{
    if (rc == 0) {
        rc = db_exec(state->db, "COMMIT");
    }
    if (rc < 0) {
        /* SQLite may have rolled back by itself; then this says so and harms nothing. */
        (void)db_exec(state->db, "ROLLBACK");
    }
    return rc;
}

/* Nothing is kept on a full disk, but clean mail needs no room and must go on. */
static gboolean
is_full_error(int rc)
{
    return rc == -ENOSPC || rc == -EDQUOT;
}

static int
write_once(struct state *state, state_work *work, void *data)
{
    int rc = state_begin(state);
    return rc < 0 ? rc : state_end(state, work(state, data));
}

int
state_write(struct state *state, state_work *work, void *data)
{
    int rc = write_once(state, work, data);
    if (is_full_error(rc) && ballast_drop(state->dirfd)) {
        rc = write_once(state, work, data);
    }
    return rc;
}

/* Whoever else can write here can put mail of his own into the quarantine, or take some away. */
static int
dir_check(int fd, const char *path, char **error_r)
{
    struct stat st;
    if (fstat(fd, &st) < 0) {
        *error_r = g_strdup_printf("%s: %s", path, g_strerror(errno));
        return -errno;
    }
    if (st.st_uid != geteuid() && st.st_uid != 0) {
        *error_r = g_strdup_printf("%s belongs to user %u; chown it to the user of posternd", path,
                                   st.st_uid);
        return -EACCES;
    }
    if ((st.st_mode & (S_IWGRP | S_IWOTH)) != 0) {
        *error_r = g_strdup_printf("%s can be written by others; chmod it to 0700", path);
        return -EACCES;
    }
    return 0;
}

static int
dir_open(struct state *state, char **error_r)
{
    state->dirfd = open(state->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (state->dirfd < 0) {
        int rc = -errno;
        *error_r = g_strdup_printf("state_dir = %s: %s%s", state->dir, g_strerror(-rc),
                                   rc == -ENOENT ? "; make it, or mount its file system" : "");
        return rc;
    }
    return dir_check(state->dirfd, state->dir, error_r);
}

static int
quarantine_open(struct state *state, char **error_r)
{
    g_autofree char *path = g_build_filename(state->dir, QUARANTINE_NAME, NULL);
    int rc = durable_mkdir(state->dirfd, QUARANTINE_NAME, 0700);
    if (rc == 0) {
        state->quarantine =
            openat(state->dirfd, QUARANTINE_NAME, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
        rc = state->quarantine < 0 ? -errno : 0;
    }
    if (rc < 0) {
        *error_r = g_strdup_printf("%s: cannot be made or opened: %s", path, g_strerror(-rc));
        return rc;
    }
    return dir_check(state->quarantine, path, error_r);
}

/* SQLite would make it 0644; its side files take the mode over. */
static int
db_file_make(struct state *state)
{
    int fd = openat(state->dirfd, DB_NAME, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) {
        return -errno;
    }
    close(fd);
    return fsync(state->dirfd) < 0 ? -errno : 0;
}

static int
quick_check(struct db *db)
{
    g_autoptr(db_statement) statement = NULL;
    int rc = db_prepare(db, &statement, "PRAGMA quick_check(1)", NULL);
    if (rc == 0) {
        rc = db_step(db, statement);
    }
    if (rc < 0) {
        return rc;
    }
    return strcmp(db_text(statement, 0), "ok") == 0 ? 0 : -EUCLEAN;
}

static int
db_try_once(struct state *state)
{
    g_autofree char *path = g_build_filename(state->dir, DB_NAME, NULL);
    int rc = db_file_make(state);
    if (rc == 0) {
        rc = db_open(path, state->shared, &state->db);
    }
    if (rc == 0) {
        rc = quick_check(state->db);
    }
    if (rc == 0) {
        int format = 0;
        rc = schema_open(state->db, state->made, &format);
        state->format = format;
    }
    if (rc < 0) {
        db_close(state->db, TRUE);
        state->db = NULL;
    }
    return rc;
}

/* A database that is made anew, or brought up to date, needs room. */
static int
db_try(struct state *state)
{
    int rc = db_try_once(state);
    return is_full_error(rc) && ballast_drop(state->dirfd) ? db_try_once(state) : rc;
}

/* The side files go with the database: left behind they would be played into the new one. */
static int
db_move_aside(struct state *state)
{
    static const char *const suffixes[] = {"", "-wal", "-journal"};
    g_autoptr(GDateTime) now = g_date_time_new_now_utc();
    g_autofree char *stamp = g_date_time_format(now, "%Y%m%dT%H%M%S.%fZ");
    for (size_t i = 0; i < G_N_ELEMENTS(suffixes); i++) {
        g_autofree char *from = g_strconcat(DB_NAME, suffixes[i], NULL);
        g_autofree char *to = g_strconcat(DB_NAME ".damaged-", stamp, suffixes[i], NULL);
        if (renameat(state->dirfd, from, state->dirfd, to) < 0 && errno != ENOENT) {
            return -errno;
        }
    }
    log_err("%s/" DB_NAME " is damaged: kept as " DB_NAME ".damaged-%s, made anew from the files",
            state->dir, stamp);
    return fsync(state->dirfd) < 0 ? -errno : 0;
}

static void
newer_refuse(const struct state *state, const char *name, char **error_r)
{
    *error_r =
        g_strdup_printf("%s/%s was made by a newer Postern (this one knows the formats %d to "
                        "%d); install that one on this node",
                        state->dir, name, FORMAT_OLDEST, FORMAT_NEWEST);
}

/*
 * In which format a database is made, when it has to be. Where there was a state without a number
 * it was of a Postern that wrote none, and others of that kind may still be about.
 */
static int
format_choose(struct state *state, int fresh, char **error_r)
{
    int found = 0;
    int rc = format_read(state->dirfd, &found);
    if (rc == 0 && found > FORMAT_NEWEST) {
        newer_refuse(state, FORMAT_NAME, error_r);
        return -EOPNOTSUPP;
    }
    if (rc == 0) {
        state->made = MAX(found, FORMAT_OLDEST);
    } else {
        gboolean is_new = rc == -ENOENT && lease_found_epoch(state->lease) == 0;
        state->made = is_new ? fresh : FORMAT_OLDEST;
    }
    if (rc < 0 && rc != -ENOENT && rc != -EBADMSG) {
        *error_r =
            g_strdup_printf("%s/" FORMAT_NAME ": cannot be read: %s", state->dir, g_strerror(-rc));
        return rc;
    }
    return 0;
}

/* The file follows the database, also when a crash came between the two. */
static int
format_agree(const struct state *state)
{
    int found = FORMAT_OLDEST;
    int rc = format_read(state->dirfd, &found);
    if (rc == -EIO) {
        return rc;
    }
    return rc != -EBADMSG && found == state->format ? 0 : format_write(state->dirfd, state->format);
}

static int
db_open_or_rebuild(struct state *state, char **error_r)
{
    int rc = db_try(state);
    if (rc == -EUCLEAN) {
        rc = db_move_aside(state);
        if (rc == 0) {
            rc = db_try(state);
        }
    }
    if (rc == -EOPNOTSUPP) {
        newer_refuse(state, DB_NAME, error_r);
    } else if (rc < 0) {
        *error_r = g_strdup_printf("%s/" DB_NAME ": cannot be opened: %s%s", state->dir,
                                   g_strerror(-rc), is_full_error(rc) ? "; make room there" : "");
    }
    return rc;
}

static int
epoch_read(struct state *state)
{
    gint64 epoch = 0;
    int rc = db_get(state->db, "SELECT epoch FROM meta", NULL, &epoch);
    /* Both places count: the lease survives a lost database, the database a lost lease. */
    state->epoch = MAX((guint64)epoch, lease_found_epoch(state->lease)) + 1;
    return rc;
}

/* Not by state_write(): the lease is written only after this. */
static int
epoch_store(struct state *state)
{
    int rc = db_exec(state->db, "BEGIN IMMEDIATE");
    if (rc < 0) {
        return rc;
    }
    rc =
        db_run(state->db, "UPDATE meta SET epoch = ?1", DB_VALUES(DB_NUMBER((gint64)state->epoch)));
    return state_end(state, rc);
}

static int
start_note(struct state *state, void *data)
{
    g_autofree char *before =
        lease_found_epoch(state->lease) == 0
            ? g_strdup("")
            : g_strdup_printf("; before it %s%s", lease_found_owner(state->lease),
                              lease_found_clean(state->lease) ? ""
                                                              : ", which did not close the state");
    g_autofree char *detail = g_strdup_printf("epoch %" G_GUINT64_FORMAT " on %s%s", state->epoch,
                                              g_get_host_name(), before);
    const struct incident incident = {
        .kind = INCIDENT_START, .uid = INCIDENT_NOBODY, .detail = detail};
    (void)data;
    return incident_add(state->db, &incident);
}

/*
 * The lease is overwritten in place and so needs no room. A crash between the two writes leaves
 * them one apart, which the next owner does not mind.
 */
static int
epoch_raise(struct state *state)
{
    int rc = epoch_read(state);
    if (rc == 0) {
        rc = epoch_store(state);
        if (is_full_error(rc) && ballast_drop(state->dirfd)) {
            rc = epoch_store(state);
        }
    }
    if (is_full_error(rc)) {
        log_warning("%s is full: nothing can be quarantined", state->dir);
        rc = 0;
    }
    return rc < 0 ? rc : lease_write(state->lease, state->epoch, FALSE);
}

static int
take_over(struct state *state, char **error_r)
{
    if (lease_found_epoch(state->lease) > 0 && !lease_found_clean(state->lease)) {
        log_notice("%s was not closed by its last owner, %s", state->dir,
                   lease_found_owner(state->lease));
    }
    int rc = epoch_raise(state);
    if (rc == 0) {
        rc = format_agree(state);
    }
    if (rc == 0) {
        rc = recovery_run(state);
    }
    if (rc == 0) {
        rc = state_write(state, start_note, NULL);
    }
    if (is_full_error(rc)) {
        log_warning("%s is full: its index is not brought up to date now", state->dir);
        rc = 0;
    }
    if (rc < 0) {
        *error_r = g_strdup_printf("%s: cannot be taken over: %s", state->dir, g_strerror(-rc));
    }
    return rc;
}

struct raise {
    int format;
    gint64 uid;
};

static int
raise_work(struct state *state, void *data)
{
    const struct raise *raise = data;
    g_autofree char *detail =
        g_strdup_printf("state format %d, was %d", raise->format, state->format);
    const struct incident record = {.kind = INCIDENT_FORMAT, .uid = raise->uid, .detail = detail};
    int rc = schema_raise(state_db(state), state->format, raise->format);
    return rc < 0 ? rc : incident_add(state->db, &record);
}

int
state_raise(struct state *state, int format, gint64 uid)
{
    struct raise raise = {.format = format, .uid = uid};
    if (format > FORMAT_NEWEST) {
        return -EOPNOTSUPP;
    }
    if (format <= state->format) {
        return 0;
    }
    int rc = state_write(state, raise_work, &raise);
    if (rc < 0) {
        return rc;
    }
    atomic_store(&state->format, format);
    rc = format_write(state->dirfd, format);
    /* Without room the next start writes it. */
    return is_full_error(rc) ? 0 : rc;
}

/* The cluster's timeout is what ends the wait, and has the reason from here. */
static void
tell_waiting(const char *sentence)
{
    (void)sd_notifyf(0, "EXTEND_TIMEOUT_USEC=%u\nSTATUS=waiting for its lock: %s",
                     (unsigned)(20 * G_USEC_PER_SEC), sentence);
}

int
state_open(const struct settings *settings, int fresh, struct state **ret_state, char **error_r)
{
    struct state *state = g_new0(struct state, 1);
    state->dir = g_strdup(settings->state_dir);
    state->shared = strcmp(settings->state_storage, "shared") == 0;
    state_set_limits(state, settings);
    state->dirfd = -1;
    state->quarantine = -1;
    int rc = dir_open(state, error_r);
    if (rc == 0) {
        rc = lease_acquire(state->dirfd, state->dir, state->shared ? LEASE_WAIT_S : 0, tell_waiting,
                           &state->lease, error_r);
    }
    if (rc == 0) {
        rc = quarantine_open(state, error_r);
    }
    if (rc == 0) {
        rc = format_choose(state, fresh, error_r);
    }
    if (rc == 0) {
        rc = db_open_or_rebuild(state, error_r);
    }
    if (rc == 0) {
        rc = take_over(state, error_r);
    }
    if (rc < 0) {
        state_abandon(state);
        state_close(state);
        return rc;
    }
    state_settle(state);
    *ret_state = state;
    return 0;
}

void
state_abandon(struct state *state)
{
    state->abandoned = TRUE;
}

void
state_close(struct state *state)
{
    if (state == NULL) {
        return;
    }
    if (!state->abandoned && lease_check(state->lease) < 0) {
        state->abandoned = TRUE;
    }
    db_close(state->db, state->abandoned);
    if (!state->abandoned) {
        (void)lease_write(state->lease, state->epoch, TRUE);
    }
    if (state->quarantine >= 0) {
        close(state->quarantine);
    }
    lease_free(state->lease);
    if (state->dirfd >= 0) {
        close(state->dirfd);
    }
    g_free(state->busy);
    g_free(state->dir);
    g_free(state);
}
