/* SPDX-License-Identifier: GPL-2.0-only */
#include "config.h"
#include "adoption.h"

#include "engine.h"

struct adoption {
    struct engine *engine;
};

int
adoption_new(struct engine *engine, struct adoption **ret, char **error_r)
{
    (void)error_r;
    *ret = g_new0(struct adoption, 1);
    (*ret)->engine = engine;
    return 0;
}

void
adoption_free(struct adoption *adoption)
{
    g_free(adoption);
}

void
adoption_consider(struct engine *engine)
{
    (void)engine;
}

void
adoption_proved(struct engine *engine)
{
    (void)engine;
}

void
adoption_disproved(struct engine *engine, const char *why)
{
    (void)engine;
    (void)why;
}

void
adoption_worker_left(struct engine *engine)
{
    (void)engine;
}

void
adoption_room_made(struct engine *engine)
{
    (void)engine;
}
