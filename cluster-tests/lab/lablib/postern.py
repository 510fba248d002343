# SPDX-License-Identifier: GPL-2.0-only
"""Postern in the nodes: installed from its package or a stage, then joined to the mail group."""

import os

from . import cluster, mail
from .base import LabError, read, run, wait_for, write
from .node import Node
from .rig import INSIDE, VIP

AGENT = "usr/lib/ocf/resource.d/postern/scanner"
SHARED = "/srv/shared"
# A higher score than this means: the signatures are in memory.
READY = 1000
TCP_MILTER = "inet:127.0.0.1:8894"
SIGNATURES = "/etc/postern/lab.ndb"
# What postern-update finds: at first the same.
UPDATES = "/etc/postern/update"
# What only a Postern has whose nodes give each other signatures.
SHARE = "usr/libexec/postern/postern-share"

CONFIG = """# written by the lab
state_dir = "{state_dir}"
release_socket = "{queue}/public/postern-release"
clamd_listen = {{ "inet:{vip}:3310", "unix:/run/postern/clamd/clamd.sock" }}
"""
UPDATE_CONFIG = f"""update_databases = {{ "none" }}
update_directories = {{ "{UPDATES}" }}
update_interval = 60
update_jitter = 0
share_interval = 2
"""
SHARED_CONFIG = """state_storage = "shared"
milter_listen = { "inet:127.0.0.1:8894" }
"""
# pcs and crmsh read only plain text: one shell script per push.
PUSH = """set -e
cd "$(mktemp -d)"
pcs cluster cib old
cp old new
{changes}
pcs cluster cib-push new diff-against=old
"""


def is_package(stage):
    return stage.endswith(".deb")


def check_stage(stage):
    if not stage:
        raise LabError("Which Postern? Give '--stage FILE.deb', made by './dev package', or "
                       "'--stage DIR', a tree made by 'make install DESTDIR=DIR', or "
                       "'--no-scanner'.")
    if is_package(stage):
        if not os.path.isfile(stage):
            raise LabError(f"{stage} does not exist; './dev package' makes one.")
    elif not os.path.lexists(f"{stage}/{AGENT}"):   # a link that is right in a node only
        raise LabError(f"{stage} is no stage of Postern: it has no {AGENT}; make it with "
                       "'make install DESTDIR=DIR'.")


def installed(lab):
    """Whether the nodes have Postern at all, part of the cluster or not yet."""
    return lab.state["scanner"] or lab.state["installed"]


def promotable(lab):
    return lab.state["mode"] == "promotable"


def state_dir(lab):
    return f"{mail.MOUNT if promotable(lab) else SHARED}/postern"


# In the rig, before the first boot

def mail_settings(lab, root):
    """Postfix's side; without a scanner it has no milter at all.

    A primitive that migrates cannot bind its socket below the queue: that is on
    the file system that must be unmounted first. There it is a loopback port.
    """
    if not lab.state["scanner"]:
        mail.configure(root)
    else:
        mail.configure(root, mail.CHROOTED_MILTER if promotable(lab) else TCP_MILTER)
    if not promotable(lab):
        os.makedirs(f"{root}{SHARED}", exist_ok=True)


def install(lab, root):
    """Installs the package, as on any Debian, or unpacks the stage over the node's root."""
    if is_package(lab.state["stage"]):
        install_package(lab.state["stage"], root)
    else:
        install_stage(lab.state["stage"], root)
    text = CONFIG.format(state_dir=state_dir(lab), queue=mail.QUEUE, vip=VIP)
    if not promotable(lab):
        text += SHARED_CONFIG
    if shares(root):
        text += UPDATE_CONFIG
    write(f"{root}/etc/postern/postern.conf", text, 0o644)
    for path in (SIGNATURES, f"{UPDATES}/lab.ndb"):
        write(f"{root}{path}", f"Lab.Eicar:0:*:{eicar().hex()}\n", 0o644)


def shares(root):
    """An older one would not know the settings."""
    return os.path.exists(f"{root}/{SHARE}")


def install_package(package, root):
    """dpkg checks what it depends on; it need not wait for a disk that a reboot empties.

    Triggers are the host's business: the index of all manual pages takes longer than a lab.
    """
    run(["dpkg", f"--root={root}", "--force-unsafe-io", "--no-triggers", "--install", package],
        timeout=120)


def install_stage(stage, root):
    """tar and not cp: a folder lib/ in the stage must not replace Debian's link

    /lib, and the mode of the stage's own folder must not become that of /.
    """
    run(["/bin/sh", "-c",
         'tar -C "$0" -cf - . | tar -C "$1" -xpf - --keep-directory-symlink '
         '--no-overwrite-dir --no-same-owner', stage, root], timeout=120)
    run(["systemd-sysusers", f"--root={root}"])


def prepare_state(lab, root, disk):
    """state_dir is made once, by a person, for Postern's user; here that is us."""
    user = [line.split(":") for line in read(f"{root}/etc/passwd").splitlines()
            if line.startswith("postern:")]
    if not user:
        raise LabError(f"{lab.state['stage']} makes no user 'postern': it needs "
                       "a file in usr/lib/sysusers.d.")
    folder = f"{disk if promotable(lab) else INSIDE + '/shared-folder'}/postern"
    os.makedirs(folder, 0o700)
    os.chown(folder, int(user[0][2]), int(user[0][3]))


def eicar():
    """Built from halves: no file on disk may look infected."""
    return (rb"X5O!P%@AP[4\PZX54(P^)7CC)7}$EICAR-STANDARD"
            + rb"-ANTIVIRUS-TEST-FILE!$H+H*")


# In the running cluster

def add_signatures(lab):
    """One signature, EICAR's, so that a node is warm in no time."""
    for name in lab.nodes:
        Node(lab, name).run("postern", "signatures", "add", SIGNATURES)


def join(lab, say):
    if promotable(lab):
        join_promotable(lab, say)
    else:
        join_primitive(lab, say)
    if shares(lab.path("n1", "root")):
        Node(lab, "n1").run("postern", "cluster", "rekey", "--yes", timeout=120)
        say("the nodes give each other signatures")


def join_promotable(lab, say):
    """Two steps: created unpromoted it does not touch mail; then one push."""
    node = Node(lab, "n1")
    node.run(*f"""pcs resource create postern ocf:postern:scanner
        queue_directory={mail.QUEUE}
        op start timeout=30s op stop timeout=60s op promote timeout=90s op demote timeout=30s
        op monitor role=Promoted interval=7s timeout=20s
        op monitor role=Unpromoted interval=10s timeout=20s
        meta migration-threshold=3 failure-timeout=10min
        promotable promoted-max=1 interleave=true notify=false allow-unhealthy-nodes=true
        target-role=Unpromoted
        --wait=60""".split(), timeout=120)
    say("Postern's engine starts on all nodes")
    wait_ready(lab)
    say("all nodes have the signatures in memory")
    push(node, """
pcs -f new constraint colocation add mail with Promoted postern-clone INFINITY
pcs -f new constraint order start fs then promote postern-clone
pcs -f new constraint order promote postern-clone then start postfix kind=Optional
pcs -f new resource meta postern-clone target-role=
""")
    say(f"Postern is promoted on {wait_serving(lab)}")


def join_primitive(lab, say):
    """The set-up that migrates live: state on a directory that all nodes mount."""
    node = Node(lab, "n1")
    push(node, f"""
pcs -f new resource create shared ocf:heartbeat:Filesystem device=/media/shared-folder \\
    directory={SHARED} fstype=none options=bind op monitor interval=10s clone interleave=true
pcs -f new resource create postern-warm ocf:postern:scanner part=engine \\
    op start timeout=30s op stop timeout=60s op monitor interval=10s timeout=20s \\
    clone interleave=true allow-unhealthy-nodes=true
""")
    say("Postern's engine starts on all nodes")
    wait_for("the engine runs on all nodes", lambda: everywhere(lab, "postern-warm"), 120,
             0.3, "see 'lab status'")
    push(node, """
pcs -f new resource create postern ocf:postern:scanner \\
    op start timeout=90s op stop timeout=60s op monitor interval=7s timeout=20s \\
    op migrate_to timeout=60s op migrate_from timeout=90s \\
    meta allow-migrate=true migration-threshold=3 failure-timeout=10min
pcs -f new constraint order start shared-clone then start postern
pcs -f new constraint colocation add postern with shared-clone INFINITY
pcs -f new constraint colocation add postern with mail INFINITY
pcs -f new constraint order start postern then start postfix kind=Optional
pcs -f new constraint order start postern-warm-clone then start postern kind=Optional
pcs -f new constraint colocation add postern with postern-warm-clone 1000
""")
    say(f"Postern runs on {wait_serving(lab)}")


def wait_serving(lab, timeout=180):
    """The node on which Postern and the mail group run; a failed action ends the wait."""
    def serving():
        seen = cluster.try_view(lab)
        for failure in seen.failures() if seen else []:
            if failure["op_key"].startswith("postern"):
                raise LabError(f"{failure['op_key']} failed on {failure['node']}: "
                               f"{failure.get('exitreason') or failure.get('exitstatus')}.")
        node = where(lab)
        return node if seen and node and seen.where("postfix") == [node] else None
    wait_for("Postern serves", serving, timeout, 0.3, "see 'lab status'")
    cluster.wait_idle(lab)
    return wait_for("Postern still serves", serving, 30, 0.3, "see 'lab status'")


def push(node, changes):
    node.run("/bin/sh", "-c", PUSH.format(changes=changes), timeout=180)


def everywhere(lab, resource):
    seen = cluster.try_view(lab)
    return bool(seen) and sorted(seen.where(resource)) == lab.nodes


def wait_ready(lab, timeout=240):
    """All nodes publish the score of a node that can serve at once."""
    def ready():
        seen = cluster.try_view(lab)
        values = seen.attributes("master-postern") if seen else {}
        return all(score(values.get(name, {})) >= READY for name in lab.nodes)
    wait_for("master-postern is high on all nodes", ready, timeout, 0.3,
             "'lab exec NODE journalctl -u postern-engine' shows the loading")


def score(attributes):
    try:
        return int(attributes.get("master-postern", "-1"))
    except ValueError:
        return 1000000 if attributes["master-postern"] == "INFINITY" else -1


def where(lab):
    """The node that serves, in either mode; None if there is none."""
    seen = cluster.try_view(lab)
    nodes = seen.where("postern", "Promoted" if promotable(lab) else None) if seen else []
    return nodes[0] if len(nodes) == 1 else None
