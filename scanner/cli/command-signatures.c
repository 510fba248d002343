/* SPDX-License-Identifier: GPL-2.0-only */
/* postern signatures: pin, unpin, reject; the others are in signatures-*.c */
#include "signatures-commands.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "terminal.h"
#include "text.h"

/* The engine holds the lock for as long as a copy of an offer takes, else for milliseconds. */
#define LOCK_TRIES 300
#define LOCK_PAUSE_US (100 * 1000)

int
signatures_open(const struct settings *settings, gboolean change, struct store **ret,
                char **error_r)
{
    int rc = store_open(settings->signatures_dir, change, ret, error_r);
    for (unsigned i = 0; i < LOCK_TRIES && rc == -EBUSY; i++) {
        g_usleep(LOCK_PAUSE_US);
        g_clear_pointer(error_r, g_free);
        rc = store_open(settings->signatures_dir, change, ret, error_r);
    }
    return rc;
}

struct store *
signatures_store(struct cli *cli, gboolean change)
{
    const struct settings *settings = cli_settings(cli);
    g_autofree char *error = NULL;
    struct store *store = NULL;
    int rc = settings == NULL ? -EINVAL : signatures_open(settings, change, &store, &error);
    if (rc == -ENOENT) {
        cli_fail("%s; `postern signatures update` fetches signatures, `add` installs files", error);
    } else if (error != NULL) {
        cli_fail("%s%s", error, rc == -EACCES && geteuid() != 0 ? "; run this as root" : "");
    }
    return store;
}

void
signatures_print(json_t *object)
{
    json_dumpf(object, stdout, JSON_INDENT(2));
    putchar('\n');
    json_decref(object);
}

/* Says what became of ENTRY. */
static int
changed(struct cli *cli, struct store *store, const char *name, const char *what)
{
    g_autofree char *error = NULL;
    g_autoptr(store_entry_t) entry = store_find(store, name, &error);
    if (cli->json && entry != NULL) {
        signatures_print(signatures_json(entry));
    } else if (!cli->json) {
        printf("Generation %s %s.\n", name, what);
    }
    return CLI_OK;
}

static int
pin(struct cli *cli, int argc, char **argv)
{
    g_autofree char *error = NULL;
    if (!cli_options(
            cli, NULL, "GENERATION",
            "Keeps to one generation: no other is adopted until `unpin`. One that is not in "
            "use is adopted. GENERATION is a name from `list`, its beginning, current, or "
            "previous.",
            &argc, &argv)) {
        return CLI_ERROR;
    }
    if (argc != 2) {
        return cli_fail("signatures pin needs one generation; see `postern signatures list`");
    }
    g_autoptr(store_t) store = signatures_store(cli, TRUE);
    g_autoptr(store_entry_t) entry = store == NULL ? NULL : store_find(store, argv[1], &error);
    if (store == NULL) {
        return CLI_ERROR;
    }
    if (entry == NULL || store_pin(store, entry->name, &error) < 0) {
        return cli_fail("%s", error);
    }
    return changed(cli, store, entry->name,
                   entry->is_current ? "is pinned" : "is pinned; it is adopted after its trial");
}

static int
unpin(struct cli *cli, int argc, char **argv)
{
    g_autofree char *error = NULL;
    if (!cli_options(cli, NULL, "", "Newer generations are adopted again.", &argc, &argv)) {
        return CLI_ERROR;
    }
    g_autoptr(store_t) store = signatures_store(cli, TRUE);
    if (store == NULL) {
        return CLI_ERROR;
    }
    if (store_pin(store, NULL, &error) < 0) {
        return cli_fail("%s", error);
    }
    if (cli->json) {
        signatures_print(json_pack("{s:n}", "pinned"));
    } else {
        puts("No generation is pinned.");
    }
    return CLI_OK;
}

static int
reject(struct cli *cli, int argc, char **argv)
{
    g_autofree char *error = NULL;
    g_autofree char *reason = NULL;
    const GOptionEntry entries[] = {
        {"reason", 0, 0, G_OPTION_ARG_STRING, &reason, "Why; it is kept", "TEXT"},
        {NULL, 0, 0, G_OPTION_ARG_NONE, NULL, NULL, NULL},
    };
    if (!cli_options(cli, entries, "GENERATION",
                     "Never takes, tries or adopts that generation again; it is known by its hash.",
                     &argc, &argv)) {
        return CLI_ERROR;
    }
    if (argc != 2) {
        return cli_fail("signatures reject needs one generation; see `postern signatures list`");
    }
    g_autoptr(store_t) store = signatures_store(cli, TRUE);
    g_autoptr(store_entry_t) entry = store == NULL ? NULL : store_find(store, argv[1], &error);
    if (store == NULL) {
        return CLI_ERROR;
    }
    g_autofree char *safe = text_escape(reason != NULL ? reason : "by an administrator", 300);
    if (entry == NULL || store_set(store, entry->name, RECORD_REJECTED, safe, &error) < 0 ||
        store_prune(store, (guint)cli->settings->generations, &error) < 0) {
        return cli_fail("%s", error);
    }
    return changed(cli, store, entry->name, "is rejected");
}

int
cli_signatures(struct cli *cli, int argc, char **argv)
{
    static const struct cli_command commands[] = {
        {"list", "The generations on this node", signatures_list},
        {"show", "What a generation consists of", signatures_show},
        {"status", "What is in use, how old it is, what was fetched", signatures_status},
        {"update", "Look for new signatures now", signatures_update},
        {"adopt", "Use a generation from now on", signatures_adopt},
        {"rollback", "Use the generation of before again", signatures_rollback},
        {"pin", "Keep to one generation", pin},
        {"unpin", "Take newer generations again", unpin},
        {"reject", "Never use a generation again", reject},
        {"add", "Install signatures on this node", signatures_add},
    };
    return cli_dispatch(cli, commands, G_N_ELEMENTS(commands), argc, argv);
}
