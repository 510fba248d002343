/* SPDX-License-Identifier: GPL-2.0-only */
#include "sessions.h"

#include "ask.h"

#define LOOK_US 100000
/* Postfix accepts new ones with its old settings until the last of its processes knows better. */
#define QUIET_LOOKS 5

static gint64
count(const char *control_socket)
{
    g_autofree char *ignored = NULL;
    json_t *status = ask_status("posternd", control_socket, &ignored);
    gint64 n = 0;
    size_t i;
    const json_t *door;
    json_array_foreach(json_object_get(status, "milter"), i, door)
    {
        n += ask_number(door, "connections");
    }
    json_decref(status);
    return n;
}

gint64
sessions_wait(const char *control_socket, gint64 limit_us)
{
    gint64 end = g_get_monotonic_time() + limit_us;
    gint64 n = count(control_socket);
    for (int quiet = n == 0; quiet < QUIET_LOOKS && g_get_monotonic_time() < end;) {
        g_usleep(LOOK_US);
        n = count(control_socket);
        quiet = n == 0 ? quiet + 1 : 0;
    }
    return n;
}
