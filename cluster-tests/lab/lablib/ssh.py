# SPDX-License-Identifier: GPL-2.0-only
"""Root logs in from every node to every other by key, as administrators of a cluster have it.

Keys are made for each lab; a lab has no way out, so they open nothing else.
"""

import os
import shutil

from .base import read, run, write

CONFIG = """HostKey /etc/ssh/ssh_host_ed25519_key
PermitRootLogin prohibit-password
PasswordAuthentication no
UsePAM no
UseDNS no
AcceptEnv LANG LC_*
"""


def keys(folder, names):
    """The key of root and one host key per node: {name: path of the private half}."""
    os.makedirs(f"{folder}/ssh", mode=0o700)
    made = {}
    for name in ["root"] + names:
        made[name] = f"{folder}/ssh/{name}"
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", f"{name} of the lab",
             "-f", made[name]])
    return made


def fill(root, name, addresses, made):
    """addresses: {node: its address} of all nodes; made: what keys() returned."""
    shutil.rmtree(f"{root}/etc/ssh/sshd_config.d", ignore_errors=True)
    for kind in ("ecdsa", "rsa"):
        for end in ("", ".pub"):
            if os.path.exists(f"{root}/etc/ssh/ssh_host_{kind}_key{end}"):
                os.unlink(f"{root}/etc/ssh/ssh_host_{kind}_key{end}")
    write(f"{root}/etc/ssh/sshd_config", CONFIG, 0o644)
    host = f"{root}/etc/ssh/ssh_host_ed25519_key"
    copy(made[name], host)
    home = f"{root}/root/.ssh"
    shutil.rmtree(home, ignore_errors=True)
    os.makedirs(home, mode=0o700)
    copy(made["root"], f"{home}/id_ed25519")
    write(f"{home}/authorized_keys", read(made["root"] + ".pub"), 0o600)
    known = [f"{other},{address} {' '.join(read(made[other] + '.pub').split()[:2])}\n"
             for other, address in addresses.items()]
    write(f"{home}/known_hosts", "".join(known), 0o600)


def copy(source, target):
    write(target, read(source), 0o600)
    write(f"{target}.pub", read(f"{source}.pub"), 0o644)
