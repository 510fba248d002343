# SPDX-License-Identifier: GPL-2.0-only
"""Postern as a primitive that migrates, on a directory that all nodes mount."""

import pytest

import harm
from lablib import faults

LAB = {"mode": "primitive"}


@pytest.mark.core
def test_migrate(story):
    """Moving the mail group hands Postern over alive: migrate, not stop and start."""
    old = story.active()
    new = story.other(old)
    engine = story.main_pid(new, "postern-engine.service")
    with story.load() as load:
        begun = story.crm("resource", "move", "mail", new)
        story.serves(new)
        load.flows()
    story.crm("resource", "clear", "mail")
    assert "migrate_from" in story.operations(new, "postern")
    assert story.main_pid(new, "postern-engine.service") == engine
    story.tell(f"first 250 after {load.outage(begun):.1f} s")
    story.audit()


@pytest.mark.parametrize("stage, on, victim", [
    ("leaving", "old", "old"), ("leaving", "old", "new"),
    ("taking", "new", "old"), ("taking", "new", "new")])
def test_loss_during_migration(story, stage, on, victim):
    """Whoever goes, at whichever half of it: the other one serves, from the same state."""
    old = story.active()
    names = {"old": old, "new": story.other(old)}
    with story.load() as load, harm.slow_to_leave(story, old):
        begun = story.crm("resource", "move", "mail", names["new"])
        harm.at_stage(story.lab, names[on], stage, lambda: story.fault("plug", names[victim]))
        story.fenced(names[victim])
        story.crm("resource", "clear", "mail")
        story.serves(names["old" if victim == "new" else "new"])
        load.flows(since=begun)
        story.tells(load, begun)
        story.all_back()
    story.audit(fenced=[names[victim]])


def test_local_recovery(story):
    harm.mended_in_place(story)


@pytest.mark.parametrize("fault, fenced", [
    ("plug", True), ("kill-posternd", False), ("kill-engine", False), ("kill-corosync", True)])
def test_fault(story, fault, fenced):
    """The scanner is recovered where it is, or starts on the node that is left."""
    old = story.active()
    with story.load() as load:
        begun = story.fault(fault, old)
        if fenced:
            story.fenced(old)
        story.serves(story.other(old) if fenced else None)
        load.flows(since=begun)
        story.tells(load, begun)
        story.all_back()
        faults.heal(story.lab)
        story.serves()
    story.audit(fenced=[old] if fenced else [], failed=[("postern", "monitor"),
                                                        ("postern-warm", "monitor")])
