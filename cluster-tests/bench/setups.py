# SPDX-License-Identifier: GPL-2.0-only
"""The four set-ups that are compared, each put into one and the same running cluster.

Of each: how it comes in and goes out again, when it is ready, what its scanner's death is. What
all of them share is left as it is: group, fencing, stickiness, Postfix, signatures.
"""

import os
import pathlib

from lablib import cluster, faults, mail, postern
from lablib.base import LabError, read, wait_for, write
from lablib.node import Node

SIGNATURES = "/srv/signatures"      # in the nodes
LOAD_LIMIT = 600                    # seconds; a full set on a machine that is busy otherwise
CLAMAV_MILTER = "inet:127.0.0.1:7357"

# One copy for all nodes, and so one in the page cache. Not below /var/tmp in the node: services
# with a private one of those would not see it.
MOUNT = """[Unit]
Description=Signatures of the bench
[Mount]
What={where}
Where={SIGNATURES}
Type=none
Options=bind
"""

CLAMD = """# the limits of Postern's defaults, in clamd's words
Foreground yes
LocalSocket /run/clamav/clamd.ctl
LocalSocketMode 666
DatabaseDirectory {database}
TemporaryDirectory /run/clamav
User clamav
LogSyslog yes
MaxThreads {threads}
MaxQueue 200
IdleTimeout 60
CommandReadTimeout 30
ReadTimeout 120
SelfCheck 0
StreamMaxLength 100M
MaxScanTime 55000
MaxScanSize 400M
MaxFileSize 100M
AlertExceedsMax yes
"""
MILTER = """Foreground yes
MilterSocket inet:7357@127.0.0.1
User clamav
ClamdSocket unix:/run/clamav/clamd.ctl
TemporaryDirectory /run/clamav
MaxFileSize 100M
ReadTimeout 300
OnClean Accept
OnInfected Reject
OnFail Defer
AddHeader Replace
LogSyslog yes
"""
UNIT = """[Unit]
Description={what}
After=srv-signatures.mount
StartLimitIntervalSec=0
[Service]
ExecStartPre=+/bin/mkdir -p /run/clamav
ExecStartPre=+/bin/chown clamav: /run/clamav
ExecStart={command}
Restart={restart}
RestartSec=100ms
TimeoutStartSec=420
"""
UNITS = ("clamav-daemon", "clamav-milter")


def nodes(lab):
    return [Node(lab, name) for name in lab.nodes]


def wants(node, unit, wanted):
    """systemctl enable for the lab's own target; a node that boots anew starts it."""
    folder = f"{node.root}/etc/systemd/system/lab.target.wants"
    os.makedirs(folder, exist_ok=True)
    link = f"{folder}/{unit}"
    if os.path.lexists(link):
        os.unlink(link)
    if wanted:
        os.symlink(f"/etc/systemd/system/{unit}", link)


def prepare(lab, where, generation):
    """Signatures and the units of ClamAV, in the running nodes; nothing is started but the mount."""
    for node in nodes(lab):
        system = f"{node.root}/etc/systemd/system"
        os.makedirs(f"{node.root}{SIGNATURES}", exist_ok=True)
        write(f"{system}/srv-signatures.mount", MOUNT.format(where=where, SIGNATURES=SIGNATURES))
        wants(node, "srv-signatures.mount", True)
        clamav_units(node, f"{SIGNATURES}/{generation}", restart="no")
        config = f"{node.root}/etc/postern/postern.conf"
        write(config, read(config) + f'signatures_dir = "{SIGNATURES}"\n', 0o644)
        node.run("systemctl", "daemon-reload")
        node.run("systemctl", "start", "srv-signatures.mount")


def clamav_units(node, database, restart):
    folder = node.root + "/etc"
    write(f"{folder}/clamav/bench-clamd.conf",
          CLAMD.format(database=database, threads=max(2, os.cpu_count())))
    write(f"{folder}/clamav/bench-milter.conf", MILTER)
    programs = ("/usr/sbin/clamd --foreground=true -c /etc/clamav/bench-clamd.conf",
                "/usr/sbin/clamav-milter -c /etc/clamav/bench-milter.conf")
    for unit, command in zip(UNITS, programs):
        write(f"{folder}/systemd/system/{unit}.service",
              UNIT.format(what=unit, command=command, restart=restart))


def postfix(lab, milter):
    """The milter of every node's Postfix; None for none."""
    words = [f"smtpd_milters={milter or ''}", f"non_smtpd_milters={milter or ''}",
             "milter_default_action=tempfail"]
    for node in nodes(lab):
        node.run("postconf", "-e", *words)
    Node(lab, cluster.active(lab)).run("postfix", "reload")


def configuration(lab):
    """What the cluster has before any set-up comes in."""
    return Node(lab, cluster.view(lab).asked).run("cibadmin", "--query", "--scope",
                                                  "configuration").stdout


def restore(lab, text):
    """In one step: what is no longer configured is stopped by the cluster."""
    Node(lab, cluster.view(lab).asked).run("cibadmin", "--replace", "--scope", "configuration",
                                           "--xml-pipe", stdin=text)
    cluster.wait_idle(lab, LOAD_LIMIT)
    Node(lab, cluster.view(lab).asked).run("crm_resource", "--cleanup", timeout=120)
    cluster.wait_group(lab)
    cluster.wait_idle(lab, LOAD_LIMIT)


class Setup:
    """A name for the results, a title for people, and what it does at its scanner's death."""

    name = title = None
    scans = True
    dies = True
    moves = False               # at its scanner's death

    def __init__(self, lab):
        self.lab = lab
        self.before = None

    def enter(self):
        self.before = configuration(self.lab)

    def leave(self):
        postfix(self.lab, None)
        restore(self.lab, self.before)

    def ready(self):
        """Waits until the group could fail over to a node that is as ready as it gets."""

    def scanner(self, node):
        """The process whose death is that of the scanner on `node`."""
        raise NotImplementedError


class NoScanner(Setup):
    name, title = "none", "the group without a scanner"
    scans = dies = False


class Postern(Setup):
    name, title = "postern", "Postern"
    moves = True

    def enter(self):
        super().enter()
        postfix(self.lab, mail.CHROOTED_MILTER)
        postern.join(self.lab, lambda text: None)
        self.ready()

    def ready(self):
        postern.wait_ready(self.lab, LOAD_LIMIT)

    def scanner(self, node):
        return faults.main_process(node, "postern-engine.service")


class Clamav(Setup):
    def pinged(self, name):
        """Whether clamd of a node answers, and so has loaded."""
        done = Node(self.lab, name).run(
            "clamdscan", "--config-file=/etc/clamav/bench-clamd.conf", "--ping", "1",
            check=False, timeout=30)
        return done.returncode == 0

    def wait_pinged(self, names):
        for name in names:
            wait_for(f"clamd on {name} has loaded", lambda n=name: self.pinged(n), LOAD_LIMIT, 0.5,
                     f"'lab exec {name} journalctl -u clamav-daemon'")

    def scanner(self, node):
        return faults.main_process(node, "clamav-daemon.service")


class Recipe(Clamav):
    name, title = "recipe", "clamd and clamav-milter in the group"

    def enter(self):
        super().enter()
        node = Node(self.lab, cluster.view(self.lab).asked)
        for resource, unit in zip(("clamd", "clamav-milter"), UNITS):
            node.run("pcs", "resource", "create", resource, f"systemd:{unit}", "op", "start",
                     "timeout=420s", "op", "stop", "timeout=120s", "op", "monitor", "interval=5s",
                     "timeout=60s", "--group", "mail", "--before", "postfix", timeout=120)
        cluster.wait_group(self.lab)
        postfix(self.lab, CLAMAV_MILTER)
        self.ready()

    def ready(self):
        cluster.wait_group(self.lab, LOAD_LIMIT)
        self.wait_pinged([cluster.active(self.lab)])


class AlwaysOn(Clamav):
    name, title = "always-on", "clamd and clamav-milter always on, outside the cluster"

    def enter(self):
        super().enter()
        self.units("on-failure", True)
        for node in nodes(self.lab):
            node.run("systemctl", "start", "--no-block", *UNITS)
        self.ready()
        postfix(self.lab, CLAMAV_MILTER)

    def units(self, restart, wanted):
        for node in nodes(self.lab):
            for unit in UNITS:
                path = f"{node.root}/etc/systemd/system/{unit}.service"
                lines = [f"Restart={restart}" if line.startswith("Restart=") else line
                         for line in read(path).splitlines()]
                write(path, "\n".join(lines) + "\n")
                wants(node, f"{unit}.service", wanted)
            node.run("systemctl", "daemon-reload")

    def leave(self):
        super().leave()
        self.units("no", False)
        for node in nodes(self.lab):
            node.run("systemctl", "stop", *UNITS, timeout=180)

    def ready(self):
        self.wait_pinged(self.lab.nodes)


SETUPS = (Postern, Recipe, AlwaysOn, NoScanner)


def generation_of(folder):
    """The one generation that `postern signatures add` has made in a folder."""
    current = pathlib.Path(folder) / "current"
    if not current.is_symlink():
        raise LabError(f"{folder} has no generation of signatures: remove it, it is made anew.")
    return os.readlink(current)
