/* SPDX-License-Identifier: GPL-2.0-only */
#include "remote.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "text.h"
#include "tool.h"

/* What ssh(1) returns for an error of its own. */
#define SSH_FAILED 255
/* Of the remote shell and of timeout(1). */
#define NOT_FOUND 127
#define NOT_EXECUTABLE 126
#define TIMED_OUT 124
#define GRACE_S 5
#define ASK_LOCAL_MS 10000

#define SEARCH_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

static char *
find(const char *name)
{
    g_auto(GStrv) directories = g_strsplit(SEARCH_PATH, ":", -1);
    if (g_path_is_absolute(name)) {
        return g_strdup(name);
    }
    for (char **directory = directories; *directory != NULL; directory++) {
        g_autofree char *path = g_build_filename(*directory, name, NULL);
        if (access(path, X_OK) == 0) {
            return g_steal_pointer(&path);
        }
    }
    return NULL;
}

/* The same postern that runs now, also when it is not installed; else as find(). */
static char *
find_local(const char *name)
{
    g_autofree char *self = g_file_read_link("/proc/self/exe", NULL);
    if (self != NULL && strcmp(name, "postern") == 0 && g_str_has_suffix(self, "/postern")) {
        return g_steal_pointer(&self);
    }
    return find(name);
}

static void *
ask_local(void *unused)
{
    const char *const argv[] = {TOOL_CRM_NODE, "-n", NULL};
    g_autofree char *name = NULL;
    g_autofree char *error = NULL;
    (void)unused;
    if (tool_output(argv, NULL, NULL, ASK_LOCAL_MS, &name, &error) == 0 &&
        *g_strstrip(name) != '\0') {
        return g_steal_pointer(&name);
    }
    return g_strdup(g_get_host_name());
}

const char *
remote_local_node(void)
{
    static GOnce once = G_ONCE_INIT;
    return g_once(&once, ask_local, NULL);
}

char *
remote_command_text(const char *const argv[])
{
    GString *text = g_string_new(NULL);
    for (const char *const *word = argv; *word != NULL; word++) {
        gboolean plain =
            **word != '\0' &&
            (*word)[strspn(*word, G_CSET_A_2_Z G_CSET_a_2_z G_CSET_DIGITS "-_./:=@%+,")] == '\0';
        g_autofree char *quoted = plain ? g_strdup(*word) : g_shell_quote(*word);
        g_string_append_printf(text, "%s%s", text->len > 0 ? " " : "", quoted);
    }
    return g_string_free(text, FALSE);
}

GPtrArray *
remote_words(const char *const argv[], const char *config, const GPtrArray *more)
{
    GPtrArray *words = g_ptr_array_new();
    for (; *argv != NULL; argv++) {
        g_ptr_array_add(words, (void *)(uintptr_t)*argv);
    }
    if (config != NULL) {
        g_ptr_array_add(words, (void *)(uintptr_t) "--config");
        g_ptr_array_add(words, (void *)(uintptr_t)config);
    }
    for (guint i = 0; more != NULL && i < more->len; i++) {
        g_ptr_array_add(words, g_ptr_array_index(more, i));
    }
    g_ptr_array_add(words, NULL);
    return words;
}

/* What the administrator's ssh needs to find keys and the agent that has them. */
static char **
ssh_environment(void)
{
    static const char *const names[] = {"HOME", "USER", "LOGNAME", "SSH_AUTH_SOCK"};
    GPtrArray *all = g_ptr_array_new();
    for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
        const char *value = getenv(names[i]);
        if (value != NULL) {
            g_ptr_array_add(all, g_strdup_printf("%s=%s", names[i], value));
        }
    }
    g_ptr_array_add(all, NULL);
    return (char **)g_ptr_array_free(all, FALSE);
}

/* Any login shell takes this: env(1) sets the path, timeout(1) ends what nobody waits for. */
static char *
remote_text(const char *const argv[], unsigned timeout_s)
{
    g_autofree char *words = remote_command_text(argv);
    return g_strdup_printf("env PATH=" SEARCH_PATH " timeout -k 5 %u %s", timeout_s, words);
}

static int
explain(const char *node, const char *what, int rc, const char *said, char **error_r)
{
    /* tool_output()'s sentence ends with what the command said last. */
    const char *last = said == NULL ? NULL : strstr(said, ": ");
    last = last == NULL ? "" : last + 2;
    switch (rc) {
    case -EHOSTUNREACH:
        *error_r = g_strdup_printf("%s: ssh as root does not work: %s; try `ssh root@%s true`",
                                   node, last, node);
        break;
    case -ENOENT:
        *error_r = g_strdup_printf("%s: %s is not installed there", node, what);
        break;
    case -ETIMEDOUT:
        *error_r = g_strdup_printf("%s: %s did not end in time", node, what);
        break;
    default:
        *error_r = rc > 0 ? g_strdup_printf("%s: %s ended with %d: %s", node, what, rc, last)
                          : g_strdup_printf("%s: %s: %s", node, what, g_strerror(-rc));
    }
    return rc;
}

static int
run_here(const char *const argv[], const char *input, unsigned timeout_s, char **output_r,
         char **said_r)
{
    g_autofree char *program = find_local(argv[0]);
    if (program == NULL) {
        return -ENOENT;
    }
    g_autoptr(GPtrArray) words = g_ptr_array_new();
    g_ptr_array_add(words, program);
    for (const char *const *word = argv + 1; *word != NULL; word++) {
        g_ptr_array_add(words, (void *)(uintptr_t)*word);
    }
    g_ptr_array_add(words, NULL);
    int rc = tool_output((const char *const *)words->pdata, NULL, input, (int)timeout_s * 1000,
                         output_r, said_r);
    return rc == NOT_FOUND ? -ENOENT : rc;
}

static int
run_there(const char *node, const char *const argv[], const char *input, unsigned timeout_s,
          char **output_r, char **said_r)
{
    g_autofree char *ssh = find("ssh");
    g_autofree char *connect = g_strdup_printf("ConnectTimeout=%d", REMOTE_CONNECT_S);
    g_autofree char *text = remote_text(argv, timeout_s);
    g_auto(GStrv) environment = ssh_environment();
    if (ssh == NULL || *node == '-') {
        *said_r = g_strdup(ssh == NULL ? "ssh: it is not installed on this node"
                                       : "ssh: the node's name begins with -");
        return -EHOSTUNREACH;
    }
    const char *const words[] = {ssh,  "-T",
                                 "-x", "-a",
                                 "-o", "BatchMode=yes",
                                 "-o", connect,
                                 "-o", "ServerAliveInterval=5",
                                 "-o", "ServerAliveCountMax=3",
                                 "-o", "ClearAllForwardings=yes",
                                 "-l", "root",
                                 "--", node,
                                 text, NULL};
    int rc = tool_output(words, (const char *const *)environment, input,
                         (int)(timeout_s + REMOTE_CONNECT_S + GRACE_S) * 1000, output_r, said_r);
    return rc == SSH_FAILED                          ? -EHOSTUNREACH
           : rc == TIMED_OUT                         ? -ETIMEDOUT
           : rc == NOT_FOUND || rc == NOT_EXECUTABLE ? -ENOENT
                                                     : rc;
}

int
remote_run(const char *node, const char *const argv[], const char *input, unsigned timeout_s,
           char **output_r, char **error_r)
{
    g_autofree char *said = NULL;
    g_autofree char *output = NULL;
    int rc = strcmp(node, remote_local_node()) == 0
                 ? run_here(argv, input, timeout_s, &output, &said)
                 : run_there(node, argv, input, timeout_s, &output, &said);
    if (rc >= 0) {
        *output_r = output != NULL ? g_steal_pointer(&output) : g_strdup("");
    }
    if (rc == 0) {
        return 0;
    }
    g_autofree char *words = remote_command_text(argv);
    g_autofree char *what = text_escape(words, 100);
    g_autofree char *name = text_escape(node, 100);
    return explain(name, what, rc, said, error_r);
}

static void *
job_run(void *data)
{
    struct remote_job *job = data;
    job->result =
        remote_run(job->node, job->argv, job->input, job->timeout_s, &job->output, &job->error);
    return NULL;
}

void
remote_run_all(struct remote_job *jobs, size_t n)
{
    g_autofree GThread **threads = g_new0(GThread *, n);
    (void)remote_local_node();
    for (size_t i = 0; i < n; i++) {
        threads[i] = g_thread_new("remote", job_run, &jobs[i]);
    }
    for (size_t i = 0; i < n; i++) {
        g_thread_join(threads[i]);
    }
}

void
remote_job_clear(struct remote_job *job)
{
    g_clear_pointer(&job->output, g_free);
    g_clear_pointer(&job->error, g_free);
}
