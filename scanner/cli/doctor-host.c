/* SPDX-License-Identifier: GPL-2.0-only */
/* Services, users, units, kernel and clock of this host. */
#include "doctor.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysinfo.h>
#include <sys/timex.h>
#include <unistd.h>
#include <systemd/sd-daemon.h>

#include "health.h"
#include "program.h"
#include "terminal.h"

/* settings.def: id_base is the first of so many. */
#define IDS 256U
#define TARGET "postern.target"

gboolean
doctor_has_cluster(void)
{
    /* CIB_file is how Pacemaker's own tools are pointed at a saved configuration. */
    return access("/run/crm", F_OK) == 0 || g_getenv("CIB_file") != NULL;
}

static void
check_engine(struct doctor *d)
{
    const char *state = json_string_value(json_object_get(d->engine, "state"));
    if (state == NULL) {
        enum doctor_level level = geteuid() == 0 ? DOCTOR_PROBLEM : DOCTOR_UNCHECKED;
        doctor_add(d, level, "engine.state", "postern-engine",
                   geteuid() == 0 ? "start the cluster's resource, or see journalctl -u "
                                    "postern-engine"
                                  : "run this as root",
                   "it does not answer");
    } else if (strcmp(state, "ready") == 0) {
        doctor_add(d, DOCTOR_OK, "engine.state", "postern-engine", NULL, "ready");
    } else {
        const char *error = json_string_value(json_object_get(d->engine, "error"));
        doctor_add(d, strcmp(state, "loading") == 0 ? DOCTOR_WARNING : DOCTOR_PROBLEM,
                   "engine.state", "postern-engine",
                   strcmp(state, "loading") == 0 ? "wait until the signatures are loaded"
                                                 : "see journalctl -u postern-engine",
                   "%s%s%s", state, error != NULL ? ": " : "", error != NULL ? error : "");
    }
}

static void
check_posternd(struct doctor *d)
{
    if (d->posternd == NULL) {
        doctor_add(d, doctor_has_cluster() || geteuid() != 0 ? DOCTOR_UNCHECKED : DOCTOR_WARNING,
                   "posternd.state", d->settings->control_socket,
                   "nothing on a passive node; else see journalctl -u posternd, and run this as "
                   "root",
                   "posternd does not answer here");
    } else if (json_is_true(json_object_get(d->posternd, "ready"))) {
        doctor_add(d, DOCTOR_OK, "posternd.state", d->settings->control_socket, NULL,
                   "it serves and can give verdicts");
    } else {
        doctor_add(d, DOCTOR_PROBLEM, "posternd.state", d->settings->control_socket,
                   "see the engine's state",
                   "it serves, but can give no verdict: senders hear 451");
    }
}

/* What the engine and posternd found in the last half minute. */
static void
check_health_of(struct doctor *d, const char *who, const json_t *health)
{
    size_t i;
    json_t *item;
    json_array_foreach(json_object_get(health, "causes"), i, item)
    {
        const char *name = json_string_value(json_object_get(item, "cause"));
        const char *level = json_string_value(json_object_get(item, "level"));
        for (unsigned c = 0; name != NULL && c < HEALTH_CAUSES; c++) {
            enum health_cause cause = (enum health_cause)c;
            if (strcmp(name, health_cause_name(cause)) == 0) {
                doctor_add(d, g_strcmp0(level, "red") == 0 ? DOCTOR_PROBLEM : DOCTOR_WARNING,
                           "host.health", who, health_cause_todo(cause), "%s: %s", name,
                           health_cause_text(cause));
            }
        }
    }
    if (health != NULL && json_array_size(json_object_get(health, "causes")) == 0) {
        doctor_add(d, DOCTOR_OK, "host.health", who, NULL, "green");
    }
}

static void
check_health(struct doctor *d)
{
    check_health_of(d, "health of this node", json_object_get(d->engine, "health"));
    check_health_of(d, "load of the service", json_object_get(d->posternd, "health"));
}

/* The engine says in one line what it has; what is missing it says in capitals. */
static void
check_sandbox(struct doctor *d)
{
    const char *sandbox = json_string_value(json_object_get(d->engine, "sandbox"));
    if (sandbox == NULL || *sandbox == '\0') {
        return;
    }
    gboolean whole = g_regex_match_simple("\\bN(O|OT)\\b", sandbox, 0, 0) == FALSE;
    doctor_add(d, whole ? DOCTOR_OK : DOCTOR_WARNING, "engine.sandbox", "postern-engine",
               whole ? NULL
                     : "run it with the systemd unit, on a kernel from 5.13 on with cgroup v2",
               "%s", sandbox);
}

static void
check_users(struct doctor *d)
{
    const char *const users[] = {d->settings->daemon_user, d->settings->engine_user,
                                 d->settings->update_user, d->settings->share_user};
    /* The last one gives and takes between nodes. */
    size_t n = G_N_ELEMENTS(users) - (doctor_has_cluster() ? 0 : 1);
    for (size_t i = 0; i < n; i++) {
        const struct passwd *user = getpwnam(users[i]);
        if (user == NULL) {
            doctor_add(d, DOCTOR_PROBLEM, "host.user", users[i], "run systemd-sysusers",
                       "there is no such user");
        } else if (user->pw_uid == 0) {
            doctor_add(d, DOCTOR_PROBLEM, "host.user", users[i],
                       "name another user in postern.conf", "that is root: no right is given up");
        } else {
            doctor_add(d, DOCTOR_OK, "host.user", users[i], NULL, "it is user number %u",
                       (unsigned)user->pw_uid);
        }
    }
}

/* Whoever owns such a number could send signals to workers or be read by them. */
static void
check_ids(struct doctor *d)
{
    guint64 first = d->settings->id_base;
    g_autofree char *where = g_strdup_printf("id_base = %" G_GUINT64_FORMAT, first);
    gboolean good = TRUE;
    for (guint64 id = first; id < first + IDS; id++) {
        const struct passwd *user = getpwuid((uid_t)id);
        const struct group *group = user == NULL ? getgrgid((gid_t)id) : NULL;
        if (user != NULL || group != NULL) {
            good = FALSE;
            doctor_add(d, DOCTOR_PROBLEM, "host.id-base", where, "choose another id_base",
                       "number %" G_GUINT64_FORMAT " belongs to %s %s", id,
                       user != NULL ? "user" : "group",
                       user != NULL ? user->pw_name : group->gr_name);
        }
    }
    if (good) {
        doctor_add(d, DOCTOR_OK, "host.id-base", where, NULL,
                   "nobody owns the %u numbers of the sandbox", IDS);
    }
}

/* "USER:FIRST:NUMBER": ranges that rootless containers map. */
static void
check_subordinate(struct doctor *d)
{
    static const char *const files[] = {"/etc/subuid", "/etc/subgid"};
    guint64 first = d->settings->id_base;
    for (size_t i = 0; i < G_N_ELEMENTS(files); i++) {
        g_autofree char *text = NULL;
        if (!g_file_get_contents(files[i], &text, NULL, NULL)) {
            continue;
        }
        g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
        for (char **line = lines; *line != NULL; line++) {
            g_auto(GStrv) fields = g_strsplit(*line, ":", 3);
            guint64 low = g_strv_length(fields) == 3 ? g_ascii_strtoull(fields[1], NULL, 10) : 0;
            guint64 n = low > 0 ? g_ascii_strtoull(fields[2], NULL, 10) : 0;
            if (n > 0 && low < first + IDS && first < low + n) {
                doctor_add(d, DOCTOR_PROBLEM, "host.id-base", files[i], "choose another id_base",
                           "containers of %s may use the sandbox's numbers (from %" G_GUINT64_FORMAT
                           ")",
                           fields[0], low);
            }
        }
    }
}

static const struct {
    const char *property;
    const char *units; /* those that it holds for */
    const char *value; /* that is right */
    const char *id;
    const char *text; /* what another value means */
    const char *todo;
} unit_rules[] = {
    {"LogRateLimitIntervalUSec", "postern-engine posternd postern-notify", "0", "unit.rate-limit",
     "the journal drops lines of a busy service, and messages look unrecorded",
     "set LogRateLimitIntervalSec=0"},
    {"OOMPolicy", "postern-engine", "continue", "unit.oom-policy",
     "one worker out of memory ends the whole engine", "set OOMPolicy=continue"},
    {"NeedDaemonReload", "postern-engine posternd postern-notify postern-share postern-update",
     "no", "unit.reload", "systemd does not know the unit's newest text",
     "systemctl daemon-reload"},
    {"NoNewPrivileges", "postern-engine posternd postern-share postern-update", "yes",
     "unit.privileges", "what is taken over can gain rights by programs with the setuid bit",
     "take the drop-in that changes it away"},
    {"Delegate", "postern-engine", "yes", "unit.delegate",
     "workers cannot have control groups of their own", "take the drop-in that changes it away"},
};

static void
check_rule(struct doctor *d, const char *unit, GHashTable *values, size_t i)
{
    const char *value = g_hash_table_lookup(values, unit_rules[i].property);
    if (value == NULL || strstr(unit_rules[i].units, unit) == NULL) {
        return;
    }
    g_autofree char *where = g_strdup_printf("%s.service: %s", unit, unit_rules[i].property);
    gboolean good = strcmp(value, unit_rules[i].value) == 0;
    doctor_add(d, good ? DOCTOR_OK : DOCTOR_WARNING, unit_rules[i].id, where,
               good ? NULL : unit_rules[i].todo, "%s%s%s", value, good ? "" : ": ",
               good ? "" : unit_rules[i].text);
}

/* The agent's own drop-ins are in /run; others change what the unit was tested with. */
static void
check_dropins(struct doctor *d, const char *unit, const char *paths)
{
    g_auto(GStrv) list = g_strsplit(paths, " ", -1);
    for (char **path = list; *path != NULL; path++) {
        if (**path != '\0' && !g_str_has_prefix(*path, "/run/systemd/system/")) {
            g_autofree char *where = g_strdup_printf("%s.service", unit);
            doctor_add(d, DOCTOR_WARNING, "unit.drop-in", where,
                       "see that it lifts no protection: systemctl cat", "%s changes the unit",
                       *path);
        }
    }
}

/* UNIT with its suffix. */
static void
check_enabled(struct doctor *d, const char *unit, const char *state)
{
    if (state != NULL && strcmp(state, "enabled") == 0 && doctor_has_cluster()) {
        doctor_add(d, DOCTOR_PROBLEM, "unit.enabled", unit, "systemctl disable it",
                   "it starts at boot, beside the cluster, which alone may start it");
    }
}

static GHashTable *
unit_properties(const char *unit, char **error_r)
{
    const char *const argv[] = {"systemctl", "show", "--no-pager", unit, NULL};
    g_autofree char *text = program_output(argv, error_r);
    if (text == NULL) {
        return NULL;
    }
    GHashTable *values = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    for (char **line = lines; *line != NULL; line++) {
        char *equals = strchr(*line, '=');
        if (equals != NULL) {
            g_hash_table_replace(values, g_strndup(*line, (gsize)(equals - *line)),
                                 g_strdup(equals + 1));
        }
    }
    return values;
}

static gboolean
check_unit(struct doctor *d, const char *unit)
{
    g_autofree char *error = NULL;
    g_autofree char *where = g_strdup_printf("%s.service", unit);
    g_autoptr(GHashTable) values = unit_properties(where, &error);
    if (values == NULL && sd_booted() <= 0) {
        doctor_add(d, DOCTOR_WARNING, "unit.systemd", "postern-supervise",
                   "see WITHOUT SYSTEMD in ocf_postern_scanner(7)",
                   "this host was not booted with systemd: the programs run without the sandbox of "
                   "its units (the scanning processes have their own)");
        return FALSE;
    }
    if (values == NULL) {
        doctor_add(d, DOCTOR_UNCHECKED, "unit.systemd", "systemd", NULL,
                   "the units cannot be looked at: %s", error);
        return FALSE;
    }
    if (g_strcmp0(g_hash_table_lookup(values, "LoadState"), "loaded") != 0) {
        doctor_add(d, DOCTOR_WARNING, "unit.missing", where,
                   "make install, systemctl daemon-reload", "systemd does not know this unit (%s)",
                   (const char *)g_hash_table_lookup(values, "LoadState"));
        return TRUE;
    }
    for (size_t i = 0; i < G_N_ELEMENTS(unit_rules); i++) {
        check_rule(d, unit, values, i);
    }
    const char *dropins = g_hash_table_lookup(values, "DropInPaths");
    check_dropins(d, unit, dropins == NULL ? "" : dropins);
    check_enabled(d, where, g_hash_table_lookup(values, "UnitFileState"));
    return TRUE;
}

/* What starts Postern where there is no cluster, and must not where there is one. */
static void
check_target(struct doctor *d)
{
    g_autofree char *error = NULL;
    g_autoptr(GHashTable) daemon = unit_properties("posternd.service", &error);
    g_autoptr(GHashTable) target = daemon != NULL ? unit_properties(TARGET, &error) : NULL;
    if (target == NULL) {
        return;
    }
    const char *state = g_hash_table_lookup(target, "UnitFileState");
    check_enabled(d, TARGET, state);
    if (!doctor_has_cluster() && g_strcmp0(state, "enabled") != 0 &&
        g_strcmp0(g_hash_table_lookup(daemon, "ActiveState"), "active") == 0) {
        doctor_add(d, DOCTOR_WARNING, "unit.boot", TARGET, "systemctl enable it",
                   "Postern runs now, and will not after the next boot");
    }
}

static void
check_units(struct doctor *d)
{
    static const char *const units[] = {"postern-engine", "posternd", "postern-notify",
                                        "postern-share", "postern-update"};
    for (size_t i = 0; i < G_N_ELEMENTS(units); i++) {
        if (!check_unit(d, units[i])) {
            return;
        }
    }
    check_target(d);
}

/* Signatures are there twice while new ones are loaded; 1.5 GB each is the official set. */
static void
check_memory(struct doctor *d)
{
    struct sysinfo info;
    if (sysinfo(&info) < 0) {
        return;
    }
    guint64 total = (guint64)info.totalram * info.mem_unit;
    g_autofree char *size = terminal_size(total);
    if (d->settings->memory > total) {
        doctor_add(d, DOCTOR_PROBLEM, "host.memory", "memory", "lower it, or set it to 0",
                   "it is more than this host's %s: processes are killed when it is used", size);
    } else if (d->settings->spool_memory > total / 2) {
        doctor_add(d, DOCTOR_WARNING, "host.memory", "spool_memory", "lower it, or add memory",
                   "more than half of this host's %s may be taken by messages in progress", size);
    } else {
        doctor_add(d, DOCTOR_OK, "host.memory", "spool_memory", NULL, "it fits into this host's %s",
                   size);
    }
}

/* Retention, the age of signatures and the join with other logs need the same clock everywhere. */
static void
check_clock(struct doctor *d)
{
    struct timex now = {.modes = 0};
    int state = adjtimex(&now);
    if (state < 0) {
        doctor_add(d, DOCTOR_UNCHECKED, "host.clock", "clock", NULL, "it cannot be asked: %s",
                   g_strerror(errno));
    } else if (state == TIME_ERROR || (now.status & STA_UNSYNC) != 0) {
        doctor_add(d, DOCTOR_WARNING, "host.clock", "clock", "run chrony or systemd-timesyncd",
                   "it is not synchronised");
    } else {
        doctor_add(d, DOCTOR_OK, "host.clock", "clock", NULL, "synchronised");
    }
}

void
doctor_host(struct doctor *doctor)
{
    static void (*const checks[])(struct doctor *) = {
        check_engine, check_posternd,    check_health, check_sandbox, check_users,
        check_ids,    check_subordinate, check_units,  check_memory,  check_clock,
    };
    for (size_t i = 0; i < G_N_ELEMENTS(checks); i++) {
        checks[i](doctor);
    }
}
