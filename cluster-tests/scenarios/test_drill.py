# SPDX-License-Identifier: GPL-2.0-only
"""`postern cluster drill` and `postern cluster wait`, in a cluster that serves."""

import json
import os
import signal
import subprocess

from lablib import cluster, postern
from lablib.base import poll, wait_for
from lablib.node import Node

DRILL = ["postern", "cluster", "drill", "--yes", "--max-outage", "120"]


def drill(story, node, *more):
    """(exit code, what it printed)"""
    done = Node(story.lab, node).run(*DRILL, *more, timeout=600, check=False)
    return done.returncode, done.stdout, done.stderr


def begin(story, node, *more):
    """A drill that has moved the group, as (process, its own pid as our /proc numbers it)."""
    process = subprocess.Popen(
        ["setpriv", "--pdeathsig", "KILL"] + Node(story.lab, node).command([*DRILL, *more]),
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    for line in process.stdout:
        if line.rstrip().endswith("the mail group moves"):
            break
    else:
        raise AssertionError("the drill ended before it had moved anything")
    return process


def pid_of(process):
    """nsenter enters the node's pid namespace with a child, which becomes the drill."""
    shown = subprocess.check_output(["ps", "-o", "pid=,comm=", "--ppid", str(process.pid)],
                                    text=True).split()
    assert shown[1:] == ["postern"], shown
    return int(shown[0])


def left(story):
    """What of a drill is in the configuration or the state of the cluster."""
    node = cluster.view(story.lab).asked
    text = story.run(node, "cibadmin", "--query")
    return [word for word in ("postern-drill", "cli-prefer", "cli-ban") if word in text]


def test_drill_under_load(story):
    """There and back under other people's mail, with nothing lost and nothing left."""
    home = story.active()
    with story.load():
        code, out, _ = drill(story, story.other(home), "--recipient", "probe@lab.test", "--json")
        report = json.loads(out)
        assert code == 0, report["problems"]
        assert story.serves() == home
    assert [(m["from"], m["to"]) for m in report["moves"]] == [
        (home, story.other(home)), (story.other(home), home)]
    assert all(0 < m["outage_seconds"] < 120 for m in report["moves"])
    probes = report["probes"]
    assert probes["clean"]["sent"] == probes["clean"]["accepted"] > 0
    assert probes["infected"]["sent"] == probes["infected"]["as_they_should"] > 0
    assert probes["open"] == 0
    assert not left(story)
    story.audit()


def test_limit_is_a_failure(story):
    home = story.active()
    code, out, _ = drill(story, home, "--max-outage", "0")
    assert code == 1 and "more than 0.0 s" in out
    assert story.serves() == home
    assert not left(story)
    story.audit()


def test_interrupted_drill_goes_home(story):
    home = story.active()
    with story.load():
        process = begin(story, home)
        os.kill(pid_of(process), signal.SIGTERM)
        assert process.wait(300) == 1
        assert story.serves() == home
    assert not left(story)
    story.audit()


def test_killed_drill_leaves_nothing(story):
    """kill -9 of the drill alone: its guard takes the constraint away; mail stays served."""
    home = story.active()
    with story.load() as load:
        process = begin(story, home)
        os.kill(pid_of(process), signal.SIGKILL)
        process.wait(30)
        wait_for("nothing of the drill is left", lambda: not left(story), 120, 0.5)
        story.serves()
        load.flows()
    story.audit()


def test_what_a_lost_drill_leaves_is_named(story):
    """Drill and guard are gone at once: the next one says what is left, and takes it away."""
    node = story.active()
    rule = ('<rsc_location id="postern-drill-mail" rsc="mail"><rule id="postern-drill-mail-rule" '
            'score="INFINITY" boolean-op="and"><expression id="postern-drill-mail-node" '
            f'attribute="#uname" operation="eq" value="{node}" type="string"/><date_expression '
            'id="postern-drill-mail-end" operation="lt" end="2026-01-01 00:00:00Z"/></rule>'
            '</rsc_location>')
    story.run(node, "cibadmin", "--create", "--scope", "constraints", "--xml-text", rule)
    cluster.wait_idle(story.lab)
    code, _, err = drill(story, node)
    assert code == 2 and "postern-drill-mail" in err and "--clear" in err
    assert "1" in story.run(node, "postern", "cluster", "drill", "--clear")
    assert not left(story)
    story.audit()


def test_refuses(story, loading):
    """A peer that is not ready, maintenance, a failed action: named, and nothing is moved."""
    home = story.active()
    peer = story.other(home)
    loading.cold(peer)
    story.scores_are(peer, lambda score: score < postern.READY)
    cluster.wait_idle(story.lab)
    code, _, err = drill(story, home, "--to", peer)
    assert code == 2 and peer in err and "not ready" in err
    waited = Node(story.lab, home).run("postern", "cluster", "wait", "--node", peer,
                                       "--timeout", "1", check=False)
    assert waited.returncode == 1 and f"{peer}: " in waited.stdout
    loading.release(peer)
    waited = Node(story.lab, home).run("postern", "cluster", "wait", "--all", "--promoted",
                                       "--timeout", "200", timeout=240)
    assert waited.returncode == 0
    story.crm("configure", "property", "maintenance-mode=true")
    code, _, err = drill(story, home)
    story.crm("configure", "property", "maintenance-mode=false")
    assert code == 2 and "maintenance" in err
    assert poll(lambda: story.active() == home, 30)
    story.audit()
