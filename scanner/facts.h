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

#define FACTS_VERSION 2
/*
 * More parts than this are scanned but not described: parts_total tells. The verdict depends on
 * what was scanned, never on what was described; rules about parts (types, names) must look at
 * both numbers.
 */
#define FACTS_PARTS_MAX 1000
#define FACTS_LIST_MAX 50
#define FACTS_PART_LIST_MAX 10
#define FACTS_TEXT_MAX 1024 /* bytes of one text; the rest is cut off */

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
bool cause_parse(const char *name, enum cause *ret);

/* One thing that was not scanned. */
struct unscanned {
    enum cause cause;
    char *detail; /* "Heuristics.Limits.Exceeded.MaxRecursion", "RAR archive" */
    char *part;   /* MIME path such as "1.2", "" for the message itself */
};

struct part {
    /*
     * MIME path as in IMAP, "1.2"; "" = the message itself, or its multipart. What lies in a part
     * goes on with "/", numbered as found: "1.2/3/1".
     */
    char *path;
    char *type;      /* declared, "application/zip"; "" for what lies in a container */
    char *true_type; /* what libclamav takes it for: "zip", "msole2", "pe"; NULL = nobody looked */
    char *filename;  /* decoded, UTF-8; NULL = none */
    guint64 size;    /* decoded, bytes */
    char *sha256;    /* of the decoded content, hexadecimal; NULL when it has none (multiparts) */
    /* All three: it or something in it. */
    bool encrypted; /* with a password, or for its recipient alone */
    bool signed_;   /* it carries a signature that cutting would break; nobody has verified it */
    bool macros;    /* VBA or Excel 4 macros */
    GPtrArray *detections; /* of char *: found in this part or in something in it */
    GPtrArray *limits;     /* of char *: why it or something in it was not scanned whole */
    GPtrArray *defects;    /* of char *: "duplicate-header", the words of worker/defects.h */
    /*
     * Where the entity stands in the raw message: headers [from, body_from), body [body_from, to),
     * without the delimiter lines around it. All 0 = not clearly mapped: nothing may be cut there.
     */
    guint64 from, body_from, to;
};

struct facts {
    bool complete;         /* both scans, raw message and leaves, reached their end */
    guint64 scan_us;       /* time the scan took, microseconds */
    GPtrArray *detections; /* of char *: signature names, each once */
    GPtrArray *unscanned;  /* of struct unscanned *: each detail once, with the first part */
    GPtrArray *faults;     /* of char *: "mkdir: No space left on device"; any makes a scan void */
    GPtrArray *defects;    /* of char *: what is wrong with the MIME structure, over all parts */
    GPtrArray *parts;      /* of struct part *, at most FACTS_PARTS_MAX */
    guint64 parts_total;   /* how many there were */
    GHashTable *by_path;   /* for facts_find_part() */
};

struct facts *facts_new(void);
void facts_free(struct facts *facts);
typedef struct facts facts_t;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(facts_t, facts_free)

/*
 * Each copies its texts. A full list (FACTS_LIST_MAX, FACTS_PARTS_MAX) stays as it is, but among
 * the unscanned at least one of each cause is kept. PART, a path, may be "" and unknown; of a known
 * part, and of all that it lies in up to its MIME part, the fact is noted too: as a detection, as
 * a limit, as encrypted, as a defect.
 */
void facts_add_detection(struct facts *facts, const char *name);
void facts_add_detection_in(struct facts *facts, const char *name, const char *part);
void facts_add_unscanned(struct facts *facts, enum cause cause, const char *detail,
                         const char *part);
void facts_add_fault(struct facts *facts, const char *what);
void facts_add_defect(struct facts *facts, const char *name, const char *part);

/* The copy, owned by FACTS; NULL when there are too many already: then it is only counted. */
struct part *facts_add_part(struct facts *facts, const struct part *part);
/* The first described part with this path, NULL = none. */
struct part *facts_find_part(const struct facts *facts, const char *path);
/* Its macros, as those of all that it lies in. */
void facts_mark_macros(struct facts *facts, const char *part);

/*
 * Makes facts that are too large for a packet smaller: first goes the description of parts that
 * nothing is to be said of. Whatever the verdict and its causes depend on stays. Returns false when
 * nothing can be left out any more.
 */
bool facts_shorten(struct facts *facts);

/*
 * The verdict: a detection outweighs all (what was found is certain); then a fault or an
 * incomplete scan is an error; then anything unscanned; only the rest is clean.
 */
enum verdict facts_verdict(const struct facts *facts);

/*
 * Facts as JSON, a new reference. Texts that are not UTF-8 have been made so before. Of a part,
 * what is false, empty or unknown is left out; the range is an array [from, body_from, to].
 */
json_t *facts_to_json(const struct facts *facts);

/*
 * Facts from JSON that an untrusted worker sent. Returns NULL when anything is missing, of
 * another type or version, over a limit, or no path, hash, type or range at all.
 */
struct facts *facts_from_json(json_t *json);

#endif
