# SPDX-License-Identifier: GPL-2.0-only
"""Harm at a certain moment: while the agent is doing something on a node."""

import time

from lablib.base import read, wait_for
from lablib.node import Node

ROLE = "run/postern/cluster/role"


def stages(lab, name):
    """What the agent has noted on a node for each resource: taking, serving, leaving, standby."""
    pid = Node(lab, name).init_pid()
    lines = read(f"/proc/{pid}/root/{ROLE}", "").splitlines() if pid else []
    return [line.partition("=")[2] for line in lines if line.startswith("stage=")]


def at_stage(lab, name, wanted, harm, limit=60):
    """Waits until an action is under way on a node, then does harm at once; the moment of it."""
    wait_for(f"{name} is {wanted}", lambda: wanted in stages(lab, name), limit, 0.003)
    begun = time.time()
    harm()
    return begun
