# SPDX-License-Identifier: GPL-2.0-only
"""New signatures in the lab: published where all nodes fetch from, and followed from node to node.

What a node has is read from outside, from its own disk: it can be asked while the node is off, and
within a millisecond of an event.
"""

import contextlib
import hashlib
import json
import os
import time

from lablib.base import read, start_time, wait_for
from lablib.node import Node
from lablib.postern import UPDATES

# A file of this size takes a moment to be copied, sent and hashed: long enough to be met at it.
SIZE = 8 << 20
FILE = "release.ndb"
DRAFT = ".tmp-generation"
ROUND = 60      # update_interval of the lab
PATIENCE = 240


def signatures(label, size=SIZE):
    """A file of ten signatures that nothing has; the rest is comment."""
    lines = [f"Lab.Release.{n}:0:*:{hashlib.sha256(f'{label} {n}'.encode()).hexdigest()}\n"
             for n in range(10)]
    comment = f"# {label} ".ljust(99, ".") + "\n"
    return "".join(lines) + comment * ((size - 1000) // len(comment))


class Rollout:
    def __init__(self, story):
        self.story, self.lab, self.nodes = story, story.lab, story.home.names
        self.inits = {}

    # what is done

    def publish(self, files=None):
        """Where all nodes fetch from, in the place of the last ones; the generation's name."""
        files = files or {FILE: signatures(f"{time.time():.3f}")}
        for node in self.nodes:
            folder = f"{self.lab.path(node, 'root')}{UPDATES}"
            for file, text in files.items():
                with open(f"{folder}/.new", "w", encoding="ascii") as f:
                    f.write(text)
                os.rename(f"{folder}/.new", f"{folder}/{file}")
            for other in os.listdir(folder):
                if other.startswith("release.") and other not in files:
                    os.unlink(f"{folder}/{other}")
        identity = hashlib.sha256()
        for name in sorted(os.listdir(folder)):
            with open(f"{folder}/{name}", "rb") as f:
                digest = hashlib.sha256(f.read()).hexdigest()
            identity.update(name.encode() + b"\0" + digest.encode() + b"\0")
        return identity.hexdigest()[:16]

    def fetch(self, node, name):
        """Now, rather than when the next round is due; another round may be under way."""
        def here():
            Node(self.lab, node).run("postern", "signatures", "update", check=False)
            return self.state(node, name)
        wait_for(f"{node} has fetched {name}", here, ROUND, 1)

    def fetch_version(self, node, database, version):
        """The same of an official database; the name of the generation it is in."""
        def here():
            Node(self.lab, node).run("postern", "signatures", "update", check=False)
            rows = [row for row in self.offered(node)["files"]
                    if row.get("database_version") == version]
            return any(row["file"].startswith(f"{database}.") for row in rows) and self.offer(node)
        return wait_for(f"{node} has fetched {database} of version {version}", here, 2 * ROUND, 1)

    # what a node has

    def local(self, node, *parts):
        return self.lab.path(node, "local", *parts)

    def record(self, node, name):
        try:
            return json.loads(read(self.local(node, "signatures", "records", f"{name}.json"), ""))
        except ValueError:
            return None

    def state(self, node, name):
        """fetched, trying, tried, adopted, rejected; None: it is not here."""
        record = self.record(node, name)
        return record["state"] if record else None

    def current(self, node):
        try:
            return os.readlink(self.local(node, "signatures", "current"))
        except OSError:
            return None

    def offered(self, node, by="update"):
        """The manifest of what postern-update, or postern-share, has for the engine."""
        try:
            return json.loads(read(self.local(node, by, "offer", "manifest.json"), ""))
        except ValueError:
            return {"identity": "", "files": []}

    def offer(self, node, by="update"):
        """Its name; empty: there is none."""
        return self.offered(node, by)["identity"][:16]

    def manifest(self, node):
        """Of what a node would load now."""
        return json.loads(read(self.local(node, "signatures", self.current(node), "manifest.json")))

    def drafts(self, node, where):
        """Somebody puts a generation together there."""
        return os.path.exists(self.local(node, where, DRAFT))

    def engine(self, node):
        """Words of the engine's state file: state, workers, seconds, generation."""
        pid, began = self.inits.get(node, (0, None))
        if not pid or start_time(pid) != began:
            pid = Node(self.lab, node).init_pid() or 0
            self.inits[node] = (pid, start_time(pid))
        return read(f"/proc/{pid}/root/run/postern/engine/state", "").split()

    def works_with(self, node, name):
        words = self.engine(node)
        return len(words) > 3 and words[0] == "ready" and words[3] == name \
            and self.current(node) == name

    # what is waited for

    def at(self, node, what, name, harm, limit=PATIENCE):
        """Does harm at the moment when WHAT happens on a node; the moment of it."""
        happened = {
            "fetches": lambda: self.drafts(node, "update"),
            "takes": lambda: self.drafts(node, "signatures"),
            "receives": lambda: self.drafts(node, "share"),
            "received": lambda: self.offer(node, "share") == name,
            "trying": lambda: self.state(node, name) == "trying",
            "tried": lambda: self.state(node, name) in ("tried", "adopted"),
            "adopted": lambda: self.current(node) == name,
        }[what]
        wait_for(f"{name}: {what} on {node}", happened, limit, 0.001)
        begun = time.time()
        harm()
        return begun

    def everywhere(self, name, limit=PATIENCE):
        """Waits until all nodes work with it; the nodes in the order in which they adopted it."""
        order = []

        def all_of_them():
            order.extend(n for n in self.nodes if n not in order and self.current(n) == name)
            return len(order) == len(self.nodes) and all(
                self.works_with(n, name) for n in self.nodes)
        wait_for(f"all nodes work with {name}", all_of_them, limit, 0.02,
                 "`postern cluster status` says who waits for what")
        for node in self.nodes:
            self.whole(node)
        return order

    def whole(self, node):
        """What a node would load now is all there, and what it says that it is."""
        folder = self.local(node, "signatures", self.current(node))
        manifest = self.manifest(node)
        identity = hashlib.sha256()
        for row in sorted(manifest["files"], key=lambda row: row["file"]):
            with open(f"{folder}/{row['file']}", "rb") as f:
                digest = hashlib.sha256(f.read()).hexdigest()
            assert digest == row["sha256"], f"{node}: {folder}/{row['file']} is not what it says"
            identity.update(row["file"].encode() + b"\0" + digest.encode() + b"\0")
        assert identity.hexdigest() == manifest["identity"], f"{node}: {folder}"
        return os.path.basename(folder)

    # what the cluster says

    def page(self, node):
        with contextlib.suppress(ValueError):
            return json.loads(self.story.run_quietly(node, "postern", "cluster", "status", "--json"))
        return {"nodes": [], "findings": []}

    def reports(self, node):
        """{node: what it says of itself}, asked of one."""
        return {one["name"]: one["report"] for one in self.page(node)["nodes"] if one["report"]}
