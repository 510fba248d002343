# SPDX-License-Identifier: GPL-2.0-only
"""Postfix and Dovecot in the nodes and the file system that they share.

The queue is on the shared file system: mail that got its 250 must not die
with a node. Delivery goes to Maildirs beside it, which Dovecot shows.
"""

import contextlib
import os
import shlex
import shutil
import subprocess
import uuid

from .base import CLEAN_ENV, poll, run, wait_for, write
from .node import SHARED_MOUNT as MOUNT, Node
from .rig import INSIDE, PORT, VIP

QUEUE = f"{MOUNT}/postfix"
MAILDIR = f"{MOUNT}/maildir"
DOMAIN = "lab.test"
OPERATIONS = os.path.join(os.path.dirname(os.path.abspath(__file__)),
                          "../../../docs/OPERATIONS.md")
OWNER = 5000                       # of the Maildirs; no name needed

MAIN = f"""# the lab's Postfix
compatibility_level = 3.6
myhostname = mail.{DOMAIN}
mydestination =
alias_maps =
mynetworks = 127.0.0.0/8 10.77.0.0/24
inet_interfaces = all
inet_protocols = ipv4
smtpd_peername_lookup = no
smtpd_relay_restrictions = permit_mynetworks, reject
queue_directory = {QUEUE}
virtual_mailbox_domains = {DOMAIN}
virtual_mailbox_base = {MAILDIR}
virtual_mailbox_maps = texthash:/etc/postfix/mailboxes
virtual_uid_maps = static:{OWNER}
virtual_gid_maps = static:{OWNER}
biff = no
# A mail that waits in the queue when the group moves is tried again soon.
queue_run_delay = 5s
minimal_backoff_time = 5s
maximal_backoff_time = 20s
# Mail for a domain that nobody has must not wait for a name server.
default_transport = error:this lab has no other mail server
"""
MAILBOXES = f"probe@{DOMAIN} probe/\n@{DOMAIN} inbox/\n"

# Whoever knows a mailbox's name may read it: a lab has no secrets.
DOVECOT = f"""protocols = imap
listen = *
ssl = no
disable_plaintext_auth = no
mail_location = maildir:{MAILDIR}/%n
first_valid_uid = {OWNER}
passdb {{
  driver = static
  args = nopassword=y
}}
userdb {{
  driver = static
  args = uid={OWNER} gid={OWNER} home={MAILDIR}/%n
}}
"""

MILTERS = """smtpd_milters = {milter}
non_smtpd_milters = {milter}
milter_default_action = tempfail
"""
# smtpd is chrooted to the queue directory, so this is <queue>/postern/milter.sock:
# Postern's agent binds the node's /run/postern/milter there.
CHROOTED_MILTER = "unix:/postern/milter.sock"


def configure(root, milter=None, chroot=True):
    """Writes a node's Postfix configuration; milter: None for no scanner."""
    folder = f"{root}/etc/postfix"
    write(f"{folder}/main.cf", MAIN + (MILTERS.format(milter=milter) if milter else ""))
    write(f"{folder}/mailboxes", MAILBOXES)
    with open("/usr/share/postfix/master.cf.dist", encoding="utf-8") as f:
        services = f.read()
    if not chroot:
        services = unchrooted(services)
    write(f"{folder}/master.cf", services)
    if milter:
        add_release_service(folder)
    write(f"{root}/etc/dovecot/dovecot.conf", DOVECOT)
    os.makedirs(f"{root}{MOUNT}", exist_ok=True)


def add_release_service(folder):
    """As docs/OPERATIONS.md says it."""
    with open(OPERATIONS, encoding="utf-8") as f:
        lines = [shlex.split(line) for line in f
                 if line.startswith("    postconf -") and "postern-release" in line]
    for _, *words in lines:
        run(["postconf", "-c", folder, *words])


def unchrooted(services):
    """smtpd and cleanup, the two that talk to milters, outside the chroot."""
    lines = []
    for line in services.splitlines():
        words = line.split()
        if len(words) >= 8 and words[7] in ("smtpd", "cleanup"):
            words[4] = "n"
            line = " ".join(words)
        lines.append(line)
    return "\n".join(lines) + "\n"


@contextlib.contextmanager
def disk(lab):
    """The shared file system, mounted in the rig while no node runs."""
    mount = f"{INSIDE}/prepare"
    os.makedirs(mount)
    run(["mount", f"/dev/loop{lab.state['loops'][0]}", mount])
    try:
        yield mount
    finally:
        run(["umount", mount])
        os.rmdir(mount)


def prepare(folder):
    """Folders of the shared file system, made once before any node boots."""
    os.makedirs(f"{folder}/postfix/etc")
    for name in ("services", "nsswitch.conf", "localtime"):
        if os.path.exists(f"/etc/{name}"):
            shutil.copyfile(f"/etc/{name}", f"{folder}/postfix/etc/{name}")
    os.makedirs(f"{folder}/maildir")
    os.chown(f"{folder}/maildir", OWNER, OWNER)


# From outside

def banner(lab):
    """Whether Postfix greets at the VIP."""
    script = ("import socket,sys\n"
              f"s=socket.create_connection(('{VIP}',{PORT}),2)\n"
              "s.settimeout(3)\nsys.exit(not s.recv(100).startswith(b'220'))")
    return run(lab.client_command(["/usr/bin/python3", "-I", "-S", "-c", script]),
               check=False, timeout=20).returncode == 0


def probe(lab, timeout):
    """One real mail from the client to a Maildir: mail flows, or an error."""
    mark = f"lab-probe-{uuid.uuid4().hex[:12]}"
    text = f"Subject: {mark}\\n\\nIs anybody there?\\n"

    def send():
        cmd = ["swaks", "--server", VIP, "--port", str(PORT), "--to", f"probe@{DOMAIN}",
               "--from", "probe@client.test", "--data", text, "--timeout", "20"]
        done = subprocess.run(lab.client_command(cmd), env=CLEAN_ENV, timeout=120,
                              stdin=subprocess.DEVNULL, capture_output=True, check=False)
        return done.returncode == 0

    wait_for("a mail is accepted at the VIP", send, timeout, 1,
             "'lab status' shows the cluster, 'lab client swaks ...' the dialogue")
    wait_for("that mail is in its Maildir", lambda: delivered(lab, mark), 60, 0.3,
             "'lab exec NODE postqueue -p' shows what Postfix does with it")


def delivered(lab, mark):
    for name in active_roots(lab):
        folder = f"{name}{MAILDIR}/probe/new"
        for file in os.listdir(folder) if os.path.isdir(folder) else []:
            with open(f"{folder}/{file}", encoding="utf-8", errors="replace") as f:
                if mark in f.read():
                    return True
    return False


def active_roots(lab):
    """Root folders of the nodes that have the shared file system mounted."""
    found = []
    for name in lab.nodes:
        node = Node(lab, name)
        if MOUNT in node.mounts():
            found.append(f"/proc/{node.init_pid()}/root")
    return found


def wait_banner(lab, timeout):
    wait_for(f"Postfix greets at {VIP}", lambda: banner(lab), timeout, 0.3,
             "'lab status' shows what the cluster did")


def settled(lab, node, timeout):
    """True when Postfix's queue on node is empty within the time."""
    return poll(lambda: not node.run("postqueue", "-j", check=False).stdout.strip(),
                timeout, 0.5)
