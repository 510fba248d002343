/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The limit: libclamav in a bare loop, one process per core and pinned to it, with the options and
 * limits of Postern's workers and no cache. Nothing else that scans these mails with this library
 * on this machine can be faster by more than noise.
 *
 *   bench-loop SIGNATURES TMPDIR PROCESSES small|huge MAILS...
 *
 * Loads, forks, says "ready"; then for each line "N TOKEN" on stdin scans the mails of the Nth
 * directory and prints a line of JSON. "huge": the signatures lie in pages of 2 MB, as in
 * postern-zygote.
 */
#include "config.h"

#include <clamav.h>
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <fcntl.h>
#include <signal.h>

#include "bench-mails.h"
#include "worker/hugepages.h"

#define PROCESSES_MAX 256

struct loop {
    struct cl_engine *engine;
    const char *tmpdir;
    struct bench_mails **mails; /* a list for each directory */
    unsigned processes;
    int orders[PROCESSES_MAX][2]; /* pipes to the children: number of a directory */
    int answers[2];               /* pipe from all of them: number of mails that were not clean */
};

/* scanner/settings.def, scanner/worker/clam.c */
static void
set_limits(struct cl_engine *engine)
{
    const long long file = 100LL << 20;
    cl_engine_set_num(engine, CL_ENGINE_MAX_SCANSIZE, 400LL << 20);
    cl_engine_set_num(engine, CL_ENGINE_MAX_FILESIZE, file);
    cl_engine_set_num(engine, CL_ENGINE_MAX_RECURSION, 17);
    cl_engine_set_num(engine, CL_ENGINE_MAX_FILES, 10000);
    cl_engine_set_num(engine, CL_ENGINE_MAX_EMBEDDEDPE, file);
    cl_engine_set_num(engine, CL_ENGINE_MAX_HTMLNORMALIZE, file);
    cl_engine_set_num(engine, CL_ENGINE_MAX_HTMLNOTAGS, file);
    cl_engine_set_num(engine, CL_ENGINE_MAX_SCRIPTNORMALIZE, file);
    cl_engine_set_num(engine, CL_ENGINE_PCRE_MAX_FILESIZE, file);
    cl_engine_set_num(engine, CL_ENGINE_MAX_SCANTIME, 55000);
    cl_engine_set_num(engine, CL_ENGINE_DISABLE_CACHE, 1);
}

static struct cl_engine *
load(const char *signatures)
{
    unsigned count = 0;
    struct cl_engine *engine = cl_init(CL_INIT_DEFAULT) == CL_SUCCESS ? cl_engine_new() : NULL;
    if (engine == NULL) {
        bench_die("engine", "libclamav");
    }
    set_limits(engine);
    cl_error_t rc = cl_load(signatures, engine, &count, CL_DB_STDOPT);
    if (rc == CL_SUCCESS) {
        rc = cl_engine_compile(engine);
    }
    if (rc != CL_SUCCESS) {
        bench_die(cl_strerror(rc), signatures);
    }
    return engine;
}

static bool
scan(struct cl_engine *engine, struct bench_mail *mail)
{
    struct cl_scan_options options = {
        .general = CL_SCAN_GENERAL_ALLMATCHES | CL_SCAN_GENERAL_HEURISTICS,
        .parse = ~0U,
        .heuristic = CL_SCAN_HEURISTIC_EXCEEDS_MAX | CL_SCAN_HEURISTIC_ENCRYPTED_ARCHIVE |
                     CL_SCAN_HEURISTIC_ENCRYPTED_DOC,
    };
    const char *name = NULL;
    unsigned long scanned = 0;
    uint64_t start = bench_now_us();
    cl_fmap_t *map = cl_fmap_open_memory(mail->data, mail->size);
    cl_error_t rc = cl_scanmap_callback(map, NULL, &name, &scanned, engine, &options, NULL);
    cl_fmap_close(map);
    mail->us = bench_now_us() - start;
    return rc == CL_CLEAN;
}

/* Its own temporary directory: siblings share the state from which libclamav draws names. */
static void
settle(const struct loop *loop, unsigned number)
{
    char path[4096];
    cpu_set_t cores;
    CPU_ZERO(&cores);
    CPU_SET(number, &cores);
    snprintf(path, sizeof path, "%s/%u", loop->tmpdir, number);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (mkdir(path, 0700) < 0 ||
        cl_engine_set_str(loop->engine, CL_ENGINE_TMPDIR, path) != CL_SUCCESS) {
        bench_die("temporary directory", path);
    }
    (void)sched_setaffinity(0, sizeof cores, &cores);
}

static _Noreturn void
child_run(const struct loop *loop, unsigned number)
{
    unsigned list;
    settle(loop, number);
    while (read(loop->orders[number][0], &list, sizeof list) == (ssize_t)sizeof list) {
        size_t bad = 0;
        for (struct bench_mail *mail; (mail = bench_mails_next(loop->mails[list])) != NULL;) {
            bad += !scan(loop->engine, mail);
        }
        if (write(loop->answers[1], &bad, sizeof bad) < 0) {
            break;
        }
    }
    _exit(0);
}

static void
run(const struct loop *loop, unsigned list, uint64_t token)
{
    size_t bad = 0;
    bench_mails_start(loop->mails[list], token);
    uint64_t start = bench_now_us();
    for (unsigned i = 0; i < loop->processes; i++) {
        (void)!write(loop->orders[i][1], &list, sizeof list);
    }
    for (unsigned i = 0; i < loop->processes; i++) {
        size_t some = 0;
        if (read(loop->answers[0], &some, sizeof some) != (ssize_t)sizeof some) {
            bench_die("a process died", "bench-loop");
        }
        bad += some;
    }
    bench_mails_print(loop->mails[list], bench_now_us() - start, bad);
}

static void
start(struct loop *loop)
{
    if (pipe2(loop->answers, O_CLOEXEC) < 0) {
        bench_die("pipe", "bench-loop");
    }
    for (unsigned i = 0; i < loop->processes; i++) {
        pid_t pid = pipe2(loop->orders[i], O_CLOEXEC) < 0 ? -1 : fork();
        if (pid < 0) {
            bench_die("fork", "bench-loop");
        } else if (pid == 0) {
            child_run(loop, i);
        }
    }
}

static void
load_mails(struct loop *loop, char **dirs, unsigned count)
{
    loop->mails = calloc(count, sizeof *loop->mails);
    for (unsigned i = 0; i < count; i++) {
        loop->mails[i] = bench_mails_load(dirs[i]);
    }
}

int
main(int argc, char **argv)
{
    struct loop loop = {.processes = argc > 5 ? (unsigned)atoi(argv[3]) : 0};
    unsigned lists = argc > 5 ? (unsigned)argc - 5 : 0;
    unsigned list;
    uint64_t token;
    if (loop.processes == 0 || loop.processes > PROCESSES_MAX) {
        fprintf(stderr, "usage: bench-loop SIGNATURES TMPDIR PROCESSES small|huge MAILS...\n");
        return 2;
    }
    loop.tmpdir = argv[2];
    load_mails(&loop, argv + 5, lists);
    loop.engine = load(argv[1]);
    int proc = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    uint64_t huge = strcmp(argv[4], "huge") == 0 ? hugepages_collapse(proc) : 0;
    start(&loop);
    printf("ready, %" PRIu64 " MB in huge pages\n", huge >> 20);
    fflush(stdout);
    while (scanf("%u %" SCNu64, &list, &token) == 2 && list < lists) {
        run(&loop, list, token);
    }
    return 0;
}
