/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A client that costs little beside the scanner that it loads: sends the mails of a directory, each
 * over a connection of its own, CLIENTS at a time, and prints a line of JSON with what each took.
 *
 *   bench-client instream SOCKET CLIENTS MAILS TOKEN   clamd protocol, unix socket
 *   bench-client control SOCKET CLIENTS MAILS TOKEN    Postern's control socket
 *   bench-client smtp PORT CLIENTS MAILS TOKEN         SMTP on 127.0.0.1
 */
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <fcntl.h>
#include <unistd.h>

#include "bench-instream.h"
#include "bench-mails.h"
#include "packet.h"

#define CLIENTS_MAX 256
#define SEALS (F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW)

struct bench {
    bool (*send)(const struct bench *bench, const struct bench_mail *mail); /* accepted? */
    const char *where;
    struct bench_mails *mails;
    atomic_size_t bad;
};

static bool
send_instream(const struct bench *bench, const struct bench_mail *mail)
{
    char answer[INSTREAM_ANSWER_MAX];
    return bench_instream(bench->where, mail->data, mail->size, 0, answer) &&
           strcmp(answer, "stream: OK") == 0;
}

static bool
send_control(const struct bench *bench, const struct bench_mail *mail)
{
    int fd = memfd_create("bench", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    int sock = packet_connect(bench->where);
    json_auto_t *request = json_pack("{s:s}", "op", "scan");
    json_auto_t *answer = NULL;
    const char *verdict = "";
    bool ok = fd >= 0 && sock >= 0 && write(fd, mail->data, mail->size) == (ssize_t)mail->size &&
              fcntl(fd, F_ADD_SEALS, SEALS) == 0 && packet_send(sock, request, fd) == 0 &&
              packet_receive(sock, &answer, NULL) == 1 &&
              json_unpack(answer, "{s:s}", "verdict", &verdict) == 0 &&
              strcmp(verdict, "clean") == 0;
    close(fd);
    close(sock);
    return ok;
}

static int
connect_port(const char *port)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)atoi(port)),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const int on = 1;
    int sock = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (sock < 0 || connect(sock, (const struct sockaddr *)&address, sizeof address) < 0) {
        bench_die("connect", port);
    }
    (void)setsockopt(sock, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return sock;
}

/* The last line of a reply begins with CODE. */
static bool
expect(int sock, const char *code)
{
    char buffer[4096];
    size_t have = 0;
    while (have < sizeof buffer - 1) {
        ssize_t n = recv(sock, buffer + have, sizeof buffer - 1 - have, 0);
        if (n <= 0) {
            return false;
        }
        have += (size_t)n;
        buffer[have] = '\0';
        if (buffer[have - 1] != '\n') {
            continue;
        }
        char *line = memrchr(buffer, '\n', have - 1);
        line = line != NULL ? line + 1 : buffer;
        if (line[3] == ' ') {
            return strncmp(line, code, 3) == 0;
        }
    }
    return false;
}

static bool
say(int sock, const char *text, const char *code)
{
    return bench_write_all(sock, text, strlen(text)) && expect(sock, code);
}

/* The mails have no line that begins with a dot, and end with a line's end. */
static bool
send_smtp(const struct bench *bench, const struct bench_mail *mail)
{
    int sock = connect_port(bench->where);
    bool ok = expect(sock, "220") && say(sock, "EHLO client.test\r\n", "250") &&
              say(sock, "MAIL FROM:<sender@client.test>\r\n", "250") &&
              say(sock, "RCPT TO:<user@lab.test>\r\n", "250") && say(sock, "DATA\r\n", "354") &&
              bench_write_all(sock, mail->data, mail->size) && say(sock, ".\r\n", "250");
    (void)bench_write_all(sock, "QUIT\r\n", 6);
    close(sock);
    return ok;
}

static void *
client_run(void *data)
{
    struct bench *bench = data;
    for (struct bench_mail *mail; (mail = bench_mails_next(bench->mails)) != NULL;) {
        uint64_t start = bench_now_us();
        bool ok = bench->send(bench, mail);
        mail->us = bench_now_us() - start;
        if (!ok) {
            atomic_fetch_add(&bench->bad, 1);
        }
    }
    return NULL;
}

static void
run(struct bench *bench, unsigned clients, uint64_t token)
{
    pthread_t threads[CLIENTS_MAX];
    bench_mails_start(bench->mails, token);
    uint64_t start = bench_now_us();
    for (unsigned i = 0; i < clients; i++) {
        if (pthread_create(&threads[i], NULL, client_run, bench) != 0) {
            bench_die("thread", "bench-client");
        }
    }
    for (unsigned i = 0; i < clients; i++) {
        pthread_join(threads[i], NULL);
    }
    bench_mails_print(bench->mails, bench_now_us() - start, atomic_load(&bench->bad));
}

int
main(int argc, char **argv)
{
    static const struct {
        const char *name;
        bool (*send)(const struct bench *bench, const struct bench_mail *mail);
    } modes[] = {{"instream", send_instream}, {"control", send_control}, {"smtp", send_smtp}};
    struct bench bench = {.where = argc == 6 ? argv[2] : NULL};
    unsigned clients = argc == 6 ? (unsigned)atoi(argv[3]) : 0;
    for (size_t i = 0; argc == 6 && i < sizeof modes / sizeof modes[0]; i++) {
        if (strcmp(argv[1], modes[i].name) == 0) {
            bench.send = modes[i].send;
        }
    }
    if (bench.send == NULL || clients == 0 || clients > CLIENTS_MAX) {
        fprintf(stderr, "usage: bench-client instream|control|smtp WHERE CLIENTS MAILS TOKEN\n");
        return 2;
    }
    bench.mails = bench_mails_load(argv[4]);
    run(&bench, clients, strtoull(argv[5], NULL, 10));
    return 0;
}
