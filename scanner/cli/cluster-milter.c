/* SPDX-License-Identifier: GPL-2.0-only */
/* postern cluster node milter enable|disable|check */
#include "cluster-commands.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "ask.h"
#include "diff.h"
#include "mta.h"
#include "mta-plan.h"
#include "mta-store.h"
#include "mta-undo.h"
#include "postfix.h"
#include "program.h"
#include "reach.h"
#include "sessions.h"
#include "terminal.h"
#include "text.h"

#define MAIN_CF "/etc/postfix/main.cf"
#define SESSIONS_US (10 * G_USEC_PER_SEC)

struct milter {
    struct cli *cli;
    GPtrArray *listen; /* of char *, borrowed, with a NULL at its end; the one to use first */
    char *address;
    char *records;
    gboolean release;
    gboolean yes;
    gboolean dry_run;
    gboolean force;
    json_t *results; /* of each instance */
};

/* One instance on its way. */
struct task {
    struct milter *milter;
    const char *dir;
    struct mta_store *store;
    struct mta_files now;
    struct mta_files fresh;
    struct mta_record record; /* "before" NULL: there is none */
    json_t *result;
    json_t *notes;
    gboolean whole; /* the files become byte for byte what they were */
    char *error;
};

static void
note(struct task *task, const char *where, gboolean open, const char *what)
{
    json_array_append_new(task->notes,
                          json_pack("{s:s, s:s, s:b}", "where", where, "what", what, "open", open));
}

static gboolean
ask_service(const char *service, const char *list, void *data)
{
    struct task *task = data;
    const json_t *known = json_object_get(task->record.answers, service);
    gboolean yes = TRUE;
    if (known != NULL) {
        yes = json_is_true(known);
    } else if (!task->milter->yes && !task->milter->dry_run && isatty(STDIN_FILENO)) {
        g_autofree char *safe = text_escape(service, 100);
        g_autofree char *milters = text_escape(list, 200);
        g_autofree char *question = g_strdup_printf(
            "%s: service %s has milters of its own (%s). Shall it have Postern too?", task->dir,
            safe, *list == '\0' ? "none" : milters);
        yes = diff_confirm(question);
    }
    json_object_set_new(task->record.answers, service, json_boolean(yes));
    return yes;
}

static struct mta_wish
wish_of(struct task *task)
{
    return (struct mta_wish){.listen = (char *const *)task->milter->listen->pdata,
                             .address = task->milter->address,
                             .release = task->milter->release,
                             .ask = ask_service,
                             .data = task};
}

/* An edit of FILES, which are replaced by its result. */
static gboolean
with_edit(struct task *task, struct mta_files *files,
          gboolean (*change)(struct task *task, struct mta_edit *edit, void *data), void *data)
{
    struct mta_edit *edit = mta_edit_open(files, &task->error);
    struct mta_files fresh;
    gboolean good =
        edit != NULL && change(task, edit, data) && mta_edit_take(edit, &fresh, &task->error);
    mta_edit_close(edit);
    if (good) {
        mta_files_clear(files);
        *files = fresh;
    }
    return good;
}

static gboolean
plan_in(struct task *task, struct mta_edit *edit, void *unused)
{
    struct mta_wish wish = wish_of(task);
    (void)unused;
    return mta_plan(edit, &wish, task->notes, &task->error);
}

/* OPEN: entries that somebody else changed after us (of char *), or NULL. */
static gboolean
plan_out(struct task *task, struct mta_edit *edit, void *open)
{
    struct mta_wish wish = wish_of(task);
    const GPtrArray *entries = open;
    if (!mta_plan_out(edit, &wish, &task->error)) {
        return FALSE;
    }
    for (guint i = 0; entries != NULL && i < entries->len; i++) {
        const char *entry = g_ptr_array_index(entries, i);
        if (strcmp(entry, "postern-release/unix") == 0 &&
            !mta_edit_service(edit, entry, NULL, &task->error)) {
            return FALSE;
        }
    }
    return TRUE;
}

/* FILES without what the record says was added. */
static gboolean
undo(struct task *task, struct mta_files *files)
{
    const struct mta_record *r = &task->record;
    g_autoptr(GPtrArray) open = g_ptr_array_new_with_free_func(g_free);
    struct mta_files result;
    enum mta_undo main_how =
        mta_undo(MTA_MAIN, r->before.main, r->after.main, task->now.main, &result.main, open);
    enum mta_undo master_how = mta_undo(MTA_MASTER, r->before.master, r->after.master,
                                        task->now.master, &result.master, open);
    *files = result;
    task->whole = main_how == MTA_UNDO_WHOLE && master_how == MTA_UNDO_WHOLE;
    for (guint i = 0; i < open->len; i++) {
        note(task, g_ptr_array_index(open, i), FALSE,
             "somebody changed it after Postern did: only what names Postern is taken out");
    }
    return open->len == 0 || with_edit(task, files, plan_out, open);
}

static void
copy_files(struct mta_files *to, const struct mta_files *from)
{
    *to = (struct mta_files){.main = g_strdup(from->main), .master = g_strdup(from->master)};
}

static void
add_diff(struct task *task)
{
    g_autofree char *main_cf =
        diff_text(mta_store_main(task->store), task->now.main, task->fresh.main);
    g_autofree char *master_cf =
        diff_text(mta_store_master(task->store), task->now.master, task->fresh.master);
    g_autofree char *all = g_strconcat(main_cf, master_cf, NULL);
    if (!task->milter->cli->json) {
        fputs(all, stdout);
    }
    json_t *diff = json_string(all);
    json_object_set_new(task->result, "diff", diff == NULL ? json_string("") : diff);
}

/* The program that answers as this instance's smtpd sees it; -errno with the reason. */
static int
try_socket(struct task *task, const struct postfix *p, char **why_r)
{
    char *const *listen = (char *const *)task->milter->listen->pdata;
    g_autofree char *no_service = NULL;
    json_t *status =
        ask_status("posternd", cli_settings(task->milter->cli)->control_socket, &no_service);
    if (status == NULL) {
        *why_r = g_strdup("posternd does not serve on this node, but Postfix runs here");
        return -ENOTCONN;
    }
    json_decref(status);
    g_autofree char *address =
        task->milter->address != NULL ? g_strdup(task->milter->address) : mta_address(p, listen);
    if (address == NULL || !g_str_has_prefix(address, "unix:")) {
        return 0;
    }
    gboolean chroot = mta_is_chrooted(p);
    const char *queue = postfix_get(p, NULL, "queue_directory");
    const char *path = address + strlen("unix:");
    g_autofree char *seen = *path == '/' ? g_strdup(path)
                            : chroot     ? g_strconcat("/", path, NULL)
                                         : g_build_filename(queue, path, NULL);
    g_autofree char *part = NULL;
    int rc = reach_socket(chroot ? queue : NULL, seen, postfix_get(p, NULL, "mail_owner"), &part);
    if (rc < 0 && rc != -EPERM && rc != -ESRCH) {
        *why_r = g_strdup_printf("%s does not answer as Postfix's user sees it (%s): does the "
                                 "resource have queue_directory=%s?",
                                 address, g_strerror(-rc), queue);
        return rc;
    }
    return 0;
}

/* Mail would get 451 until the scanner is there: no harm that lasts, but not what was meant. */
static gboolean
check_service(struct task *task, const struct postfix *p)
{
    g_autofree char *why = NULL;
    if (task->milter->force || task->milter->dry_run || postfix_master_pid(p) == 0 ||
        try_socket(task, p, &why) == 0) {
        return TRUE;
    }
    task->error = g_strdup_printf("%s: %s; --force enables it all the same, and mail gets 451",
                                  task->dir, why);
    return FALSE;
}

static void
reload(struct task *task, const struct postfix *p)
{
    const char *const argv[] = {"postfix", "-c", task->dir, "reload", NULL};
    pid_t pid = postfix_master_pid(p);
    g_autofree char *error = NULL;
    g_autofree char *out = NULL;
    json_object_set_new(task->result, "master_pid", json_integer(pid));
    json_object_set_new(task->result, "reloaded", json_boolean(pid != 0));
    if (pid == 0) {
        return;
    }
    out = program_output(argv, &error);
    if (out == NULL || postfix_master_pid(p) != pid) {
        g_autofree char *what =
            g_strdup_printf("Postfix was not told: %s; run `postfix -c %s reload`",
                            error != NULL ? error : "its master is another process now", task->dir);
        note(task, task->dir, TRUE, what);
        json_object_set_new(task->result, "reloaded", json_false());
    }
}

/* Shows, asks, writes, tells Postfix. RECORD: what is kept for later (NULL: forgets). */
static gboolean
carry_out(struct task *task, const struct postfix *p, const struct mta_record *record)
{
    gboolean same = mta_files_equal(&task->now, &task->fresh);
    add_diff(task);
    json_object_set_new(task->result, "state", json_string(same ? "unchanged" : "changed"));
    if (task->milter->dry_run) {
        json_object_set_new(task->result, "dry_run", json_true());
        return TRUE;
    }
    if (!same && !task->milter->yes) {
        g_autofree char *question = g_strdup_printf("%s: change it?", task->dir);
        if (!diff_confirm(question)) {
            json_object_set_new(task->result, "state", json_string("declined"));
            return TRUE;
        }
    }
    if ((record != NULL && mta_store_save(task->store, record, &task->error) < 0) ||
        mta_store_install(task->store, &task->now, &task->fresh, record == NULL && task->whole,
                          &task->error) < 0) {
        return FALSE;
    }
    if (record == NULL) {
        mta_store_forget(task->store);
    } else {
        json_object_set_new(task->result, "backup", json_string(mta_store_records(task->store)));
    }
    if (!same) {
        reload(task, p);
    }
    return TRUE;
}

static gboolean
enable(struct task *task, const struct postfix *p)
{
    struct mta_record record = {0};
    gboolean known = task->record.before.main != NULL;
    gboolean good = TRUE;
    if (known) {
        good = undo(task, &record.before);
    } else {
        copy_files(&record.before, &task->now);
    }
    copy_files(&record.after, &record.before);
    good = good && with_edit(task, &record.after, plan_in, NULL);
    copy_files(&task->fresh, &record.after);
    record.answers = json_incref(task->record.answers);
    good = good && check_service(task, p) && carry_out(task, p, &record);
    mta_record_clear(&record);
    return good;
}

static gboolean
disable(struct task *task, const struct postfix *p)
{
    gboolean good;
    if (task->record.before.main != NULL) {
        good = undo(task, &task->fresh);
        if (good && !task->whole) {
            note(task, task->dir, FALSE,
                 "somebody changed its files since Postern was enabled: what was added is taken "
                 "out, the rest stays");
        }
    } else {
        copy_files(&task->fresh, &task->now);
        good = with_edit(task, &task->fresh, plan_out, NULL);
        note(task, task->dir, FALSE,
             "there is no record of an enable here: only what names Postern is taken out");
    }
    good = good && carry_out(task, p, NULL);
    /* Who disables it is likely to end posternd next. */
    if (good && json_is_true(json_object_get(task->result, "reloaded")) &&
        sessions_wait(cli_settings(task->milter->cli)->control_socket, SESSIONS_US) > 0) {
        note(task, task->dir, FALSE,
             "SMTP sessions that began before still ask Postern; they get 451 when it ends");
    }
    return good;
}

static gboolean
check(struct task *task, const struct postfix *p)
{
    char *const *listen = (char *const *)task->milter->listen->pdata;
    enum mta_state state = mta_state(p, listen);
    gboolean recorded = task->record.before.main != NULL;
    json_object_set_new(task->result, "state", json_string("checked"));
    json_object_set_new(task->result, "recorded", json_boolean(recorded));
    json_object_set_new(
        task->result, "changed_since",
        json_boolean(recorded && !mta_files_equal(&task->record.after, &task->now)));
    json_object_set_new(task->result, "master_pid", json_integer(postfix_master_pid(p)));
    if (state != MTA_ENABLED) {
        note(task, task->dir, TRUE,
             state == MTA_OFF ? "no mail passes Postern"
                              : "some mail does not pass Postern; `postern doctor postfix` says "
                                "by which services it comes in");
    }
    return TRUE;
}

typedef gboolean task_action(struct task *task, const struct postfix *p);

/* How it is now, after what was done. */
static void
add_state(struct task *task, task_action *action)
{
    g_autofree char *error = NULL;
    GPtrArray *instances = postfix_instances(task->dir, &error);
    char *const *listen = (char *const *)task->milter->listen->pdata;
    if (instances == NULL) {
        return;
    }
    enum mta_state state = mta_state(g_ptr_array_index(instances, 0), listen);
    json_object_set_new(task->result, "milter", json_string(mta_state_word(state)));
    if (action == disable && state != MTA_OFF && !task->milter->dry_run) {
        note(task, task->dir, TRUE,
             "its configuration still names Postern, as it did before it was enabled here: mail "
             "gets 451 when the scanner is gone");
    }
    g_ptr_array_unref(instances);
}

static gboolean
task_load(struct task *task)
{
    int rc = mta_store_open(task->dir, task->milter->records, &task->store, &task->error);
    if (rc == -ENOENT) {
        json_object_set_new(task->result, "state", json_string("absent"));
        note(task, task->dir, FALSE,
             "is not on this node now: Postfix is not installed, or its main.cf is on the shared "
             "storage and the node that has it does this");
        g_clear_pointer(&task->error, g_free);
        return FALSE;
    }
    if (rc < 0 || mta_store_read(task->store, &task->now, &task->error) < 0 ||
        mta_store_record(task->store, &task->record, &task->error) < 0) {
        return FALSE;
    }
    if (task->record.answers == NULL) {
        task->record.answers = json_object();
    }
    return TRUE;
}

static void
task_run(struct task *task, task_action *action)
{
    GPtrArray *instances = NULL;
    gboolean good = task_load(task);
    if (good) {
        instances = postfix_instances(task->dir, &task->error);
        good = instances != NULL && action(task, g_ptr_array_index(instances, 0));
    }
    if (good) {
        add_state(task, action);
    }
    if (task->error != NULL) {
        json_object_set_new(task->result, "state", json_string("failed"));
        json_object_set_new(task->result, "error", json_string(task->error));
    }
    g_clear_pointer(&instances, g_ptr_array_unref);
    mta_files_clear(&task->now);
    mta_files_clear(&task->fresh);
    mta_record_clear(&task->record);
    mta_store_close(task->store);
    g_free(task->error);
}

static void
result_print(const json_t *result)
{
    const char *error = ask_text(result, "error");
    g_autofree char *dir = text_escape(ask_text(result, "config_directory"), 200);
    g_autofree char *state = text_escape(ask_text(result, "state"), 20);
    size_t i;
    const json_t *note;
    const char *milter = ask_text(result, "milter");
    printf("%s: %s%s%s%s%s\n", dir, state,
           json_is_true(json_object_get(result, "dry_run")) ? " (dry run: nothing was done)" : "",
           milter != NULL ? "; Postern as a milter: " : "", milter != NULL ? milter : "",
           json_is_true(json_object_get(result, "reloaded")) ? "; Postfix reloaded" : "");
    json_array_foreach(json_object_get(result, "notes"), i, note)
    {
        g_autofree char *where = text_escape(ask_text(note, "where"), 200);
        g_autofree char *what = text_escape(ask_text(note, "what"), 600);
        gboolean open = json_is_true(json_object_get(note, "open"));
        g_autofree char *mark =
            terminal_colour(open ? COLOUR_BAD : COLOUR_DOUBT, open ? "attention" : "note");
        printf("  %s: %s: %s\n", mark, where, what);
    }
    if (ask_text(result, "backup") != NULL) {
        g_autofree char *backup = text_escape(ask_text(result, "backup"), 300);
        printf("  before: %s\n", backup);
    }
    if (error != NULL) {
        g_autofree char *safe = text_escape(error, 600);
        cli_fail("%s", safe);
    }
}

static int
result_exit(const json_t *result)
{
    size_t i;
    const json_t *note;
    if (ask_text(result, "error") != NULL) {
        return CLI_ERROR;
    }
    json_array_foreach(json_object_get(result, "notes"), i, note)
    {
        if (json_is_true(json_object_get(note, "open"))) {
            return CLI_FOUND;
        }
    }
    return g_strcmp0(ask_text(result, "state"), "declined") == 0 ? CLI_FOUND : CLI_OK;
}

static int
one(struct milter *milter, const char *dir, task_action *action)
{
    struct task task = {.milter = milter, .dir = dir, .notes = json_array()};
    task.result = json_pack("{s:s, s:o}", "config_directory", dir, "notes", task.notes);
    task_run(&task, action);
    json_array_append_new(milter->results, task.result);
    if (!milter->cli->json) {
        result_print(task.result);
    }
    return result_exit(task.result);
}

/* Those that were named, or all that are enabled here. NULL with *ERROR_R. */
static GPtrArray *
directories(char *const *named, int n, char **error_r)
{
    GPtrArray *all = g_ptr_array_new_with_free_func(g_free);
    for (int i = 0; i < n; i++) {
        g_ptr_array_add(all, g_canonicalize_filename(named[i], NULL));
    }
    if (n > 0) {
        return all;
    }
    if (access(MAIN_CF, F_OK) < 0 && errno == ENOENT) {
        /* Without Postfix, or it is on the shared storage: the task says so. */
        g_ptr_array_add(all, g_path_get_dirname(MAIN_CF));
        return all;
    }
    GPtrArray *instances = postfix_instances(NULL, error_r);
    for (guint i = 0; instances != NULL && i < instances->len; i++) {
        const struct postfix *p = g_ptr_array_index(instances, i);
        g_ptr_array_add(all, g_strdup(p->dir));
    }
    if (instances == NULL) {
        g_clear_pointer(&all, g_ptr_array_unref);
    }
    g_clear_pointer(&instances, g_ptr_array_unref);
    return all;
}

static void
listen_add(struct milter *milter, char *const *addresses)
{
    for (; addresses != NULL && *addresses != NULL; addresses++) {
        g_ptr_array_add(milter->listen, *addresses);
    }
}

static int
all(struct milter *milter, char *const *named, int n, task_action *action)
{
    g_autofree char *error = NULL;
    g_autoptr(GPtrArray) dirs = directories(named, n, &error);
    int worst = CLI_OK;
    if (dirs == NULL) {
        return cli_fail("the Postfix of this node cannot be looked at: %s", error);
    }
    for (guint i = 0; i < dirs->len; i++) {
        int rc = one(milter, g_ptr_array_index(dirs, i), action);
        worst = MAX(worst, rc);
    }
    if (milter->cli->json) {
        json_dumpf(milter->results, stdout, JSON_INDENT(2));
        putchar('\n');
    }
    return worst;
}

static int
milter_command(struct cli *cli, int argc, char **argv, const char *summary, task_action *action)
{
    struct milter milter = {.cli = cli};
    const GOptionEntry entries[] = {
        {"address", 0, 0, G_OPTION_ARG_STRING, &milter.address,
         "Where Postfix finds Postern, as main.cf names it (by milter_listen and chroot)",
         "ADDRESS"},
        {"release", 0, 0, G_OPTION_ARG_NONE, &milter.release,
         "Add the service through which released mail goes back", NULL},
        {"dry-run", 'n', 0, G_OPTION_ARG_NONE, &milter.dry_run, "Show it, do nothing", NULL},
        {"yes", 'y', 0, G_OPTION_ARG_NONE, &milter.yes, "Do not ask", NULL},
        {"force", 0, 0, G_OPTION_ARG_NONE, &milter.force, "Also while no scanner answers", NULL},
        {"records", 0, G_OPTION_FLAG_HIDDEN, G_OPTION_ARG_FILENAME, &milter.records,
         "Keep the records in DIR", "DIR"},
        {NULL, 0, 0, G_OPTION_ARG_NONE, NULL, NULL, NULL},
    };
    int rc = CLI_ERROR;
    if (cli_options(cli, entries, "[CONFIG_DIRECTORY...]", summary, &argc, &argv) &&
        cli_settings(cli) != NULL) {
        milter.listen = g_ptr_array_new();
        milter.results = json_array();
        listen_add(&milter, cli_settings(cli)->milter_listen);
        listen_add(&milter, cli_settings(cli)->submission_listen);
        if (milter.address != NULL) {
            g_ptr_array_add(milter.listen, milter.address);
        }
        g_ptr_array_add(milter.listen, NULL);
        rc = all(&milter, argv + 1, argc - 1, action);
        json_decref(milter.results);
        g_ptr_array_unref(milter.listen);
    }
    g_free(milter.address);
    g_free(milter.records);
    return rc;
}

static int
milter_enable(struct cli *cli, int argc, char **argv)
{
    return milter_command(cli, argc, argv, "Makes Postern a milter of this node's Postfix.",
                          enable);
}

static int
milter_disable(struct cli *cli, int argc, char **argv)
{
    return milter_command(cli, argc, argv,
                          "Brings this node's Postfix back to what it was before enable.", disable);
}

static int
milter_check(struct cli *cli, int argc, char **argv)
{
    return milter_command(cli, argc, argv, "Says whether this node's Postfix asks Postern.", check);
}

int
cluster_node_milter(struct cli *cli, int argc, char **argv)
{
    static const struct cli_command commands[] = {
        {"enable", "Make Postern a milter of Postfix", milter_enable},
        {"disable", "Bring Postfix back to what it was", milter_disable},
        {"check", "Does Postfix ask Postern?", milter_check},
    };
    return cli_dispatch(cli, commands, G_N_ELEMENTS(commands), argc, argv);
}
