/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef UPDATE_FILES_H
#define UPDATE_FILES_H

/* What postern-update and postern-share leave for others to find. */

/* Below update_dir and share_dir: what is offered (store_take). */
#define OFFER_DIR "offer"
/* Below update_dir: what became of the last round (progress.h). Below share_dir/state: what is
 * known of the nodes (board.h). */
#define STATUS_FILE "status.json"
/* The name there of every directory of this machine with which something is wrong. */
#define UPDATE_DIRECTORY "directory"

#endif
