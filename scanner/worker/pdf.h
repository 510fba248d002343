/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef PDF_H
#define PDF_H

#include <stdbool.h>
#include <stddef.h>

/*
 * The PDF is encrypted, and holds an attached file whose dictionary has a hexadecimal string.
 * Without a password libclamav decrypts what it decodes, but behind such a string it does not find
 * the filter, decodes nothing, and shows the stream as it is: encrypted.
 */
bool pdf_hides_files(const unsigned char *data, size_t len);

#endif
