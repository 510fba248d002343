/* SPDX-License-Identifier: GPL-2.0-only */
#include "role.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#include "durable.h"

static const char *const mode_names[] = {"promotable", "primitive", "engine"};
static const char *const stage_names[] = {"standby", "taking", "serving", "leaving"};

/* The first line, when what was stopped had been promoted. A comment: an older Postern, to which
 * somebody goes back, takes each section for a resource that runs. */
#define SERVED "# served\n"

struct roles {
    char *path;
    int lock;
    GPtrArray *list;
    bool served; /* one of those that were removed had been promoted */
};

gint64
role_now(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_BOOTTIME, &now);
    return (gint64)now.tv_sec;
}

static void
role_free(struct role *role)
{
    g_free(role->resource);
    g_free(role->node);
    g_free(role->engine_dir);
    g_free(role->control);
    g_free(role->mount);
    g_free(role->storage);
    g_free(role->text);
    g_free(role->witness);
    g_free(role->health);
    g_free(role);
}

static unsigned
read_name(GKeyFile *file, const char *group, const char *key, const char *const names[], unsigned n)
{
    g_autofree char *value = g_key_file_get_string(file, group, key, NULL);
    for (unsigned i = 0; value != NULL && i < n; i++) {
        if (strcmp(value, names[i]) == 0) {
            return i;
        }
    }
    return 0;
}

static struct role *
role_read(GKeyFile *file, const char *group)
{
    struct role *role = g_new0(struct role, 1);
    role->resource = g_strdup(group);
    role->node = g_key_file_get_string(file, group, "node", NULL);
    role->mode = (enum role_mode)read_name(file, group, "mode", mode_names, 3);
    role->stage = (enum role_stage)read_name(file, group, "stage", stage_names, 4);
    role->since = g_key_file_get_int64(file, group, "since", NULL);
    role->keep = g_key_file_get_boolean(file, group, "keep", NULL);
    role->served = g_key_file_get_boolean(file, group, "served", NULL);
    role->fell = g_key_file_get_int64(file, group, "fell", NULL);
    role->again = g_key_file_get_int64(file, group, "again", NULL);
    role->require_ready = g_key_file_get_boolean(file, group, "require_ready", NULL);
    role->lost = g_key_file_get_boolean(file, group, "lost", NULL);
    role->engine_dir = g_key_file_get_string(file, group, "engine_dir", NULL);
    role->control = g_key_file_get_string(file, group, "control", NULL);
    role->mount = g_key_file_get_string(file, group, "mount", NULL);
    role->storage = g_key_file_get_string(file, group, "storage", NULL);
    role->witness = g_key_file_get_string(file, group, "witness", NULL);
    role->witnessed = g_key_file_get_int64(file, group, "witnessed", NULL);
    role->text = g_key_file_get_string(file, group, "text", NULL);
    role->health = g_key_file_get_string(file, group, "health", NULL);
    role->score = g_key_file_has_key(file, group, "score", NULL)
                      ? g_key_file_get_int64(file, group, "score", NULL)
                      : -1;
    role->published = g_key_file_get_int64(file, group, "published", NULL);
    return role;
}

static void
write_text(GKeyFile *file, const char *group, const char *key, const char *value)
{
    if (value != NULL) {
        g_key_file_set_string(file, group, key, value);
    }
}

static void
role_write(GKeyFile *file, const struct role *role)
{
    const char *group = role->resource;
    g_key_file_set_string(file, group, "mode", mode_names[role->mode]);
    g_key_file_set_string(file, group, "stage", stage_names[role->stage]);
    g_key_file_set_int64(file, group, "since", role->since);
    g_key_file_set_boolean(file, group, "keep", role->keep);
    g_key_file_set_boolean(file, group, "served", role->served);
    g_key_file_set_int64(file, group, "fell", role->fell);
    g_key_file_set_int64(file, group, "again", role->again);
    g_key_file_set_boolean(file, group, "require_ready", role->require_ready);
    g_key_file_set_boolean(file, group, "lost", role->lost);
    g_key_file_set_int64(file, group, "score", role->score);
    g_key_file_set_int64(file, group, "published", role->published);
    write_text(file, group, "node", role->node);
    write_text(file, group, "engine_dir", role->engine_dir);
    write_text(file, group, "control", role->control);
    write_text(file, group, "mount", role->mount);
    write_text(file, group, "storage", role->storage);
    write_text(file, group, "witness", role->witness);
    g_key_file_set_int64(file, group, "witnessed", role->witnessed);
    write_text(file, group, "text", role->text);
    write_text(file, group, "health", role->health);
}

static void
roles_load(struct roles *roles)
{
    g_autoptr(GKeyFile) file = g_key_file_new();
    g_autofree char *text = NULL;
    if (!g_file_get_contents(roles->path, &text, NULL, NULL) ||
        !g_key_file_load_from_data(file, text, strlen(text), G_KEY_FILE_NONE, NULL)) {
        return;
    }
    roles->served = g_str_has_prefix(text, SERVED);
    g_auto(GStrv) groups = g_key_file_get_groups(file, NULL);
    for (char **group = groups; *group != NULL; group++) {
        g_ptr_array_add(roles->list, role_read(file, *group));
    }
}

int
roles_open(const char *dir, struct roles **ret_roles)
{
    dir = dir != NULL ? dir : ROLE_DIR;
    g_autofree char *lock_path = g_build_filename(dir, "lock", NULL);
    int lock = open(lock_path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (lock < 0) {
        return -errno;
    }
    while (flock(lock, LOCK_EX) < 0) {
        if (errno != EINTR) {
            int rc = -errno;
            close(lock);
            return rc;
        }
    }
    struct roles *roles = g_new0(struct roles, 1);
    roles->path = g_build_filename(dir, "role", NULL);
    roles->lock = lock;
    roles->list = g_ptr_array_new_with_free_func((GDestroyNotify)role_free);
    roles_load(roles);
    *ret_roles = roles;
    return 0;
}

void
roles_close(struct roles *roles)
{
    if (roles == NULL) {
        return;
    }
    close(roles->lock);
    g_ptr_array_unref(roles->list);
    g_free(roles->path);
    g_free(roles);
}

struct role *
roles_find(struct roles *roles, const char *resource)
{
    for (guint i = 0; i < roles->list->len; i++) {
        struct role *role = g_ptr_array_index(roles->list, i);
        if (strcmp(role->resource, resource) == 0) {
            return role;
        }
    }
    return NULL;
}

struct role *
roles_get(struct roles *roles, const char *resource)
{
    struct role *role = roles_find(roles, resource);
    if (role == NULL) {
        role = g_new0(struct role, 1);
        role->resource = g_strdup(resource);
        role->score = -1;
        role_set_stage(role, ROLE_STANDBY);
        role->fell = roles->served ? role_now() : 0;
        g_ptr_array_add(roles->list, role);
    }
    return role;
}

void
roles_remove(struct roles *roles, const char *resource)
{
    struct role *role = roles_find(roles, resource);
    if (role != NULL) {
        roles->served = roles->served || role->served;
        g_ptr_array_remove(roles->list, role);
    }
}

void
role_set_stage(struct role *role, enum role_stage stage)
{
    role->stage = stage;
    role->since = role_now();
    if (stage == ROLE_TAKING) {
        role->served = true;
        role->fell = 0;
        role->again = 0;
    }
}

struct role **
roles_all(struct roles *roles)
{
    struct role **all = g_new0(struct role *, roles->list->len + 1);
    for (guint i = 0; i < roles->list->len; i++) {
        all[i] = g_ptr_array_index(roles->list, i);
    }
    return all;
}

struct role *
roles_other(struct roles *roles, const char *resource)
{
    for (guint i = 0; i < roles->list->len; i++) {
        struct role *role = g_ptr_array_index(roles->list, i);
        if (role->mode != ROLE_ENGINE && strcmp(role->resource, resource) != 0) {
            return role;
        }
    }
    return NULL;
}

int
roles_save(struct roles *roles)
{
    g_autoptr(GKeyFile) file = g_key_file_new();
    for (guint i = 0; i < roles->list->len; i++) {
        role_write(file, g_ptr_array_index(roles->list, i));
    }
    g_autofree char *sections = g_key_file_to_data(file, NULL, NULL);
    g_autofree char *text = g_strconcat(roles->served ? SERVED : "", sections, NULL);
    return durable_keep_text(roles->path, text, 0644); /* the lock keeps readers away */
}
