# SPDX-License-Identifier: GPL-2.0-only
"""A machine to install on: this one's files below an overlay that goes away with the test."""

import os
import subprocess
import sys

import pytest

sys.dont_write_bytecode = True

PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
# systemd of the machine: notes what it is asked to do; says "active" of what a test has named.
STAND_IN = """#!/bin/sh
echo "${0##*/} $*" >>/calls
case " $* " in
*" is-active "*)
    for unit; do
        if grep -qxF "$unit" /active 2>/dev/null; then exit 0; fi
    done
    exit 3 ;;
esac
"""


class Machine:
    def __init__(self, folder):
        self.root = f"{folder}/root"
        self.holder = subprocess.Popen(
            ["unshare", "-m", "--propagation", "private", "/bin/sh", "-ec",
             'mount -t tmpfs none "$0"; mkdir "$0/up" "$0/wk" "$0/root"\n'
             'mount -t overlay none -o "lowerdir=/,upperdir=$0/up,workdir=$0/wk" "$0/root"\n'
             'mount -t tmpfs none "$0/root/run"; mount -t tmpfs none "$0/root/tmp"\n'
             'mount --rbind /dev "$0/root/dev"; mount -t proc proc "$0/root/proc"\n'
             'echo there; exec sleep infinity', str(folder)], stdout=subprocess.PIPE)
        assert self.holder.stdout.readline() == b"there\n"
        self.sh("""
            rm -rf /var/lib/postern /etc/postern
            for file in passwd shadow; do sed -i '/^postern/d' /etc/$file; done
            for file in group gshadow; do sed -i '/^postern/d; s/,postern$//' /etc/$file; done
            mkdir -p /run/systemd/system
            cat >/usr/bin/stand-in
            chmod 755 /usr/bin/stand-in
            ln -sf stand-in /usr/bin/systemctl
            ln -sf stand-in /usr/bin/deb-systemd-invoke
            : >/calls""", stdin=STAND_IN)

    def end(self):
        self.holder.kill()
        self.holder.wait()

    def run(self, *cmd, check=True, stdin=None):
        done = subprocess.run(
            ["nsenter", "-t", str(self.holder.pid), "-m", "chroot", self.root, *cmd],
            input=stdin, capture_output=True, text=True, check=False,
            env={"PATH": PATH, "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"})
        assert not check or done.returncode == 0, f"{cmd}: {done.stdout}{done.stderr}"
        return done

    def sh(self, script, check=True, stdin=None):
        return self.run("/bin/sh", "-ec", script, check=check, stdin=stdin).stdout

    def dpkg(self, *args):
        """What it says."""
        done = self.run("dpkg", "--force-unsafe-io", "--no-triggers", *args)
        return done.stdout + done.stderr

    def install(self, package):
        """The file is outside the machine."""
        with open(package, "rb") as f:
            subprocess.run(["nsenter", "-t", str(self.holder.pid), "-m", "chroot", self.root,
                            "/bin/sh", "-c", "cat >/tmp/postern.deb"], stdin=f, check=True)
        return self.dpkg("--install", "/tmp/postern.deb")

    def calls(self):
        """What systemd was asked to do since the last time."""
        return self.sh("cat /calls; : >/calls").splitlines()


@pytest.fixture(scope="session")
def package():
    path = os.environ.get("POSTERN_PACKAGE")
    if not path:
        pytest.skip("needs POSTERN_PACKAGE, a .deb by './dev package'")
    return path


@pytest.fixture
def machine(tmp_path):
    if os.geteuid() != 0:
        pytest.skip("an overlay needs root")
    made = Machine(tmp_path)
    yield made
    made.end()
