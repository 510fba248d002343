/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef CLIENTS_H
#define CLIENTS_H

/*
 * engine_dir/engine.sock: who may ask (root, the engine's own user, daemon_user; told by the
 * kernel's credentials) and what is answered. docs/ARCHITECTURE.md has the packets.
 */

#include <stdbool.h>
#include <stdint.h>
#include <jansson.h>

struct engine;
struct clients;

/* Listens. Returns 0, or -errno with a sentence. */
int clients_new(struct engine *engine, struct clients **ret_clients, char **error_r);
/* Closes all connections and removes the socket. */
void clients_free(struct clients *clients);

/* Sends CHANNEL (borrowed) to whoever is attached; false when nobody is, or it does not read. */
bool clients_give_worker(struct clients *clients, uint64_t number, int channel);
/* Asks whoever is attached to let one of these workers go as soon as it is idle; false when nobody
 * is. */
bool clients_release_worker(struct clients *clients, const uint64_t *numbers, size_t count);
/* Tells whoever is attached. */
void clients_worker_gone(struct clients *clients, uint64_t number, const char *cause);
void clients_state_changed(struct clients *clients);
/* Microseconds since when nobody has been attached; -1: somebody is, and may be scanning. */
int64_t clients_unattached_us(const struct clients *clients);
/* Who ordered an adoption waits for its end from now on, or hears why it is not to be, ERROR. */
void clients_order_taken(struct clients *clients, const char *error);
/* Answers all that asked for an adoption: GENERATION serves; or does not, for ERROR; or waits for
 * memory, WAITS. */
void clients_adoption_done(struct clients *clients, const char *generation, const char *error,
                           const char *waits);
/* Answers all that wait for a self test: passed in MS milliseconds, or ERROR. */
void clients_selftest_done(struct clients *clients, int64_t ms, const char *error);

#endif
