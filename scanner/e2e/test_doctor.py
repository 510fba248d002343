# SPDX-License-Identifier: GPL-2.0-only
"""postern doctor on a real Postfix and a running Postern: every finding once absent, once there."""
import json
import os
import pathlib
import shutil
import subprocess
import time

import pytest

MAIN = """
non_smtpd_milters = unix:{socket}
milter_content_timeout = 300s
milter_connect_timeout = 10s
message_size_limit = 50000000
message_reject_characters = \\0
"""


class Host:
    """A copy of a private Postfix's configuration, to be spoilt."""

    def __init__(self, postern, mta, folder):
        self.postern = postern
        self.socket = postern.dir / "milter.sock"
        self.dir = folder
        shutil.copytree(mta.dir / "conf", folder)
        master = (folder / "master.cf").read_text()
        (folder / "master.cf").write_text(master.replace(f"127.0.0.1:{mta.port} ", "smtp "))
        os.utime(folder / "master.cf", (1, 1))
        self.add(MAIN.format(socket=self.socket))

    def add(self, text, name="main.cf"):
        with open(self.dir / name, "a", encoding="ascii") as file:
            file.write(text + "\n")
        # Postfix waits before it reads a file that was changed just now.
        os.utime(self.dir / name, (1, 1))

    def doctor(self, *words, **more):
        run = self.postern.postern("doctor", "--json", "--postfix-config", self.dir, *words,
                                   check=False, **more)
        return run, json.loads(run.stdout)

    def findings(self, *words):
        """Level and id of what is not well."""
        run, report = self.doctor(*words)
        found = {(f["level"], f["id"]) for f in report["findings"] if f["level"] != "ok"}
        assert run.returncode == (1 if found else 0), run
        assert run.stderr == b""
        for finding in report["findings"]:
            assert finding["where"] and finding["what"]
            if finding["level"] in ("warning", "problem"):
                assert finding["todo"], finding
        return found


@pytest.fixture
def host(postern, mta, tmp_path_factory):
    return Host(postern, mta, tmp_path_factory.mktemp("doctor") / "conf")


def test_all_well(host):
    assert host.findings("postfix") == set()
    _, report = host.doctor("postfix")
    ids = {f["id"] for f in report["findings"]}
    assert {"postfix.default-action", "postfix.content-timeout", "postfix.timeout",
            "postfix.socket", "postfix.smtpd-milters", "postfix.non-smtpd-milters",
            "postfix.message-size", "postfix.nul", "postfix.internal-mail"} <= ids


OTHER = "127.0.0.1:10025 inet n - n - - smtpd\n  -o smtpd_milters="
SUBMISSION = "submission inet n - n - - smtpd"
MAIN_CASES = {
    "accept": ("milter_default_action = accept", "problem", "postfix.default-action"),
    "reject": ("milter_default_action = reject", "problem", "postfix.default-action"),
    "quarantine": ("milter_default_action = quarantine", "warning", "postfix.default-action"),
    "unknown action": ("milter_default_action = perhaps", "warning", "postfix.default-action"),
    "accept for one": ("smtpd_milters = {{ unix:{socket}, default_action=accept }}", "problem",
                       "postfix.default-action"),
    "content timeout far too short": ("milter_content_timeout = 15s", "problem",
                                      "postfix.content-timeout"),
    "content timeout too short": ("milter_content_timeout = 100", "warning",
                                  "postfix.content-timeout"),
    "content timeout too long": ("milter_content_timeout = 1h", "warning",
                                 "postfix.content-timeout"),
    "content timeout of one": ("smtpd_milters = {{ unix:{socket}, content_timeout=1m }}", "warning",
                               "postfix.content-timeout"),
    "connect timeout": ("milter_connect_timeout = 5m", "warning", "postfix.timeout"),
    "command timeout": ("milter_command_timeout = 1s", "warning", "postfix.timeout"),
    "no milters": ("smtpd_milters =", "problem", "postfix.smtpd-milters"),
    "another milter": ("smtpd_milters = unix:/run/opendkim/opendkim.sock", "problem",
                       "postfix.smtpd-milters"),
    "no local milters": ("non_smtpd_milters =", "problem", "postfix.non-smtpd-milters"),
    "no_milters": ("receive_override_options = no_milters", "problem", "postfix.no-milters"),
    "signer first": ("smtpd_milters = inet:localhost:8891, unix:{socket}", "warning",
                     "postfix.order"),
    "message size": ("message_size_limit = 0", "warning", "postfix.message-size"),
    "NUL": ("message_reject_characters =", "warning", "postfix.nul"),
    "bounces filtered": ("internal_mail_filter_classes = bounce", "warning",
                         "postfix.internal-mail"),
    "maps": ("smtpd_milter_maps = cidr:/etc/postfix/exceptions", "warning", "postfix.milter-maps"),
    "old protocol": ("milter_protocol = 2", "warning", "postfix.protocol"),
    "proxy": ("smtpd_proxy_filter = 127.0.0.1:10026", "problem", "postfix.proxy-filter"),
    "not there": ("smtpd_milters = unix:{dir}/absent/../milter.sock", "problem",
                  "postfix.smtpd-milters"),
    "path inside the queue": ("smtpd_milters = unix:/postern/milter.sock", "problem",
                              "postfix.chroot"),
}


@pytest.mark.parametrize("case", MAIN_CASES)
def test_main(host, case):
    text, level, name = MAIN_CASES[case]
    host.add(text.format(socket=host.socket, dir=host.postern.dir))
    assert host.findings("postfix") == {(level, name)}


MASTER_CASES = {
    "submission without": (SUBMISSION + "\n  -o smtpd_milters=", "problem",
                           "postfix.smtpd-milters"),
    "submission hidden": (SUBMISSION + "\n  -o receive_override_options=no_milters", "problem",
                          "postfix.no-milters"),
    "submission accepts": (SUBMISSION + "\n  -o milter_default_action=accept", "problem",
                           "postfix.default-action"),
    "reinjection without filter": (OTHER, "warning", "postfix.reinjection"),
    "reinjection loop": (SUBMISSION.replace("submission", "127.0.0.1:10025") +
                         "\n  -o content_filter=smtp:[127.0.0.1]:10024", "problem",
                         "postfix.filter-loop"),
    "pickup": ("pickup unix n - n 60 1 pickup\n  -o receive_override_options=no_milters",
               "problem", "postfix.no-milters"),
    "chroot": ("submission inet n - y - - smtpd", "problem", "postfix.chroot"),
    "open release": ("127.0.0.1:2526 inet n - n - - smtpd -o smtpd_milters=\n"
                     "postern-release inet n - n - - smtpd -o smtpd_milters=", "problem",
                     "postfix.release"),
}


@pytest.mark.parametrize("case", MASTER_CASES)
def test_master(host, case):
    text, level, name = MASTER_CASES[case]
    host.add(text, "master.cf")
    expected = {(level, name)}
    if case == "open release":
        expected.add(("warning", "postfix.reinjection"))
    assert host.findings("postfix") == expected


FINE_CASES = {
    "reinjection behind a filter": ("content_filter = smtp:[127.0.0.1]:10024",
                                    OTHER + "\n  -o content_filter="),
    "release": ("", "postern-release unix - - n - - smtpd -o smtpd_milters="),
    "signer behind": ("smtpd_milters = unix:{socket}, inet:localhost:8891", ""),
}


@pytest.mark.parametrize("case", FINE_CASES)
def test_fine(host, case):
    main, master = FINE_CASES[case]
    host.add(main.format(socket=host.socket))
    host.add(master, "master.cf")
    assert host.findings("postfix") == set()


def test_chroot_reaches_the_socket(host, mta):
    """In a chroot the path is below the queue directory: a bind mount brings the socket there."""
    below = mta.dir / "queue/postern"
    below.mkdir()
    subprocess.run(["mount", "--bind", host.postern.dir, below], check=True)
    try:
        host.add("submission inet n - y - - smtpd\n  -o smtpd_milters=unix:/postern/milter.sock",
                 "master.cf")
        assert host.findings("postfix") == set()
        host.postern.dir.chmod(0o700)
        assert ("problem", "postfix.socket") in host.findings("postfix")
        _, report = host.doctor("postfix", "--milter", "unix:/x")
        assert any("may not pass" in f["what"] and str(host.postern.dir) in f["what"]
                   for f in report["findings"])
    finally:
        host.postern.dir.chmod(0o2755)
        subprocess.run(["umount", below], check=True)
        below.rmdir()


def test_another_address(host):
    """Postern on another machine: --milter names it as main.cf does."""
    host.add("smtpd_milters = inet:scanner.lab.test:7357\n"
             "non_smtpd_milters = inet:scanner.lab.test:7357")
    assert ("problem", "postfix.smtpd-milters") in host.findings("postfix")
    assert host.findings("postfix", "--milter", "inet:scanner.lab.test:7357") == set()


def test_state(host):
    state = host.postern.dir / "state"
    bad = {"state.mode", "state.owner"}
    assert not bad & {name for _, name in host.findings("state")}
    state.chmod(0o755)
    try:
        assert ("problem", "state.mode") in host.findings("state")
        owner = state.stat()
        os.chown(state, 0, 0)
        try:
            assert ("problem", "state.owner") in host.findings("state")
        finally:
            os.chown(state, owner.st_uid, owner.st_gid)
    finally:
        state.chmod(0o700)


def other_settings(host, folder, old, new):
    """Looks with a changed configuration."""
    conf = folder / "postern.conf"
    text = (host.postern.dir / "postern.conf").read_text()
    assert old in text
    conf.write_text(text.replace(old, new))
    run = host.postern.postern("doctor", "--json", "--config", conf, "state", "host", check=False)
    return {(f["level"], f["id"]) for f in json.loads(run.stdout)["findings"]}


def test_settings(host, tmp_path):
    fine = other_settings(host, tmp_path, "state_dir", "state_dir")
    assert {("ok", "state.storage"), ("ok", "state.room"), ("ok", "host.id-base"),
            ("ok", "host.user")} <= fine
    low = 'state_low_water = "16M"'
    for new, finding in {
            low + '\nstate_storage = "shared"': ("warning", "state.storage"),
            'state_low_water = "900G"': ("problem", "state.room"),
            low + "\nid_base = 65300": ("problem", "host.id-base"),
            low + '\nmemory = "900G"': ("problem", "host.memory"),
            low + '\nspool_memory = "900G"': ("warning", "host.memory")}.items():
        assert finding not in fine
        assert finding in other_settings(host, tmp_path, low, new)
    line = 'daemon_user = "postern"'
    for new, finding in {'daemon_user = "nosuchuser"': ("problem", "host.user"),
                         'daemon_user = "root"': ("problem", "host.user")}.items():
        assert finding in other_settings(host, tmp_path, line, new)


def test_state_in_memory(host, tmp_path):
    place = tmp_path / "memory"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "none", place], check=True)
    try:
        found = other_settings(host, tmp_path, f'state_dir = "{host.postern.dir}/state"',
                               f'state_dir = "{place}"')
        assert ("problem", "state.volatile") in found
        subprocess.run(["mount", "-o", "remount,ro", place], check=True)
        found = other_settings(host, tmp_path, f'state_dir = "{host.postern.dir}/state"',
                               f'state_dir = "{place}"')
        assert ("problem", "state.read-only") in found
    finally:
        subprocess.run(["umount", place], check=True)


def test_signatures(host, tmp_path):
    """Their age is that of the newest file, where there is no daily database. How old is too old
    the configuration says, and nothing else."""
    def found(more=""):
        conf.write_text(text.replace(f"{host.postern.dir}/signatures", str(own)) + more)
        run = host.postern.postern("doctor", "--json", "--config", conf, "state", check=False)
        return {(f["level"], f["id"]) for f in json.loads(run.stdout)["findings"]}

    conf = tmp_path / "postern.conf"
    text = (host.postern.dir / "postern.conf").read_text()
    own = tmp_path / "signatures"
    own.mkdir()
    assert ("problem", "signatures.none") in found()
    source = tmp_path / "one.hsb"
    source.write_text("44d88612fea8a8f36de82e1278abb02f:68:Test.One\n")
    limits = "\nage_limit = 864000\nage_unsafe = 2592000\n"
    for days, more, level in ((0, "", "ok"), (5, "", "warning"), (20, "", "warning"),
                              (5, limits, "ok"), (20, limits, "warning"), (40, limits, "problem"),
                              (40, "\nage_limit = 0\n", "ok")):
        age = pathlib.Path(source).stat().st_mtime if days == 0 else \
            time.time() - days * 86400
        os.utime(source, (age, age))
        shutil.rmtree(own)
        own.mkdir()
        host.postern.postern("--config", conf, "signatures", "add", source)
        assert (level, "signatures.age") in found(more)


def test_update(host, tmp_path):
    """A source that has failed again and again."""
    def found(failures, ended):
        (tmp_path / "update/status.json").write_text(json.dumps({
            "ended": int(ended), "failures": failures, "result": "failed", "error": None,
            "sources": [{"origin": "https://a.test", "result": "failed", "error": "it is away"},
                        {"origin": "https://b.test", "result": "current", "error": None}]}))
        run = host.postern.postern("doctor", "--json", "--config", conf, "state", check=False)
        return [f["where"] for f in json.loads(run.stdout)["findings"]
                if f["id"] == "signatures.source"]

    conf = tmp_path / "postern.conf"
    text = (host.postern.dir / "postern.conf").read_text()
    conf.write_text(text.replace(f"{host.postern.dir}/update", str(tmp_path / "update")))
    (tmp_path / "update").mkdir()
    assert found(3, time.time()) == ["https://a.test"]
    assert found(2, time.time()) == []
    assert found(3, time.time() - 86400) == [], "another node fetches now"


def test_not_root(host):
    """What needs root says so, and is no finding."""
    run = subprocess.run(["setpriv", "--reuid", "nobody", "--regid", "nogroup", "--clear-groups",
                          host.postern.dir / "bin/postern", "--config",
                          host.postern.dir / "postern.conf", "doctor", "host"],
                         capture_output=True, text=True, check=False)
    assert run.returncode in (1, 2), run
    assert "run this as root" in run.stdout


def test_submission_socket(host, tmp_path):
    """A socket of its own for submission services is Postern too."""
    conf = tmp_path / "postern.conf"
    text = (host.postern.dir / "postern.conf").read_text()
    host.add(SUBMISSION + "\n  -o smtpd_milters=unix:/run/x/submission.sock", "master.cf")
    assert ("problem", "postfix.smtpd-milters") in host.findings("postfix")
    conf.write_text(text + '\nsubmission_listen = {"unix:/run/x/submission.sock"}\n')
    found = host.findings("postfix", "--config", conf)
    assert ("problem", "postfix.smtpd-milters") not in found


def test_release_service(host, mta, tmp_path):
    conf = tmp_path / "postern.conf"
    queue = mta.dir / "queue"
    text = "".join(line for line in (host.postern.dir / "postern.conf").open()
                   if not line.startswith("release_socket"))
    conf.write_text(text + f'\nrelease_socket = "{queue}/public/postern-out"\n')
    assert host.findings("postfix", "--config", conf) == {("warning", "postfix.no-release")}
    host.add("postern-out unix n - n - - smtpd -o smtpd_milters=", "master.cf")
    assert host.findings("postfix", "--config", conf) == set()


SYSTEMCTL = """#!/bin/sh
case "$*" in
*postern.target) printf 'LoadState=loaded\\nUnitFileState={target}\\n'; exit ;;
esac
cat <<TXT
ActiveState=active
LoadState={load}
LogRateLimitIntervalUSec={limit}
OOMPolicy={oom}
NeedDaemonReload={reload}
NoNewPrivileges=yes
Delegate=yes
UnitFileState={enabled}
DropInPaths={dropin}
TXT
"""
UNIT = {"load": "loaded", "limit": "0", "oom": "continue", "reload": "no", "enabled": "static",
        "dropin": "/run/systemd/system/x.d/50.conf", "target": "enabled"}
UNIT_CASES = {
    "well": ({}, None),
    "rate limit": ({"limit": "30s"}, ("warning", "unit.rate-limit")),
    "oom": ({"oom": "stop"}, ("warning", "unit.oom-policy")),
    "reload": ({"reload": "yes"}, ("warning", "unit.reload")),
    "drop-in": ({"dropin": "/etc/systemd/system/x.d/my.conf"}, ("warning", "unit.drop-in")),
    "missing": ({"load": "not-found"}, ("warning", "unit.missing")),
    "enabled": ({"enabled": "enabled"}, ("problem", "unit.enabled")),
    "enabled for a single host": ({}, ("problem", "unit.enabled")),
    "in a cluster": ({"target": "disabled"}, None),
    "not at boot": ({"target": "disabled"}, ("warning", "unit.boot")),
}
IN_CLUSTER = ("enabled", "enabled for a single host", "in a cluster")


@pytest.mark.parametrize("case", UNIT_CASES)
def test_units(host, tmp_path, case):
    """systemd's answers are a stand-in's: there is none where tests run."""
    change, expected = UNIT_CASES[case]
    tool = tmp_path / "systemctl"
    tool.write_text(SYSTEMCTL.format(**{**UNIT, **change}))
    tool.chmod(0o755)
    env = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    if case in IN_CLUSTER:
        env["CIB_file"] = "/nonexistent"
    _, report = host.doctor("host", env=env)
    found = {(f["level"], f["id"]) for f in report["findings"]
             if f["id"].startswith("unit.") and f["level"] != "ok"}
    assert found == ({expected} if expected else set())


@pytest.mark.parametrize("words, text", [
    (["doctor", "postfx"], "no subject postfx"),
    (["doctor", "--postfix-config"], "Missing argument")])
def test_usage(host, words, text):
    run = host.postern.postern(*words, check=False)
    assert (run.returncode, run.stdout) == (2, b"")
    assert text in run.stderr.decode()


def test_no_postfix(host):
    run, report = host.doctor("postfix", "--postfix-config", "/nonexistent")
    assert run.returncode == 2
    assert report["findings"][0]["level"] == "unchecked"


CIB = """<cib validate-with="pacemaker-3.9" epoch="1" num_updates="0" admin_epoch="0">
<configuration><crm_config><cluster_property_set id="p">
<nvpair id="p-s" name="stonith-enabled" value="true"/></cluster_property_set></crm_config>
<nodes/><resources>
<primitive id="fence" class="stonith" type="fence_ipmilan"/>
<clone id="scanner-clone"><meta_attributes id="m"><nvpair id="m-p" name="promotable" value="true"/>
<nvpair id="m-u" name="allow-unhealthy-nodes" value="true"/>
</meta_attributes><primitive id="scanner" class="ocf" provider="postern" type="scanner">
<operations><op id="o" name="monitor" role="Promoted" interval="7s"/></operations>
</primitive></clone>
<group id="mail"><primitive id="fs" class="ocf" provider="heartbeat" type="Filesystem"/>
<primitive id="postfix" class="ocf" provider="heartbeat" type="postfix"/></group>
</resources><constraints>
<rsc_colocation id="c" rsc="mail" with-rsc="scanner-clone" with-rsc-role="Promoted"
 score="INFINITY"/>
<rsc_order id="o1" first="scanner-clone" first-action="promote" then="postfix" then-action="start"
 kind="Optional"/>
<rsc_order id="o2" first="fs" then="scanner-clone" then-action="promote"/></constraints>
<rsc_defaults><meta_attributes id="d"><nvpair id="d-s" name="resource-stickiness" value="1"/>
</meta_attributes></rsc_defaults></configuration><status/></cib>
"""
CIB_CASES = {
    "no fencing": ('value="true"/></cluster', 'value="false"/></cluster', "problem",
                   "cluster.fencing"),
    "no device": ('class="stonith"', 'class="systemd"', "problem", "cluster.fencing"),
    "quorum": ('<nvpair id="p-s"', '<nvpair id="q" name="no-quorum-policy" value="ignore"/>'
               '<nvpair id="p-s"', "warning", "cluster.quorum"),
    "maintenance": ('<nvpair id="p-s"', '<nvpair id="q" name="maintenance-mode" value="true"/>'
                    '<nvpair id="p-s"', "warning", "cluster.maintenance"),
    "colocation": ('with-rsc-role="Promoted"', "", "problem", "cluster.colocation"),
    "finite": (' score="INFINITY"/>', ' score="10000"/>', "problem", "cluster.colocation"),
    "no order": ('first-action="promote"', 'first-action="start"', "warning", "cluster.order"),
    "no mount order": ('then-action="promote"', 'then-action="start"', "problem",
                       "cluster.order"),
    "order": ('kind="Optional"', 'kind="Mandatory"', "warning", "cluster.order"),
    "stickiness": ('"resource-stickiness" value="1"', '"resource-stickiness" value="INFINITY"',
                   "problem", "cluster.stickiness"),
    "threshold": ('<nvpair id="d-s"', '<nvpair id="t" name="migration-threshold" value="3"/>'
                  '<nvpair id="d-s"', "warning", "cluster.failure-timeout"),
    "monitor": ('role="Promoted" interval', "interval", "warning", "cluster.monitor"),
    "unhealthy": ('name="allow-unhealthy-nodes"', 'name="globally-unique"', "warning",
                  "cluster.unhealthy"),
    "no scanner": ('provider="postern"', 'provider="other"', "warning", "cluster.resource"),
}


@pytest.mark.parametrize("case", ["well", *CIB_CASES])
def test_cluster(host, tmp_path, case):
    text, expected = CIB, set()
    if case != "well":
        old, new, level, name = CIB_CASES[case]
        assert text.count(old) == 1
        text, expected = text.replace(old, new), {(level, name)}
    path = tmp_path / "cib.xml"
    path.write_text(text)
    run, report = host.doctor("cluster", env={**os.environ, "CIB_file": str(path)})
    found = {(f["level"], f["id"]) for f in report["findings"] if f["level"] != "ok"}
    assert found == expected, run
