/* SPDX-License-Identifier: GPL-2.0-only */
#include "config.h"
#include "samples.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "durable.h"
#include "eicar.h"
#include "sample-files.h"
#include "text.h"

#define PROSE_SIZE (192U << 10)
#define NOISE_SIZE (256U << 10)
#define RUN_SIZE (24U << 10)

static void
sample_destroy(void *p)
{
    struct sample *sample = p;
    g_free(sample->name);
    g_free(sample->path);
    g_bytes_unref(sample->content);
    g_free(sample);
}

/* Prose: words of many lengths, in sentences and lines, from a fixed sequence. */
static GByteArray *
make_prose(void)
{
    static const char *const words[] = {
        "the",     "invoice", "of",        "last",     "month",   "is",       "attached",
        "please",  "read",    "it",        "before",   "our",     "meeting",  "on",
        "Tuesday", "and",     "tell",      "me",       "whether", "numbers",  "are",
        "right",   "a",       "shipment",  "will",     "arrive",  "tomorrow", "with",
        "regards", "from",    "warehouse", "password", "account", "http",     "www",
        "to",      "you",     "in",        "we",       "have",    "1998",     "42",
    };
    GByteArray *out = g_byte_array_new();
    guint32 seed = 7;
    unsigned column = 0;
    while (out->len < PROSE_SIZE) {
        const char *word = words[sample_random(&seed) % G_N_ELEMENTS(words)];
        g_byte_array_append(out, (const guint8 *)word, (guint)strlen(word));
        column += (unsigned)strlen(word) + 1;
        gboolean end = column > 66;
        sample_put(out, end ? ".\r\n" : " ");
        column = end ? 0 : column;
    }
    return out;
}

static GByteArray *
make_noise(void)
{
    GByteArray *out = g_byte_array_new();
    guint32 seed = 11;
    while (out->len < NOISE_SIZE) {
        guint8 byte = (guint8)(sample_random(&seed) >> 13);
        g_byte_array_append(out, &byte, 1);
    }
    return out;
}

/* What patterns with gaps and repetitions get lost in. */
static GByteArray *
make_runs(void)
{
    static const char *const units[] = {"a", "ab", "0", "AAAA ", "\xff", "%u9090", "../", "<a>"};
    GByteArray *out = g_byte_array_new();
    for (size_t i = 0; i < G_N_ELEMENTS(units); i++) {
        for (guint end = out->len + RUN_SIZE; out->len < end;) {
            sample_put(out, units[i]);
        }
    }
    g_byte_array_set_size(out, out->len + RUN_SIZE);
    memset(out->data + out->len - RUN_SIZE, 0, RUN_SIZE);
    return out;
}

static GByteArray *
make_text_mail(void)
{
    GByteArray *out = g_byte_array_new();
    sample_put(out, "Received: from mail.example.com (mail.example.com [192.0.2.1])\r\n"
                    "\tby mx.example.org (Postfix) with ESMTPS id 4Q2x1\r\n"
                    "\tfor <b@example.org>; Mon, 2 Jan 2023 10:00:00 +0000 (UTC)\r\n"
                    "From: A <a@example.com>\r\nTo: b@example.org\r\n"
                    "Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n"
                    "Date: Mon, 2 Jan 2023 10:00:00 +0000\r\nMessage-ID: <1@example.com>\r\n\r\n"
                    "Hello,\r\n\r\nsee you on Tuesday.\r\n-- \r\nA\r\n");
    return out;
}

static GByteArray *
make_html_mail(void)
{
    GByteArray *out = g_byte_array_new();
    sample_put(out, "From: news@example.com\r\nTo: b@example.org\r\nSubject: News\r\n"
                    "MIME-Version: 1.0\r\n"
                    "Content-Type: multipart/alternative; boundary=\"=_x\"\r\n\r\n"
                    "--=_x\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nNews of today.\r\n"
                    "--=_x\r\nContent-Type: text/html; charset=windows-1252\r\n"
                    "Content-Transfer-Encoding: quoted-printable\r\n\r\n"
                    "<html><body><h1>News</h1><p style=3D\"color:red\">of today: "
                    "<a href=3D\"https://www.example.com/?id=3D1\">read=\r\n more</a></p>"
                    "<img src=3D\"https://www.example.com/x.png\" width=3D\"1\"></body></html>\r\n"
                    "--=_x--\r\n");
    return out;
}

static GByteArray *
make_page(void)
{
    GByteArray *out = g_byte_array_new();
    sample_put(out, "<!DOCTYPE html>\n<html><head><title>A page</title>"
                    "<script>function f(x) { return unescape(x) + document.cookie; }</script>"
                    "<style>body { margin: 0 }</style></head><body>");
    for (unsigned i = 0; i < 200; i++) {
        g_autofree char *row =
            g_strdup_printf("<p id=\"p%u\">Row %u of <b>200</b>, <a href=\"/%u?a=b&amp;c\">more</a>"
                            "<form action=\"/f\"><input name=\"q\"></form></p>\n",
                            i, i, i * 7919);
        sample_put(out, row);
    }
    sample_put(out, "</body></html>\n");
    return out;
}

static GByteArray *
make_script(void)
{
    GByteArray *out = g_byte_array_new();
    sample_put(out, "#!/bin/sh\nset -e\nfor f in /var/log/*.log; do\n    gzip -9 \"$f\"\ndone\n"
                    "curl -s https://www.example.com/list | while read -r x; do echo \"$x\"; "
                    "done\n");
    return out;
}

/* One of each kind that people send. */
static GByteArray *
make_attachments(void)
{
    static const struct {
        const char *name;
        const char *type;
        GByteArray *(*make)(void);
    } parts[] = {
        {"minutes.docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
         sample_docx},
        {"invoice.pdf", "application/pdf", sample_pdf},
        {"figures.zip", "application/zip", sample_zip},
        {"logo.png", "image/png", sample_png},
    };
    GByteArray *out = g_byte_array_new();
    sample_put(out, "From: a@example.com\r\nTo: b@example.org\r\nSubject: Files\r\n"
                    "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=\"=_m\"\r\n\r\n"
                    "--=_m\r\nContent-Type: text/plain\r\n\r\nAs promised.\r\n");
    for (size_t i = 0; i < G_N_ELEMENTS(parts); i++) {
        g_autoptr(GByteArray) content = parts[i].make();
        sample_put(out, "--=_m\r\n");
        sample_put_base64(out, parts[i].type, parts[i].name, content->data, content->len);
    }
    sample_put(out, "--=_m--\r\n");
    return out;
}

/* Must be found */

static GByteArray *
make_eicar(void)
{
    GByteArray *out = g_byte_array_new();
    g_byte_array_set_size(out, EICAR_SIZE);
    eicar_bytes(out->data);
    return out;
}

static GByteArray *
make_eicar_mail(void)
{
    g_autoptr(GByteArray) eicar = make_eicar();
    GByteArray *out = g_byte_array_new();
    sample_put(out, "From: a@example.com\r\nSubject: test\r\nMIME-Version: 1.0\r\n");
    sample_put_base64(out, "application/octet-stream", "eicar.com", eicar->data, eicar->len);
    return out;
}

static GByteArray *
make_eicar_forwarded(void)
{
    g_autoptr(GByteArray) inner = make_eicar_mail();
    GByteArray *out = g_byte_array_new();
    sample_put(out, "From: b@example.com\r\nSubject: Fwd: test\r\nMIME-Version: 1.0\r\n"
                    "Content-Type: multipart/mixed; boundary=\"=_f\"\r\n\r\n"
                    "--=_f\r\nContent-Type: message/rfc822\r\n\r\n");
    g_byte_array_append(out, inner->data, inner->len);
    sample_put(out, "\r\n--=_f--\r\n");
    return out;
}

static GByteArray *
make_eicar_zip(void)
{
    g_autoptr(GByteArray) eicar = make_eicar();
    const struct sample_member inner = {"eicar.com", eicar->data, eicar->len};
    g_autoptr(GByteArray) zip = sample_zip_of(&inner, 1);
    const struct sample_member outer[] = {{"readme.txt", (const guint8 *)"Hello.\n", 7},
                                          {"inner.zip", zip->data, zip->len}};
    return sample_zip_of(outer, G_N_ELEMENTS(outer));
}

static GByteArray *
make_eicar_gzip(void)
{
    g_autoptr(GByteArray) eicar = make_eicar();
    return sample_gzip_of(eicar->data, eicar->len);
}

static GByteArray *
make_eicar_tar(void)
{
    g_autoptr(GByteArray) eicar = make_eicar();
    return sample_tar_of("eicar.com", eicar->data, eicar->len);
}

static const struct {
    const char *name;
    GByteArray *(*make)(void);
    bool infected;
} shipped[] = {
    {"EICAR", make_eicar, true},
    {"a mail with EICAR", make_eicar_mail, true},
    {"a forwarded mail with EICAR", make_eicar_forwarded, true},
    {"EICAR in a ZIP in a ZIP", make_eicar_zip, true},
    {"EICAR in a gzip file", make_eicar_gzip, true},
    {"EICAR in a tar archive", make_eicar_tar, true},
    {"a small mail", make_text_mail, false},
    {"an HTML mail", make_html_mail, false},
    {"a mail with four attachments", make_attachments, false},
    {"an office document", sample_docx, false},
    {"a PDF file", sample_pdf, false},
    {"a ZIP archive", sample_zip, false},
    {"a picture", sample_png, false},
    {"a program", sample_program, false},
    {"a shell script", make_script, false},
    {"a web page", make_page, false},
    {"a long text", make_prose, false},
    {"random bytes", make_noise, false},
    {"a file of repetitions", make_runs, false},
};

GPtrArray *
samples_shipped(void)
{
    GPtrArray *samples = g_ptr_array_new_with_free_func(sample_destroy);
    for (size_t i = 0; i < G_N_ELEMENTS(shipped); i++) {
        struct sample *sample = g_new0(struct sample, 1);
        sample->name = g_strdup(shipped[i].name);
        sample->content = g_byte_array_free_to_bytes(shipped[i].make());
        sample->infected = shipped[i].infected;
        sample->shipped = true;
        g_ptr_array_add(samples, sample);
    }
    return samples;
}

/* Files */

static int
by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

int
samples_add_dir(GPtrArray *samples, const char *dir, bool infected, char **error_r)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GDir) folder = g_dir_open(dir, 0, &error);
    g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);
    const char *name;
    if (folder == NULL) {
        *error_r = g_strdup(error->message);
        return -ENOENT;
    }
    while ((name = g_dir_read_name(folder)) != NULL && names->len < SAMPLES_DIR_MAX) {
        struct stat st;
        g_autofree char *path = g_build_filename(dir, name, NULL);
        if (name[0] != '.' && stat(path, &st) == 0 && S_ISREG(st.st_mode)) {
            g_ptr_array_add(names, g_strdup(name));
        }
    }
    g_ptr_array_sort(names, by_name);
    for (guint i = 0; i < names->len; i++) {
        struct sample *sample = g_new0(struct sample, 1);
        sample->name = g_strdup(g_ptr_array_index(names, i));
        sample->path = g_build_filename(dir, sample->name, NULL);
        sample->infected = infected;
        g_ptr_array_add(samples, sample);
    }
    return 0;
}

static int
copy(int from, int to, guint64 limit)
{
    char block[65536];
    guint64 bytes = 0;
    ssize_t n;
    while ((n = read(from, block, sizeof block)) > 0) {
        bytes += (guint64)n;
        int rc = bytes > limit ? -EFBIG : durable_write_all(to, block, (size_t)n);
        if (rc < 0) {
            return rc;
        }
    }
    return n < 0 ? -errno : 0;
}

static int
fill(const struct sample *sample, int memory, guint64 limit)
{
    if (sample->content != NULL) {
        gsize size;
        const void *data = g_bytes_get_data(sample->content, &size);
        return size > limit ? -EFBIG : durable_write_all(memory, data, size);
    }
    int fd = open(sample->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0) {
        return -errno;
    }
    int rc = copy(fd, memory, limit);
    close(fd);
    return rc;
}

int
sample_memfd(const struct sample *sample, guint64 limit)
{
    int memory = memfd_create("sample", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (memory < 0) {
        return -errno;
    }
    int rc = fill(sample, memory, limit);
    if (rc == 0 &&
        fcntl(memory, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) < 0) {
        rc = -errno;
    }
    if (rc < 0) {
        close(memory);
        return rc;
    }
    return memory;
}
