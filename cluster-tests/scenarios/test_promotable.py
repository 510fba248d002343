# SPDX-License-Identifier: GPL-2.0-only
"""Postern as a promotable clone, the default."""

import json

import pytest

import dialogue
import memory
from lablib import postern
from lablib.base import LabError, wait_for
from lablib.postern import eicar


@pytest.mark.core
def test_reload(story):
    """As the cluster's resource posternd reads its configuration again, or keeps the old one."""
    node = story.active()
    daemon = story.main_pid(node, "posternd.service")
    with story.load(), memory.setting(story.lab, 'on_encrypted = "tempfail"'):
        story.run(node, "systemctl", "reload", "posternd")
        story.said(node, "configuration: on_encrypted = tempfail")
    # By the journal as it really is.
    said = story.run(node, "postern", "prove", "--json", "--since", "5m")
    proof = json.loads(said.splitlines()[-1])
    assert proof["summary"]["messages"]["recorded"] > 0, proof
    story.run(node, "systemctl", "reload", "posternd")
    with memory.setting(story.lab, "on_encripted = 1"):
        with pytest.raises(LabError, match="posternd.service"):
            story.run(node, "systemctl", "reload", "posternd")
        story.run(node, "systemctl", "kill", "--kill-who=main", "-s", "HUP", "posternd")
        story.said(node, "the configuration stays as it was")
        assert "stays as it was" in story.run(
            node, "systemctl", "show", "-P", "StatusText", "posternd")
        assert story.run(node, "systemctl", "show", "-P", "ActiveState", "posternd") == "active"
    story.run(node, "systemctl", "reload", "posternd")
    assert story.main_pid(node, "posternd.service") == daemon
    assert "control groups" in story.run(node, "postern", "status")
    story.audit()


def clamd_answers(story, node):
    """At the group's address, wherever that is."""
    wait_for("clamd's clients are served at the group's address",
             lambda: dialogue.clamd(story.lab, "zPING\0") == "PONG", 30, 0.3)
    stream = (len(eicar()).to_bytes(4, "big") + eicar() + bytes(4)).decode()
    assert dialogue.clamd(story.lab, f"zINSTREAM\0{stream}").endswith("FOUND")
    script = "import socket; s = socket.socket(socket.AF_UNIX);" \
        " s.connect('/run/postern/clamd/clamd.sock'); s.sendall(b'nSHUTDOWN\\n');" \
        " print(s.recv(200).decode())"
    assert "the cluster manager stops Postern" in story.run(node, "python3", "-c", script)


def holds_nothing(story, node):
    """Of the shared state: no daemon, no mount, no open file."""
    shown = story.run(node, "systemctl", "show", "-P", "ActiveState", "posternd")
    assert shown == "inactive"
    assert "/srv/mail" not in story.run(node, "cat", "/proc/self/mountinfo")
    assert "/srv/mail" not in story.run(
        node, "sh", "-c", "ls -l /proc/[0-9]*/fd /proc/[0-9]*/cwd 2>/dev/null || true")


def test_standby(story):
    old = story.active()
    new = story.other(old)
    engine = story.main_pid(new, "postern-engine.service")
    clamd_answers(story, old)
    holds_nothing(story, new)
    with story.load() as load:
        idlers = [dialogue.hanging(story.lab) for _ in range(3)]
        begun = story.crm("node", "standby", old)
        story.serves(new)
        load.flows()
    for idler in idlers:
        idler.kill()
        idler.wait()
    assert story.stop_seconds(old, "posternd") < 5
    clamd_answers(story, new)
    holds_nothing(story, old)
    assert story.main_pid(new, "postern-engine.service") == engine, \
        "the warm engine of the passive node was thrown away"
    story.tell(f"first 250 after {load.outage(begun):.1f} s")
    story.audit()


@pytest.mark.core
def test_plug_pulled(story):
    old = story.active()
    new = story.other(old)
    engine = story.main_pid(new, "postern-engine.service")
    known = memory.Known(story.lab)
    with memory.setting(story.lab, "poison_strikes = 1"):
        story.run(old, "systemctl", "reload", "posternd")
        known.make(old)
        with story.load() as load:
            known.begin_release(old)
            begun = story.fault("plug", old)
            story.serves(new)
            load.flows()
            story.all_back()
        known.check(new)
    story.run(new, "systemctl", "reload", "posternd")
    assert story.main_pid(new, "postern-engine.service") == engine
    story.tell(f"first 250 after {load.outage(begun):.1f} s")
    story.audit(fenced=[old])


def test_kill_posternd(story):
    """systemd restarts it in place; neither the engine nor the cluster notices."""
    node = story.active()
    engine = story.main_pid(node, "postern-engine.service")
    daemon = story.main_pid(node, "posternd.service")
    with story.load() as load:
        begun = story.fault("kill-posternd", node)
        load.flows(since=begun)
        assert story.serves() == node
    assert story.main_pid(node, "posternd.service") not in (daemon, "0")
    assert story.main_pid(node, "postern-engine.service") == engine
    assert postern.where(story.lab) == node
    story.tell(f"first 250 after {load.outage(begun):.1f} s")
    story.audit()


def test_kill_controld_on_both(story):
    """Each death erases its node's attributes from the CIB: the scores have to come back.

    The other node's controller fences a node whose controller is gone, if it plans before
    that is back. Or it moves the file system before it has asked for Postern: then the file
    system's stop ends posternd, which is found failed.
    """
    nodes = [story.active(), story.other(story.active())]
    with story.load() as load:
        for node in nodes:
            begun = story.fault("kill-controld", node)
            story.serves()
            load.flows(since=begun)
            postern.wait_ready(story.lab, 90)
    story.audit(may_fence=nodes, failed=[("postern", "monitor")])


def test_hung_engine_on_the_passive(story):
    """It would go on being taken for ready, and mail would move to it."""
    passive = story.other(story.active())
    engine = story.main_pid(passive, "postern-engine.service")
    with story.load() as load:
        story.run(passive, "kill", "-STOP", engine)
        wait_for("the engine is replaced", lambda: story.main_pid(
            passive, "postern-engine.service") not in (engine, "0"), 30)
        postern.wait_ready(story.lab)
        story.crm("node", "standby", story.active())
        story.serves(passive)
        load.flows()
    story.audit()


def test_standby_with_a_full_run(story):
    """Nothing can be written down any more: it has to go without fencing."""
    old = story.active()
    with story.load() as load:
        story.run(old, "sh", "-c", "dd if=/dev/zero of=/run/fill bs=1M status=none || true")
        story.crm("node", "standby", old)
        story.serves(story.other(old))
        load.flows()
        story.run(old, "rm", "/run/fill")
    story.audit()
