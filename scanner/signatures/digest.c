/* SPDX-License-Identifier: GPL-2.0-only */
#include "digest.h"

#include <openssl/evp.h>

#include "text.h"

struct digest {
    EVP_MD_CTX *context;
};

struct digest *
digest_new(void)
{
    struct digest *digest = g_new0(struct digest, 1);
    digest->context = EVP_MD_CTX_new();
    if (digest->context == NULL || EVP_DigestInit_ex(digest->context, EVP_sha256(), NULL) != 1) {
        g_error("libcrypto has no SHA-256");
    }
    return digest;
}

void
digest_free(struct digest *digest)
{
    if (digest != NULL) {
        EVP_MD_CTX_free(digest->context);
        g_free(digest);
    }
}

void
digest_add(struct digest *digest, const void *bytes, size_t n)
{
    (void)EVP_DigestUpdate(digest->context, bytes, n);
}

void
digest_end(struct digest *digest, char ret[65])
{
    guint8 bytes[EVP_MAX_MD_SIZE] = {0};
    unsigned n = 0;
    (void)EVP_DigestFinal_ex(digest->context, bytes, &n);
    g_autofree char *hex = text_hex(bytes, n);
    g_strlcpy(ret, hex, 65);
}
