/* SPDX-License-Identifier: GPL-2.0-only */
#include "config.h"
#include "sample-files.h"

#include <string.h>
#include <zlib.h>

#define RAW_DEFLATE (-15)
#define GZIP_DEFLATE (15 + 16)
#define ZLIB_DEFLATE 15
#define LINE 76

guint32
sample_random(guint32 *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 17;
    *seed ^= *seed << 5;
    return *seed;
}

void
sample_put(GByteArray *out, const char *text)
{
    g_byte_array_append(out, (const guint8 *)text, (guint)strlen(text));
}

void
sample_put_base64(GByteArray *out, const char *type, const char *name, const guint8 *data,
                  guint size)
{
    g_autofree char *text = g_base64_encode(data, size);
    g_autofree char *head = g_strdup_printf("Content-Type: %s; name=\"%s\"\r\n"
                                            "Content-Disposition: attachment; filename=\"%s\"\r\n"
                                            "Content-Transfer-Encoding: base64\r\n\r\n",
                                            type, name, name);
    gsize len = strlen(text);
    sample_put(out, head);
    for (gsize at = 0; at < len; at += LINE) {
        g_byte_array_append(out, (const guint8 *)text + at, (guint)MIN(len - at, LINE));
        sample_put(out, "\r\n");
    }
}

static void
put_le(GByteArray *out, guint64 value, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++) {
        guint8 byte = i < sizeof value ? (guint8)(value >> 8 * i) : 0;
        g_byte_array_append(out, &byte, 1);
    }
}

static void
put_be32(GByteArray *out, guint32 value)
{
    const guint32 swapped = GUINT32_TO_BE(value);
    g_byte_array_append(out, (const guint8 *)&swapped, sizeof swapped);
}

static GByteArray *
deflated(const guint8 *data, guint size, int window)
{
    z_stream stream = {.zalloc = Z_NULL};
    GByteArray *out = g_byte_array_new();
    if (deflateInit2(&stream, Z_BEST_COMPRESSION, Z_DEFLATED, window, 8, Z_DEFAULT_STRATEGY) !=
        Z_OK) {
        return out;
    }
    g_byte_array_set_size(out, (guint)deflateBound(&stream, size));
    stream.next_in = (guint8 *)(guintptr)data;
    stream.avail_in = size;
    stream.next_out = out->data;
    stream.avail_out = out->len;
    (void)deflate(&stream, Z_FINISH);
    g_byte_array_set_size(out, (guint)stream.total_out);
    (void)deflateEnd(&stream);
    return out;
}

/* ZIP */

/* What a local header and a central one have in common. */
static void
put_zip_fields(GByteArray *zip, const struct sample_member *member, guint packed)
{
    put_le(zip, 20, 2);
    put_le(zip, 0, 2);
    put_le(zip, 8, 2);
    put_le(zip, 0x56214000, 4);
    put_le(zip, crc32(0, member->data, member->size), 4);
    put_le(zip, packed, 4);
    put_le(zip, member->size, 4);
    put_le(zip, strlen(member->name), 2);
    put_le(zip, 0, 2);
}

GByteArray *
sample_zip_of(const struct sample_member *members, guint n)
{
    GByteArray *zip = g_byte_array_new();
    g_autoptr(GByteArray) directory = g_byte_array_new();
    for (guint i = 0; i < n; i++) {
        g_autoptr(GByteArray) packed = deflated(members[i].data, members[i].size, RAW_DEFLATE);
        guint at = zip->len;
        put_le(zip, 0x04034b50, 4);
        put_zip_fields(zip, &members[i], packed->len);
        sample_put(zip, members[i].name);
        g_byte_array_append(zip, packed->data, packed->len);
        put_le(directory, 0x02014b50, 4);
        put_le(directory, 20, 2);
        put_zip_fields(directory, &members[i], packed->len);
        put_le(directory, 0, 2 + 2 + 2 + 4);
        put_le(directory, at, 4);
        sample_put(directory, members[i].name);
    }
    guint at = zip->len;
    g_byte_array_append(zip, directory->data, directory->len);
    put_le(zip, 0x06054b50, 4);
    put_le(zip, 0, 4);
    put_le(zip, n, 2);
    put_le(zip, n, 2);
    put_le(zip, directory->len, 4);
    put_le(zip, at, 4);
    put_le(zip, 0, 2);
    return zip;
}

static struct sample_member
text_member(const char *name, const char *text)
{
    return (struct sample_member){name, (const guint8 *)text, (guint)strlen(text)};
}

GByteArray *
sample_zip(void)
{
    const struct sample_member members[] = {
        text_member("figures/2023.csv", "month,sum\nJanuary,120\nFebruary,98\nMarch,143\n"),
        text_member("figures/readme.txt", "All sums in euros.\n"),
    };
    return sample_zip_of(members, G_N_ELEMENTS(members));
}

GByteArray *
sample_docx(void)
{
#define XML "<?xml version=\"1.0\" encoding=\"UTF-8\" standalone=\"yes\"?>"
#define OPC "http://schemas.openxmlformats.org/package/2006/"
#define OOXML "application/vnd.openxmlformats-officedocument.wordprocessingml."
    const struct sample_member members[] = {
        text_member("[Content_Types].xml",
                    XML "<Types xmlns=\"" OPC "content-types\">"
                        "<Default Extension=\"rels\" ContentType=\"application/"
                        "vnd.openxmlformats-package.relationships+xml\"/>"
                        "<Override PartName=\"/word/document.xml\" ContentType=\"" OOXML
                        "document.main+xml\"/></Types>"),
        text_member("_rels/.rels",
                    XML "<Relationships xmlns=\"" OPC "relationships\">"
                        "<Relationship Id=\"r1\" Type=\"http://schemas.openxmlformats.org/"
                        "officeDocument/2006/relationships/officeDocument\" "
                        "Target=\"word/document.xml\"/></Relationships>"),
        text_member("word/document.xml",
                    XML "<w:document xmlns:w=\"http://schemas.openxmlformats.org/"
                        "wordprocessingml/2006/main\"><w:body><w:p><w:r><w:t>Minutes of the "
                        "meeting of Tuesday.</w:t></w:r></w:p></w:body></w:document>"),
    };
    return sample_zip_of(members, G_N_ELEMENTS(members));
}

GByteArray *
sample_gzip_of(const guint8 *data, guint size)
{
    return deflated(data, size, GZIP_DEFLATE);
}

GByteArray *
sample_tar_of(const char *name, const guint8 *data, guint size)
{
    static const char magic[] = {'u', 's', 't', 'a', 'r', '\0', '0', '0'};
    GByteArray *tar = g_byte_array_new();
    char head[512] = "";
    unsigned sum = 0;
    g_strlcpy(head, name, 100);
    g_snprintf(head + 100, 8, "%07o", 0644U);
    g_snprintf(head + 108, 8, "%07o", 0U);
    g_snprintf(head + 116, 8, "%07o", 0U);
    g_snprintf(head + 124, 12, "%011o", size);
    g_snprintf(head + 136, 12, "%011o", 0U);
    memset(head + 148, ' ', 8);
    head[156] = '0';
    memcpy(head + 257, magic, sizeof magic);
    for (size_t i = 0; i < sizeof head; i++) {
        sum += (guint8)head[i];
    }
    g_snprintf(head + 148, 8, "%06o", sum);
    g_byte_array_append(tar, (const guint8 *)head, sizeof head);
    g_byte_array_append(tar, data, size);
    put_le(tar, 0, (512 - size % 512) % 512 + 1024);
    return tar;
}

/* PDF */

GByteArray *
sample_pdf(void)
{
    static const char *const objects[] = {
        "<< /Type /Catalog /Pages 2 0 R >>",
        "<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 5 0 R "
        "/Resources << /Font << /F1 4 0 R >> >> >>",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    };
    static const char page[] = "BT /F1 24 Tf 72 720 Td (Invoice 1998) Tj ET\n";
    guint offsets[G_N_ELEMENTS(objects) + 1];
    guint n = G_N_ELEMENTS(objects);
    GByteArray *pdf = g_byte_array_new();
    g_autoptr(GByteArray) packed = deflated((const guint8 *)page, sizeof page - 1, ZLIB_DEFLATE);
    sample_put(pdf, "%PDF-1.4\n");
    for (guint i = 0; i < n; i++) {
        g_autofree char *text = g_strdup_printf("%u 0 obj\n%s\nendobj\n", i + 1, objects[i]);
        offsets[i] = pdf->len;
        sample_put(pdf, text);
    }
    offsets[n] = pdf->len;
    g_autofree char *head = g_strdup_printf(
        "%u 0 obj\n<< /Length %u /Filter /FlateDecode >>\nstream\n", n + 1, packed->len);
    sample_put(pdf, head);
    g_byte_array_append(pdf, packed->data, packed->len);
    sample_put(pdf, "\nendstream\nendobj\n");
    guint table = pdf->len;
    g_autofree char *title = g_strdup_printf("xref\n0 %u\n0000000000 65535 f \n", n + 2);
    sample_put(pdf, title);
    for (guint i = 0; i <= n; i++) {
        g_autofree char *row = g_strdup_printf("%010u 00000 n \n", offsets[i]);
        sample_put(pdf, row);
    }
    g_autofree char *end = g_strdup_printf(
        "trailer\n<< /Size %u /Root 1 0 R >>\nstartxref\n%u\n%%%%EOF\n", n + 2, table);
    sample_put(pdf, end);
    return pdf;
}

/* PNG */

static void
put_chunk(GByteArray *png, const char *type, const guint8 *data, guint size)
{
    put_be32(png, size);
    guint at = png->len;
    sample_put(png, type);
    g_byte_array_append(png, data, size);
    put_be32(png, (guint32)crc32(0, png->data + at, png->len - at));
}

GByteArray *
sample_png(void)
{
    static const guint8 magic[] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};
    static const guint8 grey_16x16[] = {0, 0, 0, 16, 0, 0, 0, 16, 8, 0, 0, 0, 0};
    guint8 rows[16 * 17];
    GByteArray *png = g_byte_array_new();
    for (guint i = 0; i < sizeof rows; i++) {
        rows[i] = i % 17 == 0 ? 0 : (guint8)(i * 3);
    }
    g_autoptr(GByteArray) packed = deflated(rows, sizeof rows, ZLIB_DEFLATE);
    g_byte_array_append(png, magic, sizeof magic);
    put_chunk(png, "IHDR", grey_16x16, sizeof grey_16x16);
    put_chunk(png, "IDAT", packed->data, packed->len);
    put_chunk(png, "IEND", magic, 0);
    return png;
}

/* PE */

#define PE_FILE_ALIGN 512U
#define PE_CODE_SIZE (48U * 1024)

static void
put_pe_headers(GByteArray *pe)
{
    g_byte_array_append(pe, (const guint8 *)"MZ", 2);
    put_le(pe, 0, 58);
    put_le(pe, 64, 4);
    g_byte_array_append(pe, (const guint8 *)"PE\0\0", 4);
    put_le(pe, 0x014c, 2); /* i386 */
    put_le(pe, 1, 2);      /* sections */
    put_le(pe, 0x63b2a000, 4);
    put_le(pe, 0, 8);
    put_le(pe, 224, 2);    /* optional header */
    put_le(pe, 0x0102, 2); /* executable, 32 bit */
    put_le(pe, 0x010b, 2);
    put_le(pe, 0, 2);
    put_le(pe, PE_CODE_SIZE, 4);
    put_le(pe, 0, 8);
    put_le(pe, 0x1000, 4); /* entry */
    put_le(pe, 0x1000, 4);
    put_le(pe, 0x1000 + PE_CODE_SIZE, 4);
    put_le(pe, 0x400000, 4);
    put_le(pe, 0x1000, 4);
    put_le(pe, PE_FILE_ALIGN, 4);
    put_le(pe, 4, 4);
    put_le(pe, 0, 4);
    put_le(pe, 4, 4);
    put_le(pe, 0, 4);
    put_le(pe, 0x1000 + PE_CODE_SIZE, 4); /* in memory */
    put_le(pe, PE_FILE_ALIGN, 4);         /* headers */
    put_le(pe, 0, 4);
    put_le(pe, 3, 2); /* console */
    put_le(pe, 0, 2);
    for (unsigned i = 0; i < 4; i++) {
        put_le(pe, i % 2 == 0 ? 0x100000 : 0x1000, 4); /* stack and heap */
    }
    put_le(pe, 0, 4);
    put_le(pe, 16, 4);
    put_le(pe, 0, 128);
}

GByteArray *
sample_program(void)
{
    GByteArray *pe = g_byte_array_new();
    guint32 seed = 3;
    put_pe_headers(pe);
    g_byte_array_append(pe, (const guint8 *)".text\0\0", 8);
    put_le(pe, PE_CODE_SIZE, 4);
    put_le(pe, 0x1000, 4);
    put_le(pe, PE_CODE_SIZE, 4);
    put_le(pe, PE_FILE_ALIGN, 4);
    put_le(pe, 0, 12);
    put_le(pe, 0x60000020, 4); /* code, executable, readable */
    put_le(pe, 0, PE_FILE_ALIGN - pe->len);
    put_le(pe, 0xc3c031, 3); /* xor eax, eax; ret */
    while (pe->len < PE_FILE_ALIGN + PE_CODE_SIZE) {
        /* Bytes as frequent as in code: mov, push, call, int3 between others. */
        static const guint8 usual[] = {0x8b, 0x55, 0x89, 0xe8, 0xff, 0x00, 0x83, 0xcc};
        guint32 chance = sample_random(&seed);
        guint8 byte = chance % 3 == 0 ? (guint8)(chance >> 9) : usual[chance >> 5 & 7];
        g_byte_array_append(pe, &byte, 1);
    }
    return pe;
}
