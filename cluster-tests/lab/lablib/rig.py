# SPDX-License-Identifier: GPL-2.0-only
"""The rig: one private set of namespaces that holds a whole lab.

Its first process is the only thing that keeps anything alive: when it dies,
the kernel removes all processes, mounts, interfaces and loop devices below it.

Class Lab answers both outside (the host) and inside the rig; the difference is
only the prefix of its paths and how a command gets into the network.
"""

import fcntl
import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys

from . import cgroup
from .base import (CLEAN_ENV, LabError, last_line, poll, read, run, start_time,
                   wait_for)

STATES = "/run/postern-lab"       # on the host: what later calls need
INSIDE = "/run/lab"               # in the rig: images, node roots, logs
SELF = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))),
                    "lab")
IMAGE_SIZE = "512M"
BRIDGE = "br0"
# A bridge takes the lowest address of its ports; then the death of a node
# changes it and the BMCs answer to the old one for half a minute.
BRIDGE_MAC = "02:00:0a:4d:00:fe"
GATEWAY, CLIENT, VIP = "10.77.0.254", "10.77.0.250", "10.77.0.100"
PORT = 25


class Lab:
    """A lab by its name. Attributes of a running one come from its state."""

    def __init__(self, name=None):
        self.name = name or os.environ.get("LAB_NAME") or "postern"
        if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,31}", self.name):
            raise LabError(f"LAB_NAME '{self.name}' is not a name: use up to 32 "
                           "small letters, digits and '-'.")
        self.inside = os.environ.get("LAB_INSIDE") == "1"
        self.folder = f"{STATES}/{self.name}"
        self.state = {}
        self.load()

    # state

    def load(self):
        file = f"{INSIDE if self.inside else self.folder}/state.json"
        self.state = json.loads(read(file, "{}"))
        if self.state.get("boot") != boot_id():
            self.state = {}         # of a lab before the machine's last boot

    def alive(self):
        if self.inside:
            return True
        rig = self.state.get("rig")
        return bool(rig) and start_time(rig) == self.state.get("rig_start")

    def need(self):
        """self, if the lab is up."""
        if not self.alive():
            raise LabError(f"Lab '{self.name}' is not up: start it with 'lab up'.")
        return self

    @property
    def nodes(self):
        return [f"n{i + 1}" for i in range(self.state["nodes"])]

    def save(self, **changes):
        self.state.update(changes)
        text = json.dumps(self.state, indent=1)
        targets = [f"{INSIDE}/state.json"] if self.inside else [
            f"{self.folder}/state.json", self.path("state.json")]
        for target in targets:
            if os.path.isdir(os.path.dirname(target)):
                with open(target + ".new", "w", encoding="utf-8") as f:
                    f.write(text)
                os.replace(target + ".new", target)

    # ways in

    def path(self, *parts):
        """A path of the rig, as the caller can open it."""
        prefix = "" if self.inside else f"/proc/{self.state.get('rig')}/root"
        return os.path.join(prefix + INSIDE, *parts)

    def net(self, cmd, **kw):
        """Runs a command in the network of the rig."""
        if not self.inside:
            cmd = ["nsenter", f"--net=/proc/{self.state['rig']}/ns/net"] + cmd
        return run(cmd, **kw)

    def client_command(self, cmd):
        return ["nsenter", f"--net={self.path('..', 'netns', 'client')}"] + cmd

    def enter(self, *args, timeout=600, log=None):
        """Runs `lab ARGS` inside the rig; its lines go where ours go."""
        cmd = ["nsenter", "-t", str(self.state["rig"]), "-m", "-p", "-n", "-i",
               "-u", "--", "/usr/bin/python3", SELF, *map(str, args)]
        env = dict(CLEAN_ENV, LAB_NAME=self.name, LAB_INSIDE="1")
        process = subprocess.Popen(cmd, env=env, stdin=subprocess.DEVNULL,
                                   stdout=log, stderr=log)
        try:
            code = process.wait(timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            raise LabError(f"'lab {args[0]}' did not end within {timeout} s.") from None
        if code != 0:
            raise LabError(f"The step '{' '.join(map(str, args))}' failed inside "
                           f"lab '{self.name}': see the lines above.")


def boot_id():
    return read("/proc/sys/kernel/random/boot_id").strip()


# Making one, from the host

def reserve(lab):
    """Makes sure that the name is ours and that nothing of an earlier lab is left."""
    lock(lab)
    if lab.alive():
        raise LabError(f"Lab '{lab.name}' is up already: 'lab down' ends it, "
                       "LAB_NAME=other starts a second one.")
    stop(lab)
    lab.state = {}


def start(lab, options):
    """Starts the rig and waits until network, image and loop devices exist."""
    os.makedirs(lab.folder, mode=0o700, exist_ok=True)
    lab.state = dict(options, boot=boot_id())
    for node in lab.nodes:
        cgroup.create(lab.name, node)
    ready, ready_w = os.pipe()
    lab.save(launcher=launch(lab, ready_w))
    os.close(ready_w)
    await_ready(lab, ready)


def lock(lab):
    """One change at a time to a lab; the lock ends with this process."""
    os.makedirs(STATES, mode=0o755, exist_ok=True)
    lab.lock_file = open(f"{STATES}/{lab.name}.lock", "w", encoding="ascii")
    try:
        fcntl.flock(lab.lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise LabError(f"Another 'lab up' or 'lab down' works on lab '{lab.name}': "
                       "wait for it, or choose another LAB_NAME.") from None


def launch(lab, ready_w):
    """unshare is the parent of the rig's first process; returns its pid."""
    env = dict(CLEAN_ENV, LAB_NAME=lab.name, LAB_READY=str(ready_w))
    fds = [ready_w]
    owner = os.environ.get("LAB_OWNER")
    if owner:
        fds.append(os.pidfd_open(int(owner)))
        env["LAB_OWNER_FD"] = str(fds[-1])
    with open(f"{lab.folder}/rig.log", "wb") as log:
        process = subprocess.Popen(
            ["unshare", "-m", "-n", "-p", "-i", "-u", "--fork", "--kill-child=KILL",
             "/usr/bin/python3", SELF, "_init"], env=env, pass_fds=fds,
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
    process.returncode = 0          # it outlives us; not a forgotten child
    return process.pid


def await_ready(lab, ready):
    if not select.select([ready], [], [], 60)[0]:
        raise LabError(f"The rig was not ready within 60 s: see {lab.folder}/rig.log.")
    answer = os.read(ready, 65536).decode()
    os.close(ready)
    if not answer:
        said = last_line(read(f"{lab.folder}/rig.log", ""))
        raise LabError(f"The rig of lab '{lab.name}' did not start: {said}")
    lab.save(**json.loads(answer))


# Ending one, from the host

def stop(lab):
    """Ends everything of a lab, also of a half-started one."""
    end_clients(lab)
    for node in [f"n{i}" for i in range(1, 4)]:
        if cgroup.frozen(lab.name, node):
            cgroup.freeze(lab.name, node, False)
        cgroup.thaw_stuck(lab.name, node)
    kill_rig(lab)
    left = cgroup.remove(lab.name)
    left += [f"/dev/loop{n}" for n in lab.state.get("loops", [])
             if not poll(lambda n=n: not loop_is_ours(lab.name, n), 20)]
    shutil.rmtree(lab.folder, ignore_errors=True)
    if left:
        raise LabError(f"Lab '{lab.name}' left something behind: {', '.join(left)}.")


def end_clients(lab):
    """Programs started by `lab client` live in the client's network only.

    They live on in it when the rig is gone, so the network is known by its number.
    """
    for sig in (signal.SIGTERM, signal.SIGKILL):
        for pid in in_client_net(lab):
            try:
                os.kill(pid, sig)
            except ProcessLookupError:
                pass
        if poll(lambda: not in_client_net(lab), 5):
            return
    raise LabError("Programs in the client's network do not die: "
                   f"{sorted(in_client_net(lab))}.")


def in_client_net(lab):
    """Pids whose network namespace is the client's: nothing else lives there."""
    client = lab.state.get("client_net")
    found = []
    for name in os.listdir("/proc"):
        try:
            net = os.stat(f"/proc/{name}/ns/net") if name.isdigit() else None
        except OSError:
            continue
        if net and [net.st_dev, net.st_ino] == client:
            found.append(int(name))
    return found


def kill_rig(lab):
    started = lab.state.get("rig_start")
    rig = lab.state.get("rig")
    if rig and start_time(rig) == started:
        os.kill(rig, signal.SIGKILL)
    elif lab.state.get("launcher") and not rig:
        kill_launcher(lab.state["launcher"])
    wait_for(f"the rig of lab '{lab.name}' is gone",
             lambda: start_time(rig or 0) != started or not rig, 30)
    wait_for("its nodes' processes are gone",
             lambda: not any(cgroup.pids(lab.name, f"n{i}") for i in range(1, 4)), 30)


def kill_launcher(pid):
    """A rig that never became ready: --kill-child takes the rest along."""
    if "unshare" in read(f"/proc/{pid}/cmdline", ""):
        os.kill(pid, signal.SIGKILL)
        poll(lambda: start_time(pid) is None, 10)


def loop_is_ours(name, number):
    backing = read(f"/sys/block/loop{number}/loop/backing_file", "")
    return image_name(name) in backing


def image_name(name):
    return f"shared-{name}.img"


# Inside: the first process

def init():
    """Sets the rig up, says so, and then only reaps and waits for the owner."""
    ready = int(os.environ["LAB_READY"])
    rig = int(os.readlink("/proc/self"))     # still the host's /proc: host's pid
    began = start_time(rig)
    name = os.environ["LAB_NAME"]
    state = json.loads(read(f"{STATES}/{name}/state.json"))
    private_mounts()
    network()
    loops = image(name, state["nodes"])
    client = os.stat("/run/netns/client")
    answer = json.dumps({"rig": rig, "rig_start": began, "loops": loops,
                         "client_net": [client.st_dev, client.st_ino]})
    state.update(json.loads(answer))
    with open(f"{INSIDE}/state.json", "w", encoding="utf-8") as f:
        json.dump(state, f)
    os.write(ready, answer.encode())
    os.close(ready)
    reap()


def private_mounts():
    run(["mount", "--make-rprivate", "/"])
    run(["mount", "-t", "proc", "proc", "/proc"])
    run(["mount", "-t", "tmpfs", "-o", "mode=755,size=80%", "tmpfs", "/run"])
    for folder in ("", "/shared-folder", "/logs"):
        os.makedirs(INSIDE + folder)


def network():
    for line in (
            "link set lo up",
            f"link add {BRIDGE} type bridge forward_delay 0 stp_state 0 mcast_snooping 0",
            f"link set {BRIDGE} address {BRIDGE_MAC}",
            f"addr add {GATEWAY}/24 dev {BRIDGE}",
            f"link set {BRIDGE} up",
            "netns add client",
            "link add client type veth peer name eth0 netns client",
            f"link set client master {BRIDGE} up",
            "-n client link set lo up",
            f"-n client addr add {CLIENT}/24 dev eth0",
            "-n client link set eth0 up"):
        run(["ip"] + line.split())


def image(name, nodes):
    """One image, one loop device per node: storage that both can reach.

    The open descriptor keeps a device; with it open, -d only marks the device
    to go away by itself, so nothing is left when this process dies.
    """
    path = f"{INSIDE}/{image_name(name)}"
    run(["truncate", "-s", IMAGE_SIZE, path])
    run(["mkfs.ext4", "-q", "-F", "-L", "mail", path])
    loops = []
    for _ in range(nodes):
        device = run(["losetup", "-f", "--show", path]).stdout.strip()
        os.set_inheritable(os.open(device, os.O_RDONLY), False)
        run(["losetup", "-d", device])
        loops.append(int(device.removeprefix("/dev/loop")))
    return loops


def reap():
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    owner = os.environ.get("LAB_OWNER_FD")
    sys.stdout.flush()
    if owner:
        select.select([int(owner)], [], [])
        os._exit(0)                 # takes the whole rig along
    while True:
        signal.pause()
