/* SPDX-License-Identifier: GPL-2.0-only */
#include "check.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include "store.h"
#include "text.h"

#define WHY_MAX 400

/* One generation. What the thread writes is read when `is_done` is set. */
struct subject {
    const struct settings *settings;
    char *name;
    char *key; /* key_of() before it was read */
    enum check_state state;
    char *why;
    gint is_done;
    gint64 again; /* not before; 0: never */
};

struct check {
    const struct settings *settings;
    GHashTable *subjects; /* those that are done, by their keys */
    GThread *thread;      /* NULL: none runs */
    struct subject *now;  /* of the thread; NULL: none */
};

static void
subject_free(void *p)
{
    struct subject *subject = p;
    g_free(subject->name);
    g_free(subject->key);
    g_free(subject->why);
    g_free(subject);
}

struct check *
check_new(const struct settings *settings)
{
    struct check *check = g_new0(struct check, 1);
    check->settings = settings;
    check->subjects = g_hash_table_new_full(g_str_hash, g_str_equal, NULL, subject_free);
    return check;
}

void
check_free(struct check *check)
{
    if (check != NULL) {
        if (check->thread != NULL) {
            g_thread_join(check->thread);
            subject_free(check->now);
        }
        g_hash_table_unref(check->subjects);
        g_free(check);
    }
}

/* The same name is another directory when it was removed and came again, perhaps with the number of
 * the one before; and files that were put right may have other hashes. */
static char *
key_of(const struct check *check, const char *name)
{
    struct stat st = {.st_ino = 0};
    g_autofree char *path = g_build_filename(check->settings->signatures_dir, name, NULL);
    (void)stat(path, &st);
    return g_strdup_printf("%s %ju %jd.%09ld", name, (uintmax_t)st.st_ino,
                           (intmax_t)st.st_ctim.tv_sec, st.st_ctim.tv_nsec);
}

static void *
subject_run(void *data)
{
    struct subject *subject = data;
    g_autoptr(store_t) store = NULL;
    g_autofree char *error = NULL;
    int rc = store_open(subject->settings->signatures_dir, FALSE, &store, &error);
    rc = rc < 0 ? rc : store_verify(store, subject->name, &error);
    subject->state = rc == 0                           ? CHECK_WHOLE
                     : rc == -EBADMSG || rc == -ENOENT ? CHECK_DAMAGED
                                                       : CHECK_UNREAD;
    subject->why = rc < 0 ? text_escape(error, WHY_MAX) : NULL;
    g_atomic_int_set(&subject->is_done, 1);
    return NULL;
}

static void
subject_begin(struct check *check, const char *name, char *key)
{
    struct subject *subject = g_new0(struct subject, 1);
    subject->settings = check->settings;
    subject->name = g_strdup(name);
    subject->key = key;
    check->now = subject;
    check->thread = g_thread_new("check", subject_run, subject);
}

/* The thread may have come to its end. */
static void
settle(struct check *check, gint64 now)
{
    struct subject *subject = check->now;
    if (check->thread != NULL && g_atomic_int_get(&subject->is_done) != 0) {
        g_thread_join(g_steal_pointer(&check->thread));
        check->now = NULL;
        subject->again = subject->state == CHECK_UNREAD ? now + CHECK_AGAIN_SECONDS : 0;
        g_hash_table_replace(check->subjects, subject->key, subject);
    }
}

enum check_state
check_look(struct check *check, const char *name, gint64 now, const char **why_r)
{
    g_autofree char *key = key_of(check, name);
    settle(check, now);
    const struct subject *subject = g_hash_table_lookup(check->subjects, key);
    bool is_due = subject == NULL || (subject->again != 0 && now >= subject->again);
    if (is_due && check->thread == NULL) {
        subject_begin(check, name, g_steal_pointer(&key));
    }
    if (subject == NULL) {
        return CHECK_RUNS;
    }
    if (why_r != NULL) {
        *why_r = subject->why;
    }
    return subject->state;
}
