/* SPDX-License-Identifier: GPL-2.0-only */
#include "wake.h"

#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <glib.h>

void
wake_notify(const char *engine_dir)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    g_autofree char *run = g_path_get_dirname(engine_dir);
    g_autofree char *path = g_build_filename(run, "notify.sock", NULL);
    if (strlen(path) >= sizeof addr.sun_path) {
        return;
    }
    strcpy(addr.sun_path, path);
    int sock = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (sock >= 0) {
        (void)sendto(sock, "", 0, MSG_NOSIGNAL, (struct sockaddr *)&addr, sizeof addr);
        close(sock);
    }
}
