# SPDX-License-Identifier: GPL-2.0-only
"""Each fault under load, on the node that serves and on the one that stands by; two nodes.

Whatever breaks: every mail is accounted for, nothing is served twice, and afterwards the group
serves on one node. The table says what else a fault may do; who is faster decides the rest.
"""

from typing import NamedTuple

import pytest

import harm
from lablib import cluster, faults
from lablib.base import wait_for
from lablib.node import Node

HERE, THERE, ANY = "here", "there", "any"


class Fault(NamedTuple):
    """What a fault on a node does to the group and to that node."""

    name: str
    on: str                         # the active node or the passive one
    serves: str                     # afterwards: on the same node, on the other, on either
    fenced: str = "never"           # never, always, or maybe
    failed: tuple = ()              # operations that may be listed as failed


# Without its executor a controller gives up, and its node with it.
LOST = (("postern", "monitor"), ("postern", "stop"), ("postern", "demote"), ("fs", "monitor"),
        ("vip", "monitor"), ("postfix", "monitor"), ("dovecot", "monitor"))

TABLE = (
    Fault("plug", "active", THERE, "always"),
    Fault("plug", "passive", HERE, "always"),
    Fault("isolate", "active", THERE, "always"),
    Fault("isolate", "passive", HERE, "always"),
    Fault("hang", "active", THERE, "always"),
    Fault("hang", "passive", HERE, "always"),
    Fault("kill-posternd", "active", HERE),
    Fault("kill-engine", "active", ANY),
    Fault("kill-engine", "passive", HERE),
    Fault("kill-zygote", "active", ANY),
    Fault("kill-zygote", "passive", HERE),
    Fault("kill-worker", "active", HERE),
    Fault("kill-corosync", "active", THERE, "always"),
    Fault("kill-corosync", "passive", HERE, "always"),
    Fault("kill-controld", "active", ANY, "maybe", LOST),
    Fault("kill-controld", "passive", HERE, "maybe"),
    Fault("kill-execd", "active", ANY, "maybe", LOST),
    Fault("kill-execd", "passive", HERE, "maybe"),
    Fault("kill-attrd", "active", ANY, "maybe"),
    Fault("kill-attrd", "passive", HERE, "maybe"),
    Fault("kill-dbus", "active", HERE),
    Fault("kill-dbus", "passive", HERE),
    # Seen in 11 s at most, by the file system's deep monitor. Debian's postfix agent then cannot stop
    # Postfix without its queue, and so the node is fenced: that is why it takes half a minute.
    Fault("storage", "active", THERE, "maybe", (("fs", "monitor"), ("postern", "monitor"),
                                                ("postfix", "monitor"),
                                                ("dovecot", "monitor"))),
)
CORE = {("storage", "active"), ("isolate", "active")}


def named(fault):
    marks = [pytest.mark.core] if (fault.name, fault.on) in CORE else []
    return pytest.param(fault, id=f"{fault.name}-{fault.on}", marks=marks)


@pytest.mark.parametrize("fault", map(named, TABLE))
def test_fault(story, fault):
    active = story.active()
    passive = story.other(active)
    victim = active if fault.on == "active" else passive
    expected = {HERE: active, THERE: passive, ANY: None}[fault.serves]
    with story.load() as load:
        begun = story.fault(fault.name, victim)
        if fault.fenced == "always":
            story.fenced(victim)
        story.serves(expected)
        load.flows(since=begun)
        story.all_back()
    assert fault.on == "active" or not load.refused(begun), "a passive node's fault was noticed"
    story.tells(load, begun)
    story.audit(fenced=[victim] if fault.fenced == "always" else [],
                may_fence=[victim] if fault.fenced == "maybe" else [], failed=fault.failed)


def test_partition(story):
    """Both shoot; n2's shot is not delayed. Whoever is left serves, and nobody beside it."""
    active = story.active()
    with story.load() as load:
        begun = story.fault("partition", active)
        shot = wait_for("one node is fenced", lambda: story.shots(), 120, 0.5)
        (survivor,) = set(story.home.names) - set(shot)
        story.serves(survivor)
        load.flows(since=begun)
        faults.heal(story.lab)
        story.all_back()
    story.tells(load, begun)
    story.audit(fenced=[story.other(survivor)])


def test_move(story):
    """With the cluster's own tool; its constraint is taken back and nothing returns."""
    old = story.active()
    new = story.other(old)
    with story.load() as load:
        begun = story.crm("resource", "move", "mail", new)
        story.serves(new)
        load.flows(since=begun)
        story.crm("resource", "clear", "mail")
        cluster.wait_idle(story.lab)
        assert story.active() == new
    story.tells(load, begun)
    story.audit()


@pytest.mark.core
def test_out_of_memory(story):
    """The kernel takes a worker; the engine and what it holds in memory stay."""
    node = story.active()
    engine = story.main_pid(node, "postern-engine.service")
    before = faults.children(Node(story.lab, node), faults.zygote(Node(story.lab, node)))
    with story.load() as load:
        begun = story.fault("oom-worker", node)
        load.flows(since=begun)
        wait_for("a worker is another one", lambda: set(before) - set(faults.children(
            Node(story.lab, node), faults.zygote(Node(story.lab, node)))), 30)
    assert story.main_pid(node, "postern-engine.service") == engine
    assert story.active() == node
    story.tells(load, begun)
    story.audit()


def test_loss_during_promote(story):
    """The new node goes while it takes over: the old one takes the group back."""
    old = story.active()
    new = story.other(old)
    with story.load() as load:
        begun = story.crm("resource", "move", "mail", new)
        harm.at_stage(story.lab, new, "taking", lambda: story.fault("plug", new))
        story.crm("resource", "clear", "mail")
        story.fenced(new)
        story.serves(old)
        load.flows(since=begun)
        story.all_back()
    story.tells(load, begun)
    story.audit(fenced=[new])


def test_loss_during_demote(story):
    """The old node goes while it hands over."""
    old = story.active()
    new = story.other(old)
    with story.load() as load, harm.slow_to_leave(story, old):
        begun = story.crm("resource", "move", "mail", new)
        harm.at_stage(story.lab, old, "leaving", lambda: story.fault("plug", old))
        story.fenced(old)
        story.serves(new)
        story.crm("resource", "clear", "mail")
        load.flows(since=begun)
        story.all_back()
    story.tells(load, begun)
    story.audit(fenced=[old])


def test_both_lost_one_after_the_other(story):
    """The second goes while it takes over from the first: both boot again, and nothing is gone."""
    old = story.active()
    new = story.other(old)
    with story.load() as load:
        begun = story.fault("plug", old)
        harm.at_stage(story.lab, new, "taking", lambda: story.fault("plug", new))
        faults.heal(story.lab)
        story.serves(limit=400)
        load.flows(since=begun)
        story.all_back()
    story.tells(load, begun)
    story.audit(may_fence=[old, new])


@pytest.mark.parametrize("on", ["active", "passive"])
def test_rejoin(story, on):
    """A node whose cluster stack was stopped comes back: nothing moves to it."""
    active = story.active()
    passive = story.other(active)
    gone, serves = (active, passive) if on == "active" else (passive, active)
    with story.load() as load:
        begun = story.stop_stack(gone)
        story.serves(serves)
        load.flows(since=begun)
        assert story.run(gone, "sh", "-c", "systemctl is-active postern-engine posternd "
                         "|| true").split() == ["inactive", "inactive"]
        story.run(gone, "systemctl", "start", "corosync", "pacemaker")
        story.all_back()
        cluster.wait_idle(story.lab)
        assert story.active() == serves
        load.flows()
    story.tells(load, begun)
    story.audit()


@pytest.mark.parametrize("on", ["active", "passive"])
def test_reboot(story, on):
    """A clean one: handed over first, no fencing, and back by itself."""
    active = story.active()
    passive = story.other(active)
    victim = active if on == "active" else passive
    boot = story.run(victim, "systemctl", "show", "-P", "UserspaceTimestampMonotonic")
    with story.load() as load:
        begun = story.reboot(victim)
        story.serves(passive if on == "active" else active)
        load.flows(since=begun)
        story.all_back()
        cluster.wait_idle(story.lab)
    assert story.run(victim, "systemctl", "show", "-P", "UserspaceTimestampMonotonic") != boot
    story.tells(load, begun)
    story.audit()


def test_one_after_the_other(story):
    """An engine that dies just before its node: two reasons to move, one move."""
    old = story.active()
    new = story.other(old)
    with story.load() as load:
        begun = story.fault("kill-engine", old)
        story.fault("plug", old)
        story.fenced(old)
        story.serves(new)
        load.flows(since=begun)
        story.all_back()
    story.tells(load, begun)
    story.audit(fenced=[old])


def test_plug_while_the_peer_loads(story, loading):
    """Mail waits with 451 until somebody is ready: the peer, or the fenced node."""
    old = story.active()
    new = story.other(old)
    with story.load() as load:
        loading.cold(new)
        begun = story.fault("plug", old)
        story.fenced(old)
        story.serves()
        loading.release(new)
        load.flows(since=begun)
        story.all_back()
    story.tells(load, begun)
    story.audit(fenced=[old])
