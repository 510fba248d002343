/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef PARAM_H
#define PARAM_H

/* The resource's parameters: the rows of ocf/scanner.xml as the agent checks them. */

#include "ocf.h"

#define PARAM_CONFIG "config"
#define PARAM_QUEUE_DIRECTORY "queue_directory"
#define PARAM_PART "part"
#define PARAM_REQUIRE_READY "require_ready"

/*
 * Checks every parameter that was passed: known, and its value fit. Returns 0, or -EINVAL with
 * one sentence in *ERROR_R (g_free) that names the parameter.
 */
int param_check(const struct ocf *ocf, char **error_r);

/* Whether the parameter NAME has one of Pacemaker's words for true. */
bool param_is_true(const struct ocf *ocf, const char *name);

#endif
