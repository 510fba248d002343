# SPDX-License-Identifier: GPL-2.0-only
"""What the client says to the group's address: one mail, a clamd command, an endless scan."""

import subprocess

from lablib.base import run
from lablib.mail import DOMAIN
from lablib.postern import eicar
from lablib.rig import PORT, VIP

CLAMD = 3310
SENDER = "known@client.test"
RECIPIENT = f"probe@{DOMAIN}"

MAIL = f"""
import smtplib, sys
with smtplib.SMTP("{VIP}", {PORT}, timeout=60) as smtp:
    smtp.ehlo("client.test")
    for step in (lambda: smtp.mail("{SENDER}"), lambda: smtp.rcpt("{RECIPIENT}"),
                 lambda: smtp.data(sys.stdin.buffer.read())):
        code, _ = step()
        if code >= 300:
            break
    print(code)
"""

TALK = f"""
import socket, sys
with socket.create_connection(("{VIP}", {CLAMD}), 30) as sock:
    sock.sendall(sys.stdin.buffer.read())
    print(sock.makefile("rb").read().decode().replace("\\0", "\\n").strip())
"""

# Half a message, then nothing: until the other side has had enough.
HANG = f"""
import socket
sock = socket.create_connection(("{VIP}", {CLAMD}), 30)
sock.sendall(b"zINSTREAM\\0" + (1000).to_bytes(4, "big") + b"half")
print("sent", flush=True)
sock.settimeout(600)
sock.recv(1)
"""


def message(subject, infected=False):
    body = eicar().decode() if infected else f"About {subject}.\r\n" * 20
    return (f"From: <{SENDER}>\r\nTo: <{RECIPIENT}>\r\nSubject: {subject}\r\n"
            f"Date: Mon, 1 Jun 2026 10:00:00 +0000\r\n\r\n{body}\r\n")


def python(lab, script):
    return lab.client_command(["/usr/bin/python3", "-I", "-S", "-c", script])


def send(lab, text):
    """The code of the last reply."""
    return int(run(python(lab, MAIL), timeout=120, stdin=text).stdout)


def clamd(lab, command):
    """The answer, or None while nobody answers."""
    done = run(python(lab, TALK), timeout=60, check=False, stdin=command)
    return done.stdout.strip() if done.returncode == 0 else None


def hanging(lab):
    """A client of clamd's that has sent half of something."""
    process = subprocess.Popen(["setpriv", "--pdeathsig", "KILL"] + python(lab, HANG),
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "sent\n"
    return process
