/* SPDX-License-Identifier: GPL-2.0-only */
/* postern cluster node peers show|set|drop: one node's side of setup and rekey. */
#include "cluster-commands.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cluster-peers.h"
#include "durable.h"
#include "peers.h"
#include "remote.h"

#define INPUT_MAX 65536

/* Root's, and readable for share_user's group alone. */
static int
write_secret(const char *path, const char *text, gid_t group)
{
    g_autofree char *folder = g_path_get_dirname(path);
    g_autofree char *name = g_path_get_basename(path);
    struct durable_file file = {.fd = -1};
    (void)durable_public_dir(folder);
    int dir = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int rc = dir < 0 ? -errno : durable_begin(&file, dir, 0600);
    if (rc == 0) {
        rc = durable_write_all(file.fd, text, strlen(text));
        if (rc == 0 && geteuid() == 0 && fchown(file.fd, 0, group) < 0) {
            rc = -errno;
        }
        if (rc == 0 && fchmod(file.fd, 0640) < 0) {
            rc = -errno;
        }
        if (rc < 0) {
            durable_abort(&file);
        } else {
            rc = durable_commit(&file, name);
        }
    }
    if (dir >= 0) {
        close(dir);
    }
    return rc;
}

static struct peers *
input_parse(void)
{
    char *text = g_malloc(INPUT_MAX + 1);
    g_autofree char *error = NULL;
    struct peers *peers = NULL;
    size_t length = fread(text, 1, INPUT_MAX, stdin);
    text[length] = '\0';
    if (ferror(stdin) || !feof(stdin) || strlen(text) != length) {
        cli_fail("stdin is no file of peers");
    } else if (peers_parse(text, &peers, &error) < 0) {
        cli_fail("stdin %s", error);
    }
    explicit_bzero(text, length);
    g_free(text);
    return peers;
}

static int
take(const struct settings *settings, struct peers *peers)
{
    const struct passwd *user = getpwnam(settings->share_user);
    const char *self = remote_local_node();
    if (peers_find(peers, self) == NULL) {
        return cli_fail("this node, %s, is none of those that stdin names", self);
    }
    if (user == NULL) {
        return cli_fail("there is no user %s (share_user): run systemd-sysusers",
                        settings->share_user);
    }
    g_free(peers->self);
    peers->self = g_strdup(self);
    char *text = peers_text(peers);
    int rc = write_secret(settings->share_peers, text, user->pw_gid);
    explicit_bzero(text, strlen(text));
    g_free(text);
    return rc < 0 ? cli_fail("%s: cannot be written: %s", settings->share_peers, g_strerror(-rc))
                  : CLI_OK;
}

static int
set(struct cli *cli, int argc, char **argv)
{
    if (!cli_options(cli, NULL, "", "Takes the nodes and their key from stdin.", &argc, &argv) ||
        cli_settings(cli) == NULL) {
        return CLI_ERROR;
    }
    g_autoptr(peers_t) peers = input_parse();
    return peers == NULL ? CLI_ERROR : take(cli_settings(cli), peers);
}

static int
drop(struct cli *cli, int argc, char **argv)
{
    if (!cli_options(cli, NULL, "", "Forgets the nodes and their key.", &argc, &argv) ||
        cli_settings(cli) == NULL) {
        return CLI_ERROR;
    }
    const char *path = cli_settings(cli)->share_peers;
    return unlink(path) < 0 && errno != ENOENT ? cli_fail("%s: %s", path, g_strerror(errno))
                                               : CLI_OK;
}

static int
show(struct cli *cli, int argc, char **argv)
{
    if (!cli_options(cli, NULL, "", "Prints which nodes this one knows, as JSON, without the key.",
                     &argc, &argv) ||
        cli_settings(cli) == NULL) {
        return CLI_ERROR;
    }
    json_t *report = cluster_peers_report(cli_settings(cli)->share_peers);
    json_dumpf(report, stdout, JSON_INDENT(2));
    putchar('\n');
    json_decref(report);
    return CLI_OK;
}

int
cluster_node_peers(struct cli *cli, int argc, char **argv)
{
    static const struct cli_command commands[] = {
        {"show", "Which nodes this one knows, without the key", show},
        {"set", "Take the nodes and their key from stdin", set},
        {"drop", "Forget them: this node fetches by itself", drop},
    };
    return cli_dispatch(cli, commands, G_N_ELEMENTS(commands), argc, argv);
}
