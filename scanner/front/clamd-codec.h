/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef CLAMD_CODEC_H
#define CLAMD_CODEC_H

/*
 * The clamd protocol as bytes: commands, the chunks of INSTREAM, the lines of an answer. Pure: no
 * socket, no state but what the caller holds. Source: clamd(8) and clamd 1.4's own behaviour
 * (session.c, server-th.c, scanner.c).
 *
 * A command is "zNAME [ARGUMENT]\0", "nNAME [ARGUMENT]\n", or plain "NAME [ARGUMENT]", which ends
 * with the line, or, without a line end, with what has been received at once.
 */

#include <stdbool.h>
#include <glib.h>

/* Longest command: a path (PATH_MAX) and its name. */
#define CLAMD_COMMAND_MAX 4200U

enum clamd_command {
    CLAMD_UNKNOWN,
    CLAMD_PING,
    CLAMD_VERSION,
    CLAMD_COMMANDS, /* VERSIONCOMMANDS */
    CLAMD_STATS,
    CLAMD_INSTREAM,
    CLAMD_FILDES,
    CLAMD_SCAN,
    CLAMD_CONTSCAN,
    CLAMD_MULTISCAN,
    CLAMD_ALLMATCHSCAN,
    CLAMD_IDSESSION,
    CLAMD_END,
    CLAMD_RELOAD,
    CLAMD_SHUTDOWN,
};
/* "PING"; "UNKNOWN" for CLAMD_UNKNOWN. */
const char *clamd_command_name(enum clamd_command command);
/* All names as VERSIONCOMMANDS lists them; g_free(). */
char *clamd_command_list(void);

struct clamd_request {
    enum clamd_command command;
    char terminator; /* of the answer's lines: '\0' or '\n' */
    bool plain;
    const char *argument; /* in the input, not terminated, without NUL; NULL = none */
    gsize argument_len;
};

/*
 * Reads one command. Returns 1 with *USED bytes, 0 when more is needed, -EMSGSIZE when it is too
 * long to be one. FILDES is whole with the one byte behind it that carries the descriptor.
 */
int clamd_request_parse(const char *bytes, gsize len, struct clamd_request *ret, gsize *used);

/* The data of INSTREAM: chunks of a 4-byte length (network order) and as many bytes; 0 ends it. */
struct clamd_chunks {
    guint64 room; /* bytes that may still be announced; set by the caller */
    guint32 left; /* of the current chunk */
};

enum clamd_piece {
    CLAMD_PIECE_MORE,     /* more input is needed */
    CLAMD_PIECE_DATA,     /* *DATA, *DATA_LEN: content, in the input */
    CLAMD_PIECE_END,      /* the content is complete */
    CLAMD_PIECE_TOO_LONG, /* more was announced than there is room for */
};
/* Reads the next piece and adds what it used up to *USED. */
enum clamd_piece clamd_chunks_next(struct clamd_chunks *chunks, const char *bytes, gsize len,
                                   const char **data, gsize *data_len, gsize *used);

/* How the lines of an answer begin and end. */
struct clamd_tag {
    guint32 id; /* within a session; 0: no number */
    char terminator;
};

/*
 * Appends "[ID: ][PATH: ]TEXT" and the terminator. A PATH with control characters, which is one
 * name to the file system, is escaped where lines end with '\n', or it could forge a line.
 */
void clamd_answer(GByteArray *out, const struct clamd_tag *tag, const char *path,
                  const char *format, ...) G_GNUC_PRINTF(4, 5);

#endif
