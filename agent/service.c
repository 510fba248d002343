/* SPDX-License-Identifier: GPL-2.0-only */
#include "service.h"

#include <errno.h>
#include <string.h>

#include "log.h"
#include "milter.h"
#include "mounts.h"
#include "param.h"
#include "place.h"
#include "process.h"
#include "programs.h"
#include "record.h"
#include "score.h"

/* From the margin between the deadline and the cluster's timeout. */
#define CLEANUP_US (2 * G_TIME_SPAN_SECOND)
#define HELPER_US (4 * G_TIME_SPAN_SECOND)
#define DROPPED_US G_TIME_SPAN_SECOND

int
service_bus(struct agent *agent, char **error_r)
{
    if (agent->bus != NULL) {
        return PCMK_OCF_OK;
    }
    int rc = unit_bus_open(&agent->bus, error_r);
    if (rc == -EHOSTDOWN) {
        g_clear_pointer(error_r, g_free);
        return PCMK_OCF_OK; /* the bus stays NULL: our own supervisor (process.h) */
    }
    return rc < 0 ? PCMK_OCF_UNKNOWN_ERROR : PCMK_OCF_OK;
}

/* What has to end is ended by its control group when systemd cannot be asked (process.h). */
static void
bus_or_none(struct agent *agent)
{
    g_autofree char *error = NULL;
    if (service_bus(agent, &error) != PCMK_OCF_OK) {
        log_warning("%s: %s; going on without it", agent->ocf.resource, error);
    }
}

int
service_require(struct agent *agent)
{
    g_autofree char *error = NULL;
    int rc = service_bus(agent, &error);
    return rc == PCMK_OCF_OK ? rc : ocf_fail(&agent->ocf, rc, "%s", error);
}

int
service_settings(struct agent *agent)
{
    g_autofree char *error = NULL;
    if (param_check(&agent->ocf, &error) == 0) {
        agent->settings = settings_load(ocf_param(&agent->ocf, PARAM_CONFIG), &error);
    }
    return agent->settings != NULL ? PCMK_OCF_OK
                                   : ocf_fail(&agent->ocf, PCMK_OCF_INVALID_PARAM, "%s", error);
}

static void
append_path(GString *text, const char *path)
{
    g_autofree char *optional = g_strconcat("-", path, NULL);
    g_autofree char *quoted = unit_quote(optional);
    g_string_append_printf(text, "ReadWritePaths=%s\n", quoted);
}

static GString *
unit_options(const struct agent *agent)
{
    GString *text = g_string_new(NULL);
    const char *config = ocf_param(&agent->ocf, PARAM_CONFIG);
    if (config != NULL) {
        g_autofree char *option = g_strconcat("POSTERN_OPTIONS=--config ", config, NULL);
        g_autofree char *quoted = unit_quote(option);
        g_string_append_printf(text, "Environment=%s\n", quoted);
    }
    return text;
}

/* The units can write to the default places only; the configuration may name others. */
static char *
options_with(const struct agent *agent, const char *dir, const char *another)
{
    GString *text = unit_options(agent);
    append_path(text, dir);
    if (another != NULL) {
        append_path(text, another);
    }
    return g_string_free(text, FALSE);
}

/* The drop-ins of all units at once: a promotion then finds its own there. */
static int
configure_units(struct agent *agent)
{
    g_autofree char *error = NULL;
    const struct settings *settings = agent->settings;
    g_autofree char *engine = options_with(agent, settings->engine_dir, settings->signatures_dir);
    g_autofree char *daemon = g_string_free(unit_options(agent), FALSE);
    g_autofree char *share = options_with(agent, settings->share_dir, NULL);
    g_autofree char *update = options_with(agent, settings->update_dir, NULL);
    const struct {
        const char *unit;
        const char *options;
    } units[] = {{SCORE_ENGINE_UNIT, engine},
                 {SCORE_DAEMON_UNIT, daemon},
                 {SCORE_NOTIFY_UNIT, NULL},
                 {SCORE_SHARE_UNIT, share},
                 {SCORE_UPDATE_UNIT, update}};
    bool changed = false;
    int rc = 0;
    if (agent->bus == NULL) {
        const char *config = ocf_param(&agent->ocf, PARAM_CONFIG);
        g_autofree char *options = config != NULL ? g_strconcat("--config ", config, NULL) : NULL;
        (void)g_setenv("POSTERN_OPTIONS", options != NULL ? options : "", TRUE);
        return PCMK_OCF_OK;
    }
    for (size_t i = 0; i < G_N_ELEMENTS(units) && rc == 0; i++) {
        rc = unit_configure(units[i].unit, units[i].options, &changed, &error);
    }
    if (rc == 0 && changed) {
        rc = unit_reload(agent->bus, agent->ocf.deadline, &error);
    }
    return rc == 0 ? PCMK_OCF_OK : ocf_fail(&agent->ocf, PCMK_OCF_UNKNOWN_ERROR, "%s", error);
}

static int
unit_up(struct agent *agent, const char *name)
{
    g_autofree char *error = NULL;
    int rc = unit_start(agent->bus, name, agent->ocf.deadline, &error);
    if (rc < 0) {
        return ocf_fail(&agent->ocf,
                        rc == -ENOENT ? PCMK_OCF_NOT_INSTALLED : PCMK_OCF_UNKNOWN_ERROR, "%s",
                        error);
    }
    return PCMK_OCF_OK;
}

static int
unit_down(struct agent *agent, const char *name)
{
    g_autofree char *error = NULL;
    int rc = unit_stop(agent->bus, name, agent->ocf.deadline, &error);
    return rc == 0 ? PCMK_OCF_OK : ocf_fail(&agent->ocf, PCMK_OCF_UNKNOWN_ERROR, "%s", error);
}

static const char *const daemon_unit[] = {SCORE_DAEMON_UNIT, NULL};
static const char *const all_units[] = {SCORE_ENGINE_UNIT, SCORE_DAEMON_UNIT, SCORE_NOTIFY_UNIT,
                                        SCORE_SHARE_UNIT,  SCORE_UPDATE_UNIT, NULL};
/* Mail does not depend on them: nothing that goes wrong with them is a failure of the resource.
 * What each has to do on an active and on a passive node they see in the role file. */
static const char *const helpers[] = {SCORE_SHARE_UNIT, SCORE_UPDATE_UNIT};

static void
helpers_up(struct agent *agent)
{
    for (size_t i = 0; i < G_N_ELEMENTS(helpers); i++) {
        g_autofree char *error = NULL;
        gint64 deadline = MIN(agent->ocf.deadline, g_get_monotonic_time() + HELPER_US);
        if (unit_ask(agent->bus, helpers[i], true, deadline, &error) < 0) {
            log_warning("%s: %s; it goes on without", agent->ocf.resource, error);
        }
    }
}

static void
helpers_down(struct agent *agent)
{
    for (size_t i = 0; i < G_N_ELEMENTS(helpers); i++) {
        g_autofree char *error = NULL;
        gint64 deadline = MIN(agent->ocf.deadline, g_get_monotonic_time() + HELPER_US);
        if (unit_stop(agent->bus, helpers[i], deadline, &error) < 0) {
            log_warning("%s: %s", agent->ocf.resource, error);
        }
    }
}

/* With /run nearly full systemd refuses to read its units anew: no reason not to stop them. */
static void
release_units(struct agent *agent, const char *const *units)
{
    g_autofree char *error = NULL;
    if (unit_release(agent->bus, units, agent->ocf.deadline, &error) < 0) {
        log_warning("%s: %s", agent->ocf.resource, error);
    }
}

/* Without systemd nobody else makes them after a boot. */
static int
prepare_directories(struct agent *agent)
{
    g_autofree char *error = NULL;
    return process_prepare(&error) == 0
               ? PCMK_OCF_OK
               : ocf_fail(&agent->ocf, PCMK_OCF_NOT_INSTALLED, "%s", error);
}

int
service_programs(struct agent *agent)
{
    g_autofree char *error = NULL;
    const char *config = ocf_param(&agent->ocf, PARAM_CONFIG);
    if (agent->programs_checked) {
        return PCMK_OCF_OK;
    }
    int rc = programs_check(config != NULL ? config : SETTINGS_PATH, &error);
    if (rc == 0) {
        rc = programs_check_versions(&error);
    }
    agent->programs_checked = rc == 0;
    return rc == 0 ? PCMK_OCF_OK
                   : ocf_fail(&agent->ocf,
                              rc == -EPERM ? PCMK_OCF_INSUFFICIENT_PRIV : PCMK_OCF_NOT_INSTALLED,
                              "%s", error);
}

static int
unit_renew(struct agent *agent, const char *name, bool may_end)
{
    g_autofree char *error = NULL;
    if (programs_check_running(agent->bus, name, &error) == 0) {
        return PCMK_OCF_OK;
    }
    log_warning("%s: %s%s", agent->ocf.resource, error, may_end ? "; done by this start" : "");
    return may_end ? unit_down(agent, name) : PCMK_OCF_OK;
}

/* What was left running by somebody else, before an upgrade, would not be what is installed. It is
 * ended neither under another resource nor under mail. */
static int
engine_renew(struct agent *agent)
{
    g_autoptr(roles_t) roles = NULL;
    int rc = record_open(agent, &roles);
    g_autofree struct role **all = rc == PCMK_OCF_OK ? roles_all(roles) : NULL;
    if (all == NULL) {
        return rc;
    }
    bool may_end = all[0] == NULL || (all[1] == NULL && all[0]->stage == ROLE_STANDBY);
    g_clear_pointer(&roles, roles_close);
    rc = unit_renew(agent, SCORE_ENGINE_UNIT, may_end);
    return rc == PCMK_OCF_OK ? unit_renew(agent, SCORE_NOTIFY_UNIT, may_end) : rc;
}

int
service_engine_up(struct agent *agent)
{
    int rc = service_programs(agent);
    if (rc == PCMK_OCF_OK) {
        rc = service_require(agent); /* a connection that waits may be dead when it is used */
    }
    if (rc == PCMK_OCF_OK && agent->bus == NULL) {
        rc = prepare_directories(agent);
    }
    if (rc == PCMK_OCF_OK) {
        rc = record_enter(agent);
    }
    if (rc == PCMK_OCF_OK) {
        rc = configure_units(agent);
    }
    if (rc == PCMK_OCF_OK) {
        rc = engine_renew(agent);
    }
    if (rc == PCMK_OCF_OK) {
        rc = unit_up(agent, SCORE_ENGINE_UNIT);
    }
    if (rc == PCMK_OCF_OK) {
        rc = unit_up(agent, SCORE_NOTIFY_UNIT);
    }
    if (rc == PCMK_OCF_OK) {
        service_publish(agent, true);
        helpers_up(agent);
    }
    return rc;
}

/* Takes this resource out of the role file and back what it published. */
static int
role_leave(struct agent *agent, bool *ret_last)
{
    g_autoptr(roles_t) roles = NULL;
    g_autofree char *error = NULL;
    int rc = roles_open(NULL, &roles);
    *ret_last = true;
    if (rc == -ENOENT) {
        return PCMK_OCF_OK; /* this node was never set up: nothing can have been recorded */
    }
    if (rc < 0) {
        return ocf_fail(&agent->ocf, PCMK_OCF_UNKNOWN_ERROR, "%s: %s", ROLE_DIR, g_strerror(-rc));
    }
    g_autofree struct role **all = roles_all(roles);
    const struct role *own = roles_find(roles, agent->ocf.resource);
    *ret_last = all[0] == NULL || (all[0] == own && all[1] == NULL);
    if (own == NULL) {
        return PCMK_OCF_OK;
    }
    if (score_withdraw(own, *ret_last, &error) < 0) {
        log_warning("%s: %s", agent->ocf.resource, error);
    }
    roles_remove(roles, agent->ocf.resource);
    rc = roles_save(roles);
    if (rc < 0) {
        log_warning("%s: %s: %s", agent->ocf.resource, ROLE_DIR, g_strerror(-rc));
    }
    return PCMK_OCF_OK;
}

int
service_engine_down(struct agent *agent)
{
    bool last = true;
    if (agent->mode == ROLE_ENGINE) {
        bus_or_none(agent); /* the others have asked for it in service_daemon_down() */
    }
    int rc = role_leave(agent, &last);
    if (rc != PCMK_OCF_OK || !last) {
        return rc;
    }
    if (unit_cluster_moves(agent->bus)) {
        release_units(agent, all_units);
    }
    rc = unit_down(agent, SCORE_ENGINE_UNIT);
    if (rc == PCMK_OCF_OK) {
        rc = unit_down(agent, SCORE_NOTIFY_UNIT);
    }
    helpers_down(agent);
    if (rc == PCMK_OCF_OK) {
        release_units(agent, all_units);
    }
    return rc;
}

/* Makes the milter's socket reachable. *RET_MOUNT: the bind mount, or NULL when none is wanted. */
static int
milter_up(struct agent *agent, char **ret_mount)
{
    g_autofree char *error = NULL;
    g_autofree char *directory = milter_directory(agent->settings);
    const char *queue = ocf_param(&agent->ocf, PARAM_QUEUE_DIRECTORY);
    *ret_mount = NULL;
    if (directory == NULL) {
        return PCMK_OCF_OK;
    }
    int rc = milter_admit(directory, agent->settings->daemon_user, &error);
    if (rc == 0 && queue != NULL) {
        rc = milter_mount(directory, queue, ret_mount, &error);
    }
    return rc == 0 ? PCMK_OCF_OK : ocf_fail(&agent->ocf, PCMK_OCF_UNKNOWN_ERROR, "%s", error);
}

static int
daemon_start(struct agent *agent)
{
    char *mount = NULL;
    int rc = milter_up(agent, &mount);
    if (rc == PCMK_OCF_OK) {
        rc = record_stage(agent, ROLE_TAKING, true, g_strdup(mount));
    }
    if (rc == PCMK_OCF_OK) {
        rc = configure_units(agent);
    }
    if (rc == PCMK_OCF_OK) {
        rc = unit_up(agent, SCORE_DAEMON_UNIT);
    }
    if (rc == PCMK_OCF_OK) {
        rc = record_stage(agent, ROLE_SERVING, true, g_strdup(mount));
    }
    g_free(mount);
    return rc;
}

int
service_daemon_up(struct agent *agent)
{
    g_autofree char *error = NULL;
    int rc = service_require(agent);
    if (rc != PCMK_OCF_OK) {
        return rc;
    }
    if (place_check(agent->settings, &error) < 0) {
        return ocf_fail(&agent->ocf, PCMK_OCF_UNKNOWN_ERROR, "%s", error);
    }
    rc = daemon_start(agent);
    if (rc != PCMK_OCF_OK) {
        /* systemd would go on trying, while the cluster tries another node. */
        gint64 deadline = agent->ocf.deadline + CLEANUP_US;
        (void)unit_stop(agent->bus, SCORE_DAEMON_UNIT, deadline, &error);
        return rc;
    }
    service_publish(agent, false);
    return PCMK_OCF_OK;
}

/* Where the parameters want it; without a look at the queue, which may be gone. */
static char *
wanted_mount(const struct agent *agent)
{
    const char *queue = ocf_param(&agent->ocf, PARAM_QUEUE_DIRECTORY);
    return queue != NULL ? g_build_filename(queue, "postern", NULL) : NULL;
}

/* From the role, else from the parameters. */
static char *
known_mount(struct agent *agent)
{
    char *mount = record_mount(agent);
    return mount != NULL ? mount : wanted_mount(agent);
}

/* Until the old one is gone, it is the one that is remembered. */
int
service_milter_move(struct agent *agent)
{
    g_autofree char *error = NULL;
    g_autofree char *old = record_mount(agent);
    g_autofree char *now = NULL;
    int rc = milter_up(agent, &now);
    if (rc != PCMK_OCF_OK || g_strcmp0(old, now) == 0) {
        return rc;
    }
    if (old != NULL && milter_unmount(old, agent->ocf.deadline, &error) < 0) {
        return ocf_fail(&agent->ocf, PCMK_OCF_UNKNOWN_ERROR, "%s", error);
    }
    return record_set_mount(agent, now);
}

static int
daemon_stop(struct agent *agent, const char *mount)
{
    g_autofree char *error = NULL;
    g_autofree char *wanted = wanted_mount(agent);
    record_note_stage(agent, ROLE_LEAVING, mount);
    if (unit_cluster_moves(agent->bus)) {
        release_units(agent, daemon_unit);
    }
    int rc = unit_down(agent, SCORE_DAEMON_UNIT);
    /* Both, for a move of the mount that did not come to its end. */
    const char *const mounts[] = {mount, wanted};
    for (size_t i = 0; rc == PCMK_OCF_OK && i < G_N_ELEMENTS(mounts); i++) {
        if (mounts[i] != NULL && milter_unmount(mounts[i], agent->ocf.deadline, &error) < 0) {
            rc = ocf_fail(&agent->ocf, PCMK_OCF_UNKNOWN_ERROR, "%s", error);
        }
    }
    if (rc == PCMK_OCF_OK) {
        record_note_stage(agent, ROLE_STANDBY, NULL);
    }
    return rc;
}

int
service_daemon_down(struct agent *agent)
{
    struct service_status status = {.known = false};
    bus_or_none(agent);
    int rc = service_status(agent, &status);
    if (rc != PCMK_OCF_OK || (status.taken && !status.known)) {
        return rc; /* what runs is another resource's */
    }
    g_autofree char *mount = known_mount(agent);
    return daemon_stop(agent, mount);
}

bool
service_alive(enum unit_condition condition)
{
    return condition == UNIT_UP || condition == UNIT_RESPAWNING || condition == UNIT_LEAVING;
}

static int
read_units(struct agent *agent, struct service_status *ret, char **error_r)
{
    int rc = unit_condition(agent->bus, SCORE_ENGINE_UNIT, &ret->engine, error_r);
    return rc < 0 ? rc : unit_condition(agent->bus, SCORE_DAEMON_UNIT, &ret->daemon, error_r);
}

/* systemd that executes itself anew (an upgrade) drops who is asking; who gets no answer from one
 * that hangs does not ask twice. */
static int
ask_units(struct agent *agent, struct service_status *ret, char **error_r)
{
    gint64 end = g_get_monotonic_time() + DROPPED_US;
    int rc = read_units(agent, ret, error_r);
    while (rc < 0 && agent->bus != NULL && g_get_monotonic_time() < end) {
        g_usleep(DROPPED_US / 20);
        g_clear_pointer(error_r, g_free);
        g_clear_pointer(&agent->bus, unit_bus_close);
        rc = service_bus(agent, error_r) != PCMK_OCF_OK ? -ENOTCONN
                                                        : read_units(agent, ret, error_r);
    }
    return rc;
}

int
service_status(struct agent *agent, struct service_status *ret)
{
    g_autofree char *error = NULL;
    g_autoptr(roles_t) roles = NULL;
    int rc = ask_units(agent, ret, &error);
    if (rc < 0) {
        return ocf_fail(&agent->ocf, PCMK_OCF_UNKNOWN_ERROR, "%s", error);
    }
    ret->known = false;
    ret->taken = false;
    ret->unmounted = false;
    ret->stage = ROLE_STANDBY;
    if (roles_open(NULL, &roles) == 0) {
        const struct role *role = roles_find(roles, agent->ocf.resource);
        ret->known = role != NULL;
        ret->taken = roles_other(roles, agent->ocf.resource) != NULL;
        ret->stage = role != NULL ? role->stage : ROLE_STANDBY;
        ret->unmounted = ret->stage == ROLE_SERVING && !service_alive(ret->daemon) &&
                         role->storage != NULL && !mounts_has(role->storage);
    }
    return PCMK_OCF_OK;
}

void
service_adopt(struct agent *agent, bool serving)
{
    g_autofree char *error = NULL;
    /* posternd is then another resource's, and its end no failure of this one. */
    serving = serving && agent->mode != ROLE_ENGINE;
    if (agent->settings == NULL) {
        agent->settings = settings_load(ocf_param(&agent->ocf, PARAM_CONFIG), &error);
    }
    if (agent->settings != NULL) {
        (void)record_stage(agent, serving ? ROLE_SERVING : ROLE_STANDBY, serving,
                           agent->mode != ROLE_ENGINE ? known_mount(agent) : NULL);
    }
}

void
service_publish(struct agent *agent, bool force)
{
    g_autofree char *error = NULL;
    gint64 recheck_s = 0;
    if (score_refresh(agent->bus, force, &recheck_s, &error) < 0) {
        log_warning("%s: %s", agent->ocf.resource, error);
    }
}
