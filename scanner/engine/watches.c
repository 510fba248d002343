/* SPDX-License-Identifier: GPL-2.0-only */
#include "config.h"
#include "watches.h"

#include <sys/inotify.h>

/* The directory is gone, or elsewhere: another one of that name is to be watched when it is there.
 */
static void
forget(struct watches *watches, sd_event_source *source)
{
    for (unsigned i = 0; i < WATCHES; i++) {
        if (watches->sources[i] == source) {
            watches->sources[i] = sd_event_source_disable_unref(source);
        }
    }
}

/* Names of temporary files come and go with every change, this process's own too. */
static int
on_change(sd_event_source *source, const struct inotify_event *event, void *data)
{
    struct watches *watches = data;
    if ((event->mask & (IN_IGNORED | IN_MOVE_SELF)) != 0) {
        forget(watches, source);
        watches->changed(watches->data);
    } else if ((event->mask & IN_Q_OVERFLOW) != 0 || (event->len > 0 && event->name[0] != '.')) {
        watches->changed(watches->data);
    }
    return 0;
}

bool
watches_renew(struct watches *watches, const struct settings *settings)
{
    const char *const dirs[WATCHES] = {settings->signatures_dir, settings->update_dir,
                                       settings->share_dir};
    bool is_new = false;
    for (unsigned i = 0; i < WATCHES; i++) {
        if (watches->sources[i] == NULL &&
            sd_event_add_inotify(watches->event, &watches->sources[i], dirs[i],
                                 IN_MOVED_TO | IN_DELETE | IN_MOVE_SELF | IN_ONLYDIR, on_change,
                                 watches) >= 0) {
            is_new = true;
        }
    }
    return is_new;
}

void
watches_clear(struct watches *watches)
{
    for (unsigned i = 0; i < WATCHES; i++) {
        watches->sources[i] = sd_event_source_disable_unref(watches->sources[i]);
    }
}
