/* SPDX-License-Identifier: GPL-2.0-only */
#include "config.h"
#include "layers.h"

#include <string.h>

#include "container.h"
#include "hidden.h"
#include "members.h"
#include "pdf.h"
#include "streams.h"

/* libclamav does not scan files of up to 5 bytes, so it never shows them. */
#define CLAM_IGNORES_UP_TO 5

struct layer {
    unsigned level;
    const char *path;
    const struct container *container;
    struct zip_survey zip;
    struct members members;
    bool several; /* streams, of which libclamav unpacks the first */
    unsigned children;
    guint64 child_bytes;
    unsigned announced; /* members that libclamav should have shown */
    guint64 announced_bytes;
    unsigned encrypted; /* members that it cannot */
    bool known;         /* whole and clean, as others found */
};

static struct layer *
top(struct layers *layers)
{
    return layers->stack->len > 0
               ? &g_array_index(layers->stack, struct layer, layers->stack->len - 1)
               : NULL;
}

static void
report(struct layers *layers, const struct layer *layer, enum cause cause, const char *why)
{
    g_autofree char *detail = g_strdup_printf("%s%s", layer->container->name, why);
    facts_add_unscanned(layers->facts, cause, detail, layer->path);
}

static void
judge_zip(struct layers *layers, const struct layer *layer)
{
    if (layer->zip.method >= 0) {
        g_autofree char *why = g_strdup_printf(" with compression method %d", layer->zip.method);
        report(layers, layer, CAUSE_UNSUPPORTED, why);
    }
    if (layer->zip.encrypted > 0) {
        report(layers, layer, CAUSE_ENCRYPTED, " with encrypted members");
    }
    if (!layer->zip.found && layer->children == 0) {
        report(layers, layer, CAUSE_DAMAGED, " without a directory");
    } else if (layer->zip.found && layer->zip.method < 0 &&
               (layer->children + layer->zip.encrypted < layer->zip.members ||
                layer->child_bytes < layer->zip.bytes)) {
        report(layers, layer, CAUSE_DAMAGED, ", not all of whose members could be unpacked");
    }
}

static bool
lacks_members(const struct layer *layer)
{
    return layer->members.odd || layer->children < layer->members.count ||
           layer->child_bytes < layer->members.bytes;
}

/* Behind a program, a picture or anything else: libclamav finds some archives there. They are no
 * layers; that there is one is known only when it announces members. */
static void
judge_hidden(struct layers *layers, const struct layer *layer)
{
    if (layer->encrypted > 0) {
        facts_add_unscanned(layers->facts, CAUSE_ENCRYPTED,
                            "archive behind other content, with encrypted members", layer->path);
    } else if (layer->children < layer->announced || layer->child_bytes < layer->announced_bytes) {
        facts_add_unscanned(layers->facts, CAUSE_UNSUPPORTED,
                            "archive behind other content, not all of whose members could be "
                            "unpacked",
                            layer->path);
    }
}

static void
judge(struct layers *layers, const struct layer *layer)
{
    if (layer->container == NULL) {
        judge_hidden(layers, layer);
        return;
    }
    if (layer->several) {
        report(layers, layer, CAUSE_UNSUPPORTED, " of several streams");
    }
    if (lacks_members(layer) && layer->encrypted == 0) {
        report(layers, layer, CAUSE_DAMAGED, ", not all of whose members could be unpacked");
    }
    if (!layer->container->opened) {
        report(layers, layer, CAUSE_UNSUPPORTED, "");
    } else if (layer->container->survey == SURVEY_ZIP) {
        judge_zip(layers, layer);
    } else if (layer->encrypted > 0) {
        report(layers, layer, CAUSE_ENCRYPTED, " with encrypted members");
    } else if (layer->children == 0) {
        report(layers, layer, CAUSE_UNSUPPORTED, "");
    } else if (layer->children < layer->announced || layer->child_bytes < layer->announced_bytes) {
        report(layers, layer, CAUSE_UNSUPPORTED, ", not all of whose members could be unpacked");
    }
}

void
layers_begin(struct layers *layers, struct facts *facts, guint64 file_limit, const char *path)
{
    *layers = (struct layers){
        .facts = facts,
        .file_limit = file_limit,
        .path = path,
        .stack = g_array_new(FALSE, FALSE, sizeof(struct layer)),
    };
}

/* libclamav writes in pieces of 8 KB and stops before the one that would be too much. */
#define PIECE 8192

static bool
is_cut_off(const struct layers *layers, const struct clam_layer *seen)
{
    return seen->level > 0 && !seen->derived &&
           seen->size + MIN(PIECE, layers->file_limit / 2) > layers->file_limit;
}

static void
survey(struct layer *layer, const struct clam_layer *seen, guint64 limit)
{
    switch (layer->container->survey) {
    case SURVEY_NONE:
        break;
    case SURVEY_ZIP:
        layer->zip = container_survey_zip(seen->data, seen->size);
        break;
    case SURVEY_TAR:
        layer->members = members_of_tar(seen->data, seen->size);
        break;
    case SURVEY_CPIO:
        layer->members = members_of_cpio(seen->data, seen->size);
        break;
    case SURVEY_LHA:
        layer->members = members_of_lha(seen->data, seen->size);
        break;
    case SURVEY_GZIP:
        layer->several = streams_gzip(seen->data, seen->size, limit);
        break;
    case SURVEY_BZIP2:
        layer->several = streams_bzip2(seen->data, seen->size);
        break;
    case SURVEY_XZ:
        layer->several = streams_xz(seen->data, seen->size);
        break;
    }
}

static void
recognise(struct layer *layer, const struct clam_layer *seen, guint64 limit)
{
    layer->container = container_detect(seen->data, seen->size, seen->type);
    if (layer->container == NULL) {
        layer->container = hidden_find(seen->data, seen->size);
    }
    if (layer->container != NULL) {
        survey(layer, seen, limit);
    }
}

void
layers_enter(struct layers *layers, const struct clam_layer *seen, const char *path)
{
    while (top(layers) != NULL && top(layers)->level >= seen->level) {
        layers_leave(layers);
    }
    struct layer *parent = top(layers);
    struct layer layer = {
        .level = seen->level,
        .path = path != NULL     ? path
                : parent != NULL ? parent->path
                                 : layers->path,
    };
    if (parent != NULL && !seen->derived) {
        parent->children++;
        parent->child_bytes += seen->size;
    }
    if (seen->data != NULL && !seen->derived) {
        recognise(&layer, seen, layers->file_limit);
    }
    if (g_strcmp0(seen->type, "CL_TYPE_PDF") == 0 && seen->data != NULL &&
        pdf_hides_files(seen->data, seen->size)) {
        facts_add_unscanned(layers->facts, CAUSE_ENCRYPTED, "file attached to an encrypted PDF",
                            layer.path);
    }
    if (is_cut_off(layers, seen)) {
        facts_add_unscanned(layers->facts, CAUSE_LIMIT, "file cut off at scan_file_size",
                            layer.path);
    }
    g_array_append_val(layers->stack, layer);
}

void
layers_known(struct layers *layers)
{
    top(layers)->known = true;
}

void
layers_member(struct layers *layers, const struct clam_member *member)
{
    struct layer *layer = top(layers);
    if (layer == NULL) {
        return;
    }
    /* 7z reports "encrypted" of every member after the first that is. */
    if (member->encrypted) {
        layer->encrypted++;
    } else if (member->size > CLAM_IGNORES_UP_TO) {
        layer->announced++;
        layer->announced_bytes += member->size;
    }
}

void
layers_leave(struct layers *layers)
{
    const struct layer *layer = top(layers);
    if (layer != NULL) {
        if (!layer->known) {
            judge(layers, layer);
        }
        g_array_set_size(layers->stack, layers->stack->len - 1);
    }
}

const char *
layers_path(const struct layers *layers)
{
    return layers->stack->len > 0
               ? g_array_index(layers->stack, struct layer, layers->stack->len - 1).path
               : layers->path;
}

void
layers_end(struct layers *layers)
{
    while (top(layers) != NULL) {
        layers_leave(layers);
    }
    g_clear_pointer(&layers->stack, g_array_unref);
}
