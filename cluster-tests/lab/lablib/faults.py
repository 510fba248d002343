# SPDX-License-Identifier: GPL-2.0-only
"""What can be broken on purpose, and how all of it is undone."""

import os
import signal
import time

from . import cgroup, cluster, mail
from .base import LabError, UsageError, read
from .node import Node, pid_chain

TABLE = "lab"


def plug(node):
    with node.power_lock():
        node.cut_power()


def hang(node):
    with node.power_lock():
        cgroup.freeze(node.lab.name, node.name, True)


def isolate(node):
    node.link_set("down")


def partition(node):
    """The nodes do not hear each other; clients and BMCs hear both."""
    rules = [f"add table bridge {TABLE}",
             f"add chain bridge {TABLE} f {{ type filter hook forward priority 0; }}"]
    for other in (Node(node.lab, n) for n in node.lab.nodes if n != node.name):
        for a, b in ((node, other), (other, node)):
            rules.append(f"add rule bridge {TABLE} f iifname {a.link} "
                         f"oifname {b.link} drop")
    node.lab.net(["nft", "-f", "-"], stdin="\n".join(rules) + "\n")


def storage(node):
    """The shared file system answers EIO; what was not yet written is lost."""
    if mail.MOUNT not in node.mounts():
        raise LabError(f"{mail.MOUNT} is not mounted on {node.name}: choose the node "
                       "that 'lab status' calls active.")
    node.stop_disk(mail.MOUNT)


def kill_unit(unit):
    def kill(node):
        os.kill(main_process(node, unit), signal.SIGKILL)
    return kill


def kill_zygote(node):
    os.kill(zygote(node), signal.SIGKILL)


def kill_worker(node):
    workers = children(node, zygote(node))
    if not workers:
        raise LabError(f"Postern's zygote on {node.name} has no worker now: wait until "
                       "'lab status' says ready.")
    os.kill(workers[0], signal.SIGKILL)


def kill_program(program):
    """A daemon that is no unit of its own."""
    def kill(node):
        for pid in cgroup.pids(node.lab.name, node.name):
            try:
                if os.readlink(f"/proc/{pid}/exe").endswith(f"/{program}"):
                    return os.kill(pid, signal.SIGKILL)
            except OSError:
                continue
        raise LabError(f"{program} does not run on {node.name}: see 'lab status'.")
    return kill


# Whose process is it

def main_process(node, unit):
    """The main process of a unit, as our /proc numbers it."""
    said = node.run("systemctl", "show", "-p", "MainPID", "--value", unit).stdout.strip()
    inner = len(pid_chain(node.init_pid())) - 1
    for pid in cgroup.pids(node.lab.name, node.name):
        chain = pid_chain(pid)
        if len(chain) > inner and chain[inner] == said:
            return pid
    raise LabError(f"{unit} does not run on {node.name}: 'lab exec {node.name} "
                   f"systemctl status {unit}' says more.")


def zygote(node):
    found = children(node, main_process(node, "postern-engine.service"))
    if not found:
        raise LabError(f"postern-engine on {node.name} has no zygote now: wait until "
                       "'lab status' says ready.")
    return found[-1]                # the newest generation


def children(node, parent):
    found = []
    for pid in cgroup.pids(node.lab.name, node.name):
        status = read(f"/proc/{pid}/status", "")
        if f"\nPPid:\t{parent}\n" in status:
            found.append(pid)
    return sorted(found)


# Undoing

def heal(lab, say=lambda text: None):
    """Everything as after `up`: network, power, cluster stack, failures forgotten."""
    lab.net(["nft", "delete", "table", "bridge", TABLE], check=False)
    for node in [Node(lab, name) for name in lab.nodes]:
        with node.power_lock():
            if node.power() == "hung":
                cgroup.freeze(lab.name, node.name, False)
                say(f"{node.name} runs on")
        if node.power() in ("off", "dying"):
            lab.enter("_power", node.name, "on")
            say(f"{node.name} has power")
        elif node.has_link():
            node.link_set("up", check=False)
    for name in lab.nodes:
        restart_stack(Node(lab, name))
    cluster.wait_online(lab, 240)
    Node(lab, lab.nodes[0]).run("crm_resource", "--cleanup", timeout=120)
    cluster.wait_idle(lab, 180)
    say("all nodes are online")


def restart_stack(node):
    """A node that the cluster did not fence keeps a dead corosync; that is no error here."""
    try:
        node.run("systemctl", "start", "--no-block", "corosync", "pacemaker",
                 check=False, timeout=30)
    except LabError:
        pass                        # it is being fenced right now and boots anew


FAULTS = {
    "plug": (plug, "power off at once; what was not synced is lost"),
    "partition": (partition, "the node and the others do not hear each other"),
    "isolate": (isolate, "the node's only network link is down"),
    "hang": (hang, "the node stops executing, but keeps its memory"),
    "kill-posternd": (kill_unit("posternd.service"), "kill -9 posternd"),
    "kill-engine": (kill_unit("postern-engine.service"), "kill -9 postern-engine"),
    "kill-zygote": (kill_zygote, "kill -9 the zygote of the newest generation"),
    "kill-worker": (kill_worker, "kill -9 one scanning process"),
    "kill-corosync": (kill_unit("corosync.service"), "kill -9 corosync"),
    "kill-controld": (kill_program("pacemaker-controld"), "kill -9 pacemaker-controld"),
    "kill-execd": (kill_program("pacemaker-execd"), "kill -9 pacemaker-execd"),
    "kill-attrd": (kill_program("pacemaker-attrd"), "kill -9 pacemaker-attrd"),
    "kill-dbus": (kill_unit("dbus.service"), "kill -9 dbus-daemon"),
    "storage": (storage, "the shared file system answers EIO"),
    "heal": (None, "undoes everything, waits until all nodes are online"),
}


def inject(lab, name, where=None, say=lambda text: None):
    """Breaks something; returns (node, time of the fault), None after heal."""
    if name not in FAULTS:
        raise UsageError(f"No fault '{name}': 'lab fault --list' prints all.")
    if name == "heal":
        if where:
            raise UsageError("heal is for the whole lab: give it no NODE.")
        heal(lab, say)
        return None
    node = Node(lab, where or cluster.active(lab))
    if node.power() != "on":
        raise LabError(f"Node {node.name} is {node.power()} already: 'lab fault heal' "
                       "brings it back.")
    begun = time.time()
    FAULTS[name][0](node)
    return node.name, begun
