/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef EICAR_H
#define EICAR_H

/*
 * The EICAR test file (https://www.eicar.org/download-anti-malware-testfile/), which every
 * scanner must find and no scanner must find here: it is stored as the signature that matches it.
 */

#include <stddef.h>

#define EICAR_SIZE 68
#define EICAR_NAME "Postern.Test.EICAR"

/*
 * The built-in signature set, one line in libclamav's .ndb format: EICAR at offset 0 of an object
 * of any type. Not elsewhere: mail that merely quotes EICAR is no virus.
 */
const char *eicar_signature(void);

/* The test file itself. */
void eicar_bytes(unsigned char ret_bytes[EICAR_SIZE]);

#endif
