/* SPDX-License-Identifier: GPL-2.0-only */
/* What a confined process, which somebody may have taken over, can do no more. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "confine.h"
#include "test-tree.h"

enum { WELL, NOT_CONFINED, NO_THREAD, HAS_CHILD, HAS_PROGRAM };

static gpointer
nothing(gpointer data)
{
    return data;
}

/* In a process of its own, for there is no way back. */
static int
confined(int dir)
{
    if (confine(dir, 4096, 0) != NULL) {
        return NOT_CONFINED;
    }
    GThread *thread = g_thread_try_new("one", nothing, &dir, NULL);
    if (thread == NULL || g_thread_join(thread) != &dir) {
        return NO_THREAD;
    }
    pid_t child = fork();
    if (child >= 0 || errno != EPERM) {
        return HAS_CHILD;
    }
    (void)execl("/bin/true", "true", (char *)NULL);
    return errno == EPERM ? WELL : HAS_PROGRAM;
}

static void
test_no_children(void **state)
{
    (void)state;
    int status = 0;
    g_autofree char *path = g_dir_make_tmp("postern-confine-XXXXXX", NULL);
    int dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        _exit(confined(dir));
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), WELL);
    close(dir);
    test_tree_remove(path);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_no_children)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
