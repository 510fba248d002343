# SPDX-License-Identifier: GPL-2.0-only
"""account: where every mail of a client's log is now.

A mail is with its sender, in Postfix's queue, delivered, or in the quarantine with
a readable copy. Anything else is a loss.
"""

import argparse
import glob
import hashlib
import json
import os
import re
import sys

from . import mail, postern
from .base import LabError, UsageError, poll, read
from .logs import journal
from .node import Node
from .rig import Lab

ID = re.compile(rb"^X-Lab-Id: (\S+)\r?$", re.M | re.I)
QUEUE_ID = re.compile(rb"\sid ([0-9A-Za-z]{6,})[\s;]")
MARK = b"X-Postern-Quarantine: "


class Mail:
    """One mail of the client's log and what was found of it."""

    def __init__(self, ident, kind, digest):
        self.ident, self.kind, self.digest = ident, kind, digest
        self.accepted = 0           # attempts that got a 250 for the whole mail
        self.open_ended = 0         # attempts that ended without an answer to it
        self.rejected = None        # the last 5xx
        self.delivered = []         # (queue id, time), one per copy in the Maildir
        self.damaged = 0            # copies whose body is not what was sent
        self.queued = []            # names of queues
        self.quarantined = 0        # copies that the list knows and that come out as sent
        self.unlisted = 0           # readable copies that it does not know
        self.unreadable = 0         # copies that are damaged, or do not come out

    @property
    def infected(self):
        return self.kind.startswith("infected")

    def surplus(self, ends):
        """Copies that nothing explains.

        A copy under a queue id of its own needs an attempt: one with a 250 or one
        that ended open. A second copy under the same queue id is Postfix's, which
        delivers again what it may have delivered when it ended: it needs such an end.
        """
        by_queue = {}
        for queue_id, when in sorted(self.delivered, key=lambda copy: copy[1]):
            by_queue.setdefault(queue_id, []).append(when)
        extra = max(0, len(by_queue) - self.accepted - self.open_ended)
        for times in by_queue.values():
            extra += sum(not any(a - 1 <= end <= b for end in ends)
                         for a, b in zip(times, times[1:]))
        return extra


# What the client saw

def read_log(path):
    """{id: Mail} of a log; an attempt without an end is one without an answer."""
    mails, pending = {}, {}
    for entry in entries(path):
        ident = entry.get("id")
        if not ident:
            continue
        if entry.get("begin"):
            mails.setdefault(ident, Mail(ident, entry["kind"], entry["sha256"]))
            pending[ident, entry["n"]] = True
        else:
            pending.pop((ident, entry["n"]), None)
            count(mails[ident], entry)
    for ident, _ in pending:
        mails[ident].open_ended += 1
    return mails


def entries(path):
    try:
        with open(path, encoding="utf-8") as f:
            lines = f.read().splitlines()
    except OSError as e:
        raise UsageError(f"The log {path} cannot be read: {e.strerror}.") from None
    for number, line in enumerate(lines, 1):
        try:
            yield json.loads(line)
        except ValueError:
            if number < len(lines):         # the last may be half written
                raise UsageError(f"{path}:{number} is not JSON: is it a log of "
                                 "mailload?") from None


def count(item, entry):
    if "error" in entry:
        item.open_ended += entry["stage"] == "end"
    elif entry["code"] >= 500:
        item.rejected = f"{entry['code']} {entry['text']}"
    elif entry["stage"] == "end" and entry["code"] == 250:
        item.accepted += 1


# What the cluster holds

def body_digest(text):
    """sha256 of a mail's body with LF, whatever headers were added on the way."""
    _, _, body = text.replace(b"\r\n", b"\n").partition(b"\n\n")
    return hashlib.sha256(body).hexdigest()


def find_delivered(root, mails, strangers):
    for folder in ("new", "cur"):
        for path in glob.glob(f"{root}{mail.MAILDIR}/inbox/{folder}/*"):
            with open(path, "rb") as f:
                text = f.read()
            item = known(text, mails, strangers)
            if item:
                queue_id = QUEUE_ID.search(text)
                item.delivered.append((queue_id.group(1).decode() if queue_id else path,
                                       os.stat(path).st_mtime))
                item.damaged += body_digest(text) != item.digest


def known(text, mails, strangers):
    head = text.replace(b"\r\n", b"\n").partition(b"\n\n")[0]
    ident = ID.search(head)
    if not ident:
        strangers.append("a mail without X-Lab-Id")
        return None
    name = ident.group(1).decode("ascii", "replace")
    if name not in mails:
        strangers.append(name)
    return mails.get(name)


def find_queued(node, mails):
    """The sender's address carries the id."""
    for line in node.run("postqueue", "-j").stdout.splitlines():
        entry = json.loads(line)
        item = mails.get(entry["sender"].partition("@")[0])
        if item:
            item.queued.append(entry["queue_name"])


def find_quarantined(node, root, folder, mails, strangers):
    """A copy counts when a person finds it (the list) and gets it out as it came (export)."""
    files = glob.glob(f"{root}{folder}/quarantine/**/*.eml", recursive=True)
    got = exported(node, root)
    for path in files:
        with open(path, "rb") as f:
            first, _, text = f.read().partition(b"\n")
        item = known(text, mails, strangers)
        if not item:
            continue
        key = os.path.basename(path).removesuffix(".eml")
        if not first.startswith(MARK) or body_digest(text) != item.digest:
            item.unreadable += 1
        elif key not in got:
            item.unlisted += 1
        elif got[key] != item.digest:
            item.unreadable += 1
        else:
            item.quarantined += 1
        got.pop(key, None)
    # What is left is on the list and has no file.
    return sorted(key for key, digest in got.items() if digest is None)


def exported(node, root):
    """{key: digest} of all that the list knows; None for a copy that does not come out."""
    listed = json.loads(node.run("postern", "quarantine", "list", "--limit", "0", "--json",
                                 timeout=60).stdout or "[]")
    folder = node.run("mktemp", "-d").stdout.strip()
    keys = "".join(f"{entry['key']}\n" for entry in listed)
    export = ("postern", "quarantine", "export", "--into", folder)
    done = node.run("xargs", "-r", *export, timeout=600, check=False, stdin=keys)
    if done.returncode != 0:        # one that fails must not hide the others
        node.run("xargs", "-r", "-n", "1", *export, timeout=600, check=False, stdin=keys)
    got = {entry["key"]: file_digest(f"{root}{folder}/{entry['key']}.eml") for entry in listed}
    node.run("rm", "-r", folder)
    return got


def file_digest(path):
    try:
        with open(path, "rb") as f:
            return body_digest(f.read())
    except OSError:
        return None


def collect(lab, mails):
    """Fills the mails in from the node that has the shared file system.

    Returns (strangers' ids, keys on the quarantine's list that have no file).
    """
    strangers, hollow = [], []
    active = [n for n in (Node(lab, name) for name in lab.nodes)
              if mail.MOUNT in n.mounts()]
    if len(active) != 1:
        names = ", ".join(n.name for n in active) or "none"
        raise LabError(f"{mail.MOUNT} must be mounted on one node, it is on: {names}; "
                       "'lab status' shows the cluster.")
    node = active[0]
    root = f"/proc/{node.init_pid()}/root"
    find_queued(node, mails)
    find_delivered(root, mails, strangers)
    if lab.state["scanner"]:
        hollow = find_quarantined(node, root, postern.state_dir(lab), mails, strangers)
    return strangers, hollow


# The table

ROWS = (
    ("sent", False, "different mails the client sent"),
    ("delivered once", False, ""),
    ("delivered twice or more", False, "explained: the client saw no answer, or Postfix ended"),
    ("quarantined", False, "with a readable copy"),
    ("rejected", False, "5xx to the sender"),
    ("still with the sender", False, "never got a 250"),
    ("in queue", False, ""),
    ("LOST", True, "got a 250 and is nowhere"),
    ("INFECTED DELIVERED", True, ""),
    ("DELIVERED WITHOUT CAUSE", True, "more copies than anything explains"),
    ("DAMAGED", True, "a copy differs from what was sent"),
    ("NOT LISTED", True, "a quarantine file that the list does not know"),
    ("CLEAN REFUSED", True, "a clean mail was rejected or quarantined"),
    ("LISTED WITHOUT COPY", True, "on the quarantine's list, but nothing comes out"),
)
PLACES = ("delivered once", "delivered twice or more", "quarantined", "rejected",
          "still with the sender", "in queue", "LOST")


def place(item):
    """The one place of a mail, so that the places add up to what was sent."""
    if item.delivered:
        return PLACES[len(item.delivered) > 1]
    if item.queued:
        return "in queue"
    if item.quarantined or (item.unlisted and not item.accepted):
        return "quarantined"
    if item.rejected:
        return "rejected"
    return "LOST" if item.accepted else "still with the sender"


def wrongs(item, ends):
    """Rows of things that must not be."""
    where = place(item)
    if item.infected and (item.delivered or [q for q in item.queued if q != "hold"]):
        yield "INFECTED DELIVERED"
    if item.surplus(ends):
        yield "DELIVERED WITHOUT CAUSE"
    if item.damaged or item.unreadable:
        yield "DAMAGED"
    if item.unlisted:
        yield "NOT LISTED"
    if not item.infected and where in ("quarantined", "rejected"):
        yield "CLEAN REFUSED"


def table(mails, ends=(), hollow=()):
    """{row: [ids]} of all rows; ends: when a Postfix ended; hollow: as collect()."""
    rows = {name: [] for name, _, _ in ROWS}
    rows["LISTED WITHOUT COPY"] += hollow
    for item in mails.values():
        rows["sent"].append(item.ident)
        rows[place(item)].append(item.ident)
        for wrong in wrongs(item, ends):
            rows[wrong].append(item.ident)
    return rows


def good(rows):
    placed = sum(len(rows[name]) for name in PLACES)
    return placed == len(rows["sent"]) and not any(
        rows[name] for name, wrong, _ in ROWS if wrong)


def account(lab, log, settle=30):
    """(rows, strangers) of a log, after Postfix's queue had `settle` s to run empty."""
    mails = read_log(log)
    active = [n for n in (Node(lab, name) for name in lab.nodes)
              if mail.MOUNT in n.mounts()]
    if active and settle:
        poll(lambda: mail.settled(lab, active[0], 0), settle, 0.5)
    strangers, hollow = collect(lab, mails)
    return table(mails, deaths(lab) + stops(lab), hollow), strangers


def deaths(lab):
    """When nodes lost their power."""
    lines = read(lab.path("logs", "power-off"), "").splitlines()
    return [float(line.split()[0]) for line in lines]


def stops(lab):
    """When a Postfix was stopped: master(8) ends its delivery agents in mid-work."""
    found = []
    for name in lab.nodes:
        said = journal(lab.path(name, "root"), "-o", "short-unix", "-t", "postfix/master")
        found += [float(line.split()[0]) for line in said.splitlines()
                  if "terminating on signal" in line]
    return found


def text(rows, strangers):
    lines = []
    for name, wrong, what in ROWS:
        ids = rows[name]
        show = " ".join(ids[:5]) + (" ..." if len(ids) > 5 else "") if wrong else ""
        lines.append(f"{name:24} {len(ids):6}  {show or what}".rstrip())
    if strangers:
        lines.append(f"{'of other runs':24} {len(strangers):6}")
    return "\n".join(lines)


def line(rows):
    """The same in one line: what is not empty, and what must be."""
    shown = [f"{name.lower()} {len(rows[name])}" for name, wrong, _ in ROWS
             if rows[name] and not wrong]
    wrongs_ = [f"{name.lower()} {len(rows[name])}" for name, wrong, _ in ROWS
               if wrong and (rows[name] or name in ("LOST", "INFECTED DELIVERED"))]
    return f"{', '.join(shown)}; {', '.join(wrongs_)}"


def main(argv):
    p = argparse.ArgumentParser(
        prog="account", description=__doc__.splitlines()[0],
        epilog="Exit codes: 0 nothing lost, nothing infected delivered, all accounted "
        "for; 1 not so; 2 wrong use. LAB_NAME chooses the lab.")
    p.add_argument("log", metavar="LOG", help="what mailload wrote with --log")
    p.add_argument("--settle", type=float, default=30, metavar="SECONDS",
                   help="wait that long for Postfix's queue to run empty (default 30)")
    p.add_argument("--json", action="store_true", help="ids per row, as JSON")
    options = p.parse_args(argv)
    try:
        rows, strangers = account(Lab().need(), options.log, options.settle)
    except UsageError as e:
        print(f"account: {e}", file=sys.stderr)
        return 2
    except LabError as e:
        print(f"account: {e}", file=sys.stderr)
        return 1
    if options.json:
        print(json.dumps({"good": good(rows), "rows": rows, "strangers": strangers},
                         indent=1))
    else:
        print(text(rows, strangers))
    return 0 if good(rows) else 1
