/* SPDX-License-Identifier: GPL-2.0-only */
#include "doctor-milter.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "mta.h"
#include "reach.h"

/* posternd says PROGRESS every 10 s, which starts Postfix's timer anew. */
#define PROGRESS_SECONDS 10
#define MARGIN_SECONDS 30
/* RFC 5321 4.5.3.2.6: clients wait ten minutes after the final dot. */
#define PATIENCE_SECONDS 600

static gboolean
is_unix(const char *address)
{
    return g_str_has_prefix(address, "unix:") || g_str_has_prefix(address, "local:");
}

static const char *
queue_of(const struct milter_chain *chain)
{
    return postfix_get(chain->postfix, NULL, "queue_directory");
}

/* The path of a unix socket as it is inside the process's root. */
static char *
path_inside(const struct milter_chain *chain, const char *address)
{
    const char *path = strchr(address, ':') + 1;
    if (*path == '/') {
        return g_strdup(path);
    }
    return chain->chroot ? g_strconcat("/", path, NULL)
                         : g_build_filename(queue_of(chain), path, NULL);
}

/* And outside of it. */
static char *
path_outside(const struct milter_chain *chain, const char *address)
{
    g_autofree char *inside = path_inside(chain, address);
    return chain->chroot ? g_build_filename(queue_of(chain), inside, NULL)
                         : g_steal_pointer(&inside);
}

static gboolean
same_file(const char *a, const char *b)
{
    struct stat x;
    struct stat y;
    return strcmp(a, b) == 0 ||
           (stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino);
}

/* The agent mounts the socket's directory at "postern" below the queue while it serves. */
static gboolean
is_mounted_name(const struct milter_chain *chain, const char *path, const char *socket)
{
    g_autofree char *name = g_path_get_basename(socket);
    g_autofree char *there = g_build_filename(queue_of(chain), "postern", name, NULL);
    return strcmp(path, there) == 0;
}

/* Both kinds of milter sockets: NULL-terminated, to be freed by g_free(); the texts are borrowed.
 */
static char **
sockets_of(const struct settings *settings)
{
    char *const *const lists[] = {settings->milter_listen, settings->submission_listen};
    GPtrArray *all = g_ptr_array_new();
    for (size_t i = 0; i < G_N_ELEMENTS(lists); i++) {
        for (char *const *address = lists[i]; address != NULL && *address != NULL; address++) {
            g_ptr_array_add(all, *address);
        }
    }
    g_ptr_array_add(all, NULL);
    return (char **)g_ptr_array_free(all, FALSE);
}

static gboolean
is_ours(const struct doctor *doctor, const struct milter_chain *chain, const char *address)
{
    if (doctor->milters != NULL && g_strv_contains((const char *const *)doctor->milters, address)) {
        return TRUE;
    }
    g_autofree char *path = is_unix(address) ? path_outside(chain, address) : NULL;
    g_autofree char **sockets = sockets_of(doctor->settings);
    for (char **listen = sockets; *listen != NULL; listen++) {
        const char *socket = *listen + strlen("unix:");
        if (path == NULL ? g_str_has_prefix(*listen, "inet:") && mta_same_inet(address, *listen)
                         : is_unix(*listen) &&
                               (same_file(path, socket) || is_mounted_name(chain, path, socket))) {
            return TRUE;
        }
    }
    return FALSE;
}

/* A path that is right but for the root it is looked up in is meant for Postern too. */
static gboolean
is_meant(const struct doctor *doctor, const struct milter_chain *chain, const char *address)
{
    if (!is_unix(address)) {
        return FALSE;
    }
    const char *path = strchr(address, ':') + 1;
    g_autofree char **sockets = sockets_of(doctor->settings);
    for (char **listen = sockets; *listen != NULL; listen++) {
        const char *socket = *listen + strlen("unix:");
        g_autofree char *name = g_path_get_basename(socket);
        g_autofree char *mounted = g_build_filename("/postern", name, NULL);
        if (is_unix(*listen) &&
            (strcmp(path, socket) == 0 || (!chain->chroot && strcmp(path, mounted) == 0))) {
            return TRUE;
        }
    }
    return FALSE;
}

void
milter_chain_find(const struct doctor *doctor, struct milter_chain *chain)
{
    chain->milters = postfix_milters(postfix_get(chain->postfix, chain->service, chain->parameter));
    for (guint i = 0; i < chain->milters->len && chain->ours == NULL; i++) {
        const struct postfix_milter *milter = g_ptr_array_index(chain->milters, i);
        gboolean ours = is_ours(doctor, chain, milter->address);
        if (ours || is_meant(doctor, chain, milter->address)) {
            chain->ours = milter;
            chain->position = i;
            chain->misplaced = !ours;
        }
    }
}

void
milter_chain_clear(struct milter_chain *chain)
{
    g_ptr_array_unref(chain->milters);
}

/* An option in the braces outweighs the service's, and that main.cf's. */
static const char *
option_get(const struct milter_chain *chain, const char *option, const char *parameter,
           char **ret_where)
{
    const char *own = g_hash_table_lookup(chain->ours->options, option);
    const char *set = own != NULL ? chain->parameter : parameter;
    if (g_hash_table_contains(chain->service->overrides, set)) {
        *ret_where = g_strdup_printf("%s/master.cf: %s/%s: %s", chain->postfix->dir,
                                     chain->service->name, chain->service->type, set);
    } else {
        *ret_where = g_strdup_printf("%s/main.cf: %s", chain->postfix->dir, set);
    }
    return own != NULL ? own : postfix_get(chain->postfix, chain->service, parameter);
}

static void
check_default_action(struct doctor *doctor, const struct milter_chain *chain)
{
    static const struct {
        const char *action;
        enum doctor_level level;
        const char *text;
    } known[] = {
        {"tempfail", DOCTOR_OK, "while Postern does not answer, senders keep their mail"},
        {"shutdown", DOCTOR_OK, "while Postern does not answer, clients are sent away for a while"},
        {"accept", DOCTOR_PROBLEM, "while Postern does not answer, mail is delivered unscanned"},
        {"reject", DOCTOR_PROBLEM,
         "while Postern does not answer, even in a failover, mail is refused for good"},
        {"quarantine", DOCTOR_WARNING,
         "while Postern does not answer, mail is held in Postfix's queue until somebody looks: it "
         "must be queued again with `postsuper -r`, not released with -H, to be scanned"},
    };
    g_autofree char *where = NULL;
    const char *action = option_get(chain, "default_action", "milter_default_action", &where);
    for (size_t i = 0; i < G_N_ELEMENTS(known); i++) {
        if (strcmp(known[i].action, action) == 0) {
            doctor_add(doctor, known[i].level, "postfix.default-action", where,
                       known[i].level == DOCTOR_OK ? NULL : "set it to tempfail", "%s: %s", action,
                       known[i].text);
            return;
        }
    }
    doctor_add(doctor, DOCTOR_WARNING, "postfix.default-action", where, "set it to tempfail",
               "%s: nothing is known about this action", action);
}

static void
check_content_timeout(struct doctor *doctor, const struct milter_chain *chain)
{
    g_autofree char *where = NULL;
    const char *text = option_get(chain, "content_timeout", "milter_content_timeout", &where);
    gint64 seconds = postfix_seconds(text, 's');
    gint64 needed = 2 * (gint64)doctor->settings->scan_timeout + MARGIN_SECONDS;
    if (seconds <= 2 * PROGRESS_SECONDS) {
        doctor_add(doctor, DOCTOR_PROBLEM, "postfix.content-timeout", where, "set it to 300s",
                   "%s: Postern reports progress every %d s, so long scans are cut off", text,
                   PROGRESS_SECONDS);
    } else if (seconds < needed) {
        doctor_add(doctor, DOCTOR_WARNING, "postfix.content-timeout", where,
                   "raise it, or lower scan_timeout in postern.conf",
                   "%s is less than %" G_GINT64_FORMAT
                   " s, twice scan_timeout and a margin: without a report of progress in time a "
                   "long scan would be cut off",
                   text, needed);
    } else if (seconds > PATIENCE_SECONDS) {
        doctor_add(doctor, DOCTOR_WARNING, "postfix.content-timeout", where, "set it to 300s",
                   "%s: SMTP clients give up after %d s, then they send the mail again", text,
                   PATIENCE_SECONDS);
    } else {
        doctor_add(doctor, DOCTOR_OK, "postfix.content-timeout", where, NULL,
                   "%s: long enough for a scan and its retry", text);
    }
}

static void
check_short_timeouts(struct doctor *doctor, const struct milter_chain *chain)
{
    static const struct {
        const char *option;
        const char *parameter;
        gint64 low;
        gint64 high;
    } timeouts[] = {
        {"connect_timeout", "milter_connect_timeout", 2, 60},
        {"command_timeout", "milter_command_timeout", 5, 120},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(timeouts); i++) {
        g_autofree char *where = NULL;
        const char *text = option_get(chain, timeouts[i].option, timeouts[i].parameter, &where);
        gint64 seconds = postfix_seconds(text, 's');
        gboolean good = seconds >= timeouts[i].low && seconds <= timeouts[i].high;
        doctor_add(doctor, good ? DOCTOR_OK : DOCTOR_WARNING, "postfix.timeout", where,
                   good ? NULL : "take it out (the default is 30s)", "%s%s", text,
                   good                        ? ": reasonable"
                   : seconds < timeouts[i].low ? ": a busy machine will miss it now and then"
                                               : ": clients wait that long when Postern hangs");
    }
}

static void
check_order(struct doctor *doctor, const struct milter_chain *chain)
{
    g_autofree char *where = NULL;
    (void)option_get(chain, "", chain->parameter, &where);
    for (guint i = 0; i < chain->milters->len; i++) {
        const struct postfix_milter *other = g_ptr_array_index(chain->milters, i);
        const char *signer = i == chain->position ? NULL : mta_signer(other->address);
        if (signer != NULL && i < chain->position) {
            doctor_add(
                doctor, DOCTOR_WARNING, "postfix.order", where,
                "put what verifies before Postern and what signs behind it",
                "%s (%s) comes before Postern: what it signs is broken when Postern replaces "
                "a part",
                signer, other->address);
        } else if (signer != NULL) {
            doctor_add(doctor, DOCTOR_OK, "postfix.order", where, NULL,
                       "%s (%s) comes behind Postern and signs what Postern made of the mail",
                       signer, other->address);
        }
    }
}

static void
add_refused(struct doctor *doctor, const char *where, const char *address, int error,
            const char *part)
{
    const char *user = "the user of Postfix";
    if (error == -EACCES && part != NULL) {
        doctor_add(doctor, DOCTOR_PROBLEM, "postfix.socket", where,
                   "let that user in: the group of the directory and mode 2750, as "
                   "systemd-tmpfiles and the cluster's agent set it",
                   "%s may not pass %s on the way to %s", user, part, address);
    } else if (error == -ENOENT) {
        doctor_add(doctor, DOCTOR_PROBLEM, "postfix.socket", where,
                   "name the path as the process sees it; a chrooted one has queue_directory as "
                   "its root",
                   "%s is not there as %s sees it", address, user);
    } else {
        doctor_add(doctor, DOCTOR_PROBLEM, "postfix.socket", where, "see `postern status`",
                   "%s cannot connect to %s: %s", user, address, g_strerror(-error));
    }
}

static void
check_socket(struct doctor *doctor, const struct milter_chain *chain)
{
    const char *address = chain->ours->address;
    g_autofree char *where =
        g_strdup_printf("%s/master.cf: %s/%s%s", chain->postfix->dir, chain->service->name,
                        chain->service->type, chain->chroot ? ", chrooted" : "");
    g_autofree char *part = NULL;
    if (!is_unix(address)) {
        return;
    }
    if (chain->misplaced) {
        g_autofree char *seen = path_outside(chain, address);
        doctor_add(doctor, DOCTOR_PROBLEM, "postfix.chroot", where,
                   chain->chroot ? "use unix:/postern/milter.sock and give the cluster resource "
                                   "queue_directory, or take the service out of its chroot"
                                 : "name the path that milter_listen has",
                   "%s is %s for this process, and Postern does not listen there", address, seen);
        return;
    }
    if (doctor->posternd == NULL) {
        doctor_add(doctor, DOCTOR_OK, "postfix.socket", where, NULL,
                   "posternd does not serve on this node, so %s was not tried", address);
        return;
    }
    g_autofree char *path = path_inside(chain, address);
    int rc = reach_socket(chain->chroot ? queue_of(chain) : NULL, path,
                          postfix_get(chain->postfix, NULL, "mail_owner"), &part);
    if (rc == 0) {
        doctor_add(doctor, DOCTOR_OK, "postfix.socket", where, NULL,
                   "%s answers the user of Postfix", address);
    } else if (rc == -EPERM || rc == -ESRCH) {
        doctor_add(doctor, DOCTOR_UNCHECKED, "postfix.socket", where, "run this as root",
                   "only root can try %s as the user of Postfix", address);
    } else {
        add_refused(doctor, where, address, rc, part);
    }
}

void
milter_chain_check(struct doctor *doctor, const struct milter_chain *chain)
{
    static void (*const checks[])(struct doctor *, const struct milter_chain *) = {
        check_default_action, check_content_timeout, check_short_timeouts,
        check_order,          check_socket,
    };
    for (size_t i = 0; i < G_N_ELEMENTS(checks); i++) {
        checks[i](doctor, chain);
    }
}
