/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef CLAM_H
#define CLAM_H

/*
 * libclamav, in words of our own; the only file that includes clamav.h is clam.c.
 * One engine per process: libclamav's messages have no owner.
 */

#include <stdbool.h>
#include <stddef.h>

#include "orders.h"

struct clam;

/* Something that libclamav looks at: the object itself (level 0) or what it found inside. */
struct clam_layer {
    unsigned level;
    const char *type;          /* "CL_TYPE_ZIP" */
    const char *name;          /* file name without its folders, as raw bytes; NULL = none */
    const unsigned char *data; /* NULL when it could not be read */
    size_t size;
    bool derived; /* made by libclamav from its parent (normalised text), not contained in it */
};

/* A member of a container, as the container announces it. */
struct clam_member {
    const char *container; /* type, "CL_TYPE_7Z" */
    const char *name;      /* with its folders, as raw bytes; NULL = none */
    unsigned long size;
    bool encrypted;
};

/*
 * What happens during a scan. enter() and leave() nest. All run inside clam_scan().
 *
 * Most of what is found is reported at once, within the layer. Alerts of the kind "potentially
 * unwanted" (heuristics, limits, macros) come at the end of the whole scan, when all layers have
 * been left; leave() names the latest alert of the scan so far, for a hint at where it was.
 * Macros are reported as found(), CLAM_MACROS..., though they are no reason for concern.
 */
#define CLAM_MACROS "Heuristics.OLE2.ContainsMacros"
struct clam_sink {
    bool (*enter)(void *data, const struct clam_layer *layer); /* true: it need not be scanned */
    bool plain; /* mails are searched as they are, and not taken apart */
    void (*leave)(void *data, const char *alert);
    void (*member)(void *data, const struct clam_member *member);
    void (*found)(void *data, const char *name);
    void (*warned)(void *data, const char *text);
    void (*macros)(void *data); /* VBA, in the innermost layer */
    void *data;
};

/*
 * TYPE for people and rules: "zip", "msole2", "pe", "html", "text" for plain text in any charset,
 * "binary" for what is nothing known. NULL when TYPE says nothing.
 */
char *clam_true_type(const char *type);

enum clam_result {
    CLAM_DONE,    /* it came to the end; what was found went to the sink */
    CLAM_LIMIT,   /* it stopped at a limit */
    CLAM_DAMAGED, /* the object's format is broken in a way that stopped the scan */
    CLAM_FAILED,  /* it could not do its work */
};

/* An engine with the limits of ORDERS. Returns 0 or -errno with a sentence. */
int clam_new(const struct orders *orders, struct clam **ret_clam, char **error_r);
/* Not called by workers: freeing would copy all the shared memory. */
void clam_free(struct clam *clam);

/*
 * Loads the signature file or directory PATH. Returns 0, or -EBADMSG with a sentence that names
 * the file if libclamav did. It calls it a success when it understands no rule of a YARA file; here
 * that is none.
 */
int clam_load(struct clam *clam, const char *path, char **error_r);

/* What libclamav said first of what it left out of a set that it has loaded; NULL: nothing. */
const char *clam_left_out(const struct clam *clam);

/* Makes the engine ready; nothing can be loaded afterwards. Returns 0 or -EBADMSG. */
int clam_compile(struct clam *clam, char **error_r);

unsigned clam_signatures(const struct clam *clam);

/* Where the next scans put their files; must exist. Returns 0 or -ENOMEM. */
int clam_set_tmpdir(struct clam *clam, const char *path);

/*
 * Scans LEN bytes at DATA with at most TIMEOUT_MS. On another result than CLAM_DONE *RET_TEXT
 * (static) says what libclamav said.
 */
enum clam_result clam_scan(struct clam *clam, const unsigned char *data, size_t len,
                           unsigned timeout_ms, const struct clam_sink *sink,
                           const char **ret_text);

#endif
