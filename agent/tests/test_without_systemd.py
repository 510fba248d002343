# SPDX-License-Identifier: GPL-2.0-only
"""The real agent on a machine that was not booted with systemd (plain.py): what is only there."""

import os
import signal
import subprocess
import tempfile

import pytest

from plain import install_stand_ins
from steps import ERROR, NOT_RUNNING, OK, PROMOTED, freezer, promoted, started, until


@pytest.fixture
def node(plain_node):
    return plain_node


def test_directories_are_made_after_a_boot(node):
    node.sh("rm -rf /run/postern; mkdir -p -m 700 /var/lib/postern; chmod 700 /var/lib/postern")
    started(node)
    assert node.sh("stat -c %a /var/lib/postern") == "755"
    assert node.sh("stat -c '%a %U %G' /run/postern /run/postern/engine /run/postern/milter") == (
        "1775 root postern\n755 postern-engine postern-engine\n2750 postern postern")


def test_rights_are_those_of_the_units(node):
    promoted(node)
    notify = node.sh("getent group postern-notify").split(":")[2]
    for program, user, caps, umask in (("postern-engine", "postern-engine", 0xc0, "0077"),
                                       ("posternd", "postern", 0, "0077"),
                                       ("postern-notify", "root", 0x2, "0022")):
        status = node.status(program)
        assert set(status["Uid"].split()) == {node.sh(f"id -u {user}")}, program
        assert {int(status[f"Cap{kind}"], 16) for kind in ("Eff", "Prm", "Bnd", "Amb")} == {caps}
        assert (status["NoNewPrivs"], status["Umask"]) == ("1", umask)
        assert notify in status["Groups"].split()
        assert int(status["SigBlk"], 16) & (1 << signal.SIGTERM - 1) == 0 or program[-1] == "y"
        pid = node.pid_of(program)
        assert node.sh(f"cat /proc/{pid}/oom_score_adj") == "0"
        assert "OCF" not in node.sh(f"tr '\\0' '\\n' < /proc/{pid}/environ")
        open_files = node.sh(f"readlink /proc/{pid}/fd/0 /proc/{pid}/fd/1")
        assert open_files.startswith("/dev/null\npipe:")
    assert node.status("posternd")["NSsid"] != node.status("postern-engine")["NSsid"]


def test_no_failure_before_the_first_probe(node):
    """The cluster does not know the resource here: it would recover it for ever."""
    recheck = "/usr/libexec/postern/postern-recheck"
    promoted(node)
    node.behave(refuse="no room")
    node.sh(f"mv {recheck} {recheck}.real")
    try:
        node.write(recheck, '#!/bin/sh\necho "${0##*/} $*" >> /run/told\nexit 3\n')
        node.sh(f"chmod 755 {recheck}; rm -f /run/told; kill -9 {node.pid_of('posternd')}")
        until("it was asked", lambda: "postern-recheck" in node.sh("cat /run/told || true"))
        assert node.agent("monitor", interval=7000).rc == ERROR
        assert "crm_resource -F" not in node.sh("cat /run/told")
    finally:
        node.sh(f"mv -f {recheck}.real {recheck}")


def test_engine_that_hangs_is_replaced(node):
    started(node)
    engine = node.pid_of("postern-engine")
    node.sh(f"kill -STOP {engine}")
    until("it is replaced", lambda: node.record("postern-engine", "main") not in (engine, "0"))
    until("the new one is ready", lambda: node.attribute("master-scanner") == "100000")


def test_dead_supervisor(node):
    """Nobody would start posternd again: the cluster is told, and stop finds what is left."""
    promoted(node)
    supervisor = node.record("posternd", "supervisor")
    node.sh(f"kill -9 {supervisor}")
    until("it is noticed", lambda: node.agent("monitor", interval=7000).rc == ERROR)
    assert any("posternd" in line for line in node.running())
    assert node.agent("demote").rc == OK
    assert not any("posternd" in line for line in node.running())
    assert node.agent("promote").rc == OK
    assert node.agent("monitor", interval=7000).rc == PROMOTED


def test_a_number_that_is_anothers_by_now(node):
    """Only number and start time together name a process."""
    promoted(node)
    node.sh(f"kill -9 {node.record('posternd', 'supervisor')} {node.pid_of('posternd')}")
    stranger = node.sh("setsid sleep 1000 >/dev/null 2>&1 & echo $!")
    path = "/run/postern/cluster/posternd.service.process"
    node.sh(f"sed -i 's/^supervisor=.*/supervisor={stranger}/; s/^main=.*/main={stranger}/' {path}")
    assert node.agent("monitor", interval=7000).rc == ERROR
    assert node.agent("demote").rc == OK
    node.sh(f"kill {stranger}")


def test_units_of_a_container_or_a_user_are_not_ours(node):
    """They may have our names: stop would kill them, and monitor take them for posternd."""
    top = os.path.dirname(freezer("postern.slice"))
    groups = [f"{top}/{at}/posternd.service" for at in (
        "machine.slice/systemd-nspawn@postern.service/payload/system.slice", "lxc.postern",
        "user.slice/user@77.service/app.slice", "postern.slice")]
    pids = [node.sh("setsid sleep 1000 </dev/null >/dev/null 2>&1 & echo $!") for _ in groups]
    try:
        for pid, group in zip(pids, groups):
            node.sh(f"mkdir -p {group}; echo {pid} > {group}/cgroup.procs")
        assert node.agent("monitor").rc == ERROR
        assert node.agent("stop").rc == OK
        assert [node.run("kill", "-0", pid).rc for pid in pids] == [0, 0, 0, 1]
        assert node.agent("monitor").rc == NOT_RUNNING
    finally:
        node.run("kill", "-9", *pids)
        until("they have ended", lambda: all(node.run("kill", "-0", p).rc != 0 for p in pids))
        for group in groups:
            node.run("sh", "-c", f"cd {top} && rmdir -p {os.path.relpath(group, top)}")


def test_the_real_programs(node):
    """They get from the supervisor what they get from systemd: rights, readiness, signs of life."""
    pack = subprocess.run(["tar", "-C", os.environ["POSTERN_STAGE"], "-cf", "-",
                           "usr/libexec/postern"], capture_output=True, check=True).stdout
    try:
        with tempfile.NamedTemporaryFile() as f:
            f.write(pack)
            f.flush()
            node.sh("rm -f /usr/libexec/postern/*")
            with open(f.name, "rb") as stream:
                subprocess.run(["nsenter", "-t", str(node.pid), "-m", "-r", "-w", "tar", "-C", "/",
                                "-xpf", "-", "--no-same-owner"], stdin=stream, check=True)
        promoted(node)
        until("verdicts are given", lambda: node.run("postern", "status").rc == 0)
        shown = node.run("postern", "status").out
        assert "This node" in shown and "serving" in shown, shown
        for helper in "postern-update", "postern-share":
            until(f"{helper} is up", lambda name=helper: node.condition(name) == "up")
            uid = node.sh(f"id -u {helper}").strip()
            assert set(node.status(helper)["Uid"].split()) == {uid}
            assert node.status(helper)["Groups"].split() == [node.sh(f"id -g {helper}").strip()]
        assert node.attribute("#health-postern") in ("green", "yellow", "red")
        assert node.agent("monitor", interval=7000, level=10).rc == PROMOTED
        zygote = node.sh("pidof postern-zygote").split()
        assert zygote
        assert node.agent("reload").rc == OK
        node.sh(f"kill -9 {node.pid_of('posternd')}")
        until("verdicts are given again", lambda: node.run("postern", "status").rc == 0)
        assert node.agent("stop").rc == OK
        assert node.run("pidof", "postern-zygote").rc == 1
        assert node.running() == []
    finally:
        node.agent("stop")
        install_stand_ins(node)


