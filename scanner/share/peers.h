/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef PEERS_H
#define PEERS_H

/*
 * The nodes that share their signatures, and the secret by which they know each other: the file
 * `share_peers`, which `postern cluster setup` makes and gives to each node.
 *
 *   {"version":1, "self":NODE, "keys":[{"id":HEX16, "key":HEX64}],
 *    "nodes":[{"name":NODE, "addresses":[NUMERIC IP, ...]}]}
 *
 * All nodes have the same but for "self". Any of the keys is good; the first one is the newest.
 * Whoever can read the file can speak as any node: it is root's, and readable by share_user alone.
 */

#include <sys/socket.h>
#include <glib.h>

#define PEERS_KEY_BYTES 32
#define PEERS_ID_DIGITS 16
/* Corosync has at most so many rings. */
#define PEERS_ADDRESSES_MAX 8

struct peers_key {
    char id[PEERS_ID_DIGITS + 1];
    guint8 bytes[PEERS_KEY_BYTES];
};

struct peer_node {
    char *name;
    char **addresses; /* numeric, NULL-terminated; in the order of the cluster's rings */
};

struct peers {
    char *self;
    GPtrArray *keys;  /* of struct peers_key *, at least one */
    GPtrArray *nodes; /* of struct peer_node *, SELF among them */
};

/* A new secret, without nodes; for peers_add(). */
struct peers *peers_new(const char *self);
void peers_free(struct peers *peers);
typedef struct peers peers_t;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(peers_t, peers_free)

/* Adds a node. Returns 0, or -EINVAL: no name or no numeric addresses, or it is there already. */
int peers_add(struct peers *peers, const char *name, char *const addresses[]);

/* Puts a new key before the others; of four the oldest is lost. */
void peers_add_key(struct peers *peers);
/* Puts a new key before the only one. Of more than one the newest is of a change that did not reach
 * every node: it is taken again, for the oldest is what some of them know. */
void peers_renew_key(struct peers *peers);
/* Keeps the newest key alone. */
void peers_drop_keys(struct peers *peers);

/* Keeps the keys, and none of the nodes. */
void peers_drop_nodes(struct peers *peers);

/* TEXT is that of a file. Returns 0 or -EBADMSG with one sentence. */
int peers_parse(const char *text, struct peers **ret, char **error_r);
/* Reads PATH: a regular file of at most 64 KB that nobody but root (or this process's user) can
 * change and that not everybody can read. Returns 0; -ENOENT; -EPERM; or -errno, with one
 * sentence. */
int peers_read(const char *path, struct peers **ret, char **error_r);
/* As it stands in the file; has the secret. To be freed by g_free(). */
char *peers_text(const struct peers *peers);

/* NULL: there is none. Borrowed. */
const struct peer_node *peers_find(const struct peers *peers, const char *name);
const struct peers_key *peers_key_find(const struct peers *peers, const char *id);
/* The node that has the address of a connection; NULL: nobody we know. Borrowed. */
const struct peer_node *peers_of_address(const struct peers *peers, const struct sockaddr *address);

/* Whether NAME may be a node's: letters, digits, '.', '_' and '-', at most 100. */
gboolean peers_is_name(const char *name);

#endif
