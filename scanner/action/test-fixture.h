/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef TEST_FIXTURE_H
#define TEST_FIXTURE_H

/* For the tests of the state: a state_dir of one's own, and messages to keep in it. */

#include <glib.h>

#include "envelope.h"
#include "settings.h"
#include "state.h"

typedef struct state state_t;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(state_t, state_close)

/* Every message has this many bytes, and another content for another subject. */
#define FIXTURE_SIZE 100000

struct fixture {
    char *dir; /* state_dir is DIR/state */
    struct settings *settings;
    int fresh; /* the format in which fixture_open() makes a state */
};

int fixture_setup(void **data);
int fixture_teardown(void **data);

struct state *fixture_open(struct fixture *f);
void fixture_close(struct state *state);

/* With parameters: FIXTURE_MAIL, and of the first recipient FIXTURE_RCPT. */
#define FIXTURE_MAIL "RET=HDRS ENVID=QQ1"
#define FIXTURE_RCPT "NOTIFY=SUCCESS,DELAY ORCPT=rfc822;to@x.test"
struct envelope *fixture_envelope(const char *sender, const char *one, const char *two);
/* Stores the message SUBJECT as infected; returns what quarantine_store() does. */
int fixture_store(struct state *state, const char *subject, const char *queue_id);
/* After the first line, FD has the message SUBJECT and nothing else. */
void fixture_assert_content(int fd, const char *subject);

/* quarantine_list() and quarantine_show() with nothing special. */
int fixture_list(struct state *state, gint64 before, int limit, json_t **ret_rows);
int fixture_show(struct state *state, const char *key, json_t **ret_meta, int *ret_fd);

/* Attempts of the message SUBJECT; -1 when it has no row. */
int fixture_attempts(struct state *state, const char *subject);
/* Rows that are marked as missing. */
int fixture_missing(struct state *state);
/* Files in quarantine/ that end in SUFFIX. */
int fixture_files(const struct fixture *f, const char *suffix);
char *fixture_first_file(const struct fixture *f);
/* Damaged databases that were kept. */
int fixture_kept_aside(const struct fixture *f);

/* quarantine/KEY.eml, with KEY made from I. */
char *fixture_path(const struct fixture *f, unsigned i);
/* Puts a file there; the first %s in TEXT is its key. */
void fixture_put(const struct fixture *f, unsigned i, const char *text);

#endif
