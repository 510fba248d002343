# SPDX-License-Identifier: GPL-2.0-only
"""What the state holds, made on one node and looked for on the next."""

import contextlib
import json
import os
import signal
import subprocess
import threading

import dialogue
from lablib import faults, mail
from lablib.base import wait_for
from lablib.node import Node

CONFIG = "/etc/postern/postern.conf"


def postern(node, *args):
    return json.loads(node.run("postern", *args, "--json").stdout)


def pool(node):
    return postern(node, "status")["posternd"]["pool"]


def workers(node):
    return faults.children(node, faults.zygote(node))


@contextlib.contextmanager
def setting(lab, line):
    """A line more in the configuration of all nodes; whoever runs reads it when told to."""
    for name in lab.nodes:
        Node(lab, name).run("sh", "-c", f"cp {CONFIG} {CONFIG}.old; echo '{line}' >> {CONFIG}")
    yield
    for name in lab.nodes:
        Node(lab, name).run("mv", f"{CONFIG}.old", CONFIG)


def stop_workers(node, total, idle):
    wait_for(f"{idle} of {total} workers are idle", lambda: (
        pool(node)["workers"], pool(node)["idle"]) == (total, idle), 30, 0.05)
    for pid in workers(node):
        os.kill(pid, signal.SIGSTOP)


def kill_busy(node, total):
    """Kills workers until one with a scan has died; the scan is then with another, stopped one."""
    lost = pool(node)["lost"]
    while pool(node)["lost"] == lost:
        stop_workers(node, total, total - 1)
        pid = workers(node)[0]
        os.kill(pid, signal.SIGKILL)
        wait_for("the worker is gone", lambda gone=pid: gone not in workers(node) and (
            pool(node)["lost"] > lost or pool(node)["workers"] == total), 30, 0.05)


def send_lethal(lab, node, text):
    """The reply to a mail over which two workers die."""
    total = pool(node)["workers"]
    replies = []
    stop_workers(node, total, total)
    thread = threading.Thread(target=lambda: replies.append(dialogue.send(lab, text)))
    thread.start()
    kill_busy(node, total)
    kill_busy(node, total)
    thread.join(60)
    for pid in workers(node):
        os.kill(pid, signal.SIGCONT)
    return replies[0]


class Known:
    """A strike, a kept mail with its incidents, and a release that is cut off."""

    def __init__(self, lab):
        self.lab = lab
        self.lethal = dialogue.message("lethal")
        self.key = None

    def make(self, name):
        node = Node(self.lab, name)
        assert send_lethal(self.lab, node, self.lethal) == 550
        assert dialogue.send(self.lab, dialogue.message("kept", infected=True)) == 550
        (row,) = postern(node, "quarantine", "list", "--subject", "kept")
        self.key = row["key"]
        wait_for("the incidents are written", lambda: self.incidents(node) >= {
            "infected", "strike"}, 30)

    def begin_release(self, name):
        """Postfix's master takes no more connections, so the release cannot end."""
        node = Node(self.lab, name)
        node.run("sh", "-c", f"kill -STOP $(cat {mail.QUEUE}/pid/master.pid)")
        subprocess.Popen(node.command(["postern", "quarantine", "release", "--yes", self.key]),
                         stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                         stderr=subprocess.DEVNULL)
        wait_for("the release has begun", lambda: self.state(node) == "releasing", 30)

    def incidents(self, node):
        return {row["kind"] for row in postern(node, "incidents", "--limit", "0")}

    def state(self, node):
        return postern(node, "quarantine", "show", self.key)["state"]

    def check(self, name):
        """The next node knows all of it, and ends what was begun: once."""
        node = Node(self.lab, name)
        wait_for("the release is done again", lambda: self.state(node) == "released", 90, 0.5)
        assert dialogue.send(self.lab, self.lethal) == 550, "the strike is forgotten"
        subjects = {row["subject"] for row in postern(node, "quarantine", "list")}
        assert subjects >= {"lethal", "kept"}
        assert self.incidents(node) >= {"infected", "strike", "release"}
        wait_for("Postfix has delivered it", lambda: mail.settled(self.lab, node, 0), 60, 0.5)
        found = node.run("grep", "-rl", "^Subject: kept", f"{mail.MAILDIR}/probe/new").stdout
        assert len(found.split()) == 1, f"released {len(found.split())} times"
