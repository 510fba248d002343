/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * postern-share: the nodes of a cluster have their signatures of each other. On the active node it
 * gives the generations that are there (give.h), on the others it takes them (take.h); which of the
 * two the cluster's role file says. Without peers, or when every node fetches, it waits.
 *
 * SECURITY: a user of its own, which owns share_dir alone. The key of the peers is read before the
 * process that speaks to them is made; that one is confined (confine.h): the giving one writes
 * share_dir/state alone, the taking one share_dir, and neither runs another program. What it brings
 * is believed by nobody: it is offered to store_take(), and tried.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <systemd/sd-daemon.h>

#include "board.h"
#include "confine.h"
#include "durable.h"
#include "give.h"
#include "log.h"
#include "precedence.h"
#include "update-service.h"
#include "take.h"

/* After a failure. */
#define PAUSE_SECONDS 5

/* For a last word, before systemd loses patience (TimeoutStopSec). */
#define FAREWELL_US (1500 * G_TIME_SPAN_MILLISECOND)
#define FAREWELL_LOOK_US (20 * G_TIME_SPAN_MILLISECOND)

enum duty {
    DUTY_NONE,
    DUTY_GIVE,
    DUTY_TAKE,
    DUTY_FAREWELL,
};

struct share {
    const struct update_service_options *options;
    struct settings *settings;
    char *mark; /* of the peers' file that is in use */
    char *said; /* why there is nothing to do */
    enum duty duty;
    pid_t child;
    gint64 not_before;
};

/* Other than before when the file is another. */
static char *
mark_of(const char *path)
{
    struct stat st;
    return stat(path, &st) < 0
               ? g_strdup("")
               : g_strdup_printf("%ju %jd %jd.%09ld", (uintmax_t)st.st_ino, (intmax_t)st.st_size,
                                 (intmax_t)st.st_ctim.tv_sec, st.st_ctim.tv_nsec);
}

/* Logs once what keeps it from its work; NULL: nothing. */
static void
say(struct share *share, const char *text)
{
    if (text != NULL && g_strcmp0(share->said, text) != 0) {
        log_info("%s", text);
    }
    g_free(share->said);
    share->said = g_strdup(text);
}

static enum duty
wanted(struct share *share, struct peers **peers_r)
{
    g_autofree char *error = NULL;
    const struct settings *settings = share->settings;
    if (strcmp(settings->update_on, "every node") == 0) {
        say(share, "every node fetches by itself (update_on)");
        return DUTY_NONE;
    }
    int rc = peers_read(settings->share_peers, peers_r, &error);
    if (rc == -ENOENT) {
        say(share, "this node has no peers: `postern cluster setup` gives it some");
        return DUTY_NONE;
    }
    if (rc < 0) {
        say(share, error);
        return DUTY_NONE;
    }
    say(share, NULL);
    return precedence_is_active(share->options->role) ? DUTY_GIVE : DUTY_TAKE;
}

static const char *
confine_to(const struct settings *settings, const char *below)
{
    g_autofree char *path = g_build_filename(settings->share_dir, below, NULL);
    int dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    const char *step = dir < 0 ? "share_dir" : confine(dir, settings->update_size, 0);
    if (dir >= 0) {
        close(dir);
    }
    return step;
}

G_GNUC_NORETURN static void
child_run(const struct share *share, enum duty duty, const struct peers *peers)
{
    g_autofree char *error = NULL;
    sigset_t all;
    sigemptyset(&all);
    (void)sigprocmask(SIG_SETMASK, &all, NULL);
    const char *step = confine_to(share->settings, duty == DUTY_GIVE ? BOARD_DIR : "");
    if (step != NULL) {
        log_err("%s: %s", step, g_strerror(errno));
        _exit(EXIT_FAILURE);
    }
    if (duty == DUTY_FAREWELL) {
        take_farewell(share->settings, peers);
        _exit(EXIT_SUCCESS);
    }
    if (duty == DUTY_TAKE) {
        take_run(share->settings, peers);
    }
    int rc = give_run(share->settings, peers, &error);
    log_err("%s", error != NULL ? error : g_strerror(-rc));
    _exit(EXIT_FAILURE);
}

static void
child_end(struct share *share)
{
    if (share->child > 0) {
        kill(share->child, SIGKILL);
        while (waitpid(share->child, NULL, 0) < 0 && errno == EINTR) {
        }
    }
    share->child = 0;
    share->duty = DUTY_NONE;
}

static void
child_begin(struct share *share, enum duty duty, const struct peers *peers)
{
    g_autofree char *state = g_build_filename(share->settings->share_dir, BOARD_DIR, NULL);
    if (durable_public_dir(state) < 0) {
        log_err("%s: %s", state, g_strerror(errno));
        share->not_before = board_now() + PAUSE_SECONDS;
        return;
    }
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        child_run(share, duty, peers);
    }
    if (child < 0) {
        log_err("no process can be made: %s", g_strerror(errno));
        share->not_before = board_now() + PAUSE_SECONDS;
        return;
    }
    share->child = child;
    share->duty = duty;
    if (duty != DUTY_FAREWELL) {
        log_info("%s signatures", duty == DUTY_GIVE ? "gives" : "takes");
    }
}

static void
child_look(struct share *share)
{
    int status = 0;
    if (share->child > 0 && waitpid(share->child, &status, WNOHANG) == share->child) {
        if (WIFSIGNALED(status)) {
            log_err("the process that speaks to the peers died of signal %d", WTERMSIG(status));
        }
        share->child = 0;
        share->duty = DUTY_NONE;
        share->not_before = board_now() + PAUSE_SECONDS;
    }
}

static void
look(struct share *share)
{
    g_autoptr(peers_t) peers = NULL;
    g_autofree char *mark = mark_of(share->settings->share_peers);
    enum duty duty = wanted(share, &peers);
    child_look(share);
    if (duty != share->duty || g_strcmp0(mark, share->mark) != 0) {
        child_end(share);
        g_free(share->mark);
        share->mark = g_steal_pointer(&mark);
    }
    if (duty != DUTY_NONE && share->duty == DUTY_NONE && board_now() >= share->not_before) {
        child_begin(share, duty, peers);
    }
}

/* What runs has the old configuration, and ends before that does. */
static void
read_again(struct share *share)
{
    struct settings *old = g_steal_pointer(&share->settings);
    if (!update_service_read_again(share->options, &share->settings)) {
        share->settings = old;
        return;
    }
    child_end(share);
    settings_free(old);
}

static void
say_farewell(struct share *share)
{
    g_autoptr(peers_t) peers = NULL;
    gint64 end = g_get_monotonic_time() + FAREWELL_US;
    gboolean takes = share->duty == DUTY_TAKE;
    child_end(share);
    if (!takes || wanted(share, &peers) != DUTY_TAKE) {
        return;
    }
    child_begin(share, DUTY_FAREWELL, peers);
    while (share->child > 0 && waitpid(share->child, NULL, WNOHANG) == 0) {
        if (g_get_monotonic_time() > end) {
            child_end(share);
            return;
        }
        g_usleep(FAREWELL_LOOK_US);
    }
    share->child = 0;
}

static void
serve(struct share *share)
{
    const struct timespec pause = {.tv_sec = 1};
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGHUP);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGCHLD);
    (void)sigprocmask(SIG_BLOCK, &signals, NULL);
    (void)sd_notify(0, "READY=1");
    for (;;) {
        look(share);
        int which = sigtimedwait(&signals, NULL, &pause);
        if (which == SIGHUP) {
            read_again(share);
        } else if (which == SIGTERM || which == SIGINT) {
            say_farewell(share);
            return;
        }
    }
}

int
main(int argc, char **argv)
{
    struct update_service_options options = {.config = NULL};
    const struct update_service service = {
        .program = "postern-share",
        .summary = "Shares the signatures between the nodes of a cluster.",
        .debug_text = "Log what libmicrohttpd says",
    };
    struct share share = {.options = &options};
    g_autofree char *error = NULL;
    setlocale(LC_CTYPE, "");
    if (!update_service_parse(&service, &options, argc, argv)) {
        return 2;
    }
    if (options.version) {
        puts("postern-share " PACKAGE_VERSION);
        return 0;
    }
    share.settings = settings_load(options.config, &error);
    if (share.settings == NULL) {
        fprintf(stderr, "postern-share: %s\n", error);
        return 2;
    }
    umask(022);
    log_init("postern-share", options.foreground, options.debug ? LOG_DEBUG : LOG_INFO);
    serve(&share);
    settings_free(share.settings);
    g_free(share.mark);
    g_free(share.said);
    update_service_clear(&options);
    log_fini();
    return 0;
}
