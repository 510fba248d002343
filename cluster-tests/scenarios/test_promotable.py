# SPDX-License-Identifier: GPL-2.0-only
"""Postern as a promotable clone, the default."""

from lablib import postern


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
