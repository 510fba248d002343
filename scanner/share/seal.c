/* SPDX-License-Identifier: GPL-2.0-only */
#include "seal.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>

#include "text.h"

#define VERSION "1"
#define REQUEST_WORDS 8
#define ANSWER_WORDS 3
#define HEADER_MAX 1024

void
seal_nonce(char ret[SEAL_NONCE_DIGITS + 1])
{
    guint8 bytes[SEAL_NONCE_DIGITS / 2];
    while (getrandom(bytes, sizeof bytes, 0) != (ssize_t)sizeof bytes) {
    }
    g_autofree char *hex = text_hex(bytes, sizeof bytes);
    g_strlcpy(ret, hex, SEAL_NONCE_DIGITS + 1);
}

void
seal_digest(const void *body, size_t len, char ret[65])
{
    g_autoptr(GChecksum) sum = g_checksum_new(G_CHECKSUM_SHA256);
    g_checksum_update(sum, body != NULL ? body : (const guchar *)"", (gssize)len);
    g_strlcpy(ret, g_checksum_get_string(sum), 65);
}

gboolean
seal_is_same(const char *one, const char *two)
{
    size_t length = strlen(one);
    guint8 different = length == strlen(two) ? 0 : 1;
    for (size_t i = 0; i < MIN(length, strlen(two)); i++) {
        different |= (guint8)one[i] ^ (guint8)two[i];
    }
    return different == 0;
}

static void
mac_of(const struct peers_key *key, const char *text, char ret[SEAL_MAC_DIGITS + 1])
{
    g_autofree char *mac = g_compute_hmac_for_data(G_CHECKSUM_SHA256, key->bytes, sizeof key->bytes,
                                                   (const guchar *)text, strlen(text));
    g_strlcpy(ret, mac, SEAL_MAC_DIGITS + 1);
}

static void
request_mac(const struct seal_request *request, const struct peers_key *key, const char *method,
            const char *path, char ret[SEAL_MAC_DIGITS + 1])
{
    g_autofree char *text =
        g_strjoin("\n", "postern request", VERSION, method, path, request->key, request->from,
                  request->to, request->own, request->theirs, request->body, NULL);
    mac_of(key, text, ret);
}

static void
answer_mac(const struct seal_request *request, const struct peers_key *key, unsigned status,
           const char *body, char ret[SEAL_MAC_DIGITS + 1])
{
    g_autofree char *number = g_strdup_printf("%u", status);
    g_autofree char *text =
        g_strjoin("\n", "postern answer", VERSION, number, request->mac, body, NULL);
    mac_of(key, text, ret);
}

char *
seal_request(struct seal_request *request, const struct peers_key *key, const char *method,
             const char *path, const void *body, size_t len)
{
    g_strlcpy(request->key, key->id, sizeof request->key);
    seal_nonce(request->own);
    seal_digest(body, len, request->body);
    request_mac(request, key, method, path, request->mac);
    return g_strjoin(" ", VERSION, request->key, request->from, request->to, request->own,
                     request->theirs, request->body, request->mac, NULL);
}

static gboolean
is_hex(const char *text, size_t digits)
{
    return strlen(text) == digits && strspn(text, "0123456789abcdef") == digits;
}

/* The words of VALUE, NULL unless there are N of the right version. g_strfreev() */
static char **
words_of(const char *value, guint n)
{
    if (value == NULL || strlen(value) > HEADER_MAX) {
        return NULL;
    }
    g_auto(GStrv) words = g_strsplit(value, " ", (gint)n + 1);
    return g_strv_length(words) == n && strcmp(words[0], VERSION) == 0 ? g_steal_pointer(&words)
                                                                       : NULL;
}

int
seal_request_check(const char *value, const struct peers *peers, const char *method,
                   const char *path, struct seal_request *ret)
{
    char mac[SEAL_MAC_DIGITS + 1];
    g_auto(GStrv) words = words_of(value, REQUEST_WORDS);
    if (words == NULL || !peers_is_name(words[2]) || !peers_is_name(words[3]) ||
        !is_hex(words[4], SEAL_NONCE_DIGITS) || !is_hex(words[5], SEAL_NONCE_DIGITS) ||
        !is_hex(words[6], 64) || !is_hex(words[7], SEAL_MAC_DIGITS)) {
        return -EACCES;
    }
    const struct peers_key *key = peers_key_find(peers, words[1]);
    if (key == NULL || peers_find(peers, words[2]) == NULL || strcmp(words[3], peers->self) != 0) {
        return -EACCES;
    }
    g_strlcpy(ret->key, words[1], sizeof ret->key);
    g_strlcpy(ret->from, words[2], sizeof ret->from);
    g_strlcpy(ret->to, words[3], sizeof ret->to);
    g_strlcpy(ret->own, words[4], sizeof ret->own);
    g_strlcpy(ret->theirs, words[5], sizeof ret->theirs);
    g_strlcpy(ret->body, words[6], sizeof ret->body);
    g_strlcpy(ret->mac, words[7], sizeof ret->mac);
    request_mac(ret, key, method, path, mac);
    return seal_is_same(mac, ret->mac) ? 0 : -EACCES;
}

char *
seal_answer(const struct seal_request *request, const struct peers_key *key, unsigned status,
            const char *body)
{
    char mac[SEAL_MAC_DIGITS + 1];
    answer_mac(request, key, status, body, mac);
    return g_strjoin(" ", VERSION, body, mac, NULL);
}

int
seal_answer_check(const char *value, const struct seal_request *request,
                  const struct peers_key *key, unsigned status, char body_r[65])
{
    char mac[SEAL_MAC_DIGITS + 1];
    g_auto(GStrv) words = words_of(value, ANSWER_WORDS);
    if (words == NULL || !is_hex(words[1], 64) || !is_hex(words[2], SEAL_MAC_DIGITS)) {
        return -EACCES;
    }
    answer_mac(request, key, status, words[1], mac);
    if (!seal_is_same(mac, words[2])) {
        return -EACCES;
    }
    g_strlcpy(body_r, words[1], 65);
    return 0;
}
