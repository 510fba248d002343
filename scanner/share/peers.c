/* SPDX-License-Identifier: GPL-2.0-only */
#include "peers.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>
#include <jansson.h>

#include "text.h"

#define FILE_MAX 65536
#define NAME_LONGEST 100
#define KEYS_MAX 4
#define NODES_MAX 64

static void
node_free(void *p)
{
    struct peer_node *node = p;
    g_free(node->name);
    g_strfreev(node->addresses);
    g_free(node);
}

static void
key_free(void *p)
{
    explicit_bzero(p, sizeof(struct peers_key));
    g_free(p);
}

static struct peers *
peers_empty(const char *self)
{
    struct peers *peers = g_new0(struct peers, 1);
    peers->self = g_strdup(self);
    peers->keys = g_ptr_array_new_with_free_func(key_free);
    peers->nodes = g_ptr_array_new_with_free_func(node_free);
    return peers;
}

struct peers *
peers_new(const char *self)
{
    struct peers *peers = peers_empty(self);
    peers_add_key(peers);
    return peers;
}

void
peers_free(struct peers *peers)
{
    if (peers != NULL) {
        g_free(peers->self);
        g_ptr_array_unref(peers->keys);
        g_ptr_array_unref(peers->nodes);
        g_free(peers);
    }
}

gboolean
peers_is_name(const char *name)
{
    if (name == NULL || *name == '\0' || *name == '-' || *name == '.' ||
        strlen(name) > NAME_LONGEST) {
        return FALSE;
    }
    for (const char *p = name; *p != '\0'; p++) {
        if (!g_ascii_isalnum(*p) && strchr("._-", *p) == NULL) {
            return FALSE;
        }
    }
    return TRUE;
}

static gboolean
is_address(const char *text)
{
    struct in6_addr ignored;
    return inet_pton(AF_INET, text, &ignored) == 1 || inet_pton(AF_INET6, text, &ignored) == 1;
}

int
peers_add(struct peers *peers, const char *name, char *const addresses[])
{
    guint n = 0;
    if (!peers_is_name(name) || peers_find(peers, name) != NULL || peers->nodes->len == NODES_MAX) {
        return -EINVAL;
    }
    for (; addresses[n] != NULL; n++) {
        if (n == PEERS_ADDRESSES_MAX || !is_address(addresses[n])) {
            return -EINVAL;
        }
    }
    if (n == 0) {
        return -EINVAL;
    }
    struct peer_node *node = g_new0(struct peer_node, 1);
    node->name = g_strdup(name);
    node->addresses = g_strdupv((char **)(guintptr)addresses);
    g_ptr_array_add(peers->nodes, node);
    return 0;
}

static void
random_bytes(void *to, size_t n)
{
    /* Up to 256 bytes come whole. */
    while (getrandom(to, n, 0) != (ssize_t)n) {
    }
}

void
peers_add_key(struct peers *peers)
{
    guint8 id[PEERS_ID_DIGITS / 2];
    struct peers_key *key = g_new0(struct peers_key, 1);
    random_bytes(key->bytes, sizeof key->bytes);
    random_bytes(id, sizeof id);
    g_autofree char *hex = text_hex(id, sizeof id);
    g_strlcpy(key->id, hex, sizeof key->id);
    if (peers->keys->len == KEYS_MAX) {
        g_ptr_array_remove_index(peers->keys, KEYS_MAX - 1);
    }
    g_ptr_array_insert(peers->keys, 0, key);
}

void
peers_renew_key(struct peers *peers)
{
    if (peers->keys->len == 1) {
        peers_add_key(peers);
    }
}

void
peers_drop_keys(struct peers *peers)
{
    if (peers->keys->len > 1) {
        g_ptr_array_remove_range(peers->keys, 1, peers->keys->len - 1);
    }
}

void
peers_drop_nodes(struct peers *peers)
{
    g_ptr_array_set_size(peers->nodes, 0);
}

const struct peer_node *
peers_find(const struct peers *peers, const char *name)
{
    for (guint i = 0; i < peers->nodes->len; i++) {
        const struct peer_node *node = g_ptr_array_index(peers->nodes, i);
        if (strcmp(node->name, name) == 0) {
            return node;
        }
    }
    return NULL;
}

const struct peers_key *
peers_key_find(const struct peers *peers, const char *id)
{
    for (guint i = 0; i < peers->keys->len; i++) {
        const struct peers_key *key = g_ptr_array_index(peers->keys, i);
        if (strcmp(key->id, id) == 0) {
            return key;
        }
    }
    return NULL;
}

/* The same address may be written in several ways. */
static gboolean
is_same(const char *text, const struct sockaddr *address)
{
    struct in6_addr six;
    struct in_addr four;
    if (address->sa_family == AF_INET6) {
        const struct sockaddr_in6 *in = (const struct sockaddr_in6 *)(const void *)address;
        return inet_pton(AF_INET6, text, &six) == 1 &&
               memcmp(&six, &in->sin6_addr, sizeof six) == 0;
    }
    const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)address;
    return address->sa_family == AF_INET && inet_pton(AF_INET, text, &four) == 1 &&
           four.s_addr == in->sin_addr.s_addr;
}

const struct peer_node *
peers_of_address(const struct peers *peers, const struct sockaddr *address)
{
    for (guint i = 0; i < peers->nodes->len; i++) {
        const struct peer_node *node = g_ptr_array_index(peers->nodes, i);
        for (char **text = node->addresses; *text != NULL; text++) {
            if (is_same(*text, address)) {
                return node;
            }
        }
    }
    return NULL;
}

static const char *
text_of(const json_t *object, const char *name)
{
    return json_string_value(json_object_get(object, name));
}

static gboolean
hex_read(const char *text, guint8 *bytes, size_t n)
{
    if (text == NULL || strlen(text) != 2 * n) {
        return FALSE;
    }
    for (size_t i = 0; i < n; i++) {
        int high = g_ascii_xdigit_value(text[2 * i]);
        int low = g_ascii_xdigit_value(text[2 * i + 1]);
        if (high < 0 || low < 0) {
            return FALSE;
        }
        bytes[i] = (guint8)(high * 16 + low);
    }
    return TRUE;
}

static gboolean
key_parse(struct peers *peers, const json_t *object)
{
    guint8 ignored[PEERS_ID_DIGITS / 2];
    const char *id = text_of(object, "id");
    struct peers_key *key = g_new0(struct peers_key, 1);
    gboolean good = peers->keys->len < KEYS_MAX && hex_read(id, ignored, sizeof ignored) &&
                    peers_key_find(peers, id) == NULL &&
                    hex_read(text_of(object, "key"), key->bytes, sizeof key->bytes);
    if (!good) {
        key_free(key);
        return FALSE;
    }
    g_strlcpy(key->id, id, sizeof key->id);
    g_ptr_array_add(peers->keys, key);
    return TRUE;
}

static gboolean
node_parse(struct peers *peers, const json_t *object)
{
    g_autoptr(GPtrArray) addresses = g_ptr_array_new();
    size_t i;
    json_t *address;
    json_array_foreach(json_object_get(object, "addresses"), i, address)
    {
        if (!json_is_string(address)) {
            return FALSE;
        }
        g_ptr_array_add(addresses, (void *)(guintptr)json_string_value(address));
    }
    g_ptr_array_add(addresses, NULL);
    return peers_add(peers, text_of(object, "name"), (char *const *)addresses->pdata) == 0;
}

static struct peers *
object_parse(const json_t *object)
{
    const char *self = text_of(object, "self");
    gboolean good = json_integer_value(json_object_get(object, "version")) == 1 && self != NULL;
    g_autoptr(peers_t) peers = peers_empty(self);
    size_t i;
    json_t *each;
    json_array_foreach(json_object_get(object, "keys"), i, each)
    {
        good = good && key_parse(peers, each);
    }
    json_array_foreach(json_object_get(object, "nodes"), i, each)
    {
        good = good && node_parse(peers, each);
    }
    good = good && peers->keys->len > 0 && peers_find(peers, self) != NULL;
    return good ? g_steal_pointer(&peers) : NULL;
}

int
peers_parse(const char *text, struct peers **ret, char **error_r)
{
    json_t *object = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
    *ret = object_parse(object);
    json_decref(object);
    if (*ret == NULL) {
        *error_r = g_strdup("is not what `postern cluster setup` writes; run `postern cluster "
                            "rekey`");
        return -EBADMSG;
    }
    return 0;
}

/* With explicit sizes: the secret is in no buffer of stdio's. */
static int
file_read(int fd, char **text_r)
{
    g_autofree char *text = g_malloc0(FILE_MAX + 1);
    size_t size = 0;
    ssize_t n;
    while (size < FILE_MAX && (n = read(fd, text + size, FILE_MAX - size)) != 0) {
        if (n < 0 && errno != EINTR) {
            return -errno;
        }
        size += n > 0 ? (size_t)n : 0;
    }
    *text_r = g_steal_pointer(&text);
    return size == FILE_MAX ? -EFBIG : 0;
}

static const char *
unsafe(const struct stat *st)
{
    if (!S_ISREG(st->st_mode)) {
        return "is no regular file";
    }
    if (st->st_uid != 0 && st->st_uid != geteuid()) {
        return "does not belong to root";
    }
    if ((st->st_mode & (S_IWGRP | S_IRWXO)) != 0) {
        return "can be read by everybody or changed by others: chmod 0640, and make a new key with "
               "`postern cluster rekey`";
    }
    return NULL;
}

int
peers_read(const char *path, struct peers **ret, char **error_r)
{
    struct stat st = {.st_mode = 0};
    g_autofree char *text = NULL;
    g_autofree char *why = NULL;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
    int rc = fd < 0 || fstat(fd, &st) < 0 ? -errno : 0;
    const char *wrong = rc == 0 ? unsafe(&st) : NULL;
    if (wrong != NULL) {
        rc = -EPERM;
        why = g_strdup(wrong);
    } else if (rc == 0 && (rc = file_read(fd, &text)) == 0) {
        rc = peers_parse(text, ret, &why);
    }
    if (fd >= 0) {
        close(fd);
    }
    if (text != NULL) {
        explicit_bzero(text, strlen(text));
    }
    if (rc < 0) {
        *error_r = g_strdup_printf("%s: %s", path, why != NULL ? why : g_strerror(-rc));
    }
    return rc;
}

char *
peers_text(const struct peers *peers)
{
    json_t *keys = json_array();
    json_t *nodes = json_array();
    for (guint i = 0; i < peers->keys->len; i++) {
        const struct peers_key *key = g_ptr_array_index(peers->keys, i);
        g_autofree char *hex = text_hex(key->bytes, sizeof key->bytes);
        json_array_append_new(keys, json_pack("{s:s, s:s}", "id", key->id, "key", hex));
    }
    for (guint i = 0; i < peers->nodes->len; i++) {
        const struct peer_node *node = g_ptr_array_index(peers->nodes, i);
        json_t *addresses = json_array();
        for (char **text = node->addresses; *text != NULL; text++) {
            json_array_append_new(addresses, json_string(*text));
        }
        json_array_append_new(nodes,
                              json_pack("{s:s, s:o}", "name", node->name, "addresses", addresses));
    }
    json_t *object = json_pack("{s:i, s:s, s:o, s:o}", "version", 1, "self", peers->self, "keys",
                               keys, "nodes", nodes);
    char *dumped = json_dumps(object, JSON_INDENT(2));
    char *text = g_strconcat(dumped, "\n", NULL);
    json_decref(object);
    free(dumped);
    return text;
}
