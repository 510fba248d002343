/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef MILTER_CODEC_H
#define MILTER_CODEC_H

/*
 * The milter protocol, versions 2 to 6, as bytes: packets in, replies out. Pure functions without
 * a socket; the numbers are libmilter's (libmilter/mfdef.h, mfapi.h).
 *
 * A packet is a length (32 bits, network order, of what follows), a command byte, and data. The
 * peer is not trusted: nothing is allocated by a length that it claims, and what is decoded
 * points into the packet.
 */

#include <stdbool.h>
#include <glib.h>
#include <libmilter/mfapi.h>
#include <libmilter/mfdef.h>

#define MILTER_VERSION_MIN 2
#define MILTER_VERSION_MAX 6
/*
 * Longest packet, command byte included. Body chunks have at most 65535 bytes, but Postfix sends
 * a header as one packet whatever its length (header_size_limit, by default 102400), and Sendmail
 * may be built for 1 MB of data (SMFIP_MDS_1M).
 */
#define MILTER_PACKET_MAX (1024U * 1024U + 1U)

struct milter_packet {
    guint8 command;
    const char *data; /* into the buffer that was parsed */
    gsize len;
};

/*
 * Looks for a whole packet at the start of BUF. Returns 1 with *RET and, in *RET_USED, how many
 * bytes it took; 0 when more bytes are needed; -EMSGSIZE (over MILTER_PACKET_MAX) or -EBADMSG (a
 * packet of length 0): the connection is to be closed.
 */
int milter_packet_parse(const void *buf, gsize len, struct milter_packet *ret, gsize *ret_used);

/* What both sides say in the option negotiation. */
struct milter_options {
    guint32 version;
    guint32 actions;  /* SMFIF_* */
    guint32 protocol; /* SMFIP_* */
};

/* The MTA's offer. Returns 0 or -EBADMSG. */
int milter_options_decode(const struct milter_packet *packet, struct milter_options *ret);

/*
 * Of what the MTA offers, what Postern takes: adding and changing headers, another body, no replies
 * where none is needed, header values byte for byte, its own list of macros.
 *
 * Returns 0; -EPROTO when the MTA is too old (below version 2); -EOPNOTSUPP when it does not let
 * headers and body be changed: mail could not be marked, a forged mark not be taken away, a part
 * not be cut out. The connection is then to be closed, and the MTA says 451. All MTAs known let
 * them be changed; without steps (SMFIP_*) on offer everything works too, only slower.
 */
int milter_negotiate(const struct milter_options *offer, struct milter_options *ret);

struct milter_connect {
    const char *name;
    char family;         /* SMFIA_*; 'U' = unknown: no address */
    const char *address; /* "192.0.2.1", a path; NULL = unknown */
};
/* Returns 0 or -EBADMSG. */
int milter_connect_decode(const struct milter_packet *packet, struct milter_connect *ret);

struct milter_header {
    const char *name;
    const char *value; /* lines separated by a bare newline; may hold NULs */
    gsize value_len;
};
/* Returns 0 or -EBADMSG (no name, or not terminated). */
int milter_header_decode(const struct milter_packet *packet, struct milter_header *ret);

/* Goes through data that is a row of terminated texts. */
struct milter_texts {
    const char *next;
    gsize left;
};
struct milter_texts milter_texts_of(const struct milter_packet *packet);
/* Returns 1 with *RET, 0 at the end, -EBADMSG when the last one is not terminated. */
int milter_texts_next(struct milter_texts *texts, const char **ret);

/* A macro packet's names and values, after the command that they belong to. 0 or -EBADMSG. */
int milter_macros_of(const struct milter_packet *packet, struct milter_texts *ret_texts);
/* The next macro; NAME comes without braces. Returns 1, 0 at the end, or -EBADMSG. */
int milter_macros_next(struct milter_texts *texts, char name[static 64], const char **ret_value);

/* Replies, appended to OUT. */
void milter_encode(GByteArray *out, char reply, const void *data, gsize len);
/* The answer to the negotiation, with the list of macros where it was agreed. */
void milter_encode_options(GByteArray *out, const struct milter_options *mine);
/* TEXT is "550 5.7.1 text"; the MTA takes % for the start of a format, so it is doubled. */
void milter_encode_replycode(GByteArray *out, const char *text);
void milter_encode_add_header(GByteArray *out, const char *name, const char *value);
/* INDEX counts the headers of that name from 1; an empty VALUE deletes. */
void milter_encode_change_header(GByteArray *out, guint32 index, const char *name,
                                 const char *value);

#endif
