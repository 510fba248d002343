# SPDX-License-Identifier: GPL-2.0-only
"""demo: what Postern is for, in a minute.

A cluster with mail; a clean mail, an infected one; then the plug of the active node is
pulled while mail flows, and every mail is accounted for. Everything is left running.
"""

import argparse
import os
import signal
import subprocess
import sys
import time

from . import account, cluster, faults, up
from .base import LabError, Progress, UsageError, poll
from .node import Node
from .rig import SELF, Lab

FOLDER = os.path.dirname(SELF)
STAGE = os.path.normpath(f"{FOLDER}/../../build/postern.deb")
AFTERWARDS = """Everything still runs. For instance:
    ./dev lab status
    ./dev lab exec n1 crm_mon -1A
    ./dev lab exec n2 postern status
    ./dev lab exec n2 crm node standby      (and: crm node online)
    ./dev lab client swaks --server 10.77.0.100 --to inbox@lab.test
    ./dev lab fault --list
./dev demo --down ends it."""


def parse(argv):
    p = argparse.ArgumentParser(prog="demo", description=__doc__.splitlines()[0])
    p.add_argument("--stage", default=STAGE, metavar="WHAT",
                   help=f"Postern: its .deb or a stage (default: {STAGE})")
    p.add_argument("--down", action="store_true", help="end the cluster of the demo")
    return p.parse_args(argv)


def show(lab, say, stage):
    if not lab.alive():
        up.up(lab, {"nodes": 2, "bare": False, "mode": "promotable", "stage": stage,
                    "scanner": True, "installed": False, "dovecot": True, "keep": False})
        lab = Lab(lab.name)
    elif not lab.state["scanner"]:
        raise LabError(f"Lab '{lab.name}' runs without Postern: end it with 'lab down'.")
    # The lab keeps it: a second demo in the same lab accounts for the mails of the first, too.
    log = f"{lab.folder}/demo.log"
    say("a clean mail, then an infected one:")
    few(lab, log)
    say("20 seconds of mail, five a second; after 20 of them the plug of the active node "
        "is pulled:")
    rows, strangers = many(lab, log, say)
    cluster.wait_online(lab)
    cluster.wait_idle(lab)
    say("the node that lost its power has booted again and stands by; crm status:")
    print(indent(Node(lab, cluster.active(lab)).run("crm", "status").stdout))
    say("the account of all mails:")
    print(indent(account.text(rows, strangers)))
    return account.good(rows)


def indent(text):
    return "".join(f"    {line}\n" for line in text.strip().splitlines())


def few(lab, log):
    """One mail of each kind; the infected one shows what the sender is told."""
    begun = time.time()
    for share in ("0", "1"):
        run_load(lab, log, "--count", "1", "--infected-share", share).wait(300)
    for entry in account.entries(log):
        if "took" in entry and entry["time"] >= begun:
            print(f"    {entry['kind']:16} {entry.get('code', '')} "
                  f"{entry.get('text') or entry.get('error')}")
    node = cluster.active(lab)
    print("    the quarantine:")
    shown = Node(lab, node).run("postern", "quarantine", "list").stdout
    print(indent(shown), end="")


def run_load(lab, log, *options):
    return subprocess.Popen(
        ["setpriv", "--pdeathsig", "TERM"] + lab.client_command(
            [f"{FOLDER}/mailload", "--log", log, *options]),
        stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def many(lab, log, say):
    began = time.time()
    process = run_load(lab, log, "--duration", "20", "--rate", "5")
    try:
        poll(lambda: sum(e.get("code") == 250 and e["time"] >= began
                         for e in account.entries(log)) >= 20, 60, 0.2)
        victim, begun = faults.inject(lab, "plug")
        say(f"the plug of {victim} is pulled")
        moved = cluster.wait_group(lab, on=next(n for n in lab.nodes if n != victim))
        say(f"mail is served by {moved}")
        process.wait(300)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.wait(30)
    first = [e["time"] + e["took"] for e in account.entries(log)
             if e.get("code") == 250 and e["time"] > begun]
    if first:
        say(f"the first mail after the fault got its 250 {min(first) - begun:.1f} s later")
    return account.account(lab, log)


def main(argv):
    options = parse(argv)
    say = Progress(sys.stdout)
    try:
        lab = Lab()
        if options.down:
            up.down(lab)
            return 0
        good = show(lab, say, options.stage)
        print(AFTERWARDS)
        return 0 if good else 1
    except UsageError as e:
        print(f"demo: {e}", file=sys.stderr)
        return 2
    except LabError as e:
        print(f"demo: {e}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("demo: interrupted; 'demo --down' ends the cluster.", file=sys.stderr)
        return 1
