# SPDX-License-Identifier: GPL-2.0-only
"""Depths, reloads, and the faults that the agent names."""

import time

import pytest

from node import MOUNT, QUEUE, STATE, UNITS, stand_in, unpack
from steps import (DEGRADED_PROMOTED, ERROR, INVALID, NOT_INSTALLED, NOT_RUNNING, OK, PRIVILEGE,
                   PROMOTED, promoted, started, until)

LIBEXEC = "/usr/libexec/postern"


@pytest.mark.parametrize("level", (10, 20))
def test_depths(node, level):
    started(node)
    assert node.agent("monitor", level=level, interval=10000).rc == OK
    assert node.agent("promote").rc == OK
    assert node.agent("monitor", level=level, interval=7000).rc == PROMOTED
    node.behave(selftest=False)
    done = node.agent("monitor", level=level, interval=7000)
    assert (done.rc, "the test virus was not found" in done.reason) == (ERROR, True)
    assert node.agent("monitor", interval=7000).rc == PROMOTED
    node.behave(full=True)
    done = node.agent("monitor", level=level, interval=7000)
    assert (done.rc, done.reason) == (DEGRADED_PROMOTED, "the state is full")


def test_depth_of_an_engine_that_is_started_again(node):
    """Its death is told by the score; a deep monitor that meets it is no failure."""
    promoted(node)
    node.sh("mkdir -p /run/systemd/system/postern-engine.service.d; printf '[Service]\\n"
            "RestartSec=5\\n' > /run/systemd/system/postern-engine.service.d/99-late.conf;"
            "systemctl daemon-reload; kill -9 $(systemctl show -P MainPID postern-engine)")
    until("it is dead", lambda: node.unit("postern-engine") == "activating")
    assert node.agent("monitor", level=10, interval=7000).rc == PROMOTED
    node.sh("rm /run/systemd/system/postern-engine.service.d/99-late.conf; systemctl daemon-reload")


def test_depth_ends_in_time(node):
    """A posternd that does not answer must not take the agent with it."""
    node.behave(mute=True)
    promoted(node)
    begin = time.monotonic()
    done = node.agent("monitor", level=20, interval=7000, timeout=15)
    assert (done.rc, "posternd does not answer" in done.reason) == (ERROR, True)
    assert time.monotonic() - begin < 15
    assert node.agent("monitor", interval=7000).rc == PROMOTED


def test_reload(node):
    done = node.agent("reload")
    assert (done.rc, "not started here" in done.reason) == (NOT_RUNNING, True)
    promoted(node)
    pids = [node.unit(name, "MainPID") for name in ("postern-engine", "posternd")]
    assert node.agent("reload").rc == OK
    assert node.unit("posternd", "StatusText") == "read again"
    node.write("/etc/postern/postern.conf", f'state_dir = "{STATE}"\nnonsense = 1\n')
    done = node.agent("reload")
    assert (done.rc, "postern.conf:2" in done.reason) == (INVALID, True)
    assert [node.unit(name, "MainPID") for name in ("postern-engine", "posternd")] == pids
    assert node.agent("monitor", interval=7000).rc == PROMOTED


def test_queue_is_moved_while_mail_flows(node):
    other = f"{MOUNT}/other"
    node.sh(f"install -d {other}")
    promoted(node, queue_directory=QUEUE)
    pid = node.unit("posternd", "MainPID")
    for now, before in ((other, QUEUE), (QUEUE, other)):
        assert node.agent("reload-agent", queue_directory=now).rc == OK
        assert f"{now}/postern" in node.mounts()
        assert f"{before}/postern" not in node.mounts()
        node.sh(f"test -S {now}/postern/milter.sock")
    assert node.agent("reload-agent").rc == OK
    assert f"{QUEUE}/postern" not in node.mounts()
    assert node.unit("posternd", "MainPID") == pid
    assert node.agent("reload-agent", queue_directory=QUEUE).rc == OK
    assert node.agent("demote", queue_directory=other).rc == OK
    assert f"{QUEUE}/postern" not in node.mounts()
    assert node.agent("reload-agent", queue_directory=other).rc == OK
    assert f"{other}/postern" not in node.mounts()


def test_move_of_the_queue_that_is_in_use(node):
    """Whoever stays in the old mount does not hinder."""
    other = f"{MOUNT}/other"
    node.sh(f"install -d {other}")
    promoted(node, queue_directory=QUEUE)
    node.sh(f"systemd-run -q --unit=holder -p WorkingDirectory={QUEUE}/postern sleep 600")
    assert node.agent("reload-agent", queue_directory=other).rc == OK
    assert f"{QUEUE}/postern" not in node.mounts()
    node.sh("systemctl stop holder")
    assert node.agent("demote", queue_directory=other).rc == OK
    assert f"{other}/postern" not in node.mounts()


def test_promote_without_start_is_refused(node):
    done = node.agent("promote")
    assert (done.rc, "was not started on this node" in done.reason) == (NOT_RUNNING, True)
    assert node.unit("posternd") == "inactive"


def test_monitor_changes_nothing_that_is_known(node):
    """Every change of an attribute makes the cluster plan anew."""
    def attributes():
        return node.run("cibadmin", "-Q", "--xpath", "//transient_attributes").out

    promoted(node)
    assert node.agent("monitor", interval=7000).rc == PROMOTED
    before = attributes()
    for _ in range(20):
        assert node.agent("monitor", interval=7000).rc == PROMOTED
    assert node.sh("attrd_updater -R; echo done") == "done"
    assert node.agent("monitor", interval=7000).rc == PROMOTED
    assert attributes() == before


@pytest.mark.long
def test_disk_that_is_silent_at_the_promotion(node):
    """The real posternd, which waits for it, is alive. To kill it gains nothing."""
    started(node)
    unpack("./usr/libexec/postern/posternd")
    try:
        node.sh(f"fsfreeze -f {MOUNT}; systemd-run -q --unit=thaw sh -c "
                f"'sleep 18; fsfreeze -u {MOUNT}'")
        begin = time.monotonic()
        done = node.agent("promote", timeout=60)
        assert (done.rc, node.unit("posternd", "NRestarts")) == (OK, "0"), \
            done.err + node.sh("journalctl -b --no-pager -n 60")
        assert time.monotonic() - begin > 12
        assert node.agent("monitor", interval=7000).rc == PROMOTED
        assert node.agent("demote").rc == OK
    finally:
        until("it is thawed", lambda: node.unit("thaw") in ("inactive", "failed"), 30)
        assert node.agent("stop").rc == OK
        stand_in(node, "posternd")
        node.sh(f"rm -rf {STATE}/*")


def test_posternd_that_others_end(node):
    """A clean end is no crash to systemd, but nobody serves."""
    promoted(node)
    begin = node.sh("date +%s")
    node.sh("kill $(systemctl show -P MainPID posternd)")
    until("it has ended", lambda: node.unit("posternd") == "inactive")
    done = node.agent("monitor", interval=7000)
    assert (done.rc, "ended by somebody else" in done.reason) == (ERROR, True)
    until("postern-notify tells the cluster", lambda: node.told(begin))
    assert node.agent("demote").rc == OK
    assert node.agent("promote").rc == OK


def test_storage_unmounted_under_posternd(node):
    """As ocf:heartbeat:Filesystem does it: who uses the file system is ended, then it goes."""
    promoted(node)
    node.sh(f"kill $(systemctl show -P MainPID posternd); while ! umount {MOUNT}; do :; done "
            "2>/dev/null")
    done = node.agent("monitor", interval=7000)
    assert (done.rc, "unmounted under posternd" in done.reason) == (ERROR, True)
    assert node.agent("demote").rc == OK
    assert node.agent("monitor").rc == OK


@pytest.mark.parametrize("path,change,undo", (
    (f"{LIBEXEC}/posternd", "chown postern", "chown root"),
    (f"{LIBEXEC}/postern-engine", "chmod g+w", "chmod g-w"),
    (LIBEXEC, "chmod o+w", "chmod o-w"),
    ("/etc/postern/postern.conf", "chown postern", "chown root")))
def test_what_others_can_change_is_not_started(node, path, change, undo):
    node.sh(f"{change} {path}")
    try:
        for action in ("validate-all", "start"):
            done = node.agent(action)
            assert (done.rc, path in done.reason) == (PRIVILEGE, True), done.err
    finally:
        node.sh(f"{undo} {path}")
    assert node.agent("validate-all").rc == OK


def test_another_version_is_named(node):
    node.behave(version="0.0.9")
    for action in ("validate-all", "start"):
        done = node.agent(action)
        assert (done.rc, "version 0.0.9" in done.reason) == (NOT_INSTALLED, True), done.err


def test_a_program_that_gives_no_answer_in_time_is_no_other_version(node):
    """A node at its boot is busy: this must not keep the cluster from it for ever."""
    node.behave(mute=60)
    assert node.agent("start", timeout=60).rc == OK


def test_a_program_that_was_replaced_is_named(node):
    """The stand-ins run in the interpreter, so here it is the real postern-notify."""
    started(node)
    assert node.agent("validate-all").rc == OK
    node.sh(f"cp {LIBEXEC}/postern-notify {LIBEXEC}/new; mv {LIBEXEC}/new {LIBEXEC}/postern-notify")
    done = node.agent("validate-all")
    assert (done.rc, "older than the installed" in done.reason) == (NOT_INSTALLED, True)
    node.sh("systemctl restart postern-notify")
    assert node.agent("validate-all").rc == OK


def test_start_leaves_no_older_program_alone(node):
    """What somebody started before an upgrade is replaced; under mail, or a second resource, not."""
    def replace():
        python = node.sh("readlink -f /usr/bin/python3")
        for path in (python, f"{LIBEXEC}/postern-notify"):
            node.sh(f"cp {path} {path}.new; mv {path}.new {path}")
        assert node.agent("validate-all").rc == NOT_INSTALLED

    def pids():
        return [node.unit(name, "MainPID") for name in ("postern-engine", "postern-notify")]

    node.sh("systemctl start postern-engine postern-notify")
    before = pids()
    replace()
    promoted(node)
    now = pids()
    assert not set(now) & set(before)
    assert node.agent("validate-all").rc == OK
    replace()
    assert node.agent("start").rc == OK
    assert pids() == now
    assert node.agent("demote").rc == OK
    assert node.agent("start", "warm", promotable=False, part="engine").rc == OK
    assert pids() == now
    assert node.agent("stop", "warm", promotable=False).rc == OK
    assert node.agent("start").rc == OK
    assert not set(pids()) & set(now)


def test_failed_migration_says_why(node):
    node.write("/etc/postern/postern.conf",
               f'state_dir = "{STATE}"\nstate_storage = "shared"\n')
    node.behave(refuse="another process holds the lease")
    done = node.agent("migrate_from", promotable=False)
    assert (done.rc, "another process holds the lease" in done.reason) == (ERROR, True)
    assert node.agent("stop", promotable=False).rc == OK


@pytest.mark.long
def test_full_run_while_pacemaker_stops(node):
    """The units' own stop waits for Pacemaker's, and systemd refuses to forget that: an error or a
    late answer here would have the node fenced at its clean shutdown."""
    promoted(node, queue_directory=QUEUE)
    node.sh("mkdir -p /run/systemd/system/pacemaker.service.d")
    node.write("/run/systemd/system/pacemaker.service.d/90-test.conf",
               "[Service]\nExecStop=\nExecStop=/bin/sh -c 'while [ ! -e /run/go-on ]; do "
               "sleep 0.1; done; kill $MAINPID'\n")
    node.sh("systemctl daemon-reload; systemctl stop --no-block pacemaker")
    node.run("dd", "if=/dev/zero", "of=/run/fill", "bs=1M", "status=none")
    try:
        for action in ("demote", "stop"):
            begin = time.monotonic()
            done = node.agent(action, queue_directory=QUEUE)
            assert done.rc == OK, done.err
            assert time.monotonic() - begin < 10
        assert f"{QUEUE}/postern" not in node.mounts()
    finally:
        node.sh("rm /run/fill; touch /run/go-on")
        until("Pacemaker has ended", lambda: node.unit("pacemaker") in ("inactive", "failed"), 60)
        node.sh("rm -r /run/go-on /run/systemd/system/pacemaker.service.d; systemctl daemon-reload;"
                "systemctl start pacemaker")
    for name in UNITS:
        assert node.unit(name) == "inactive"
        assert "pacemaker.service" not in node.unit(name, "Before").split()
