/* SPDX-License-Identifier: GPL-2.0-only */
#include "config.h"
#include "eicar.h"

#include <glib.h>

#define EICAR_HEX                                                          \
    "58354f2150254041505b345c505a58353428505e2937434329377d2445494341522d" \
    "5354414e444152442d414e544956495255532d544553542d46494c452124482b482a"

const char *
eicar_signature(void)
{
    return EICAR_NAME ":0:0:" EICAR_HEX "\n";
}

void
eicar_bytes(unsigned char ret_bytes[EICAR_SIZE])
{
    static const char hex[] = EICAR_HEX;
    for (size_t i = 0; i < EICAR_SIZE; i++) {
        ret_bytes[i] = (unsigned char)(g_ascii_xdigit_value(hex[2 * i]) << 4 |
                                       g_ascii_xdigit_value(hex[2 * i + 1]));
    }
}
