# SPDX-License-Identifier: GPL-2.0-only
"""What a scanner and all its processes take in memory, read while it works; and less memory for it.

By a control group where there is one: what the processes wrote into memory or tmpfs, shared pages
once, files' pages not at all. Else by the proportional shares of the processes (PSS).
"""
import contextlib
import os
import pathlib
import threading
import time

import measure

TOP = pathlib.Path("/sys/fs/cgroup")
EVERY_S = {"group": 0.02, "processes": 0.25}  # the second reads the page tables of each process


def own_v1():
    """This process's group in the hierarchy of memory; None: there is none."""
    for line in pathlib.Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "memory":
            folder = TOP / "memory" / path.lstrip("/")
            return folder if folder.is_dir() else TOP / "memory"
    return None


def parent():
    """(directory, file of the limit, keys of memory.stat) for a new group; None: it cannot be."""
    v1 = own_v1()
    if v1 is not None and os.access(v1, os.W_OK):
        return v1, "memory.limit_in_bytes", ("total_rss", "total_shmem")
    control = TOP / "cgroup.subtree_control"
    if os.access(TOP, os.W_OK) and control.exists() and "memory" in control.read_text().split():
        return TOP, "memory.max", ("anon", "shmem")
    return None


class Group:
    """A group of its own for what is started `with` it. Without control groups it does nothing."""

    def __init__(self):
        found = parent()
        self.dir = self.limit_file = None
        if found is not None:
            above, self.limit_file, self.keys = found
            self.dir = above / f"postern-bench-{os.getpid()}"
            self.dir.mkdir(exist_ok=True)
            self.home = self.own_procs(above)

    @staticmethod
    def own_procs(above):
        """Where this process goes back to."""
        if above != TOP:
            return above / "cgroup.procs"
        path = next(line[3:] for line in pathlib.Path("/proc/self/cgroup").read_text().splitlines()
                    if line.startswith("0::"))
        return TOP / path.lstrip("/") / "cgroup.procs"

    def __enter__(self):
        if self.dir is not None:
            (self.dir / "cgroup.procs").write_text(str(os.getpid()))
        return self

    def __exit__(self, *_):
        if self.dir is not None:
            self.home.write_text(str(os.getpid()))

    def used_mb(self):
        stat = dict(line.split() for line in (self.dir / "memory.stat").read_text().splitlines())
        return sum(int(stat[key]) for key in self.keys) / 2 ** 20

    def limit(self, mb):
        (self.dir / self.limit_file).write_text(str(int(mb * 2 ** 20)))

    def remove(self):
        """When all that ran in it has ended; its last pages may need a moment."""
        for _ in range(100 if self.dir is not None else 0):
            with contextlib.suppress(OSError):
                self.dir.rmdir()
                return
            time.sleep(0.05)


class Watch(threading.Thread):
    """Reads it all the time: (CLOCK_MONOTONIC in s, MB) in `seen`."""

    def __init__(self, group, roots):
        super().__init__(daemon=True)
        self.by = "processes" if group.dir is None else "group"
        self.read = group.used_mb if self.by == "group" else lambda: measure.memory_mb(roots)
        self.seen = []
        self.over = threading.Event()

    def run(self):
        while not self.over.wait(EVERY_S[self.by]):
            self.seen.append((time.monotonic(), self.read()))

    def between(self, begin, end):
        return [mb for when, mb in self.seen if begin <= when <= end]

    def end(self):
        self.over.set()
        self.join()
