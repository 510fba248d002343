/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef RECHECK_H
#define RECHECK_H

/*
 * Exit code of postern-recheck: the cluster has no record of the resource on this node, so that it
 * has yet to probe it, as after the death of pacemaker-controld. A failure that is reported now
 * would have the call number 999999999 (get_fake_call_id() in
 * daemons/controld/controld_execd.c): newer than every stop and start that follows, so that the
 * resource is recovered for ever. The probe finds what there is to find.
 */
#define RECHECK_UNKNOWN 3

#endif
