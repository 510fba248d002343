/* SPDX-License-Identifier: GPL-2.0-only */
#include "guests.h"

#include <sys/socket.h>

#include "log.h"

enum standing {
    STRANGER,
    KNOWN,
    LEAVING, /* it was hung up on, and the server has not noticed yet */
};

struct guest {
    const struct peer_node *node;
    int fd; /* the server's */
    gint64 since;
    enum standing standing;
};

struct guests {
    GPtrArray *all; /* of struct guest *, in the order in which they came */
    gboolean has_complained;
};

struct guests *
guests_new(void)
{
    struct guests *guests = g_new0(struct guests, 1);
    guests->all = g_ptr_array_new();
    return guests;
}

void
guests_free(struct guests *guests)
{
    if (guests != NULL) {
        g_ptr_array_unref(guests->all);
        g_free(guests);
    }
}

/* The server closes it when it reads the end. */
static void
hang_up(struct guest *guest)
{
    (void)shutdown(guest->fd, SHUT_RDWR);
    guest->standing = LEAVING;
}

/* How many of NODE stand so; the one that came first in *FIRST_R. */
static guint
count(const struct guests *guests, const struct peer_node *node, enum standing standing,
      struct guest **first_r)
{
    guint n = 0;
    for (guint i = 0; i < guests->all->len; i++) {
        struct guest *guest = g_ptr_array_index(guests->all, i);
        if (guest->node == node && guest->standing == standing) {
            *first_r = n == 0 ? guest : *first_r;
            n++;
        }
    }
    return n;
}

struct guest *
guests_begin(struct guests *guests, const struct peer_node *node, int fd, gint64 now)
{
    struct guest *first = NULL;
    if (count(guests, node, STRANGER, &first) >= GUESTS_STRANGERS) {
        hang_up(first);
        if (!guests->has_complained) {
            log_warning("somebody on %s connects again and again and does not show the key of the "
                        "peers",
                        node->name);
        }
        guests->has_complained = TRUE;
    }
    struct guest *guest = g_new0(struct guest, 1);
    guest->node = node;
    guest->fd = fd;
    guest->since = now;
    g_ptr_array_add(guests->all, guest);
    return guest;
}

void
guests_end(struct guests *guests, struct guest *guest)
{
    if (guest != NULL) {
        g_ptr_array_remove(guests->all, guest);
        g_free(guest);
    }
}

gboolean
guests_know(struct guests *guests, struct guest *guest)
{
    struct guest *first;
    if (guest->standing == STRANGER && count(guests, guest->node, KNOWN, &first) < GUESTS_KNOWN) {
        guest->standing = KNOWN;
    }
    return guest->standing == KNOWN;
}

gboolean
guests_are_known(const struct guests *guests, const struct peer_node *node)
{
    struct guest *first;
    return count(guests, node, KNOWN, &first) > 0;
}

void
guests_expire(struct guests *guests, gint64 now)
{
    for (guint i = 0; i < guests->all->len; i++) {
        struct guest *guest = g_ptr_array_index(guests->all, i);
        if (guest->standing == STRANGER && now - guest->since > GUESTS_SECONDS * G_USEC_PER_SEC) {
            hang_up(guest);
        }
    }
}
