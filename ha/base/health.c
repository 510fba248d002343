/* SPDX-License-Identifier: GPL-2.0-only */
#include "health.h"

#include <errno.h>
#include <string.h>
#include <glib.h>

static const char *const level_names[] = {
    [HEALTH_GREEN] = "green",
    [HEALTH_YELLOW] = "yellow",
    [HEALTH_RED] = "red",
};

static const struct {
    const char *name;
    enum health_source source;
    enum health_level cap;
    bool is_untold;
    const char *text;
    const char *todo;
} causes[HEALTH_CAUSES] = {
    [HEALTH_MEMORY_PRESSURE] = {"memory-pressure", HEALTH_OF_NODE, HEALTH_RED, false,
                                "programs wait for memory",
                                "find what takes it: systemd-cgtop -m; add memory"},
    [HEALTH_MEMORY_SHORT] = {"memory-short", HEALTH_OF_NODE, HEALTH_RED, false,
                             "too little memory is available",
                             "find what takes it: systemd-cgtop -m; lower memory in postern.conf"},
    [HEALTH_STORAGE_FULL] = {"storage-full", HEALTH_OF_NODE, HEALTH_RED, false,
                             "a file system of this node is full: that of engine_dir, "
                             "signatures_dir or /var/tmp",
                             "make room there: df -h, df -i"},
    [HEALTH_STORAGE_READONLY] = {"storage-readonly", HEALTH_OF_NODE, HEALTH_RED, false,
                                 "a file system of this node is read-only: that of engine_dir, "
                                 "signatures_dir or /var/tmp",
                                 "see the kernel's log: journalctl -k"},
    [HEALTH_STORAGE_ERROR] = {"storage-error", HEALTH_OF_NODE, HEALTH_RED, false,
                              "a disk of this node fails or does not answer",
                              "see the kernel's log: journalctl -k"},
    [HEALTH_CLOCK_JUMPS] = {"clock-jumps", HEALTH_OF_NODE, HEALTH_RED, false,
                            "the clock was set by more than 2 s",
                            "let one program alone set the clock: chrony or systemd-timesyncd"},
    [HEALTH_CLOCK_UNSET] = {"clock-unset", HEALTH_OF_NODE, HEALTH_YELLOW, false,
                            "the clock is not synchronised", "run chrony or systemd-timesyncd"},
    [HEALTH_SIGNATURES_OLD] = {"signatures-old", HEALTH_OF_NODE, HEALTH_YELLOW, false,
                               "the signatures are old: new viruses pass",
                               "see why there are no newer ones: postern signatures status"},
    [HEALTH_SIGNATURES_WAIT] = {"signatures-wait", HEALTH_OF_NODE, HEALTH_YELLOW, false,
                                "new signatures wait: there is no memory for them beside the old",
                                "add memory; or adopt_quiet, adopt_move in postern.conf"},
    [HEALTH_SIGNATURES_MOVE] = {"signatures-move", HEALTH_OF_NODE, HEALTH_YELLOW, false,
                                "new signatures wait for the mail to move: there is no memory for "
                                "them beside the old",
                                "nothing: the cluster moves it as soon as another node is ready"},
    [HEALTH_STATE_FULL] = {"state-full", HEALTH_OF_SERVICE, HEALTH_YELLOW, false,
                           "state_dir is full: nothing is quarantined",
                           "make room there, or delete from the quarantine"},
    [HEALTH_STATE_SLOW] = {"state-slow", HEALTH_OF_SERVICE, HEALTH_YELLOW, false,
                           "the file system of state_dir answers slowly", "look at the storage"},
    [HEALTH_STATE_ERROR] = {"state-error", HEALTH_OF_SERVICE, HEALTH_YELLOW, false,
                            "the file system of state_dir fails",
                            "look at the storage, and at the kernel's log: journalctl -k"},
    [HEALTH_MTA_PATH] = {"mta-path", HEALTH_OF_SERVICE, HEALTH_YELLOW, false,
                         "the mail server does not answer at release_socket",
                         "see that it runs, and its master.cf: postern doctor postfix"},
    [HEALTH_BUSY_WORKERS] = {"busy-workers", HEALTH_OF_SERVICE, HEALTH_YELLOW, true,
                             "messages wait for a scanning process",
                             "nothing when it passes; else more processors"},
    [HEALTH_BUSY_MEMORY] = {"busy-memory", HEALTH_OF_SERVICE, HEALTH_YELLOW, true,
                            "the memory for messages in progress is used up, senders hear 451",
                            "nothing when it passes; else raise spool_memory, or add memory"},
};

enum health_level
health_worst(const struct health *health)
{
    enum health_level worst = HEALTH_GREEN;
    for (unsigned i = 0; i < HEALTH_CAUSES; i++) {
        worst = MAX(worst, health->level[i]);
    }
    return worst;
}

const char *
health_level_name(enum health_level level)
{
    return level_names[level];
}

enum health_level
health_cause_cap(enum health_cause cause)
{
    return causes[cause].cap;
}

const char *
health_cause_name(enum health_cause cause)
{
    return causes[cause].name;
}

const char *
health_cause_text(enum health_cause cause)
{
    return causes[cause].text;
}

const char *
health_cause_todo(enum health_cause cause)
{
    return causes[cause].todo;
}

bool
health_cause_is_told(enum health_cause cause)
{
    return !causes[cause].is_untold;
}

void
health_merge(struct health *into, const struct health *other)
{
    for (unsigned i = 0; i < HEALTH_CAUSES; i++) {
        into->level[i] = MAX(into->level[i], other->level[i]);
    }
}

void
health_drop_untold(struct health *health)
{
    for (unsigned i = 0; i < HEALTH_CAUSES; i++) {
        if (causes[i].is_untold) {
            health->level[i] = HEALTH_GREEN;
        }
    }
}

char *
health_format(const struct health *health)
{
    GString *word = g_string_new(NULL);
    for (unsigned i = 0; i < HEALTH_CAUSES; i++) {
        if (health->level[i] != HEALTH_GREEN) {
            g_string_append_printf(word, "%s%s=%s", word->len > 0 ? "," : "", causes[i].name,
                                   level_names[health->level[i]]);
        }
    }
    if (word->len == 0) {
        g_string_append(word, level_names[HEALTH_GREEN]);
    }
    return g_string_free(word, FALSE);
}

/* The cause that "NAME=LEVEL" is about, or -1. */
static int
cause_find(const char *text)
{
    for (unsigned i = 0; i < HEALTH_CAUSES; i++) {
        size_t n = strlen(causes[i].name);
        if (strncmp(text, causes[i].name, n) == 0 && text[n] == '=') {
            return (int)i;
        }
    }
    return -1;
}

/* "yellow", "red", never "green", which is what is not named. */
static int
level_find(const char *text)
{
    for (unsigned i = HEALTH_YELLOW; i < G_N_ELEMENTS(level_names); i++) {
        if (strcmp(text, level_names[i]) == 0) {
            return (int)i;
        }
    }
    return -1;
}

static int
item_parse(const char *item, enum health_source source, struct health *health)
{
    int cause = cause_find(item);
    int level = cause < 0 ? -1 : level_find(item + strlen(causes[cause].name) + 1);
    if (level < 0 || causes[cause].source != source || level > (int)causes[cause].cap ||
        health->level[cause] != HEALTH_GREEN) {
        return -EBADMSG;
    }
    health->level[cause] = (enum health_level)level;
    return 0;
}

int
health_parse(const char *word, enum health_source source, struct health *ret)
{
    struct health health = {{0}};
    *ret = health;
    if (strcmp(word, level_names[HEALTH_GREEN]) == 0) {
        return 0;
    }
    if (strlen(word) >= HEALTH_WORD_MAX) {
        return -EBADMSG;
    }
    g_auto(GStrv) items = g_strsplit(word, ",", -1);
    if (*items == NULL) {
        return -EBADMSG;
    }
    for (char **item = items; *item != NULL; item++) {
        if (item_parse(*item, source, &health) < 0) {
            return -EBADMSG;
        }
    }
    *ret = health;
    return 0;
}

json_t *
health_to_json(const struct health *health)
{
    json_t *list = json_array();
    for (unsigned i = 0; i < HEALTH_CAUSES; i++) {
        if (health->level[i] != HEALTH_GREEN) {
            json_array_append_new(list,
                                  json_pack("{s:s, s:s, s:s}", "cause", causes[i].name, "level",
                                            level_names[health->level[i]], "text", causes[i].text));
        }
    }
    return json_pack("{s:s, s:o}", "level", level_names[health_worst(health)], "causes", list);
}
