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

/* The DER or BER, or what their base64 text holds. NULL when it can be neither. SEQUENCE begins
 * every CMS, so its base64 begins with an M. */
static GByteArray *
der_of(const unsigned char *data, size_t len)
{
    if (len == 0 || len > INT_MAX || (data[0] != 'M' && data[0] != 0x30)) {
        return NULL;
    }
    GByteArray *der = g_byte_array_new();
    if (data[0] == 'M') {
        base64_decode(data, len, der);
        return der;
    }
    return g_byte_array_append(der, data, (guint)len);
}

static CMS_ContentInfo *
parse(const unsigned char *data, size_t len)
{
    g_autoptr(GByteArray) bytes = der_of(data, len);
    const unsigned char *der = bytes != NULL ? bytes->data : NULL;
    CMS_ContentInfo *cms = der != NULL ? d2i_CMS_ContentInfo(NULL, &der, (long)bytes->len) : NULL;
    ERR_clear_error();
    return cms;
}

GByteArray *
smime_signed_content(const unsigned char *data, size_t len)
{
    g_autoptr(CMS_ContentInfo) cms = parse(data, len);
    bool is_signed = cms != NULL && OBJ_obj2nid(CMS_get0_type(cms)) == NID_pkcs7_signed;
    ASN1_OCTET_STRING **content = is_signed ? CMS_get0_content(cms) : NULL;
    if (content == NULL || *content == NULL || ASN1_STRING_length(*content) == 0) {
        return NULL;
    }
    GByteArray *bytes = g_byte_array_new();
    return g_byte_array_append(bytes, ASN1_STRING_get0_data(*content),
                               (guint)ASN1_STRING_length(*content));
}

enum smime_kind
smime_kind(const unsigned char *data, size_t len)
{
    g_autoptr(CMS_ContentInfo) cms = parse(data, len);
    if (cms == NULL) {
        return SMIME_NONE;
    }
    int type = OBJ_obj2nid(CMS_get0_type(cms));
    if (type == NID_pkcs7_signed) {
        return SMIME_SIGNED;
    }
    return type == NID_pkcs7_enveloped || type == NID_id_smime_ct_authEnvelopedData
               ? SMIME_ENCRYPTED
               : SMIME_OTHER;
}
