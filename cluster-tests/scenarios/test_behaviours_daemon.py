# SPDX-License-Identifier: GPL-2.0-only
"""posternd dies, the passive part fails: what is mended in place, and what the cluster must see."""

import time

import pytest

import harm
from lablib import cluster, faults, postern
from lablib.base import LabError, poll, wait_for
from lablib.node import Node

POSTERND, ENGINE = "posternd.service", "postern-engine.service"


def kill_often(story, node, unit):
    """Kills a unit's process until systemd gives it up; the cluster may be quick to act then."""
    begun = time.time()

    def given_up():
        return "repeated too quickly" in story.run(node, "journalctl", "-q", "-o", "cat", "-u", unit,
                                                   "--since", f"@{begun:.0f}")
    for _ in range(12):
        pid = story.main_pid(node, unit)
        if pid != "0" and not given_up():
            story.run_quietly(node, "kill", "-9", pid)
        if poll(lambda seen=pid: given_up() or story.main_pid(node, unit) not in ("0", seen), 20,
                0.05) and given_up():
            return time.time()
    raise AssertionError(f"systemd starts {unit} again for ever")


@pytest.mark.core
def test_a2_killed_posternd_comes_back(story):
    """In place: the engine keeps its process, and the cluster has nothing to do."""
    node = story.active()
    engine, daemon = story.main_pid(node, ENGINE), story.main_pid(node, POSTERND)
    pids = story.group_pids(node)
    with story.load(rate=10) as load:
        before = story.transitions()
        for _ in range(2):
            begun = story.fault("kill-posternd", node)
            load.flows(since=begun)
            story.tell(f"first 250 after {load.outage(begun):.2f} s")
        assert story.transitions() == before
    assert story.main_pid(node, POSTERND) not in (daemon, "0")
    assert story.main_pid(node, ENGINE) == engine
    assert story.group_pids(node) == pids
    assert story.serves() == node and story.fail_count() == "0"
    story.audit()


@pytest.mark.core
def test_a2_posternd_dies_too_often(story):
    """A failure then, with a reason for people, and the mail group goes."""
    old = story.active()
    new = story.other(old)
    with story.load() as load:
        first = time.time()
        begun = kill_often(story, old, POSTERND)
        story.serves(new)
        load.flows(since=begun)
        story.tell(f"first 250 {load.outage(begun):.1f} s after it was given up")
        reasons = [f.get("exitreason") or f.get("exitstatus")
                   for f in cluster.view(story.lab).failures()]
        story.tell(f"the cluster says: {reasons}")
        assert any("posternd" in reason for reason in reasons), reasons
        story.all_back()
        assert story.moves(first) == [new], f"the group went to {story.moves(first)}"
    story.audit(failed=[("postern", "monitor"), ("postern", "asyncmon")])


@pytest.mark.core
@pytest.mark.parametrize("fault", ["kill-engine", "kill-zygote", "freeze-engine", "given-up",
                                   "crm-failed"])
def test_d_passive_part_fails(story, fault):
    """In any way: nobody is refused, and the mail group does not notice."""
    active = story.active()
    passive = story.other(active)
    pids = story.group_pids(active)
    with story.load(rate=10) as load:
        begun, before = time.time(), zygote(story, passive)
        if fault == "given-up":
            kill_often(story, passive, ENGINE)
        elif fault == "crm-failed":
            story.run(active, "crm_resource", "-F", "-r", "postern", "-N", passive)
        else:
            story.fault(fault, passive)
        load.flows(since=begun)
        wait_for("the passive node is as before", lambda: zygote(story, passive) not in (
            None, before) and recovered(story, passive), 120, 0.5)
        load.flows()
        assert not load.refused(begun), load.refused(begun)[:3]
    assert story.serves() == active
    assert story.group_pids(active) == pids
    story.audit(failed=[("postern", "monitor"), ("postern", "asyncmon")])


def zygote(story, node):
    """Whatever of the engine fails, another one comes in the end."""
    try:
        return faults.zygote(Node(story.lab, node))
    except LabError:
        return None


def recovered(story, node):
    values = cluster.view(story.lab).attributes("master-postern").get(node, {})
    return postern.score(values) >= postern.READY and node in cluster.view(
        story.lab).where("postern", "Unpromoted")


def test_local_recovery(story):
    harm.mended_in_place(story)


@pytest.mark.parametrize("fault", ["oom-worker", "kill-worker"])
def test_worker_of_the_active_dies(story, fault):
    """One process of many: the engine and the cluster do not notice."""
    node = story.active()
    engine, pids = story.main_pid(node, ENGINE), story.group_pids(node)
    with story.load(rate=10) as load:
        begun = story.fault(fault, node)
        load.flows(since=begun)
    assert story.main_pid(node, ENGINE) == engine
    assert story.serves() == node and story.group_pids(node) == pids
    story.audit()


def test_posternd_hangs(story):
    """systemd's watchdog ends it, and a new one takes its place."""
    node = story.active()
    daemon, engine = story.main_pid(node, POSTERND), story.main_pid(node, ENGINE)
    with story.load() as load:
        begun = story.fault("freeze-posternd", node)
        wait_for("posternd is replaced", lambda: story.main_pid(node, POSTERND) not in (
            daemon, "0"), 90)
        load.flows(since=time.time())
        story.tell(f"first 250 after {load.outage(begun):.1f} s")
    assert story.serves() == node and story.main_pid(node, ENGINE) == engine
    story.audit()


def test_posternd_cannot_be_killed(story):
    """The mail group has to go: the agent may not say that it stopped, so the node is fenced."""
    old = story.active()
    with story.load() as load:
        faults.inject(story.lab, "stick-posternd", old)
        begun = story.crm("node", "standby", old)
        story.serves(story.other(old))
        load.flows(since=begun)
        story.tell(f"first 250 after {load.outage(begun):.1f} s")
        story.crm("node", "online", old)
        story.all_back()
    story.audit(fenced=[old], failed=[("postern", "demote"), ("postern", "stop"),
                                      ("postern", "monitor")])
