/* SPDX-License-Identifier: GPL-2.0-only */
#include "reload.h"

#include <string.h>
#include <systemd/sd-daemon.h>

#include "log.h"
#include "text.h"

#define VALUE_MAX 1000U

static void
on_changed(const char *name, const char *old, const char *fresh, bool is_taken, void *data)
{
    g_autofree char *from = text_escape(old, VALUE_MAX);
    g_autofree char *to = text_escape(fresh, VALUE_MAX);
    (void)data;
    if (is_taken) {
        log_notice("configuration: %s = %s (was: %s)", name, to, from);
    } else {
        log_warning("configuration: %s = %s needs a restart; until then: %s", name, to, from);
    }
}

/* The storage thread has the limits as numbers of its own: the loop may change them again. */
static int
limits_work(struct state *state, void *data)
{
    state_set_limits(state, data);
    return 0;
}

static void
limits_done(void *data, int result)
{
    (void)result;
    g_free(data);
}

bool
reload_run(const char *config, struct settings *current, struct storage *storage)
{
    g_autofree char *error = NULL;
    (void)sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%" G_GINT64_FORMAT, g_get_monotonic_time());
    g_autoptr(settings_t) fresh = settings_load(config, &error);
    if (fresh == NULL) {
        log_err("the configuration stays as it was: %s", error);
        (void)sd_notifyf(0, "READY=1\nSTATUS=The configuration stays as it was: %s", error);
        return false;
    }
    settings_take(current, fresh, on_changed, NULL);
    struct settings *numbers = g_new(struct settings, 1);
    *numbers = *current;
    storage_submit(storage, limits_work, limits_done, numbers);
    log_notice("configuration read again");
    (void)sd_notify(0, "READY=1\nSTATUS=");
    return true;
}
