/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef POSTFIX_H
#define POSTFIX_H

/*
 * A Postfix instance as its own postconf(1) prints it: main.cf with all defaults and references
 * resolved, master.cf, and the parameters that services override. Only read.
 */

#include <sys/types.h>
#include <glib.h>

struct postfix_service {
    char *name; /* "smtp", "127.0.0.1:10025" */
    char *type; /* "inet", "unix", "pass" */
    gboolean is_private;
    gboolean chroot;
    char *command;         /* "smtpd" */
    GHashTable *overrides; /* char * -> char * */
};

struct postfix {
    char *name; /* of the instance; "postfix" for the first without a name */
    char *dir;  /* its configuration directory */
    GHashTable *main;
    GPtrArray *services; /* of struct postfix_service * */
};

/* One address of smtpd_milters and its own options: "{ unix:/m.sock, default_action=accept }". */
struct postfix_milter {
    char *address;
    GHashTable *options; /* char * -> char * */
};

/*
 * The instances of this host (postmulti), or the one whose configuration is in DIR. Returns an
 * array of struct postfix * that owns them, or NULL with one sentence in *ERROR_R.
 */
GPtrArray *postfix_instances(const char *dir, char **error_r);

/* PARAMETER as SERVICE (NULL: every service without an override) sees it; "" when it is unknown. */
const char *postfix_get(const struct postfix *postfix, const struct postfix_service *service,
                        const char *parameter);

/* The process that runs the instance on this node; 0 = it does not run here. */
pid_t postfix_master_pid(const struct postfix *postfix);

/* Of struct postfix_milter *, in their order; the array owns them. "none" and "" are empty. */
GPtrArray *postfix_milters(const char *list);

/* A time as postconf(5) writes it ("30s", "5m"), UNIT for one without. Returns -1 when it is none.
 */
gint64 postfix_seconds(const char *text, char unit);

/* WORD is in the comma or space separated LIST. */
gboolean postfix_list_has(const char *list, const char *word);

#endif
