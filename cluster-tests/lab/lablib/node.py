# SPDX-License-Identifier: GPL-2.0-only
"""One node: a systemd-nspawn container with its own systemd.

Its power is on, booting (between two lives of a reboot), hung (frozen), dying (dead, but its
disk is still being unmounted) or off.
"""

import contextlib
import errno
import fcntl
import os
import signal
import struct
import subprocess
import time

from . import cgroup
from .base import CLEAN_ENV, LabError, read, run, wait_for
from .rig import BRIDGE, INSIDE

CAPABILITIES = "CAP_IPC_LOCK,CAP_NET_ADMIN,CAP_SYS_NICE"
OFF_LIMIT = 30
SHARED_MOUNT = "/srv/mail"
# A file system of the node's own, which can be full without filling the machine's memory.
LOCAL_MOUNT, LOCAL_SIZE = "/var/lib/postern", "4G"
# nspawn ends with 133 when its node reboots; a machine would boot again by itself.
KEEP_BOOTING = """while "$@"; [ $? = 133 ]; do
    while ip link show vb-"${0#power-}" >/dev/null 2>&1; do sleep 0.02; done
done"""
# From linux/fs/ext4: go down at once.
EXT4_IOC_SHUTDOWN, NOLOGFLUSH = 0x8004587d, 2


class Node:
    def __init__(self, lab, name):
        if name not in lab.nodes:
            raise LabError(f"No node '{name}' in lab '{lab.name}': it has "
                           f"{', '.join(lab.nodes)}.")
        self.lab = lab
        self.name = name
        self.number = int(name[1:])
        self.link = f"vb-{name}"

    @property
    def root(self):
        return self.lab.path(self.name, "root")

    # power

    def init_pid(self):
        """The node's systemd, as our /proc numbers it; None if it is off.

        Of all processes that are the first of a pid namespace it is the one
        that is nested least: Postern's workers live in namespaces below it.
        """
        best = None
        for pid in cgroup.pids(self.lab.name, self.name):
            chain = pid_chain(pid)
            if chain and chain[-1] == "1" and (not best or len(chain) < best[0]):
                best = (len(chain), pid)
        return best[1] if best else None

    def power(self):
        """A node without processes is not off before the kernel has let go of its disk.

        The cluster takes "off" as leave to mount the disk elsewhere: said too early, two
        kernels write to one file system.
        """
        if not cgroup.pids(self.lab.name, self.name):
            return "dying" if self.disk_in_use() else "off"
        if cgroup.frozen(self.lab.name, self.name):
            return "hung"
        return "on" if self.init_pid() else "booting"

    @contextlib.contextmanager
    def power_lock(self):
        """The BMC waits while a fault is half done, and the other way round."""
        with open(self.lab.path(f"{self.name}.power"), "w", encoding="ascii") as f:
            fcntl.flock(f, fcntl.LOCK_EX)
            yield

    def power_on(self):
        """Boots the node; only inside the rig."""
        if self.power() == "dying":
            self.power_off()
        if self.power() != "off":
            return
        with open(f"{INSIDE}/logs/console-{self.name}", "ab") as console:
            subprocess.Popen(
                self.boot_command(), stdin=subprocess.DEVNULL, stdout=console,
                stderr=console, start_new_session=True, close_fds=True,
                preexec_fn=lambda: cgroup.join(self.lab.name, self.name),
                env=dict(CLEAN_ENV, SYSTEMD_SECCOMP="0")).returncode = 0
        wait_for(f"{self.name} has a first process", self.init_pid, 30, 0.02,
                 f"see {INSIDE}/logs/console-{self.name} in the rig")

    def boot_command(self):
        return ["/bin/sh", "-c", KEEP_BOOTING, f"power-{self.name}", "systemd-nspawn", "-q", "-D", self.root, "-M", self.name,
                "--register=no", "--keep-unit", "--link-journal=no",
                f"--network-bridge={BRIDGE}", f"--capability={CAPABILITIES}",
                "--kill-signal=SIGRTMIN+3", "--resolv-conf=off", "--timezone=off",
                f"--bind={INSIDE}/shared-folder:/media/shared-folder",
                f"--bind={INSIDE}/{self.name}/local:{LOCAL_MOUNT}",
                "--console=read-only", "--boot"]

    def power_off(self):
        """Hard: nothing in the node runs another instruction."""
        if self.power() == "off":
            return
        self.link_set("down", check=False)
        # The one that boots it anew; then init, with which its whole pid namespace goes.
        for pid in [self.booter(), self.init_pid()]:
            if pid:
                os.kill(pid, signal.SIGKILL)
        cgroup.thaw_stuck(self.lab.name, self.name)
        cgroup.freeze(self.lab.name, self.name, False)
        wait_for(f"all processes of {self.name} and their mounts are gone",
                 lambda: self.power() == "off", OFF_LIMIT, 0.02)
        wait_for(f"the interface {self.link} is gone",
                 lambda: not self.has_link(), OFF_LIMIT, 0.02)
        self.note_power_off()

    def booter(self):
        for pid in cgroup.pids(self.lab.name, self.name):
            if f"\0power-{self.name}\0" in read(f"/proc/{pid}/cmdline", ""):
                return pid
        return None

    def note_power_off(self):
        """A death explains why Postfix delivered a mail a second time."""
        with open(self.lab.path("logs", "power-off"), "a", encoding="ascii") as f:
            print(f"{time.time():.3f} {self.name}", file=f)

    def cut_power(self):
        """Off, and what was not yet written to the shared disk is lost.

        SIGKILL alone is kinder than a plug: the kernel would write everything back.
        So the file system is told first to write nothing any more.
        """
        self.link_set("down", check=False)
        cgroup.freeze(self.lab.name, self.name, True)
        for mount in set(self.mounts()) & {SHARED_MOUNT}:
            self.stop_disk(mount)
        self.power_off()

    def stop_disk(self, mount):
        """From now on the file system answers EIO and writes nothing, not even its journal."""
        folder = os.open(f"/proc/{self.init_pid()}/root{mount}", os.O_RDONLY)
        try:
            fcntl.ioctl(folder, EXT4_IOC_SHUTDOWN, struct.pack("I", NOLOGFLUSH))
        finally:
            os.close(folder)

    # network and disk

    def has_link(self):
        return self.lab.net(["ip", "link", "show", self.link], check=False).returncode == 0

    def link_set(self, state, check=True):
        self.lab.net(["ip", "link", "set", self.link, state], check=check)

    def disk_in_use(self):
        """Whether the kernel still holds a file system on this node's device.

        Only an exclusive open tells: mount tables and sysfs forget a file system before
        its last write. Not for a running node, whose own mount it could disturb.
        """
        device = f"/dev/loop{self.lab.state['loops'][self.number - 1]}"
        try:
            os.close(os.open(device, os.O_RDONLY | os.O_EXCL))
        except OSError as e:
            if e.errno == errno.EBUSY:
                return True
            raise LabError(f"{device}, the disk of {self.name}, cannot be opened: "
                           f"{e.strerror}.") from None
        return False

    @property
    def ext4(self):
        """What the kernel shows of a file system on this node's device."""
        return f"/sys/fs/ext4/loop{self.lab.state['loops'][self.number - 1]}"

    @property
    def device(self):
        """This node's device as /proc/locks names it: major and minor, hexadecimal."""
        return f"07:{self.lab.state['loops'][self.number - 1]:02x}"

    def disk_held(self):
        """Whether a file system of this node's device is alive, in any mount namespace."""
        return os.path.isdir(self.ext4)

    def disk_errors(self):
        """Errors that ext4 found on the disk that this node has mounted."""
        return int(read(f"{self.ext4}/errors_count", "0"))

    # commands

    def command(self, cmd):
        """How the caller enters the node with cmd; the node must be on."""
        power = self.power()
        init = self.init_pid() if power == "on" else None
        if init is None:
            raise LabError(f"Node {self.name} is {power}: "
                           "'lab fault heal' brings it back.")
        env = [f"{k}={v}" for k, v in CLEAN_ENV.items()]
        if os.environ.get("TERM"):
            env.append(f"TERM={os.environ['TERM']}")
        return ["nsenter", "-t", str(init), "-a", "--", "env", "-i", *env, *cmd]

    def run(self, *cmd, timeout=60, check=True, stdin=None):
        """Runs a command in the node, in its group: it freezes and dies with it."""
        lab, name = self.lab.name, self.name
        helper = ["/bin/sh", "-c", 'echo 0 >"$0/cgroup.procs" 2>/dev/null; exec "$@"',
                  cgroup.freezing(lab, name)]
        shown = " ".join(" ".join(map(str, cmd)).split())
        if len(shown) > 80:
            shown = shown[:77] + "..."
        return run(helper + self.command(cmd), timeout, check, stdin,
                   name=f"{name}: {shown}")

    def booted(self):
        """Boot is over; 'degraded' is no reason to stop: a unit may fail."""
        try:
            state = self.run("systemctl", "is-system-running", check=False, timeout=20)
        except LabError:
            return False
        return state.stdout.strip() in ("running", "degraded")

    def mounts(self):
        """Mount points in the node, seen from outside; empty when it is off."""
        init = self.init_pid()
        lines = read(f"/proc/{init}/mountinfo", "").splitlines() if init else []
        return [line.split()[4] for line in lines]


def pid_chain(pid):
    """Numbers of a process in our and in each deeper pid namespace."""
    for line in read(f"/proc/{pid}/status", "").splitlines():
        if line.startswith("NSpid:"):
            return line.split()[1:]
    return []


def build_root(lab, name):
    """Mounts a node's overlay; the upper part must be on the rig's own tmpfs."""
    base = f"{INSIDE}/{name}"
    for part in ("up", "wk", "root", "local"):
        os.makedirs(f"{base}/{part}")
    run(["mount", "-t", "tmpfs", "-o", f"mode=755,size={LOCAL_SIZE}", "tmpfs", f"{base}/local"])
    run(["mount", "-t", "overlay", name, "-o",
         f"lowerdir=/,upperdir={base}/up,workdir={base}/wk", f"{base}/root"])
    return f"{base}/root"
