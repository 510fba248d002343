/* SPDX-License-Identifier: GPL-2.0-only */
#include "milter-codec.h"

#include <errno.h>
#include <string.h>

#define ACTIONS_NEEDED (SMFIF_ADDHDRS | SMFIF_CHGHDRS | SMFIF_CHGBODY)
#define ACTIONS_WANTED (ACTIONS_NEEDED | SMFIF_SETSYMLIST)

/*
 * MAIL and the end of the message are answered, all between is not: a failure on the way is
 * remembered and said at the end. SMFIP_SKIP is of no use: where the body is not answered it
 * cannot be said, and where it is answered the refusal itself ends the message.
 */
#define PROTOCOL_WANTED                                                               \
    (SMFIP_NOUNKNOWN | SMFIP_NODATA | SMFIP_NR_CONN | SMFIP_NR_HELO | SMFIP_NR_RCPT | \
     SMFIP_NR_HDR | SMFIP_NR_EOH | SMFIP_NR_BODY | SMFIP_HDR_LEADSPC)

/* The macros that are used; with a list of our own the MTA sends no others. */
static const struct {
    guint32 stage;
    const char *names;
} macro_lists[] = {
    {SMFIM_ENVFROM, "i {auth_authen}"},
    {SMFIM_EOM, "i"},
};

static guint32
read_u32(const void *bytes)
{
    guint32 n;
    memcpy(&n, bytes, sizeof n);
    return g_ntohl(n);
}

static void
append_u32(GByteArray *out, guint32 n)
{
    n = g_htonl(n);
    g_byte_array_append(out, (const guint8 *)&n, sizeof n);
}

static void
append_text(GByteArray *out, const char *text)
{
    g_byte_array_append(out, (const guint8 *)text, (guint)strlen(text) + 1);
}

int
milter_packet_parse(const void *buf, gsize len, struct milter_packet *ret, gsize *ret_used)
{
    const char *bytes = buf;
    if (len < MILTER_LEN_BYTES) {
        return 0;
    }
    guint32 claimed = read_u32(bytes);
    if (claimed == 0) {
        return -EBADMSG;
    }
    if (claimed > MILTER_PACKET_MAX) {
        return -EMSGSIZE;
    }
    if (len - MILTER_LEN_BYTES < claimed) {
        return 0;
    }
    ret->command = (guint8)bytes[MILTER_LEN_BYTES];
    ret->data = bytes + MILTER_LEN_BYTES + 1;
    ret->len = claimed - 1;
    *ret_used = MILTER_LEN_BYTES + (gsize)claimed;
    return 1;
}

int
milter_options_decode(const struct milter_packet *packet, struct milter_options *ret)
{
    if (packet->len < MILTER_OPTLEN) {
        return -EBADMSG;
    }
    ret->version = read_u32(packet->data);
    ret->actions = read_u32(packet->data + MILTER_LEN_BYTES);
    ret->protocol = read_u32(packet->data + 2 * MILTER_LEN_BYTES);
    return 0;
}

int
milter_negotiate(const struct milter_options *offer, struct milter_options *ret)
{
    if (offer->version < MILTER_VERSION_MIN) {
        return -EPROTO;
    }
    if ((offer->actions & ACTIONS_NEEDED) != ACTIONS_NEEDED) {
        return -EOPNOTSUPP;
    }
    ret->version = MIN(offer->version, MILTER_VERSION_MAX);
    ret->actions = offer->actions & (guint32)ACTIONS_WANTED;
    ret->protocol = offer->protocol & (guint32)PROTOCOL_WANTED;
    return 0;
}

struct milter_texts
milter_texts_of(const struct milter_packet *packet)
{
    return (struct milter_texts){.next = packet->data, .left = packet->len};
}

int
milter_texts_next(struct milter_texts *texts, const char **ret)
{
    if (texts->left == 0) {
        return 0;
    }
    const char *end = memchr(texts->next, '\0', texts->left);
    if (end == NULL) {
        return -EBADMSG;
    }
    *ret = texts->next;
    texts->left -= (gsize)(end - texts->next) + 1;
    texts->next = end + 1;
    return 1;
}

int
milter_connect_decode(const struct milter_packet *packet, struct milter_connect *ret)
{
    struct milter_texts texts = milter_texts_of(packet);
    if (milter_texts_next(&texts, &ret->name) != 1 || texts.left < 1) {
        return -EBADMSG;
    }
    ret->family = *texts.next;
    ret->address = NULL;
    if (ret->family == SMFIA_UNKNOWN) {
        return 0;
    }
    /* After the family a port of two bytes, then the address. */
    if (texts.left < 3) {
        return -EBADMSG;
    }
    texts.next += 3;
    texts.left -= 3;
    return milter_texts_next(&texts, &ret->address) == 1 ? 0 : -EBADMSG;
}

int
milter_header_decode(const struct milter_packet *packet, struct milter_header *ret)
{
    struct milter_texts texts = milter_texts_of(packet);
    if (milter_texts_next(&texts, &ret->name) != 1 || *ret->name == '\0' || texts.left == 0 ||
        texts.next[texts.left - 1] != '\0') {
        return -EBADMSG;
    }
    ret->value = texts.next;
    ret->value_len = texts.left - 1;
    return 0;
}

int
milter_macros_of(const struct milter_packet *packet, struct milter_texts *ret_texts)
{
    if (packet->len < 1) {
        return -EBADMSG;
    }
    *ret_texts = (struct milter_texts){.next = packet->data + 1, .left = packet->len - 1};
    return 0;
}

int
milter_macros_next(struct milter_texts *texts, char name[static 64], const char **ret_value)
{
    const char *raw;
    int rc = milter_texts_next(texts, &raw);
    if (rc <= 0) {
        return rc;
    }
    gsize len = strlen(raw);
    if (len >= 2 && raw[0] == '{' && raw[len - 1] == '}') {
        raw++;
        len -= 2;
    }
    /* A longer name is none that is known; cut, it would still not become one. */
    len = MIN(len, 63);
    memcpy(name, raw, len);
    name[len] = '\0';
    return milter_texts_next(texts, ret_value) == 1 ? 1 : -EBADMSG;
}

/* The length is known only when the data is there: it is put in afterwards. */
static guint
packet_begin(GByteArray *out, char reply)
{
    guint start = out->len;
    append_u32(out, 0);
    g_byte_array_append(out, (const guint8 *)&reply, 1);
    return start;
}

static void
packet_end(GByteArray *out, guint start)
{
    guint32 len = g_htonl(out->len - start - MILTER_LEN_BYTES);
    memcpy(out->data + start, &len, sizeof len);
}

void
milter_encode(GByteArray *out, char reply, const void *data, gsize len)
{
    guint start = packet_begin(out, reply);
    if (len > 0) {
        g_byte_array_append(out, data, (guint)len);
    }
    packet_end(out, start);
}

void
milter_encode_options(GByteArray *out, const struct milter_options *mine)
{
    guint start = packet_begin(out, SMFIC_OPTNEG);
    append_u32(out, mine->version);
    append_u32(out, mine->actions);
    append_u32(out, mine->protocol);
    if ((mine->actions & SMFIF_SETSYMLIST) != 0) {
        for (size_t i = 0; i < G_N_ELEMENTS(macro_lists); i++) {
            append_u32(out, macro_lists[i].stage);
            append_text(out, macro_lists[i].names);
        }
    }
    packet_end(out, start);
}

void
milter_encode_replycode(GByteArray *out, const char *text)
{
    guint start = packet_begin(out, SMFIR_REPLYCODE);
    for (const char *p = text; *p != '\0'; p++) {
        g_byte_array_append(out, (const guint8 *)p, 1);
        if (*p == '%') {
            g_byte_array_append(out, (const guint8 *)p, 1);
        }
    }
    g_byte_array_append(out, (const guint8 *)"", 1);
    packet_end(out, start);
}

void
milter_encode_add_header(GByteArray *out, const char *name, const char *value)
{
    guint start = packet_begin(out, SMFIR_ADDHEADER);
    append_text(out, name);
    append_text(out, value);
    packet_end(out, start);
}

void
milter_encode_change_header(GByteArray *out, guint32 index, const char *name, const char *value)
{
    guint start = packet_begin(out, SMFIR_CHGHEADER);
    append_u32(out, index);
    append_text(out, name);
    append_text(out, value);
    packet_end(out, start);
}
