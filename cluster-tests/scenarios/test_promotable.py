# SPDX-License-Identifier: GPL-2.0-only
"""Postern as a promotable clone, the default."""

from lablib import postern
from lablib.base import wait_for


def test_standby(story):
    old = story.active()
    new = story.other(old)
    engine = story.main_pid(new, "postern-engine.service")
    with story.load() as load:
        begun = story.crm("node", "standby", old)
        story.serves(new)
        load.flows()
    assert story.main_pid(new, "postern-engine.service") == engine, \
        "the warm engine of the passive node was thrown away"
    print(f"first 250 after {load.outage(begun):.1f} s")
    story.audit()


def test_plug_pulled(story):
    old = story.active()
    new = story.other(old)
    engine = story.main_pid(new, "postern-engine.service")
    with story.load() as load:
        begun = story.fault("plug", old)
        story.serves(new)
        load.flows()
        story.all_back()
    assert story.main_pid(new, "postern-engine.service") == engine
    print(f"first 250 after {load.outage(begun):.1f} s")
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
    print(f"first 250 after {load.outage(begun):.1f} s")
    story.audit()


def test_kill_controld_on_both(story):
    """Each death erases its node's attributes from the CIB: the scores have to come back.

    The other node's controller fences a node whose controller is gone, if it plans before
    that is back.
    """
    nodes = [story.active(), story.other(story.active())]
    with story.load() as load:
        for node in nodes:
            begun = story.fault("kill-controld", node)
            story.serves()
            load.flows(since=begun)
            postern.wait_ready(story.lab, 90)
    story.audit(may_fence=nodes)


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
