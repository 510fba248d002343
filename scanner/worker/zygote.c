/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * postern-zygote: loads the signatures once and forks workers that share them. Started by
 * postern-engine in fresh namespaces, with descriptor 3 as its only line to the world, and
 * descriptor 4 as the signature directory (or closed). Restricts itself before it loads: the
 * loader parses what came from the network.
 *
 * SECURITY: it holds every capability over its own user namespace until jail_drop_capabilities(),
 * and SETUID, SETGID, SYS_ADMIN and SETPCAP there for its life. It never reads a message.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "backseat.h"
#include "clam.h"
#include "durable.h"
#include "eicar.h"
#include "hugepages.h"
#include "jail.h"
#include "loader.h"
#include "orders.h"
#include "packet.h"
#include "protocol.h"
#include "sandbox.h"
#include "tmpdir.h"
#include "warmup.h"
#include "worker.h"
#include "zygote.h"

#define BUILTIN_PATH "/postern.ndb"
/* The argument of its second life. */
#define INSIDE "inside"

struct zygote {
    struct orders *orders;
    struct sandbox *sandbox;
    struct clam *clam;
    struct backseat seat;
    int proc;
    int signals;
    double load_seconds;
    guint64 huge;        /* bytes in huge pages */
    GHashTable *workers; /* pid -> number */
};

/* The signatures of the generation are being read: what fails now may be their fault. */
static bool loading;

static _Noreturn void
fail(const char *text)
{
    struct rlimit limit;
    /* It takes memory to say that there is none: the limit of a trial is over now. */
    if (getrlimit(RLIMIT_AS, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_AS, &limit);
    }
    json_auto_t *packet =
        json_pack("{s:s, s:s, s:b}", "event", "failed", "error", text, "loading", loading);
    if (packet_send(ZYGOTE_CHANNEL, packet, -1) < 0) {
        fprintf(stderr, "postern-zygote: %s\n", text);
    }
    _exit(1);
}

static _Noreturn void
fail_by_hand(void)
{
    fprintf(stderr, "postern-zygote is started by postern-engine, not by hand.\n");
    _exit(2);
}

static struct orders *
receive_orders(void)
{
    json_auto_t *packet = NULL;
    int rc = packet_receive(ZYGOTE_CHANNEL, &packet, NULL);
    if (rc == -ENOTSOCK || rc == -EBADF) {
        fail_by_hand();
    }
    g_autofree char *mismatch = NULL;
    if (rc == 1 && protocol_common(packet, "postern-engine", &mismatch) == 0) {
        fail(mismatch);
    }
    struct orders *orders = rc == 1 ? orders_from_json(packet) : NULL;
    if (orders == NULL) {
        fail("the engine's orders are not understood; are both programs of one version?");
    }
    return orders;
}

static void
protect(void)
{
    const struct rlimit no_core = {0, 0};
    prctl(PR_SET_NAME, "postern-zygote");
    /* Killed with the engine; and visible to itself in /proc, which changing users had ended. */
    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0 || prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) < 0) {
        fail("prctl is refused");
    }
    /* It may have gone before that: nobody is to load signatures for nobody. */
    struct pollfd engine = {.fd = ZYGOTE_CHANNEL, .events = POLLIN};
    if (poll(&engine, 1, 0) == 1 && (engine.revents & POLLHUP) != 0) {
        _exit(1);
    }
    setrlimit(RLIMIT_CORE, &no_core);
}

/* The first life: from the engine's exec into the jail, and again from there (jail.h). */
static _Noreturn void
enter_jail(void)
{
    char *const argv[] = {(char[]){"postern-zygote"}, (char[]){INSIDE}, NULL};
    g_autofree char *error = NULL;
    int generation = fcntl(ZYGOTE_SIGNATURES, F_GETFD) < 0 ? -1 : ZYGOTE_SIGNATURES;
    int proc = -1;
    if (fcntl(ZYGOTE_CHANNEL, F_GETFD) < 0) {
        fail_by_hand();
    }
    protect();
    if (jail_enter(generation, &proc, &error) < 0) {
        fail(error);
    }
    if (generation >= 0) {
        close(generation);
    }
    if (dup2(proc, ZYGOTE_PROC) < 0 || fcntl(ZYGOTE_PROC, F_SETFD, 0) < 0 ||
        close_range(ZYGOTE_PROC + 1, ~0U, 0) < 0) {
        fail("the descriptors cannot be put in order");
    }
    execv(JAIL_PROGRAM, argv);
    fail("the jail's copy of the program cannot be executed");
}

static void
confine(struct zygote *zygote)
{
    g_autofree char *error = NULL;
    protect();
    /* Who stops the engine means the engine: workers end with their message or by its hand. */
    setsid();
    signal(SIGTERM, SIG_IGN);
    signal(SIGINT, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    signal(SIGPIPE, SIG_IGN);
    zygote->proc = ZYGOTE_PROC;
    if (fcntl(ZYGOTE_PROC, F_SETFD, FD_CLOEXEC) < 0) {
        fail("there is no /proc");
    }
    if (jail_drop_capabilities() < 0) {
        fail("the capabilities cannot be given up");
    }
    if (zygote->orders->beside) {
        backseat_take(&zygote->seat, zygote->proc);
    }
    if (sandbox_new(&zygote->sandbox, &error) < 0 || loader_confine(&error) < 0) {
        fail(error);
    }
}

static void
write_builtin(void)
{
    const char *signature = eicar_signature();
    int fd = open(BUILTIN_PATH, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0444);
    if (fd < 0 || durable_write_all(fd, signature, strlen(signature)) < 0 || close(fd) < 0) {
        fail("the built-in signature cannot be written into the jail");
    }
}

/* Files are named as in the generation: where the jail has them nobody outside can look. */
static char *
outside(const char *text)
{
    GString *named = g_string_new(text);
    g_string_replace(named, JAIL_SIGNATURES ": ", "", 1);
    g_string_replace(named, JAIL_SIGNATURES "/", "", 0);
    return g_string_free(named, FALSE);
}

static _Noreturn void
fail_to_load(const char *error)
{
    g_autofree char *text = outside(error);
    fail(text);
}

static void
load(struct zygote *zygote)
{
    g_autofree char *error = NULL;
    gint64 start = g_get_monotonic_time();
    write_builtin();
    if (chdir("/tmp") < 0 || tmpdir_adopt() < 0) {
        fail("the jail has no temporary directory");
    }
    setenv("TMPDIR", "/tmp", 1);
    if (clam_new(zygote->orders, &zygote->clam, &error) < 0 ||
        clam_load(zygote->clam, BUILTIN_PATH, &error) < 0) {
        fail(error);
    }
    loading = true;
    if ((!zygote->orders->builtin && clam_load(zygote->clam, JAIL_SIGNATURES, &error) < 0) ||
        clam_compile(zygote->clam, &error) < 0) {
        fail_to_load(error);
    }
    if (clam_set_tmpdir(zygote->clam, ".") < 0 ||
        warmup(zygote->clam, zygote->orders, &error) < 0) {
        fail(error != NULL ? error : "no memory");
    }
    loading = false;
    zygote->huge = hugepages_collapse(zygote->proc);
    if (chdir("/") < 0 || jail_seal() < 0) {
        fail("the jail cannot be made read-only");
    }
    /* Its workers have what it has. */
    if (backseat_leave(&zygote->seat) < 0) {
        fail("the zygote does not get its share of the processor back");
    }
    zygote->load_seconds = (double)(g_get_monotonic_time() - start) / G_USEC_PER_SEC;
}

static char *
describe_sandbox(const struct zygote *zygote)
{
    int landlock = sandbox_landlock(zygote->sandbox);
    g_autofree char *landlock_text = landlock > 0 ? g_strdup_printf("landlock %d", landlock)
                                                  : g_strdup("NO landlock (the kernel has none)");
    return g_strdup_printf(
        "own namespaces, %s, seccomp, %s, %" G_GUINT64_FORMAT " MB in huge pages",
        zygote->orders->one_user ? "ONE user number for all workers" : "a user number per worker",
        landlock_text, zygote->huge >> 20);
}

/* Bytes of this process that are in memory; 0 when that cannot be read. */
static guint64
resident(int proc)
{
    char text[64] = "";
    unsigned long long pages = 0;
    int fd = openat(proc, "self/statm", O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return 0;
    }
    if (read(fd, text, sizeof text - 1) <= 0 || sscanf(text, "%*u %llu", &pages) != 1) {
        pages = 0;
    }
    close(fd);
    return pages * (guint64)sysconf(_SC_PAGESIZE);
}

static void
report_loaded(const struct zygote *zygote)
{
    g_autofree char *sandbox = describe_sandbox(zygote);
    json_auto_t *packet = json_pack(
        "{s:s, s:s, s:I, s:i, s:f, s:s, s:I}", "event", "loaded", "generation",
        zygote->orders->generation, "signatures", (json_int_t)clam_signatures(zygote->clam),
        "landlock", sandbox_landlock(zygote->sandbox), "load_seconds", zygote->load_seconds,
        "sandbox", sandbox, "memory", (json_int_t)resident(zygote->proc));
    if (clam_left_out(zygote->clam) != NULL) {
        g_autofree char *left_out = outside(clam_left_out(zygote->clam));
        g_autofree char *safe = g_utf8_make_valid(left_out, -1);
        json_object_set_new(packet, "left_out", json_string(safe));
    }
    if (packet_send(ZYGOTE_CHANNEL, packet, -1) < 0) {
        _exit(1);
    }
}

static void
report_exit(guint64 number, int status)
{
    json_auto_t *packet = json_pack("{s:s, s:I, s:i}", "event", "exited", "worker",
                                    (json_int_t)number, "status", status);
    if (packet_send(ZYGOTE_CHANNEL, packet, -1) < 0) {
        _exit(1);
    }
}

/* In the child. The signal mask is inherited; libraries expect it to be empty. */
static _Noreturn void
become_worker(const struct zygote *zygote, unsigned slot, int channel)
{
    static const char name[] = "postern-worker";
    sigset_t none;
    if (strlen(program_invocation_name) == sizeof name - 1) {
        strcpy(program_invocation_name, name); /* for ps */
    }
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    const struct worker worker = {
        .clam = zygote->clam,
        .orders = zygote->orders,
        .sandbox = zygote->sandbox,
        .channel = channel,
        .proc = zygote->proc,
        .slot = slot,
    };
    worker_run(&worker);
}

/* Status of a process that never came to be, as wait() would tell: exit 71 (EX_OSERR). */
#define STATUS_NO_FORK (71 << 8)

static void
fork_worker(struct zygote *zygote, guint64 number, unsigned slot, int channel)
{
    pid_t pid = fork();
    if (pid == 0) {
        become_worker(zygote, slot, channel);
    }
    int pidfd = pid < 0 ? -1 : (int)syscall(SYS_pidfd_open, pid, 0);
    if (pidfd < 0) {
        /* Without a pidfd the engine could never end it: it must not live. */
        if (pid > 0) {
            kill(pid, SIGKILL);
            waitpid(pid, NULL, 0);
        }
        report_exit(number, STATUS_NO_FORK);
        return;
    }
    g_hash_table_insert(zygote->workers, GINT_TO_POINTER(pid), GSIZE_TO_POINTER(number));
    json_auto_t *packet = json_pack("{s:s, s:I}", "event", "forked", "worker", (json_int_t)number);
    if (packet_send(ZYGOTE_CHANNEL, packet, pidfd) < 0) {
        _exit(1);
    }
    close(pidfd);
}

static void
answer_ping(void)
{
    json_auto_t *packet = json_pack("{s:s}", "event", "alive");
    if (packet_send(ZYGOTE_CHANNEL, packet, -1) < 0) {
        _exit(1);
    }
}

/* Who started it to try it ends, and it is not to: its channel alone tells when nobody is left. */
static void
outlive_parent(void)
{
    if (prctl(PR_SET_PDEATHSIG, 0, 0, 0, 0) < 0) {
        fail("prctl is refused");
    }
    answer_ping();
}

/* It was tried, and its workers scan mail from now on: the limits of a trial are over. */
static void
serve_mail(struct zygote *zygote, const json_t *request)
{
    struct rlimit limit;
    json_int_t timeout = json_integer_value(json_object_get(request, "scan_timeout"));
    if (timeout <= 0) {
        fail("the engine does not say how long a scan may take");
    }
    zygote->orders->scan_timeout = (guint64)timeout;
    if (getrlimit(RLIMIT_AS, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_AS, &limit);
    }
    protect();
}

static void
on_request(struct zygote *zygote)
{
    json_auto_t *request = NULL;
    int channel = -1;
    const char *op;
    json_int_t number;
    int slot;
    if (packet_receive(ZYGOTE_CHANNEL, &request, &channel) != 1) {
        _exit(0);
    }
    const char *what = json_string_value(json_object_get(request, "op"));
    if (g_strcmp0(what, "ping") == 0) {
        answer_ping();
        return;
    }
    if (g_strcmp0(what, "outlive") == 0) {
        outlive_parent();
        return;
    }
    if (g_strcmp0(what, "serve") == 0) {
        serve_mail(zygote, request);
        return;
    }
    if (json_unpack(request, "{s:s, s:I, s:i}", "op", &op, "worker", &number, "slot", &slot) < 0 ||
        strcmp(op, "fork") != 0 || channel < 0 || slot < 0 || slot >= ZYGOTE_SLOTS_MAX) {
        fail("the engine asked for something else than a fork");
    }
    fork_worker(zygote, (guint64)number, (unsigned)slot, channel);
    close(channel);
}

static void
on_child(struct zygote *zygote)
{
    struct signalfd_siginfo info;
    int status;
    pid_t pid;
    (void)!read(zygote->signals, &info, sizeof info);
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        void *number;
        if (g_hash_table_steal_extended(zygote->workers, GINT_TO_POINTER(pid), NULL, &number)) {
            report_exit(GPOINTER_TO_SIZE(number), status);
        }
    }
}

static void
watch_children(struct zygote *zygote)
{
    sigset_t child;
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    zygote->signals = sigprocmask(SIG_BLOCK, &child, NULL) < 0
                          ? -1
                          : signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK);
    if (zygote->signals < 0) {
        fail("children cannot be watched");
    }
}

static _Noreturn void
serve(struct zygote *zygote)
{
    struct pollfd fds[] = {{.fd = ZYGOTE_CHANNEL, .events = POLLIN},
                           {.fd = zygote->signals, .events = POLLIN}};
    for (;;) {
        if (poll(fds, G_N_ELEMENTS(fds), -1) < 0 && errno != EINTR) {
            _exit(1);
        }
        if (fds[1].revents != 0) {
            on_child(zygote);
        }
        if (fds[0].revents != 0) {
            on_request(zygote);
        }
    }
}

int
main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "--version") == 0) {
        puts("postern-zygote " PACKAGE_VERSION);
        return EXIT_SUCCESS;
    }
    if (argc != 2 || strcmp(argv[1], INSIDE) != 0) {
        enter_jail();
    }
    struct zygote zygote = {
        .proc = -1,
        .workers = g_hash_table_new(NULL, NULL),
    };
    zygote.orders = receive_orders();
    confine(&zygote);
    watch_children(&zygote);
    load(&zygote);
    report_loaded(&zygote);
    serve(&zygote);
}
