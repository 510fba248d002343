/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef DRILL_RULE_H
#define DRILL_RULE_H

/*
 * What a drill changes in the cluster, and how it goes away again: a location constraint of its
 * own with a rule that expires, or standby until the node's next start. Whatever ends the drill, a
 * guard process takes both away; if that dies too, the rule expires by itself, and the next drill
 * and `postern cluster status` name what is left.
 */

#include <glib.h>
#include <libxml/tree.h>

/* The constraint's name is this and the group's name. */
#define DRILL_RULE_PREFIX "postern-drill-"
/* A transient attribute of a node that a drill has set to standby: its value is the run's name. */
#define DRILL_STANDBY_MARK "postern-drill"

struct drill_rule {
    const char *group;
    const char *run;     /* the drill's name */
    const char *standby; /* the node that is set to standby; NULL: the rule alone moves */
};

/*
 * Prefers NODE for the group above all, for SECONDS from now; a second call changes the first.
 * Returns 0, or -errno with one sentence in *ERROR_R.
 */
int drill_rule_set(const struct drill_rule *rule, const char *node, unsigned seconds,
                   char **error_r);

/* Sets the node to standby until its next start, or ends that. */
int drill_rule_standby(const struct drill_rule *rule, gboolean on, char **error_r);

/* Takes all away, and looks whether it is gone. */
int drill_rule_remove(const struct drill_rule *rule, char **error_r);

/*
 * What drills have left in the configuration CIB: one sentence each, NULL-terminated
 * (g_strfreev()); empty when nothing is left. For the next drill and for status.
 */
char **drill_rule_left(xmlDoc *cib);

/* The same, of the cluster, and taken away. Returns how many there were, or -errno. */
int drill_rule_clear(char **error_r);

/*
 * A process that calls drill_rule_remove() when this one dies without having called
 * drill_guard_end(). Neither a hang-up nor Ctrl-C reaches it. To be started before any thread is.
 */
struct drill_guard;
int drill_guard_start(const struct drill_rule *rule, struct drill_guard **guard_r);
void drill_guard_end(struct drill_guard *guard);

#endif
