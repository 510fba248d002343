# SPDX-License-Identifier: GPL-2.0-only
"""What administrators do: move, stop, reboot, maintenance, cleanup; and Postfix that fails."""

import time

import pytest

from lablib import cluster, postern
from lablib.base import poll, wait_for
from lablib.node import Node
from test_behaviours import STILL, stays
from test_behaviours_daemon import ENGINE, POSTERND, kill_often

UNITS = (POSTERND, ENGINE, "postern-notify.service")


def together(story):
    """The whole group and the promoted one are on one node, or on their way."""
    seen = cluster.try_view(story.lab)
    places = {tuple(seen.where(name)) for name in cluster.members(story.lab)}
    places.add(tuple(seen.where("postern", "Promoted")))
    return places - {()}


@pytest.mark.core
def test_e_move_to_a_node_that_is_not_ready(story, loading):
    """It moves whole, and mail waits with 451 until the signatures are there."""
    old = story.active()
    new = story.other(old)
    with story.load() as load:
        loading.cold(new)
        begun = story.crm("resource", "move", "mail", new)
        story.serves(new)
        assert together(story) == {(new,)}
        load.put_off(begun)
        loading.release(new)
        load.flows(since=begun)
        assert story.serves() == new
        story.crm("resource", "clear", "mail")
    story.audit()


def test_g_postfix_fails(story):
    """At the first failure the group may go: the scanner goes along."""
    old = story.active()
    new = story.other(old)
    story.run(old, *"crm_resource -r postfix -m -p migration-threshold -v 1".split())
    with story.load() as load:
        begun = time.time()
        story.run(old, "sh", "-c", "kill -9 $(cat /srv/mail/postfix/pid/master.pid)")
        story.serves(new)
        assert together(story) == {(new,)}
        load.flows(since=begun)
        story.tell(f"first 250 after {load.outage(begun):.1f} s")
        story.run(new, *"crm_resource -r postfix -m -d migration-threshold".split())
    story.audit(failed=[("postfix", "monitor")])


def test_g_postfix_fails_and_the_peer_is_not_ready(story, loading):
    """Better 451 from Postfix than nobody at the door."""
    old = story.active()
    new = story.other(old)
    story.run(old, *"crm_resource -r postfix -m -p migration-threshold -v 1".split())
    with story.load() as load:
        loading.cold(new)
        story.run(old, "sh", "-c", "kill -9 $(cat /srv/mail/postfix/pid/master.pid)")
        story.serves(new)
        begun = time.time()
        load.put_off(begun)
        assert together(story) == {(new,)}
        loading.release(new)
        load.flows(since=begun)
        story.run(new, *"crm_resource -r postfix -m -d migration-threshold".split())
    story.audit(failed=[("postfix", "monitor")])


def stopped_in_time(story, node, since=None):
    """By the journal, which outlives a boot: systemd says when a stop begins and ends."""
    for unit in UNITS:
        lines = story.run(node, "journalctl", "-q", "-o", "short-unix", "-t", "systemd", "UNIT=" + unit,
                          *(["--since", f"@{since:.0f}"] if since else [])).splitlines()
        begun = [float(x.split()[0]) for x in lines if "]: Stopping " in x]
        ended = [float(x.split()[0]) for x in lines if "]: Stopped " in x]
        assert begun and ended, f"{unit} was not stopped: {lines[-5:]}"
        seconds = ended[-1] - begun[-1]
        story.tell(f"{unit} stopped in {seconds:.2f} s")
        assert 0 <= seconds < 5, f"{unit} took {seconds:.1f} s to stop"


@pytest.mark.core
def test_h_clean_stop_and_rejoin(story):
    """systemctl stop pacemaker hands over and fences nobody; who comes back changes nothing."""
    old = story.active()
    new = story.other(old)
    with story.load() as load:
        begun = story.fault("stop-pacemaker", old)
        stopped_in_time(story, old, begun)
        story.serves(new)
        load.flows(since=begun)
        story.tell(f"first 250 after {load.outage(begun):.1f} s")
        for unit in UNITS:
            assert story.run(old, "systemctl", "show", "-P", "ActiveState", unit) == "inactive"
        pids, begun = story.group_pids(new), time.time()
        story.run(old, "systemctl", "start", "pacemaker")
        story.all_back()
        stays(story, new, pids)
        assert not load.refused(begun), load.refused(begun)[:3]
    story.audit()


def test_h_reboot(story):
    """The cluster's units end in time, so the machine goes down without being fenced."""
    old = story.active()
    new = story.other(old)
    init = Node(story.lab, old).init_pid()
    with story.load() as load:
        begun = story.fault("reboot", old)
        story.serves(new)
        load.flows(since=begun)
        story.tell(f"first 250 after {load.outage(begun):.1f} s")
        wait_for("it boots again", lambda: Node(story.lab, old).init_pid() not in (None, init), 300)
        story.all_back()
        stopped_in_time(story, old, begun)
        stays(story, new, story.group_pids(new))
    story.audit()


def test_h_reboot_of_the_passive(story):
    active = story.active()
    passive = story.other(active)
    init, pids = Node(story.lab, passive).init_pid(), story.group_pids(active)
    with story.load() as load:
        begun = story.fault("reboot", passive)
        wait_for("it boots again", lambda: Node(story.lab, passive).init_pid() not in (
            None, init), 300)
        story.all_back()
        stays(story, active, pids)
        assert not load.refused(begun), load.refused(begun)[:3]
    story.audit()


def maintenance(story, on):
    story.crm("configure", "property", f"maintenance-mode={'true' if on else 'false'}")
    wait_for("the cluster knows it", lambda: story.run(
        story.home.names[0], "crm_attribute", "-G", "-q", "-n", "maintenance-mode") == (
            "true" if on else "false"), 30)


@pytest.mark.core
def test_h_maintenance(story):
    """Hands off, also when posternd is gone; on leaving it is recovered once."""
    node = story.active()
    with story.load() as load:
        maintenance(story, True)
        cluster.wait_idle(story.lab)
        pids = story.group_pids(node)
        kill_often(story, node, POSTERND)
        time.sleep(STILL)
        assert story.group_pids(node) == pids
        assert story.main_pid(node, POSTERND) == "0", "something started it"
        begun = time.time()
        maintenance(story, False)
        where = story.serves()
        load.flows(since=begun)
        story.tell(f"first 250 {load.outage(begun):.1f} s after maintenance, on {where}")
        assert promotions(story, begun) <= 1
        stays(story, where, story.group_pids(where))
    story.audit(failed=[("postern", "monitor"), ("postern", "asyncmon")])


def promotions(story, since):
    """Promotions that Pacemaker carried out since a moment, on whichever node."""
    count = 0
    for name in story.home.names:
        count += story.run(name, "journalctl", "-q", "-o", "cat", "-t", "pacemaker-controld",
                           "--since", f"@{since:.0f}").count("Result of promote operation for postern")
    return count


def test_h_maintenance_and_the_engine_dies(story):
    """The engine is mended in place meanwhile: nothing is left to do on leaving."""
    node = story.active()
    pids = story.group_pids(node)
    with story.load() as load:
        maintenance(story, True)
        cluster.wait_idle(story.lab)
        begun = story.fault("kill-engine", node)
        postern.wait_ready(story.lab)
        load.flows(since=begun)
        maintenance(story, False)
        stays(story, node, pids)
    story.audit()


@pytest.mark.core
def test_h_cleanup_and_refresh(story):
    """Of a cluster in health, as nervous people do it: nobody is refused, nothing restarts."""
    node = story.active()
    engine, pids = story.main_pid(node, ENGINE), story.group_pids(node)
    with story.load(rate=10) as load:
        for what in (["--cleanup"], ["--cleanup", "-r", "postern"], ["--refresh", "-r", "postern-clone"],
                     ["--refresh"]):
            begun = time.time()
            story.run(node, "crm_resource", *what)
            cluster.wait_idle(story.lab)
            load.flows(since=begun)
            assert not load.refused(begun), (what, load.refused(begun)[:3])
            assert story.serves() == node and story.group_pids(node) == pids, what
            assert story.main_pid(node, ENGINE) == engine, what
    story.audit()


def test_h_standby_and_back(story):
    """There, and online again: once there it stays there."""
    old = story.active()
    new = story.other(old)
    with story.load() as load:
        begun = story.crm("node", "standby", old)
        story.serves(new)
        load.flows(since=begun)
        story.tell(f"first 250 after {load.outage(begun):.1f} s")
        pids = story.group_pids(new)
        begun = story.crm("node", "online", old)
        story.all_back()
        stays(story, new, pids)
        assert not load.refused(begun), load.refused(begun)[:3]
        assert poll(lambda: together(story) == {(new,)}, 5)
    story.audit()
