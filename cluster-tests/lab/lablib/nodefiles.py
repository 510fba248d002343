# SPDX-License-Identifier: GPL-2.0-only
"""What a node's root holds before its first boot.

A node's root is an overlay over the host's: the host's packages, the node's
own /etc, /var and units.
"""

import glob
import os
import pwd
import shutil

from . import ssh
from .base import read, run, write

MASKED = ("systemd-udevd.service", "systemd-udevd-control.socket",
          "systemd-udevd-kernel.socket", "systemd-udev-trigger.service",
          "systemd-timesyncd.service", "systemd-logind.service",
          "systemd-modules-load.service", "clamav-daemon.socket",
          "clamav-daemon.service", "clamav-freshclam.service", "postfix.service",
          "dovecot.service", "dovecot.socket", "ssh.socket",
          "proc-sys-fs-binfmt_misc.automount", "systemd-firstboot.service")

TARGET = """[Unit]
Description=A node of the lab
Requires=basic.target
After=basic.target
Wants=dbus.service lab-net.service lab-cgroup.service ssh.service
Wants=corosync.service {pacemaker}
AllowIsolate=yes
"""

# A bind-mounted device node turned into a plain file after some failovers;
# a fresh one at each boot does not.
NET = """[Unit]
Description=Network and disk of a lab node
DefaultDependencies=no
Before=corosync.service network.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/ip addr replace {address}/24 dev host0
ExecStart=/bin/ip link set host0 up
ExecStart=/bin/ip route replace default via {gateway}
ExecStart=/bin/sh -c 'test -b /dev/sdb || mknod /dev/sdb b 7 {loop}'
"""

# nspawn hands the v1 controllers over read-only: without this MemoryMax= is
# accepted and has no effect. systemd looks at them only when it starts.
CGROUP = """[Unit]
Description=Memory and process limits in a lab node
DefaultDependencies=no
Before=basic.target corosync.service
After=local-fs.target systemd-update-utmp.service
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -c 'for c in memory pids; do d=/sys/fs/cgroup/$$c; \\
    ! mountpoint -q $$d || mount -o remount,rw,bind $$d; done'
ExecStart=/bin/systemctl daemon-reexec
"""

COROSYNC = """totem {{
    version: 2
    cluster_name: {cluster}
    transport: knet
    token: {token}
    crypto_cipher: aes256
    crypto_hash: sha256
}}
nodelist {{
{nodes}}}
quorum {{
    provider: corosync_votequorum
{two_node}}}
logging {{
    to_syslog: yes
    to_stderr: no
    timestamp: hires
}}
"""


def address(number):
    return f"10.77.0.1{number}"


def corosync_conf(lab):
    count = lab.state["nodes"]
    nodes = "".join(
        f"    node {{\n        name: n{i}\n        nodeid: {i}\n"
        f"        ring0_addr: {address(i)}\n    }}\n" for i in range(1, count + 1))
    return COROSYNC.format(cluster=f"lab-{lab.name}"[:32], nodes=nodes,
                           token=os.environ.get("LAB_TOKEN_MS", "1000"),
                           two_node="    two_node: 1\n" if count == 2 else "")


def hosts(lab):
    lines = ["127.0.0.1 localhost", "10.77.0.100 mail.lab.test mail"]
    lines += [f"{address(i)} n{i}" for i in range(1, lab.state["nodes"] + 1)]
    return "\n".join(lines) + "\n"


def fill(lab, root, number, seeds):
    """Writes all of a node that does not depend on mail or Postern."""
    identity(lab, root, number)
    units(lab, root, number)
    corosync(lab, root, seeds)
    pacemaker(root, seeds)
    names = {f"n{i}": address(i) for i in range(1, lab.state["nodes"] + 1)}
    ssh.fill(root, f"n{number}", names, seeds["ssh"])


def identity(lab, root, number):
    machine = f"{0x10a0 + number:x}".rjust(32, "0")
    write(f"{root}/etc/hostname", f"n{number}\n")
    write(f"{root}/etc/machine-id", machine + "\n")
    write(f"{root}/etc/hosts", hosts(lab))
    write(f"{root}/etc/resolv.conf", "# a lab has no name server\n")
    write(f"{root}/etc/fstab", "# a lab node mounts nothing by itself\n")
    write(f"{root}/etc/systemd/journald.conf.d/lab.conf",
          "[Journal]\nStorage=persistent\nRateLimitIntervalSec=0\nSyncIntervalSec=1s\n"
          "SystemMaxUse=64M\n")
    shutil.rmtree(f"{root}/var/log/journal", ignore_errors=True)
    os.makedirs(f"{root}/var/log/journal/{machine}")


def units(lab, root, number):
    folder = f"{root}/etc/systemd/system"
    for wants in glob.glob(f"{folder}/*.wants") + glob.glob(f"{folder}/*.requires"):
        shutil.rmtree(wants)
    for name in MASKED:
        if not os.path.lexists(f"{folder}/{name}"):
            os.symlink("/dev/null", f"{folder}/{name}")
    write(f"{folder}/lab.target", TARGET.format(pacemaker="pacemaker.service"))
    write(f"{folder}/lab-net.service", NET.format(
        address=address(number), gateway="10.77.0.254",
        loop=lab.state["loops"][number - 1]))
    write(f"{folder}/lab-cgroup.service", CGROUP)
    if os.path.lexists(f"{folder}/default.target"):
        os.unlink(f"{folder}/default.target")
    os.symlink("lab.target", f"{folder}/default.target")


def corosync(lab, root, seeds):
    write(f"{root}/etc/corosync/corosync.conf", corosync_conf(lab))
    with open(f"{root}/etc/corosync/authkey", "wb") as f:
        f.write(seeds["authkey"])
    os.chmod(f"{root}/etc/corosync/authkey", 0o400)
    for folder in ("corosync", "pcsd"):
        empty(f"{root}/var/lib/{folder}")
    write(f"{root}/etc/corosync/uidgid.d/.keep", "")


def pacemaker(root, seeds):
    """Pacemaker's own default costs 20 s at the first start: a seed ends that."""
    user = pwd.getpwnam("hacluster")
    for folder in ("cib", "pengine", "blackbox", "cores"):
        empty(f"{root}/var/lib/pacemaker/{folder}")
        os.chown(f"{root}/var/lib/pacemaker/{folder}", user.pw_uid, user.pw_gid)
    seed = f"{root}/var/lib/pacemaker/cib/cib.xml"
    write(seed, seeds["cib"], 0o600)
    os.chown(seed, user.pw_uid, user.pw_gid)
    for folder in ("pacemaker", "pcsd", "crmsh", "cluster"):
        empty(f"{root}/var/log/{folder}")
    os.chown(f"{root}/var/log/pacemaker", user.pw_uid, user.pw_gid)
    os.chmod(f"{root}/var/log/pacemaker", 0o770)


def empty(folder):
    if os.path.isdir(folder):
        for name in os.listdir(folder):
            path = f"{folder}/{name}"
            shutil.rmtree(path) if os.path.isdir(path) else os.unlink(path)
    else:
        os.makedirs(folder)


def seeds(folder, names):
    """What all nodes share: corosync's key, Pacemaker's first CIB, the keys of ssh."""
    cib = f"{folder}/seed-cib.xml"
    with open(cib, "w", encoding="utf-8") as f:
        f.write(run(["cibadmin", "--empty"]).stdout)
    env = {"CIB_file": cib, "PATH": os.environ["PATH"]}
    for name, value in (("dc-deadtime", "2s"),):
        run(["crm_attribute", "-t", "crm_config", "-n", name, "-v", value], env=env)
    return {"authkey": os.urandom(256), "cib": read(cib), "ssh": ssh.keys(folder, names)}
