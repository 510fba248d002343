/* SPDX-License-Identifier: GPL-2.0-only */
/* Probes against a server that follows a script: every way in which an attempt can end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <unistd.h>

#include "probe-run.h"

/* A server: what it says, line by line; after "" it hangs up. NULL = nobody listens. */
struct server {
    int sock;
    struct sockaddr_storage address;
    const char *const *script;
    GThread *thread;
    GString *heard;
};

struct result {
    sd_event *event;
    enum probe_end end;
    int code;
    char *text;
};

static void
open_port(struct server *s)
{
    struct sockaddr_in *address = (struct sockaddr_in *)&s->address;
    socklen_t size = sizeof *address;
    *address =
        (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    s->sock = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(s->sock, (struct sockaddr *)address, size), 0);
    assert_int_equal(getsockname(s->sock, (struct sockaddr *)address, &size), 0);
}

/* A message's end is the only line that is a dot. */
static void
hear(struct server *s, FILE *peer, gboolean message)
{
    char line[4096];
    while (fgets(line, sizeof line, peer) != NULL) {
        g_string_append(s->heard, line);
        if (!message || strcmp(line, ".\r\n") == 0) {
            break;
        }
    }
}

static void *
serve(void *data)
{
    struct server *s = data;
    FILE *peer = fdopen(accept4(s->sock, NULL, NULL, SOCK_CLOEXEC), "r+");
    gboolean message = FALSE;
    for (const char *const *say = s->script; *say != NULL && **say != '\0'; say++) {
        if (say != s->script) {
            hear(s, peer, message);
        }
        message = g_str_has_prefix(*say, "354");
        fprintf(peer, "%s\r\n", *say);
        fflush(peer);
        fseek(peer, 0, SEEK_CUR);
    }
    hear(s, peer, message);
    fclose(peer);
    return NULL;
}

static void
on_done(struct smtp_probe *probe, enum probe_end end, int code, const char *text, void *data)
{
    struct result *r = data;
    (void)probe;
    r->end = end;
    r->code = code;
    r->text = g_strdup(text);
    (void)sd_event_exit(r->event, 0);
}

static enum probe_end
attempt(const char *const script[], int *code_r, GString *heard)
{
    struct server s = {.script = script, .heard = heard};
    struct result r = {.end = PROBE_ENDS};
    struct smtp_probe *probe = NULL;
    open_port(&s);
    if (script != NULL) {
        assert_int_equal(listen(s.sock, 5), 0);
        s.thread = g_thread_new("server", serve, &s);
    }
    assert_true(sd_event_new(&r.event) >= 0);
    const struct probe_message message = {
        .server = &s.address, .sender = "", .recipient = "to@b", .text = "Subject: x\r\n\r\ny\r\n"};
    assert_int_equal(smtp_probe_start(r.event, &message, on_done, &r, &probe), 0);
    assert_true(sd_event_loop(r.event) >= 0);
    if (s.thread != NULL) {
        g_thread_join(s.thread);
    }
    close(s.sock);
    sd_event_unref(r.event);
    g_free(r.text);
    *code_r = r.code;
    return r.end;
}

#define WELCOME "220 hello", "250-mail\r\n250 8BITMIME", "250 ok", "250 ok"

static void
test_ends(void **state)
{
    static const struct {
        const char *script[8];
        enum probe_end end;
        int code;
    } cases[] = {
        {{WELCOME, "354 go", "250 2.0.0 taken"}, PROBE_ACCEPTED, 250},
        {{WELCOME, "354 go", "550 5.7.1 infected"}, PROBE_REFUSED, 550},
        {{WELCOME, "354 go", "451 later"}, PROBE_LATER, 451},
        {{"220 hello", "250 mail", "451 4.3.2 not ready"}, PROBE_LATER, 451},
        {{"421 busy"}, PROBE_LATER, 421},
        {{"220 hello", "250 mail", "250 ok", "554 5.7.1 relay"}, PROBE_UNWANTED, 554},
        {{"220 hello", ""}, PROBE_BROKEN, 0},
        {{"this is no mail server"}, PROBE_BROKEN, 0},
        {{WELCOME, "354 go", ""}, PROBE_UNCERTAIN, 0},
    };
    (void)state;
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(GString) heard = g_string_new(NULL);
        int code;
        print_message("%zu\n", i);
        assert_int_equal(attempt(cases[i].script, &code, heard), cases[i].end);
        assert_int_equal(code, cases[i].code);
    }
}

static void
test_what_is_said(void **state)
{
    static const char *const script[] = {WELCOME, "354 go", "250 taken", NULL};
    g_autoptr(GString) heard = g_string_new(NULL);
    int code;
    (void)state;
    assert_int_equal(attempt(script, &code, heard), PROBE_ACCEPTED);
    assert_non_null(strstr(heard->str, "EHLO [127.0.0.1]\r\nMAIL FROM:<>\r\nRCPT TO:<to@b>\r\n"
                                       "DATA\r\nSubject: x\r\n\r\ny\r\n.\r\n"));
}

static void
test_nobody_listens(void **state)
{
    int code;
    (void)state;
    assert_int_equal(attempt(NULL, &code, NULL), PROBE_NO_CONTACT);
}

/* A run: each probe is tried until it has an answer for good, and all are accounted for. */

static void
turn(struct server *s, const char *verdict)
{
    static const char *const welcome[] = {WELCOME, "354 go"};
    FILE *peer = fdopen(accept4(s->sock, NULL, NULL, SOCK_CLOEXEC), "r+");
    for (size_t i = 0; i < G_N_ELEMENTS(welcome); i++) {
        fprintf(peer, "%s\r\n", welcome[i]);
        fflush(peer);
        fseek(peer, 0, SEEK_CUR);
        hear(s, peer, i + 1 == G_N_ELEMENTS(welcome));
        fseek(peer, 0, SEEK_CUR);
    }
    fprintf(peer, "%s\r\n", verdict);
    fclose(peer);
}

static void *
serve_run(void *data)
{
    turn(data, "451 not ready");
    turn(data, "550 infected");
    return NULL;
}

static void
test_run(void **state)
{
    struct server s = {.heard = g_string_new(NULL)};
    struct probe_plan plan = {
        .sender = "", .recipient = "to@b", .run = "abcd", .rate = 0.01, .infected_every = 1};
    struct probe_run *run = NULL;
    struct probe_sums sums;
    g_autofree char *error = NULL;
    (void)state;
    open_port(&s);
    assert_int_equal(listen(s.sock, 5), 0);
    s.thread = g_thread_new("server", serve_run, &s);
    plan.server = s.address;
    assert_int_equal(probe_run_start(&plan, &run, &error), 0);
    g_thread_join(s.thread);
    struct probe_log *log = probe_run_finish(run, 60000);
    probe_log_sums(log, &sums);
    assert_int_equal(log->tries->len, 2);
    assert_int_equal(sums.infected, 1);
    assert_int_equal(sums.infected_refused, 1);
    assert_int_equal(sums.open, 0);
    assert_non_null(strstr(s.heard->str, "Subject: postern drill abcd probe 0 (test virus)"));
    probe_log_free(log);
    g_string_free(s.heard, TRUE);
    close(s.sock);
}

/* Nobody there: what is open at the end is said to be open. */
static void
test_run_without_an_end(void **state)
{
    struct server s = {0};
    struct probe_plan plan = {
        .sender = "", .recipient = "to@b", .run = "abcd", .rate = 50, .infected_every = 5};
    struct probe_run *run = NULL;
    struct probe_sums sums;
    g_autofree char *error = NULL;
    g_autofree char *bad = NULL;
    (void)state;
    open_port(&s);
    plan.server = s.address;
    assert_int_equal(probe_run_start(&plan, &run, &error), 0);
    while (probe_run_tries(run, &bad) < 6) {
        g_free(bad);
        g_usleep(1000);
    }
    assert_non_null(bad);
    assert_int_equal(probe_run_good_since(run, 0), 0);
    struct probe_log *log = probe_run_finish(run, 0);
    probe_log_sums(log, &sums);
    assert_int_equal(sums.clean_accepted + sums.infected_refused, 0);
    assert_true(sums.open >= 6);
    probe_log_free(log);
    close(s.sock);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ends),
        cmocka_unit_test(test_what_is_said),
        cmocka_unit_test(test_nobody_listens),
        cmocka_unit_test(test_run),
        cmocka_unit_test(test_run_without_an_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
