# SPDX-License-Identifier: GPL-2.0-only
"""Samples, from outside and all the time, that nothing is served twice.

ext4 does not refuse a second mount on another node, so the kernel is asked whose disk it
holds a file system of, mounted where anybody sees it or not, and what each node listens on.
"""

import threading
import time

from .base import read, start_time
from .node import Node

LISTENER = "/run/postern/milter/milter.sock"
LISTENING = "00010000"             # flag of a listening socket in /proc/net/unix
TCP_PORT, TCP_LISTEN = f"{8894:04X}", "0A"


class Watch:
    """with Watch(lab) as w: ...; then w.doubles tells what was seen twice."""

    def __init__(self, lab, interval=0.05):
        self.nodes = [Node(lab, name) for name in lab.nodes]
        self.interval = interval
        self.inits = {}
        self.samples = 0
        self.doubles = []
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.loop, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.thread.join(10)

    def loop(self):
        while not self.ended.wait(self.interval):
            self.sample()

    def sample(self):
        self.samples += 1
        for what, test in (("the shared file system", Node.disk_held),
                           ("the milter", self.listens)):
            holders = [n.name for n in self.nodes if test(n)]
            if len(holders) > 1:
                self.doubles.append(f"{time.time():.2f}: {what} on {'+'.join(holders)}")

    def listens(self, node):
        """A node's first process is looked up again only when it has died."""
        pid, began = self.inits.get(node.name, (0, None))
        if not pid or start_time(pid) != began:
            pid = node.init_pid() or 0
            self.inits[node.name] = (pid, start_time(pid))
        return bool(pid) and listening(pid)


def listening(pid):
    for line in read(f"/proc/{pid}/net/unix", "").splitlines():
        if line.endswith(LISTENER) and line.split()[3] == LISTENING:
            return True
    return any(len(words) > 3 and words[1].endswith(":" + TCP_PORT)
               and words[3] == TCP_LISTEN for words in
               (line.split() for line in read(f"/proc/{pid}/net/tcp", "").splitlines()))
