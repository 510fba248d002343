/* SPDX-License-Identifier: GPL-2.0-only */
#include "config.h"
#include "node-report.h"

#include <dlfcn.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ask.h"
#include "board.h"
#include "cluster-peers.h"
#include "manifest.h"
#include "mta.h"
#include "node-state.h"
#include "postfix.h"
#include "precedence.h"
#include "program.h"
#include "remote.h"
#include "format.h"
#include "settings.h"
#include "turn.h"

#define REPORT_VERSION 1
#define AGENT "/usr/lib/ocf/resource.d/postern/scanner"
#define LOAD_SECONDS "/var/lib/postern/load_seconds"
#define QUARANTINE_MS 5000

/* The units whose state says something about the scanner or the mail server. */
static const char *const units[] = {
    "postern-engine.service", "posternd.service",       "postern-notify.service",
    "postern-share.service",  "postern-update.service", "postern.target",
    "pacemaker.service",      "corosync.service",       "sbd.service",
    "postfix.service",        "postfix@-.service",      "dovecot.service",
    "clamav-daemon.service",  "clamav-milter.service",  NULL,
};

static json_t *
text_or_null(const char *text)
{
    json_t *string = text == NULL ? NULL : json_string(text);
    return string == NULL ? json_null() : string;
}

/* The word after PREFIX in the first line that ARGV prints. */
static json_t *
version_of(const char *const argv[], const char *prefix)
{
    g_autofree char *error = NULL;
    g_autofree char *text = program_output(argv, &error);
    if (text == NULL || !g_str_has_prefix(text, prefix)) {
        return json_null();
    }
    const char *word = text + strlen(prefix);
    g_autofree char *version = g_strndup(word, strcspn(word, " \t\n"));
    return text_or_null(version);
}

/* Asks the library itself: the file's name has another number. */
static json_t *
libclamav_version(void)
{
    static const char *const names[] = {"libclamav.so.12", "libclamav.so"};
    json_t *version = NULL;
    for (size_t i = 0; version == NULL && i < G_N_ELEMENTS(names); i++) {
        void *library = dlopen(names[i], RTLD_LAZY | RTLD_LOCAL);
        const char *(*retver)(void) = NULL;
        if (library == NULL) {
            continue;
        }
        *(void **)&retver = dlsym(library, "cl_retver");
        version = retver == NULL ? NULL : json_string(retver());
        dlclose(library);
    }
    return version == NULL ? json_null() : version;
}

static json_t *
user_of(const char *name)
{
    const struct passwd *user = getpwnam(name);
    return user == NULL ? json_null() : json_pack("[i, i]", (int)user->pw_uid, (int)user->pw_gid);
}

static json_int_t
meminfo(const char *text, const char *name)
{
    const char *line = text == NULL ? NULL : strstr(text, name);
    return line == NULL ? 0 : g_ascii_strtoll(line + strlen(name), NULL, 10) * 1024;
}

static json_t *
memory_report(void)
{
    g_autofree char *text = NULL;
    (void)g_file_get_contents("/proc/meminfo", &text, NULL, NULL);
    return json_pack("{s:I, s:I}", "total", meminfo(text, "MemTotal:"), "available",
                     meminfo(text, "MemAvailable:"));
}

char *
node_file_hash(const char *path)
{
    g_autofree char *text = NULL;
    gsize length;
    if (!g_file_get_contents(path, &text, &length, NULL)) {
        return NULL;
    }
    return g_compute_checksum_for_data(G_CHECKSUM_SHA256, (const guchar *)text, length);
}

static void
settings_report(json_t *report, const char *path)
{
    g_autofree char *error = NULL;
    g_autofree char *hash = node_file_hash(path == NULL ? SETTINGS_PATH : path);
    g_autoptr(settings_t) settings = settings_load(path, &error);
    json_object_set_new(report, "config",
                        json_pack("{s:s, s:s?, s:s?}", "path", path == NULL ? SETTINGS_PATH : path,
                                  "sha256", hash, "error", error));
    json_t *listen = settings == NULL ? json_null() : json_array();
    for (char **a = settings == NULL ? NULL : settings->milter_listen; a != NULL && *a != NULL;
         a++) {
        json_array_append_new(listen, json_string(*a));
    }
    json_object_set_new(report, "milter_listen", listen);
    json_object_set_new(report, "state_dir",
                        text_or_null(settings == NULL ? NULL : settings->state_dir));
    json_object_set_new(report, "state_storage",
                        text_or_null(settings == NULL ? NULL : settings->state_storage));
}

static void
signatures_report(json_t *report, const struct settings *settings)
{
    g_autofree char *link = g_build_filename(settings->signatures_dir, "current", NULL);
    g_autofree char *generation = g_file_read_link(link, NULL);
    g_autofree char *seconds = NULL;
    json_object_set_new(report, "signatures",
                        json_pack("{s:s?, s:I}", "generation", generation, "date",
                                  (json_int_t)manifest_newest(settings->signatures_dir)));
    json_object_set_new(report, "load_seconds",
                        g_file_get_contents(LOAD_SECONDS, &seconds, NULL, NULL)
                            ? json_real(g_ascii_strtod(seconds, NULL))
                            : json_null());
}

/* What postern-share knows, unless it has stopped. */
static void
share_report(json_t *report, const struct settings *settings)
{
    static const char *const turns[] = {
        [PRECEDENCE_GO] = "go", [PRECEDENCE_WAIT] = "wait", [PRECEDENCE_REFUSED] = "refused"};
    json_t *status = board_load(settings);
    g_autofree char *why = NULL;
    const char *gives = ask_text(status, "gives");
    const char *turn = gives == NULL ? NULL : turns[precedence_of(settings, gives, NULL, &why)];
    gint64 age = board_age(status, board_now());
    json_object_set_new(report, "peers", cluster_peers_report(settings->share_peers));
    json_object_set_new(report, "update_on", text_or_null(settings->update_on));
    json_object_set_new(
        report, "share",
        age < 0 || age > precedence_silence(settings)
            ? json_null()
            : json_pack("{s:O?, s:O?, s:O?, s:O?, s:I, s:s?, s:s?, s:o}", "role",
                        json_object_get(status, "role"), "from", json_object_get(status, "from"),
                        "gives", json_object_get(status, "gives"), "error",
                        json_object_get(status, "error"), "age", (json_int_t)age, "turn", turn,
                        "why", why, "here", node_state_of(settings, gives, NULL)));
    json_decref(status);
}

/* One paragraph of systemctl show: NAME=VALUE lines. */
static void
unit_add(json_t *all, const char *paragraph)
{
    g_auto(GStrv) lines = g_strsplit(paragraph, "\n", -1);
    const char *id = NULL;
    const char *load = "";
    const char *active = "";
    const char *file = "";
    for (char **line = lines; *line != NULL; line++) {
        const struct {
            const char *name;
            const char **value;
        } wanted[] = {{"Id=", &id},
                      {"LoadState=", &load},
                      {"ActiveState=", &active},
                      {"UnitFileState=", &file}};
        for (size_t i = 0; i < G_N_ELEMENTS(wanted); i++) {
            if (g_str_has_prefix(*line, wanted[i].name)) {
                *wanted[i].value = *line + strlen(wanted[i].name);
            }
        }
    }
    if (id != NULL) {
        json_object_set_new(all, id,
                            json_pack("{s:b, s:s, s:b}", "present", strcmp(load, "loaded") == 0,
                                      "active", active, "enabled",
                                      g_str_has_prefix(file, "enabled")));
    }
}

static json_t *
units_report(void)
{
    g_autoptr(GPtrArray) words = g_ptr_array_new();
    g_autofree char *error = NULL;
    json_t *all = json_object();
    for (const char *const *word =
             (const char *const[]){"systemctl", "show", "-p",
                                   "Id,LoadState,ActiveState,UnitFileState", "--", NULL};
         *word != NULL; word++) {
        g_ptr_array_add(words, (void *)(guintptr)*word);
    }
    for (const char *const *unit = units; *unit != NULL; unit++) {
        g_ptr_array_add(words, (void *)(guintptr)*unit);
    }
    g_ptr_array_add(words, NULL);
    g_autofree char *text = program_output((const char *const *)words->pdata, &error);
    g_auto(GStrv) paragraphs = g_strsplit(text == NULL ? "" : text, "\n\n", -1);
    for (char **paragraph = paragraphs; *paragraph != NULL; paragraph++) {
        unit_add(all, *paragraph);
    }
    return all;
}

static json_t *
instance_report(const struct postfix *p, const struct settings *settings)
{
    g_autofree char *name = g_build_filename(p->dir, "main.cf", NULL);
    char *real = realpath(name, NULL);
    json_t *main_cf = text_or_null(real);
    free(real);
    return json_pack(
        "{s:s, s:s, s:o, s:s, s:b, s:s, s:s, s:s, s:i, s:s}", "name", p->name, "config_directory",
        p->dir, "main_cf", main_cf, "queue_directory", postfix_get(p, NULL, "queue_directory"),
        "chroot", mta_is_chrooted(p), "smtpd_milters", postfix_get(p, NULL, "smtpd_milters"),
        "non_smtpd_milters", postfix_get(p, NULL, "non_smtpd_milters"), "milter_default_action",
        postfix_get(p, NULL, "milter_default_action"), "master_pid", (int)postfix_master_pid(p),
        "milter", mta_state_word(mta_state(p, settings->milter_listen)));
}

static void
postfix_add(json_t *all, const char *dir, const struct settings *settings, char **error_r)
{
    g_autofree char *error = NULL;
    GPtrArray *instances = postfix_instances(dir, &error);
    for (guint i = 0; instances != NULL && i < instances->len; i++) {
        json_array_append_new(all, instance_report(g_ptr_array_index(instances, i), settings));
    }
    if (instances == NULL && *error_r == NULL) {
        *error_r = g_steal_pointer(&error);
    }
    g_clear_pointer(&instances, g_ptr_array_unref);
}

static void
postfix_report(json_t *report, const struct settings *settings, char *const *dirs)
{
    g_autofree char *error = NULL;
    json_t *all = json_array();
    if (*dirs == NULL) {
        postfix_add(all, NULL, settings, &error);
    }
    for (; *dirs != NULL; dirs++) {
        postfix_add(all, *dirs, settings, &error);
    }
    json_object_set_new(report, "postfix", all);
    json_object_set_new(report, "postfix_error", text_or_null(error));
}

static json_t *
quarantine_report(const char *control_socket)
{
    struct ask ask = {0};
    g_autofree char *error = NULL;
    json_t *answer = NULL;
    if (ask_open(&ask, "posternd", control_socket, &error) < 0) {
        return json_null();
    }
    json_t *request = json_pack("{s:s}", "op", "quarantine-usage");
    int rc = ask_call(&ask, request, -1, QUARANTINE_MS, &answer, NULL, &error);
    json_decref(request);
    ask_close(&ask);
    json_object_del(answer, "ok");
    return rc < 0 ? json_null() : answer;
}

static void
services_report(json_t *report, const struct settings *settings)
{
    g_autofree char *path = g_build_filename(settings->engine_dir, "engine.sock", NULL);
    g_autofree char *no_engine = NULL;
    g_autofree char *no_service = NULL;
    json_t *engine = ask_status("postern-engine", path, &no_engine);
    json_t *service = ask_status("posternd", settings->control_socket, &no_service);
    json_object_set_new(report, "quarantine",
                        service == NULL ? json_null()
                                        : quarantine_report(settings->control_socket));
    json_object_set_new(report, "engine", engine == NULL ? json_null() : engine);
    json_object_set_new(report, "service", service == NULL ? json_null() : service);
}

json_t *
node_report(const char *path, char *const *dirs)
{
    static const char *const pacemaker[] = {"pacemakerd", "--version", NULL};
    static const char *const systemd[] = {"systemctl", "--version", NULL};
    g_autofree char *ignored = NULL;
    /* A configuration with a fault still tells where the rest is: by the presets. */
    g_autoptr(settings_t) settings = settings_load(path, &ignored);
    if (settings == NULL) {
        g_autofree char *none = NULL;
        settings = settings_load("/dev/null", &none);
    }
    json_t *report = json_pack(
        "{s:i, s:s, s:s, s:o, s:o, s:o, s:{s:o, s:o}, s:o, s:o, s:b, s:f, s:[i, i]}", "version",
        REPORT_VERSION, "node", remote_local_node(), "postern", PACKAGE_VERSION, "pacemaker",
        version_of(pacemaker, "Pacemaker "), "libclamav", libclamav_version(), "systemd",
        version_of(systemd, "systemd "), "users", "postern", user_of("postern"), "postern-engine",
        user_of("postern-engine"), "memory", memory_report(), "units", units_report(), "agent",
        access(AGENT, X_OK) == 0, "clock", (double)g_get_real_time() / (double)G_USEC_PER_SEC,
        "state_formats", FORMAT_OLDEST, FORMAT_NEWEST);
    g_assert(report != NULL);
    g_autofree char *holder = turn_holder(TURN_PATH);
    json_object_set_new(report, "changing", text_or_null(holder));
    settings_report(report, path);
    signatures_report(report, settings);
    share_report(report, settings);
    postfix_report(report, settings, dirs);
    services_report(report, settings);
    return report;
}
