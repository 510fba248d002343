# SPDX-License-Identifier: GPL-2.0-only
"""Engines that load for as long as a scenario wants or crash at it, and signatures that cannot be loaded."""

import contextlib
import os
import shutil

from lablib import faults, postern
from lablib.base import LabError, run, wait_for
from lablib.node import Node

SOURCE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lab", "hold-load.c")
ZYGOTE = "/usr/libexec/postern/postern-zygote"
REAL, HOLD = f"{ZYGOTE}.real", "/var/lib/lab-hold-load"
CURRENT = "/var/lib/postern/signatures/current"
LAST = "/var/lib/postern/load_seconds"


class Loading:
    """with Loading(lab, folder) as loading: ...; afterwards all engines are as they were."""

    def __init__(self, lab, folder):
        self.lab = lab
        self.program = f"{folder}/hold-load"
        run(["cc", "-O2", f'-DHOLD="{HOLD}"', f'-DPROGRAM="{REAL}"', "-o", self.program, SOURCE])

    def __enter__(self):
        for name in self.lab.nodes:
            root = self.lab.path(name, "root")
            if not os.path.exists(root + REAL):
                os.rename(root + ZYGOTE, root + REAL)
            shutil.copy(self.program, root + ZYGOTE)
        return self

    def __exit__(self, *_):
        for name in self.lab.nodes:
            self.release(name)
            with contextlib.suppress(LabError):     # a node that is off has a story that failed
                self.repair(name)
            root = self.lab.path(name, "root")
            os.rename(root + REAL, root + ZYGOTE)

    def hold(self, *names):
        """The next engine on these nodes loads until release()."""
        for name in names:
            with open(self.lab.path(name, "root") + HOLD, "w", encoding="ascii"):
                pass

    def takes(self, seconds, *names):
        """How long these nodes, which load, believe that it takes; who has loaded knows better."""
        for name in names:
            Node(self.lab, name).run("sh", "-c", f"echo {seconds} > {LAST}")

    def crash(self, name):
        """Whatever loads there dies of it, until release()."""
        with open(self.lab.path(name, "root") + HOLD, "w", encoding="ascii") as f:
            f.write("crash\n")

    def release(self, *names):
        for name in names:
            path = self.lab.path(name, "root") + HOLD
            if os.path.exists(path):
                os.unlink(path)

    def cold(self, name):
        """The engine of a node dies, and its successor loads until release()."""
        self.hold(name)
        faults.inject(self.lab, "kill-engine", name)
        wait_for(f"{name} has no signatures", lambda: self.state(name) != "ready", 30, 0.05)

    def state(self, name):
        said = Node(self.lab, name).run("cat", "/run/postern/engine/state", check=False).stdout
        return said.split()[0] if said else None

    def wait_state(self, name, state, limit=90):
        wait_for(f"the engine of {name} is {state}", lambda: self.state(name) == state, limit, 0.1)

    # signatures that nobody can load; whoever has them in memory does not notice

    def spoil(self, name):
        Node(self.lab, name).run("sh", "-c", f"echo broken >> {CURRENT}/{self.file(name)}")

    def repair(self, name):
        file = f"{CURRENT}/{self.file(name)}"
        Node(self.lab, name).run("sed", "-i", "/^broken$/d", file)

    @staticmethod
    def file(_name):
        return os.path.basename(postern.SIGNATURES)
