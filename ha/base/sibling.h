/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef SIBLING_H
#define SIBLING_H

/* The program NAME of the same installation: beside this one, as in a build and in a private
 * instance, else where programs of that kind are installed. To be freed by g_free(). */
char *sibling_program(const char *name);

#endif
