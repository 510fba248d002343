/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef ROLE_H
#define ROLE_H

/*
 * What the cluster wants from this node, kept by the agent in /run/postern/cluster/role (root's
 * alone; gone after a boot, as the roles are). One section per resource, because in primitive
 * mode two resources share the engine. The agent, and postern-notify for what it has told the
 * cluster, change it under an exclusive lock; so the score is worked out in one place at a time.
 *
 * It records what later calls need without a configuration: stop works with a broken one.
 */

#include <stdbool.h>
#include <glib.h>

#define ROLE_DIR "/run/postern/cluster"

enum role_mode {
    ROLE_PROMOTABLE, /* engine when started, posternd when promoted */
    ROLE_PRIMITIVE,  /* engine and posternd when started */
    ROLE_ENGINE,     /* engine alone (part=engine) */
};

enum role_stage {
    ROLE_STANDBY, /* posternd does not run for this resource */
    ROLE_TAKING,  /* the agent is starting posternd */
    ROLE_SERVING,
    ROLE_LEAVING, /* the agent is stopping posternd */
};

struct role {
    char *resource;
    char *node;
    enum role_mode mode;
    enum role_stage stage;
    gint64 since;       /* of the stage, in seconds of role_now() */
    bool keep;          /* the score is held high although the engine still loads (score.h) */
    bool served;        /* it was promoted since it was started */
    gint64 fell;        /* role_now(), when the promoted node lost its engine; 0 = forgotten */
    gint64 again;       /* role_now(), when that was ready again; 0 = not yet */
    bool require_ready; /* not promoted while it loads and another node is ready (score.h) */
    bool lost;          /* posternd has failed for good and the cluster was told */
    char *engine_dir;
    char *control; /* control_socket */
    char *mount;   /* mount point of the milter's directory below the mail queue, or NULL */
    char *storage; /* mount point of the file system that had state_dir at the promotion, or NULL */
    /* what was published last; score -1 and NULL = nothing */
    gint64 score;
    char *text;
    char *witness;    /* who was told (witness.h), or NULL */
    gint64 witnessed; /* role_now(), when that changed last */
    char *health;
    gint64 published; /* role_now(), when both were said again */
};

struct roles;

/* Seconds since boot: setting the clock neither shortens nor lengthens what is measured. */
gint64 role_now(void);

/*
 * Opens the role file of DIR (NULL = ROLE_DIR) and waits for its lock. A file that cannot be
 * parsed counts as empty: the units tell what runs. Returns 0 or -errno: -ENOENT (DIR is not
 * there: systemd-tmpfiles makes it).
 */
int roles_open(const char *dir, struct roles **ret_roles);
/* Unlocks. Changes that were not saved are lost. NULL is fine. */
void roles_close(struct roles *roles);
typedef struct roles roles_t;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(roles_t, roles_close)

/* The role of RESOURCE, or NULL. Owned by ROLES. */
struct role *roles_find(struct roles *roles, const char *resource);
/* The same, made (standby, nothing published) when it is not there. Where the scanner was promoted
 * once since the boot, a start may be the recovery of a failed one, and counts as a loss (score.h).
 */
struct role *roles_get(struct roles *roles, const char *resource);
void roles_remove(struct roles *roles, const char *resource);
/* Sets the stage and since when; a promotion forgets a lost engine. */
void role_set_stage(struct role *role, enum role_stage stage);

/* All of them; NULL-terminated, the array (not the roles) to be freed with g_free(). */
struct role **roles_all(struct roles *roles);
/* The one that RESOURCE shares this node with: any other (part=engine aside), or NULL. */
struct role *roles_other(struct roles *roles, const char *resource);

/* Returns 0 or -errno. A file that is there can be saved when /run is full, too. */
int roles_save(struct roles *roles);

#endif
