/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef SETTINGS_TEXT_H
#define SETTINGS_TEXT_H

/*
 * Makes spaces of the comments in a configuration, in place; line ends stay. libconfuse 3.3 counts
 * the line of a comment three times, without comments it counts well.
 */
void settings_text_blank(char *text);

#endif
