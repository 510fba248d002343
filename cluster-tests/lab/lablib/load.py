# SPDX-License-Identifier: GPL-2.0-only
"""mailload: numbered mails at a steady rate, tried again until somebody owns them.

It behaves like the mail server of a sender: a mail is given up only when it got a
250 (then the other side owns it) or a 5xx (then the sender knows). Everything else
is tried again. What happened is one JSON line per attempt; `account` joins it with
what the cluster holds.
"""

import argparse
import base64
import hashlib
import heapq
import io
import json
import random
import signal
import smtplib
import socket
import sys
import threading
import time
import zipfile

from .mail import DOMAIN
from .postern import eicar
from .rig import PORT, VIP

CONNECT_LIMIT, COMMAND_LIMIT, END_LIMIT = 10, 60, 330
WORDS = ("harbour", "lantern", "granite", "meadow", "copper", "saddle", "thicket",
         "barrel", "quarry", "willow", "anvil", "causeway", "orchard", "rafter")


# Messages

def kinds(seed, share):
    """An endless row of kinds, the same for the same seed and share."""
    dice = random.Random(f"kinds {seed}")
    while True:
        infected = dice.random() < share
        form = dice.choice(("plain", "base64", "zip"))
        yield f"infected-{form}" if infected else f"clean-{form}"


def message(ident, kind, seed):
    """(bytes with CRLF, sha256 of the body with LF) of one mail."""
    dice = random.Random(f"{seed} {ident.rpartition('-')[2]}")
    what, form = kind.split("-")
    data = eicar() if what == "infected" else prose(dice, 20).encode()
    part = attachment(form, data)
    border = f"=_{ident}"
    body = "\n".join([
        f"--{border}", "Content-Type: text/plain; charset=us-ascii", "",
        f"Mail {ident}.", prose(dice, dice.randint(10, 400)), "",
        f"--{border}", *part, f"--{border}--", ""])
    head = "\n".join([
        f"From: sender <{ident}@client.test>", f"To: inbox@{DOMAIN}",
        f"Subject: lab {kind} {ident}", f"Message-ID: <{ident}@client.test>",
        f"X-Lab-Id: {ident}", "MIME-Version: 1.0",
        f'Content-Type: multipart/mixed; boundary="{border}"', "", ""])
    text = (head + body).replace("\n", "\r\n").encode("ascii")
    return text, hashlib.sha256(body.encode("ascii")).hexdigest()


def prose(dice, words):
    lines, line = [], ""
    for _ in range(words):
        line += dice.choice(WORDS) + " "
        if len(line) > 60:
            lines.append(line.rstrip())
            line = ""
    return "\n".join(lines + [line.rstrip()])


def attachment(form, data):
    """Lines of a MIME part."""
    if form == "plain":
        return ["Content-Type: text/plain; charset=us-ascii",
                'Content-Disposition: attachment; filename="note.txt"', "",
                data.decode("ascii")]
    name = "note.bin"
    if form == "zip":
        name, store = "note.zip", io.BytesIO()
        with zipfile.ZipFile(store, "w", zipfile.ZIP_DEFLATED) as z:
            z.writestr(zipfile.ZipInfo("note.txt"), data)
        data = store.getvalue()
    return [f'Content-Type: application/octet-stream; name="{name}"',
            f'Content-Disposition: attachment; filename="{name}"',
            "Content-Transfer-Encoding: base64", "",
            base64.encodebytes(data).decode("ascii").rstrip("\n")]


# One attempt

def attempt(server, ident, text):
    """What the other side said: a dictionary with code and text, or with error.

    `stage` tells how far it came. An error at "end" leaves open whether the other
    side has taken the mail: only then may the next attempt make a second copy.
    """
    stage = "connect"
    smtp = None
    try:
        smtp = smtplib.SMTP(*server, local_hostname="client.test", timeout=CONNECT_LIMIT)
        notice_death(smtp.sock)
        smtp.sock.settimeout(COMMAND_LIMIT)
        for stage, call in (("ehlo", smtp.ehlo),
                            ("mail", lambda: smtp.mail(f"{ident}@client.test")),
                            ("rcpt", lambda: smtp.rcpt(f"inbox@{DOMAIN}")),
                            ("data", lambda: smtp.docmd("data"))):
            code, said = call()
            if code not in (250, 354):
                return outcome(stage, code, said)
        stage = "end"
        return outcome(stage, *send_text(smtp, text))
    except smtplib.SMTPResponseException as e:
        return outcome(stage, e.smtp_code, e.smtp_error)
    except (OSError, smtplib.SMTPException) as e:
        return {"stage": stage, "error": f"{type(e).__name__}: {e}"}
    finally:
        hang_up(smtp)


def notice_death(sock):
    """The node that has the address now refuses what its predecessor's connections ask.

    Else an attempt whose mail was just given to a node that lost its power waits END_LIMIT.
    """
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 5)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 12)


def send_text(smtp, text):
    smtp.sock.settimeout(END_LIMIT)
    dotted = text.replace(b"\r\n.", b"\r\n..")
    smtp.send(dotted + (b"" if dotted.endswith(b"\r\n") else b"\r\n") + b".\r\n")
    return smtp.getreply()


def outcome(stage, code, said):
    said = said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said)
    return {"stage": stage, "code": code, "text": said}


def hang_up(smtp):
    if smtp is None:
        return
    try:
        smtp.sock.settimeout(2)
        smtp.quit()
    except (OSError, AttributeError, smtplib.SMTPException):
        smtp.close()


def is_final(result):
    code = result.get("code", 0)
    return code >= 500 or (code == 250 and result["stage"] == "end")


# Many

class Load:
    """A heap of due attempts, worked off by threads."""

    def __init__(self, options, log):
        self.options = options
        self.log = log
        self.due = []
        self.changed = threading.Condition()
        self.open = 0               # mails that are still with the sender
        self.made = 0
        # In the ids, so that a seed used again makes other mails of the same kinds.
        self.run_id = f"{options.seed}-{int(time.time() * 10):x}"
        self.started = time.monotonic()
        self.enough = False         # no new mails, but the open ones go on
        self.stopping = False       # nothing goes on

    def run(self):
        """Until all mails are final, or stop() or the drain time; returns what is open."""
        for _ in range(self.options.workers):
            threading.Thread(target=self.work, daemon=True).start()
        row = kinds(self.options.seed, self.options.infected_share)
        while not self.stopping and self.wants_more():
            self.add(next(row))
            self.rest_until(self.made / self.options.rate)
        end = time.monotonic() + self.options.drain
        with self.changed:
            while self.open and not self.stopping and time.monotonic() < end:
                self.changed.wait(0.2)
            self.stopping = True
            self.changed.notify_all()
            return self.open

    def wants_more(self):
        o = self.options
        if self.enough or o.count and self.made >= o.count:
            return False
        return not o.duration or time.monotonic() - self.started < o.duration

    def rest_until(self, offset):
        with self.changed:
            self.changed.wait_for(lambda: self.stopping or self.enough, max(
                0, self.started + offset - time.monotonic()))

    def stop(self, *_):
        self.stopping = True

    def finish(self, *_):
        self.enough = True

    def add(self, kind):
        self.made += 1
        ident = f"{self.run_id}-{self.made:06d}"
        with self.changed:
            self.open += 1
            heapq.heappush(self.due, (time.monotonic(), ident, kind, 1))
            self.changed.notify()

    def work(self):
        while True:
            job = self.take()
            if job is None:
                return
            self.carry_out(*job)

    def take(self):
        with self.changed:
            while not self.stopping:
                now = time.monotonic()
                if self.due and self.due[0][0] <= now:
                    return heapq.heappop(self.due)[1:]
                self.changed.wait(min(self.due[0][0] - now, 0.2) if self.due else 0.2)
        return None

    def carry_out(self, ident, kind, number):
        text, digest = message(ident, kind, self.options.seed)
        begun = time.time()
        # Written before the attempt too: a killed client may have been heard.
        self.log({"id": ident, "kind": kind, "n": number, "time": begun, "sha256": digest,
                  "begin": True})
        result = attempt(self.options.server, ident, text)
        self.log({"id": ident, "kind": kind, "n": number, "time": begun,
                  "took": round(time.time() - begun, 3), **result})
        with self.changed:
            if is_final(result):
                self.open -= 1
            else:
                again = time.monotonic() + self.options.retry
                heapq.heappush(self.due, (again, ident, kind, number + 1))
            self.changed.notify()


class Log:
    """One JSON object a line, each line written whole."""

    def __init__(self, path):
        self.file = open(path, "a", encoding="utf-8", buffering=1)
        self.lock = threading.Lock()

    def __call__(self, entry):
        with self.lock:
            self.file.write(json.dumps(entry) + "\n")


def server(text):
    host, _, port = text.partition(":")
    return host, int(port or PORT)


def parse(argv):
    p = argparse.ArgumentParser(prog="mailload", description=__doc__.splitlines()[0],
                                epilog="Run it with 'lab client'. SIGUSR1: no new mails, "
                                "but the open ones are tried on; SIGTERM: end. Exit codes: "
                                "0 all mails are final, 1 some are still with the sender, "
                                "2 wrong use.")
    p.add_argument("--rate", type=float, default=5, help="new mails a second (default 5)")
    p.add_argument("--count", type=int, default=0, help="that many mails")
    p.add_argument("--duration", type=float, default=0, help="new mails for that many seconds")
    p.add_argument("--drain", type=float, default=120,
                   help="seconds to go on trying after the last new mail (default 120)")
    p.add_argument("--retry", type=float, default=0.5,
                   help="seconds between two attempts of one mail (default 0.5)")
    p.add_argument("--workers", type=int, default=64, help="attempts at the same time")
    p.add_argument("--seed", type=int, help="repeats a run; random if not given; printed")
    p.add_argument("--infected-share", type=float, default=0.2, metavar="0..1")
    p.add_argument("--server", type=server, default=(VIP, PORT), metavar="HOST[:PORT]")
    p.add_argument("--log", required=True, metavar="FILE")
    options = p.parse_args(argv)
    if not options.count and not options.duration:
        p.error("how long? give --count or --duration")
    if options.rate <= 0:
        p.error("--rate must be above 0")
    if options.seed is None:
        options.seed = random.SystemRandom().randrange(10000, 1000000)
    return options


def main(argv):
    socket.setdefaulttimeout(COMMAND_LIMIT)
    options = parse(argv)
    print(f"mailload: seed {options.seed}", file=sys.stderr, flush=True)
    log = Log(options.log)
    log({"run": options.seed, "rate": options.rate, "time": time.time(),
         "infected_share": options.infected_share})
    load = Load(options, log)
    for sig in (signal.SIGTERM, signal.SIGINT):
        signal.signal(sig, load.stop)
    signal.signal(signal.SIGUSR1, load.finish)
    left = load.run()
    log({"end": True, "time": time.time(), "mails": load.made, "with_sender": left})
    print(f"mailload: {load.made} mails, {left} still with the sender", file=sys.stderr)
    return 1 if left else 0
