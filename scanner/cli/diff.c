/* SPDX-License-Identifier: GPL-2.0-only */
#include "diff.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "cli.h"
#include "tool.h"

#define DIFF "/usr/bin/diff"
#define DIFF_MS 10000

static void
make_safe(char *text)
{
    for (; *text != '\0'; text++) {
        if ((g_ascii_iscntrl(*text) && *text != '\n' && *text != '\t') || *text == '\177') {
            *text = '?';
        }
    }
}

/* Every line, when there is no better way to show it. */
static void
append_all(GString *out, char sign, const char *text)
{
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    for (char **line = lines; *line != NULL; line++) {
        if (**line != '\0' || line[1] != NULL) {
            g_string_append_printf(out, "%c%s\n", sign, *line);
        }
    }
}

static char *
run_diff(const char *label, const char *path, const char *fresh)
{
    g_autofree char *new_label = g_strconcat(label, " (new)", NULL);
    g_autofree char *error = NULL;
    char *text = NULL;
    const char *const argv[] = {DIFF,      "-u", "-a", "--label", label, "--label",
                                new_label, "--", path, "-",       NULL};
    int rc = tool_output(argv, NULL, fresh, DIFF_MS, &text, &error);
    if (rc != 0 && rc != 1) {
        g_clear_pointer(&text, g_free);
    }
    return text;
}

char *
diff_text(const char *label, const char *old, const char *fresh)
{
    g_autofree char *path = NULL;
    char *text = NULL;
    if (strcmp(old, fresh) == 0) {
        return g_strdup("");
    }
    int fd = g_file_open_tmp("postern-diff-XXXXXX", &path, NULL);
    if (fd >= 0) {
        close(fd);
        if (g_file_set_contents(path, old, -1, NULL)) {
            text = run_diff(label, path, fresh);
        }
        (void)unlink(path);
    }
    if (text == NULL) {
        GString *all = g_string_new(NULL);
        g_string_append_printf(all, "--- %s\n+++ %s (new)\n", label, label);
        append_all(all, '-', old);
        append_all(all, '+', fresh);
        text = g_string_free(all, FALSE);
    }
    make_safe(text);
    return text;
}

/* Until there is an answer, or a signal that is blocked now: any other ends the program. */
static gboolean
wait_answer(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGHUP);
    int fd = signalfd(-1, &set, SFD_CLOEXEC);
    struct pollfd fds[] = {{.fd = fd, .events = POLLIN}, {.fd = STDIN_FILENO, .events = POLLIN}};
    while (poll(fds, G_N_ELEMENTS(fds), -1) < 0 && errno == EINTR) {
    }
    if (fd >= 0) {
        close(fd);
    }
    if (fds[0].revents != 0) {
        fputc('\n', stderr);
    }
    return fds[0].revents == 0;
}

gboolean
diff_confirm(const char *question)
{
    char answer[8] = "";
    if (!isatty(STDIN_FILENO)) {
        cli_fail("there is nobody to ask: --yes says that you want it, --dry-run only shows it");
        return FALSE;
    }
    (void)fflush(stdout);
    fprintf(stderr, "%s [y/N] ", question);
    return wait_answer() && fgets(answer, sizeof answer, stdin) != NULL &&
           (*answer == 'y' || *answer == 'Y');
}
