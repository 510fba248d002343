/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef MTA_H
#define MTA_H

/*
 * How Postfix names Postern: the addresses of its milter as smtpd(8) and cleanup(8) see them, in
 * lists of milters that others have entries in too. Nothing is changed here. LISTEN is the setting
 * milter_listen, or milter_listen and submission_listen (NULL-terminated).
 */

#include <glib.h>

#include "postfix.h"

enum mta_state {
    MTA_OFF,     /* no mail passes Postern */
    MTA_PARTLY,  /* some ways in have it, some have not */
    MTA_ENABLED, /* all ways in from the network, and local mail */
};

/* Where mail comes from that a service takes. */
enum mta_way {
    MTA_NETWORK,  /* anybody */
    MTA_LOOPBACK, /* programs of this host: where a content filter hands mail back */
    MTA_LOCAL,    /* a unix socket: released mail */
};

enum mta_way mta_way(const struct postfix_service *service);
/* The smtpd services that anybody reaches see queue_directory as their root. */
gboolean mta_is_chrooted(const struct postfix *postfix);

enum mta_state mta_state(const struct postfix *postfix, char *const *listen);
/* "off", "partly", "enabled" */
const char *mta_state_word(enum mta_state state);

/* "inet:HOST:PORT" as the MTA has it and as we listen there: hosts that name this machine's
 * loopback, or all its addresses, are one. */
gboolean mta_same_inet(const char *mta, const char *ours);

/* The name of a milter that signs, by what its address looks like (Debian's presets); or NULL. */
const char *mta_signer(const char *address);

/* ADDRESS of a list of milters is one of LISTEN. */
gboolean mta_is_ours(const struct postfix *postfix, const char *address, char *const *listen);
/* One of the expanded LIST is. */
gboolean mta_list_has(const struct postfix *postfix, const char *list, char *const *listen);

/*
 * The address to set, which every smtpd and cleanup that takes main.cf's lists reaches: the socket
 * itself, unix:/postern/NAME where they are chrooted (the agent binds it there), the same without
 * the first slash where some are and some are not, or inet:HOST:PORT. g_free(); NULL: LISTEN is
 * empty.
 */
char *mta_address(const struct postfix *postfix, char *const *listen);

/*
 * Lists as they stand in the file, "$references" and { braces } included. Adding puts ENTRY before
 * the first milter that signs, else at the end: what signs must see what Postern made of the mail.
 * Nothing else of the text changes. g_free().
 */
char *mta_list_add(const char *list, const char *entry);
char *mta_list_remove(const struct postfix *postfix, const char *list, char *const *listen);

/* LIST without blanks, as postconf -P wants it; g_free(). */
char *mta_list_compact(const char *list);

#endif
