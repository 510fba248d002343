/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef SCORE_H
#define SCORE_H

/*
 * Readiness as Pacemaker sees it: the promotion score of each node and a line for people.
 *
 * A node whose engine is ready is worth READY. One whose engine still loads is worth LOAD, so
 * that the cluster can promote it when there is no better one (mail gets 451 meanwhile). The
 * promoted node keeps READY while its engine loads for the first time after the promotion, else
 * a cold boot of the whole cluster would move the mail to whoever loads fastest; it falls to
 * PLOST when the engine was ready and died, cannot load, or takes longer than the keep time.
 * PLOST is above LOAD, so mail stays where it is until some node is ready. It stays at that for
 * HOLD seconds after its engine is ready again, or after it was demoted meanwhile, or stopped and
 * started, as the cluster does to recover a failed scanner: the mail group may be on its way, to a
 * node that was ready from the beginning or that became so just now, and a group that turns round
 * half way refuses mail twice as long. As long as no other node is ready nothing moves, and nothing
 * is held: who is ready first serves.
 *
 * A node that is ready, but whose new signatures wait for the mail to leave (adopt_move), falls to
 * PLOST as well, as long as another node is ready; when the mail has left, too, until they are
 * loaded, and HOLD counts from when they wait no more (a group that stops frees memory) or from the
 * demotion: a group that is half way out would turn round, again and again.
 *
 * With require_ready a node whose engine still loads cannot be promoted (WAIT) while another one is
 * ready: a move to it waits.
 *
 * READY - PLOST has to exceed twice the summed stickiness of the mail group, since that is what
 * the scheduler adds for the node that has it.
 */

#include <stdbool.h>
#include <systemd/sd-bus.h>

#include "health.h"
#include "role.h"
#include "unit.h"

#define SCORE_READY 100000
#define SCORE_PLOST 20
#define SCORE_LOAD 10
/* Cannot be promoted; -1 means in the role file that nothing was published. */
#define SCORE_WAIT (-10)

/* The keep time: twice the last load that was measured on this node, within these, in seconds. */
#define SCORE_KEEP_MIN 30
#define SCORE_KEEP_UNKNOWN 120
#define SCORE_KEEP_MAX 600

/* How often is looked for another node that is ready, while the mail should move to it. */
#define SCORE_MOVE_S 10

/* How long a mail group takes to stop: Postfix's and Dovecot's agents need 1 to 10 s. */
#define SCORE_HOLD 15

#define SCORE_ENGINE_UNIT "postern-engine.service"
#define SCORE_DAEMON_UNIT "posternd.service"
#define SCORE_NOTIFY_UNIT "postern-notify.service"
#define SCORE_UPDATE_UNIT "postern-update.service"
#define SCORE_SHARE_UNIT "postern-share.service"
#define SCORE_TEXT_ATTRIBUTE "postern-state"
/* Pacemaker's node health: with node-health-strategy=none, the default, it only informs. */
#define SCORE_HEALTH_ATTRIBUTE "#health-postern"
/* What posternd tells (health.h), beside the engine's directory. */
#define SCORE_SERVICE_HEALTH "posternd.health"
/* The last measured load, in seconds: survives a boot, which is when it is needed. */
#define SCORE_LOAD_FILE "/var/lib/postern/load_seconds"

enum score_engine {
    SCORE_ENGINE_DEAD,    /* systemd has given up, or was never asked */
    SCORE_ENGINE_LOADING, /* also: starting, and no or no valid state file yet */
    SCORE_ENGINE_READY,
    SCORE_ENGINE_BROKEN, /* it runs, but its signatures cannot be loaded */
};

/* engine_dir/state: "STATE SINCE LOAD_SECONDS GENERATION HEALTH" (docs/ARCHITECTURE.md). */
struct score_state {
    enum score_engine engine;
    gint64 since;        /* Unix seconds */
    unsigned load_s;     /* rounded up; 0: none measured */
    char generation[64]; /* "?" when it is not plain */
    bool has_health;     /* it is said, and in the vocabulary; an older engine says none */
    struct health health;
};

/*
 * Reads TEXT, which a program with lesser rights has written: anything unexpected gives -EBADMSG
 * with *RET as of an engine that loads. Returns 0 when it is valid.
 */
int score_state_parse(const char *text, struct score_state *ret);

struct score {
    int promotion;
    bool keep;        /* to be remembered in the role */
    gint64 fell;      /* to be remembered in the role */
    gint64 again;     /* to be remembered in the role */
    gint64 recheck_s; /* seconds after which the score changes by itself; 0 = it does not */
    bool moves;       /* it is low so that the mail moves */
};

/*
 * With require_ready: the SCORE of a node that loads and does not serve, when another node is ready
 * (PEER_READY) or not; looked at again every second as long as it loads. Others are left alone.
 */
void score_wait(const struct role *role, bool peer_ready, struct score *score);

/* While a loss still counts although the engine is ready again: looked at every second, and
 * forgotten when no other node is ready. What is to make the mail move counts again then, later. */
void score_hold(bool peer_ready, struct score *score);

/* The table: pure. KEEP_S is the keep time, NOW as role_now(). */
struct score score_compute(const struct role *role, const struct score_state *state,
                           unsigned keep_s, gint64 now);
unsigned score_keep_seconds(unsigned measured_load_s);

/* "loading since 12:03:10, about 18 s"; of one with old signatures (age_limit) that it has, of a
 * red one the causes. LOAD_S is how long a load takes here, 0 = unknown. NULL while an engine that
 * starts has said nothing: one change of the attribute less. Free with g_free(). */
char *score_text(const struct score_state *state, unsigned load_s);

/*
 * Looks at the engine (its unit on BUS and its state file) and publishes what changed for every
 * resource of ROLES, which it saves. FORCE publishes what did not change, too, for when the
 * cluster may have forgotten it. *RET_RECHECK_S: see struct score. Returns 0, or -errno with one
 * sentence in *ERROR_R (g_free); then the next call tries again.
 */
int score_publish(struct roles *roles, sd_bus *bus, bool force, gint64 *ret_recheck_s,
                  char **error_r);

/* score_publish() with the role file opened and closed. */
int score_refresh(sd_bus *bus, bool force, gint64 *ret_recheck_s, char **error_r);

/*
 * Takes back what was published for ROLE; LAST: no other resource is left on this node. Its score
 * stays, as that of a node that loads: while a failed scanner is recovered, a node without a score
 * could not be promoted, and the cluster would stop the mail group to wait for one. It goes with
 * the node's membership, or with `postern cluster remove`.
 */
int score_withdraw(const struct role *role, bool last, char **error_r);

#endif
