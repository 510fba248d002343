/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef MODEL_H
#define MODEL_H

/*
 * The cluster as `postern cluster` sees it: which nodes there are, which group is the mail's, what
 * is in it, where it runs, and what there is of the scanner. Made of one CIB, so all of it is of
 * one moment; crm_mon, which works without a cluster on a saved CIB, works out the state.
 */

#include <glib.h>
#include <libxml/tree.h>

enum model_kind {
    MODEL_OTHER,
    MODEL_FILESYSTEM,
    MODEL_ADDRESS,
    MODEL_POSTFIX,
    MODEL_SENDMAIL,  /* speaks milter, configured by hand */
    MODEL_NO_MILTER, /* a mail server that speaks no milter: Exim, OpenSMTPD */
    MODEL_DOVECOT,
    MODEL_LVM,
    MODEL_DRBD,
};

struct model_node {
    char *name;
    gboolean member; /* a cluster node, not a remote or guest node */
    gboolean online; /* and not pending, not unclean */
    gboolean standby;
    gboolean maintenance;
};

struct model_member {
    char *id;
    char *agent; /* "ocf:heartbeat:postfix" */
    enum model_kind kind;
    char *directory; /* of a file system; NULL */
    char *fstype;
    char *node; /* where it runs; NULL = nowhere, or in several places */
    gboolean managed;
    xmlNode *xml; /* borrowed */
};

struct model_failure {
    char *resource;
    char *operation; /* "postfix_monitor_5000" */
    char *node;
    char *reason;
};

/* What is there of the scanner: at most one, in one of two forms. */
struct model_scanner {
    char *primitive; /* NULL = there is none */
    char *clone;     /* NULL = it is not cloned */
    gboolean promotable;
    char *warm; /* clone of a part=engine beside it; NULL */
    /* of the promotable form */
    gboolean mail_follows; /* the group is colocated with the promoted role */
    gboolean is_followed;  /* something is colocated with it, be it another group */
    gboolean is_held;      /* target-role keeps it from being promoted */
    char *promoted;        /* the node; NULL */
    GPtrArray *started;    /* names of nodes (char *) where an instance runs in either role */
};

struct model {
    xmlDoc *doc;      /* the CIB; owned */
    xmlDoc *view;     /* crm_mon's; owned */
    char *epoch;      /* cib_epoch() */
    GPtrArray *nodes; /* struct model_node * */
    char *dc;         /* NULL */
    gboolean quorum;
    GPtrArray *failures; /* struct model_failure * */
    GPtrArray *groups;   /* ids of all groups that hold a mail server (char *) */
    char *group;         /* the chosen one; NULL when there is none or too many */
    GPtrArray *members;  /* struct model_member * of the group, in order */
    char *active;        /* the node on which all of the group runs; NULL */
    /* The configuration directories of the group's Postfix (config_dir; of char *); empty: no
     * resource names one, so those of the host count (postmulti). */
    GPtrArray *postfix_dirs;
    struct model_scanner scanner;
};

/*
 * Takes DOC and works out the rest. GROUP: the name of the mail group, NULL = found; of several it
 * is the one that follows the scanner. That there is no such group, or several, is no error here
 * but group = NULL. Returns 0, or -errno with one sentence in *ERROR_R.
 */
int model_new(xmlDoc *doc, const char *group, struct model **model_r, char **error_r);
void model_free(struct model *model);
typedef struct model model_t;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(model_t, model_free)

/* The model of the running cluster: cib_read() and model_new(). */
int model_read(const char *group, struct model **model_r, char **error_r);

/* What a resource with this agent ("ocf:heartbeat:postfix", "systemd:dovecot") is. */
enum model_kind model_kind(const char *agent);
/* The agent of <primitive> XML, as above; g_free(). */
char *model_agent(const xmlNode *xml);
gboolean model_is_server(enum model_kind kind);

/* A cluster property; NULL = not set. g_free(). */
char *model_property(const struct model *model, const char *name);
/* The value of a node's transient attribute; NULL = none. g_free(). */
char *model_node_attribute(const struct model *model, const char *node, const char *name);
/* The file system of the group on which PATH lies (the longest mount point); NULL. */
const struct model_member *model_filesystem(const struct model *model, const char *path);
const struct model_member *model_member(const struct model *model, const char *id);

#endif
