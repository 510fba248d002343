/* SPDX-License-Identifier: GPL-2.0-only */
#include "config.h"
#include "scan.h"

#include <string.h>
#include <glib.h>

#include "bounds.h"
#include "faultguard.h"
#include "inflated.h"
#include "known.h"
#include "layers.h"
#include "mime.h"
#include "objects.h"
#include "readings.h"
#include "tmpdir.h"
#include "visits.h"

#define FAULTS_MAX 16

struct scan {
    struct clam *clam;
    const struct orders *orders;
    struct facts *facts;
    GPtrArray *leaves; /* of struct mime_leaf * */
    gint64 deadline_us;
    bool stopped;         /* the time is up */
    bool plain;           /* a mail that is more than its parsers bear */
    bool taken_for_mail;  /* libclamav says that the object is one */
    const char *path;     /* of the object that is being scanned */
    struct layers layers; /* its containers */
    struct objects objects;
    struct inflated inflated;
    GHashTable *seen; /* paths of objects */
    bool postpone;    /* the object is a mail: not now if libclamav does not take it for one */
    bool postponed;
    bool again; /* what is in the mail has been scanned */
};

static bool
is_text(const char *type)
{
    return type != NULL &&
           (g_str_has_prefix(type, "CL_TYPE_TEXT_") || strcmp(type, "CL_TYPE_HTML") == 0 ||
            strcmp(type, "CL_TYPE_BINARY_DATA") == 0);
}

/* With CR or LF CR for the end of a line, or NULs: as other programs see it. */
static void
read_normalised(struct scan *scan, const unsigned char *data, size_t len, const char *path)
{
    GByteArray *mail = reading_is_odd(data, len) ? reading_normalised(data, len) : NULL;
    if (mail != NULL) {
        mime_parse_more(mail->data, mail->len, path, scan->leaves, scan->facts);
        g_byte_array_unref(mail);
    }
}

/*
 * A mail in an archive is read by GMime too. When libclamav has not recognised it by its first
 * header, it is scanned again as one.
 */
static void
look_into_mail(struct scan *scan, const struct clam_layer *layer, const char *path)
{
    bool known = g_strcmp0(layer->type, "CL_TYPE_MAIL") == 0;
    if (layer->derived || layer->data == NULL || objects_depth(&scan->objects) == 0 ||
        (!known && !is_text(layer->type)) || !reading_is_mail(layer->data, layer->size)) {
        return;
    }
    mime_parse_more(layer->data, layer->size, path, scan->leaves, scan->facts);
    read_normalised(scan, layer->data, layer->size, path);
    if (!known) {
        leaves_add_mail(layer->data, layer->size, path, scan->leaves, scan->facts);
    }
}

/* A mail or page somewhere inside that libclamav must not take apart. */
static bool
is_too_much(const struct scan *scan, const struct clam_layer *layer)
{
    const char *too_much = NULL;
    if (layer->data != NULL && !scan->plain && g_strcmp0(layer->type, "CL_TYPE_MAIL") == 0) {
        too_much = bounds_exceeded(layer->data, layer->size);
    } else if (layer->data != NULL && g_strcmp0(layer->type, "CL_TYPE_MAIL") != 0) {
        too_much = bounds_exceeded_by_html(layer->data, layer->size);
    }
    if (too_much != NULL) {
        facts_add_unscanned(scan->facts, CAUSE_LIMIT, too_much, layers_path(&scan->layers));
    }
    return too_much != NULL;
}

/* Returns true when the layer need not be scanned: now, or at all. */
static bool
may_pass(struct scan *scan, const struct clam_layer *layer, const struct mime_leaf *leaf,
         bool whole)
{
    if (layer->level == 0 && scan->postpone && g_strcmp0(layer->type, "CL_TYPE_MAIL") != 0) {
        scan->postponed = true;
        return true;
    }
    return known_enter(layer, leaf, whole);
}

static bool
on_enter(void *data, const struct clam_layer *layer)
{
    struct scan *scan = data;
    bool whole = false;
    struct mime_leaf *leaf = layer->derived ? NULL : visits_find(scan->leaves, layer, &whole);
    if (g_strcmp0(layer->type, "CL_TYPE_MAIL") == 0) {
        scan->taken_for_mail |= layer->level == 0;
        if (leaf != NULL) {
            leaf->taken_for_mail = true;
        }
    }
    const char *path = objects_enter(&scan->objects, layer, layer->level == 0 ? NULL : leaf,
                                     scan->path, whole ? leaf->sha256 : NULL);
    layers_enter(&scan->layers, layer, path);
    if (may_pass(scan, layer, scan->plain ? NULL : leaf, whole)) {
        layers_known(&scan->layers);
        return true;
    }
    if (is_too_much(scan, layer)) {
        return true;
    }
    look_into_mail(scan, layer, path);
    inflated_add(&scan->inflated, layer, path);
    return false;
}

static void
on_leave(void *data, const char *alert)
{
    struct scan *scan = data;
    layers_leave(&scan->layers);
    objects_leave(&scan->objects, alert);
}

static void
on_member(void *data, const struct clam_member *member)
{
    struct scan *scan = data;
    layers_member(&scan->layers, member);
    objects_member(&scan->objects, member);
}

static void
on_macros(void *data)
{
    struct scan *scan = data;
    facts_mark_macros(scan->facts, objects_path_of(&scan->objects, CLAM_MACROS));
}

/* What libclamav reports as a "detection" is partly a confession that it did not look. */
static void
on_found(void *data, const char *name)
{
    struct scan *scan = data;
    const char *path = objects_path_of(&scan->objects, name);
    if (*path == '\0') {
        path = scan->path;
    }
    if (g_str_has_prefix(name, "Heuristics.Limits.Exceeded")) {
        facts_add_unscanned(scan->facts, CAUSE_LIMIT, name, path);
    } else if (g_str_has_prefix(name, "Heuristics.Encrypted")) {
        facts_add_unscanned(scan->facts, CAUSE_ENCRYPTED, name, path);
    } else if (g_str_has_prefix(name, CLAM_MACROS)) {
        facts_mark_macros(scan->facts, path);
    } else {
        facts_add_detection_in(scan->facts, name, path);
    }
}

static void
on_warned(void *data, const char *text)
{
    struct scan *scan = data;
    if (strstr(text, "cannot be scanned") != NULL) {
        facts_add_unscanned(scan->facts, CAUSE_UNSUPPORTED, text, scan->path);
    }
}

/* Scans one object with what is left of the time. */
static void
scan_bytes(struct scan *scan, const unsigned char *data, size_t len, const char *path)
{
    const struct clam_sink sink = {
        .enter = on_enter,
        .plain = scan->plain || scan->again,
        .leave = on_leave,
        .member = on_member,
        .found = on_found,
        .warned = on_warned,
        .macros = on_macros,
        .data = scan,
    };
    gint64 left_ms = (scan->deadline_us - g_get_monotonic_time()) / 1000;
    const char *text = "out of time";
    enum clam_result result = CLAM_LIMIT;
    if (len == 0) {
        return;
    }
    scan->path = path;
    layers_begin(&scan->layers, scan->facts, scan->orders->scan_file_size, path);
    objects_begin(&scan->objects, scan->facts, scan->leaves, scan->seen);
    if (left_ms > 0) {
        result = clam_scan(scan->clam, data, len, (unsigned)left_ms, &sink, &text);
    }
    layers_end(&scan->layers);
    objects_end(&scan->objects);
    if (result == CLAM_LIMIT) {
        scan->stopped = true;
        facts_add_unscanned(scan->facts, CAUSE_LIMIT, text, path);
    } else if (result == CLAM_DAMAGED) {
        facts_add_unscanned(scan->facts, CAUSE_DAMAGED, text, path);
    } else if (result == CLAM_FAILED) {
        g_autofree char *fault = g_strdup_printf("libclamav: %s", text);
        facts_add_fault(scan->facts, fault);
    }
}

/*
 * libclamav knows a mail by its first header, and not by every one: behind a milter, where no
 * Received: stands in front yet, a mail that begins with To: or Date: is text to it, so neither its
 * parser nor the signatures for mail are used. Behind an mbox line it takes anything for a mail.
 */
static void
scan_as_mail(struct scan *scan, const unsigned char *data, size_t len, const char *path)
{
    static const char line[] = "From postern\n";
    const size_t line_len = sizeof line - 1;
    if (scan->stopped || scan->plain || !reading_is_mail(data, len)) {
        return;
    }
    g_autofree unsigned char *mbox = g_malloc(line_len + len);
    memcpy(mbox, line, line_len);
    memcpy(mbox + line_len, data, len);
    scan_bytes(scan, mbox, line_len + len, path);
}

/*
 * When libclamav does not take a mail for one, it is scanned as a mail first, and then as what it
 * is taken for: what is inside is scanned the first time only.
 */
static void
scan_message(struct scan *scan, const unsigned char *data, size_t len)
{
    scan->postponed = false;
    scan->postpone = !scan->plain && reading_is_mail(data, len);
    scan_bytes(scan, data, len, "");
    scan->postpone = false;
    if (!scan->postponed || scan->stopped) {
        return;
    }
    scan_as_mail(scan, data, len, "");
    scan->again = true;
    scan_bytes(scan, data, len, "");
    scan->again = false;
}

/* A mail in the mail: what the first reading of the whole has not taken apart in other ways. */
static void
read_otherwise(struct scan *scan, const struct mime_leaf *leaf)
{
    if (leaf->is_odd) {
        mime_parse_more(leaf->data, leaf->size, leaf->path, scan->leaves, scan->facts);
    }
    if (leaf->is_odd || leaf->is_mail) {
        read_normalised(scan, leaf->data, leaf->size, leaf->path);
    }
}

/* The leaves become more while they are scanned: mails in archives, other readings of mails. */
static void
scan_leaves(struct scan *scan)
{
    for (guint i = 0; i < scan->leaves->len && !scan->stopped; i++) {
        struct mime_leaf *leaf = g_ptr_array_index(scan->leaves, i);
        if (!leaf->visited) {
            bool plain = scan->plain;
            scan->taken_for_mail = false;
            scan->plain |= leaf->is_message;
            scan_bytes(scan, leaf->data, leaf->size, leaf->path);
            scan->plain = plain;
            leaf->taken_for_mail |= scan->taken_for_mail;
        }
        if (leaf->is_mail && !leaf->taken_for_mail) {
            scan_as_mail(scan, leaf->data, leaf->size, leaf->path);
        }
        read_otherwise(scan, leaf);
    }
}

/* As programs see it that take CR or LF CR for the end of a line, or pass over NULs. */
static void
scan_normalised(struct scan *scan, const unsigned char *data, size_t len)
{
    GByteArray *mail = reading_is_odd(data, len) ? reading_normalised(data, len) : NULL;
    if (mail == NULL) {
        return;
    }
    if (reading_is_mail(mail->data, mail->len)) {
        mime_parse_more(mail->data, mail->len, "", scan->leaves, scan->facts);
        scan_message(scan, mail->data, mail->len);
    }
    g_byte_array_unref(mail);
}

static void
collect_faults(struct facts *facts)
{
    struct faultguard_fault faults[FAULTS_MAX];
    size_t n = faultguard_faults(faults, FAULTS_MAX);
    for (size_t i = 0; i < n; i++) {
        g_autofree char *text =
            g_strdup_printf("%s: %s", faults[i].call, g_strerror(faults[i].error));
        facts_add_fault(facts, text);
    }
}

static void
empty_tmpdir(struct facts *facts)
{
    int rc = tmpdir_empty();
    if (rc < 0) {
        g_autofree char *text =
            g_strdup_printf("the temporary directory cannot be emptied: %s", g_strerror(-rc));
        facts_add_fault(facts, text);
    }
}

struct facts *
scan_object(struct clam *clam, const struct orders *orders, const unsigned char *data, size_t len)
{
    gint64 start = g_get_monotonic_time();
    struct scan scan = {
        .clam = clam,
        .orders = orders,
        .facts = facts_new(),
        .seen = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL),
        .deadline_us = start + (gint64)orders_scan_ms(orders) * 1000,
        .plain = reading_is_mail(data, len) && bounds_exceeded(data, len) != NULL,
    };
    known_begin(scan.facts);
    faultguard_start();
    scan.leaves = mime_parse(data, len, scan.facts);
    visits_prepare(scan.leaves);
    scan.inflated = (struct inflated){
        .leaves = scan.leaves,
        .facts = scan.facts,
        .file_limit = orders->scan_file_size,
        .room = orders->scan_size,
    };
    scan_message(&scan, data, len);
    scan_normalised(&scan, data, len);
    scan_leaves(&scan);
    objects_share(scan.facts);
    g_clear_pointer(&scan.seen, g_hash_table_unref);
    g_clear_pointer(&scan.leaves, g_ptr_array_unref);
    empty_tmpdir(scan.facts);
    faultguard_stop();
    collect_faults(scan.facts);
    scan.facts->complete = true;
    scan.facts->scan_us = (guint64)(g_get_monotonic_time() - start);
    return scan.facts;
}
