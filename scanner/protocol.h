/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef PROTOCOL_H
#define PROTOCOL_H

/*
 * The version of what posternd, the engine, the zygote and the workers say to each other. An
 * upgrade of the package touches nothing that runs, so for a while a program meets one of another
 * version: a posternd that was respawned and the engine from before, an engine and its next
 * zygote. Each says {"protocol":[OLDEST,NEWEST]} when it first speaks; two that have no version
 * in common have nothing to do with each other, so that no verdict is misunderstood.
 *
 *   1  what those speak that do not say it (0.1)
 *
 * What is only added (a field that may be absent, an event that may be left alone) is no new
 * version.
 */

#include <glib.h>
#include <jansson.h>

#define PROTOCOL_OLDEST 1
#define PROTOCOL_NEWEST 1

/* Says ours in OBJECT, under "protocol". */
void protocol_say(json_t *object);

/*
 * The newest version that the sender of OBJECT and we both speak; 0 when there is none, then
 * *ERROR_R is half a sentence about WHO ("postern-engine") and what to do.
 */
int protocol_common(const json_t *object, const char *who, char **error_r);

#endif
