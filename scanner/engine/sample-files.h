/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef SAMPLE_FILES_H
#define SAMPLE_FILES_H

/*
 * Small whole files of the kinds that people send, made from nothing. Every maker gives a new
 * array. Sources: APPNOTE.TXT 6.3 (ZIP), ECMA-376 part 2 (OPC), PDF 32000-1, the PNG and PE/COFF
 * specifications, RFC 1952, POSIX ustar.
 */

#include <glib.h>

struct sample_member {
    const char *name;
    const guint8 *data;
    guint size;
};

GByteArray *sample_zip_of(const struct sample_member *members, guint n);
GByteArray *sample_gzip_of(const guint8 *data, guint size);
GByteArray *sample_tar_of(const char *name, const guint8 *data, guint size);

GByteArray *sample_docx(void);
GByteArray *sample_zip(void);
GByteArray *sample_pdf(void);
GByteArray *sample_png(void);
/* A PE file with one section, which returns at once if somebody runs it. */
GByteArray *sample_program(void);

/* Appends TEXT. */
void sample_put(GByteArray *out, const char *text);
/* Appends the headers and the body of a MIME part. */
void sample_put_base64(GByteArray *out, const char *type, const char *name, const guint8 *data,
                       guint size);
/* The next of a fixed sequence (xorshift); SEED is not 0. */
guint32 sample_random(guint32 *seed);

#endif
