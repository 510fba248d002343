# SPDX-License-Identifier: GPL-2.0-only
"""A machine that was not booted with systemd: namespaces of its own over the host's files, an init
that only reaps, stand-ins for engine and posternd, and for Pacemaker's tools."""

import contextlib
import os
import shutil
import subprocess
import tempfile

from node import HERE, QUEUE, STATE, Node

SETUP = """
set -e
mount --make-rprivate /
mount -t tmpfs tmpfs "$1"
mkdir "$1/up" "$1/work" "$1/root"
mount -t overlay node -o lowerdir=/,upperdir="$1/up",workdir="$1/work" "$1/root"
cd "$1/root"
mount -t proc proc proc
mount --rbind /sys sys
mount --rbind /dev dev
mount -t tmpfs tmpfs run
mkdir -p srv/mail tmp
mount -t tmpfs tmpfs srv/mail
tar -C "$2" -cf - . | tar -xpf - --keep-directory-symlink --no-overwrite-dir --no-same-owner
mkdir -p old
pivot_root . old
umount -l old
exec /usr/bin/python3 -c '
import os, time
os.setsid()
print("up", flush=True)
while True:
    try:
        os.waitpid(-1, 0)
    except ChildProcessError:
        time.sleep(0.05)
'
"""
# attrd_updater -n NAME -U VALUE | -D, crm_resource -F: what the cluster would be told.
TOOL = """#!/bin/sh
echo "${0##*/} $*" >> /run/told
[ "$1" = -n ] || exit 0
mkdir -p /run/attributes
case $3 in
-U) echo "$4" > "/run/attributes/$2" ;;
-D) rm -f "/run/attributes/$2" ;;
esac
"""


class PlainNode(Node):
    """Namespaces without systemd."""

    def __init__(self, pid):
        self.pid = pid
        self.enter = ["nsenter", "-t", str(pid), "-m", "-p", "-u", "-i", "-r", "-w"]

    def attribute(self, name):
        done = self.run("cat", f"/run/attributes/{name}")
        return done.out if done.rc == 0 else None

    def record(self, program, field):
        text = self.run("cat", f"/run/postern/cluster/{program}.service.process").out
        fields = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
        return fields.get(field)

    def pid_of(self, program):
        pid = self.record(program, "main")
        return pid if pid != "0" else None

    def status(self, program):
        text = self.sh(f"cat /proc/{self.pid_of(program)}/status")
        return {k: v.strip() for k, v in (line.split(":", 1) for line in text.splitlines())}

    def condition(self, program):
        return self.record(program, "condition") or "down"

    def limit(self, program, line):
        """The supervisor's own are short enough."""

    def told(self, _since):
        return "crm_resource -F" in self.run("cat", "/run/told").out

    def traces(self):
        files = self.sh("ls /run/postern/cluster | grep service || true")
        return self.running() + files.split()

    def running(self):
        text = self.sh("cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' '\\n' || true")
        return [line for line in text.splitlines() if "/usr/libexec/postern/" in line]


def install_stand_ins(node):
    with open(f"{HERE}/stand-in", encoding="utf-8") as f:
        stand_in = f.read()
    files = {f"/usr/libexec/postern/{name}": stand_in
             for name in ("postern-engine", "postern-zygote", "posternd")}
    files |= {f"/usr/sbin/{name}": TOOL for name in ("attrd_updater", "crm_resource")}
    for path, text in files.items():
        node.sh(f"rm -f {path}")
        node.write(path, text)
        node.sh(f"chmod 755 {path}")


def install(node):
    install_stand_ins(node)
    node.sh(f"mkdir -p /etc/postern; systemd-sysusers 2>&1; install -d {QUEUE}; "
            f"install -d -o postern -g postern -m 0700 {STATE}")
    node.write("/etc/postern/postern.conf", f'state_dir = "{STATE}"\n')


@contextlib.contextmanager
def machine():
    folder = tempfile.mkdtemp(prefix="postern-plain-")
    init = subprocess.Popen(["unshare", "-m", "-p", "-u", "-i", "--fork", "--kill-child=KILL",
                             "/bin/sh", "-c", SETUP, "sh", folder, os.environ["POSTERN_STAGE"]],
                            stdout=subprocess.PIPE, text=True)
    try:
        assert init.stdout.readline() == "up\n"
        child = subprocess.run(["pgrep", "-P", str(init.pid)], text=True, capture_output=True,
                               check=True).stdout.split()[0]
        node = PlainNode(int(child))
        install(node)
        yield node
    finally:
        init.kill()
        init.wait()
        shutil.rmtree(folder, ignore_errors=True)
