# SPDX-License-Identifier: GPL-2.0-only
"""The engine dies, or has no signatures: where the mail group goes, and where it stays."""

import statistics
import time

import pytest

from lablib import cluster, faults, postern
from lablib.base import poll, wait_for
from lablib.node import Node

# Nothing may happen in this time; whoever moves has begun long before its end.
STILL = 6
# For twice as long as its last load took a node keeps the mail while it loads, but for half a minute
# at least: here Postfix alone may need as much to start.
LONG = 90


def stays(story, node, pids):
    """The group is where it was, and nothing in it was restarted."""
    time.sleep(STILL)
    cluster.wait_idle(story.lab)
    assert story.serves() == node
    assert story.group_pids(node) == pids


def engine_dies(story, rounds):
    """Mail moves to the warm peer at once; no failure is counted, and the dead one gets warm."""
    roles, mails = [], []
    with story.load(rate=10) as load:
        for _ in range(rounds):
            old = story.active()
            new = story.other(old)
            warm = story.main_pid(new, "postern-engine.service")
            begun = story.fault("kill-engine", old)
            roles.append(story.promoted(new, begun))
            assert story.serves(new) == new
            load.flows(since=begun)
            mails.append(load.outage(begun))
            assert story.fail_count() == "0"
            assert story.main_pid(new, "postern-engine.service") == warm
            postern.wait_ready(story.lab)
            # systemd gives up an engine that dies five times in five minutes: this is another day
            story.run(old, "systemctl", "reset-failed", "postern-engine")
    for what, times in (("posternd listens", roles), ("first 250", mails)):
        shown = " ".join(f"{seconds:.2f}" for seconds in sorted(times))
        story.tell(f"{what} after {shown} s, median {statistics.median(times):.2f}")
    story.audit()


def test_a_engine_dies_twice(story):
    engine_dies(story, 2)


def test_a_engine_dies(story, request):
    engine_dies(story, request.config.getoption("--rounds"))


@pytest.mark.core
def test_b_peer_is_ready_first(story, loading):
    """Nobody is ready: mail waits where it is, then there is one move and none back."""
    old = story.active()
    new = story.other(old)
    pids = story.group_pids(old)
    with story.load() as load:
        loading.cold(new)
        begun = time.time()
        loading.cold(old)
        load.put_off(begun)
        stays(story, old, pids)
        begun = time.time()
        loading.release(new)
        story.serves(new)
        load.flows(since=begun)
        story.tell(f"first 250 {load.outage(begun):.1f} s after the peer may load")
        pids = story.group_pids(new)
        loading.release(old)
        postern.wait_ready(story.lab)
        stays(story, new, pids)
        assert story.fail_count() == "0"
    story.audit()


def test_b_own_engine_is_ready_first(story, loading):
    node = story.active()
    pids = story.group_pids(node)
    with story.load() as load:
        loading.cold(story.other(node))
        begun = time.time()
        loading.cold(node)
        load.put_off(begun)
        loading.release(node)
        load.flows(since=begun)
        loading.release(story.other(node))
        postern.wait_ready(story.lab)
        stays(story, node, pids)
    story.audit()


def cold_boot(story, loading):
    """Power comes back to both nodes at once; returns who serves, without signatures."""
    for name in story.home.names:
        story.fault("hang", name)
    for power in ("off", "on"):
        for name in story.home.names:
            story.lab.enter("_power", name, power)
    cluster.wait_online(story.lab)
    loading.takes(LONG, *story.home.names)
    return story.serves()


@pytest.mark.parametrize("first", ["promoted", "other"])
def test_c_cold_boot(story, loading, first):
    """Mail is served at once, and does not move, whoever has the signatures first."""
    loading.hold(*story.home.names)
    with story.load() as load:
        begun = time.time()
        node = cold_boot(story, loading)
        load.put_off(begun)
        story.tell(f"served with 451 {time.time() - begun:.1f} s after the power failed")
        pids = story.group_pids(node)
        warm = node if first == "promoted" else story.other(node)
        loading.release(warm)
        loading.wait_state(warm, "ready")
        stays(story, node, pids)
        loading.release(*story.home.names)
        postern.wait_ready(story.lab)
        load.flows()
        stays(story, node, pids)
    story.audit(may_fence=story.home.names)


def broken(story, loading, *names):
    """These nodes cannot load their signatures any more, and have lost those in memory."""
    for name in names:
        loading.spoil(name)
    for name in names:
        faults.inject(story.lab, "kill-engine", name)
        loading.wait_state(name, "failed")


def test_f_broken_everywhere(story, loading):
    """The mail server runs on, with 451, until one node can scan."""
    old = story.active()
    new = story.other(old)
    pids = story.group_pids(old)
    with story.load() as load:
        begun = time.time()
        broken(story, loading, new, old)
        load.put_off(begun)
        stays(story, old, pids)
        begun = time.time()
        loading.repair(new)
        story.serves(new)
        load.flows(since=begun)
        story.tell(f"first 250 {load.outage(begun):.1f} s after one node's signatures are mended")
        loading.repair(old)
        postern.wait_ready(story.lab)
        stays(story, new, story.group_pids(new))
    story.audit()


def test_f_broken_on_the_active(story, loading):
    """Since its boot it cannot load: it keeps the mail while nobody can, and gives it away then."""
    old = story.active()
    new = story.other(old)
    loading.spoil(old)
    loading.hold(new)
    with story.load() as load:
        begun = time.time()
        story.crm("node", "standby", new)
        cluster.wait_idle(story.lab)
        Node(story.lab, old).run("systemctl", "restart", "pacemaker", timeout=240)
        assert story.serves() == old
        loading.wait_state(old, "failed")
        load.put_off(begun)
        begun = story.crm("node", "online", new)
        loading.release(new)
        loading.wait_state(new, "ready")
        story.serves(new)
        load.flows(since=begun)
        story.tell(f"first 250 {load.outage(begun):.1f} s after the peer may load")
        loading.repair(old)
        postern.wait_ready(story.lab)
    story.audit()


def test_an_hour_of_load(story):
    """A minute of it: mail alone never makes the cluster think."""
    with story.load(rate=20) as load:
        load.flows()
        cluster.wait_idle(story.lab)
        before = story.transitions()
        time.sleep(60)
        added = story.transitions() - before
        story.tell(f"{added} transitions in a minute of load")
        assert added == 0
    story.audit()


def test_states_for_people(story, loading):
    """The attribute says what an administrator asks: loading since when, for how long, or ready."""
    passive = story.other(story.active())

    def text():
        return cluster.view(story.lab).attributes("postern-state").get(passive, {}).get(
            "postern-state", "")
    assert text().startswith("ready")
    loading.cold(passive)
    wait_for("it says that it loads", lambda: text().startswith("loading since"), 30)
    assert poll(lambda: "about" in text(), 5), text()
    loading.spoil(passive)
    loading.release(passive)
    wait_for("it says that it cannot", lambda: "cannot be loaded" in text(), 60)
    assert Node(story.lab, passive).run("crm_mon", "-1").stdout.count("Failed") == 0
    loading.repair(passive)
    postern.wait_ready(story.lab)
    story.audit()
