/* SPDX-License-Identifier: GPL-2.0-only */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <sched.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <glib.h>
#include <glib/gstdio.h>
#include <libxml/parser.h>

#include "action.h"
#include "milter.h"
#include "mounts.h"
#include "param.h"
#include "place.h"

#define NOBODY 65534

struct run {
    int code;
    char *out;
    char *err;
};

/* A copy that nobody can reach: the build tree may be below a home directory. */
static char *agent_dir;
static char *agent_path;

static int
copy_agent(void **state)
{
    g_autofree char *program = NULL;
    gsize size = 0;
    (void)state;
    agent_dir = g_dir_make_tmp("postern-XXXXXX", NULL);
    agent_path = g_build_filename(agent_dir, "postern-agent", NULL);
    return g_file_get_contents(AGENT, &program, &size, NULL) &&
                   g_file_set_contents(agent_path, program, (gssize)size, NULL) &&
                   g_chmod(agent_path, 0755) == 0 && g_chmod(agent_dir, 0755) == 0
               ? 0
               : -1;
}

static int
remove_agent(void **state)
{
    (void)state;
    int rc = g_unlink(agent_path) == 0 ? g_rmdir(agent_dir) : -1;
    g_free(agent_path);
    g_free(agent_dir);
    return rc;
}

static void
become_nobody(gpointer unused)
{
    (void)unused;
    if (geteuid() == 0 && (setgid(NOBODY) < 0 || setuid(NOBODY) < 0)) {
        _exit(99);
    }
}

/* Runs the built agent as nobody with ACTION (NULL = none) and the variables ENV. */
static struct run
agent_run(const char *action, const char *const *env)
{
    char *argv[] = {g_strdup(agent_path), g_strdup(action), NULL};
    struct run run = {0};
    int status = 0;
    assert_true(g_spawn_sync("/", argv, (char **)(uintptr_t)env, G_SPAWN_DEFAULT, become_nobody,
                             NULL, &run.out, &run.err, &status, NULL));
    run.code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    g_free(argv[0]);
    g_free(argv[1]);
    return run;
}

static void
run_clear(struct run *run)
{
    g_free(run->out);
    g_free(run->err);
}

static xmlDocPtr
metadata_read(void)
{
    static const char *const env[] = {NULL};
    struct run run = agent_run("meta-data", env);
    assert_int_equal(run.code, PCMK_OCF_OK);
    assert_string_equal(run.err, "");
    xmlDocPtr doc = xmlReadMemory(run.out, (int)strlen(run.out), "meta-data", NULL, 0);
    assert_non_null(doc);
    run_clear(&run);
    return doc;
}

/* The "name" attributes of all elements ELEMENT below NODE. */
static void
collect_names(const xmlNode *node, const char *element, GPtrArray *names)
{
    for (; node != NULL; node = node->next) {
        if (node->type == XML_ELEMENT_NODE && strcmp((const char *)node->name, element) == 0) {
            xmlChar *name = xmlGetProp(node, (const xmlChar *)"name");
            g_ptr_array_add(names, g_strdup((const char *)name));
            xmlFree(name);
        }
        collect_names(node->children, element, names);
    }
}

static GPtrArray *
metadata_names(const char *element)
{
    GPtrArray *names = g_ptr_array_new_with_free_func(g_free);
    xmlDocPtr doc = metadata_read();
    collect_names(xmlDocGetRootElement(doc), element, names);
    xmlFreeDoc(doc);
    return names;
}

/* validate-all as the user sees it: the sentence for the variables ENV. */
static void
check_refused(const char *variable, const char *sentence)
{
    const char *const env[] = {"OCF_RESOURCE_INSTANCE=x", variable, NULL};
    struct run run = agent_run("validate-all", env);
    g_autofree char *expected = g_strdup_printf("ocf-exit-reason:%s\n", sentence);
    assert_int_equal(run.code, PCMK_OCF_NOT_CONFIGURED);
    assert_string_equal(run.err, expected);
    run_clear(&run);
}

static void
test_metadata_actions(void **state)
{
    (void)state;
    g_autoptr(GPtrArray) names = metadata_names("action");
    assert_int_equal(names->len, 16);
    for (guint i = 0; i < names->len; i++) {
        assert_non_null(action_find(g_ptr_array_index(names, i)));
    }
    /* All that is in the table is advertised, but for notify, which is only put up with. */
    g_autofree char *all = action_names();
    g_auto(GStrv) table = g_strsplit(all, "|", -1);
    for (char **name = table; *name != NULL; name++) {
        bool found = strcmp(*name, "notify") == 0;
        for (guint i = 0; i < names->len; i++) {
            found = found || strcmp(*name, g_ptr_array_index(names, i)) == 0;
        }
        if (!found) {
            fail_msg("%s is not in the metadata", *name);
        }
    }
}

static void
test_metadata_params(void **state)
{
    (void)state;
    g_autoptr(GPtrArray) names = metadata_names("parameter");
    g_autoptr(GString) listed = g_string_new("parameter nonsense is not known; there are ");
    for (guint i = 0; i < names->len; i++) {
        const char *name = g_ptr_array_index(names, i);
        g_string_append_printf(listed, "%s%s", i > 0 ? ", " : "", name);
    }
    /* The refusal lists exactly what the metadata has, so the code knows no more either. */
    check_refused("OCF_RESKEY_nonsense=1", listed->str);
}

static void
test_bad_values(void **state)
{
    (void)state;
    check_refused("OCF_RESKEY_part=some", "parameter part=some is neither all nor engine");
    check_refused("OCF_RESKEY_config=etc/x", "parameter config=etc/x is not an absolute path");
    check_refused("OCF_RESKEY_config=/etc/a b",
                  "parameter config=/etc/a b has a character other than letters, digits and "
                  "/._-+@:,=");
    check_refused("OCF_RESKEY_queue_directory=spool",
                  "parameter queue_directory=spool is not an absolute path");
    check_refused("OCF_RESKEY_queue_directory=/x/..",
                  "parameter queue_directory=/x/.. is the root directory");
    check_refused("OCF_RESKEY_b\nad=1",
                  "parameter b\\x0aad is not known; there are config, queue_directory, part, "
                  "require_ready");
    check_refused("OCF_RESKEY_require_ready=maybe",
                  "parameter require_ready=maybe is neither true nor false");
}

static void
test_part_of_promotable(void **state)
{
    static const char *const env[] = {"OCF_RESKEY_CRM_meta_promoted_max=1",
                                      "OCF_RESKEY_part=engine", NULL};
    (void)state;
    struct run run = agent_run("validate-all", env);
    assert_int_equal(run.code, PCMK_OCF_NOT_CONFIGURED);
    assert_non_null(strstr(run.err, "part=engine"));
    run_clear(&run);
}

/* What is wrong here alone must not be fatal everywhere. */
static void
test_missing_config(void **state)
{
    static const char *const env[] = {"OCF_RESKEY_config=/nonexistent/postern.conf", NULL};
    (void)state;
    struct run run = agent_run("validate-all", env);
    assert_int_equal(run.code, PCMK_OCF_INVALID_PARAM);
    assert_non_null(strstr(run.err, "/nonexistent/postern.conf"));
    run_clear(&run);
}

static void
check_usage(const char *action, int code)
{
    static const char *const env[] = {NULL};
    struct run run = agent_run(action, env);
    assert_int_equal(run.code, code);
    assert_non_null(
        strstr(code == PCMK_OCF_OK ? run.out : run.err, "usage: postern-agent {start|"));
    run_clear(&run);
}

static void
test_usage(void **state)
{
    static const char *const env[] = {NULL};
    (void)state;
    check_usage("usage", PCMK_OCF_OK);
    check_usage("nonsense", PCMK_OCF_UNIMPLEMENT_FEATURE);
    check_usage("", PCMK_OCF_UNIMPLEMENT_FEATURE);
    check_usage(NULL, PCMK_OCF_UNIMPLEMENT_FEATURE);
    struct run run = agent_run("start", env);
    assert_int_equal(run.code, PCMK_OCF_INSUFFICIENT_PRIV);
    run_clear(&run);
}

static void
check_place(struct settings *settings, char *dir, int expected)
{
    g_autofree char *error = NULL;
    settings->state_dir = dir;
    assert_int_equal(place_check(settings, &error), expected);
    assert_int_equal(error != NULL, expected != 0);
}

static void
test_place(void **state)
{
    char shared[] = "shared";
    char exclusive[] = "exclusive";
    char nobody[] = "nobody";
    char none[] = "/nonexistent";
    char file[] = "/etc/passwd";
    char root[] = "/etc";
    struct settings settings = {.daemon_user = nobody, .state_storage = exclusive};
    (void)state;
    check_place(&settings, none, -ENOENT);
    check_place(&settings, file, -ENOTDIR);
    check_place(&settings, root, -ENODEV);
    settings.state_storage = shared;
    check_place(&settings, root, -EACCES);
}

static void
test_milter_directory(void **state)
{
    char *listen[] = {(char[]){"inet:127.0.0.1:8894"}, (char[]){"unix:/run/postern/m/s.sock"},
                      NULL};
    struct settings settings = {.milter_listen = listen};
    (void)state;
    g_autofree char *directory = milter_directory(&settings);
    assert_string_equal(directory, "/run/postern/m");
    listen[1] = NULL;
    assert_null(milter_directory(&settings));
}

/* A queue that somebody else can write to could lead the mount anywhere. */
static void
test_milter_mount_refused(void **state)
{
    g_autofree char *mount = NULL;
    g_autofree char *error = NULL;
    (void)state;
    g_autofree char *dir = g_dir_make_tmp("postern-XXXXXX", NULL);
    assert_int_equal(g_chmod(dir, 0777), 0);
    assert_int_equal(milter_mount("/run", dir, &mount, &error), -EPERM);
    assert_null(mount);
    assert_non_null(error);
    assert_int_equal(g_rmdir(dir), 0);
    g_clear_pointer(&error, g_free);
    assert_int_equal(milter_unmount(dir, 0, &error), 0);
}

/* Whoever stands in the milter's directory holds neither the mount nor the queue's file system. */
static void
test_milter_unmount_busy(void **state)
{
    g_autofree char *mounted = NULL;
    g_autofree char *error = NULL;
    (void)state;
    if (geteuid() != 0 || unshare(CLONE_NEWNS) < 0 ||
        mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0) {
        skip();
    }
    g_autofree char *dir = g_dir_make_tmp("postern-XXXXXX", NULL);
    g_autofree char *source = g_build_filename(dir, "run", NULL);
    g_autofree char *queue = g_build_filename(dir, "queue", NULL);
    assert_int_equal(g_mkdir(source, 0755) + g_mkdir(queue, 0755), 0);
    assert_int_equal(mount("none", queue, "tmpfs", 0, "mode=0755"), 0);
    assert_int_equal(milter_mount(source, queue, &mounted, &error), 0);
    assert_int_equal(chdir(mounted), 0);
    assert_int_equal(umount(mounted), -1);
    assert_int_equal(milter_unmount(mounted, g_get_monotonic_time() + 100000, &error), 0);
    assert_false(mounts_has(mounted));
    assert_int_equal(umount(queue), 0);
    assert_int_equal(chdir("/"), 0);
    assert_int_equal(g_rmdir(source) + g_rmdir(queue) + g_rmdir(dir), 0);
}

static void
test_mounts(void **state)
{
    (void)state;
    g_autofree char *of_proc = mounts_of("/proc/self");
    g_autofree char *of_root = mounts_of("/procession");
    assert_string_equal(of_proc, "/proc");
    assert_string_equal(of_root, "/");
    assert_true(mounts_has("/proc"));
    assert_false(mounts_has("/proc/self"));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_metadata_actions),
        cmocka_unit_test(test_metadata_params),
        cmocka_unit_test(test_bad_values),
        cmocka_unit_test(test_part_of_promotable),
        cmocka_unit_test(test_missing_config),
        cmocka_unit_test(test_usage),
        cmocka_unit_test(test_place),
        cmocka_unit_test(test_milter_directory),
        cmocka_unit_test(test_milter_mount_refused),
        cmocka_unit_test(test_milter_unmount_busy),
        cmocka_unit_test(test_mounts),
    };
    return cmocka_run_group_tests(tests, copy_agent, remove_agent);
}
