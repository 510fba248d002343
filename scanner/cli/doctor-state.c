/* SPDX-License-Identifier: GPL-2.0-only */
/* The state and the signatures: where they are, whose they are, and how much room is left. */
#include "doctor.h"

#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>
#include <linux/magic.h>

#include "ask.h"
#include "json-file.h"
#include "manifest.h"
#include "signatures-commands.h"
#include "terminal.h"
#include "text.h"
#include "update-files.h"

/* Not in every linux/magic.h: fs/ocfs2, fs/gfs2 and fs/smb of the kernel. */
#define MAGIC_OCFS2 0x7461636f
#define MAGIC_GFS2 0x01161970
#define MAGIC_CIFS 0xff534d42
#define MAGIC_SMB2 0xfe534d42
#define MAGIC_FUSE 0x65735546
#define MAGIC_CEPH 0x00c36400

#define DAY 86400
#define LEAST_INODES 1000
#define REASON_SHOWN 300
/* Rounds in a row: a mirror may be away for a moment. */
#define FAILURES_WARNED 3
#define UPDATE_MAX (1024 * 1024)

static const struct {
    gint64 magic;
    const char *name;
} shared_file_systems[] = {
    {NFS_SUPER_MAGIC, "NFS"}, {MAGIC_OCFS2, "OCFS2"}, {MAGIC_GFS2, "GFS2"}, {MAGIC_CIFS, "CIFS"},
    {MAGIC_SMB2, "SMB"},      {MAGIC_FUSE, "FUSE"},   {MAGIC_CEPH, "Ceph"},
};

static const char *
shared_name(gint64 magic)
{
    for (size_t i = 0; i < G_N_ELEMENTS(shared_file_systems); i++) {
        if (shared_file_systems[i].magic == magic) {
            return shared_file_systems[i].name;
        }
    }
    return NULL;
}

static void
check_type(struct doctor *d, const char *dir)
{
    struct statfs fs;
    if (statfs(dir, &fs) < 0) {
        return;
    }
    const char *name = shared_name((gint64)(guint32)fs.f_type);
    gboolean exclusive = strcmp(d->settings->state_storage, "exclusive") == 0;
    if (fs.f_type == TMPFS_MAGIC || fs.f_type == RAMFS_MAGIC) {
        doctor_add(d, DOCTOR_PROBLEM, "state.volatile", dir, "put state_dir on a disk",
                   "the state is in memory (tmpfs): the quarantine is gone after a restart");
    } else if (name != NULL && exclusive) {
        doctor_add(d, DOCTOR_PROBLEM, "state.storage", dir,
                   "set state_storage = \"shared\" in postern.conf",
                   "it is on %s, which several nodes can mount, but state_storage is exclusive",
                   name);
    } else if (name == NULL && !exclusive) {
        doctor_add(d, DOCTOR_WARNING, "state.storage", dir,
                   "set state_storage = \"exclusive\" in postern.conf",
                   "state_storage is shared, but this file system cannot be mounted by several "
                   "nodes: promotion waits for nothing");
    } else {
        doctor_add(d, DOCTOR_OK, "state.storage", dir, NULL, "state_storage = %s fits its type",
                   d->settings->state_storage);
    }
}

static void
check_room(struct doctor *d, const char *dir)
{
    struct statvfs fs;
    if (statvfs(dir, &fs) < 0) {
        return;
    }
    guint64 bytes = (guint64)fs.f_bavail * fs.f_frsize;
    g_autofree char *room = terminal_size(bytes);
    if ((fs.f_flag & ST_RDONLY) != 0) {
        doctor_add(d, DOCTOR_PROBLEM, "state.read-only", dir, "mount it for writing",
                   "the file system is mounted read-only");
    } else if (bytes < d->settings->state_low_water) {
        doctor_add(d, DOCTOR_PROBLEM, "state.room", dir,
                   "make room: `postern quarantine list`, or enlarge the file system",
                   "%s are free, less than state_low_water: nothing is quarantined, and what would "
                   "be gets 451 or is refused without a copy",
                   room);
    } else if (bytes < 2 * d->settings->state_low_water ||
               (fs.f_files > 0 && fs.f_favail < LEAST_INODES)) {
        doctor_add(d, DOCTOR_WARNING, "state.room", dir, "make room",
                   "only %s and %" G_GUINT64_FORMAT " files are left", room, (guint64)fs.f_favail);
    } else {
        doctor_add(d, DOCTOR_OK, "state.room", dir, NULL, "%s are free", room);
    }
}

static void
check_rights(struct doctor *d, const char *dir, const struct stat *st)
{
    const struct passwd *user = getpwnam(d->settings->daemon_user);
    if (user != NULL && st->st_uid != user->pw_uid) {
        doctor_add(d, DOCTOR_PROBLEM, "state.owner", dir,
                   "chown -R it to that user; its number must be the same on every node",
                   "it belongs to user number %u, not to %s (%u)", (unsigned)st->st_uid,
                   user->pw_name, (unsigned)user->pw_uid);
    } else if ((st->st_mode & 077) != 0) {
        doctor_add(d, DOCTOR_PROBLEM, "state.mode", dir, "chmod 0700",
                   "mode %04o: other users can reach the quarantine, which has viruses and private "
                   "mail",
                   (unsigned)st->st_mode & 07777U);
    } else {
        doctor_add(d, DOCTOR_OK, "state.rights", dir, NULL, "only %s may enter",
                   d->settings->daemon_user);
    }
}

/* On the active node it has to be there; on a passive one it must not be. */
static void
check_state_dir(struct doctor *d)
{
    const char *dir = d->settings->state_dir;
    struct stat st;
    if (stat(dir, &st) < 0) {
        enum doctor_level level = errno == EACCES        ? DOCTOR_UNCHECKED
                                  : d->posternd != NULL  ? DOCTOR_PROBLEM
                                  : doctor_has_cluster() ? DOCTOR_OK
                                                         : DOCTOR_WARNING;
        doctor_add(d, level, "state.dir", dir,
                   level == DOCTOR_OK ? NULL
                   : level == DOCTOR_UNCHECKED
                       ? "run this as root"
                       : "make it: install -d -o postern -g postern -m 0700",
                   "%s%s", g_strerror(errno),
                   level == DOCTOR_OK ? "; on a passive node it is not mounted" : "");
        return;
    }
    if (!S_ISDIR(st.st_mode)) {
        doctor_add(d, DOCTOR_PROBLEM, "state.dir", dir, "set state_dir to a directory",
                   "it is not a directory");
        return;
    }
    check_rights(d, dir, &st);
    check_type(d, dir);
    check_room(d, dir);
}

/* The directory above tells a mounted file system from a forgotten one. */
static void
check_mount(struct doctor *d)
{
    const char *dir = d->settings->state_dir;
    struct stat root;
    struct stat st;
    if (!doctor_has_cluster() || stat(dir, &st) < 0 || stat("/", &root) < 0) {
        return;
    }
    if (st.st_dev == root.st_dev) {
        doctor_add(d, DOCTOR_WARNING, "state.mount", dir,
                   "put state_dir on the storage that moves with the mail",
                   "it is on this node's root file system: after a failover the quarantine stays "
                   "behind");
    } else {
        doctor_add(d, DOCTOR_OK, "state.mount", dir, NULL, "it is on a file system of its own");
    }
}

/* One device mounted twice on this host: the other place lets anybody around the rights here. */
static void
check_twice(struct doctor *d)
{
    const char *dir = d->settings->state_dir;
    struct stat st;
    g_autofree char *table = NULL;
    if (stat(dir, &st) < 0 || !g_file_get_contents("/proc/self/mountinfo", &table, NULL, NULL)) {
        return;
    }
    g_autofree char *device =
        g_strdup_printf("%u:%u", (unsigned)(st.st_dev >> 8 & 0xfff), (unsigned)(st.st_dev & 0xff));
    g_auto(GStrv) lines = g_strsplit(table, "\n", -1);
    g_autoptr(GString) places = g_string_new(NULL);
    guint n = 0;
    for (char **line = lines; *line != NULL; line++) {
        g_auto(GStrv) fields = g_strsplit(*line, " ", 6);
        if (g_strv_length(fields) == 6 && strcmp(fields[2], device) == 0 &&
            strcmp(fields[3], "/") == 0) {
            g_string_append_printf(places, "%s%s", n++ > 0 ? ", " : "", fields[4]);
        }
    }
    if (n > 1) {
        doctor_add(d, DOCTOR_WARNING, "state.mounted-twice", dir, "unmount the others",
                   "its file system is mounted at %u places (%s): the cluster unmounts one, and "
                   "another node must not mount it then",
                   n, places->str);
    }
}

static void
check_test_only(struct doctor *d)
{
    if (d->engine == NULL) {
        return;
    }
    if (json_is_true(json_object_get(d->engine, "test_only"))) {
        doctor_add(d, DOCTOR_PROBLEM, "signatures.test-only", "postern-engine",
                   "postern signatures update, or postern signatures add PATH...",
                   "ONLY TEST SIGNATURES: no real virus is found");
    } else {
        doctor_add(d, DOCTOR_OK, "signatures.loaded", "postern-engine", NULL,
                   "%" JSON_INTEGER_FORMAT " signatures are loaded",
                   json_integer_value(json_object_get(d->engine, "signatures")));
    }
}

static void
check_age(struct doctor *d)
{
    g_autofree char *path =
        g_build_filename(d->settings->signatures_dir, "current", "manifest.json", NULL);
    gint64 time = manifest_newest(d->settings->signatures_dir);
    if (time == 0) {
        doctor_add(d, DOCTOR_PROBLEM, "signatures.none", d->settings->signatures_dir,
                   "postern signatures update, or postern signatures add PATH...",
                   "no generation of signatures is installed (%s cannot be read)", path);
        return;
    }
    gint64 age = g_get_real_time() / G_USEC_PER_SEC - time;
    gint64 old = (gint64)d->settings->age_limit;
    gint64 unsafe = (gint64)d->settings->age_unsafe;
    gboolean is_unsafe = unsafe > 0 && age > unsafe;
    enum doctor_level level = is_unsafe              ? DOCTOR_PROBLEM
                              : old > 0 && age > old ? DOCTOR_WARNING
                                                     : DOCTOR_OK;
    doctor_add(d, level, "signatures.age", path,
               level == DOCTOR_OK ? NULL
                                  : "see why there are no newer ones: postern signatures status",
               "the signatures are %" G_GINT64_FORMAT " day(s) old%s", age / DAY,
               is_unsafe            ? ": nothing is clean any more (age_unsafe, on_old)"
               : level == DOCTOR_OK ? ""
                                    : ": new viruses pass");
}

/* New signatures that are not used. */
static void
check_rejected(struct doctor *d)
{
    g_autoptr(store_t) store = NULL;
    g_autofree char *ignored = NULL;
    if (store_open(d->settings->signatures_dir, FALSE, &store, &ignored) < 0) {
        return;
    }
    g_autoptr(GPtrArray) list = store_list(store);
    const struct store_entry *rejected = signatures_rejected(list);
    if (rejected != NULL) {
        g_autofree char *reason = text_escape(rejected->record.reason, REASON_SHOWN);
        doctor_add(d, DOCTOR_WARNING, "signatures.rejected", rejected->name,
                   "tell whoever makes them; what is in use stays until better ones come",
                   "the newest signatures were rejected: %s", reason);
    }
}

static void
check_trial(struct doctor *d)
{
    const json_t *trial = json_object_get(d->engine, "trial");
    const json_t *last = json_object_get(trial, "last");
    gboolean waits = g_strcmp0(ask_text(trial, "state"), "waiting") == 0;
    if (waits || g_strcmp0(ask_text(last, "outcome"), "failed") == 0) {
        const json_t *told = waits ? trial : last;
        g_autofree char *name = text_escape(ask_text(told, "generation"), 40);
        g_autofree char *reason = text_escape(ask_text(told, "reason"), REASON_SHOWN);
        doctor_add(d, DOCTOR_WARNING, "signatures.trial", name,
                   "mend that; it is tried again by itself", "new signatures are not tried: %s",
                   reason);
    }
}

/* Sources that bring nothing. A node that does not fetch now has an old status, which says nothing.
 */
static void
check_update(struct doctor *d)
{
    g_autofree char *path = g_build_filename(d->settings->update_dir, STATUS_FILE, NULL);
    json_t *update = json_file_load(path, UPDATE_MAX);
    gint64 age = g_get_real_time() / G_USEC_PER_SEC - ask_number(update, "ended");
    gint64 usual = (gint64)(d->settings->update_interval + d->settings->update_jitter);
    size_t i;
    json_t *source;
    if (update == NULL || age > 2 * usual || ask_number(update, "failures") < FAILURES_WARNED) {
        json_decref(update);
        return;
    }
    json_array_foreach(json_object_get(update, "sources"), i, source)
    {
        g_autofree char *origin = text_escape(ask_text(source, "origin"), 200);
        g_autofree char *error = text_escape(ask_text(source, "error"), REASON_SHOWN);
        if (ask_text(source, "error") != NULL) {
            doctor_add(d, DOCTOR_WARNING, "signatures.source", origin,
                       "mend that; it is asked again by itself", "it brings no signatures: %s",
                       error);
        }
    }
    if (ask_text(update, "error") != NULL) {
        g_autofree char *error = text_escape(ask_text(update, "error"), REASON_SHOWN);
        doctor_add(d, DOCTOR_WARNING, "signatures.offer", d->settings->update_dir,
                   "see postern signatures status", "no new signatures are offered: %s", error);
    }
    json_decref(update);
}

void
doctor_state(struct doctor *doctor)
{
    check_state_dir(doctor);
    check_mount(doctor);
    check_twice(doctor);
    check_test_only(doctor);
    check_age(doctor);
    check_rejected(doctor);
    check_trial(doctor);
    check_update(doctor);
}
