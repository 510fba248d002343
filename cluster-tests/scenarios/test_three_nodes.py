# SPDX-License-Identifier: GPL-2.0-only
"""Three nodes: quorum decides, and of two that are left the ready one is promoted."""

import pytest

import harm
from lablib import cluster, faults
from lablib.base import wait_for
from lablib.node import Node
from test_faults import LOST

LAB = {"nodes": 3}


def others(story, node):
    return [name for name in story.home.names if name != node]


@pytest.mark.parametrize("ready", [0, 1])
def test_plug_goes_to_the_ready_one(story, loading, ready):
    """Of the two that are left one loads: the other is promoted, whichever it is."""
    old = story.active()
    warm, cold = others(story, old)[ready], others(story, old)[1 - ready]
    with story.load() as load:
        loading.cold(cold)
        begun = story.fault("plug", old)
        story.fenced(old)
        story.serves(warm)
        load.flows(since=begun)
        loading.release(cold)
        story.all_back()
        assert story.active() == warm, "it stays where it is when the others are ready"
    story.tells(load, begun)
    story.audit(fenced=[old])


@pytest.mark.parametrize("fault", ["plug", "isolate", "hang", "partition", "kill-corosync"])
@pytest.mark.parametrize("on", ["active", "passive"])
def test_one_node_is_gone(story, fault, on):
    """The two that hear each other fence the third, and one of them serves."""
    active = story.active()
    victim = active if on == "active" else others(story, active)[0]
    with story.load() as load:
        begun = story.fault(fault, victim)
        story.fenced(victim)
        where = story.serves(None if on == "active" else active)
        assert where != victim
        load.flows(since=begun)
        if fault == "partition":
            faults.heal(story.lab)
        story.all_back()
    assert on == "active" or not load.refused(begun), "the passive node's loss was noticed"
    story.tells(load, begun)
    story.audit(fenced=[victim])


@pytest.mark.parametrize("fault", ["kill-posternd", "kill-engine", "kill-zygote", "kill-worker",
                                   "kill-controld", "kill-execd", "kill-attrd", "kill-dbus",
                                   "oom-worker"])
def test_process_of_the_active_is_gone(story, fault):
    node = story.active()
    with story.load() as load:
        begun = story.fault(fault, node)
        story.serves()
        load.flows(since=begun)
        faults.heal(story.lab)
        story.all_back()
    story.tells(load, begun)
    pacemaker = fault in ("kill-controld", "kill-execd", "kill-attrd")
    story.audit(may_fence=[node] if pacemaker else [], failed=LOST if pacemaker else ())


def test_two_lost_one_after_the_other(story):
    """Two are off for good: the third has no quorum and serves nothing, until one is back."""
    first = story.active()
    with story.load() as load:
        begun = story.fault("plug", first)
        story.fenced(first)
        story.fault("plug", first)      # fencing had switched it on again
        second = story.serves()
        (third,) = set(others(story, first)) - {second}
        story.fault("plug", second)
        wait_for(f"{third} has no quorum", lambda: not cluster.view(story.lab, third).quorum(),
                 120, 0.3)
        cluster.wait_idle(story.lab)
        alone = Node(story.lab, third)
        assert not alone.disk_held() and not story.watch.listens(alone)
        faults.heal(story.lab)
        story.serves(limit=400)
        load.flows(since=begun)
        story.all_back()
    story.tells(load, begun)
    story.audit(fenced=[first], may_fence=[second])


def test_two_lost_at_once(story):
    active = story.active()
    passive = others(story, active)[0]
    with story.load() as load:
        begun = story.fault("plug", active)
        story.fault("plug", passive)
        faults.heal(story.lab)
        story.serves(limit=400)
        load.flows(since=begun)
        story.all_back()
    story.tells(load, begun)
    story.audit(may_fence=[active, passive])


def test_loss_during_promote(story):
    """The node that takes over goes too: the third one does it."""
    first = story.active()
    second, third = others(story, first)
    with story.load() as load:
        begun = story.crm("resource", "move", "mail", second)
        harm.at_stage(story.lab, second, "taking", lambda: story.fault("plug", second))
        story.fenced(second)
        story.crm("resource", "clear", "mail")
        assert story.serves() in (first, third)
        load.flows(since=begun)
        story.all_back()
    story.tells(load, begun)
    story.audit(fenced=[second])


def test_standby_one_after_the_other(story):
    """Two steps aside; the last one serves; the first that comes back does not take it."""
    first = story.active()
    with story.load() as load:
        begun = story.crm("node", "standby", first)
        wait_for("the group has left", lambda: story.serves() != first, 120)
        second = story.active()
        story.crm("node", "standby", second)
        (third,) = set(story.home.names) - {first, second}
        story.serves(third)
        load.flows(since=begun)
        for name in (first, second):
            story.crm("node", "online", name)
        story.all_back()
        cluster.wait_idle(story.lab)
        assert story.active() == third
    story.tells(load, begun)
    story.audit()


def test_storage(story):
    node = story.active()
    with story.load() as load:
        begun = story.fault("storage", node)
        story.serves(limit=300)
        load.flows(since=begun)
        story.all_back()
    story.tells(load, begun)
    story.audit(may_fence=[node], failed=LOST)
