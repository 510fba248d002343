# SPDX-License-Identifier: GPL-2.0-only
"""The real agent, one action after the other: what holds with systemd, in a node of the lab, as it
does without (plain.py)."""

import os
import time

import pytest

from node import QUEUE, STATE
from steps import (ERROR, INVALID, NOT_INSTALLED, NOT_RUNNING, OK, PROMOTED, freezer, outer_pid,
                   promoted, started, until)


@pytest.fixture(params=("lab_node", "plain_node"))
def node(request):
    return request.getfixturevalue(request.param)


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
    assert [node.condition(name) for name in ("postern-engine", "posternd", "postern-notify")] == \
        ["up"] * 3
    assert f"{QUEUE}/postern" in node.mounts()
    for _ in range(2):
        assert node.agent("demote", queue_directory=QUEUE).rc == OK
        assert node.agent("monitor").rc == OK
    assert f"{QUEUE}/postern" not in node.mounts()
    for _ in range(2):
        assert node.agent("stop").rc == OK
        assert node.agent("monitor").rc == NOT_RUNNING
    assert node.traces() == []
    assert node.attribute("master-scanner") == "10"     # a recovery in place keeps the mail group
    for name in ("postern-state", "#health-postern"):
        assert node.attribute(name) is None


def test_readiness_is_told_at_once(node):
    node.behave(load=2)
    node.sh("echo 18 > /var/lib/postern/load_seconds")
    assert node.agent("start").rc == OK
    assert node.attribute("master-scanner") == "10"
    assert node.attribute("postern-state").endswith(", about 18 s")
    until("it is ready", lambda: node.attribute("master-scanner") == "100000")
    assert node.attribute("postern-state") == "ready (gen-1)"
    assert node.sh("cat /var/lib/postern/load_seconds") == "2"


def test_killed_posternd_is_no_failure(node):
    promoted(node)
    engine, daemon = node.pid_of("postern-engine"), node.pid_of("posternd")
    node.sh(f"kill -9 {daemon}")
    assert node.agent("monitor", interval=7000).rc == PROMOTED
    until("it is back", lambda: node.condition("posternd") == "up"
          and node.pid_of("posternd") != daemon)
    assert node.agent("monitor", interval=7000).rc == PROMOTED
    assert node.pid_of("postern-engine") == engine


def test_posternd_that_cannot_live_is_a_failure(node):
    promoted(node)
    begin = node.sh("date +%s")
    node.behave(refuse="no room")
    node.sh(f"kill -9 {node.pid_of('posternd')}")
    until("it is given up", lambda: node.condition("posternd") == "failed")
    done = node.agent("monitor", interval=7000)
    assert (done.rc, done.reason.startswith("posternd.service has failed and was given up: "),
            "no room" in done.reason) == (ERROR, True, True), done.err
    until("postern-notify tells the cluster", lambda: node.told(begin))
    assert node.agent("demote").rc == OK
    assert node.agent("monitor").rc == OK
    node.behave()
    assert node.agent("promote").rc == OK


def test_promote_says_why_posternd_refuses(node):
    started(node)
    node.behave(refuse="another process holds the lease")
    done = node.agent("promote")
    assert (done.rc, "another process holds the lease" in done.reason) == (ERROR, True)
    assert node.condition("posternd") == "down"
    assert node.agent("demote").rc == OK


def test_deaf_posternd_is_killed(node):
    """After the time that the unit gives it."""
    node.behave(deaf=True)
    promoted(node)
    begin = time.monotonic()
    assert node.agent("demote").rc == OK
    assert 3 < time.monotonic() - begin < 60
    assert node.condition("posternd") == "down"


def test_what_cannot_be_killed_is_an_error_in_time(node):
    """systemd calls it failed, but it lives: the node has to be fenced."""
    node.limit("posternd", "TimeoutStopSec=1")
    promoted(node)
    group = freezer("postern-agent-test")
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


def test_named_config(node):
    node.write("/etc/postern/other.conf", f'state_dir = "{STATE}"\n')
    assert node.agent("start", config="/etc/postern/other.conf").rc == OK
    assert "--config /etc/postern/other.conf" in node.sh(
        f"tr '\\0' ' ' < /proc/{node.pid_of('postern-engine')}/cmdline")
    done = node.agent("start", "scanner", config="/etc/postern/none.conf")
    assert (done.rc, "/etc/postern/none.conf" in done.reason) == (INVALID, True)


def test_full_run(node):
    """What cannot be written down, and a systemd that refuses to reload, keep nothing from ending:
    an error here would have the node fenced."""
    promoted(node, queue_directory=QUEUE)
    node.sh("mount -o remount,size=$(du -sk /run | cut -f1)k /run")
    try:
        assert node.agent("demote").rc == OK
        assert node.agent("monitor", interval=10000).rc == OK
        assert node.agent("stop").rc == OK
        assert node.agent("monitor").rc == NOT_RUNNING
        assert not node.pid_of("posternd") and not node.pid_of("postern-engine")
    finally:
        node.sh("mount -o remount,size=50% /run")
    assert f"{QUEUE}/postern" not in node.mounts()


def test_missing_program_is_named(node):
    node.sh("mv /usr/libexec/postern/posternd /usr/libexec/postern/posternd.away")
    try:
        done = node.agent("validate-all")
        assert (done.rc, "posternd" in done.reason) == (NOT_INSTALLED, True)
    finally:
        node.sh("mv /usr/libexec/postern/posternd.away /usr/libexec/postern/posternd")
