/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef CLUSTER_JUDGE_H
#define CLUSTER_JUDGE_H

#include <jansson.h>

#include "settings.h"

/*
 * Fills in "differences", "findings" and "verdict" of a page (cluster-page.h): what differs between
 * the nodes and should not, what keeps the mail from being scanned or moved, and the cluster's
 * configuration as doctor sees it.
 */
void cluster_judge(json_t *page, const struct settings *settings);

#endif
