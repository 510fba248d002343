/* SPDX-License-Identifier: GPL-2.0-only */
#include "probe-run.h"

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "text.h"

#define RETRY_MS 1000
#define TEXT_MAX 200
/* More at the same time would be a load, not a probe. */
#define OPEN_MAX 500

struct probe_run {
    struct probe_plan plan;
    char **texts; /* of the plan */
    GThread *thread;
    sd_event *event;
    sd_event_source *next; /* the next new probe */
    sd_event_source *stop;
    sd_event_source *deadline;
    int stop_fd;
    unsigned drain_ms;
    gboolean ending;
    gint64 began;
    unsigned made;
    unsigned open;    /* probes without an end */
    GPtrArray *mails; /* of struct mail: all of them, to be freed at the end */
    GMutex lock;      /* for the log */
    struct probe_log *log;
};

struct mail {
    struct probe_run *run;
    unsigned number;
    gboolean infected;
    gint64 begun; /* of the try in hand */
    struct smtp_probe *probe;
    sd_event_source *again;
};

static void mail_try(struct mail *mail);

/* Built from halves: no file on disk may look infected. */
static char *
virus(void)
{
    static const char first[] = "X5O!P%@AP[4\\PZX54(P^)7CC)7}$EICAR-STANDARD";
    static const char second[] = "-ANTIVIRUS-TEST-FILE!$H+H*";
    g_autofree char *whole = g_strconcat(first, second, NULL);
    return g_base64_encode((const guchar *)whole, strlen(whole));
}

char *
probe_run_text(const struct probe_plan *plan, unsigned number, gboolean infected)
{
    g_autoptr(GDateTime) now = g_date_time_new_now_utc();
    g_autofree char *date = g_date_time_format(now, "%a, %d %b %Y %H:%M:%S +0000");
    g_autofree char *part =
        infected ? virus() : g_base64_encode((const guchar *)plan->run, strlen(plan->run));
    return g_strdup_printf(
        "From: <%s>\r\nTo: <%s>\r\nDate: %s\r\nSubject: postern drill %s probe %u (%s)\r\n"
        "Message-ID: <%s.%u@postern-drill.invalid>\r\nAuto-Submitted: auto-generated\r\n"
        "X-Postern-Drill: %s-%u\r\nMIME-Version: 1.0\r\n"
        "Content-Type: multipart/mixed; boundary=\"=_drill\"\r\n\r\n"
        "--=_drill\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\n"
        "Probe %u of a failover drill of the mail cluster. It can be deleted.\r\n"
        "--=_drill\r\nContent-Type: application/octet-stream; name=\"probe.bin\"\r\n"
        "Content-Disposition: attachment; filename=\"probe.bin\"\r\n"
        "Content-Transfer-Encoding: base64\r\n\r\n%s\r\n--=_drill--\r\n",
        plan->sender, plan->recipient, date, plan->run, number, infected ? "test virus" : "clean",
        plan->run, number, plan->run, number, number, part);
}

static void
mail_free(void *data)
{
    struct mail *mail = data;
    smtp_probe_free(mail->probe);
    sd_event_source_disable_unref(mail->again);
    g_free(mail);
}

static void
end_if_done(struct probe_run *run)
{
    if (run->ending && run->open == 0) {
        (void)sd_event_exit(run->event, 0);
    }
}

static int
on_again(sd_event_source *source, uint64_t usec, void *data)
{
    struct mail *mail = data;
    (void)source;
    (void)usec;
    mail->again = sd_event_source_disable_unref(mail->again);
    mail_try(mail);
    return 0;
}

static void
mail_ended(struct mail *mail, enum probe_end end, int code, const char *text)
{
    struct probe_run *run = mail->run;
    struct probe_try *try = g_new0(struct probe_try, 1);
    *try = (struct probe_try){.number = mail->number,
                              .infected = mail->infected,
                              .begun = mail->begun,
                              .ended = g_get_monotonic_time(),
                              .end = end,
                              .code = code,
                              .text = text_escape(text, TEXT_MAX)};
    g_mutex_lock(&run->lock);
    probe_log_add(run->log, try);
    g_mutex_unlock(&run->lock);
    if (probe_end_is_final(end)) {
        run->open--;
        end_if_done(run);
    } else {
        (void)sd_event_add_time_relative(run->event, &mail->again, CLOCK_BOOTTIME,
                                         RETRY_MS * 1000ULL, 10000, on_again, mail);
    }
}

static void
on_probe(struct smtp_probe *probe, enum probe_end end, int code, const char *text, void *data)
{
    struct mail *mail = data;
    (void)probe;
    mail->probe = NULL;
    mail_ended(mail, end, code, text);
}

static void
mail_try(struct mail *mail)
{
    struct probe_run *run = mail->run;
    g_autofree char *text = probe_run_text(&run->plan, mail->number, mail->infected);
    const struct probe_message message = {.server = &run->plan.server,
                                          .sender = run->plan.sender,
                                          .recipient = run->plan.recipient,
                                          .text = text};
    mail->begun = g_get_monotonic_time();
    int rc = smtp_probe_start(run->event, &message, on_probe, mail, &mail->probe);
    if (rc < 0) {
        mail_ended(mail, PROBE_NO_CONTACT, 0, g_strerror(-rc));
    }
}

/* The moments are counted from the beginning, so that a late one does not delay the rest. */
static int
on_next(sd_event_source *source, uint64_t usec, void *data)
{
    struct probe_run *run = data;
    (void)usec;
    if (run->open < OPEN_MAX) {
        struct mail *mail = g_new0(struct mail, 1);
        mail->run = run;
        mail->number = run->made++;
        mail->infected = mail->number % run->plan.infected_every == 0;
        run->open++;
        g_ptr_array_add(run->mails, mail);
        mail_try(mail);
    }
    gint64 due = run->began + (gint64)(run->made / run->plan.rate * G_USEC_PER_SEC);
    gint64 wait = MAX(due - g_get_monotonic_time(), 1000);
    (void)sd_event_source_set_time_relative(source, (uint64_t)wait);
    return sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

static int
on_deadline(sd_event_source *source, uint64_t usec, void *data)
{
    struct probe_run *run = data;
    (void)source;
    (void)usec;
    return sd_event_exit(run->event, 0);
}

static int
on_stop(sd_event_source *source, int fd, uint32_t events, void *data)
{
    struct probe_run *run = data;
    uint64_t value;
    (void)events;
    (void)!read(fd, &value, sizeof value);
    (void)sd_event_source_set_enabled(source, SD_EVENT_OFF);
    (void)sd_event_source_set_enabled(run->next, SD_EVENT_OFF);
    run->ending = TRUE;
    end_if_done(run);
    return sd_event_add_time_relative(run->event, &run->deadline, CLOCK_BOOTTIME,
                                      run->drain_ms * 1000ULL, 0, on_deadline, run);
}

static void *
loop(void *data)
{
    struct probe_run *run = data;
    (void)sd_event_loop(run->event);
    return NULL;
}

static void
run_free(struct probe_run *run)
{
    g_ptr_array_unref(run->mails);
    sd_event_source_disable_unref(run->next);
    sd_event_source_disable_unref(run->stop);
    sd_event_source_disable_unref(run->deadline);
    sd_event_unref(run->event);
    if (run->stop_fd >= 0) {
        close(run->stop_fd);
    }
    g_strfreev(run->texts);
    g_mutex_clear(&run->lock);
    probe_log_free(run->log);
    g_free(run);
}

static int
prepare(struct probe_run *run)
{
    run->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    int rc = run->stop_fd < 0 ? -errno : sd_event_new(&run->event);
    if (rc >= 0) {
        rc = sd_event_add_io(run->event, &run->stop, run->stop_fd, EPOLLIN, on_stop, run);
    }
    if (rc >= 0) {
        rc = sd_event_add_time_relative(run->event, &run->next, CLOCK_BOOTTIME, 0, 1000, on_next,
                                        run);
    }
    return rc < 0 ? rc : 0;
}

int
probe_run_start(const struct probe_plan *plan, struct probe_run **run_r, char **error_r)
{
    struct probe_run *run = g_new0(struct probe_run, 1);
    run->plan = *plan;
    run->texts = g_new0(char *, 4);
    run->plan.sender = run->texts[0] = g_strdup(plan->sender);
    run->plan.recipient = run->texts[1] = g_strdup(plan->recipient);
    run->plan.run = run->texts[2] = g_strdup(plan->run);
    run->mails = g_ptr_array_new_with_free_func(mail_free);
    run->log = probe_log_new(plan->infected_taken);
    run->began = g_get_monotonic_time();
    g_mutex_init(&run->lock);
    int rc = prepare(run);
    if (rc < 0) {
        *error_r = g_strdup_printf("the probes cannot be sent: %s", g_strerror(-rc));
        run_free(run);
        return rc;
    }
    run->thread = g_thread_new("probes", loop, run);
    *run_r = run;
    return 0;
}

unsigned
probe_run_good_since(struct probe_run *run, gint64 since)
{
    g_mutex_lock(&run->lock);
    unsigned good = probe_log_good_since(run->log, since);
    g_mutex_unlock(&run->lock);
    return good;
}

unsigned
probe_run_tries(struct probe_run *run, char **last_bad_r)
{
    *last_bad_r = NULL;
    g_mutex_lock(&run->lock);
    const GPtrArray *tries = run->log->tries;
    unsigned n = tries->len;
    for (guint i = n; i > 0 && *last_bad_r == NULL; i--) {
        const struct probe_try *try = g_ptr_array_index(tries, i - 1);
        if (!probe_try_is_good(run->log, try)) {
            *last_bad_r = try->code > 0 ? g_strdup_printf("%d %s", try->code, try->text)
                                        : g_strdup(try->text);
        }
    }
    g_mutex_unlock(&run->lock);
    return n;
}

struct probe_log *
probe_run_finish(struct probe_run *run, unsigned drain_ms)
{
    const uint64_t one = 1;
    run->drain_ms = drain_ms;
    (void)!write(run->stop_fd, &one, sizeof one);
    g_thread_join(run->thread);
    struct probe_log *log = g_steal_pointer(&run->log);
    run_free(run);
    return log;
}
