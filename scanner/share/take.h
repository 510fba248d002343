/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef TAKE_H
#define TAKE_H

/*
 * A passive node's side: asks the others who gives (give.h), tells it of this node, and brings what
 * it gives to share_dir/offer, files and a manifest.json as a generation has one. Files that are in
 * a generation here already are copied from there. Who takes the offer (store_take) believes
 * nothing but hashes.
 */

#include "peers.h"
#include "settings.h"

/* Takes for ever, in a process that does nothing else. */
G_GNUC_NORETURN void take_run(const struct settings *settings, const struct peers *peers);

/* Tells who gave last how this node is now, for it ends: one that goes in good order is not waited
 * for, and nothing is concluded from its silence. The caller sees to it that it ends. */
void take_farewell(const struct settings *settings, const struct peers *peers);

#endif
