# SPDX-License-Identifier: GPL-2.0-only
"""The control groups of a lab: /sys/fs/cgroup/.../lab-NAME/NODE.

On a hybrid machine a node has a group in several hierarchies, on a machine
with cgroup v2 alone it has one. Freezing always uses v2: unlike the v1 freezer
it lets a frozen process die.
"""

import errno
import os

from .base import LabError, poll

TOP = "/sys/fs/cgroup"
V1 = ("systemd", "freezer", "pids", "memory", "devices")


def pure_v2():
    return os.path.exists(f"{TOP}/cgroup.controllers")


def hierarchies():
    if pure_v2():
        return [TOP]
    found = [f"{TOP}/{name}" for name in V1 + ("unified",)
             if os.path.isdir(f"{TOP}/{name}")]
    if f"{TOP}/unified" not in found:
        raise LabError(f"No cgroup v2 tree in {TOP} or {TOP}/unified: mount one.")
    return found


def freezing(lab, node):
    return f"{TOP if pure_v2() else TOP + '/unified'}/lab-{lab}/{node}"


def create(lab, node):
    for top in hierarchies():
        os.makedirs(f"{top}/lab-{lab}/{node}", exist_ok=True)
    if pure_v2():
        for folder in (TOP, f"{TOP}/lab-{lab}"):
            enable_controllers(folder)


def enable_controllers(folder):
    """Lets the children of a v2 group have memory and pids limits."""
    try:
        with open(f"{folder}/cgroup.subtree_control", "w", encoding="ascii") as f:
            f.write("+memory +pids")
    except OSError:
        pass  # the lab works without limits; a test of limits will say so


def join(lab, node, all_of_them=True):
    """Moves the calling process into the group of a node."""
    tops = hierarchies() if all_of_them else []
    for folder in [f"{top}/lab-{lab}/{node}" for top in tops] or [freezing(lab, node)]:
        try:
            with open(f"{folder}/cgroup.procs", "w", encoding="ascii") as f:
                f.write("0")
        except OSError as e:
            # A v2 group with controllers for its children takes no process.
            if e.errno != errno.EBUSY:
                raise LabError(f"Cannot enter {folder}: {e.strerror}.") from None


def pids(lab, node):
    """All processes of a node, as the caller's /proc numbers them."""
    found = set()
    for folder, _, _ in os.walk(freezing(lab, node)):
        try:
            with open(f"{folder}/cgroup.procs", encoding="ascii") as f:
                found.update(int(line) for line in f)
        except OSError:
            pass  # the group went away meanwhile
    found.discard(0)
    return found


def freeze(lab, node, on):
    folder = freezing(lab, node)
    with open(f"{folder}/cgroup.freeze", "w", encoding="ascii") as f:
        f.write("1" if on else "0")
    if on and not poll(lambda: frozen(lab, node), 10, 0.005):
        raise LabError(f"Node {node} did not freeze within 10 s ({folder}).")


def frozen(lab, node):
    try:
        with open(f"{freezing(lab, node)}/cgroup.events", encoding="ascii") as f:
            return "frozen 1" in f.read()
    except OSError:
        return False


def stuck(lab, node):
    """The group of processes that even SIGKILL does not end; None where there cannot be one.

    The v1 freezer holds a process as a disk that does not answer does.
    """
    freezer = f"{TOP}/freezer/lab-{lab}/{node}"
    return f"{freezer}/stuck" if os.path.isdir(freezer) else None


def stick(lab, node, pid):
    folder = stuck(lab, node)
    os.makedirs(folder, exist_ok=True)
    for name, text in (("cgroup.procs", str(pid)), ("freezer.state", "FROZEN")):
        with open(f"{folder}/{name}", "w", encoding="ascii") as f:
            f.write(text)


def thaw_stuck(lab, node):
    folder = stuck(lab, node)
    if folder and os.path.isdir(folder):
        with open(f"{folder}/freezer.state", "w", encoding="ascii") as f:
            f.write("THAWED")


def remove(lab):
    """Removes all groups of a lab; returns those that could not be removed."""
    left = []
    for top in hierarchies():
        for folder, _, _ in os.walk(f"{top}/lab-{lab}", topdown=False):
            if not poll(lambda path=folder: try_rmdir(path), 10, 0.02):
                left.append(folder)
    return left


def try_rmdir(folder):
    try:
        os.rmdir(folder)
    except FileNotFoundError:
        pass
    except OSError:
        return False
    return True
