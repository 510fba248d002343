# SPDX-License-Identifier: GPL-2.0-only
"""What the tests of the agent say and do again and again."""

import time

OK, ERROR, INVALID, PRIVILEGE = 0, 1, 2, 4
NOT_INSTALLED, CONFIGURED, NOT_RUNNING, PROMOTED = 5, 6, 7, 8
DEGRADED_PROMOTED = 191
UNITS = ("postern-engine", "posternd", "postern-notify")


def until(what, check, timeout=15):
    end = time.monotonic() + timeout
    while not check():
        assert time.monotonic() < end, f"waited {timeout} s in vain until {what}"
        time.sleep(0.05)


def started(node):
    assert node.agent("start").rc == OK
    until("the engine is ready", lambda: node.attribute("master-scanner") == "100000")


def promoted(node, **params):
    started(node)
    done = node.agent("promote", **params)
    assert done.rc == OK, done.err
