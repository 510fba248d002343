/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef CONTAINER_H
#define CONTAINER_H

/*
 * Files that hold other files, recognised by their first bytes. libclamav says "clean" of a
 * container that it does not open; so who scans must know that there was one.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* How the container is held to what it announces, beyond what libclamav reports of it. */
enum container_survey {
    SURVEY_NONE,
    SURVEY_ZIP,
    SURVEY_TAR,
    SURVEY_CPIO,
    SURVEY_LHA,
    SURVEY_GZIP,
    SURVEY_BZIP2,
    SURVEY_XZ,
};

struct container {
    const char *name; /* "RAR archive" */
    bool opened;      /* libclamav has code for it; else nobody here ever looks inside */
    enum container_survey survey;
};

/*
 * The container that the LEN bytes at DATA are, or NULL. CLAM_TYPE is what libclamav calls them
 * ("CL_TYPE_OLD_TAR"), for the kinds without a magic number; NULL = unknown.
 */
const struct container *container_detect(const unsigned char *data, size_t len,
                                         const char *clam_type);

/* What a ZIP's central directory says. */
struct zip_survey {
    bool found;         /* there is a central directory, and it could be read to its end */
    unsigned entries;   /* all, directories too */
    unsigned members;   /* of more than 5 bytes: libclamav ignores what is smaller */
    unsigned encrypted; /* of them */
    uint64_t bytes;     /* of the members that are not encrypted, unpacked */
    int method;         /* a compression method that libclamav does not know, -1 = none */
};
struct zip_survey container_survey_zip(const unsigned char *data, size_t len);

#endif
