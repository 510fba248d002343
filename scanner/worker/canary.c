/* SPDX-License-Identifier: GPL-2.0-only */
#include "config.h"
#include "canary.h"

#include <string.h>
#include <glib.h>
#include <zlib.h>

#include "eicar.h"
#include "scan.h"

#define MEMBER "eicar.com"

static void
put16(GByteArray *out, unsigned value)
{
    const guint8 bytes[] = {value & 0xff, value >> 8 & 0xff};
    g_byte_array_append(out, bytes, sizeof bytes);
}

static void
put32(GByteArray *out, guint32 value)
{
    put16(out, value & 0xffff);
    put16(out, value >> 16);
}

/* The fields that a local header and a central one have in common (APPNOTE.TXT 4.3.7). */
static void
put_common(GByteArray *zip, guint32 crc, guint32 packed, guint32 size)
{
    put16(zip, 20);
    put16(zip, 0);
    put16(zip, 8); /* deflated */
    put32(zip, 0x00210000);
    put32(zip, crc);
    put32(zip, packed);
    put32(zip, size);
    put16(zip, sizeof MEMBER - 1);
    put16(zip, 0);
}

/* A ZIP with one member, deflated as one stored block: inflating and a temporary file are tried. */
static GByteArray *
zip_of(const unsigned char *data, guint32 size)
{
    static const guint8 stored_block[] = {1};
    GByteArray *zip = g_byte_array_new();
    guint32 crc = (guint32)crc32(0, data, (uInt)size);
    guint32 packed = size + 5;
    put32(zip, 0x04034b50);
    put_common(zip, crc, packed, size);
    g_byte_array_append(zip, (const guint8 *)MEMBER, sizeof MEMBER - 1);
    g_byte_array_append(zip, stored_block, sizeof stored_block);
    put16(zip, size);
    put16(zip, ~size & 0xffff);
    g_byte_array_append(zip, data, size);
    guint32 directory = zip->len;
    put32(zip, 0x02014b50);
    put16(zip, 20);
    put_common(zip, crc, packed, size);
    for (int i = 0; i < 7; i++) {
        put16(zip, 0); /* comment, disk, attributes, offset of the local header */
    }
    g_byte_array_append(zip, (const guint8 *)MEMBER, sizeof MEMBER - 1);
    guint32 directory_size = zip->len - directory;
    put32(zip, 0x06054b50);
    put32(zip, 0);
    put16(zip, 1);
    put16(zip, 1);
    put32(zip, directory_size);
    put32(zip, directory);
    put16(zip, 0);
    return zip;
}

char *
canary_mail(size_t *ret_len)
{
    unsigned char eicar[EICAR_SIZE];
    eicar_bytes(eicar);
    g_autoptr(GByteArray) zip = zip_of(eicar, sizeof eicar);
    g_autofree char *base64 = g_base64_encode(zip->data, zip->len);
    GString *mail = g_string_new("From: canary@localhost\r\n"
                                 "Subject: canary\r\n"
                                 "MIME-Version: 1.0\r\n"
                                 "Content-Type: application/zip\r\n"
                                 "Content-Transfer-Encoding: base64\r\n\r\n");
    for (const char *p = base64; *p != '\0'; p += MIN(strlen(p), 76)) {
        g_string_append_len(mail, p, (gssize)MIN(strlen(p), 76));
        g_string_append(mail, "\r\n");
    }
    *ret_len = mail->len;
    return g_string_free(mail, FALSE);
}

char *
canary_scan(struct clam *clam, const struct orders *orders)
{
    size_t len = 0;
    g_autofree char *mail = canary_mail(&len);
    g_autoptr(facts_t) facts = scan_object(clam, orders, (const unsigned char *)mail, len);
    if (facts->faults->len > 0) {
        return g_strdup_printf("the canary scan failed: %s",
                               (const char *)g_ptr_array_index(facts->faults, 0));
    }
    if (!facts->complete || facts_verdict(facts) != VERDICT_INFECTED) {
        return g_strdup("the canary scan did not find EICAR in a ZIP");
    }
    return NULL;
}
