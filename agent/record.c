/* SPDX-License-Identifier: GPL-2.0-only */
#include "record.h"

#include <errno.h>
#include <stdlib.h>

#include "log.h"
#include "mounts.h"
#include "param.h"

int
record_open(struct agent *agent, struct roles **ret_roles)
{
    int rc = roles_open(NULL, ret_roles);
    if (rc == -ENOENT) {
        return ocf_fail(&agent->ocf, PCMK_OCF_NOT_INSTALLED,
                        "%s is missing; systemd-tmpfiles --create makes it", ROLE_DIR);
    }
    return rc == 0
               ? PCMK_OCF_OK
               : ocf_fail(&agent->ocf, PCMK_OCF_UNKNOWN_ERROR, "%s: %s", ROLE_DIR, g_strerror(-rc));
}

static int
record_save(struct agent *agent, struct roles *roles)
{
    int rc = roles_save(roles);
    return rc == 0 ? PCMK_OCF_OK
                   : ocf_fail(&agent->ocf, PCMK_OCF_UNKNOWN_ERROR, "%s cannot be written: %s",
                              ROLE_DIR, g_strerror(-rc));
}

static void
role_identify(struct role *role, const struct agent *agent)
{
    g_free(role->node);
    role->node = g_strdup(agent->ocf.node);
    role->mode = agent->mode;
    role->require_ready = param_is_true(&agent->ocf, PARAM_REQUIRE_READY);
    if (agent->settings != NULL) {
        g_free(role->engine_dir);
        role->engine_dir = g_strdup(agent->settings->engine_dir);
        g_free(role->control);
        role->control = g_strdup(agent->settings->control_socket);
    }
}

int
record_enter(struct agent *agent)
{
    g_autoptr(roles_t) roles = NULL;
    int rc = record_open(agent, &roles);
    if (rc != PCMK_OCF_OK) {
        return rc;
    }
    const struct role *other = roles_other(roles, agent->ocf.resource);
    if (other != NULL && agent->mode != ROLE_ENGINE) {
        return ocf_fail(&agent->ocf, PCMK_OCF_INVALID_PARAM,
                        "resource %s already runs Postern on this node: there can be one",
                        other->resource);
    }
    role_identify(roles_get(roles, agent->ocf.resource), agent);
    return record_save(agent, roles);
}

int
record_identify(struct agent *agent)
{
    g_autoptr(roles_t) roles = NULL;
    int rc = record_open(agent, &roles);
    struct role *role = rc == PCMK_OCF_OK ? roles_find(roles, agent->ocf.resource) : NULL;
    if (role == NULL) {
        return rc;
    }
    role_identify(role, agent);
    return record_save(agent, roles);
}

static void
role_change(struct role *role, enum role_stage stage, bool keep, char *mount)
{
    role_set_stage(role, stage);
    role->keep = keep;
    role->lost = false;
    g_free(role->mount);
    role->mount = mount;
}

/* What a failure has to be explained with, when the storage itself must not be asked any more. */
static void
role_note_storage(struct role *role, const struct settings *settings)
{
    char *real = realpath(settings->state_dir, NULL);
    g_free(role->storage);
    role->storage = real != NULL ? mounts_of(real) : NULL;
    free(real);
}

int
record_stage(struct agent *agent, enum role_stage stage, bool keep, char *mount)
{
    g_autoptr(roles_t) roles = NULL;
    int rc = record_open(agent, &roles);
    if (rc != PCMK_OCF_OK) {
        g_free(mount);
        return rc;
    }
    struct role *role = roles_get(roles, agent->ocf.resource);
    role_identify(role, agent);
    role_change(role, stage, keep, mount);
    if (stage == ROLE_TAKING) {
        role_note_storage(role, agent->settings);
    }
    return record_save(agent, roles);
}

int
record_set_mount(struct agent *agent, const char *mount)
{
    g_autoptr(roles_t) roles = NULL;
    int rc = record_open(agent, &roles);
    struct role *role = rc == PCMK_OCF_OK ? roles_find(roles, agent->ocf.resource) : NULL;
    if (role == NULL) {
        return rc;
    }
    g_free(role->mount);
    role->mount = g_strdup(mount);
    return record_save(agent, roles);
}

char *
record_mount(struct agent *agent)
{
    g_autoptr(roles_t) roles = NULL;
    const struct role *role =
        roles_open(NULL, &roles) == 0 ? roles_find(roles, agent->ocf.resource) : NULL;
    return role != NULL ? g_strdup(role->mount) : NULL;
}

/* What is only written down must not keep anything from ending. */
void
record_note_stage(struct agent *agent, enum role_stage stage, const char *mount)
{
    g_autoptr(roles_t) roles = NULL;
    int rc = roles_open(NULL, &roles);
    struct role *role = rc == 0 ? roles_find(roles, agent->ocf.resource) : NULL;
    if (role == NULL || role->stage == ROLE_STANDBY) {
        return;
    }
    role_change(role, stage, false, g_strdup(mount));
    rc = roles_save(roles);
    if (rc < 0) {
        log_warning("%s: %s: %s", agent->ocf.resource, ROLE_DIR, g_strerror(-rc));
    }
}
