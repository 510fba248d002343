/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef WARNINGS_H
#define WARNINGS_H

/* What GMime's parser complains of in one text, kept until it is known which entity it is in. */

#include <stdbool.h>
#include <gmime/gmime.h>

#include "facts.h"

struct warnings {
    GArray *list;    /* of struct warning */
    GArray *starts;  /* of struct start, of the entities */
    bool structural; /* one of them leaves in doubt which parts there are */
};

void warnings_begin(struct warnings *warnings);
/* A GMimeParserWarningFunc; DATA: struct warnings. */
void warnings_on_warning(gint64 offset, GMimeParserWarning code, const char *item, void *data);
/* The headers of the part PATH begin at OFFSET; -1 = unknown. */
void warnings_add_start(struct warnings *warnings, gint64 offset, const char *path);
/* Adds each to the last part that begins before it; to PATH what has no offset. Ends WARNINGS. */
void warnings_end(struct warnings *warnings, const char *path, struct facts *facts);

#endif
