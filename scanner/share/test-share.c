/* SPDX-License-Identifier: GPL-2.0-only */
/* Who is known and believed, and what is remembered of the nodes. What goes over the network is in
 * scanner/e2e/test_share.py, who goes first in test-precedence.c. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "board.h"
#include "callers.h"
#include "check.h"
#include "guests.h"
#include "node-state.h"
#include "peers.h"
#include "precedence.h"
#include "seal.h"
#include "store.h"
#include "test-loopback.h"

#define KEY_ID "aaaaaaaaaaaaaaaa"
#define KEY "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"

/* Peers */

#define NODES "\"nodes\":[{\"name\":\"n1\",\"addresses\":[\"10.0.0.1\"]}]"
#define KEYS "\"keys\":[{\"id\":\"" KEY_ID "\",\"key\":\"" KEY "\"}]"

static void
test_peers_text(void **state)
{
    const struct bench *bench = *state;
    g_autofree char *text = peers_text(bench->peers);
    g_autofree char *error = NULL;
    g_autoptr(peers_t) peers = NULL;
    assert_int_equal(peers_parse(text, &peers, &error), 0);
    g_autofree char *again = peers_text(peers);
    assert_string_equal(text, again);
    assert_int_equal(peers->nodes->len, 3);
    peers_add_key(peers);
    assert_int_equal(peers->keys->len, 2);
    const struct peers_key *first = g_ptr_array_index(peers->keys, 0);
    assert_null(peers_key_find(bench->peers, first->id));
    /* However often a new key does not reach every node, the one that they know stays. */
    const struct peers_key *old = g_ptr_array_index(bench->peers->keys, 0);
    for (int i = 0; i < 9; i++) {
        peers_renew_key(peers);
    }
    assert_int_equal(peers->keys->len, 2);
    assert_non_null(peers_key_find(peers, old->id));
    assert_ptr_equal(g_ptr_array_index(peers->keys, 0), first);
    for (int i = 0; i < 9; i++) {
        peers_add_key(peers);
    }
    assert_int_equal(peers->keys->len, 4);
    peers_drop_keys(peers);
    assert_int_equal(peers->keys->len, 1);
    peers_drop_nodes(peers);
    assert_null(peers_find(peers, "n1"));
}

static void
test_peers_bad(void **state)
{
    static const char *const texts[] = {
        "",
        "{",
        "[]",
        "7",
        "{}",
        "{\"version\":1,\"self\":\"n1\"," NODES "}",
        "{\"version\":1,\"self\":\"n1\"," KEYS "}",
        "{\"version\":2,\"self\":\"n1\"," KEYS "," NODES "}",
        "{\"version\":1,\"self\":\"n2\"," KEYS "," NODES "}",
        "{\"version\":1,\"self\":7," KEYS "," NODES "}",
        "{\"version\":1,\"self\":\"n1\",\"keys\":[]," NODES "}",
        "{\"version\":1,\"self\":\"n1\",\"keys\":[{\"id\":\"" KEY_ID "\",\"key\":\"00\"}]," NODES
        "}",
        "{\"version\":1,\"self\":\"n1\",\"keys\":[{\"id\":\"a\",\"key\":\"" KEY "\"}]," NODES "}",
        "{\"version\":1,\"self\":\"n1\"," KEYS ",\"nodes\":[{\"name\":\"n1\",\"addresses\":[]}]}",
        "{\"version\":1,\"self\":\"n1\"," KEYS
        ",\"nodes\":[{\"name\":\"n1\",\"addresses\":[\"host.example\"]}]}",
        "{\"version\":1,\"self\":\"n1\"," KEYS ",\"nodes\":[{\"name\":\"n1\",\"addresses\":[7]}]}",
        "{\"version\":1,\"self\":\"../x\"," KEYS
        ",\"nodes\":[{\"name\":\"../x\",\"addresses\":[\"10.0.0.1\"]}]}",
        "{\"version\":1,\"self\":\"n1\"," KEYS
        ",\"nodes\":[{\"name\":\"n1\",\"addresses\":[\"10.0.0.1\"]},"
        "{\"name\":\"n1\",\"addresses\":[\"10.0.0.2\"]}]}",
    };
    (void)state;
    for (size_t i = 0; i < G_N_ELEMENTS(texts); i++) {
        g_autofree char *error = NULL;
        struct peers *peers = NULL;
        assert_int_equal(peers_parse(texts[i], &peers, &error), -EBADMSG);
        assert_null(peers);
        assert_non_null(error);
    }
    g_autofree char *none = NULL;
    g_autoptr(peers_t) good = NULL;
    assert_int_equal(
        peers_parse("{\"version\":1,\"self\":\"n1\"," KEYS "," NODES "}", &good, &none), 0);
}

static void
test_peers_file(void **state)
{
    struct bench *bench = *state;
    const char *path = bench->settings->share_peers;
    g_autofree char *text = peers_text(bench->peers);
    g_autofree char *link = g_build_filename(bench->dir, "link", NULL);
    const struct {
        mode_t mode;
        int rc;
    } rows[] = {{0640, 0}, {0600, 0}, {0644, -EPERM}, {0660, -EPERM}, {0604, -EPERM}};
    struct peers *peers = NULL;
    g_autofree char *absent = NULL;
    assert_int_equal(peers_read(path, &peers, &absent), -ENOENT);
    bench_put(bench, "peers.json", text);
    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autofree char *error = NULL;
        assert_int_equal(chmod(path, rows[i].mode), 0);
        assert_int_equal(peers_read(path, &peers, &error), rows[i].rc);
        if (rows[i].rc == 0) {
            peers_free(peers);
        } else {
            assert_true(g_str_has_prefix(error, path));
        }
    }
    assert_int_equal(symlink(path, link), 0);
    g_autofree char *error = NULL;
    assert_int_equal(peers_read(link, &peers, &error), -ELOOP);
}

static void
test_peers_address(void **state)
{
    const struct bench *bench = *state;
    struct sockaddr_in four = {.sin_family = AF_INET};
    struct sockaddr_in6 six = {.sin6_family = AF_INET6};
    const struct sockaddr *a = (const struct sockaddr *)(const void *)&four;
    const struct sockaddr *b = (const struct sockaddr *)(const void *)&six;
    assert_int_equal(inet_pton(AF_INET, "10.0.0.2", &four.sin_addr), 1);
    assert_string_equal(peers_of_address(bench->peers, a)->name, "n2");
    assert_int_equal(inet_pton(AF_INET, "10.0.0.4", &four.sin_addr), 1);
    assert_null(peers_of_address(bench->peers, a));
    assert_int_equal(inet_pton(AF_INET6, "fd00:0:0::0001", &six.sin6_addr), 1);
    assert_string_equal(peers_of_address(bench->peers, b)->name, "n1");
    assert_int_equal(inet_pton(AF_INET6, "::ffff:10.0.0.2", &six.sin6_addr), 1);
    assert_null(peers_of_address(bench->peers, b));
}

/* Seals */

static void
fill(struct seal_request *request, const char *from, const char *to)
{
    *request = (struct seal_request){.mac = ""};
    g_strlcpy(request->from, from, sizeof request->from);
    g_strlcpy(request->to, to, sizeof request->to);
    seal_nonce(request->theirs);
}

/* By Python's hmac, of the same words. */
static void
test_seal_is_hmac(void **state)
{
    g_autofree char *error = NULL;
    g_autoptr(peers_t) peers = NULL;
    struct seal_request request;
    (void)state;
    assert_int_equal(
        peers_parse("{\"version\":1,\"self\":\"n1\"," KEYS "," NODES "}", &peers, &error), 0);
    assert_int_equal(
        seal_request_check("1 " KEY_ID " n1 n1 00000000000000000000000000000000 "
                           "11111111111111111111111111111111 "
                           "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a "
                           "28c99b9413cd71184230a710ee92997f68e18629b90cbd8e9234f94f7e44214d",
                           peers, "POST", "/1/turn", &request),
        0);
}

static void
test_seal_request(void **state)
{
    const struct bench *bench = *state;
    const struct peers_key *key = g_ptr_array_index(bench->peers->keys, 0);
    struct seal_request request;
    struct seal_request heard;
    fill(&request, "n2", "n1");
    g_autofree char *seal = seal_request(&request, key, "POST", "/1/turn", "{}", 2);
    assert_int_equal(seal_request_check(seal, bench->peers, "POST", "/1/turn", &heard), 0);
    assert_string_equal(heard.from, "n2");
    assert_string_equal(heard.own, request.own);
    assert_string_equal(heard.mac, request.mac);
    assert_int_equal(seal_request_check(seal, bench->peers, "GET", "/1/turn", &heard), -EACCES);
    assert_int_equal(seal_request_check(seal, bench->peers, "POST", "/1/turN", &heard), -EACCES);
    assert_int_equal(seal_request_check(NULL, bench->peers, "POST", "/1/turn", &heard), -EACCES);
    for (size_t i = 0; i < strlen(seal); i++) {
        g_autofree char *wrong = g_strdup(seal);
        wrong[i] ^= 1;
        assert_int_equal(seal_request_check(wrong, bench->peers, "POST", "/1/turn", &heard),
                         -EACCES);
        wrong[i] = '\0';
        assert_int_equal(seal_request_check(wrong, bench->peers, "POST", "/1/turn", &heard),
                         -EACCES);
    }
    fill(&request, "n1", "n2");
    g_autofree char *another = seal_request(&request, key, "POST", "/1/turn", NULL, 0);
    assert_int_equal(seal_request_check(another, bench->peers, "POST", "/1/turn", &heard), -EACCES);
}

static void
test_seal_answer(void **state)
{
    const struct bench *bench = *state;
    const struct peers_key *key = g_ptr_array_index(bench->peers->keys, 0);
    struct seal_request request;
    struct seal_request other;
    char digest[65];
    char body[65];
    fill(&request, "n2", "n1");
    fill(&other, "n2", "n1");
    g_free(seal_request(&request, key, "GET", "/1/x/y", NULL, 0));
    g_free(seal_request(&other, key, "GET", "/1/x/y", NULL, 0));
    seal_digest("text", 4, digest);
    g_autofree char *seal = seal_answer(&request, key, 200, digest);
    assert_int_equal(seal_answer_check(seal, &request, key, 200, body), 0);
    assert_string_equal(body, digest);
    assert_int_equal(seal_answer_check(seal, &request, key, 404, body), -EACCES);
    assert_int_equal(seal_answer_check(seal, &other, key, 200, body), -EACCES);
    assert_int_equal(seal_answer_check(NULL, &request, key, 200, body), -EACCES);
    seal[3] ^= 1;
    assert_int_equal(seal_answer_check(seal, &request, key, 200, body), -EACCES);
}

static void
test_callers(void **state)
{
    struct seal_request request;
    struct callers *callers = callers_new(0);
    (void)state;
    fill(&request, "n2", "n1");
    seal_nonce(request.own);
    assert_false(callers_admit(callers, &request));
    g_strlcpy(request.theirs, callers_nonce(callers), sizeof request.theirs);
    assert_true(callers_admit(callers, &request));
    assert_false(callers_admit(callers, &request));
    callers_age(callers, CALLERS_PERIOD - 1);
    assert_string_equal(request.theirs, callers_nonce(callers));
    callers_age(callers, CALLERS_PERIOD);
    assert_string_not_equal(request.theirs, callers_nonce(callers));
    assert_false(callers_admit(callers, &request));
    seal_nonce(request.own);
    assert_true(callers_admit(callers, &request));
    callers_age(callers, 2 * CALLERS_PERIOD);
    seal_nonce(request.own);
    assert_false(callers_admit(callers, &request));
    callers_free(callers);
}

/* The board */

static json_t *
state_of(const char *engine, const char *loaded, const char *given)
{
    return json_pack("{s:s, s:s?, s:{s:s, s:s, s:n}}", "engine", engine, "loaded", loaded, "given",
                     "name", NAME, "state", given, "reason");
}

static void
hear(struct board *board, const char *node, const char *engine, const char *loaded,
     const char *given, gint64 now)
{
    json_t *said = state_of(engine, loaded, given);
    board_hear(board, node, said, now);
    json_decref(said);
}

static const char *
seen(json_t *nodes, size_t i, const char *key)
{
    return json_string_value(json_object_get(json_array_get(nodes, i), key));
}

static void
test_board_confirms(void **state)
{
    const struct bench *bench = *state;
    g_autoptr(board_t) board = board_new(bench->settings, bench->peers, "gives");
    const struct {
        const char *engine;
        const char *loaded;
        gint64 at;
        const char *confirmed;
    } rows[] = {
        {"ready", NAME, 100, NULL},    {"ready", NAME, 129, NULL},   {"ready", NAME, 130, NAME},
        {"failed", NAME, 140, NULL},   {"ready", NAME, 150, NULL},   {"ready", NAME, 180, NAME},
        {"ready", OTHER, 190, NULL},   {"ready", OTHER, 220, OTHER}, {"ready", NULL, 230, NULL},
        {"loading", OTHER, 240, NULL},
    };
    hear(board, "n9", "ready", NAME, "adopted", 100);
    hear(board, "n1", "ready", NAME, "adopted", 100);
    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        hear(board, "n2", rows[i].engine, rows[i].loaded, "adopted", rows[i].at);
        json_t *nodes = board_nodes(board, rows[i].at + 7);
        assert_int_equal(json_array_size(nodes), 1);
        assert_int_equal(json_integer_value(json_object_get(json_array_get(nodes, 0), "silent")),
                         7);
        const char *confirmed = seen(nodes, 0, "confirmed");
        assert_true(g_strcmp0(confirmed, rows[i].confirmed) == 0);
        json_decref(nodes);
    }
}

static void
test_board_is_kept(void **state)
{
    const struct bench *bench = *state;
    gint64 now = board_now();
    struct board *board = board_new(bench->settings, bench->peers, "gives");
    hear(board, "n2", "ready", NAME, "adopted", now - 40);
    hear(board, "n2", "ready", NAME, "adopted", now);
    board_set_given(board, NAME, NULL);
    assert_int_equal(board_write(board, now), 0);
    board_free(board);
    json_t *status = board_load(bench->settings);
    assert_int_equal(board_age(status, now + 5), 5);
    assert_int_equal(board_age(status, now - 5), -1);
    gint64 boot = json_integer_value(json_object_get(status, "boot"));
    json_object_set_new(status, "boot", json_integer(boot - 60));
    assert_int_equal(board_age(status, now), -1);
    json_object_set_new(status, "boot", json_integer(boot + 1));
    assert_int_equal(board_age(status, now), 0);
    json_decref(status);
    /* Over a restart: what was seen is known, and is not news. */
    board = board_new(bench->settings, bench->peers, "takes");
    assert_string_equal(board_given(board), NAME);
    json_t *nodes = board_nodes(board, now);
    assert_string_equal(seen(nodes, 0, "confirmed"), NAME);
    assert_true(json_integer_value(json_object_get(json_array_get(nodes, 0), "silent")) >
                precedence_silence(bench->settings));
    json_decref(nodes);
    /* And what another node knows later replaces it; what it knows from before does not. */
    json_t *told = json_pack("[{s:s, s:i, s:s, s:o}]", "name", "n2", "silent", 3, "adopted", OTHER,
                             "state", state_of("ready", OTHER, "none"));
    board_learn(board, told, now);
    json_object_set_new(json_array_get(told, 0), "adopted", json_string(NAME));
    json_object_set_new(json_array_get(told, 0), "silent", json_integer(4));
    board_learn(board, told, now);
    nodes = board_nodes(board, now);
    assert_string_equal(seen(nodes, 0, "adopted"), OTHER);
    json_decref(nodes);
    json_decref(told);
    board_free(board);
}

static void
test_board_is_no_board(void **state)
{
    const struct bench *bench = *state;
    static const char *const texts[] = {"", "{", "[]", "{\"nodes\":7,\"gives\":[]}",
                                        "{\"nodes\":[{\"name\":\"n2\",\"state\":7}]}"};
    for (size_t i = 0; i < G_N_ELEMENTS(texts); i++) {
        bench_put(bench, "share/state/status.json", texts[i]);
        g_autoptr(board_t) board = board_new(bench->settings, bench->peers, "gives");
        json_t *nodes = board_nodes(board, 0);
        assert_int_equal(json_array_size(nodes), 0);
        assert_null(board_given(board));
        json_decref(nodes);
    }
}

static void
test_node_state(void **state)
{
    const struct bench *bench = *state;
    json_t *none = node_state_of(bench->settings, NAME, "why \x1b");
    assert_string_equal(json_string_value(json_object_get(none, "engine")), "none");
    assert_string_equal(json_string_value(json_object_get(json_object_get(none, "given"), "state")),
                        "none");
    bench_put(bench, "engine/state", "ready 1 2.500 " NAME " green\n");
    json_t *some = node_state_of(bench->settings, NULL, NULL);
    assert_string_equal(json_string_value(json_object_get(some, "loaded")), NAME);
    assert_true(json_is_null(json_object_get(some, "given")));
    json_t *clean = node_state_clean(none);
    assert_true(json_equal(clean, none));
    assert_null(node_state_clean(json_object_get(none, "engine")));
    json_decref(none);
    json_decref(some);
    json_decref(clean);
}

/* Whether the server's end of the connection has been hung up on. */
static gboolean
is_over(int fd)
{
    char byte;
    return recv(fd, &byte, 1, MSG_DONTWAIT) == 0;
}

static void
test_guests(void **state)
{
    const struct bench *bench = *state;
    const struct peer_node *n2 = peers_find(bench->peers, "n2");
    const struct peer_node *n3 = peers_find(bench->peers, "n3");
    struct guests *guests = guests_new();
    struct guest *here[GUESTS_STRANGERS + 3];
    int far[GUESTS_STRANGERS + 3];
    int near[GUESTS_STRANGERS + 3];
    const gint64 now = 1000000;
    for (guint i = 0; i < G_N_ELEMENTS(here); i++) {
        int pair[2];
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
        near[i] = pair[0];
        far[i] = pair[1];
    }
    /* One that has shown the key, another node's, and one stranger more than there is place for. */
    here[0] = guests_begin(guests, n2, near[0], now);
    assert_false(guests_are_known(guests, n2));
    assert_true(guests_know(guests, here[0]));
    assert_true(guests_are_known(guests, n2));
    here[1] = guests_begin(guests, n3, near[1], now);
    for (guint i = 2; i < G_N_ELEMENTS(here); i++) {
        here[i] = guests_begin(guests, n2, near[i], now + i);
    }
    for (guint i = 0; i < G_N_ELEMENTS(here); i++) {
        assert_int_equal(is_over(far[i]), i == 2);
    }
    assert_false(guests_know(guests, here[2]));
    guests_expire(guests, now + GUESTS_SECONDS * G_USEC_PER_SEC + 3);
    for (guint i = 0; i < G_N_ELEMENTS(here); i++) {
        assert_int_equal(is_over(far[i]), i == 1 || i == 2);
        guests_end(guests, here[i]);
        close(near[i]);
        close(far[i]);
    }
    assert_false(guests_are_known(guests, n2));
    guests_free(guests);
}

/* Until it is not being read any more. */
static enum check_state
look(struct check *check, const char *name, gint64 now)
{
    enum check_state state;
    while ((state = check_look(check, name, now, NULL)) == CHECK_RUNS) {
        g_usleep(1000);
    }
    return state;
}

static void
make_generation(struct bench *bench, struct store_new *made)
{
    g_autoptr(store_t) store = NULL;
    g_autofree char *error = NULL;
    g_autofree char *path = g_build_filename(bench->dir, "a.ndb", NULL);
    char *const paths[] = {path, NULL};
    bench_put(bench, "a.ndb", "Test.A:0:0:41424344454647\n");
    assert_int_equal(store_open(bench->settings->signatures_dir, TRUE, &store, &error), 0);
    assert_int_equal(store_add(store, paths, made, &error), 0);
}

/* What cannot be opened for a moment is no damage. */
static void
test_check_reads_again(void **state)
{
    struct bench *bench = *state;
    struct store_new made;
    struct rlimit files;
    make_generation(bench, &made);
    struct check *check = check_new(bench->settings);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &files), 0);
    const struct rlimit none = {.rlim_cur = 0, .rlim_max = files.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    enum check_state first = look(check, made.name, 100);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &files), 0);
    assert_int_equal(first, CHECK_UNREAD);
    const char *why = NULL;
    assert_int_equal(check_look(check, made.name, 100 + CHECK_AGAIN_SECONDS - 1, &why),
                     CHECK_UNREAD);
    assert_non_null(strstr(why, g_strerror(EMFILE)));
    enum check_state again = CHECK_UNREAD;
    for (int i = 0; i < 10000 && again == CHECK_UNREAD; i++) {
        g_usleep(1000);
        again = look(check, made.name, 100 + CHECK_AGAIN_SECONDS);
    }
    assert_int_equal(again, CHECK_WHOLE);
    check_free(check);
}

static void
test_check_damaged(void **state)
{
    struct bench *bench = *state;
    struct store_new made;
    make_generation(bench, &made);
    g_autofree char *file = g_strconcat("signatures/", made.name, "/a.ndb", NULL);
    bench_put(bench, file, "Test.B:0:0:41424344454647\n");
    struct check *check = check_new(bench->settings);
    const char *why = NULL;
    assert_int_equal(look(check, made.name, 100), CHECK_DAMAGED);
    assert_int_equal(check_look(check, made.name, 100000, &why), CHECK_DAMAGED);
    assert_non_null(strstr(why, "a.ndb"));
    check_free(check);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_guests, bench_setup, bench_teardown),
        cmocka_unit_test_setup_teardown(test_peers_text, bench_setup, bench_teardown),
        cmocka_unit_test(test_peers_bad),
        cmocka_unit_test_setup_teardown(test_peers_file, bench_setup, bench_teardown),
        cmocka_unit_test_setup_teardown(test_peers_address, bench_setup, bench_teardown),
        cmocka_unit_test(test_seal_is_hmac),
        cmocka_unit_test_setup_teardown(test_seal_request, bench_setup, bench_teardown),
        cmocka_unit_test_setup_teardown(test_seal_answer, bench_setup, bench_teardown),
        cmocka_unit_test(test_callers),
        cmocka_unit_test_setup_teardown(test_board_confirms, bench_setup, bench_teardown),
        cmocka_unit_test_setup_teardown(test_board_is_kept, bench_setup, bench_teardown),
        cmocka_unit_test_setup_teardown(test_board_is_no_board, bench_setup, bench_teardown),
        cmocka_unit_test_setup_teardown(test_node_state, bench_setup, bench_teardown),
        cmocka_unit_test_setup_teardown(test_check_reads_again, bench_setup, bench_teardown),
        cmocka_unit_test_setup_teardown(test_check_damaged, bench_setup, bench_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
