/* SPDX-License-Identifier: GPL-2.0-only */
#include "call.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>
#include <curl/curl.h>

#include "durable.h"
#include "seal.h"
#include "text.h"

#define CONNECT_SECONDS 5
#define SLOW_SECONDS 20
#define SLOW_BYTES 1024
#define HEADER_BYTES_MAX 8192
/* Of an answer without a seal: nothing is done with it. */
#define UNSEALED_MAX 4096
/* The first answer says which nonce the other end wants. */
#define TRIES 2

struct caller {
    const struct peers *peers;
    guint16 port;
    CURL *curl;
    GHashTable *nonces; /* node name: what it wanted last */
};

struct answer {
    guint64 limit;
    guint64 size;
    int fd;
    int rc; /* of the writing */
    size_t header_bytes;
    char *seal;
    char *nonce;
    GByteArray *text;
    GChecksum *sum;
};

struct caller *
caller_new(const struct peers *peers, guint16 port)
{
    struct caller *caller = g_new0(struct caller, 1);
    caller->peers = peers;
    caller->port = port;
    caller->curl = curl_easy_init();
    caller->nonces = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    return caller;
}

void
caller_free(struct caller *caller)
{
    if (caller != NULL) {
        curl_easy_cleanup(caller->curl);
        g_hash_table_unref(caller->nonces);
        g_free(caller);
    }
}

static void
answer_clear(struct answer *answer)
{
    g_free(answer->seal);
    g_free(answer->nonce);
    g_byte_array_unref(answer->text);
    g_checksum_free(answer->sum);
}

/* The value of the header NAME in LINE, or NULL. g_free() */
static char *
header_value(const char *line, size_t length, const char *name)
{
    size_t n = strlen(name);
    if (length <= n || line[n] != ':' || g_ascii_strncasecmp(line, name, n) != 0) {
        return NULL;
    }
    char *value = g_strndup(line + n + 1, length - n - 1);
    return g_strstrip(value);
}

static size_t
on_header(char *line, size_t size, size_t n, void *data)
{
    struct answer *answer = data;
    size_t length = size * n;
    g_autofree char *seal = header_value(line, length, SEAL_HEADER);
    g_autofree char *nonce = header_value(line, length, SEAL_NONCE_HEADER);
    answer->header_bytes += length;
    if (answer->header_bytes > HEADER_BYTES_MAX) {
        return 0;
    }
    if (seal != NULL && answer->seal == NULL) {
        answer->seal = g_steal_pointer(&seal);
    }
    if (nonce != NULL && answer->nonce == NULL) {
        answer->nonce = g_steal_pointer(&nonce);
    }
    return length;
}

static size_t
on_body(char *piece, size_t size, size_t n, void *data)
{
    struct answer *answer = data;
    size_t length = size * n;
    guint64 limit = answer->seal != NULL ? answer->limit : UNSEALED_MAX;
    if (length > limit || answer->size > limit - length) {
        answer->rc = answer->seal != NULL ? -EFBIG : -EACCES;
        return 0;
    }
    answer->size += length;
    if (answer->seal == NULL) {
        return length;
    }
    g_checksum_update(answer->sum, (const guchar *)piece, (gssize)length);
    if (answer->fd < 0) {
        g_byte_array_append(answer->text, (const guint8 *)piece, (guint)length);
        return length;
    }
    answer->rc = durable_write_all(answer->fd, piece, length);
    return answer->rc < 0 ? 0 : length;
}

static void
curl_limit(CURL *curl, const struct call *call)
{
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
#if LIBCURL_VERSION_NUM >= 0x075500
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http");
#else
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS, (long)CURLPROTO_HTTP);
#endif
    curl_easy_setopt(curl, CURLOPT_PROXY, "");
    curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(curl, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, (long)CONNECT_SECONDS);
    curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, (long)SLOW_BYTES);
    curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, (long)SLOW_SECONDS);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT, (long)call->seconds);
}

/* From our address of the same ring, so that the other end knows who calls. */
static char *
interface_of(const struct caller *caller, const char *address, guint ring)
{
    const struct peer_node *self = peers_find(caller->peers, caller->peers->self);
    gboolean six = strchr(address, ':') != NULL;
    guint n = g_strv_length(self->addresses);
    for (guint i = 0; i < n; i++) {
        const char *own = self->addresses[(ring + i) % n];
        if ((strchr(own, ':') != NULL) == six) {
            return g_strconcat("host!", own, NULL);
        }
    }
    return NULL;
}

static CURLcode
perform(const struct caller *caller, const struct call *call, const char *address, guint ring,
        const char *seal, struct answer *answer)
{
    CURL *curl = caller->curl;
    gboolean six = strchr(address, ':') != NULL;
    /* The other end seals, and is told, what this says; a file's name may have any character. */
    g_autofree char *path = g_uri_escape_string(call->path, "/", FALSE);
    g_autofree char *url = g_strdup_printf("http://%s%s%s:%u%s", six ? "[" : "", address,
                                           six ? "]" : "", caller->port, path);
    g_autofree char *header = g_strconcat(SEAL_HEADER ": ", seal, NULL);
    g_autofree char *interface = interface_of(caller, address, ring);
    struct curl_slist *headers = curl_slist_append(NULL, header);
    headers = curl_slist_append(headers, "Expect:");
    headers = curl_slist_append(headers, "Content-Type: application/json");
    curl_easy_reset(curl);
    curl_limit(curl, call);
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(curl, CURLOPT_INTERFACE, interface);
    curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(curl, CURLOPT_HEADERDATA, answer);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, answer);
    if (call->body != NULL) {
        curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE, (long)strlen(call->body));
        curl_easy_setopt(curl, CURLOPT_POSTFIELDS, call->body);
    }
    CURLcode code = curl_easy_perform(curl);
    curl_slist_free_all(headers);
    return code;
}

/* One that did not even take the connection may be reached by another link. */
static gboolean
was_connected(const struct caller *caller)
{
    long sent = 0; /* of the request */
    return curl_easy_getinfo(caller->curl, CURLINFO_REQUEST_SIZE, &sent) == CURLE_OK && sent > 0;
}

static int
failed(const struct caller *caller, CURLcode code, const struct answer *answer, const char *node,
       char **error_r)
{
    int rc = answer->rc < 0                     ? answer->rc
             : code == CURLE_COULDNT_CONNECT    ? -ENOTCONN
             : code == CURLE_INTERFACE_FAILED   ? -ENOTCONN
             : code != CURLE_OPERATION_TIMEDOUT ? -EPROTO
             : was_connected(caller)            ? -ETIMEDOUT
                                                : -ENOTCONN;
    g_free(*error_r);
    *error_r = rc == -EFBIG    ? g_strdup_printf("%s sends more than it should", node)
               : rc == -EACCES ? g_strdup_printf("%s answers without a seal", node)
               : answer->rc < 0
                   ? g_strdup_printf("what %s sends cannot be written: %s", node, g_strerror(-rc))
                   : g_strdup_printf("%s: %s", node, curl_easy_strerror(code));
    return rc;
}

static int
judge(const struct answer *answer, const struct seal_request *request, const struct peers_key *key,
      unsigned status, const char *node, char digest_r[65], char **error_r)
{
    char said[65];
    g_free(*error_r);
    *error_r = NULL;
    if (seal_answer_check(answer->seal, request, key, status, said) < 0) {
        *error_r = status == 401
                       ? g_strdup_printf("%s does not know this node by its key; run `postern "
                                         "cluster rekey`",
                                         node)
                       : g_strdup_printf("%s answers without the right seal", node);
        return -EACCES;
    }
    g_strlcpy(digest_r, g_checksum_get_string(answer->sum), 65);
    if (!seal_is_same(said, digest_r)) {
        *error_r = g_strdup_printf("what %s sends is not what it says", node);
        return -EBADMSG;
    }
    return (int)status;
}

/* Once, with one key at one address. -EAGAIN: the other end wants another nonce. */
static int
attempt(struct caller *caller, const struct peer_node *node, const struct call *call,
        const struct peers_key *key, guint ring, char digest_r[65], char **text_r, char **error_r)
{
    static const char none[] = "00000000000000000000000000000000";
    const char *nonce = g_hash_table_lookup(caller->nonces, node->name);
    struct seal_request request = {.mac = ""};
    struct answer answer = {.limit = call->limit,
                            .fd = call->fd,
                            .text = g_byte_array_new(),
                            .sum = g_checksum_new(G_CHECKSUM_SHA256)};
    long status = 0;
    g_strlcpy(request.from, caller->peers->self, sizeof request.from);
    g_strlcpy(request.to, node->name, sizeof request.to);
    g_strlcpy(request.theirs, nonce != NULL ? nonce : none, sizeof request.theirs);
    g_autofree char *seal = seal_request(&request, key, call->method, call->path, call->body,
                                         call->body != NULL ? strlen(call->body) : 0);
    CURLcode code = perform(caller, call, node->addresses[ring], ring, seal, &answer);
    int rc = 0;
    (void)curl_easy_getinfo(caller->curl, CURLINFO_RESPONSE_CODE, &status);
    if (code == CURLE_OK && status == 401 && answer.seal == NULL && answer.nonce != NULL &&
        strlen(answer.nonce) == SEAL_NONCE_DIGITS && g_strcmp0(answer.nonce, nonce) != 0) {
        g_hash_table_insert(caller->nonces, g_strdup(node->name), g_steal_pointer(&answer.nonce));
        rc = -EAGAIN;
    } else if (code != CURLE_OK) {
        rc = failed(caller, code, &answer, node->name, error_r);
    } else {
        rc = judge(&answer, &request, key, (unsigned)status, node->name, digest_r, error_r);
    }
    if (rc >= 0 && call->fd < 0) {
        g_byte_array_append(answer.text, (const guint8 *)"", 1);
        *text_r = (char *)g_byte_array_free(g_steal_pointer(&answer.text), FALSE);
        answer.text = g_byte_array_new();
    }
    answer_clear(&answer);
    return rc;
}

static int
start_over(const struct call *call)
{
    return call->fd >= 0 && (ftruncate(call->fd, 0) < 0 || lseek(call->fd, 0, SEEK_SET) < 0)
               ? -errno
               : 0;
}

int
caller_call(struct caller *caller, const struct peer_node *node, const struct call *call,
            char digest_r[65], char **text_r, char **error_r)
{
    const struct peers *peers = caller->peers;
    int rc = -ENOTCONN;
    for (guint ring = 0; node->addresses[ring] != NULL && rc == -ENOTCONN; ring++) {
        rc = -EACCES;
        for (guint i = 0; i < peers->keys->len && rc == -EACCES; i++) {
            rc = -EAGAIN;
            for (guint n = 0; n < TRIES && rc == -EAGAIN; n++) {
                rc = start_over(call);
                rc = rc < 0 ? rc
                            : attempt(caller, node, call, g_ptr_array_index(peers->keys, i), ring,
                                      digest_r, text_r, error_r);
            }
            rc = rc == -EAGAIN ? -EACCES : rc;
        }
    }
    if (rc < 0 && *error_r == NULL) {
        *error_r = g_strdup_printf("%s does not know this node by its key; run `postern cluster "
                                   "rekey`",
                                   node->name);
    }
    return rc;
}
