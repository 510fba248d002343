# SPDX-License-Identifier: GPL-2.0-only
"""What the tests of the agent say and do again and again."""

import os
import time

import pytest

OK, ERROR, INVALID, PRIVILEGE = 0, 1, 2, 4
NOT_INSTALLED, CONFIGURED, NOT_RUNNING, PROMOTED = 5, 6, 7, 8
DEGRADED_PROMOTED = 191


def until(what, check, timeout=60):
    end = time.monotonic() + timeout
    while not check():
        assert time.monotonic() < end, f"waited {timeout} s in vain until {what}"
        time.sleep(0.05)


def started(node):
    done = node.agent("start")
    assert done.rc == OK, done.err
    until("the engine is ready", lambda: node.attribute("master-scanner") == "100000")


def promoted(node, **params):
    started(node)
    done = node.agent("promote", **params)
    assert done.rc == OK, done.err


def freezer(name):
    """A v1 freezer: what is frozen there does not even die of SIGKILL."""
    top = "/sys/fs/cgroup/freezer"
    if not os.path.isdir(top):
        pytest.skip("needs the freezer of cgroup v1")
    os.makedirs(f"{top}/{name}", exist_ok=True)
    return f"{top}/{name}"


def outer_pid(node, inner):
    """The number here of a process that has the number INNER in the node."""
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
