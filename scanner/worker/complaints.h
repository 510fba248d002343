/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef COMPLAINTS_H
#define COMPLAINTS_H

/* How often GLib and GMime complained of themselves (assertions on their arguments). */

/* From now on they are counted and not printed; once per process. */
void complaints_begin(void);
unsigned complaints_number(void);

#endif
