/* SPDX-License-Identifier: GPL-2.0-only */
#include "unit.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>
#include <systemd/sd-daemon.h>

#include "process.h"
#include "text.h"

#define SERVICE "org.freedesktop.systemd1"
#define CALL_MAX_US (10 * G_TIME_SPAN_SECOND)
#define POLL_US 20000
#define WORDS_MAX 300
/* For this long nobody may listen while systemd executes itself anew; on a busy machine it reads
 * its units for seconds. */
#define REEXEC_US (8 * G_TIME_SPAN_SECOND)
/* Longer than TimeoutStopSec= of our units. */
#define STOP_MAX_US (10 * G_TIME_SPAN_SECOND)
/* What a process gets between SIGTERM and SIGKILL where systemd does not see to it. */
#define TERM_US (4 * G_TIME_SPAN_SECOND)

typedef sd_bus_message bus_message_t;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(bus_message_t, sd_bus_message_unref)

/* One job that is waited for. */
struct job {
    char *path;
    char *result; /* NULL until it has ended */
};

static uint64_t
time_left(gint64 deadline)
{
    gint64 left = deadline - g_get_monotonic_time();
    return (uint64_t)CLAMP(left, 1, CALL_MAX_US);
}

static int
open_private(sd_bus **ret_bus)
{
    g_autoptr(sd_bus) bus = NULL;
    int rc = sd_bus_new(&bus);
    if (rc >= 0) {
        rc = sd_bus_set_address(bus, UNIT_PRIVATE_BUS);
    }
    if (rc >= 0) {
        rc = sd_bus_start(bus);
    }
    if (rc >= 0) {
        *ret_bus = g_steal_pointer(&bus);
    }
    return rc;
}

int
unit_bus_open(sd_bus **ret_bus, char **error_r)
{
    g_autoptr(sd_bus) bus = NULL;
    gint64 patience = g_get_monotonic_time() + REEXEC_US;
    if (sd_booted() <= 0) {
        *error_r = g_strdup("this machine was not booted with systemd, which runs Postern's units");
        return -EHOSTDOWN;
    }
    int rc = open_private(&bus);
    while (rc == -ECONNREFUSED && g_get_monotonic_time() < patience) {
        g_usleep(POLL_US);
        rc = open_private(&bus);
    }
    if (rc < 0) {
        rc = sd_bus_open_system(&bus);
    }
    if (rc < 0) {
        *error_r = g_strdup_printf("systemd cannot be reached: %s", g_strerror(-rc));
        return rc;
    }
    *ret_bus = g_steal_pointer(&bus);
    return 0;
}

void
unit_bus_close(sd_bus *bus)
{
    sd_bus_flush_close_unref(bus);
}

static int
manager_call(sd_bus *bus, const char *method, gint64 deadline, sd_bus_message **ret_reply,
             char **error_r, const char *types, ...)
{
    g_autoptr(bus_message_t) call = NULL;
    sd_bus_error error = SD_BUS_ERROR_NULL;
    va_list args;
    int rc = sd_bus_message_new_method_call(bus, &call, SERVICE, UNIT_PATH, UNIT_MANAGER, method);
    if (rc >= 0) {
        va_start(args, types);
        rc = sd_bus_message_appendv(call, types, args);
        va_end(args);
    }
    if (rc >= 0) {
        rc = sd_bus_call(bus, call, time_left(deadline), &error, ret_reply);
    }
    if (rc < 0) {
        *error_r = g_strdup_printf("systemd's %s: %s", method,
                                   error.message != NULL ? error.message : g_strerror(-rc));
    }
    sd_bus_error_free(&error);
    return rc < 0 ? rc : 0;
}

/* The object path of unit NAME, which systemd loads when it is not. */
static int
unit_object(sd_bus *bus, const char *name, char **ret_path, char **error_r)
{
    g_autoptr(bus_message_t) reply = NULL;
    const char *path = NULL;
    gint64 deadline = g_get_monotonic_time() + CALL_MAX_US;
    int rc = manager_call(bus, "LoadUnit", deadline, &reply, error_r, "s", name);
    if (rc == 0 && (rc = sd_bus_message_read(reply, "o", &path)) < 0) {
        *error_r = g_strdup_printf("%s: systemd's answer is not understood", name);
    }
    if (rc >= 0) {
        *ret_path = g_strdup(path);
    }
    return rc < 0 ? rc : 0;
}

/* A text property of an object, or NULL; to be freed with free(). */
static char *
property(sd_bus *bus, const char *path, const char *interface, const char *name)
{
    char *value = NULL;
    int rc = sd_bus_get_property_string(bus, SERVICE, path, interface, name, NULL, &value);
    return rc < 0 ? NULL : value;
}

static enum unit_condition
condition_of(const char *load, const char *active)
{
    static const struct {
        const char *active;
        enum unit_condition condition;
    } map[] = {
        {"active", UNIT_UP},
        {"reloading", UNIT_UP},
        {"refreshing", UNIT_UP},
        {"activating", UNIT_RESPAWNING},
        {"deactivating", UNIT_LEAVING},
        {"failed", UNIT_FAILED},
        {"maintenance", UNIT_FAILED},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(map); i++) {
        if (strcmp(active, map[i].active) == 0) {
            return map[i].condition;
        }
    }
    return strcmp(load, "loaded") == 0 ? UNIT_DOWN : UNIT_ABSENT;
}

/* The row of the only unit that was asked for: (name, description, load, active, ...). */
static int
unit_row(sd_bus_message *reply, enum unit_condition *ret)
{
    const char *load = NULL;
    const char *active = NULL;
    int rc = sd_bus_message_enter_container(reply, 'a', "(ssssssouso)");
    if (rc > 0) {
        rc = sd_bus_message_enter_container(reply, 'r', "ssssssouso");
    }
    if (rc > 0) {
        rc = sd_bus_message_read(reply, "ssss", NULL, NULL, &load, &active);
    }
    if (rc > 0) {
        *ret = condition_of(load, active);
    }
    return rc > 0 ? 0 : -EIO;
}

/* One exchange, and systemd loads the unit when it is not. Every monitor comes by here. */
int
unit_condition(sd_bus *bus, const char *name, enum unit_condition *ret, char **error_r)
{
    g_autoptr(bus_message_t) reply = NULL;
    gint64 deadline = g_get_monotonic_time() + CALL_MAX_US;
    *ret = UNIT_ABSENT;
    if (bus == NULL) {
        *ret = process_condition(name);
        return 0;
    }
    int rc = manager_call(bus, "ListUnitsByNames", deadline, &reply, error_r, "as", 1, name);
    if (rc == 0 && (rc = unit_row(reply, ret)) < 0) {
        *error_r = g_strdup_printf("%s: systemd does not tell its state", name);
    }
    return rc;
}

gint64
unit_away(sd_bus *bus, const char *name)
{
    static const char interface[] = "org.freedesktop.systemd1.Unit";
    g_autofree char *path = NULL;
    g_autofree char *ignored = NULL;
    uint64_t left = 0;
    if (bus == NULL) {
        return process_away(name);
    }
    if (unit_object(bus, name, &path, &ignored) < 0 ||
        sd_bus_get_property_trivial(bus, SERVICE, path, interface, "ActiveExitTimestampMonotonic",
                                    NULL, 't', &left) < 0 ||
        left == 0) {
        return 0;
    }
    return MAX(g_get_monotonic_time() - (gint64)left, 0);
}

int
unit_processes(sd_bus *bus, const char *name)
{
    g_autoptr(bus_message_t) reply = NULL;
    g_autofree char *ignored = NULL;
    int n = 0;
    gint64 deadline = g_get_monotonic_time() + CALL_MAX_US;
    if (bus == NULL) {
        return process_processes(name);
    }
    int rc = manager_call(bus, "GetUnitProcesses", deadline, &reply, &ignored, "s", name);
    if (rc == -ENOENT) {
        return 0; /* systemd has forgotten the unit, which it does only when nothing is left */
    }
    if (rc == 0) {
        rc = sd_bus_message_enter_container(reply, 'a', "(sus)");
    }
    while (rc >= 0 && (rc = sd_bus_message_skip(reply, "(sus)")) > 0) {
        n++;
    }
    return rc == -ENXIO || rc >= 0 ? n : rc;
}

int
unit_reload(sd_bus *bus, gint64 deadline, char **error_r)
{
    return bus == NULL ? 0 : manager_call(bus, "Reload", deadline, NULL, error_r, "");
}

/* Has the unit a job, be it only waiting? */
static bool
has_job(sd_bus *bus, const char *name)
{
    g_autoptr(bus_message_t) reply = NULL;
    g_autofree char *path = NULL;
    g_autofree char *ignored = NULL;
    uint32_t id = 0;
    int rc = unit_object(bus, name, &path, &ignored);
    if (rc == 0) {
        rc = sd_bus_get_property(bus, SERVICE, path, "org.freedesktop.systemd1.Unit", "Job", NULL,
                                 &reply, "(uo)");
    }
    if (rc >= 0) {
        rc = sd_bus_message_read(reply, "(uo)", &id, NULL);
    }
    return rc < 0 || id != 0;
}

bool
unit_cluster_moves(sd_bus *bus)
{
    return bus != NULL &&
           (has_job(bus, "pacemaker.service") || has_job(bus, "pacemaker_remote.service"));
}

static int
on_job_removed(sd_bus_message *signal, void *data, sd_bus_error *error)
{
    struct job *job = data;
    const char *path = NULL;
    const char *result = NULL;
    uint32_t id = 0;
    (void)error;
    if (sd_bus_message_read(signal, "uoss", &id, &path, NULL, &result) < 0) {
        return 0;
    }
    if (job->path != NULL && strcmp(path, job->path) == 0 && job->result == NULL) {
        job->result = g_strdup(result);
    }
    return 0;
}

/* Waits for the end of JOB. Returns 0 when systemd says "done". */
static int
job_wait(sd_bus *bus, const struct job *job, gint64 deadline)
{
    while (job->result == NULL) {
        int rc = sd_bus_process(bus, NULL);
        if (rc < 0) {
            return rc;
        }
        if (rc > 0) {
            continue;
        }
        if (g_get_monotonic_time() >= deadline) {
            return -ETIMEDOUT;
        }
        rc = sd_bus_wait(bus, time_left(deadline));
        if (rc < 0 && rc != -EINTR) {
            return rc;
        }
    }
    if (strcmp(job->result, "done") == 0) {
        return 0;
    }
    if (strcmp(job->result, "canceled") == 0) {
        return -ECANCELED;
    }
    return strcmp(job->result, "timeout") == 0 ? -ETIMEDOUT : -EIO;
}

char *
unit_last_words(sd_bus *bus, const char *name)
{
    static const char interface[] = "org.freedesktop.systemd1.Service";
    g_autofree char *path = NULL;
    g_autofree char *error = NULL;
    if (bus == NULL) {
        return process_last_words(name);
    }
    if (unit_object(bus, name, &path, &error) < 0) {
        return g_steal_pointer(&error);
    }
    char *status = property(bus, path, interface, "StatusText");
    char *result = property(bus, path, interface, "Result");
    g_autofree char *said = text_escape(status != NULL ? status : "", WORDS_MAX);
    char *words =
        g_strdup_printf("%s%s%s; see journalctl -u %s", result != NULL ? result : "failed",
                        *said != '\0' ? ": " : "", said, name);
    free(status);
    free(result);
    return words;
}

unsigned
unit_main_pid(sd_bus *bus, const char *name)
{
    g_autofree char *path = NULL;
    g_autofree char *ignored = NULL;
    uint32_t pid = 0;
    if (bus == NULL) {
        return (unsigned)process_main_pid(name);
    }
    if (unit_object(bus, name, &path, &ignored) < 0 ||
        sd_bus_get_property_trivial(bus, SERVICE, path, "org.freedesktop.systemd1.Service",
                                    "MainPID", NULL, 'u', &pid) < 0) {
        return 0;
    }
    return pid;
}

/* Asks for METHOD (StartUnit, StopUnit) and waits for the job. JobRemoved is listened for before
 * the call: a quick job ends before its path is known here. */
static int
unit_job(sd_bus *bus, const char *method, const char *name, gint64 deadline, char **error_r)
{
    g_autoptr(bus_message_t) reply = NULL;
    g_autofree char *ignored = NULL;
    struct job job = {0};
    sd_bus_slot *slot = NULL;
    const char *path = NULL;
    int rc = sd_bus_match_signal(bus, &slot, NULL, UNIT_PATH, UNIT_MANAGER, "JobRemoved",
                                 on_job_removed, &job);
    if (rc >= 0) {
        (void)manager_call(bus, "Subscribe", deadline, NULL, &ignored, "");
        rc = manager_call(bus, method, deadline, &reply, error_r, "ss", name, "replace");
    }
    if (rc >= 0 && (rc = sd_bus_message_read(reply, "o", &path)) >= 0) {
        job.path = g_strdup(path);
        rc = job_wait(bus, &job, deadline);
    }
    if (rc < 0 && *error_r == NULL) {
        g_autofree char *words = unit_last_words(bus, name);
        *error_r = g_strdup_printf("%s: %s: %s (%s)", name, method,
                                   job.result != NULL ? job.result : g_strerror(-rc), words);
    }
    sd_bus_slot_unref(slot);
    g_free(job.path);
    g_free(job.result);
    return rc < 0 ? rc : 0;
}

int
unit_start(sd_bus *bus, const char *name, gint64 deadline, char **error_r)
{
    enum unit_condition condition;
    g_autofree char *ignored = NULL;
    if (bus == NULL) {
        return process_start(name, deadline, error_r);
    }
    int rc = unit_condition(bus, name, &condition, error_r);
    if (rc < 0 || condition == UNIT_UP) {
        return rc;
    }
    if (condition == UNIT_ABSENT) {
        *error_r = g_strdup_printf("%s is not installed", name);
        return -ENOENT;
    }
    /* Also forgets earlier starts: the limit is for crashes, not for what the cluster asks. */
    (void)manager_call(bus, "ResetFailedUnit", deadline, NULL, &ignored, "s", name);
    rc = unit_job(bus, "StartUnit", name, deadline, error_r);
    if (rc == 0) {
        rc = unit_condition(bus, name, &condition, error_r);
    }
    if (rc == 0 && condition != UNIT_UP) {
        /* A condition of the unit that does not hold ends the job as "done", too. */
        *error_r = g_strdup_printf("%s is not active after its start; see systemctl status %s",
                                   name, name);
        rc = -EIO;
    }
    return rc;
}

int
unit_ask(sd_bus *bus, const char *name, bool up, gint64 deadline, char **error_r)
{
    if (bus == NULL) {
        return up ? process_ask(name, deadline, error_r) : process_stop(name, deadline, error_r);
    }
    return manager_call(bus, up ? "StartUnit" : "StopUnit", deadline, NULL, error_r, "ss", name,
                        "replace");
}

int
unit_reload_config(sd_bus *bus, const char *name, gint64 deadline, char **error_r)
{
    enum unit_condition condition;
    int rc = unit_condition(bus, name, &condition, error_r);
    if (rc < 0 || condition != UNIT_UP) {
        return rc;
    }
    return bus == NULL ? process_hang_up(name, error_r)
                       : unit_job(bus, "ReloadUnit", name, deadline, error_r);
}

/* Waits until NAME's control group is empty; kills once what is there. */
static int
wait_empty(sd_bus *bus, const char *name, gint64 deadline, char **error_r)
{
    g_autofree char *ignored = NULL;
    bool killed = false;
    for (;;) {
        int n = unit_processes(bus, name);
        if (n <= 0) {
            if (n < 0) {
                *error_r = g_strdup_printf("%s: its processes cannot be counted: %s", name,
                                           g_strerror(-n));
            }
            return n;
        }
        if (!killed) {
            (void)manager_call(bus, "KillUnit", deadline, NULL, &ignored, "ssi", name, "all",
                               SIGKILL);
            killed = true;
        }
        if (g_get_monotonic_time() + POLL_US >= deadline) {
            *error_r = g_strdup_printf("%s: %d processes cannot be killed", name, n);
            return -ETIMEDOUT;
        }
        g_usleep(POLL_US);
    }
}

/*
 * The stop job waits for Pacemaker's stop, which waits for us, and systemd cannot be made to forget
 * that order (it refuses to read its units anew on a nearly full /run). So the unit's processes are
 * ended by hand, while the job, which stays, keeps systemd from starting them again.
 */
static int
stop_by_hand(sd_bus *bus, const char *name, gint64 deadline, char **error_r)
{
    g_autofree char *ignored = NULL;
    gint64 patience = MIN(g_get_monotonic_time() + TERM_US, deadline);
    int rc = manager_call(bus, "StopUnit", deadline, NULL, error_r, "ss", name, "replace");
    if (rc == 0) {
        (void)manager_call(bus, "KillUnit", deadline, NULL, &ignored, "ssi", name, "main", SIGTERM);
    }
    while (rc == 0 && unit_processes(bus, name) > 0 && g_get_monotonic_time() < patience) {
        g_usleep(POLL_US);
    }
    return rc;
}

/* A stop of Pacemaker that began after it was looked for makes ours wait for it. */
static int
stop_job(sd_bus *bus, const char *name, gint64 deadline, char **error_r)
{
    const char *const names[] = {name, NULL};
    gint64 soon = g_get_monotonic_time() + STOP_MAX_US;
    int rc = unit_job(bus, "StopUnit", name, MIN(soon, deadline), error_r);
    /* Somebody's systemctl start or restart has pushed it aside: no reason to fence the node. */
    while (rc == -ECANCELED && g_get_monotonic_time() < deadline) {
        g_clear_pointer(error_r, g_free);
        g_usleep(POLL_US);
        rc = unit_job(bus, "StopUnit", name, MIN(soon, deadline), error_r);
    }
    if (rc != -ETIMEDOUT || g_get_monotonic_time() >= deadline) {
        return rc;
    }
    g_clear_pointer(error_r, g_free);
    if (unit_release(bus, names, deadline, error_r) == 0) {
        return unit_job(bus, "StopUnit", name, deadline, error_r);
    }
    g_clear_pointer(error_r, g_free);
    return stop_by_hand(bus, name, deadline, error_r);
}

/* Will a stop job wait for Pacemaker's? As systemd sees it, which may be behind the files. */
static bool
is_held_back(sd_bus *bus, const char *name)
{
    g_autofree char *path = NULL;
    g_autofree char *ignored = NULL;
    g_auto(GStrv) before = NULL;
    char **strv = NULL;
    if (!unit_cluster_moves(bus) || unit_object(bus, name, &path, &ignored) < 0 ||
        sd_bus_get_property_strv(bus, SERVICE, path, "org.freedesktop.systemd1.Unit", "Before",
                                 NULL, &strv) < 0) {
        return false;
    }
    before = strv; /* malloc'ed, as GLib's own memory is */
    return g_strv_contains((const char *const *)before, "pacemaker.service");
}

int
unit_stop(sd_bus *bus, const char *name, gint64 deadline, char **error_r)
{
    enum unit_condition condition;
    g_autofree char *ignored = NULL;
    if (bus == NULL) {
        return process_stop(name, deadline, error_r);
    }
    int rc = unit_condition(bus, name, &condition, error_r);
    if (rc < 0 || condition == UNIT_ABSENT) {
        return rc;
    }
    if (condition != UNIT_DOWN && condition != UNIT_FAILED) {
        rc = is_held_back(bus, name) ? stop_by_hand(bus, name, deadline, error_r)
                                     : stop_job(bus, name, deadline, error_r);
    }
    if (rc == 0) {
        rc = wait_empty(bus, name, deadline, error_r);
    }
    if (rc == 0) {
        (void)manager_call(bus, "ResetFailedUnit", deadline, NULL, &ignored, "s", name);
    }
    return rc;
}

int
unit_watch(sd_bus *bus, const char *name, sd_bus_message_handler_t on_change, void *data)
{
    g_autofree char *ignored = NULL;
    char *path = NULL;
    int rc = sd_bus_path_encode(UNIT_PATH "/unit", name, &path);
    if (rc >= 0) {
        rc = sd_bus_match_signal(bus, NULL, NULL, path, "org.freedesktop.DBus.Properties",
                                 "PropertiesChanged", on_change, data);
    }
    if (rc >= 0) {
        gint64 deadline = g_get_monotonic_time() + CALL_MAX_US;
        rc = manager_call(bus, "Subscribe", deadline, NULL, &ignored, "");
    }
    free(path);
    /* On the private socket signals come without being asked for, and asking may be refused. */
    return rc == -EBADR || rc == -EEXIST ? 0 : rc;
}
