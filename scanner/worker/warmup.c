/* SPDX-License-Identifier: GPL-2.0-only */
#include "config.h"
#include "warmup.h"

#include <errno.h>
#include <glob.h>
#include <iconv.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <openssl/evp.h>

#include "facts.h"
#include "mime.h"
#include "scan.h"

/* Where glibc lists its character sets, on every layout of libraries. */
static const char *const charset_lists[] = {
    "/usr/lib/*/gconv/gconv-modules", "/usr/lib/*/gconv/gconv-modules.d/*.conf",
    "/usr/lib/gconv/gconv-modules",   "/usr/lib/gconv/gconv-modules.d/*.conf",
    "/usr/lib64/gconv/gconv-modules", "/usr/lib64/gconv/gconv-modules.d/*.conf",
};

/* Kept for the life of the process. */
static GPtrArray *conversions;

static void
open_conversion(const char *to, const char *from)
{
    iconv_t conversion = iconv_open(to, from);
    if (conversion != (iconv_t)-1) {
        g_ptr_array_add(conversions, conversion);
    }
}

/* Lines are "module FROM// TO// FILE COST"; each set stands there once in either direction. */
static void
open_listed(const char *path)
{
    g_autofree char *text = NULL;
    if (!g_file_get_contents(path, &text, NULL, NULL)) {
        return;
    }
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    for (char **line = lines; *line != NULL; line++) {
        char name[64];
        if (sscanf(*line, "module %63[^/ \t]", name) == 1 && strcmp(name, "INTERNAL") != 0) {
            open_conversion("UTF-8", name);
            open_conversion(name, "UTF-8");
        }
    }
}

unsigned
warmup_charsets(void)
{
    if (conversions == NULL) {
        conversions = g_ptr_array_new();
    }
    for (size_t i = 0; i < G_N_ELEMENTS(charset_lists); i++) {
        glob_t found;
        if (glob(charset_lists[i], 0, NULL, &found) == 0) {
            for (size_t k = 0; k < found.gl_pathc; k++) {
                open_listed(found.gl_pathv[k]);
            }
            globfree(&found);
        }
    }
    return conversions->len;
}

static void
warmup_digests(void)
{
    static const char *const names[] = {"MD5", "SHA1", "SHA256", "SHA384", "SHA512"};
    unsigned char out[EVP_MAX_MD_SIZE];
    for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
        EVP_Digest("", 0, out, NULL, EVP_get_digestbyname(names[i]), NULL);
    }
}

static void
warmup_time(void)
{
    struct tm tm;
    time_t now = time(NULL);
    tzset();
    (void)localtime_r(&now, &tm);
    g_autoptr(GDateTime) local = g_date_time_new_now_local();
}

/* One mail through every stage, with a name and a text in a foreign character set. */
static int
warmup_scan(struct clam *clam, const struct orders *orders, char **error_r)
{
    static const char mail[] =
        "From: =?koi8-r?B?79TExcw=?= <a@example.com>\r\n"
        "To: b@example.com\r\n"
        "Subject: =?iso-2022-jp?B?GyRCRnxLXBsoQg==?=\r\n"
        "MIME-Version: 1.0\r\n"
        "Content-Type: multipart/mixed; boundary=\"b\"\r\n\r\n"
        "--b\r\nContent-Type: text/html; charset=windows-1252\r\n"
        "Content-Transfer-Encoding: quoted-printable\r\n\r\n"
        "<html><body>=E4 <a href=3D\"http://example.com/\">x</a></body></html>\r\n"
        "--b\r\nContent-Type: application/octet-stream;\r\n"
        " name*=utf-8''%e2%82%ac.bin\r\n"
        "Content-Transfer-Encoding: base64\r\n\r\nAAECAwQFBgcICQ==\r\n"
        "--b--\r\n";
    g_autoptr(facts_t) facts =
        scan_object(clam, orders, (const unsigned char *)mail, sizeof mail - 1);
    if (facts_verdict(facts) == VERDICT_INFECTED) {
        *error_r = g_strdup_printf("the first trial scan, a harmless mail, is called %s",
                                   (const char *)g_ptr_array_index(facts->detections, 0));
        return -EIO;
    }
    if (facts_verdict(facts) != VERDICT_CLEAN) {
        const char *why = facts->faults->len > 0 ? g_ptr_array_index(facts->faults, 0)
                                                 : verdict_name(facts_verdict(facts));
        *error_r = g_strdup_printf("the first trial scan ended with: %s", why);
        return -EIO;
    }
    return 0;
}

int
warmup(struct clam *clam, const struct orders *orders, char **error_r)
{
    warmup_digests();
    warmup_time();
    warmup_charsets();
    mime_init();
    return warmup_scan(clam, orders, error_r);
}
