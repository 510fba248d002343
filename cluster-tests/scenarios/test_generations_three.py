# SPDX-License-Identifier: GPL-2.0-only
"""New signatures go through three nodes: both passive ones first, at whatever pace."""

import time

from lablib.base import wait_for
from rollout import ROUND
from test_generations import FAILED, agreed, nothing_moved, rolled, rollout     # noqa: F401
from test_three_nodes import others

LAB = {"nodes": 3}


def test_rolled_through_three_nodes(story, rollout):            # noqa: F811
    with story.load(rate=10) as load:
        for _ in range(2):
            name = rolled(story, rollout, load)
        agreed(story, rollout, name)
    story.audit()


def test_a_slow_one_holds_the_active_node_back(story, rollout, loading):    # noqa: F811
    """The one that is quick has it at once; the active node waits for both."""
    active = story.active()
    quick, slow = others(story, active)
    with story.load() as load:
        pids, begun, old = story.group_pids(active), time.time(), rollout.current(active)
        loading.hold(slow)
        name = rollout.publish()
        rollout.fetch(active, name)
        wait_for(f"{quick} works with it", lambda: rollout.works_with(quick, name), 120, 0.1)
        load.flows(mails=20)
        assert rollout.current(active) == old and rollout.record(active, name)["trials"] == 0
        loading.release(slow)
        assert rollout.everywhere(name)[-1] == active
        assert not load.refused(begun), load.refused(begun)[:3]
        nothing_moved(story, active, pids, begun)
    story.audit()


def test_a_node_that_is_away(story, rollout):                   # noqa: F811
    """Nobody waits for it; it catches up when it is back."""
    active = story.active()
    here, away = others(story, active)
    with story.load() as load:
        begun = story.stop_stack(away)
        name = rollout.publish()
        rollout.fetch(active, name)
        wait_for("both others work with it", lambda: all(
            rollout.works_with(n, name) for n in (here, active)), 120, 0.1)
        assert rollout.current(away) != name
        story.run(away, "systemctl", "start", "pacemaker")
        rollout.everywhere(name)
        story.all_back()
        assert not load.refused(begun), load.refused(begun)[:3]
        assert story.serves() == active
    story.audit()


def test_the_active_node_dies_between_the_two(story, rollout, loading):     # noqa: F811
    """One passive node has it, the other tries it: whoever is active then, all have it at the end."""
    active = story.active()
    quick, slow = others(story, active)
    with story.load() as load:
        loading.hold(slow)
        name = rollout.publish()
        rollout.fetch(active, name)
        wait_for(f"{quick} works with it", lambda: rollout.works_with(quick, name), 120, 0.1)
        begun = rollout.at(slow, "trying", name, lambda: story.fault("plug", active))
        story.fenced(active)
        loading.release(slow)
        story.serves()
        load.flows(since=begun)
        story.all_back()
        rollout.everywhere(name, 4 * ROUND)
        story.tell(f"all the same after {time.time() - begun:.0f} s")
    story.tells(load, begun)
    story.audit(fenced=[active], failed=FAILED)
