# SPDX-License-Identifier: GPL-2.0-only
"""Harm that needs a moment or a measure: at a stage of the agent, to a process, to the memory."""

import contextlib
import os
import signal
import subprocess
import sys
import time

from lablib import cgroup, faults
from lablib.base import CLEAN_ENV, LabError, poll, read, wait_for
from lablib.node import Node

ROLE = "run/postern/cluster/role"
SIGNATURES = "/var/lib/postern/signatures"

# Eats memory in a control group, a megabyte at a time, until somebody is killed for it. That is a
# worker before the eater: theirs is an oom_score_adj of 1000.
HOG = """
import mmap, sys, time
limit, control = int(sys.argv[2]), sys.argv[3]
with open(sys.argv[1] + "/cgroup.procs", "w") as f: f.write("0")
def kills():
    with open(control) as f:
        return [line for line in f if line.startswith("oom_kill ")]
before, held = kills(), []
while kills() == before and len(held) < limit:
    page = mmap.mmap(-1, 1 << 20)
    page.write(b"x" * (1 << 20))
    held.append(page)
sys.exit(kills() == before)
"""


# Moments

def stage(lab, name):
    """The stages that the agent has noted on a node: taking, serving, leaving, standby."""
    pid = Node(lab, name).init_pid()
    lines = read(f"/proc/{pid}/root/{ROLE}", "").splitlines() if pid else []
    return [line.partition("=")[2] for line in lines if line.startswith("stage=")]


def at_stage(lab, name, wanted, harm, limit=60):
    """Waits until an action is under way on a node, then does harm at once; the moment of it."""
    wait_for(f"{name} is {wanted}", lambda: wanted in stage(lab, name), limit, 0.003)
    begun = time.time()
    harm()
    return begun


# Memory

def memory_group(pid):
    """The folder that bounds a process's memory, and the file that counts kills for it."""
    for line in read(f"/proc/{pid}/cgroup").splitlines():
        number, controllers, path = line.split(":", 2)
        if controllers == "memory":
            return f"{cgroup.TOP}/memory{path}", "memory.oom_control"
        if number == "0" and cgroup.pure_v2():
            return f"{cgroup.TOP}{path}", "memory.events"
    raise LabError(f"Process {pid} is in no memory group: the kernel has no such controller.")


def out_of_memory(node, room=48):
    """The engine's unit gets `room` MiB above what it uses, and something uses them up."""
    engine = faults.main_process(node, "postern-engine.service")
    folder, control = memory_group(engine)
    used = int(node.run("systemctl", "show", "-P", "MemoryCurrent",
                        "postern-engine.service").stdout)
    limit = (used >> 20) + room
    node.run("systemctl", "set-property", "--runtime", "postern-engine.service",
             f"MemoryMax={limit}M")
    try:
        done = subprocess.run([sys.executable, "-I", "-S", "-c", HOG, folder, str(2 * limit),
                               f"{folder}/{control}"], env=CLEAN_ENV, timeout=120, check=False)
        if done.returncode != 0:
            raise LabError(f"Nobody was killed above {limit} MiB in {folder}.")
    finally:
        node.run("systemctl", "set-property", "--runtime", "postern-engine.service",
                 "MemoryMax=infinity")


# Readiness

@contextlib.contextmanager
def unready(lab, name):
    """A node whose engine lives and cannot have its signatures."""
    node = Node(lab, name)
    node.run("sh", "-c", f"mkdir {SIGNATURES}.away && mv {SIGNATURES}/* {SIGNATURES}.away/")
    restart_engine(node)
    try:
        yield
    finally:
        if poll(lambda: node.power() == "on", 60):
            node.run("sh", "-c", f"mv {SIGNATURES}.away/* {SIGNATURES}/ && "
                     f"rmdir {SIGNATURES}.away")
            restart_engine(node)


def restart_engine(node):
    """By its death, as the cluster would see it; a second one only when the first is replaced."""
    old = faults.main_process(node, "postern-engine.service")
    os.kill(old, signal.SIGKILL)
    wait_for(f"the engine on {node.name} is replaced", lambda: main_or_none(node) not in (
        None, old), 60, 0.2)


def main_or_none(node):
    try:
        return faults.main_process(node, "postern-engine.service")
    except LabError:
        return None
