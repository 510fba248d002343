/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Can mail pass Postfix without Postern, or fail because of how it is joined to it? What Postfix
 * does was looked up in postconf(5), MILTER_README and SMTPD_PROXY_README.
 */
#include "doctor.h"

#include <string.h>

#include "doctor-milter.h"
#include "postfix.h"

static char *
where_of(const struct postfix *p, const struct postfix_service *s, const char *parameter)
{
    if (s != NULL && g_hash_table_contains(s->overrides, parameter)) {
        return g_strdup_printf("%s/master.cf: %s/%s: %s", p->dir, s->name, s->type, parameter);
    }
    return g_strdup_printf("%s/main.cf: %s", p->dir, parameter);
}

static char *
service_name(const struct postfix *p, const struct postfix_service *s)
{
    return g_strdup_printf("%s/master.cf: %s/%s", p->dir, s->name, s->type);
}

static gboolean
is_loopback(const struct postfix_service *s)
{
    return g_str_has_prefix(s->name, "127.") || g_str_has_prefix(s->name, "localhost:") ||
           g_str_has_prefix(s->name, "[::1]:") || g_str_has_prefix(s->name, "::1:");
}

static gboolean
is_set(const struct postfix *p, const struct postfix_service *s, const char *parameter)
{
    return *postfix_get(p, s, parameter) != '\0';
}

/* A service that no client reaches but through the file system: the release of kept mail. */
static gboolean
is_release(const struct postfix_service *s)
{
    return strcmp(s->type, "unix") == 0 || strstr(s->name, "postern") != NULL;
}

static void
check_release(struct doctor *d, const struct postfix *p, const struct postfix_service *s)
{
    g_autofree char *where = service_name(p, s);
    if (strcmp(s->type, "unix") == 0) {
        doctor_add(d, DOCTOR_OK, "postfix.release", where, NULL,
                   "mail comes in here without Postern, through a unix socket: the way of what is "
                   "released from the quarantine");
    } else {
        doctor_add(d, DOCTOR_PROBLEM, "postfix.release", where,
                   "make it a unix service, as docs/OPERATIONS.md shows",
                   "released mail comes in here without Postern, but the service listens on the "
                   "network, so that anybody who reaches it passes the scanner");
    }
}

/* Content filters hand the mail back on a port of the loopback, usually without milters. */
static void
check_reinjection(struct doctor *d, const struct postfix *p, const struct postfix_service *s)
{
    g_autofree char *where = service_name(p, s);
    if (is_set(p, NULL, "content_filter") || is_set(p, NULL, "smtpd_proxy_filter")) {
        doctor_add(d, DOCTOR_OK, "postfix.reinjection", where, NULL,
                   "no milters, on the loopback: where a content filter hands back mail that was "
                   "scanned when it came in");
        return;
    }
    doctor_add(d, DOCTOR_WARNING, "postfix.reinjection", where,
               "give it smtpd_milters, or be sure that all who may connect from this host hand "
               "back mail that was scanned before",
               "mail from programs of this host comes in here without Postern, and no content "
               "filter is set in main.cf that would explain it");
}

static void
check_loop(struct doctor *d, const struct postfix *p, const struct postfix_service *s)
{
    const char *filter = postfix_get(p, s, "content_filter");
    if (*filter == '\0' || !is_loopback(s)) {
        return;
    }
    g_autofree char *where = service_name(p, s);
    doctor_add(d, DOCTOR_PROBLEM, "postfix.filter-loop", where, "add -o content_filter= to it",
               "mail that comes in here goes to content_filter %s; when that filter hands mail "
               "back to this port it goes round until it has too many hops",
               filter);
}

static void
add_lacking(struct doctor *d, const struct postfix *p, const struct postfix_service *s)
{
    g_autofree char *where = where_of(p, s, "smtpd_milters");
    gboolean overridden = g_hash_table_contains(s->overrides, "smtpd_milters");
    doctor_add(d, DOCTOR_PROBLEM, "postfix.smtpd-milters", where,
               "add the socket of Postern to it (milter_listen in postern.conf)",
               "Postern is not among the milters (%s)%s%s: %s",
               is_set(p, s, "smtpd_milters") ? postfix_get(p, s, "smtpd_milters") : "none",
               overridden ? " of service " : "", overridden ? s->name : "",
               "mail from the network comes in unscanned");
}

/* Is the content of what comes in by this service shown to Postern? */
static gboolean
check_covered(struct doctor *d, const struct postfix *p, const struct postfix_service *s,
              const struct milter_chain *chain)
{
    gboolean hidden = postfix_list_has(postfix_get(p, s, "receive_override_options"), "no_milters");
    if (chain->ours != NULL && !hidden) {
        g_autofree char *where = service_name(p, s);
        doctor_add(d, DOCTOR_OK, "postfix.smtpd-milters", where, NULL, "mail passes Postern at %s",
                   chain->ours->address);
        return TRUE;
    }
    if (is_release(s)) {
        check_release(d, p, s);
    } else if (is_loopback(s)) {
        check_reinjection(d, p, s);
    } else if (hidden) {
        g_autofree char *where = where_of(p, s, "receive_override_options");
        doctor_add(d, DOCTOR_PROBLEM, "postfix.no-milters", where, "take no_milters out",
                   "no_milters: mail that comes in by %s passes no milter at all", s->name);
    } else {
        add_lacking(d, p, s);
    }
    return FALSE;
}

/* SMTPD_PROXY_README: milters then see commands, but neither header nor body. */
static void
check_proxy(struct doctor *d, const struct postfix *p, const struct postfix_service *s)
{
    if (!is_set(p, s, "smtpd_proxy_filter")) {
        return;
    }
    g_autofree char *where = where_of(p, s, "smtpd_proxy_filter");
    doctor_add(d, DOCTOR_PROBLEM, "postfix.proxy-filter", where,
               "use content_filter, or put the milters on the smtpd behind the proxy",
               "with a before-queue proxy %s shows milters the SMTP commands but not the content, "
               "so nothing of it is scanned here",
               s->name);
}

static void
check_service(struct doctor *d, const struct postfix *p, const struct postfix_service *s)
{
    struct milter_chain chain = {
        .postfix = p, .service = s, .chroot = s->chroot, .parameter = "smtpd_milters"};
    milter_chain_find(d, &chain);
    if (check_covered(d, p, s, &chain)) {
        check_proxy(d, p, s);
        milter_chain_check(d, &chain);
    }
    check_loop(d, p, s);
    milter_chain_clear(&chain);
}

/* Mail of sendmail(1), of qmqpd and of what is queued again comes in through cleanup(8). */
static void
check_local(struct doctor *d, const struct postfix *p, const struct postfix_service *cleanup)
{
    struct milter_chain chain = {.postfix = p,
                                 .service = cleanup,
                                 .chroot = cleanup->chroot,
                                 .parameter = "non_smtpd_milters"};
    g_autofree char *where = where_of(p, cleanup, "non_smtpd_milters");
    milter_chain_find(d, &chain);
    if (chain.ours != NULL) {
        doctor_add(d, DOCTOR_OK, "postfix.non-smtpd-milters", where, NULL,
                   "mail from programs of this host passes Postern at %s", chain.ours->address);
        milter_chain_check(d, &chain);
    } else {
        doctor_add(d, DOCTOR_PROBLEM, "postfix.non-smtpd-milters", where,
                   "set it to the address that smtpd_milters has for Postern",
                   "Postern is not among them: mail that local programs send (sendmail, cron, web "
                   "applications) is not scanned");
    }
    milter_chain_clear(&chain);
}

/* pickup(8) hands over what `sendmail` and `postsuper -r` left; its overrides hide milters too. */
static void
check_pickup(struct doctor *d, const struct postfix *p, const struct postfix_service *pickup)
{
    if (!postfix_list_has(postfix_get(p, pickup, "receive_override_options"), "no_milters") ||
        !g_hash_table_contains(pickup->overrides, "receive_override_options")) {
        return;
    }
    g_autofree char *where = where_of(p, pickup, "receive_override_options");
    doctor_add(d, DOCTOR_PROBLEM, "postfix.no-milters", where, "take no_milters out",
               "no_milters: mail from programs of this host passes no milter at all");
}

static const struct {
    const char *command;
    void (*check)(struct doctor *d, const struct postfix *p, const struct postfix_service *s);
} service_checks[] = {
    {"smtpd", check_service},
    {"cleanup", check_local},
    {"pickup", check_pickup},
};

static void
check_size(struct doctor *d, const struct postfix *p)
{
    const char *text = postfix_get(p, NULL, "message_size_limit");
    guint64 limit = g_ascii_strtoull(text, NULL, 10);
    g_autofree char *where = where_of(p, NULL, "message_size_limit");
    if (limit != 0 && limit <= d->settings->message_size) {
        doctor_add(d, DOCTOR_OK, "postfix.message-size", where, NULL,
                   "%s: every message that Postfix takes can be scanned", text);
    } else {
        doctor_add(d, DOCTOR_WARNING, "postfix.message-size", where,
                   "lower it to message_size, or raise message_size in postern.conf",
                   "%s, but message_size is %" G_GUINT64_FORMAT
                   ": what is larger is received and then refused",
                   limit == 0 ? "0 (no limit)" : text, d->settings->message_size);
    }
}

static void
check_nul(struct doctor *d, const struct postfix *p)
{
    static const char *const parameters[] = {"message_reject_characters",
                                             "message_strip_characters"};
    for (size_t i = 0; i < G_N_ELEMENTS(parameters); i++) {
        g_autofree char *where = where_of(p, NULL, parameters[i]);
        if (strstr(postfix_get(p, NULL, parameters[i]), "\\0") != NULL) {
            doctor_add(d, DOCTOR_OK, "postfix.nul", where, NULL,
                       "NUL bytes do not hide the rest of a header from Postern");
            return;
        }
    }
    g_autofree char *where = where_of(p, NULL, parameters[0]);
    doctor_add(d, DOCTOR_WARNING, "postfix.nul", where, "set message_reject_characters = \\0",
               "Postfix hands headers to milters only up to a NUL byte, and delivers them whole: "
               "what follows it is not scanned");
}

static void
check_internal(struct doctor *d, const struct postfix *p)
{
    g_autofree char *where = where_of(p, NULL, "internal_mail_filter_classes");
    const char *classes = postfix_get(p, NULL, "internal_mail_filter_classes");
    if (*classes == '\0') {
        doctor_add(d, DOCTOR_OK, "postfix.internal-mail", where, NULL,
                   "bounces and notices that Postfix writes itself pass no filter: none is lost by "
                   "a refusal");
    } else {
        doctor_add(d, DOCTOR_WARNING, "postfix.internal-mail", where, "leave it empty",
                   "%s: a notice that quotes an infected mail is refused, and nobody is left to be "
                   "told",
                   classes);
    }
}

static void
check_maps(struct doctor *d, const struct postfix *p)
{
    const char *maps = postfix_get(p, NULL, "smtpd_milter_maps");
    if (*maps == '\0') {
        return;
    }
    g_autofree char *where = where_of(p, NULL, "smtpd_milter_maps");
    doctor_add(d, DOCTOR_WARNING, "postfix.milter-maps", where,
               "see that none of its entries is DISABLE or a list without Postern",
               "%s: clients that it names have other milters, or none", maps);
}

static void
check_protocol(struct doctor *d, const struct postfix *p)
{
    const char *text = postfix_get(p, NULL, "milter_protocol");
    g_autofree char *where = where_of(p, NULL, "milter_protocol");
    if (atoi(text) >= 6) {
        return;
    }
    doctor_add(d, DOCTOR_WARNING, "postfix.protocol", where, "take it out (the default is 6)",
               "%s: with an old protocol header values are not passed byte for byte", text);
}

/* The service's socket is where posternd looks for it, in public/ or private/ of the queue. */
static gboolean
is_release_socket(const struct doctor *d, const struct postfix *p, const struct postfix_service *s)
{
    g_autofree char *path = g_build_filename(postfix_get(p, NULL, "queue_directory"),
                                             s->is_private ? "private" : "public", s->name, NULL);
    return strcmp(s->command, "smtpd") == 0 && strcmp(s->type, "unix") == 0 &&
           strcmp(path, d->settings->release_socket) == 0;
}

/* Only where the socket is said to be in this instance's queue. */
static void
check_release_service(struct doctor *d, const struct postfix *p)
{
    const char *queue = postfix_get(p, NULL, "queue_directory");
    if (!g_str_has_prefix(d->settings->release_socket, queue)) {
        return;
    }
    for (guint i = 0; i < p->services->len; i++) {
        if (is_release_socket(d, p, g_ptr_array_index(p->services, i))) {
            return;
        }
    }
    g_autofree char *where = g_strdup_printf("%s/master.cf", p->dir);
    doctor_add(d, DOCTOR_WARNING, "postfix.no-release", where,
               "add it, as \"Releasing\" in docs/OPERATIONS.md shows",
               "no service listens at %s (release_socket): what was kept cannot be released",
               d->settings->release_socket);
}

static void (*const instance_checks[])(struct doctor *d, const struct postfix *p) = {
    check_size, check_nul, check_internal, check_maps, check_protocol, check_release_service,
};

static void
check_instance(struct doctor *d, const struct postfix *p)
{
    for (guint i = 0; i < p->services->len; i++) {
        const struct postfix_service *s = g_ptr_array_index(p->services, i);
        for (size_t k = 0; k < G_N_ELEMENTS(service_checks); k++) {
            if (strcmp(s->command, service_checks[k].command) == 0) {
                service_checks[k].check(d, p, s);
            }
        }
    }
    for (size_t i = 0; i < G_N_ELEMENTS(instance_checks); i++) {
        instance_checks[i](d, p);
    }
}

/* An instance that only sends (a null client's, or one for outgoing mail) has no smtpd to look at;
 * it is looked at all the same, for the mail of local programs. */
void
doctor_postfix(struct doctor *doctor)
{
    g_autofree char *error = NULL;
    g_autoptr(GPtrArray) all = postfix_instances(doctor->postfix_config, &error);
    if (all == NULL) {
        doctor_add(doctor, DOCTOR_UNCHECKED, "postfix.config",
                   doctor->postfix_config == NULL ? "Postfix" : doctor->postfix_config,
                   "run this where Postfix is, as root, or name its configuration with "
                   "--postfix-config",
                   "the configuration cannot be read: %s", error);
        return;
    }
    for (guint i = 0; i < all->len; i++) {
        check_instance(doctor, g_ptr_array_index(all, i));
    }
}
