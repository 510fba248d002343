# SPDX-License-Identifier: GPL-2.0-only
"""The real agent on a machine that was not booted with systemd: namespaces of its own over the
host's files, an init that only reaps, stand-ins for engine and posternd, and for Pacemaker's tools.

POSTERN_STAGE=DIR  as for the other tests of the agent
"""

import os
import shutil
import signal
import subprocess
import tempfile
import time

import pytest

from conftest import HERE, MOUNT, QUEUE, STATE, Done, Node
from steps import ERROR, NOT_INSTALLED, NOT_RUNNING, OK, PROMOTED, until
from test_agent import freezer

PROGRAMS = ("postern-engine", "posternd", "postern-notify")
SETUP = """
set -e
mount --make-rprivate /
mount -t tmpfs tmpfs "$1"
mkdir "$1/up" "$1/work" "$1/root"
mount -t overlay node -o lowerdir=/,upperdir="$1/up",workdir="$1/work" "$1/root"
cd "$1/root"
mount -t proc proc proc
mount --rbind /sys sys
mount --rbind /dev dev
mount -t tmpfs tmpfs run
mkdir -p srv/mail tmp
mount -t tmpfs tmpfs srv/mail
tar -C "$2" -cf - . | tar -xpf - --keep-directory-symlink --no-overwrite-dir --no-same-owner
mkdir -p old
pivot_root . old
umount -l old
exec /usr/bin/python3 -c '
import os, time
os.setsid()
print("up", flush=True)
while True:
    try:
        os.waitpid(-1, 0)
    except ChildProcessError:
        time.sleep(0.05)
'
"""
# attrd_updater -n NAME -U VALUE | -D, crm_resource -F: what the cluster would be told.
TOOL = """#!/bin/sh
echo "${0##*/} $*" >> /run/told
[ "$1" = -n ] || exit 0
mkdir -p /run/attributes
case $3 in
-U) echo "$4" > "/run/attributes/$2" ;;
-D) rm -f "/run/attributes/$2" ;;
esac
"""


class PlainNode(Node):
    """Namespaces without systemd."""

    def __init__(self, pid):
        self.pid = pid

    def run(self, *cmd, stdin=None, timeout=90):
        enter = ["nsenter", "-t", str(self.pid), "-m", "-p", "-u", "-i", "-r", "-w"]
        return Done(subprocess.run([*enter, *cmd], input=stdin, text=True, capture_output=True,
                                   timeout=timeout, check=False))

    def attribute(self, name):
        done = self.run("cat", f"/run/attributes/{name}")
        return done.out if done.rc == 0 else None

    def record(self, program, field):
        text = self.run("cat", f"/run/postern/cluster/{program}.service.process").out
        fields = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
        return fields.get(field)

    def pid_of(self, program):
        pid = self.record(program, "main")
        assert pid not in (None, "0"), f"{program} does not run"
        return pid

    def status(self, program):
        text = self.sh(f"cat /proc/{self.pid_of(program)}/status")
        return {k: v.strip() for k, v in (line.split(":", 1) for line in text.splitlines())}

    def running(self):
        text = self.sh("cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' '\\n' || true")
        return [line for line in text.splitlines() if "/usr/libexec/postern/" in line]


def install_stand_ins(node):
    with open(f"{HERE}/stand-in", encoding="utf-8") as f:
        stand_in = f.read()
    files = {f"/usr/libexec/postern/{name}": stand_in
             for name in ("postern-engine", "postern-zygote", "posternd")}
    files |= {f"/usr/sbin/{name}": TOOL for name in ("attrd_updater", "crm_resource")}
    for path, text in files.items():
        node.sh(f"rm -f {path}")
        node.write(path, text)
        node.sh(f"chmod 755 {path}")


def install(node):
    install_stand_ins(node)
    node.sh(f"mkdir -p /etc/postern; systemd-sysusers 2>&1; install -d {QUEUE}; "
            f"install -d -o postern -g postern -m 0700 {STATE}")
    node.write("/etc/postern/postern.conf", f'state_dir = "{STATE}"\n')


@pytest.fixture(scope="module")
def plain():
    stage = os.environ.get("POSTERN_STAGE")
    if not stage or os.geteuid() != 0:
        pytest.skip("needs root, and POSTERN_STAGE=DIR from 'make install DESTDIR=DIR'")
    folder = tempfile.mkdtemp(prefix="postern-plain-")
    init = subprocess.Popen(["unshare", "-m", "-p", "-u", "-i", "--fork", "--kill-child=KILL",
                             "/bin/sh", "-c", SETUP, "sh", folder, stage],
                            stdout=subprocess.PIPE, text=True)
    try:
        assert init.stdout.readline() == "up\n"
        child = subprocess.run(["pgrep", "-P", str(init.pid)], text=True, capture_output=True,
                               check=True).stdout.split()[0]
        node = PlainNode(int(child))
        install(node)
        yield node
    finally:
        init.kill()
        init.wait()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def node(plain):
    plain.behave()
    plain.sh("rm -rf /run/told /run/attributes")
    yield plain
    plain.behave()
    for resource in ("scanner", "second"):
        assert plain.agent("stop", resource, promotable=False).rc == OK
    assert plain.running() == []


def started(node):
    done = node.agent("start")
    assert done.rc == OK, done.err
    until("the engine is ready", lambda: node.attribute("master-scanner") == "100000")


def promoted(node, **params):
    started(node)
    done = node.agent("promote", **params)
    assert done.rc == OK, done.err


def test_life(node):
    """Every action twice: the second finds it done; nothing is left at the end."""
    assert node.agent("monitor").rc == NOT_RUNNING
    done = node.agent("validate-all")
    assert done.rc == OK, done.err
    assert node.agent("stop").rc == OK
    assert node.agent("demote").rc == NOT_RUNNING
    for _ in range(2):
        done = node.agent("start")
        assert done.rc == OK, done.err
        assert node.agent("monitor").rc == OK
    for _ in range(2):
        done = node.agent("promote", queue_directory=QUEUE)
        assert done.rc == OK, done.err
        assert node.agent("monitor", interval=7000).rc == PROMOTED
    assert f"{QUEUE}/postern" in node.mounts()
    for _ in range(2):
        assert node.agent("demote", queue_directory=QUEUE).rc == OK
        assert node.agent("monitor").rc == OK
    assert f"{QUEUE}/postern" not in node.mounts()
    for _ in range(2):
        assert node.agent("stop").rc == OK
        assert node.agent("monitor").rc == NOT_RUNNING
    assert node.running() == []
    assert node.attribute("master-scanner") == "10"
    assert node.attribute("#health-postern") is None
    assert node.sh("ls /run/postern/cluster | grep service || true") == ""


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


def test_readiness_is_told_at_once(node):
    node.behave(load=2)
    assert node.agent("start").rc == OK
    assert node.attribute("master-scanner") == "10"
    until("it is ready", lambda: node.attribute("master-scanner") == "100000", 6)
    assert node.attribute("postern-state") == "ready (gen-1)"


def test_killed_posternd_is_no_failure(node):
    promoted(node)
    engine, daemon = node.pid_of("postern-engine"), node.pid_of("posternd")
    node.sh(f"kill -9 {daemon}")
    assert node.agent("monitor", interval=7000).rc == PROMOTED
    until("it is back", lambda: node.record("posternd", "condition") == "up"
          and node.record("posternd", "main") != daemon)
    assert node.agent("monitor", interval=7000).rc == PROMOTED
    assert node.pid_of("postern-engine") == engine


def test_posternd_that_cannot_live_is_a_failure(node):
    promoted(node)
    node.behave(refuse="no room")
    node.sh(f"kill -9 {node.pid_of('posternd')}")
    until("it is given up", lambda: node.record("posternd", "condition") == "failed")
    done = node.agent("monitor", interval=7000)
    assert (done.rc, "posternd.service" in done.reason) == (ERROR, True)
    until("postern-notify tells the cluster", lambda: "crm_resource -F" in node.sh("cat /run/told"))
    assert node.agent("demote").rc == OK
    assert node.agent("monitor").rc == OK
    node.behave()
    assert node.agent("promote").rc == OK


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


def test_promote_says_why_posternd_refuses(node):
    started(node)
    node.behave(refuse="another process holds the lease")
    done = node.agent("promote")
    assert (done.rc, "another process holds the lease" in done.reason) == (ERROR, True)
    assert not any("posternd" in line for line in node.running())
    assert node.agent("demote").rc == OK


def test_engine_that_hangs_is_replaced(node):
    started(node)
    engine = node.pid_of("postern-engine")
    node.sh(f"kill -STOP {engine}")
    until("it is replaced", lambda: node.record("postern-engine", "main") not in (engine, "0"), 40)
    until("the new one is ready", lambda: node.attribute("master-scanner") == "100000")


def test_deaf_posternd_is_killed(node):
    node.behave(deaf=True)
    promoted(node)
    begin = time.monotonic()
    assert node.agent("demote", timeout=40).rc == OK
    assert time.monotonic() - begin > 3    # it had the time that the unit gives it
    assert not any("posternd" in line for line in node.running())


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


def outer_pid(node, inner):
    space = os.readlink(f"/proc/{node.pid}/ns/pid")
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/status", encoding="utf-8") as f:
                numbers = next(line for line in f if line.startswith("NSpid:")).split()
            if os.readlink(f"/proc/{pid}/ns/pid") == space and numbers[-1] == inner:
                return pid
        except (OSError, StopIteration):
            continue
    raise AssertionError(f"no process {inner}")


def test_what_cannot_be_killed_is_an_error_in_time(node):
    promoted(node)
    group = freezer("postern-plain-test")
    pid = outer_pid(node, node.pid_of("posternd"))
    with open(f"{group}/cgroup.procs", "w", encoding="ascii") as f:
        f.write(pid)
    with open(f"{group}/freezer.state", "w", encoding="ascii") as f:
        f.write("FROZEN")
    try:
        begin = time.monotonic()
        done = node.agent("demote", timeout=15)
        assert time.monotonic() - begin < 15
        assert (done.rc, "cannot be killed" in done.reason) == (ERROR, True), done.err
        assert node.agent("monitor").rc == ERROR
        assert node.agent("stop", timeout=5).rc == ERROR
    finally:
        with open(f"{group}/freezer.state", "w", encoding="ascii") as f:
            f.write("THAWED")
    assert node.agent("stop").rc == OK
    until("it is gone", lambda: not os.path.exists(f"/proc/{pid}"))
    os.rmdir(group)


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
        until("verdicts are given", lambda: node.run("postern", "status").rc == 0, 60)
        shown = node.run("postern", "status").out
        assert "This node" in shown and "serving" in shown, shown
        assert node.attribute("#health-postern") in ("green", "yellow", "red")
        assert node.agent("monitor", interval=7000, level=10).rc == PROMOTED
        zygote = node.sh("pidof postern-zygote").split()
        assert zygote
        assert node.agent("reload").rc == OK
        node.sh(f"kill -9 {node.pid_of('posternd')}")
        until("verdicts are given again", lambda: node.run("postern", "status").rc == 0, 30)
        assert node.agent("stop").rc == OK
        assert node.run("pidof", "postern-zygote").rc == 1
        assert node.running() == []
    finally:
        node.agent("stop")
        install_stand_ins(node)


def test_named_config(node):
    node.write("/etc/postern/other.conf", f'state_dir = "{STATE}"\n')
    assert node.agent("start", config="/etc/postern/other.conf").rc == OK
    assert "--config /etc/postern/other.conf" in node.sh(
        f"tr '\\0' ' ' < /proc/{node.pid_of('postern-engine')}/cmdline")


def test_full_run(node):
    """What cannot be written down keeps nothing from ending."""
    promoted(node)
    node.sh("mount -o remount,size=$(du -sk /run | cut -f1)k /run")
    try:
        assert node.agent("demote").rc == OK
        assert node.agent("stop").rc == OK
        assert node.running() == []
    finally:
        node.sh("mount -o remount,size=50% /run")


def test_what_is_missing_is_named(node):
    node.sh("mv /usr/libexec/postern/posternd /usr/libexec/postern/posternd.away")
    try:
        done = node.agent("validate-all")
        assert (done.rc, "posternd" in done.reason) == (NOT_INSTALLED, True)
    finally:
        node.sh("mv /usr/libexec/postern/posternd.away /usr/libexec/postern/posternd")
    assert MOUNT in node.mounts()
