/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef TERMINAL_H
#define TERMINAL_H

/* What people see: colours (only on a terminal, and not with NO_COLOR set), times, tables. */

#include <stdio.h>
#include <glib.h>

enum colour { COLOUR_GOOD, COLOUR_BAD, COLOUR_DOUBT };

/* TEXT for stdout, coloured when that is a terminal; freed by g_free(). */
char *terminal_colour(enum colour colour, const char *text);

/* Local time: "12:03:10" today, else "2026-03-01 12:03:10"; freed by g_free(). */
char *terminal_time(gint64 unix_seconds);
/* 1536 -> "1.5 KiB"; freed by g_free(). */
char *terminal_size(guint64 bytes);

/* Columns of the terminal FD; 80 when it is none. */
size_t terminal_width(int fd);

struct table;

/* A table with these columns (NULL-terminated; kept). */
struct table *table_new(const char *const titles[]);
/* Adds a row: as many texts as columns, all taken over. They must be escaped; colours are fine. */
void table_add(struct table *table, char **row);
/* Prints it in columns as wide as their content, and frees it. */
void table_print(struct table *table, FILE *out);
/* Without printing; NULL is fine. */
void table_free(struct table *table);

#endif
