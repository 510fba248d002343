/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef FORMAT_H
#define FORMAT_H

/*
 * state_dir/format: the number of the state's format, one line. state.db has it too, and counts;
 * this one outlives a damaged state.db, so that a state made anew from its files is made in the
 * format that all nodes know. A state of version 2 or below has no such file.
 */

#define FORMAT_NAME "format"
/* What this Postern reads and writes; what each is stands in schema.h. */
#define FORMAT_OLDEST 2
#define FORMAT_NEWEST 3
/* From this one on envelopes have their parameters (esmtp.h). */
#define FORMAT_PARAMETERS 3

/* Returns 0, -ENOENT, -EBADMSG (no number), or -errno. */
int format_read(int dirfd, int *ret_format);
/* Durably. Returns 0 or -errno. */
int format_write(int dirfd, int format);

#endif
