# SPDX-License-Identifier: GPL-2.0-only
"""Doubles made on purpose: two mounts of one image, two leases, two listeners.

The two nodes are processes in networks of their own, with loop devices on one image; file
systems, locks and sockets are the kernel's.
"""

import fcntl
import os
import signal
import struct
import subprocess
import sys

import pytest

from lablib import node, watch
from lablib.base import poll, run

SERVE = f"""
import os, socket, sys, time
os.makedirs(os.path.dirname(sys.argv[1] + {watch.LISTENER!r}))
s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1] + {watch.LISTENER!r}); s.listen()
t = socket.socket(); t.bind(("127.0.0.1", 8894))
print("unix", flush=True)
sys.stdin.readline()
s.close(); t.listen()
print("tcp", flush=True)
time.sleep(600)
"""


class Lab:
    """What Watch wants to know of a lab."""

    def __init__(self, loops, mode="promotable", folder=None):
        self.state = {"loops": loops, "mode": mode}
        self.folder = folder

    def path(self, *parts):
        return os.path.join(self.folder, *parts)


class StandIn(node.Node):
    """A node without a lab: its first process is ours."""

    def __init__(self, lab, number):
        self.lab, self.number, self.name = lab, number, f"n{number}"
        self.process = None

    def init_pid(self):
        return self.process.pid if self.process else None

    def serve(self, folder):
        self.process = subprocess.Popen(
            ["unshare", "-n", "sh", "-c", 'ip link set lo up; exec "$@"', "sh", sys.executable,
             "-c", SERVE, f"{folder}/{self.name}"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout.readline() == "unix\n"

    def serve_tcp(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "tcp\n"

    def end(self):
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process = None


@pytest.fixture
def pair(tmp_path):
    """Two nodes and their mount points; what they hold is the test's business."""
    if os.geteuid() != 0:
        pytest.skip("needs root: loop devices and mounts")
    image = tmp_path / "shared.img"
    run(["truncate", "-s", "8M", image])
    run(["mkfs.ext4", "-q", "-F", image])
    loops = [run(["losetup", "-f", "--show", image]).stdout.strip() for _ in range(2)]
    lab = Lab([int(name.removeprefix("/dev/loop")) for name in loops])
    nodes = [StandIn(lab, number) for number in (1, 2)]
    folders = [tmp_path / "mnt1", tmp_path / "mnt2"]
    try:
        for folder in folders:
            folder.mkdir()
        yield nodes, loops, folders
    finally:
        for each in nodes:
            each.end()
        for folder in folders:
            run(["umount", folder], check=False)
        for loop in loops:
            run(["losetup", "-d", loop])


def look(nodes):
    """What one sample calls doubles, without the time."""
    seen = watch.Watch(nodes[0].lab, nodes=nodes)
    seen.sample()
    return [text.partition(": ")[2] for text in seen.doubles]


def lease(folder):
    """A lease as posternd holds it; open as long as the descriptor is."""
    fd = os.open(folder / "lease", os.O_RDWR | os.O_CREAT)
    whole = struct.pack("hhqqixxxx", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
    fcntl.fcntl(fd, fcntl.F_OFD_SETLK, whole)
    return fd


def test_second_mount_and_second_lease(pair):
    nodes, loops, folders = pair
    assert not look(nodes)
    run(["mount", loops[0], folders[0]])
    first = lease(folders[0])
    assert not look(nodes)
    run(["mount", loops[1], folders[1]])            # ext4 does not mind
    assert look(nodes) == ["file system on n1+n2"]
    second = lease(folders[1])
    assert look(nodes) == ["file system on n1+n2", "lease on n1+n2"]
    os.close(first)
    run(["umount", folders[0]])
    assert poll(lambda: not look(nodes), 60), "the first has gone, so there is no double"
    os.close(second)


def test_mount_that_nobody_sees(pair):
    """Detached, it is in no mount table, but the kernel still writes to the disk."""
    nodes, loops, folders = pair
    for loop, folder in zip(loops, folders):
        run(["mount", loop, folder])
    fd = os.open(folders[0], os.O_RDONLY)
    run(["umount", "-l", folders[0]])
    assert look(nodes) == ["file system on n1+n2"]
    os.close(fd)
    assert poll(lambda: not look(nodes), 60)


def test_two_leases_on_one_node(pair):
    """A lease file that was replaced while its holder lives."""
    nodes, loops, folders = pair
    run(["mount", loops[0], folders[0]])
    first = lease(folders[0])
    (folders[0] / "lease").unlink()
    second = lease(folders[0])
    assert look(nodes) == ["lease on n1+n1"]
    os.close(first)
    os.close(second)


def test_two_listeners(pair, tmp_path):
    nodes, _, _ = pair
    nodes[0].serve(tmp_path)
    assert not look(nodes)
    nodes[1].serve(tmp_path)
    assert look(nodes) == ["milter on n1+n2"]
    nodes[0].serve_tcp()
    assert look(nodes) == ["milter on n1+n2"], "on a port as well as on a socket"
    nodes[1].end()
    assert not look(nodes)


def test_a_node_that_is_replaced(pair, tmp_path):
    """After a boot the first process is another one; the watch has to look it up again."""
    nodes, _, _ = pair
    nodes[0].serve(tmp_path / "first")
    seen = watch.Watch(nodes[0].lab, nodes=nodes)
    seen.sample()
    nodes[0].end()
    nodes[0].serve(tmp_path / "second")
    nodes[1].serve(tmp_path)
    seen.sample()
    assert len(seen.doubles) == 1


def test_lease_on_a_folder_that_all_mount(tmp_path):
    (tmp_path / "shared-folder/postern").mkdir(parents=True)
    lab = Lab([250, 251], "primitive", str(tmp_path))
    nodes = [StandIn(lab, number) for number in (1, 2)]
    seen = watch.Watch(lab, nodes=nodes)
    seen.sample()
    assert "lease" not in seen.seen
    fd = lease(tmp_path / "shared-folder/postern")
    seen.sample()
    os.close(fd)
    assert seen.seen["lease"] == ["the shared folder"] and not seen.doubles


def test_samples_come_in_time(pair):
    """Every 100 ms, also while somebody else computes."""
    nodes, _, _ = pair
    burner = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        with watch.Watch(nodes[0].lab, nodes=nodes) as seen:
            assert poll(lambda: seen.samples > 20, 120)
    finally:
        burner.send_signal(signal.SIGKILL)
        burner.wait()
    median, _ = seen.pace()
    assert median <= watch.EVERY, seen.text()


def test_locks_of_others_do_not_count():
    text = ("1: POSIX  ADVISORY  WRITE 77 07:0a:12 0 EOF\n"
            "2: OFDLCK ADVISORY  WRITE -1 07:0a:13 0 EOF\n"
            "2: -> OFDLCK ADVISORY  WRITE -1 07:0a:13 0 EOF\n"
            "3: FLOCK  ADVISORY  WRITE 80 07:0b:12 0 EOF\n")
    assert watch.ofd_locks(text) == [("07:0a", 13)]


def test_a_lock_that_is_read_twice_is_one(pair):
    nodes, _, _ = pair
    seen = watch.Watch(nodes[0].lab, nodes=nodes)
    assert seen.leases([(nodes[0].device, 12)] * 2) == ["n1"]
    assert seen.leases([(nodes[0].device, 12), (nodes[0].device, 13)]) == ["n1", "n1"]
