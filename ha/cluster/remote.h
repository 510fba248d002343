/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef REMOTE_H
#define REMOTE_H

/*
 * Commands on the nodes of the cluster, this one included: over ssh as root, by argv, without a
 * terminal and without a question (BatchMode). Keys, known hosts, ports and names are the
 * administrator's, in ~/.ssh and /etc/ssh: nothing is overridden that decides whom one talks to.
 *
 * What is run there is in nearly all cases `postern cluster node ...`, which looks and acts
 * locally.
 */

#include <glib.h>

/* How long ssh may take until it is there; ssh_config(5), ConnectTimeout. */
#define REMOTE_CONNECT_S 5

/*
 * Runs ARGV (argv[0] is a name that is looked for in the system's directories, or an absolute path;
 * "postern" on this node is the running program) on NODE: directly when NODE is this node, else by
 * ssh. ARGV is quoted here for the shell at the other end. INPUT is given on stdin (NULL = empty).
 * After TIMEOUT_S seconds it is ended.
 *
 * Returns its exit status (0 to 255, so the caller judges it), or
 *   -EHOSTUNREACH  ssh does not work: no route, no key, no trust in the host key, no ssh here; the
 *                  caller prints the commands for the person instead
 *   -ENOENT        ARGV[0] is not there (not installed on NODE)
 *   -ETIMEDOUT     it took longer
 *   -errno         something failed on this node
 * *OUTPUT_R (g_free, never NULL when the result is >= 0) is what it wrote to stdout. *ERROR_R
 * (g_free) is set when the result is not 0: one sentence that begins with the node's name and ends
 * with what it wrote last to stderr; escaped, fit for a terminal. Threads may call it side by side.
 */
int remote_run(const char *node, const char *const argv[], const char *input, unsigned timeout_s,
               char **output_r, char **error_r);

/* The same on several nodes at once; all members above the line are borrowed. */
struct remote_job {
    const char *node;
    const char *const *argv;
    const char *input;
    unsigned timeout_s;
    /* the answer, as of remote_run(); remote_job_clear() frees it */
    int result;
    char *output;
    char *error;
};

/* Runs all N at the same time and returns when each has ended. */
void remote_run_all(struct remote_job *jobs, size_t n);
void remote_job_clear(struct remote_job *job);

/* The cluster's name of this node (crm_node -n), or the host's without a cluster. Borrowed; asked
 * once. */
const char *remote_local_node(void);

/* ARGV, then --config CONFIG unless that is NULL, then MORE (char *; may be NULL), with a NULL at
 * the end; all borrowed. g_ptr_array_unref() */
GPtrArray *remote_words(const char *const argv[], const char *config, const GPtrArray *more);

/* ARGV as a person would type it into a shell on NODE; g_free(). */
char *remote_command_text(const char *const argv[]);

#endif
