# SPDX-License-Identifier: GPL-2.0-only
"""What a scenario is written with: a cluster, mail that flows, audits at the end."""

import contextlib
import json
import os
import subprocess
import sys
import time

from lablib import account, cluster, faults, mail, postern
from lablib.base import read, wait_for
from lablib.node import Node
from lablib.rig import Lab
from lablib.sender import Sender
from lablib.watch import BLIND, Watch

LAB_TOOL = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lab", "lab")
UP_LIMIT, DRAIN = 600, 180
PE_LAST = "/var/lib/pacemaker/pengine/pe-input.last"


class Cluster:
    """The lab of a module, started and ended with the tool that people use."""

    def __init__(self, wanted, stage, logs):
        self.wanted = {"scanner": True, "mode": "promotable", "nodes": 2, **wanted}
        self.stage, self.logs = stage, logs
        self.spoiled = False        # a story could not put it in order again
        os.environ.setdefault("LAB_NAME", "scenarios")
        self.lab = None

    def tool(self, *args, limit=UP_LIMIT):
        """Runs the lab tool; LAB_OWNER ends the lab even if this process is killed."""
        env = dict(os.environ, LAB_OWNER=str(os.getpid()))
        process = subprocess.Popen([LAB_TOOL, *args], env=env, stdin=subprocess.DEVNULL)
        try:
            code = process.wait(limit)
        except BaseException:
            process.terminate()
            process.wait(120)
            raise
        assert code == 0, f"'lab {' '.join(args)}' ended with code {code}: see above"

    def up(self):
        w = self.wanted
        what = ["--mode", w["mode"], "--stage", self.stage] \
            if w["scanner"] or w.get("installed") else ["--no-scanner"]
        what += ["--installed"] if w.get("installed") else []
        self.tool("up", "--nodes", str(w["nodes"]), *what)
        self.lab, self.spoiled = Lab(), False

    def down(self):
        self.tool("down", limit=120)

    @property
    def names(self):
        return self.lab.nodes


class Load(Sender):
    """The mail of a story."""

    def accepted(self):
        """Times of the 250s for whole mails, sorted."""
        return sorted(e["time"] + e["took"] for e in self.attempts()
                      if e.get("code") == 250 and e["stage"] == "end")

    def flows(self, since=None, mails=10):
        """Waits until that many mails more were accepted."""
        since = time.time() if since is None else since
        wait_for(f"{mails} mails are accepted",
                 lambda: sum(t > since for t in self.accepted()) >= mails, 240, 0.2)

    def refused(self, since):
        """Attempts after a moment that found nobody, or were told to come again."""
        return [e for e in self.attempts() if e["time"] > since
                and ("error" in e or 400 <= e["code"] < 500)]

    def put_off(self, since, mails=5):
        """Waits until that many mails were answered with 451: served, but not scanned yet."""
        wait_for(f"{mails} mails got a 451", lambda: sum(
            e.get("code") == 451 for e in self.refused(since)) >= mails, 120, 0.2)

    def outage(self, since):
        """Seconds from a moment to the first 250 after the longest silence that follows."""
        times = [t for t in self.accepted() if t > since - 1]
        gaps = [(b - a, b) for a, b in zip([since, *times], times)]
        return max(gaps)[1] - since if gaps else float("inf")


class Story:
    def __init__(self, home, seed, folder, name):
        self.home, self.seed, self.folder, self.name = home, seed, folder, name
        self.lab = home.lab
        self.load_ = None
        self.audited = False
        self.logs = None
        self.lines = []             # of the report at the end of the run

    # frame

    def begin(self):
        cluster.wait_group(self.lab)
        self.begun = time.time()
        self.watch = Watch(self.lab)
        self.watch.__enter__()

    def end(self, failed):
        """Back to an intact cluster for the next story."""
        self.watch.__exit__()
        if self.load_:
            self.load_.end()
        if not failed:
            assert self.audited, "the scenario has no audit() at its end"
        for name in self.home.names:
            if name in cluster.view(self.lab).standby():
                self.crm("node", "online", name)
        faults.heal(self.lab)
        if not failed:
            self.healthy()

    def healthy(self):
        """What an administrator sees: all roles taken, nothing under Failed Actions."""
        if not self.home.wanted["scanner"]:
            return
        self.all_back()
        self.serves()
        shown = self.run(self.home.names[0], "crm_mon", "-1")
        assert "Failed" not in shown, shown
        if postern.promotable(self.lab):
            roles = {role: sorted(cluster.view(self.lab).where("postern", role))
                     for role in ("Promoted", "Unpromoted")}
            assert len(roles["Promoted"]) == 1, shown
            assert sorted(roles["Promoted"] + roles["Unpromoted"]) == self.home.names, shown

    def save_logs(self):
        stamp = time.strftime("%Y%m%d-%H%M%S")
        self.logs = os.path.join(self.home.logs, f"postern-scenario-{self.name}-{stamp}")
        self.home.tool("logs", self.logs, limit=240)
        if self.load_:
            subprocess.run(["cp", self.load_.log, self.logs], check=False)
        return self.logs

    # what can be done

    def stop_stack(self, node):
        """A clean stop of the cluster on a node; returns the moment before."""
        begun = time.time()
        Node(self.lab, node).run("systemctl", "stop", "pacemaker", "corosync", timeout=240)
        return begun

    def reboot(self, node):
        """A clean one; returns the moment before, when the node has a new first process."""
        begun, old = time.time(), Node(self.lab, node).init_pid()
        self.fault("reboot", node)
        wait_for(f"{node} boots again", lambda: Node(self.lab, node).init_pid() not in (
            None, old), 240, 0.3)
        return begun

    @contextlib.contextmanager
    def load(self, rate=5, infected=0.2):
        """Mail from the client while the block runs; at its end all mails come to rest."""
        if not self.home.wanted["scanner"]:
            infected = 0
        log = f"{self.folder}/mail.log"
        self.load_ = Load(self.lab, log, DRAIN, "--rate", rate, "--duration", 900,
                          "--seed", self.seed, "--infected-share", infected)
        try:
            self.load_.flows()
            yield self.load_
            self.load_.finish()
        finally:
            self.load_.end()

    def fault(self, name, node=None):
        """Returns the moment of the fault."""
        return faults.inject(self.lab, name, node)[1]

    def crm(self, *args):
        """crmsh on a node that has quorum; returns the moment before."""
        begun = time.time()
        node = cluster.view(self.lab).asked
        Node(self.lab, node).run("crm", *args, timeout=120)
        return begun

    def run(self, node, *cmd):
        return Node(self.lab, node).run(*cmd).stdout.strip()

    def run_quietly(self, node, *cmd):
        """Whatever comes of it."""
        return Node(self.lab, node).run(*cmd, check=False).stdout.strip()

    def active(self):
        return cluster.active(self.lab)

    def other(self, node):
        return next(n for n in self.home.names if n != node)

    def serves(self, node=None, limit=240):
        """Waits until mail and scanner run on one node, and the cluster has come to rest."""
        def together():
            where = cluster.group_place(self.lab)
            scanner = postern.where(self.lab) if self.home.wanted["scanner"] else where
            return where if where == scanner and node in (None, where) else None

        def rested():
            """Where it was before and after the cluster came to rest."""
            before = together()
            if before:
                cluster.wait_idle(self.lab)
            return before if before == together() else None
        return wait_for(f"mail and scanner run on {node or 'one node'}", rested, limit, 0.2,
                        "'lab status' shows what the cluster did")

    def all_back(self):
        cluster.wait_online(self.lab, 240)
        if self.home.wanted["scanner"] and postern.promotable(self.lab):
            postern.wait_ready(self.lab)

    def scores_are(self, node, test, limit=90):
        """Waits until a node's promotion score passes a test."""
        wait_for(f"the score of {node} is as it should be", lambda: test(postern.score(
            cluster.view(self.lab).attributes("master-postern").get(node, {}))), limit, 0.2)

    def group_pids(self, node):
        """Whatever restarts Postfix or Dovecot changes these."""
        return [self.run(node, "cat", file).split() for file in (
            f"{mail.QUEUE}/pid/master.pid", "/run/dovecot/master.pid")]

    def transitions(self):
        """How often the scheduler has run, on whichever node."""
        return sum(int(read(self.lab.path(name, "root") + PE_LAST, "0") or 0)
                   for name in self.home.names)

    def fail_count(self, resource="postern"):
        said = self.run(self.active(), "crm_failcount", "-G", "-r", resource, "-q")
        return said

    def promoted(self, node, since, limit=120):
        """Seconds from a moment until posternd of a node listens."""
        wait_for(f"posternd of {node} listens", lambda: self.watch.listens(Node(self.lab, node)),
                 limit, 0.01)
        return time.time() - since

    def main_pid(self, node, unit):
        return self.run(node, "systemctl", "show", "-p", "MainPID", "--value", unit)

    def said(self, node, text):
        """Waits until posternd has logged it."""
        wait_for(f"posternd says: {text}", lambda: text in self.run(
            node, "journalctl", "-q", "-u", "posternd", "-o", "cat"), 30, 0.3)

    def stop_seconds(self, node, unit):
        """How long the unit's last stop took."""
        shown = self.run(node, "systemctl", "show", unit, "-p", "ActiveExitTimestampMonotonic",
                         "-p", "InactiveEnterTimestampMonotonic")
        moments = dict(line.split("=") for line in shown.splitlines())
        return (int(moments["InactiveEnterTimestampMonotonic"])
                - int(moments["ActiveExitTimestampMonotonic"])) / 1e6

    def moves(self, since):
        """The nodes to which the mail group's address has gone since a moment, in this order."""
        started = []
        for node in self.home.names:
            said = self.run(node, "journalctl", "-q", "-o", "short-unix", "-t", "pacemaker-controld",
                            "--since", f"@{since:.3f}")
            started += [(float(line.split()[0]), node) for line in said.splitlines()
                        if "Result of start operation for vip" in line]
        return [node for _, node in sorted(started)]

    def operations(self, node, resource):
        """Names of the operations that a node did with a resource, by the history."""
        tree = cluster.view(self.lab).tree
        path = f"./node_history/node[@name='{node}']/resource_history"
        return [op.get("task") for rsc in tree.iterfind(path)
                if rsc.get("id").split(":")[0] == resource
                for op in rsc.iterfind("operation_history")]

    # audits

    def shots(self):
        """Nodes that were fenced since the story began, sorted, once for each shot."""
        return sorted(node for node, when in cluster.shots(self.lab) if when > self.begun - 1)

    def fenced(self, node, limit=180):
        wait_for(f"{node} is fenced", lambda: node in self.shots(), limit, 0.3)

    def tell(self, text):
        """For the report."""
        self.lines.append(text)

    def tells(self, load, begun):
        """For the report: how long it was until mail was accepted again."""
        self.lines.append(f"first 250 after {max(0, load.outage(begun)):.1f} s on {self.active()}"
                          if load.refused(begun) else "nothing was refused")

    def audit(self, fenced=(), failed=(), may_fence=()):
        """What must be true at the end of each scenario.

        fenced: nodes that had to be fenced, each once. may_fence: nodes that Pacemaker may
        fence or not, by who is faster. failed: (resource, operation) whose failure belongs
        to the scenario.
        """
        self.audited = True
        self.watch.__exit__()
        self.lines.append(self.watch.text())
        assert self.watch.pace()[0] <= BLIND, f"watched too seldom: {self.watch.text()}"
        assert not self.watch.doubles, f"served twice: {self.watch.doubles[:3]}"
        shot = self.shots()
        self.lines.append(f"fenced: {' '.join(shot) or 'nobody'}")
        assert [n for n in shot if n not in may_fence] == sorted(fenced), \
            f"fenced: {shot}, expected: {sorted(fenced)}, allowed: {sorted(may_fence)}"
        self.audit_failures(failed)
        self.audit_mails()
        errors = sum(Node(self.lab, name).disk_errors() for name in self.home.names)
        assert errors == 0, f"ext4 found {errors} errors on the shared disk: see dmesg"

    def audit_failures(self, allowed):
        for failure in cluster.view(self.lab).failures():
            resource, _, rest = failure["op_key"].partition("_")
            operation = rest.rpartition("_")[0]
            assert (resource, operation) in allowed, \
                f"a failed action that was not expected: {json.dumps(failure)}"

    def audit_mails(self):
        if not self.load_:
            return
        rows, strangers = account.account(self.lab, self.load_.log)
        print(account.text(rows, strangers), file=sys.stderr)
        self.lines.append(f"seed {self.seed}: {account.line(rows)}")
        assert account.good(rows), "the account is wrong:\n" + account.text(rows, strangers)
        assert not rows["still with the sender"], "mails never got through"
        assert not rows["in queue"], "mails stayed in Postfix's queue"
