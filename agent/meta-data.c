/* SPDX-License-Identifier: GPL-2.0-only */
#include "action.h"

#include <stdio.h>

#include "agent/metadata.h"

int
action_meta_data(struct agent *agent)
{
    (void)agent;
    return fputs(metadata_xml, stdout) < 0 || fflush(stdout) != 0 ? PCMK_OCF_UNKNOWN_ERROR
                                                                  : PCMK_OCF_OK;
}
