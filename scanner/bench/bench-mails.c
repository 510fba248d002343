/* SPDX-License-Identifier: GPL-2.0-only */
#include "bench-mails.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#define HEADER "X-Bench: "
#define DIGITS 10

void
bench_die(const char *what, const char *name)
{
    fprintf(stderr, "bench: %s: %s: %s\n", name, what, errno != 0 ? strerror(errno) : "failed");
    exit(2);
}

uint64_t
bench_now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

/* Children write into it as well. */
static void *
shared(size_t size)
{
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        bench_die("memory", "mails");
    }
    return memory;
}

static int
is_mail(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

static void
load(struct bench_mail *mail, const char *path)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL || fseek(file, 0, SEEK_END) < 0) {
        bench_die("open", path);
    }
    mail->size = (size_t)ftell(file);
    mail->data = shared(mail->size + 1);
    rewind(file);
    if (fread(mail->data, 1, mail->size, file) != mail->size) {
        bench_die("read", path);
    }
    fclose(file);
    unsigned char *header = memmem(mail->data, mail->size, HEADER, strlen(HEADER));
    mail->token = header != NULL ? header + strlen(HEADER) : NULL;
}

struct bench_mails *
bench_mails_load(const char *dir)
{
    struct dirent **names;
    int count = scandir(dir, &names, is_mail, alphasort);
    if (count <= 0) {
        bench_die("no mails", dir);
    }
    struct bench_mails *mails = shared(sizeof *mails);
    mails->list = shared((size_t)count * sizeof *mails->list);
    mails->count = (size_t)count;
    mails->next = shared(sizeof *mails->next);
    for (int i = 0; i < count; i++) {
        char path[4096];
        snprintf(path, sizeof path, "%s/%s", dir, names[i]->d_name);
        load(&mails->list[i], path);
        free(names[i]);
    }
    free(names);
    return mails;
}

void
bench_mails_start(struct bench_mails *mails, uint64_t token)
{
    mails->token = token;
    atomic_store(mails->next, 0);
}

static void
number(unsigned char *token, uint64_t value)
{
    char digits[DIGITS + 1];
    snprintf(digits, sizeof digits, "%010" PRIu64, value % UINT64_C(10000000000));
    memcpy(token, digits, DIGITS);
}

struct bench_mail *
bench_mails_next(struct bench_mails *mails)
{
    size_t i = atomic_fetch_add(mails->next, 1);
    if (i >= mails->count) {
        return NULL;
    }
    struct bench_mail *mail = &mails->list[i];
    if (mail->token != NULL) {
        number(mail->token, mails->token + i);
    }
    return mail;
}

size_t
bench_mails_largest(const struct bench_mails *mails)
{
    size_t largest = 0;
    for (size_t i = 0; i < mails->count; i++) {
        largest = mails->list[i].size > largest ? mails->list[i].size : largest;
    }
    return largest;
}

size_t
bench_mails_copy(const struct bench_mails *mails, uint64_t nth, unsigned char *ret)
{
    const struct bench_mail *mail = &mails->list[nth % mails->count];
    memcpy(ret, mail->data, mail->size);
    if (mail->token != NULL) {
        number(ret + (mail->token - mail->data), mails->token + nth);
    }
    return mail->size;
}

void
bench_mails_print(const struct bench_mails *mails, uint64_t us, size_t bad)
{
    printf("{\"seconds\": %.6f, \"bad\": %zu, \"us\": [", (double)us / 1e6, bad);
    for (size_t i = 0; i < mails->count; i++) {
        printf("%s%" PRIu64, i > 0 ? ", " : "", mails->list[i].us);
    }
    printf("]}\n");
    fflush(stdout);
}
