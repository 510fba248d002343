# SPDX-License-Identifier: GPL-2.0-only
"""Postern as a primitive that migrates, on a directory that all nodes mount."""

LAB = {"mode": "primitive"}


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
    print(f"first 250 after {load.outage(begun):.1f} s")
    story.audit()
