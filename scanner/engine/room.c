/* SPDX-License-Identifier: GPL-2.0-only */
#include "config.h"
#include "room.h"

#include <stdbool.h>
#include <string.h>

#define BYTES_PER_SIGNATURE 200
#define BYTES_PER_BYTE 4
/* The program, its libraries and character sets, before any signature. */
#define BASE (64ULL << 20)
#define GROUPS_MOUNT "/sys/fs/cgroup"
#define OWN_GROUPS "/proc/self/cgroup"

/* The number behind KEY at the beginning of a line of FILE in DIR; G_MAXUINT64: there is none. */
static guint64
number_in(const char *dir, const char *file, const char *key)
{
    g_autofree char *path = g_build_filename(dir, file, NULL);
    g_autofree char *text = NULL;
    if (!g_file_get_contents(path, &text, NULL, NULL)) {
        return G_MAXUINT64;
    }
    gsize len = strlen(key);
    for (const char *line = text; line != NULL && *line != '\0';) {
        const char *value = line + len + strspn(line + MIN(len, strlen(line)), " \t");
        if (strncmp(line, key, len) == 0 && g_ascii_isdigit(*value)) {
            return g_ascii_strtoull(value, NULL, 10);
        }
        line = strchr(line, '\n');
        line = line == NULL ? NULL : line + 1;
    }
    return G_MAXUINT64;
}

/* The names of a hierarchy: cgroup v2's, and v1's for the group with those below it. */
struct names {
    const char *limit;
    const char *high; /* above it processes are slowed down until they give memory back; NULL */
    const char *usage;
    const char *inactive; /* in memory.stat */
    const char *active;
};
static const struct names unified = {"memory.max", "memory.high", "memory.current",
                                     "inactive_file ", "active_file "};
static const struct names legacy = {"memory.limit_in_bytes", NULL, "memory.usage_in_bytes",
                                    "total_inactive_file ", "total_active_file "};

/* What the control group DIR has left; G_MAXUINT64: it has no limit, or is none. */
static guint64
left_in(const char *dir, const struct names *names)
{
    guint64 high = names->high != NULL ? number_in(dir, names->high, "") : G_MAXUINT64;
    guint64 most = MIN(number_in(dir, names->limit, ""), high);
    guint64 now = number_in(dir, names->usage, "");
    if (most == G_MAXUINT64 || now == G_MAXUINT64) {
        return G_MAXUINT64;
    }
    guint64 inactive = number_in(dir, "memory.stat", names->inactive);
    guint64 active = number_in(dir, "memory.stat", names->active);
    guint64 cache = (inactive == G_MAXUINT64 ? 0 : inactive) + (active == G_MAXUINT64 ? 0 : active);
    now -= MIN(now, cache);
    return most - MIN(most, now);
}

/* The least of the group DIR and all above it. */
static guint64
left_above(const char *dir, const struct names *names)
{
    guint64 least = G_MAXUINT64;
    g_autofree char *each = g_strdup(dir);
    while (strlen(each) > 1) {
        least = MIN(least, left_in(each, names));
        char *parent = g_path_get_dirname(each);
        g_free(each);
        each = parent;
    }
    return least;
}

/* Of this process's own groups: a line is "NUMBER:CONTROLLERS:PATH", v2's "0::PATH". In a container
 * that sees its own group as the root the files are in the mount itself. */
static guint64
left_of_own(void)
{
    guint64 least = G_MAXUINT64;
    g_autofree char *text = NULL;
    if (!g_file_get_contents(OWN_GROUPS, &text, NULL, NULL)) {
        return least;
    }
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    for (char **line = lines; *line != NULL; line++) {
        g_auto(GStrv) words = g_strsplit(*line, ":", 3);
        bool is_whole = g_strv_length(words) == 3;
        if (is_whole && *words[1] == '\0') {
            g_autofree char *dir = g_build_filename(GROUPS_MOUNT, words[2], NULL);
            least = MIN(least, left_above(dir, &unified));
        } else if (is_whole && strcmp(words[1], "memory") == 0) {
            g_autofree char *dir = g_build_filename(GROUPS_MOUNT, "memory", words[2], NULL);
            least = MIN(least, left_above(dir, &legacy));
        }
    }
    return least;
}

guint64
room_available(const char *group)
{
    guint64 machine = number_in("/proc", "meminfo", "MemAvailable:");
    guint64 least = MIN(left_of_own(), machine == G_MAXUINT64 ? G_MAXUINT64 : machine * 1024);
    if (group != NULL) {
        least = MIN(least, left_above(group, &unified));
    }
    return least == G_MAXUINT64 ? 0 : MAX(least, 1);
}

double
room_pressure(void)
{
    g_autofree char *text = NULL;
    const char *line = g_file_get_contents("/proc/pressure/memory", &text, NULL, NULL)
                           ? strstr(text, "full avg10=")
                           : NULL;
    return line != NULL ? g_ascii_strtod(line + strlen("full avg10="), NULL) : 0;
}

/* 0: not every file says it. */
static guint64
signatures_of(const struct manifest *manifest)
{
    guint64 sum = 0;
    for (guint i = 0; i < manifest->files->len; i++) {
        const struct manifest_file *file = g_ptr_array_index(manifest->files, i);
        if (file->signatures == 0) {
            return 0;
        }
        sum += file->signatures;
    }
    return sum;
}

guint64
room_needed(const struct manifest *manifest, const struct manifest *current, guint64 memory)
{
    guint64 fresh = signatures_of(manifest);
    if (current == NULL || memory <= BASE) {
        return BASE + (fresh > 0 ? fresh * BYTES_PER_SIGNATURE
                                 : manifest_bytes(manifest) * BYTES_PER_BYTE);
    }
    guint64 old = signatures_of(current);
    double ratio =
        fresh > 0 && old > 0
            ? (double)fresh / (double)old
            : CLAMP((double)manifest_bytes(manifest) / (double)MAX(manifest_bytes(current), 1), 0.5,
                    2);
    return BASE + (guint64)((double)(memory - BASE) * ratio);
}
