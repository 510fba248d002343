/* SPDX-License-Identifier: GPL-2.0-only */
/* Samples, rules, memory, and the examination of zygotes that are fakes and misbehave. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>
#include <glib/gstdio.h>

#include "eicar.h"
#include "exam.h"
#include "facts.h"
#include "packet.h"
#include "room.h"
#include "samples.h"
#include "trial-rules.h"
#include "worker.h"

/* Samples */

static const struct sample *
sample_named(GPtrArray *samples, const char *name)
{
    for (guint i = 0; i < samples->len; i++) {
        const struct sample *sample = g_ptr_array_index(samples, i);
        if (strcmp(sample->name, name) == 0) {
            return sample;
        }
    }
    fail_msg("no sample %s", name);
    return NULL;
}

/* Processor times of two generations are compared over them. */
static void
test_samples_are_the_same_each_time(void **state)
{
    g_autoptr(GPtrArray) one = samples_shipped();
    g_autoptr(GPtrArray) two = samples_shipped();
    (void)state;
    assert_int_equal(one->len, two->len);
    for (guint i = 0; i < one->len; i++) {
        const struct sample *a = g_ptr_array_index(one, i);
        const struct sample *b = g_ptr_array_index(two, i);
        assert_true(g_bytes_equal(a->content, b->content));
        assert_true(g_bytes_get_size(a->content) > 0);
    }
}

static void
test_only_what_must_be_found_has_eicar(void **state)
{
    g_autoptr(GPtrArray) samples = samples_shipped();
    unsigned char eicar[EICAR_SIZE];
    guint infected = 0;
    (void)state;
    eicar_bytes(eicar);
    for (guint i = 0; i < samples->len; i++) {
        const struct sample *sample = g_ptr_array_index(samples, i);
        gsize size;
        const void *data = g_bytes_get_data(sample->content, &size);
        bool plain = memmem(data, size, eicar, sizeof eicar) != NULL;
        infected += sample->infected ? 1 : 0;
        assert_true(sample->infected || !plain);
    }
    assert_true(infected >= 5 && samples->len - infected >= 10);
}

static void
test_kinds(void **state)
{
    static const struct {
        const char *name;
        const char *magic;
    } kinds[] = {{"a PDF file", "%PDF-1.4"},       {"a ZIP archive", "PK\3\4"},
                 {"an office document", "PK\3\4"}, {"a program", "MZ"},
                 {"a picture", "\x89PNG"},         {"a web page", "<!DOCTYPE html>"}};
    g_autoptr(GPtrArray) samples = samples_shipped();
    (void)state;
    for (size_t i = 0; i < G_N_ELEMENTS(kinds); i++) {
        const struct sample *sample = sample_named(samples, kinds[i].name);
        assert_memory_equal(g_bytes_get_data(sample->content, NULL), kinds[i].magic,
                            strlen(kinds[i].magic));
    }
}

static void
test_samples_are_sealed(void **state)
{
    g_autoptr(GPtrArray) samples = samples_shipped();
    const struct sample *sample = sample_named(samples, "a small mail");
    struct stat st;
    (void)state;
    int fd = sample_memfd(sample, 1 << 20);
    assert_true(fd >= 0 && fstat(fd, &st) == 0);
    assert_int_equal(st.st_size, g_bytes_get_size(sample->content));
    assert_int_equal(fcntl(fd, F_GET_SEALS),
                     F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE);
    close(fd);
    assert_int_equal(sample_memfd(sample, 10), -EFBIG);
}

static void
test_samples_of_a_directory(void **state)
{
    g_autofree char *dir = g_dir_make_tmp("postern-samples-XXXXXX", NULL);
    g_autofree char *file = g_build_filename(dir, "b.txt", NULL);
    g_autofree char *other = g_build_filename(dir, "a.txt", NULL);
    g_autofree char *hidden = g_build_filename(dir, ".c", NULL);
    g_autofree char *folder = g_build_filename(dir, "d", NULL);
    g_autofree char *error = NULL;
    g_autoptr(GPtrArray) samples = samples_shipped();
    guint shipped = samples->len;
    (void)state;
    assert_true(g_file_set_contents(file, "one", -1, NULL) &&
                g_file_set_contents(other, "two", -1, NULL) &&
                g_file_set_contents(hidden, "three", -1, NULL) && g_mkdir(folder, 0755) == 0);
    assert_int_equal(samples_add_dir(samples, dir, false, &error), 0);
    assert_int_equal(samples->len, shipped + 2);
    const struct sample *first = g_ptr_array_index(samples, shipped);
    assert_string_equal(first->name, "a.txt");
    assert_false(first->shipped || first->infected);
    int fd = sample_memfd(first, 10);
    assert_true(fd >= 0);
    close(fd);
    assert_int_equal(sample_memfd(first, 2), -EFBIG);
    assert_int_equal(samples_add_dir(samples, "/nowhere", true, &error), -ENOENT);
    assert_non_null(strstr(error, "/nowhere"));
    g_remove(file);
    g_remove(other);
    g_remove(hidden);
    g_rmdir(folder);
    g_rmdir(dir);
}

/* Rules */

static void
test_empty(void **state)
{
    const struct record_trial built_in = {.signatures = TRIAL_BUILTIN_SIGNATURES};
    const struct record_trial one = {.signatures = TRIAL_BUILTIN_SIGNATURES + 1};
    g_autofree char *why = trial_rules_empty(&built_in);
    (void)state;
    assert_string_equal(why, "there is no signature in it");
    assert_null(trial_rules_empty(&one));
}

static void
test_too_small(void **state)
{
    struct settings settings = {.trial_shrink = 20};
    const struct record_trial before = {.signatures = 1000};
    const struct record_trial unknown = {.signatures = 0};
    struct record_trial loaded = {.signatures = 800};
    (void)state;
    assert_null(trial_rules_small(&settings, &loaded, &before));
    loaded.signatures = 799;
    g_autofree char *why = trial_rules_small(&settings, &loaded, &before);
    assert_non_null(strstr(why, "only 799 signatures; what is in use has 1000"));
    assert_null(trial_rules_small(&settings, &loaded, &unknown));
    settings.trial_shrink = 100;
    loaded.signatures = 0;
    assert_null(trial_rules_small(&settings, &loaded, &before));
}

static void
test_too_slow(void **state)
{
    struct settings settings = {.trial_slowdown = 5};
    const struct record_trial before = {.scan_us = 400000};
    const struct record_trial unknown = {.scan_us = 0};
    struct record_trial scanned = {.scan_us = 2000000};
    (void)state;
    assert_null(trial_rules_slow(&settings, &scanned, &before));
    scanned.scan_us = 2100000;
    g_autofree char *why = trial_rules_slow(&settings, &scanned, &before);
    assert_non_null(strstr(why, "2.1 s of processor time, with what is in use 0.4 s"));
    assert_null(trial_rules_slow(&settings, &scanned, &unknown));
    const struct record_trial quick = {.scan_us = 1000};
    scanned.scan_us = TRIAL_SCAN_FREE_US;
    assert_null(trial_rules_slow(&settings, &scanned, &quick));
}

static void
test_memory_of_a_trial(void **state)
{
    struct settings settings = {.trial_memory = 0};
    (void)state;
    assert_true(trial_rules_memory(&settings, 1000) == TRIAL_MEMORY_LEAST);
    assert_true(trial_rules_memory(&settings, 3ULL << 30) == 6ULL << 30);
    settings.trial_memory = 5000;
    assert_true(trial_rules_memory(&settings, 3ULL << 30) == 5000);
}

static struct manifest *
manifest_of(guint64 size, guint64 signatures)
{
    struct manifest *manifest = manifest_new();
    struct manifest_file *file = g_new0(struct manifest_file, 1);
    file->name = g_strdup("daily.cvd");
    file->origin = g_strdup("here");
    memset(file->sha256, 'a', sizeof file->sha256 - 1);
    file->size = size;
    file->signatures = signatures;
    manifest_add(manifest, file);
    return manifest;
}

static void
test_room_needed(void **state)
{
    const guint64 mb = 1 << 20;
    g_autoptr(manifest_t) counted = manifest_of(mb, 2000000);
    g_autoptr(manifest_t) half = manifest_of(mb, 1000000);
    g_autoptr(manifest_t) plain = manifest_of(100 * mb, 0);
    g_autoptr(manifest_t) huge = manifest_of(1000 * mb, 0);
    (void)state;
    assert_true(room_needed(counted, half, 264 * mb) == 464 * mb);
    assert_true(room_needed(plain, NULL, 0) == 464 * mb);
    assert_true(room_needed(counted, NULL, 0) == 64 * mb + 400000000);
    assert_true(room_needed(huge, plain, 164 * mb) == 264 * mb);
    assert_true(room_available(NULL) > 0);
}

/* Zygotes that are fakes */

enum play {
    PLAY_GOOD,
    PLAY_BAD_SET,  /* "failed" while it reads the signatures */
    PLAY_BAD_NODE, /* "failed" before that */
    PLAY_LOAD_CRASH,
    PLAY_LOAD_KILLED,
    PLAY_LOAD_SPIN,
    PLAY_LOAD_SLEEP,
    PLAY_CANARY, /* its worker does not find EICAR in a ZIP */
    PLAY_NO_SANDBOX,
    PLAY_BLIND,    /* its worker finds nothing */
    PLAY_PARANOID, /* its worker finds something in everything */
    PLAY_HALF,     /* its worker scans nothing whole */
    PLAY_SCAN_CRASH,
    PLAY_SCAN_KILLED,
    PLAY_SCAN_SPIN,
    PLAY_SCAN_SLEEP,
    PLAY_LIAR,   /* its worker answers with no facts */
    PLAY_RETIRE, /* its worker ends after each scan */
};

/* If PLAY is FIRST or one of the three behind it: crash, killed, spin, sleep. */
static void
misbehave(enum play play, enum play first)
{
    if (play == first) {
        abort();
    } else if (play == first + 1) {
        raise(SIGKILL);
    } else if (play == first + 2) {
        for (volatile unsigned i = 0;; i++) {
        }
    } else if (play == first + 3) {
        pause();
    }
}

static void
worker_answer(int sock, enum play play, bool infected)
{
    g_autoptr(facts_t) facts = facts_new();
    facts->complete = play != PLAY_HALF;
    if ((infected && play != PLAY_BLIND) || play == PLAY_PARANOID) {
        facts_add_detection(facts, "Fake.Virus");
    }
    json_auto_t *packet = json_pack("{s:i, s:o, s:b}", "id", 1, "facts",
                                    play == PLAY_LIAR ? json_string("clean") : facts_to_json(facts),
                                    "retire", play == PLAY_RETIRE);
    (void)packet_send(sock, packet, -1);
}

static bool
is_infected(int fd)
{
    unsigned char eicar[EICAR_SIZE];
    unsigned char got[EICAR_SIZE] = {0};
    eicar_bytes(eicar);
    return pread(fd, got, sizeof got, 0) == sizeof got && memcmp(got, eicar, sizeof got) == 0;
}

static _Noreturn void
fake_worker(int sock, enum play play)
{
    bool ready = play != PLAY_CANARY && play != PLAY_NO_SANDBOX;
    json_auto_t *words = ready ? json_pack("{s:b}", "ready", 1)
                               : json_pack("{s:b, s:s}", "ready", 0, "error", "fake reason");
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    (void)packet_send(sock, words, -1);
    if (!ready) {
        _exit(play == PLAY_CANARY ? WORKER_EXIT_CANARY : WORKER_EXIT_SANDBOX);
    }
    for (;;) {
        json_t *request = NULL;
        int fd = -1;
        if (packet_receive(sock, &request, &fd) != 1) {
            _exit(0);
        }
        json_decref(request);
        misbehave(play, PLAY_SCAN_CRASH);
        worker_answer(sock, play, is_infected(fd));
        close(fd);
        if (play == PLAY_RETIRE) {
            _exit(0);
        }
    }
}

static void
zygote_load(int sock, enum play play)
{
    json_auto_t *loaded =
        json_pack("{s:s, s:i, s:i}", "event", "loaded", "signatures", 5, "memory", 1 << 20);
    json_auto_t *failed = json_pack("{s:s, s:s, s:b}", "event", "failed", "error", "fake fault",
                                    "loading", play == PLAY_BAD_SET);
    misbehave(play, PLAY_LOAD_CRASH);
    if (play == PLAY_BAD_SET || play == PLAY_BAD_NODE) {
        (void)packet_send(sock, failed, -1);
        _exit(1);
    }
    (void)packet_send(sock, loaded, -1);
}

static _Noreturn void
fake_zygote(int sock, enum play play)
{
    const struct rlimit no_core = {0, 0};
    (void)setrlimit(RLIMIT_CORE, &no_core);
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    zygote_load(sock, play);
    for (;;) {
        json_t *request = NULL;
        int channel = -1;
        int status = 0;
        if (packet_receive(sock, &request, &channel) != 1) {
            _exit(0);
        }
        json_t *number = json_object_get(request, "worker");
        pid_t pid = fork();
        if (pid == 0) {
            close(sock);
            fake_worker(channel, play);
        }
        close(channel);
        int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
        json_auto_t *forked = json_pack("{s:s, s:O}", "event", "forked", "worker", number);
        (void)packet_send(sock, forked, pidfd);
        close(pidfd);
        (void)waitpid(pid, &status, 0);
        json_auto_t *exited =
            json_pack("{s:s, s:O, s:i}", "event", "exited", "worker", number, "status", status);
        (void)packet_send(sock, exited, -1);
        json_decref(request);
    }
}

static struct launched
start_fake(enum play play)
{
    int pair[2];
    assert_int_equal(packet_pair(pair), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        close(pair[0]);
        fake_zygote(pair[1], play);
    }
    close(pair[1]);
    return (struct launched){
        .pid = pid, .pidfd = (int)syscall(SYS_pidfd_open, pid, 0), .channel = pair[0]};
}

static GPtrArray *
two_samples(void)
{
    GPtrArray *all = samples_shipped();
    const char *const wanted[] = {"EICAR", "a small mail"};
    for (guint i = all->len; i-- > 0;) {
        const struct sample *sample = g_ptr_array_index(all, i);
        if (strcmp(sample->name, wanted[0]) != 0 && strcmp(sample->name, wanted[1]) != 0) {
            g_ptr_array_remove_index(all, i);
        }
    }
    assert_int_equal(all->len, 2);
    return all;
}

struct case_of {
    enum play play;
    enum exam_result result;
    const char *reason; /* NULL: none; else part of it */
};

static void
check(const struct case_of *c)
{
    struct exam exam;
    const struct exam_limits limits = {
        .load_us = 200000,
        .sample_us = 200000,
        /* What sleeps is waited for as long as this; what spins or speaks is not. */
        .end_us = g_get_monotonic_time() + (c->play == PLAY_LOAD_SLEEP || c->play == PLAY_SCAN_SLEEP
                                                ? 500000
                                                : 120 * G_USEC_PER_SEC),
        .size = 1 << 20,
    };
    struct launched zygote = start_fake(c->play);
    g_autoptr(GPtrArray) samples = two_samples();
    exam_init(&exam, &zygote, &limits);
    enum exam_result result = exam_load(&exam);
    if (result == EXAM_PASSED) {
        assert_int_equal(exam.measured.signatures, 5);
        result = exam_scan(&exam, samples);
    }
    if (result != c->result || (exam.reason == NULL) != (c->reason == NULL) ||
        (c->reason != NULL && strstr(exam.reason, c->reason) == NULL)) {
        fail_msg("play %d: result %d, reason %s", c->play, result, exam.reason);
    }
    exam_clear(&exam);
    kill(zygote.pid, SIGKILL);
    waitpid(zygote.pid, NULL, 0);
    close(zygote.pidfd);
    close(zygote.channel);
}

static void
test_examinations(void **state)
{
    static const struct case_of cases[] = {
        {PLAY_GOOD, EXAM_PASSED, NULL},
        {PLAY_RETIRE, EXAM_PASSED, NULL},
        {PLAY_BAD_SET, EXAM_FAILED, "fake fault"},
        {PLAY_BAD_NODE, EXAM_UNABLE, "fake fault"},
        {PLAY_LOAD_CRASH, EXAM_FAILED, "loading crashes (signal 6)"},
        {PLAY_LOAD_KILLED, EXAM_INTERRUPTED, "loading was killed"},
        {PLAY_LOAD_SPIN, EXAM_FAILED, "loading does not come to its end"},
        {PLAY_LOAD_SLEEP, EXAM_INTERRUPTED, "before the time for the trial was over"},
        {PLAY_CANARY, EXAM_FAILED, "fake reason"},
        {PLAY_NO_SANDBOX, EXAM_UNABLE, "fake reason"},
        {PLAY_BLIND, EXAM_FAILED, "EICAR is not found"},
        {PLAY_PARANOID, EXAM_FAILED, "a small mail, which is clean, is called Fake.Virus"},
        {PLAY_HALF, EXAM_FAILED, "a small mail is not scanned whole"},
        {PLAY_SCAN_CRASH, EXAM_FAILED, "that scans EICAR crashes (signal 6)"},
        {PLAY_SCAN_KILLED, EXAM_INTERRUPTED, "that scans EICAR was killed"},
        {PLAY_SCAN_SPIN, EXAM_FAILED, "the scan of EICAR does not come to its end"},
        {PLAY_SCAN_SLEEP, EXAM_INTERRUPTED, "before the time for the trial was over"},
        {PLAY_LIAR, EXAM_FAILED, "no facts"},
    };
    (void)state;
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        check(&cases[i]);
    }
}

/* A sample of the administrator that cannot be read is no reason to trust what nobody scanned. */
static void
test_samples_that_cannot_be_read(void **state)
{
    static const struct {
        const char *path;
        enum exam_result result;
    } cases[] = {{"/nowhere", EXAM_PASSED}, {"/", EXAM_UNABLE}};
    const struct exam_limits limits = {.load_us = 200000,
                                       .sample_us = 200000,
                                       .end_us = g_get_monotonic_time() + 120 * G_USEC_PER_SEC,
                                       .size = 1 << 20};
    (void)state;
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        struct exam exam;
        struct sample sample = {.name = (char[]){"it"}, .path = g_strdup(cases[i].path)};
        g_autoptr(GPtrArray) samples = g_ptr_array_new();
        struct launched zygote = start_fake(PLAY_GOOD);
        g_ptr_array_add(samples, &sample);
        exam_init(&exam, &zygote, &limits);
        assert_int_equal(exam_load(&exam), EXAM_PASSED);
        assert_int_equal(exam_scan(&exam, samples), cases[i].result);
        exam_clear(&exam);
        kill(zygote.pid, SIGKILL);
        waitpid(zygote.pid, NULL, 0);
        close(zygote.pidfd);
        close(zygote.channel);
        g_free(sample.path);
    }
}

/* The kernel's counters tell a set that is too large from a node that has no memory. */
static guint64
kills_for_limit(guint64 *own, void *data)
{
    guint64 *calls = data;
    *own = *calls;
    return (*calls)++;
}

static guint64
kills_of_node(guint64 *own, void *data)
{
    guint64 *calls = data;
    *own = 0;
    return (*calls)++;
}

static void
test_killed_for_memory(void **state)
{
    static const struct {
        guint64 (*kills)(guint64 *own, void *data);
        enum exam_result result;
    } cases[] = {{kills_for_limit, EXAM_FAILED}, {kills_of_node, EXAM_UNABLE}};
    const struct exam_limits limits = {.load_us = 200000,
                                       .end_us = g_get_monotonic_time() + 120 * G_USEC_PER_SEC};
    (void)state;
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        struct exam exam;
        guint64 calls = 0;
        struct launched zygote = start_fake(PLAY_LOAD_KILLED);
        exam_init(&exam, &zygote, &limits);
        exam.memory_kills = cases[i].kills;
        exam.data = &calls;
        assert_int_equal(exam_load(&exam), cases[i].result);
        assert_true(exam.of_memory);
        exam_clear(&exam);
        waitpid(zygote.pid, NULL, 0);
        close(zygote.pidfd);
        close(zygote.channel);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_samples_are_the_same_each_time),
        cmocka_unit_test(test_only_what_must_be_found_has_eicar),
        cmocka_unit_test(test_kinds),
        cmocka_unit_test(test_samples_are_sealed),
        cmocka_unit_test(test_samples_of_a_directory),
        cmocka_unit_test(test_empty),
        cmocka_unit_test(test_too_small),
        cmocka_unit_test(test_too_slow),
        cmocka_unit_test(test_memory_of_a_trial),
        cmocka_unit_test(test_room_needed),
        cmocka_unit_test(test_examinations),
        cmocka_unit_test(test_samples_that_cannot_be_read),
        cmocka_unit_test(test_killed_for_memory),
    };
    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
