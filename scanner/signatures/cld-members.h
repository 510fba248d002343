/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef CLD_MEMBERS_H
#define CLD_MEMBERS_H

/*
 * Whether a CLD, which freshclam makes of a CVD and differences, has all its files. After the head
 * (cvd-head.h) it is a plain tar, mostly without an end mark, of regular files: COPYING, NAME.info
 * and the signatures. NAME.info is "ClamAV-VDB:..." (the head again), a line "FILE:BYTES:SHA256"
 * for each file, and "DSIG:" with a signature over what is before it.
 *
 * libclamav 1.4 (cvd.c, readdb.c; tried with 1.4.6) loads no CLD whose .info is missing or not
 * signed by ClamAV, and none with a file that is not as the .info lists it; but it misses none, and
 * compares none of zero bytes. So the list can be believed of what it will load, and only
 * whether all is there is looked at here. A CVD needs nothing: it is signed as a whole, and
 * libclamav verifies that each time it loads one.
 */

/*
 * Whether the file FD (read with pread) that is to be called NAME has all that it lists; one whose
 * NAME does not end in .cld has. SHOWN, escaped, begins the sentence. Returns 0, -EBADMSG
 * (something is missing, cut, or cannot be understood; compressed ones too, which freshclam makes
 * only with CompressLocalDatabase), or -errno, with one sentence.
 */
int cld_members_check(int fd, const char *name, const char *shown, char **error_r);

#endif
