# SPDX-License-Identifier: GPL-2.0-only
"""Copies what a lab wrote, because it goes away with the lab."""

import glob
import os
import shutil
import time

from .base import LabError, run

IN_NODE = ("var/log/pacemaker", "var/log/corosync", "var/lib/pacemaker/pengine",
           "var/lib/pacemaker/cib", "etc/corosync/corosync.conf", "etc/postern",
           "etc/postfix/main.cf", "var/log/postern")


def default_folder(lab):
    stamp = time.strftime("%Y%m%d-%H%M%S")
    return f"/tmp/postern-lab-{lab.name}-{stamp}"


def collect(lab, folder):
    """Journals, Pacemaker's logs and inputs, BMC and console logs; works with nodes off."""
    os.makedirs(folder, exist_ok=True)
    if os.path.isdir(lab.folder):
        copy(lab.folder, f"{folder}/host")
    if not lab.alive():
        return folder
    copy(lab.path("logs"), f"{folder}/rig")
    for name in lab.nodes:
        root = lab.path(name, "root")
        os.makedirs(f"{folder}/{name}", exist_ok=True)
        with open(f"{folder}/{name}/journal.txt", "w", encoding="utf-8") as f:
            f.write(said(root))
        for part in IN_NODE:
            if os.path.exists(f"{root}/{part}"):
                copy(f"{root}/{part}", f"{folder}/{name}/{os.path.basename(part)}")
    return folder


def copy(source, target):
    try:
        if os.path.isdir(source):
            shutil.copytree(source, target, dirs_exist_ok=True, symlinks=True,
                            ignore_dangling_symlinks=True)
        else:
            shutil.copyfile(source, target)
    except (OSError, shutil.Error):
        pass                        # a file that vanished while it was copied


def said(root):
    try:
        return journal(root, "-o", "short-precise")
    except LabError as e:
        return f"{e}\n"            # the other logs are still worth having


def journal(root, *options):
    """What a node's journal has; one killed in the middle of a write still reads."""
    for machine in glob.glob(f"{root}/var/log/journal/*"):
        return run(["journalctl", "--no-pager", "-q", f"--directory={machine}", *options],
                   check=False, timeout=60).stdout
    return ""
