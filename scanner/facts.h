/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef FACTS_H
#define FACTS_H

/*
 * What a worker found out about one message, and nothing that it decided: plain data that crosses
 * from a process which parses hostile bytes to one which must not trust it. posternd derives the
 * verdict from the facts; a worker never sends one.
 */

#include <stdbool.h>
#include <glib.h>
#include <jansson.h>

#define FACTS_VERSION 1
/* A message with more parts than this is not described whole, so it is not fully scanned. */
#define FACTS_PARTS_MAX 200
#define FACTS_LIST_MAX 50

enum verdict {
    VERDICT_CLEAN,     /* the whole message was scanned, nothing found, nothing went wrong */
    VERDICT_INFECTED,  /* a signature matched */
    VERDICT_UNSCANNED, /* "not fully scanned": some of it cannot be scanned, now or later */
    VERDICT_ERROR,     /* the scan itself failed; a later one may succeed */
};

/* "clean", "infected", "not fully scanned", "error". */
const char *verdict_name(enum verdict verdict);
/* Returns false when NAME is none of them. */
bool verdict_parse(const char *name, enum verdict *ret);

/* Why something could not be scanned; all are lasting causes. */
enum cause {
    CAUSE_ENCRYPTED,   /* a password would be needed */
    CAUSE_LIMIT,       /* a limit of size, number, depth or time was reached */
    CAUSE_UNSUPPORTED, /* a container that libclamav does not open */
    CAUSE_DAMAGED,     /* a container that is broken */
    CAUSE_END_TO_END,  /* S/MIME, OpenPGP: encrypted for the recipient alone */
};
const char *cause_name(enum cause cause);

/* One thing that was not scanned. */
struct unscanned {
    enum cause cause;
    char *detail; /* "Heuristics.Limits.Exceeded.MaxRecursion", "RAR archive" */
    char *part;   /* MIME path such as "1.2", "" for the message itself */
};

struct part {
    char *path;     /* MIME path, "" = the message itself */
    char *type;     /* declared, "application/zip" */
    char *filename; /* decoded, UTF-8; NULL = none */
    guint64 size;   /* decoded, bytes */
    char *sha256;   /* of the decoded content, hexadecimal; NULL when it has none (multiparts) */
};

struct facts {
    bool complete;         /* both scans, raw message and leaves, reached their end */
    guint64 scan_us;       /* time the scan took, microseconds */
    GPtrArray *detections; /* of char *: signature names, each once */
    GPtrArray *unscanned;  /* of struct unscanned * */
    GPtrArray *faults;     /* of char *: "mkdir: No space left on device"; any makes a scan void */
    GPtrArray *parts;      /* of struct part *, at most FACTS_PARTS_MAX */
    guint64 parts_total;   /* how many there were */
};

struct facts *facts_new(void);
void facts_free(struct facts *facts);
typedef struct facts facts_t;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(facts_t, facts_free)

/* Each copies its texts. Beyond FACTS_LIST_MAX (parts: FACTS_PARTS_MAX) a list stays as it is. */
void facts_add_detection(struct facts *facts, const char *name);
void facts_add_unscanned(struct facts *facts, enum cause cause, const char *detail,
                         const char *part);
void facts_add_fault(struct facts *facts, const char *what);
void facts_add_part(struct facts *facts, const struct part *part);

/*
 * The verdict: a detection outweighs all (what was found is certain); then a fault or an
 * incomplete scan is an error; then anything unscanned; only the rest is clean.
 */
enum verdict facts_verdict(const struct facts *facts);

/* Facts as JSON, a new reference. Texts that are not UTF-8 have been made so before. */
json_t *facts_to_json(const struct facts *facts);

/*
 * Facts from JSON that an untrusted worker sent. Returns NULL when anything is missing, of
 * another type or version, or over a limit.
 */
struct facts *facts_from_json(json_t *json);

#endif
