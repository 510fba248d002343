/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef PROGRAM_H
#define PROGRAM_H

#include <glib.h>

/*
 * Runs ARGV (argv[0] is looked for in PATH and in the system's directories) with no input and
 * waits for its end. Returns what it wrote to stdout, to be freed by g_free(); or NULL with one
 * sentence in *ERROR_R: it could not be run, or did not end with 0 (then its last error line).
 */
char *program_output(const char *const argv[], char **error_r);

#endif
