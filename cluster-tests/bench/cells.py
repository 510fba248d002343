# SPDX-License-Identifier: GPL-2.0-only
"""One measurement: mail flows, something fails, and it is seen for how long mail is refused."""

import contextlib
import json
import os
import signal
import time

from lablib import account, cluster, faults, mail
from lablib.base import wait_for
from lablib.node import Node
from lablib.sender import Sender

# An attempt every 1/RATE s tells when mail is accepted again; retries are slow, so that a long
# outage does not end in a storm of them.
RATE, RETRY, WORKERS = 10, 2, 200
FLOWING = 20                        # mails before the fault, and after it
DRAIN = 240


class Flow(Sender):
    """The mail of a measurement."""

    def served(self):
        """Moments at which a verdict was given: a clean mail taken or an infected one refused."""
        return sorted(e["time"] + e["took"] for e in self.attempts() if is_served(e))

    def flows(self, since, limit=600):
        wait_for(f"{FLOWING} mails are served",
                 lambda: sum(t > since for t in self.served()) >= FLOWING, limit, 0.2)


def is_served(entry):
    infected = entry["kind"].startswith("infected")
    return entry["stage"] == "end" and (entry.get("code") == 250 or
                                        (infected and entry.get("code", 0) >= 500))


@contextlib.contextmanager
def flow(lab, log, seed, infected):
    if os.path.exists(log):
        os.unlink(log)
    running = Flow(lab, log, DRAIN, "--rate", RATE, "--retry", RETRY, "--workers", WORKERS,
                   "--duration", 1800, "--seed", seed, "--infected-share", infected)
    try:
        yield running
    finally:
        running.end()


def outage(attempts, begun, until):
    """What a fault at `begun` has cost by `until`: seconds from the fault to the first served mail.

    The outage is the longest time without a served mail; 0.0 when nobody noticed: all attempts in
    the window were served. Service may come and go: last_refused tells.
    """
    window = [a for a in attempts if begun <= a["time"] <= until]
    bad = [a for a in window if not is_served(a)]
    if not bad:
        return dict.fromkeys(("first_accepted", "last_refused", "refused", "connection",
                              "temporary", "mails_delayed"), 0)
    times = sorted(t for t in (a["time"] + a["took"] for a in attempts if is_served(a))
                   if begun < t <= until)
    gaps = [(b - a, b) for a, b in zip([begun, *times], times)]
    end = max(gaps)[1] if gaps else until
    last = max(a["time"] + a["took"] for a in bad)
    return {"first_accepted": round(end - begun, 3),
            "last_refused": round(last - begun, 3), "refused": len(bad),
            "connection": sum("error" in a for a in bad),
            "temporary": sum(400 <= a.get("code", 0) < 500 for a in bad),
            "mails_delayed": len({a["id"] for a in bad})}


def promoted_after(lab, begun):
    """Seconds to the first promotion after `begun`, by the journals; None: there was none."""
    moments = []
    for node in [Node(lab, name) for name in lab.nodes]:
        if node.power() != "on":
            continue
        said = node.run("journalctl", "-q", "-u", "pacemaker", "-o", "json",
                        f"--since=@{int(begun)}", "-g",
                        "Result of promote operation for postern on .*: (0 \\(ok\\)|ok)",
                        check=False).stdout
        moments += [int(json.loads(line)["__REALTIME_TIMESTAMP"]) / 1e6
                    for line in said.splitlines() if line.startswith("{")]
    later = [m for m in moments if m > begun]
    return round(min(later) - begun, 3) if later else None


# Faults: what is done, and how the cluster comes back to where it was

def standby(setup, node):
    begun = time.time()
    Node(setup.lab, cluster.view(setup.lab).asked).run(
        "crm_attribute", "--node", node.name, "--name", "standby", "--update", "on")
    return begun


def plug(setup, node):
    return faults.inject(setup.lab, "plug", node.name)[1]


def death(setup, node):
    process = setup.scanner(node)
    begun = time.time()
    os.kill(process, signal.SIGKILL)
    return begun


FAULTS = {"standby": standby, "plug": plug, "death": death}


def come_back(setup):
    """Everything as before the fault, with the group wherever it is now."""
    lab = setup.lab
    cluster.wait_online(lab, 300)
    asked = cluster.view(lab).asked
    for name in cluster.view(lab).standby():
        Node(lab, asked).run("crm_attribute", "--node", name, "--name", "standby", "--delete")
    cluster.wait_idle(lab, 600)
    setup.ready()
    Node(lab, asked).run("crm_resource", "--cleanup", timeout=120)
    cluster.wait_group(lab, 600)
    cluster.wait_idle(lab, 600)


def forget_mail(lab):
    """The next account begins with empty boxes; the disk of the lab is small."""
    node = Node(lab, cluster.active(lab))
    node.run("find", f"{mail.MAILDIR}/inbox", "-type", "f", "-delete", timeout=120)


def measure(setup, fault, log, seed):
    """One cell of the table, as a dictionary. Whatever is wrong with the account is in it."""
    lab = setup.lab
    began = time.time()
    with flow(lab, log, seed, 0.2 if setup.scans else 0) as running:
        running.flows(began)
        node = Node(lab, cluster.active(lab))
        begun = FAULTS[fault](setup, node)
        strike(setup, fault, node, running, begun)
        settle(setup, running, begun)
        until = time.time()
        come_back(setup)
        running.flows(time.time())
        running.finish()
        attempts = running.attempts()
    result = outage(attempts, begun, until)
    if setup.name == "postern":
        result["promoted"] = promoted_after(lab, begun)
    result.update(audit(lab, log), served_from=node.name, attempts=len(attempts),
                  seconds=round(time.time() - began))
    forget_mail(lab)
    return result


def strike(setup, fault, node, running, begun):
    """Until the fault has shown: a slow machine takes a while to begin with what it costs."""
    lab = setup.lab
    if fault != "death" or setup.moves:
        other = next(name for name in lab.nodes if name != node.name)
        cluster.wait_group(lab, 600, on=other)
    else:
        wait_for("the death is noticed", lambda: any(
            a["time"] >= begun and not is_served(a) for a in running.attempts()), 120, 0.1)


def settle(setup, running, begun):
    """The end of the outage: mail has flowed for a while, and no mail was refused since."""
    def quiet():
        attempts = running.attempts()
        now = time.time()
        bad = max((a["time"] + a["took"] for a in attempts
                   if a["time"] >= begun and not is_served(a)), default=begun)
        good = [t for t in (a["time"] + a["took"] for a in attempts if is_served(a)) if t > bad]
        return now - bad > 3 and len(good) >= FLOWING
    wait_for(f"mail flows again with {setup.title}", quiet, 600, 0.3)


def audit(lab, log):
    rows, _ = account.account(lab, log, 60)
    wrong = {name: len(rows[name]) for name, is_wrong, _ in account.ROWS
             if is_wrong and rows[name]}
    return {"mails": len(rows["sent"]), "account": account.good(rows)
            and not rows["still with the sender"] and not rows["in queue"],
            "wrong": wrong, "still_with_sender": len(rows["still with the sender"])}
