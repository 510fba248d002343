/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef RECORD_H
#define RECORD_H

/*
 * What the agent writes down in the role file (role.h). Those that return an OCF code have printed
 * the reason when it is not PCMK_OCF_OK.
 */

#include "action.h"

/* roles_open(), with the reason printed. */
int record_open(struct agent *agent, struct roles **ret_roles);

/* Enters this resource. Two that serve cannot share a node's units: PCMK_OCF_INVALID_PARAM. */
int record_enter(struct agent *agent);

/* Writes what the parameters say of a started resource anew. */
int record_identify(struct agent *agent);

/* Sets the stage. KEEP: see score.h. MOUNT (taken over) is remembered until it is NULL again. */
int record_stage(struct agent *agent, enum role_stage stage, bool keep, char *mount);

/* The same for a resource on its way down, whose end a failure, which is only logged, must not
 * hinder. */
void record_note_stage(struct agent *agent, enum role_stage stage, const char *mount);

/* Where the milter's directory is mounted, as far as is known; NULL = nowhere. g_free(). */
char *record_mount(struct agent *agent);
int record_set_mount(struct agent *agent, const char *mount);

#endif
