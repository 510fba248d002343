/* SPDX-License-Identifier: GPL-2.0-only */
#include "run.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "log.h"
#include "sibling.h"
#include "source.h"
#include "text.h"

#define PROGRAM "postern-fetch"
/* More than it ever has to say; the rest is read and thrown away. */
#define SAID_MAX 65536

/* What libfreshclam says when a write was cut short: the number is curl's. */
#define WRITE_FAILED "Download failed (23)"
/* So often is looked what it has taken. */
#define LOOK_MS 200

struct run {
    const struct run_task *task;
    GPid pid;
    int process; /* a pidfd: who closes the next two may run on */
    int out;
    int err;
    GString *word;   /* standard output */
    GString *line;   /* of standard error */
    char *complaint; /* the last one that says why */
    char *broken;    /* its bound, and how */
    gboolean is_cut; /* a file was larger than its bound */
};

/* What libfreshclam says after the line that says why. */
static gboolean
is_summary(const char *said)
{
    static const char *const beginnings[] = {"Update failed for", "Failed to get ",
                                             "Can't download ", "check_for_new_database_version: "};
    for (size_t i = 0; i < G_N_ELEMENTS(beginnings); i++) {
        if (g_str_has_prefix(said, beginnings[i])) {
            return TRUE;
        }
    }
    return FALSE;
}

static void
complain(struct run *run, const char *said)
{
    /* "Download failed (6) ERROR:  Message: Couldn't resolve host name" */
    GString *text = g_string_new(said);
    g_string_replace(text, " ERROR:  Message: ", ": ", 1);
    g_free(run->complaint);
    run->complaint = g_string_free(text, FALSE);
}

/* libfreshclam's lines begin with "ERROR: " or "WARNING: "; what they say is from outside, and has
 * the URL as it is in the configuration. */
static void
line_end(struct run *run)
{
    g_autofree char *shown = source_shown(g_strstrip(run->line->str));
    g_autofree char *text = text_escape(shown, 500);
    const char *said = g_str_has_prefix(text, "ERROR: ")     ? text + strlen("ERROR: ")
                       : g_str_has_prefix(text, "WARNING: ") ? text + strlen("WARNING: ")
                                                             : NULL;
    if (*text != '\0' && strstr(text, "uthorization:") == NULL) {
        log_debug("%s: %s", run->task->source, text);
    }
    run->is_cut = run->is_cut || (said != NULL && g_str_has_prefix(said, WRITE_FAILED));
    if (said != NULL && (run->complaint == NULL || !is_summary(said))) {
        complain(run, said);
    }
    g_string_truncate(run->line, 0);
}

static void
hear(struct run *run, const char *text, ssize_t len)
{
    for (ssize_t i = 0; i < len; i++) {
        if (text[i] == '\n' || text[i] == '\r') {
            line_end(run);
        } else if (run->line->len < SAID_MAX) {
            g_string_append_c(run->line, text[i]);
        }
    }
}

/* Standard output, standard error, and the process. */
#define ENDS 3

/* Returns FALSE at the end of all three. */
static gboolean
read_some(struct run *run, struct pollfd fds[ENDS])
{
    char buffer[4096];
    for (int i = 0; i < 2; i++) {
        if (fds[i].fd < 0 || fds[i].revents == 0) {
            continue;
        }
        ssize_t n = read(fds[i].fd, buffer, sizeof buffer);
        if (n > 0 && i == 0 && run->word->len + (gsize)n <= SAID_MAX) {
            g_string_append_len(run->word, buffer, n);
        } else if (n > 0 && i == 1) {
            hear(run, buffer, n);
        } else if (n == 0 || (n < 0 && errno != EINTR)) {
            fds[i].fd = -1;
        }
    }
    fds[2].fd = fds[2].revents != 0 ? -1 : fds[2].fd;
    return fds[0].fd >= 0 || fds[1].fd >= 0 || fds[2].fd >= 0;
}

/* Returns FALSE when the time is over, or the bound broken. */
static gboolean
listen_until(struct run *run, gint64 end)
{
    struct pollfd fds[ENDS] = {{.fd = run->out, .events = POLLIN},
                               {.fd = run->err, .events = POLLIN},
                               {.fd = run->process, .events = POLLIN}};
    gint64 looked = 0;
    do {
        gint64 now = g_get_monotonic_time();
        fds[0].revents = fds[1].revents = fds[2].revents = 0;
        if (now - looked >= LOOK_MS * 1000) {
            run->broken = bound_broken(run->task->bound);
            looked = now;
        }
        if (now >= end || run->broken != NULL) {
            return FALSE;
        }
        if (poll(fds, ENDS, (int)MIN((end - now) / 1000 + 1, LOOK_MS)) < 0 && errno != EINTR) {
            return FALSE;
        }
    } while (read_some(run, fds));
    return TRUE;
}

/* What it has started is ended with it, and adopted by this process. */
static void
lead(void *data)
{
    (void)data;
    (void)setsid();
}

static int
reap(const struct run *run)
{
    int status = 0;
    while (waitpid(run->pid, &status, 0) < 0 && errno == EINTR) {
    }
    return status;
}

/* A program in its place, or one that was taken over, may have children that go on writing. Returns
 * when all have ended. */
static int
end_all(const struct run *run)
{
    (void)kill(-run->pid, SIGKILL);
    int status = reap(run);
    while (waitpid(-run->pid, NULL, 0) > 0 || errno == EINTR) {
    }
    return status;
}

static int
judge(struct run *run, gboolean is_done, int status, json_t **result, char **error_r)
{
    if (run->broken != NULL) {
        *error_r = g_steal_pointer(&run->broken);
        return -EFBIG;
    }
    if (!is_done) {
        return text_fail(error_r, -ETIMEDOUT,
                         "was not done after %" G_GUINT64_FORMAT
                         " s (update_timeout); what is missing is tried again",
                         run->task->seconds);
    }
    *result = WIFEXITED(status) && WEXITSTATUS(status) == 0
                  ? json_loadb(run->word->str, run->word->len, 0, NULL)
                  : NULL;
    if (*result != NULL && run->is_cut) {
        *error_r = bound_text(run->task->bound);
        return 0;
    }
    if (*result != NULL) {
        *error_r = g_steal_pointer(&run->complaint);
        return 0;
    }
    *error_r = run->complaint != NULL && !WIFSIGNALED(status) ? g_steal_pointer(&run->complaint)
               : WIFSIGNALED(status)
                   ? g_strdup_printf(PROGRAM " died of signal %d: what the mirror sent may be "
                                             "hostile",
                                     WTERMSIG(status))
                   : g_strdup(PROGRAM " said nothing that is understood");
    return -EREMOTEIO;
}

int
run_fetch(const struct run_task *task, json_t **result, char **error_r)
{
    g_autofree char *program = sibling_program(PROGRAM);
    g_autofree char *bytes = g_strdup_printf("%" G_GUINT64_FORMAT, task->bound->file);
    const char *argv[] = {program, task->config != NULL ? task->config : "", task->source, bytes,
                          NULL};
    const char *environ_[] = {"PATH=/usr/bin:/bin", "LC_ALL=C.UTF-8", NULL};
    g_autoptr(GError) error = NULL;
    struct run run = {.task = task};
    (void)prctl(PR_SET_CHILD_SUBREAPER, 1);
    if (!g_spawn_async_with_pipes(NULL, (char **)(uintptr_t)argv, (char **)(uintptr_t)environ_,
                                  G_SPAWN_DO_NOT_REAP_CHILD, lead, NULL, &run.pid, NULL, &run.out,
                                  &run.err, &error)) {
        *error_r = g_strdup(error->message);
        return -EREMOTEIO;
    }
    run.process = (int)syscall(SYS_pidfd_open, run.pid, 0);
    run.word = g_string_new(NULL);
    run.line = g_string_new(NULL);
    gint64 end = g_get_monotonic_time() + (gint64)task->seconds * G_USEC_PER_SEC;
    gboolean is_done = run.process >= 0 && listen_until(&run, end);
    int status = is_done ? reap(&run) : end_all(&run);
    line_end(&run);
    int rc = judge(&run, is_done, status, result, error_r);
    close(run.out);
    close(run.err);
    if (run.process >= 0) {
        close(run.process);
    }
    g_string_free(run.word, TRUE);
    g_string_free(run.line, TRUE);
    g_free(run.complaint);
    g_free(run.broken);
    return rc;
}
