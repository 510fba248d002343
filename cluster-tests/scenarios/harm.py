# SPDX-License-Identifier: GPL-2.0-only
"""Harm at a certain moment, or of a kind that has a story in each mode of the scanner."""

import contextlib
import time

from lablib import cluster
from lablib.base import LabError, read, wait_for
from lablib.node import Node

ROLE = "run/postern/cluster/role"
DAEMON = "posternd.service"
DROPIN = f"/run/systemd/system/{DAEMON}.d"


def stages(lab, name):
    """What the agent has noted on a node for each resource: taking, serving, leaving, standby."""
    pid = Node(lab, name).init_pid()
    lines = read(f"/proc/{pid}/root/{ROLE}", "").splitlines() if pid else []
    return [line.partition("=")[2] for line in lines if line.startswith("stage=")]


@contextlib.contextmanager
def slow_to_leave(story, name):
    """A node takes a moment to stop posternd: long enough to be seen at it."""
    story.run(name, "sh", "-c", f"mkdir -p {DROPIN}; printf '[Service]\\nExecStop=sleep 3\\n' "
              f">{DROPIN}/slow.conf; systemctl daemon-reload")
    yield
    with contextlib.suppress(LabError):     # a node that was lost has it no more
        story.run(name, "sh", "-c", f"rm -f {DROPIN}/slow.conf; systemctl daemon-reload")


def at_stage(lab, name, wanted, harm, limit=60):
    """Waits until an action is under way on a node, then does harm at once; the moment of it."""
    wait_for(f"{name} is {wanted}", lambda: wanted in stages(lab, name), limit, 0.003)
    begun = time.time()
    harm()
    return begun


def mended_in_place(story):
    """A failure of the scanner with the peer away: Postfix and Dovecot run on."""
    node = story.active()
    daemon, pids = story.main_pid(node, DAEMON), story.group_pids(node)
    with story.load() as load:
        story.crm("node", "standby", story.other(node))
        cluster.wait_idle(story.lab)
        begun = time.time()
        story.run(node, "crm_resource", "-F", "-r", "postern", "-N", node)
        load.flows(since=begun)
        story.serves(node)
        story.tells(load, begun)
        assert story.main_pid(node, DAEMON) not in (daemon, "0"), "nothing was recovered"
        assert story.group_pids(node) == pids
    story.audit(failed=[("postern", "monitor"), ("postern", "asyncmon")])
