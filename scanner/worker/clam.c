/* SPDX-License-Identifier: GPL-2.0-only */
#include "config.h"
#include "clam.h"

#include <clamav.h>
#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <glib.h>

#define COMPLAINTS_MAX 4

struct clam {
    struct cl_engine *engine;
    unsigned signatures;
    bool found;     /* the sink heard of a detection in this scan */
    char *left_out; /* while it loaded; NULL: nothing */
    const struct clam_sink *sink;
};

/* libclamav's last errors while it loads: the only place where it names the file. */
static GPtrArray *complaints;
static GPtrArray *omissions;
static struct clam *scanning;

/* What it says when it calls a load a success, and has not loaded all (readdb.c of 1.4). */
static bool
is_omission(const char *line)
{
    static const char *const sayings[] = {
        "cli_loadyara: failed to parse or load",
        "skipping load of unsigned bytecode",
        "Detected duplicate databases",
    };
    for (size_t i = 0; i < G_N_ELEMENTS(sayings); i++) {
        if (strstr(line, sayings[i]) != NULL) {
            return true;
        }
    }
    return false;
}

static void
on_message(enum cl_msg severity, const char *full, const char *text, void *context)
{
    (void)full;
    (void)context;
    g_autofree char *line = g_strdup(text);
    g_strchomp(line);
    if (scanning != NULL) {
        scanning->sink->warned(scanning->sink->data, line);
    } else if (complaints == NULL) {
        return;
    } else if (severity == CL_MSG_ERROR && complaints->len < COMPLAINTS_MAX) {
        g_ptr_array_add(complaints, g_steal_pointer(&line));
    } else if (severity == CL_MSG_WARN && is_omission(line)) {
        g_ptr_array_add(omissions, g_steal_pointer(&line));
    }
}

static cl_error_t
on_layer(int fd, const char *type, const char **ancestors, size_t parent_size, const char *name,
         size_t size, const char *buffer, uint32_t level, uint32_t attributes, void *context)
{
    (void)fd;
    (void)ancestors;
    (void)parent_size;
    const struct clam *clam = context;
    struct clam_layer layer = {
        .level = level,
        .type = type,
        .name = name,
        .data = (const unsigned char *)buffer,
        .size = size,
        .derived = (attributes & LAYER_ATTRIBUTES_NORMALIZED) != 0,
    };
    return clam->sink->enter(clam->sink->data, &layer) ? CL_BREAK : CL_CLEAN;
}

static cl_error_t
on_layer_end(int fd, int result, const char *name, void *context)
{
    (void)fd;
    (void)result;
    const struct clam *clam = context;
    clam->sink->leave(clam->sink->data, name);
    return CL_CLEAN;
}

static cl_error_t
on_member(const char *container, unsigned long container_size, const char *name, unsigned long size,
          int encrypted, unsigned index, void *context)
{
    (void)container_size;
    (void)index;
    const struct clam *clam = context;
    struct clam_member member = {
        .container = container,
        .name = name,
        .size = size,
        .encrypted = encrypted != 0,
    };
    clam->sink->member(clam->sink->data, &member);
    return CL_CLEAN;
}

static void
on_found(int fd, const char *name, void *context)
{
    (void)fd;
    struct clam *clam = context;
    clam->found = true;
    clam->sink->found(clam->sink->data, name);
}

static int
on_vba(const unsigned char *code, size_t len, void *context)
{
    (void)code;
    (void)len;
    const struct clam *clam = context;
    clam->sink->macros(clam->sink->data);
    return 0;
}

char *
clam_true_type(const char *type)
{
    static const struct {
        const char *prefix;
        const char *name;
    } others[] = {
        {"CL_TYPE_TEXT_", "text"},  {"CL_TYPE_SCRIPT", "text"}, {"CL_TYPE_BINARY_DATA", "binary"},
        {"CL_TYPE_MSEXE", "pe"},    {"CL_TYPE_HTML", "html"},   {"CL_TYPE_POSIX_TAR", "tar"},
        {"CL_TYPE_OLD_TAR", "tar"}, {"CL_TYPE_ANY", NULL},      {"CL_TYPE_ERROR", NULL},
        {"CL_TYPE_IGNORED", NULL},  {"CL_TYPE_ZIPSFX", "zip"},
    };
    for (size_t i = 0; type != NULL && i < G_N_ELEMENTS(others); i++) {
        if (g_str_has_prefix(type, others[i].prefix)) {
            return g_strdup(others[i].name);
        }
    }
    return type != NULL && g_str_has_prefix(type, "CL_TYPE_")
               ? g_ascii_strdown(type + strlen("CL_TYPE_"), -1)
               : NULL;
}

static int
set_limits(struct cl_engine *engine, const struct orders *orders)
{
    const struct {
        enum cl_engine_field field;
        guint64 value;
    } limits[] = {
        {CL_ENGINE_MAX_SCANSIZE, orders->scan_size},
        {CL_ENGINE_MAX_FILESIZE, orders->scan_file_size},
        {CL_ENGINE_MAX_RECURSION, orders->scan_recursion},
        {CL_ENGINE_MAX_FILES, orders->scan_files},
        /* Above these libclamav leaves out a step and says nothing. */
        {CL_ENGINE_MAX_EMBEDDEDPE, orders->scan_file_size},
        {CL_ENGINE_MAX_HTMLNORMALIZE, orders->scan_file_size},
        {CL_ENGINE_MAX_HTMLNOTAGS, orders->scan_file_size},
        {CL_ENGINE_MAX_SCRIPTNORMALIZE, orders->scan_file_size},
        {CL_ENGINE_PCRE_MAX_FILESIZE, orders->scan_file_size},
        /* Its cache of clean files is keyed by MD5: collisions are cheap to make. */
        {CL_ENGINE_DISABLE_CACHE, 1},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(limits); i++) {
        if (cl_engine_set_num(engine, limits[i].field, (long long)limits[i].value) != CL_SUCCESS) {
            return -EINVAL;
        }
    }
    return 0;
}

int
clam_new(const struct orders *orders, struct clam **ret_clam, char **error_r)
{
    cl_set_clcb_msg(on_message);
    if (cl_init(CL_INIT_DEFAULT) != CL_SUCCESS) {
        *error_r = g_strdup("libclamav cannot be initialised");
        return -EINVAL;
    }
    struct cl_engine *engine = cl_engine_new();
    if (engine == NULL) {
        *error_r = g_strdup("libclamav has no memory for an engine");
        return -ENOMEM;
    }
    if (set_limits(engine, orders) < 0) {
        *error_r = g_strdup("libclamav refuses the scan limits");
        cl_engine_free(engine);
        return -EINVAL;
    }
    cl_engine_set_clcb_file_inspection(engine, on_layer);
    cl_engine_set_clcb_post_scan(engine, on_layer_end);
    cl_engine_set_clcb_meta(engine, on_member);
    cl_engine_set_clcb_virus_found(engine, on_found);
    cl_engine_set_clcb_vba(engine, on_vba);
    struct clam *clam = g_new0(struct clam, 1);
    clam->engine = engine;
    *ret_clam = clam;
    return 0;
}

void
clam_free(struct clam *clam)
{
    if (clam != NULL) {
        cl_engine_free(clam->engine);
        g_free(clam->left_out);
        g_free(clam);
    }
}

/* The newest complaint that names a file, and the first that names a line, which is older and does
 * not; without either the newest at all. */
static char *
complaint(cl_error_t rc, const char *path)
{
    const char *text = NULL;
    const char *line = NULL;
    for (guint i = 0; i < complaints->len; i++) {
        const char *one = g_ptr_array_index(complaints, i);
        if (line == NULL && strstr(one, " at line ") != NULL) {
            line = one;
        }
        if (text == NULL || strstr(one, path) != NULL || strstr(text, path) == NULL) {
            text = one;
        }
    }
    if (text != NULL && line != NULL && line != text) {
        return g_strdup_printf("%s: %s: %s", path, text, line);
    }
    return text != NULL ? g_strdup_printf("%s: %s", path, text)
                        : g_strdup_printf("%s: %s", path, cl_strerror(rc));
}

/* A page that a server sent in its place, or half a file: all of it is missing. */
static const char *
file_of_nothing(void)
{
    for (guint i = 0; i < omissions->len; i++) {
        const char *line = g_ptr_array_index(omissions, i);
        if (strstr(line, "successfully loaded 0 rules") != NULL) {
            return line;
        }
    }
    return NULL;
}

int
clam_load(struct clam *clam, const char *path, char **error_r)
{
    complaints = g_ptr_array_new_with_free_func(g_free);
    omissions = g_ptr_array_new_with_free_func(g_free);
    unsigned before = clam->signatures;
    cl_error_t rc = cl_load(path, clam->engine, &clam->signatures, CL_DB_STDOPT);
    if (rc != CL_SUCCESS) {
        *error_r = complaint(rc, path);
    } else if (file_of_nothing() != NULL) {
        *error_r = g_strdup_printf("%s: %s", path, file_of_nothing());
        rc = CL_EMALFDB;
    } else if (clam->signatures == before) {
        *error_r = g_strdup_printf("%s: there is no signature in it", path);
        rc = CL_EMALFDB;
    } else if (omissions->len > 0 && clam->left_out == NULL) {
        clam->left_out = g_strdup(g_ptr_array_index(omissions, 0));
    }
    g_clear_pointer(&complaints, g_ptr_array_unref);
    g_clear_pointer(&omissions, g_ptr_array_unref);
    return rc == CL_SUCCESS ? 0 : -EBADMSG;
}

int
clam_compile(struct clam *clam, char **error_r)
{
    cl_error_t rc = cl_engine_compile(clam->engine);
    if (rc != CL_SUCCESS) {
        *error_r = g_strdup_printf("the signatures cannot be compiled: %s", cl_strerror(rc));
        return -EBADMSG;
    }
    return 0;
}

const char *
clam_left_out(const struct clam *clam)
{
    return clam->left_out;
}

unsigned
clam_signatures(const struct clam *clam)
{
    return clam->signatures;
}

int
clam_set_tmpdir(struct clam *clam, const char *path)
{
    return cl_engine_set_str(clam->engine, CL_ENGINE_TMPDIR, path) == CL_SUCCESS ? 0 : -ENOMEM;
}

static enum clam_result
classify(cl_error_t rc)
{
    static const struct {
        cl_error_t rc;
        enum clam_result result;
    } table[] = {
        {CL_CLEAN, CLAM_DONE},      {CL_VIRUS, CLAM_DONE},     {CL_ETIMEOUT, CLAM_LIMIT},
        {CL_EMAXREC, CLAM_LIMIT},   {CL_EMAXSIZE, CLAM_LIMIT}, {CL_EMAXFILES, CLAM_LIMIT},
        {CL_EFORMAT, CLAM_DAMAGED}, {CL_EPARSE, CLAM_DAMAGED}, {CL_EUNPACK, CLAM_DAMAGED},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(table); i++) {
        if (table[i].rc == rc) {
            return table[i].result;
        }
    }
    return CLAM_FAILED;
}

enum clam_result
clam_scan(struct clam *clam, const unsigned char *data, size_t len, unsigned timeout_ms,
          const struct clam_sink *sink, const char **ret_text)
{
    /* All matches: a limit that is hit must not end the search for what else is in there. */
    struct cl_scan_options options = {
        .general = CL_SCAN_GENERAL_ALLMATCHES | CL_SCAN_GENERAL_HEURISTICS,
        .parse = sink->plain ? ~(uint32_t)CL_SCAN_PARSE_MAIL : ~0U,
        .heuristic = CL_SCAN_HEURISTIC_EXCEEDS_MAX | CL_SCAN_HEURISTIC_ENCRYPTED_ARCHIVE |
                     CL_SCAN_HEURISTIC_ENCRYPTED_DOC | CL_SCAN_HEURISTIC_MACROS,
    };
    const char *name = NULL;
    unsigned long scanned = 0;
    cl_error_t rc = CL_EMEM;
    clam->sink = sink;
    clam->found = false;
    scanning = clam;
    cl_engine_set_num(clam->engine, CL_ENGINE_MAX_SCANTIME, MAX(timeout_ms, 1));
    cl_fmap_t *map = cl_fmap_open_memory(data, len);
    if (map != NULL) {
        rc = cl_scanmap_callback(map, NULL, &name, &scanned, clam->engine, &options, clam);
        cl_fmap_close(map);
    }
    scanning = NULL;
    if (rc == CL_VIRUS && !clam->found) {
        sink->found(sink->data, name != NULL ? name : "unnamed");
    }
    *ret_text = cl_strerror(rc);
    return classify(rc);
}
