/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * postern-fetch CONFIG SOURCE BYTES: fetches what is new from one source (source.h) by libfreshclam
 * and ends. postern-update runs it. Its last word is one line of JSON on standard output:
 *
 *   {"updated":N, "retry":SECONDS, "failed":[{"file":NAME, "error":TEXT}]}
 *
 * What libfreshclam says goes to standard error.
 *
 * SECURITY: libfreshclam parses what mirrors send: HTTP, CVD headers, differences, tar archives.
 * That is why this is a process of its own: one per source, confined to that source's directory
 * (confine.h), with a time limit. It loads no signatures.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <clamav.h>
#include <jansson.h>
#include <libfreshclam.h>

#include "confine.h"
#include "cooldown.h"
#include "cvd-head.h"
#include "signature-files.h"
#include "source.h"

#define CONNECT_SECONDS 30
#define SILENT_SECONDS 60
#define PROXY_PORT 8080
#define LOOKED_AT 512

struct fetch {
    const struct settings *settings;
    const struct source *source;
    char *dir;
    char *tmp;
    char *refused; /* by on_complete() */
    json_t *failed;
    guint updated;
};

static void
failed(struct fetch *fetch, const char *file, const char *error)
{
    json_array_append_new(fetch->failed, json_pack("{s:s, s:s}", "file", file, "error", error));
}

/* The answer of a captive portal, or a mirror's apology, is no signature file. */
static gboolean
is_page(const char *text)
{
    static const char *const beginnings[] = {"<!doctype", "<html", "<head", "<?xml"};
    text += strspn(text, " \t\r\n\xef\xbb\xbf");
    for (size_t i = 0; i < G_N_ELEMENTS(beginnings); i++) {
        if (g_ascii_strncasecmp(text, beginnings[i], strlen(beginnings[i])) == 0) {
            return TRUE;
        }
    }
    return FALSE;
}

static const char *
wrong_with(const char *path)
{
    char text[LOOKED_AT + 1] = "";
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, LOOKED_AT);
    if (fd >= 0) {
        close(fd);
    }
    if (n < 0) {
        return "cannot be read";
    }
    if (n == 0) {
        return "the answer is empty";
    }
    if (is_page(text)) {
        return "the answer is a web page, not signatures";
    }
    if (cvd_head_is_name(path)) {
        cl_error_t rc = cl_cvdverify(path);
        return rc == CL_SUCCESS ? NULL : "it is not signed by ClamAV, or damaged";
    }
    return NULL;
}

/* Official databases were verified by libfreshclam, and their differences too; nobody looked at
 * what came by a URL. */
static fc_error_t
on_complete(const char *path, void *data)
{
    struct fetch *fetch = data;
    if (fetch->source->url != NULL) {
        const char *wrong = wrong_with(path);
        g_free(fetch->refused);
        fetch->refused = g_strdup(wrong);
        return wrong == NULL ? FC_SUCCESS : FC_ETESTFAIL;
    }
    return FC_SUCCESS;
}

static void
fetch_official(struct fetch *fetch)
{
    const struct settings *settings = fetch->settings;
    guint servers = g_strv_length(settings->update_mirrors);
    g_auto(GStrv) urls = g_new0(char *, servers + 1);
    char *dns = NULL;
    char *newer = NULL;
    for (guint i = 0; i < servers; i++) {
        urls[i] = source_mirror_url(settings->update_mirrors[i]);
    }
    if (strcmp(settings->update_dns, "none") != 0) {
        (void)fc_dns_query_update_info(settings->update_dns, &dns, &newer);
    }
    for (char **file = fetch->source->files; *file != NULL; file++) {
        uint32_t updated = 0;
        /* Never as a "private mirror": that would take a CLD, which nobody signed. */
        fc_error_t rc = fc_update_databases(file, 1, urls, servers, 0, dns, 1, fetch, &updated);
        fetch->updated += updated;
        if (rc != FC_SUCCESS) {
            failed(fetch, *file, fc_strerror(rc));
        }
    }
    free(dns);
    free(newer);
}

static void
fetch_url(struct fetch *fetch)
{
    int updated = 0;
    if (!signature_files_is_name(fetch->source->files[0])) {
        failed(fetch, fetch->source->files[0], "libclamav loads no files with that extension");
        return;
    }
    const char *refusal = signature_files_refusal(fetch->source->files[0]);
    if (refusal != NULL) {
        failed(fetch, fetch->source->files[0], refusal);
        return;
    }
    fc_error_t rc = fc_download_url_database(fetch->source->url, fetch, &updated);
    fetch->updated += updated != 0 ? 1 : 0;
    if (rc != FC_SUCCESS) {
        failed(fetch, fetch->source->files[0],
               fetch->refused != NULL ? fetch->refused : fc_strerror(rc));
    }
}

static int
initialise(struct fetch *fetch)
{
    const struct settings *settings = fetch->settings;
    g_autofree char *proxy = NULL;
    fc_config config = {
        .msgFlags = FC_CONFIG_MSG_VERBOSE,
        .maxAttempts = (uint32_t)settings->update_attempts,
        .connectTimeout = CONNECT_SECONDS,
        .requestTimeout = SILENT_SECONDS,
        .databaseDirectory = fetch->dir,
        .tempDirectory = fetch->tmp,
    };
    if (strcmp(settings->update_proxy, "none") != 0) {
        proxy = g_strdup(settings->update_proxy);
        char *host = strstr(proxy, "://");
        char *port = strrchr(host != NULL ? host + 3 : proxy, ':');
        config.proxyServer = proxy;
        config.proxyPort = PROXY_PORT;
        if (port != NULL) {
            *port = '\0';
            config.proxyPort = (uint16_t)g_ascii_strtoull(port + 1, NULL, 10);
        }
    }
    fc_set_fccb_download_complete(on_complete);
    return cl_init(CL_INIT_DEFAULT) == CL_SUCCESS && fc_initialize(&config) == FC_SUCCESS ? 0 : -1;
}

static int
fetch_run(struct fetch *fetch, int dir)
{
    cooldown_limit(dir, time(NULL));
    if (initialise(fetch) < 0) {
        fprintf(stderr, "ERROR: %s: libfreshclam cannot work there\n", fetch->dir);
        return EXIT_FAILURE;
    }
    if (fetch->source->url == NULL) {
        fetch_official(fetch);
    } else {
        fetch_url(fetch);
    }
    return EXIT_SUCCESS;
}

static void
report(const struct fetch *fetch, int dir, int out)
{
    json_t *object = json_pack("{s:i, s:I, s:O}", "updated", (int)fetch->updated, "retry",
                               (json_int_t)cooldown_read(dir), "failed", fetch->failed);
    json_dumpfd(object, out, JSON_COMPACT);
    json_decref(object);
}

/* libfreshclam says some things on standard output. */
static int
keep_output(void)
{
    int out = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
    return out >= 0 && dup2(STDERR_FILENO, STDOUT_FILENO) >= 0 ? out : -1;
}

int
main(int argc, char **argv)
{
    g_autofree char *error = NULL;
    if (argc == 2 && strcmp(argv[1], "--version") == 0) {
        puts("postern-fetch " PACKAGE_VERSION);
        return EXIT_SUCCESS;
    }
    int out = keep_output();
    if (argc != 4 || out < 0) {
        fputs("ERROR: postern-fetch is run by postern-update\n", stderr);
        return EXIT_FAILURE;
    }
    g_autoptr(settings_t) settings = settings_load(*argv[1] != '\0' ? argv[1] : NULL, &error);
    g_autoptr(GPtrArray) sources = settings != NULL ? sources_of(settings) : NULL;
    const struct source *source = sources != NULL ? source_find(sources, argv[2]) : NULL;
    if (source == NULL) {
        fprintf(stderr, "ERROR: %s\n", error != NULL ? error : "there is no such source");
        return EXIT_FAILURE;
    }
    struct fetch fetch = {.settings = settings,
                          .source = source,
                          .dir = source_dir(settings, source->name),
                          .failed = json_array()};
    fetch.tmp = g_build_filename(fetch.dir, SOURCE_TMP, NULL);
    int dir = open(fetch.dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    const char *step =
        dir < 0 ? "its directory"
                : confine(dir, g_ascii_strtoull(argv[3], NULL, 10), settings->update_timeout);
    if (step != NULL) {
        fprintf(stderr, "ERROR: %s: %s\n", step, g_strerror(errno));
        return EXIT_FAILURE;
    }
    int rc = fetch_run(&fetch, dir);
    if (rc == EXIT_SUCCESS) {
        report(&fetch, dir, out);
    }
    fflush(NULL);
    _exit(rc);
}
