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
        journal(f"{root}/var/log/journal", f"{folder}/{name}/journal.txt")
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


def journal(folder, target):
    """A node killed in the middle of a write leaves a file that still reads."""
    machines = glob.glob(f"{folder}/*")
    try:
        text = run(["journalctl", "--no-pager", "-o", "short-precise", "-q"]
                   + [f"--directory={m}" for m in machines[:1]],
                   check=False, timeout=60).stdout
    except LabError as e:
        text = f"{e}\n"
    with open(target, "w", encoding="utf-8") as f:
        f.write(text)
