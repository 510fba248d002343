/* SPDX-License-Identifier: GPL-2.0-only */
#include "process-record.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "durable.h"
#include "role.h"

#define GROUP "process"
/* Of /proc/PID/stat, counted behind the name's closing parenthesis. */
#define FIELD_STATE 0
#define FIELD_START 19

static const char *const condition_names[] = {
    [UNIT_ABSENT] = "absent",         [UNIT_DOWN] = "down",       [UNIT_UP] = "up",
    [UNIT_RESPAWNING] = "respawning", [UNIT_LEAVING] = "leaving", [UNIT_FAILED] = "failed",
};

guint64
process_start_time(pid_t pid)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/stat", (int)pid);
    g_autofree char *text = NULL;
    const char *fields = g_file_get_contents(path, &text, NULL, NULL) ? strrchr(text, ')') : NULL;
    if (fields == NULL || fields[1] != ' ') {
        return 0;
    }
    g_auto(GStrv) words = g_strsplit(fields + 2, " ", FIELD_START + 2);
    if (g_strv_length(words) < FIELD_START + 1 || strchr("ZX", words[FIELD_STATE][0]) != NULL) {
        return 0;
    }
    return g_ascii_strtoull(words[FIELD_START], NULL, 10);
}

bool
process_id_lives(const struct process_id *id)
{
    return id->pid > 0 && id->start != 0 && process_start_time(id->pid) == id->start;
}

static char *
record_path(const char *dir, const char *name)
{
    g_autofree char *file = g_strconcat(name, ".process", NULL);
    return g_build_filename(dir != NULL ? dir : ROLE_DIR, file, NULL);
}

static int
condition_find(const char *word)
{
    for (size_t i = 0; word != NULL && i < G_N_ELEMENTS(condition_names); i++) {
        if (strcmp(word, condition_names[i]) == 0) {
            return (int)i;
        }
    }
    return -1;
}

int
process_record_read(const char *dir, const char *name, struct process_record *ret)
{
    g_autofree char *path = record_path(dir, name);
    g_autoptr(GKeyFile) file = g_key_file_new();
    memset(ret, 0, sizeof *ret);
    if (access(path, F_OK) < 0) {
        return -errno;
    }
    if (!g_key_file_load_from_file(file, path, G_KEY_FILE_NONE, NULL)) {
        return -EBADMSG;
    }
    g_autofree char *word = g_key_file_get_string(file, GROUP, "condition", NULL);
    int condition = condition_find(word);
    ret->supervisor.pid = g_key_file_get_integer(file, GROUP, "supervisor", NULL);
    if (condition < 0 || ret->supervisor.pid <= 1) {
        return -EBADMSG;
    }
    ret->condition = (enum unit_condition)condition;
    ret->supervisor.start = g_key_file_get_uint64(file, GROUP, "supervisor_start", NULL);
    ret->main.pid = g_key_file_get_integer(file, GROUP, "main", NULL);
    ret->main.start = g_key_file_get_uint64(file, GROUP, "main_start", NULL);
    ret->up_until = g_key_file_get_int64(file, GROUP, "up_until", NULL);
    ret->starts = g_key_file_get_uint64(file, GROUP, "starts", NULL);
    ret->status = g_key_file_get_string(file, GROUP, "status", NULL);
    return 0;
}

int
process_record_write(const char *dir, const char *name, const struct process_record *record)
{
    g_autofree char *path = record_path(dir, name);
    g_autoptr(GKeyFile) file = g_key_file_new();
    g_key_file_set_string(file, GROUP, "condition", condition_names[record->condition]);
    g_key_file_set_integer(file, GROUP, "supervisor", record->supervisor.pid);
    g_key_file_set_uint64(file, GROUP, "supervisor_start", record->supervisor.start);
    g_key_file_set_integer(file, GROUP, "main", record->main.pid);
    g_key_file_set_uint64(file, GROUP, "main_start", record->main.start);
    g_key_file_set_int64(file, GROUP, "up_until", record->up_until);
    g_key_file_set_uint64(file, GROUP, "starts", record->starts);
    if (record->status != NULL) {
        g_key_file_set_string(file, GROUP, "status", record->status);
    }
    g_autofree char *text = g_key_file_to_data(file, NULL, NULL);
    return durable_keep_text(path, text, 0644);
}

void
process_record_remove(const char *dir, const char *name)
{
    g_autofree char *path = record_path(dir, name);
    (void)unlink(path);
}

void
process_record_clear(struct process_record *record)
{
    g_clear_pointer(&record->status, g_free);
}
