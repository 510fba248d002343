# SPDX-License-Identifier: GPL-2.0-only
"""Want of memory in the control group of one of Postern's workers: the kernel kills it."""

import contextlib
import os
import sys

from .base import LabError, poll, read, run
from .cgroup import TOP

# Takes memory, page by page, until the kernel has killed somebody: a worker goes before it, by an
# oom_score_adj of 1000.
TAKE = """
import mmap, os, sys
folder, most = sys.argv[1], 512 << 20
def kills():
    with open(folder + "/memory.oom_control") as f:
        return int(f.read().rpartition("oom_kill ")[2])
before, pages = kills(), mmap.mmap(-1, most)
with open(folder + "/cgroup.procs", "w") as f:
    f.write("0")
for at in range(0, most, 4096):
    pages[at] = 1
    if kills() > before:
        sys.exit(0)
sys.exit(1)
"""


def starve(pid):
    """Makes the group of process PID run out of memory once, then gives it back its limit."""
    for line in read(f"/proc/{pid}/cgroup").splitlines():
        _, names, path = line.split(":", 2)
        if names == "memory":
            return starve_v1(f"{TOP}/memory{path}")
        if names == "" and os.path.exists(f"{TOP}{path}/memory.max"):
            return starve_v2(f"{TOP}{path}")
    raise LabError(f"Process {pid} is in no control group with a memory limit.")


def starve_v1(folder):
    """A group takes no limit below what it uses: another process has to want more."""
    file = f"{folder}/memory.limit_in_bytes"
    with limit(file, int(read(f"{folder}/memory.usage_in_bytes")) + (1 << 20)):
        done = run([sys.executable, "-I", "-S", "-c", TAKE, folder], check=False, timeout=60)
    if done.returncode != 0:
        raise LabError(f"The kernel killed nothing in {folder}: {done.stderr.strip()}.")


def starve_v2(folder):
    kills = read(f"{folder}/memory.events")
    with limit(f"{folder}/memory.max", 65536):
        if not poll(lambda: read(f"{folder}/memory.events") != kills, 10, 0.01):
            raise LabError(f"The kernel killed nothing in {folder}.")


@contextlib.contextmanager
def limit(file, size):
    old = read(file).strip()
    put(file, size)
    try:
        yield
    finally:
        put(file, old)


def put(file, value):
    with open(file, "w", encoding="ascii") as f:
        f.write(str(value))
