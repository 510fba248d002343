# SPDX-License-Identifier: GPL-2.0-only
"""Samples, from outside and all the time, that nothing is served twice.

The kernel is asked, not the nodes: whose disk it holds a file system of, mounted where anybody
sees it or not (ext4 does not refuse a second mount); which locks it holds on the state (a lease
is an OFD lock, and /proc/locks names the device, of which each node has its own); and what each
node listens on.
"""

import os
import statistics
import threading
import time

from .base import read, start_time
from .node import Node

LISTENER = "/run/postern/milter/milter.sock"
LISTENING = "00010000"             # flag of a listening socket in /proc/net/unix
TCP_PORT, TCP_LISTEN = f"{8894:04X}", "0A"
LEASE = "postern/lease"
EVERY = 0.1                        # what the audits promise, in seconds
BLIND = 1.0                        # an audit with longer gaps than this at the median says nothing


class Watch:
    """with Watch(lab) as w: ...; then w.doubles tells what was seen twice."""

    def __init__(self, lab, interval=EVERY / 2, nodes=None):
        self.nodes = nodes or [Node(lab, name) for name in lab.nodes]
        self.shared = shared_lease(lab)
        self.interval = interval
        self.inits = {}
        self.moments = []
        self.doubles = []
        self.seen = {}              # what -> names of nodes that have had it
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.loop, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.thread.join(10)

    def loop(self):
        come_first()
        due = time.monotonic()
        while not self.ended.wait(max(0.0, due - time.monotonic())):
            due = max(due + self.interval, time.monotonic() - self.interval)
            self.sample()

    @property
    def samples(self):
        return len(self.moments)

    def pace(self):
        """(median, longest) seconds between two samples."""
        gaps = [b - a for a, b in zip(self.moments, self.moments[1:])] or [float("inf")]
        return statistics.median(gaps), max(gaps)

    def text(self):
        """One line for people."""
        median, longest = self.pace()
        held = "; ".join(f"{what} on {' '.join(names)}" for what, names in self.seen.items())
        return (f"watched {self.samples} times, every {1000 * median:.0f} ms (longest gap "
                f"{1000 * longest:.0f} ms), {len(self.doubles)} doubles; {held or 'nothing held'}")

    def sample(self):
        self.moments.append(time.monotonic())
        locks = ofd_locks(read("/proc/locks", ""))
        for what, holders in (
                ("file system", [n.name for n in self.nodes if n.disk_held()]),
                ("lease", self.leases(locks)),
                ("milter", [n.name for n in self.nodes if self.listens(n)])):
            self.note(what, holders)

    def note(self, what, holders):
        for name in holders:
            names = self.seen.setdefault(what, [])
            if name not in names:
                names.append(name)
        if len(holders) > 1:
            self.doubles.append(f"{time.time():.2f}: {what} on {'+'.join(holders)}")

    def leases(self, locks):
        """Holders, one for each locked file: two on one node are as wrong as two on two nodes.

        While locks come and go, one reading of /proc/locks may show a lock twice.
        """
        locks = set(locks)
        if self.shared:
            return ["the shared folder" for lock in locks if lock == lock_name(self.shared)]
        return [n.name for n in self.nodes for device, _ in locks if device == n.device]

    def listens(self, node):
        """A node's first process is looked up again only when it has died."""
        pid, began = self.inits.get(node.name, (0, None))
        if not pid or start_time(pid) != began:
            pid = node.init_pid() or 0
            self.inits[node.name] = (pid, start_time(pid))
        return bool(pid) and listening(pid)


def come_first():
    """On a busy machine the sampler's thread runs before all others; what it does is short."""
    thread = threading.get_native_id()
    try:
        os.sched_setscheduler(thread, os.SCHED_RR, os.sched_param(1))
    except PermissionError:
        os.setpriority(os.PRIO_PROCESS, thread, -15)


def shared_lease(lab):
    """The lease on the folder that all nodes mount; None when the state is on the disk."""
    return lab.path("shared-folder", LEASE) if lab.state.get("mode") == "primitive" else None


def ofd_locks(text):
    """(device, inode) of each granted OFD lock; the device as /proc/locks writes it."""
    found = []
    for words in map(str.split, text.splitlines()):
        if len(words) > 5 and words[1] == "OFDLCK":     # a waiting one has "->" there
            device, _, inode = words[5].rpartition(":")
            found.append((device, int(inode)))
    return found


def lock_name(path):
    """A file as /proc/locks names it; None if it is not there."""
    try:
        what = os.stat(path)
    except OSError:
        return None
    return f"{os.major(what.st_dev):02x}:{os.minor(what.st_dev):02x}", what.st_ino


def listening(pid):
    for line in read(f"/proc/{pid}/net/unix", "").splitlines():
        if line.endswith(LISTENER) and line.split()[3] == LISTENING:
            return True
    return any(len(words) > 3 and words[1].endswith(":" + TCP_PORT)
               and words[3] == TCP_LISTEN for words in
               (line.split() for line in read(f"/proc/{pid}/net/tcp", "").splitlines()))
