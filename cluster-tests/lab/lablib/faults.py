# SPDX-License-Identifier: GPL-2.0-only
"""What can be broken on purpose, and how all of it is undone."""

import os
import signal
import time

from . import cgroup, cluster, mail, memory
from .base import LabError, UsageError, poll, read
from .node import LOCAL_MOUNT, LOCAL_SIZE, Node, pid_chain

TABLE = "lab"
FILL = f"{mail.MOUNT}/fill-of-the-lab"
STOP_LIMIT = 180


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
    need_shared(node)
    node.stop_disk(mail.MOUNT)


def need_shared(node):
    if mail.MOUNT not in node.mounts():
        raise LabError(f"{mail.MOUNT} is not mounted on {node.name}: choose the node "
                       "that 'lab status' calls active.")


def full_shared(node):
    need_shared(node)
    space = os.statvfs(f"/proc/{node.init_pid()}/root{mail.MOUNT}")
    node.run("fallocate", "-l", str(space.f_bavail * space.f_frsize * 95 // 100), FILL)
    node.run("sh", "-c", f"dd if=/dev/zero bs=1k status=none >>{FILL} 2>/dev/null || true")


def full_local(node):
    """It is as small as what is in it."""
    space = os.statvfs(f"/proc/{node.init_pid()}/root{LOCAL_MOUNT}")
    resize_local(node, (space.f_blocks - space.f_bfree) * space.f_frsize)


def resize_local(node, size):
    node.run("mount", "-o", f"remount,size={size}", LOCAL_MOUNT)


def signal_unit(unit, sig=signal.SIGKILL):
    def send(node):
        os.kill(main_process(node, unit), sig)
    return send


def stick_posternd(node):
    if not cgroup.stuck(node.lab.name, node.name):
        raise LabError("A process that cannot be killed needs the freezer of cgroup v1, which "
                       "this machine does not have.")
    cgroup.stick(node.lab.name, node.name, main_process(node, "posternd.service"))


def reboot(node):
    """As `systemctl reboot` does it; the node boots again by itself."""
    node.run("systemctl", "reboot", "--no-block")


def stop_pacemaker(node):
    """Returns when all of it has stopped."""
    node.run("systemctl", "stop", "pacemaker", timeout=STOP_LIMIT)


def kill_zygote(node):
    os.kill(zygote(node), signal.SIGKILL)


def kill_worker(node):
    os.kill(worker(node), signal.SIGKILL)


def oom_worker(node):
    memory.starve(worker(node))


def kill_program(name):
    def kill(node):
        for pid in cgroup.pids(node.lab.name, node.name):
            try:
                found = os.path.basename(os.readlink(f"/proc/{pid}/exe"))
            except OSError:
                continue
            if found == name:
                return os.kill(pid, signal.SIGKILL)
        raise LabError(f"{name} does not run on {node.name}: see 'lab status'.")
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
    """The engine has other children, too: it is told by its program."""
    found = [pid for pid in children(node, main_process(node, "postern-engine.service"))
             if "postern-zygote" in read(f"/proc/{pid}/cmdline", "")]
    if not found:
        raise LabError(f"postern-engine on {node.name} has no zygote now: wait until "
                       "'lab status' says ready.")
    return found[-1]                # the newest generation


def trials_zygote(node):
    """Of signatures that are being tried; None: there is no trial, or it has none yet."""
    for child in children(node, main_process(node, "postern-engine.service")):
        if read(f"/proc/{child}/comm", "").strip() == "postern-trial":
            return next(iter(children(node, child)), None)
    return None


def worker(node):
    workers = children(node, zygote(node))
    if not workers:
        raise LabError(f"Postern's zygote on {node.name} has no worker now: wait until "
                       "'lab status' says ready.")
    return workers[0]


def children(node, parent):
    """Oldest first, also where the pids have begun anew."""
    found = []
    for pid in cgroup.pids(node.lab.name, node.name):
        status = read(f"/proc/{pid}/status", "")
        if f"\nPPid:\t{parent}\n" in status:
            found.append((started(pid), pid))
    return [pid for _, pid in sorted(found)]


def started(pid):
    """In clock ticks since boot; 0 for who has ended. proc(5): the name may have ')' in it."""
    fields = read(f"/proc/{pid}/stat", "").rpartition(")")[2].split()
    return int(fields[19]) if fields else 0


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
        unstick(node)
    for name in lab.nodes:
        restart_stack(Node(lab, name))
    cluster.wait_online(lab, 240)
    empty_disks(lab)
    Node(lab, lab.nodes[0]).run("crm_resource", "--cleanup", timeout=120)
    cluster.wait_idle(lab, 180)
    say("all nodes are online")


def unstick(node):
    """What was stopped or stuck runs on."""
    cgroup.thaw_stuck(node.lab.name, node.name)
    for pid in cgroup.pids(node.lab.name, node.name):
        if "\nState:\tT" in read(f"/proc/{pid}/status", ""):
            try:
                os.kill(pid, signal.SIGCONT)
            except ProcessLookupError:
                pass


def empty_disks(lab):
    """The file is on the disk that is mounted on one node at most, or nowhere for now."""
    for node in [Node(lab, name) for name in lab.nodes]:
        resize_local(node, LOCAL_SIZE)
    if not lab.state["bare"]:
        poll(lambda: any(mail.MOUNT in Node(lab, name).mounts() for name in lab.nodes), 60)
    for node in [Node(lab, name) for name in lab.nodes]:
        if mail.MOUNT in node.mounts():
            node.run("rm", "-f", FILL)


def restart_stack(node):
    """A node that the cluster did not fence keeps a dead corosync; that is no error here."""
    try:
        node.run("systemctl", "start", "--no-block", "dbus", "corosync", "pacemaker",
                 check=False, timeout=30)
    except LabError:
        pass                        # it is being fenced right now and boots anew


KILLED_PROGRAMS = {name: f"pacemaker-{name}" for name in ("controld", "execd", "attrd")}
KILLED_PROGRAMS["pacemakerd"] = "pacemakerd"
KILLED_UNITS = {"posternd": "posternd.service", "engine": "postern-engine.service",
                "share": "postern-share.service", "update": "postern-update.service",
                "corosync": "corosync.service", "dbus": "dbus.service"}

FAULTS = {
    "plug": (plug, "power off at once; what was not synced is lost"),
    "reboot": (reboot, "systemctl reboot"),
    "stop-pacemaker": (stop_pacemaker, "systemctl stop pacemaker"),
    "partition": (partition, "the node and the others do not hear each other"),
    "isolate": (isolate, "the node's only network link is down"),
    "hang": (hang, "the node stops executing, but keeps its memory"),
    "kill-zygote": (kill_zygote, "kill -9 the zygote of the newest generation"),
    "kill-worker": (kill_worker, "kill -9 one scanning process"),
    "oom-worker": (oom_worker, "the kernel kills one scanning process for want of memory"),
    **{f"kill-{name}": (signal_unit(unit), f"kill -9 {unit.partition('.')[0]}")
       for name, unit in KILLED_UNITS.items()},
    **{f"kill-{name}": (kill_program(program), f"kill -9 {program}")
       for name, program in KILLED_PROGRAMS.items()},
    "freeze-posternd": (signal_unit("posternd.service", signal.SIGSTOP), "posternd hangs"),
    "freeze-engine": (signal_unit("postern-engine.service", signal.SIGSTOP),
                      "postern-engine hangs"),
    "stick-posternd": (stick_posternd, "posternd hangs and cannot be killed"),
    "storage": (storage, "the shared file system answers EIO"),
    "full-shared": (full_shared, "the shared file system is full"),
    "full-local": (full_local, f"the node's own {LOCAL_MOUNT} is full"),
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
