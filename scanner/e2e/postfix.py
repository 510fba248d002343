# SPDX-License-Identifier: GPL-2.0-only
"""A private Postfix on loopback with a queue, a configuration and a log of its own."""
import os
import pathlib
import pwd
import shlex
import smtplib
import subprocess

from instance import free_port

MASTER = """\
127.0.0.1:{port} inet n - n - - smtpd
pickup   unix n - n 60 1 pickup
cleanup  unix n - n - 0 cleanup
qmgr     unix n - n 300 1 qmgr
rewrite  unix - - n - - trivial-rewrite
bounce   unix - - n - 0 bounce
defer    unix - - n - 0 bounce
trace    unix - - n - 0 bounce
flush    unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
error    unix - - n - - error
retry    unix - - n - - error
discard  unix - - n - - discard
showq    unix n - n - - showq
virtual  unix - n n - - virtual
anvil    unix - - n - 1 anvil
scache   unix - - n - 1 scache
postlog  unix-dgram n - n - 1 postlogd
"""

MAIN = """\
compatibility_level = 3.6
queue_directory = {dir}/queue
data_directory = {dir}/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
mail_owner = postfix
setgid_group = postdrop
maillog_file = {dir}/mail.log
maillog_file_prefixes = {dir}
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
myhostname = mx.lab.test
mydestination =
mynetworks = 127.0.0.0/8
virtual_mailbox_domains = lab.test
virtual_mailbox_base = {dir}/mail
virtual_mailbox_maps = static:user/
virtual_uid_maps = static:{uid}
virtual_gid_maps = static:{gid}
virtual_mailbox_limit = 0
mailbox_size_limit = 0
message_size_limit = 120000000
local_header_rewrite_clients =
alias_maps =
smtpd_milters = {milter}
milter_default_action = tempfail
milter_connect_timeout = 10s
milter_command_timeout = 30s
smtputf8_enable = yes
smtpd_peername_lookup = no
smtpd_client_connection_rate_limit = 0
smtpd_error_sleep_time = 0
smtpd_hard_error_limit = 1000
"""


def make_old(conf):
    """As a configuration is: one that is younger than two seconds each program of Postfix reads
    again and again until it is older."""
    for name in ("main.cf", "master.cf"):
        if (conf / name).exists():
            os.utime(conf / name, (10**9, 10**9))


class Postfix:
    """SERVICES: more lines for master.cf; MORE: for main.cf."""

    def __init__(self, folder, milter, services="", more=""):
        self.dir = pathlib.Path(folder)
        self.port = free_port()
        owner = pwd.getpwnam("nobody")
        for name in ("queue", "data", "conf", "mail"):
            (self.dir / name).mkdir(parents=True)
        os.chown(self.dir / "data", pwd.getpwnam("postfix").pw_uid, -1)
        os.chown(self.dir / "mail", owner.pw_uid, owner.pw_gid)
        (self.dir / "conf/master.cf").write_text(MASTER.format(port=self.port) + services)
        (self.dir / "conf/main.cf").write_text(MAIN.format(
            dir=self.dir, uid=owner.pw_uid, gid=owner.pw_gid, milter=milter) + more)
        make_old(self.dir / "conf")

    def add_release_service(self):
        """As docs/OPERATIONS.md tells administrators; returns the socket."""
        manual = pathlib.Path(__file__).resolve().parents[2] / "docs/OPERATIONS.md"
        lines = [shlex.split(line) for line in manual.read_text().splitlines()
                 if line.startswith("    postconf -") and "postern-release" in line]
        assert len(lines) > 5
        for words in lines:
            subprocess.run([words[0], "-c", self.dir / "conf", *words[1:]], check=True)
            make_old(self.dir / "conf")
        return self.dir / "queue/public/postern-release"

    def command(self, word):
        subprocess.run(["postfix", "-c", self.dir / "conf", word], check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=300)

    def start(self):
        self.command("start")

    def stop(self):
        self.command("stop")

    def send(self, message, sender="sender@client.test", recipients=("user@lab.test",),
             mail_options=(), rcpt_options=()):
        """The reply to the end of the message (or to the command that was refused)."""
        client = smtplib.SMTP("127.0.0.1", self.port, "client.test", timeout=300)
        try:
            client.ehlo()
            code, text = client.mail(sender, mail_options)
            for recipient in recipients if code == 250 else ():
                code, text = client.rcpt(recipient, rcpt_options)
            if code == 250:
                code, text = client.data(message)
        finally:
            client.close()
        return code, text.decode()

    def delivered(self):
        """The delivered messages, by the text of their Subject."""
        found = {}
        for path in sorted((self.dir / "mail/user/new").glob("*")):
            text = path.read_bytes()
            subject = next(line[9:].decode() for line in text.split(b"\n")
                           if line.startswith(b"Subject: "))
            found.setdefault(subject, []).append(text)
        return found

    def drain(self, seconds=300):
        """Waits until the queue is empty: then everything accepted is in a mailbox."""
        subprocess.run(["timeout", str(seconds), "sh", "-c",
                        'while [ -n "$(postqueue -c "$0" -j)" ]; do sleep 0.1; done',
                        self.dir / "conf"], check=True)
