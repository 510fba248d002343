/* SPDX-License-Identifier: GPL-2.0-only */
#include "terminal.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

char *
terminal_colour(enum colour colour, const char *text)
{
    static const char *const codes[] = {
        [COLOUR_GOOD] = "32", [COLOUR_BAD] = "1;31", [COLOUR_DOUBT] = "33"};
    const char *off = getenv("NO_COLOR");
    if (!isatty(STDOUT_FILENO) || (off != NULL && *off != '\0')) {
        return g_strdup(text);
    }
    return g_strdup_printf("\033[%sm%s\033[0m", codes[colour], text);
}

char *
terminal_time(gint64 unix_seconds)
{
    g_autoptr(GDateTime) then = g_date_time_new_from_unix_local(unix_seconds);
    g_autoptr(GDateTime) now = g_date_time_new_now_local();
    if (then == NULL) {
        return g_strdup("-");
    }
    gboolean today = g_date_time_get_year(then) == g_date_time_get_year(now) &&
                     g_date_time_get_day_of_year(then) == g_date_time_get_day_of_year(now);
    return g_date_time_format(then, today ? "%H:%M:%S" : "%Y-%m-%d %H:%M:%S");
}

char *
terminal_size(guint64 bytes)
{
    char *text = g_format_size_full(bytes, G_FORMAT_SIZE_IEC_UNITS);
    char *space = strstr(text, "\302\240"); /* a no-break space, which not every terminal has */
    if (space != NULL) {
        *space = ' ';
        memmove(space + 1, space + 2, strlen(space + 2) + 1);
    }
    return text;
}

size_t
terminal_width(int fd)
{
    struct winsize size;
    if (ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) {
        return size.ws_col;
    }
    return 80;
}

struct table {
    const char *const *titles;
    guint columns;
    GPtrArray *rows; /* of char ** */
};

struct table *
table_new(const char *const titles[])
{
    struct table *table = g_new0(struct table, 1);
    table->titles = titles;
    table->columns = g_strv_length((char **)(uintptr_t)titles);
    table->rows = g_ptr_array_new_with_free_func((GDestroyNotify)g_strfreev);
    return table;
}

void
table_add(struct table *table, char **row)
{
    g_assert(g_strv_length(row) == table->columns);
    g_ptr_array_add(table->rows, row);
}

/* Columns that TEXT takes: colours take none. */
static glong
shown_width(const char *text)
{
    glong width = 0;
    while (*text != '\0') {
        size_t plain = strcspn(text, "\033");
        width += g_utf8_strlen(text, (gssize)plain);
        text += plain;
        if (*text != '\0') {
            text += strcspn(text, "m");
            text += *text == 'm' ? 1 : 0;
        }
    }
    return width;
}

static glong
width_of(const struct table *table, guint column)
{
    glong width = shown_width(table->titles[column]);
    for (guint i = 0; i < table->rows->len; i++) {
        char **row = g_ptr_array_index(table->rows, i);
        width = MAX(width, shown_width(row[column]));
    }
    return width;
}

static void
row_print(const struct table *table, const char *const row[], const glong widths[], FILE *out)
{
    for (guint column = 0; column < table->columns; column++) {
        gboolean last = column + 1 == table->columns;
        glong pad = last ? 0 : widths[column] - shown_width(row[column]) + 2;
        fprintf(out, "%s%*s%s", row[column], (int)pad, "", last ? "\n" : "");
    }
}

void
table_print(struct table *table, FILE *out)
{
    g_autofree glong *widths = g_new0(glong, table->columns);
    for (guint column = 0; column < table->columns; column++) {
        widths[column] = width_of(table, column);
    }
    row_print(table, table->titles, widths, out);
    for (guint i = 0; i < table->rows->len; i++) {
        row_print(table, g_ptr_array_index(table->rows, i), widths, out);
    }
    table_free(table);
}

void
table_free(struct table *table)
{
    if (table != NULL) {
        g_ptr_array_unref(table->rows);
        g_free(table);
    }
}
