/* SPDX-License-Identifier: GPL-2.0-only */
#include "watch.h"

#include <errno.h>
#include <grp.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "log.h"
#include "recheck.h"
#include "role.h"
#include "score.h"
#include "tool.h"
#include "unit.h"

/* Wakes that come faster are answered together: whoever may wake us must not keep us busy. */
#define GAP_US 100000
/* So many in a row, and one more each second; then the gap is longer. An engine that is not itself
 * any more could else keep the cluster planning by changing its state for ever. */
#define LOOKS_MAX 30
#define FLOOD_GAP_US (2 * G_USEC_PER_SEC)
/* After a look that failed. */
#define RETRY_US (5 * G_USEC_PER_SEC)
#define REPORT_TIMEOUT_MS 6000
#define RECHECK LIBEXECDIR "/postern-recheck"

struct watch {
    sd_event *event;
    sd_bus *bus;
    int sock;
    sd_event_source *wake;
    sd_event_source *timer;
    gint64 last_look; /* monotonic microseconds */
    gint64 looks;     /* that may follow each other */
    gint64 counted;   /* monotonic microseconds, up to which they were given */
};

/*
 * Tells the cluster that RESOURCE has failed here, which its own monitor would find too, but later:
 * so that one is run now, and says why. Where there is none, the cluster is told without a reason;
 * but not before it has asked what runs here: see RECHECK_UNKNOWN.
 */
static void
report_failure(const char *resource, const char *node)
{
    g_autofree char *error = NULL;
    const char *recheck[] = {RECHECK, resource, node, NULL};
    const char *fail[] = {TOOL_CRM_RESOURCE, "-F", "-r", resource, "-N", node, NULL};
    log_err("%s: %s has failed for good; telling the cluster", resource, SCORE_DAEMON_UNIT);
    int rc = tool_output(recheck, NULL, NULL, REPORT_TIMEOUT_MS, NULL, &error);
    if (rc == 0) {
        return;
    }
    if (rc == RECHECK_UNKNOWN) {
        log_notice("%s: %s", resource, error);
        return;
    }
    log_notice("%s: %s", resource, error);
    g_clear_pointer(&error, g_free);
    if (tool_run(fail, REPORT_TIMEOUT_MS, &error) < 0) {
        log_err("%s: %s; the next monitor will report it", resource, error);
    }
}

/* The role that serves although posternd is gone for good, marked as told; NULL = none. The agent
 * leaves that stage before it stops posternd: who has ended without failing was ended by others. */
static struct role *
lost_role(struct roles *roles, sd_bus *bus)
{
    enum unit_condition condition;
    g_autofree char *error = NULL;
    g_autofree struct role **all = roles_all(roles);
    for (struct role **role = all; *role != NULL; role++) {
        if ((*role)->stage != ROLE_SERVING || (*role)->lost) {
            continue;
        }
        if (unit_condition(bus, SCORE_DAEMON_UNIT, &condition, &error) == 0 &&
            (condition == UNIT_FAILED || condition == UNIT_DOWN)) {
            (*role)->lost = true;
            return *role;
        }
    }
    return NULL;
}

/* The report waits for the agent, which wants the lock: so it is given up before. */
static int
look(struct watch *watch, bool force, gint64 *ret_recheck_s, char **error_r)
{
    g_autofree char *resource = NULL;
    g_autofree char *node = NULL;
    struct roles *roles = NULL;
    int rc = roles_open(NULL, &roles);
    *ret_recheck_s = 0;
    if (rc < 0) {
        *error_r = g_strdup_printf("%s: %s", ROLE_DIR, g_strerror(-rc));
        return rc;
    }
    struct role *lost = lost_role(roles, watch->bus);
    if (lost != NULL) {
        resource = g_strdup(lost->resource);
        node = g_strdup(lost->node);
    }
    rc = score_publish(roles, watch->bus, force, ret_recheck_s, error_r);
    roles_close(roles);
    if (resource != NULL) {
        report_failure(resource, node);
    }
    return rc;
}

static void
arm(struct watch *watch, gint64 delay_us)
{
    if (delay_us > 0) {
        (void)sd_event_source_set_time_relative(watch->timer, (uint64_t)delay_us);
    }
    (void)sd_event_source_set_enabled(watch->timer, delay_us > 0 ? SD_EVENT_ONESHOT : SD_EVENT_OFF);
}

static void
count_look(struct watch *watch)
{
    gint64 gained = (g_get_monotonic_time() - watch->counted) / G_USEC_PER_SEC;
    watch->counted += gained * G_USEC_PER_SEC;
    watch->looks = MIN(watch->looks + gained, LOOKS_MAX);
    watch->looks = MAX(watch->looks - 1, 0);
}

static void
look_and_arm(struct watch *watch, bool force)
{
    g_autofree char *error = NULL;
    gint64 recheck_s = 0;
    count_look(watch);
    if (look(watch, force, &recheck_s, &error) < 0) {
        log_warning("%s", error);
        arm(watch, RETRY_US);
    } else {
        arm(watch, recheck_s * G_USEC_PER_SEC);
    }
    watch->last_look = g_get_monotonic_time();
}

/* Looks now, or in a moment when it has only just looked. */
static void
woken(struct watch *watch)
{
    gint64 quiet_us = g_get_monotonic_time() - watch->last_look;
    gint64 gap_us = watch->looks > 0 ? GAP_US : FLOOD_GAP_US;
    if (quiet_us >= gap_us) {
        look_and_arm(watch, false);
    } else {
        arm(watch, gap_us - quiet_us);
    }
}

static int
on_datagram(sd_event_source *source, int fd, uint32_t events, void *data)
{
    char ignored[1];
    (void)source;
    (void)events;
    while (recv(fd, ignored, sizeof ignored, MSG_DONTWAIT | MSG_TRUNC) >= 0) {
    }
    woken(data);
    return 0;
}

static int
on_unit_change(sd_bus_message *message, void *data, sd_bus_error *error)
{
    (void)message;
    (void)error;
    woken(data);
    return 0;
}

static int
on_timer(sd_event_source *source, uint64_t usec, void *data)
{
    (void)source;
    (void)usec;
    look_and_arm(data, false);
    return 0;
}

static int
socket_bind(int sock, const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct group *group = getgrnam(WATCH_GROUP);
    g_strlcpy(address.sun_path, path, sizeof address.sun_path);
    (void)unlink(path); /* one of this program runs at a time: systemd sees to it */
    if (bind(sock, (struct sockaddr *)&address, sizeof address) < 0) {
        return -errno;
    }
    if (group != NULL && chown(path, (uid_t)-1, group->gr_gid) < 0) {
        return -errno;
    }
    return chmod(path, 0620) < 0 ? -errno : 0;
}

static int
listen_wakes(struct watch *watch, char **error_r)
{
    watch->sock = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int rc = watch->sock < 0 ? -errno : socket_bind(watch->sock, WATCH_SOCKET);
    if (rc == 0) {
        rc = sd_event_add_io(watch->event, &watch->wake, watch->sock, EPOLLIN, on_datagram, watch);
    }
    if (rc < 0) {
        *error_r = g_strdup_printf("%s: cannot be listened on: %s", WATCH_SOCKET, g_strerror(-rc));
    }
    return rc < 0 ? rc : 0;
}

static int
watch_units(struct watch *watch, char **error_r)
{
    int rc = unit_bus_open(&watch->bus, error_r);
    if (rc == -EHOSTDOWN) {
        g_clear_pointer(error_r, g_free);
        return 0; /* postern-supervise wakes us instead */
    }
    if (rc < 0) {
        return rc;
    }
    rc = unit_watch(watch->bus, SCORE_ENGINE_UNIT, on_unit_change, watch);
    if (rc >= 0) {
        rc = unit_watch(watch->bus, SCORE_DAEMON_UNIT, on_unit_change, watch);
    }
    if (rc >= 0) {
        rc = sd_bus_attach_event(watch->bus, watch->event, SD_EVENT_PRIORITY_NORMAL);
    }
    if (rc >= 0) {
        /* systemd starts us again, and we look anew. */
        rc = sd_bus_set_exit_on_disconnect(watch->bus, 1);
    }
    if (rc < 0) {
        *error_r = g_strdup_printf("the units cannot be watched: %s", g_strerror(-rc));
    }
    return rc < 0 ? rc : 0;
}

int
watch_new(sd_event *event, struct watch **ret, char **error_r)
{
    struct watch *watch = g_new0(struct watch, 1);
    watch->event = sd_event_ref(event);
    watch->sock = -1;
    watch->looks = LOOKS_MAX;
    watch->counted = g_get_monotonic_time();
    int rc =
        sd_event_add_time_relative(event, &watch->timer, CLOCK_BOOTTIME, 0, 0, on_timer, watch);
    if (rc < 0) {
        *error_r = g_strdup_printf("no timer: %s", g_strerror(-rc));
    }
    if (rc >= 0) {
        arm(watch, 0);
        rc = listen_wakes(watch, error_r);
    }
    if (rc >= 0) {
        rc = watch_units(watch, error_r);
    }
    if (rc < 0) {
        watch_free(watch);
        return rc;
    }
    look_and_arm(watch, true);
    *ret = watch;
    return 0;
}

void
watch_free(struct watch *watch)
{
    if (watch == NULL) {
        return;
    }
    sd_event_source_unref(watch->wake);
    sd_event_source_unref(watch->timer);
    unit_bus_close(watch->bus);
    if (watch->sock >= 0) {
        close(watch->sock);
        (void)unlink(WATCH_SOCKET);
    }
    sd_event_unref(watch->event);
    g_free(watch);
}
