/* SPDX-License-Identifier: GPL-2.0-only */
#include "config.h"
#include "faultguard.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define FAULTS_MAX 16

static struct {
    bool watching;
    bool tripped;
    int status; /* of a crash after a fault; 0: as any other */
    size_t n;
    struct faultguard_fault faults[FAULTS_MAX];
} guard;

void
faultguard_start(void)
{
    guard.tripped = false;
    guard.n = 0;
    guard.watching = true;
}

void
faultguard_stop(void)
{
    guard.watching = false;
}

bool
faultguard_tripped(void)
{
    return guard.tripped;
}

size_t
faultguard_faults(struct faultguard_fault *ret_faults, size_t max)
{
    size_t n = guard.n < max ? guard.n : max;
    for (size_t i = 0; i < n; i++) {
        ret_faults[i] = guard.faults[i];
    }
    return n;
}

#ifndef SANITIZERS
static bool
is_void(void)
{
    return guard.watching && guard.tripped && guard.status != 0;
}

/* The default is back by now: what crashed does so again when this returns. Not so what was sent,
 * and SIGTRAP, which comes behind its instruction. */
static void
on_crash(int number, siginfo_t *info, void *context)
{
    (void)context;
    if (is_void()) {
        _exit(guard.status);
    }
    if (info->si_code <= 0 || number == SIGTRAP) {
        (void)signal(SIGILL, SIG_DFL);
        __builtin_trap();
    }
}

void
faultguard_crash_with(int status)
{
    static const int numbers[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP};
    struct sigaction action = {.sa_sigaction = on_crash,
                               .sa_flags = SA_SIGINFO | SA_RESETHAND | SA_NODEFER};
    guard.status = status;
    sigemptyset(&action.sa_mask);
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        (void)sigaction(numbers[i], &action, NULL);
    }
}
#else
void
faultguard_crash_with(int status)
{
    (void)status;
}
#endif

static void
note(const char *call, int error)
{
    guard.tripped = true;
    for (size_t i = 0; i < guard.n; i++) {
        if (guard.faults[i].call == call && guard.faults[i].error == error) {
            return;
        }
    }
    if (guard.n < FAULTS_MAX) {
        guard.faults[guard.n++] = (struct faultguard_fault){.call = call, .error = error};
    }
}

static bool
matters(int error)
{
    static const int list[] = {ENOSPC, EDQUOT, EMFILE, ENFILE, EIO,
                               EACCES, EPERM,  EROFS,  ENOMEM, EFBIG};
    for (size_t i = 0; i < sizeof list / sizeof list[0]; i++) {
        if (list[i] == error) {
            return true;
        }
    }
    return false;
}

/* Notes errno of a call that failed; leaves errno as it is. */
static void
failed(const char *call)
{
    if (guard.watching && matters(errno)) {
        note(call, errno);
    }
}

/*
 * System calls. They go to the kernel directly: libc's own function of the same name is what is
 * being replaced. Loses only that they are cancellation points, which nobody here uses.
 */

static long
checked(const char *call, long result)
{
    if (result < 0) {
        failed(call);
    }
    return result;
}

static mode_t
mode_argument(int flags, va_list args)
{
    return (flags & O_CREAT) != 0 || (flags & O_TMPFILE) == O_TMPFILE ? va_arg(args, mode_t) : 0;
}

#define OPEN(name)                                                                     \
    int name(const char *path, int flags, ...)                                         \
    {                                                                                  \
        va_list args;                                                                  \
        va_start(args, flags);                                                         \
        mode_t mode = mode_argument(flags, args);                                      \
        va_end(args);                                                                  \
        return (int)checked("open", syscall(SYS_openat, AT_FDCWD, path, flags, mode)); \
    }

#define OPENAT(name)                                                                \
    int name(int dirfd, const char *path, int flags, ...)                           \
    {                                                                               \
        va_list args;                                                               \
        va_start(args, flags);                                                      \
        mode_t mode = mode_argument(flags, args);                                   \
        va_end(args);                                                               \
        return (int)checked("open", syscall(SYS_openat, dirfd, path, flags, mode)); \
    }

OPEN(open)
OPEN(open64)
OPENAT(openat)
OPENAT(openat64)

static int
mkdir_noted(long result)
{
    if (result < 0 && guard.watching) {
        note("mkdir", errno);
    }
    return (int)result;
}

int
mkdir(const char *path, mode_t mode)
{
    return mkdir_noted(syscall(SYS_mkdirat, AT_FDCWD, path, mode));
}

int
mkdirat(int dirfd, const char *path, mode_t mode)
{
    return mkdir_noted(syscall(SYS_mkdirat, dirfd, path, mode));
}

ssize_t
write(int fd, const void *buf, size_t n)
{
    return checked("write", syscall(SYS_write, fd, buf, n));
}

ssize_t
writev(int fd, const struct iovec *iov, int n)
{
    return checked("write", syscall(SYS_writev, fd, iov, n));
}

ssize_t
pwrite(int fd, const void *buf, size_t n, off_t offset)
{
    return checked("write", syscall(SYS_pwrite64, fd, buf, n, offset));
}

ssize_t
pwrite64(int fd, const void *buf, size_t n, off64_t offset)
{
    return checked("write", syscall(SYS_pwrite64, fd, buf, n, offset));
}

ssize_t
read(int fd, void *buf, size_t n)
{
    return checked("read", syscall(SYS_read, fd, buf, n));
}

ssize_t
pread(int fd, void *buf, size_t n, off_t offset)
{
    return checked("read", syscall(SYS_pread64, fd, buf, n, offset));
}

ssize_t
pread64(int fd, void *buf, size_t n, off64_t offset)
{
    return checked("read", syscall(SYS_pread64, fd, buf, n, offset));
}

int
ftruncate(int fd, off_t length)
{
    return (int)checked("ftruncate", syscall(SYS_ftruncate, fd, length));
}

int
ftruncate64(int fd, off64_t length)
{
    return (int)checked("ftruncate", syscall(SYS_ftruncate, fd, length));
}

int
dup(int fd)
{
    return (int)checked("dup", syscall(SYS_dup, fd));
}

int
rename(const char *from, const char *to)
{
    return (int)checked("rename", syscall(SYS_rename, from, to));
}

static void *
mapped(long result)
{
    if (result == -1) {
        failed("mmap");
        return MAP_FAILED;
    }
    return (void *)result;
}

void *
mmap(void *addr, size_t length, int prot, int flags, int fd, off_t offset)
{
    return mapped(syscall(SYS_mmap, addr, length, prot, flags, fd, offset));
}

void *
mmap64(void *addr, size_t length, int prot, int flags, int fd, off64_t offset)
{
    return mapped(syscall(SYS_mmap, addr, length, prot, flags, fd, offset));
}

/*
 * Streams and directories: libc opens and writes them by inner calls that cannot be replaced, so
 * the outer function is wrapped. NEXT finds libc's, once.
 */

#define NEXT(name)                                 \
    static __typeof__(&name) real;                 \
    if (real == NULL) {                            \
        *(void **)&real = dlsym(RTLD_NEXT, #name); \
    }

#define FOPEN(name)                                                  \
    FILE *name(const char *restrict path, const char *restrict mode) \
    {                                                                \
        NEXT(name)                                                   \
        FILE *file = real(path, mode);                               \
        if (file == NULL) {                                          \
            failed("fopen");                                         \
        }                                                            \
        return file;                                                 \
    }

FOPEN(fopen)
FOPEN(fopen64)

FILE *
fdopen(int fd, const char *mode)
{
    NEXT(fdopen)
    FILE *file = real(fd, mode);
    if (file == NULL) {
        failed("fdopen");
    }
    return file;
}

size_t
fwrite(const void *restrict buf, size_t size, size_t n, FILE *restrict file)
{
    NEXT(fwrite)
    size_t written = real(buf, size, n, file);
    if (written < n) {
        failed("fwrite");
    }
    return written;
}

int
fflush(FILE *file)
{
    NEXT(fflush)
    return (int)checked("fflush", real(file));
}

int
fclose(FILE *file)
{
    NEXT(fclose)
    return (int)checked("fclose", real(file));
}

DIR *
opendir(const char *path)
{
    NEXT(opendir)
    DIR *dir = real(path);
    if (dir == NULL) {
        failed("opendir");
    }
    return dir;
}

/*
 * The allocator. glibc exports its own functions under a second name; dlsym() could not be used
 * here, it may allocate itself.
 */
#ifndef SANITIZERS
/* libc's own calls of it, when it finds its heap in disorder, do not come here. */
void
abort(void)
{
    if (is_void()) {
        _exit(guard.status);
    }
    void (*real)(void);
    *(void **)&real = dlsym(RTLD_NEXT, "abort");
    real();
    _exit(127);
}

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t n, size_t size);
extern void *__libc_realloc(void *old, size_t size);
extern void *__libc_memalign(size_t alignment, size_t size);

static void *
allocated(void *p, size_t size)
{
    if (p == NULL && size > 0 && guard.watching) {
        note("malloc", ENOMEM);
    }
    return p;
}

void *
malloc(size_t size)
{
    return allocated(__libc_malloc(size), size);
}

void *
calloc(size_t n, size_t size)
{
    return allocated(__libc_calloc(n, size), n > 0 ? size : 0);
}

void *
realloc(void *old, size_t size)
{
    return allocated(__libc_realloc(old, size), size);
}

void *
aligned_alloc(size_t alignment, size_t size)
{
    return allocated(__libc_memalign(alignment, size), size);
}

int
posix_memalign(void **ret, size_t alignment, size_t size)
{
    if (alignment % sizeof(void *) != 0 || (alignment & (alignment - 1)) != 0 || alignment == 0) {
        return EINVAL;
    }
    void *p = allocated(__libc_memalign(alignment, size), size);
    if (p == NULL) {
        return ENOMEM;
    }
    *ret = p;
    return 0;
}
#endif
