/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef WORDS_H
#define WORDS_H

/* A plan in the words of the tools that administrators know. The commands do the same when they
 * are typed; a person who types them waits between the steps as struct plan_step says. */

#include <glib.h>

#include "plan.h"

enum words_tool { WORDS_PCS, WORDS_CRMSH };

/* Lines for a shell (char *) that do STEP of setup, or of remove (MODEL names the constraints that
 * go); g_ptr_array_unref(). */
GPtrArray *words_setup(const struct plan *plan, unsigned step, enum words_tool tool);
GPtrArray *words_remove(const struct plan *plan, const struct model *model, unsigned step,
                        enum words_tool tool);

#endif
