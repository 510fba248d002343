# SPDX-License-Identifier: GPL-2.0-only
"""`lab up` and `lab down`, step by step."""

import os
import shutil

from . import bmc, cluster, logs, mail, nodefiles, postern, rig
from .base import LabError, Progress, wait_for
from .node import Node, build_root

NEEDED = {"systemd-nspawn": "systemd-container", "ipmi_sim": "openipmi",
          "ipmitool": "ipmitool", "modprobe": "kmod", "nft": "nftables",
          "ip": "iproute2", "crm": "crmsh", "pcs": "pcs", "pacemakerd": "pacemaker",
          "corosync": "corosync", "fence_ipmilan": "fence-agents",
          "postfix": "postfix", "swaks": "swaks", "mkfs.ext4": "e2fsprogs",
          "sshd": "openssh-server", "ssh": "openssh-client", "dovecot": "dovecot-core"}


def check_machine():
    if os.geteuid() != 0:
        raise LabError("A lab needs root: namespaces, mounts and loop devices.")
    missing = [package for program, package in NEEDED.items()
               if not shutil.which(program, path="/usr/sbin:/usr/bin:/sbin:/bin")]
    if missing:
        raise LabError(f"Missing packages: apt-get install {' '.join(missing)}")


def up(lab, options):
    """Brings the lab up; whatever goes wrong, nothing of it stays."""
    say = Progress()
    check_machine()
    if options["scanner"] or options["installed"]:
        postern.check_stage(options["stage"])
    rig.reserve(lab)
    try:
        rig.start(lab, {k: options[k] for k in
                        ("nodes", "bare", "scanner", "mode", "stage", "installed", "dovecot")})
        build(lab, say)
        if not options["bare"]:
            serve(lab, say)
    except KeyboardInterrupt:
        rig.stop(lab)
        raise
    except BaseException:
        give_up(lab, say, options["keep"])
        raise
    say(f"lab '{lab.name}' is up")


def give_up(lab, say, keep):
    try:
        say(f"failed; logs are in {logs.collect(lab, logs.default_folder(lab))}")
    except LabError as e:
        say(f"failed; no logs: {e}")
    if keep:
        say("the lab stays as it is: 'lab down' ends it")
    else:
        rig.stop(lab)


def build(lab, say):
    say(f"lab '{lab.name}': rig, network and shared disk are there")
    lab.enter("_build")
    say(f"{len(lab.nodes)} nodes boot")
    for name in lab.nodes:
        wait_for(f"{name} has booted", Node(lab, name).booted, 90, 0.2)
    cluster.wait_online(lab, 150)
    say("all nodes are online")


def inside_build(lab):
    """In the rig: node roots, management controllers, the shared disk, first boot."""
    common = nodefiles.seeds(rig.INSIDE, lab.nodes)
    for number, name in enumerate(lab.nodes, 1):
        bmc.start(lab, number)
        root = build_root(lab, name)
        nodefiles.fill(lab, root, number, common)
        postern.mail_settings(lab, root)
        if postern.installed(lab):
            postern.install(lab, root)
    prepare_disk(lab)
    for number, name in enumerate(lab.nodes, 1):
        Node(lab, name).power_on()
        bmc.wait_answer(number)


def prepare_disk(lab):
    with mail.disk(lab) as disk:
        mail.prepare(disk)
        if postern.installed(lab):
            postern.prepare_state(lab, f"{rig.INSIDE}/n1/root", disk)


def serve(lab, say):
    """Fencing, the mail group, Postern; ends when a mail has arrived."""
    cluster.load(Node(lab, "n1"), cluster.configuration(lab))
    cluster.wait_group(lab)
    mail.wait_banner(lab, 60)
    say("fencing is configured and the mail group runs")
    if postern.installed(lab):
        postern.add_signatures(lab)
    if lab.state["scanner"]:
        postern.join(lab, say)
    mail.probe(lab, 180)
    cluster.wait_idle(lab)
    say("mail flows")


def down(lab):
    say = Progress()
    rig.lock(lab)
    known = lab.alive() or bool(lab.state)
    rig.stop(lab)
    say(f"lab '{lab.name}' is down" if known else
        f"lab '{lab.name}' was not up; nothing is left of it")
