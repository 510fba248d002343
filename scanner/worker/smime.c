/* SPDX-License-Identifier: GPL-2.0-only */
#include "config.h"
#include "smime.h"

#include <limits.h>
#include <openssl/cms.h>
#include <openssl/err.h>

#include "base64.h"

G_DEFINE_AUTOPTR_CLEANUP_FUNC(CMS_ContentInfo, CMS_ContentInfo_free)

bool
smime_is_named(const char *type, const char *filename)
{
    g_autofree char *lower = filename != NULL ? g_ascii_strdown(filename, -1) : NULL;
    return g_ascii_strcasecmp(type, "application/pkcs7-mime") == 0 ||
           g_ascii_strcasecmp(type, "application/x-pkcs7-mime") == 0 ||
           (lower != NULL && g_str_has_suffix(lower, ".p7m"));
}

static GByteArray *
content_of(const unsigned char *der, size_t len)
{
    g_autoptr(CMS_ContentInfo) cms = d2i_CMS_ContentInfo(NULL, &der, (long)len);
    bool is_signed = cms != NULL && OBJ_obj2nid(CMS_get0_type(cms)) == NID_pkcs7_signed;
    ASN1_OCTET_STRING **content = is_signed ? CMS_get0_content(cms) : NULL;
    ERR_clear_error();
    if (content == NULL || *content == NULL || ASN1_STRING_length(*content) == 0) {
        return NULL;
    }
    GByteArray *bytes = g_byte_array_new();
    return g_byte_array_append(bytes, ASN1_STRING_get0_data(*content),
                               (guint)ASN1_STRING_length(*content));
}

GByteArray *
smime_signed_content(const unsigned char *data, size_t len)
{
    if (len == 0 || len > INT_MAX) {
        return NULL;
    }
    /* SEQUENCE, with which every CMS begins; its base64 begins with an M. */
    if (data[0] == 'M') {
        g_autoptr(GByteArray) der = g_byte_array_new();
        base64_decode(data, len, der);
        return content_of(der->data, der->len);
    }
    return data[0] == 0x30 ? content_of(data, len) : NULL;
}
