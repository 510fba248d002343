/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef NEAREST_H
#define NEAREST_H

/*
 * The one of the NULL-terminated NAMES that somebody who typed TYPED most likely meant: at most
 * one edit in three letters away. NULL when none is near. Borrowed.
 */
const char *nearest_name(const char *typed, const char *const names[]);

#endif
