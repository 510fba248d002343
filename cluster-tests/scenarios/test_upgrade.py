# SPDX-License-Identifier: GPL-2.0-only
"""A rolling upgrade under load, from the older Postern of upgrade-from to this one: as
docs/OPERATIONS.md says it, with failovers in both directions, a way back, and its end."""

import json
import shutil

from lablib import cluster, postern
from lablib.base import wait_for
from lablib.node import Node

LAB = {"older": True}
IN_NODE = "/var/tmp/postern.deb"


def install(story, node, package):
    """apt install ./postern.deb, as far as it concerns Postern."""
    shutil.copy(package, story.lab.path(f"{node}/root{IN_NODE}"))
    story.run(node, "dpkg", "--force-unsafe-io", "--no-triggers", "--force-confold",
              "--force-downgrade", "--install", IN_NODE)


def change(story, node, package):
    """Standby, install, online: the node comes back with another Postern, and ready."""
    story.crm("node", "standby", node)
    story.serves(story.other(node))
    install(story, node, package)
    story.crm("node", "online", node)
    story.all_back()


def move(story, load):
    """To the other node by the cluster's means; it takes mail there."""
    source = story.active()
    begun = story.crm("node", "standby", source)
    target = story.serves(story.other(source))
    load.flows(begun)
    story.crm("node", "online", source)
    story.all_back()
    return target


def status(story, node):
    return json.loads(story.run(node, "postern", "status", "--json"))["posternd"]


def finish(story, node, *options):
    return Node(story.lab, node).run("postern", "cluster", "finish-upgrade", *options, check=False)


def kept(story):
    """How many mails the serving node has; the account gets each of them out."""
    rows = json.loads(story.run(story.active(), "postern", "quarantine", "list", "--json"))
    return len(rows)


def test_package_below_a_running_node(story, newer):
    """What runs goes on; what is respawned is new and understands the older engine."""
    with story.load() as load:
        node = story.active()
        group = story.group_pids(node)
        units = ("posternd", "postern-engine", "postern-notify")
        before = {unit: story.main_pid(node, unit) for unit in units}
        install(story, node, newer)
        assert {unit: story.main_pid(node, unit) for unit in units} == before
        load.flows()
        story.run(node, "kill", "-9", before["posternd"])
        wait_for("posternd is respawned", lambda: story.main_pid(node, "posternd") not in
                 ("0", before["posternd"]), 30, 0.1)
        load.flows()
        assert status(story, node)["version"] in story.run(node, "postern", "--version")
        assert status(story, node)["state_format"] == 2
        assert story.main_pid(node, "postern-engine") == before["postern-engine"]
        assert story.group_pids(node) == group
        change(story, node, story.home.stage)       # and back, for the next story
        load.flows()
    story.audit()


def test_rolling_upgrade(story, newer):
    older = story.home.stage
    first, second = story.active(), story.other(story.active())
    with story.load() as load:
        change(story, second, newer)
        assert move(story, load) == second          # from the older to the newer
        assert status(story, second)["state_format"] == 2
        assert "finish-upgrade" in story.run(second, "postern", "status")
        refused = finish(story, second)
        assert refused.returncode == 1 and first in refused.stderr, refused
        some = kept(story)
        assert move(story, load) == first           # from the newer to the older
        assert kept(story) >= some > 0
        change(story, second, older)                # nobody has finished it: a way back
        assert move(story, load) == second
        assert move(story, load) == first
        change(story, second, newer)
        assert move(story, load) == second
        change(story, first, newer)
        story.crm("node", "standby", first)         # standby is no reason to refuse, off is one
        assert finish(story, second, "--dry-run").returncode == 0
        story.crm("node", "online", first)
        story.all_back()
        done = finish(story, first)                 # from the node that does not serve
        assert done.returncode == 0, done.stderr
        assert status(story, second)["state_format"] == 3
        assert "finish-upgrade" not in story.run(second, "postern", "status")
        load.flows()
        assert move(story, load) == first           # the newer format moves as the older did
        assert status(story, first)["state_format"] == 3
    story.audit()


def upgraded(story, newer):
    """The end of the story above, or the short way to it in a lab of its own."""
    if status(story, story.active()).get("state_format") == 3:
        return
    for _ in story.home.names:
        node = story.other(story.active())
        change(story, node, newer)
        story.crm("node", "standby", story.other(node))
        story.serves(node)
        story.crm("node", "online", story.other(node))
        story.all_back()
    assert finish(story, story.active()).returncode == 0


def test_an_older_one_refuses_it(story, newer):
    """A node that was forgotten, or downgraded afterwards: it takes nothing over, and says why."""
    upgraded(story, newer)
    active = story.active()
    other = story.other(active)
    change(story, other, story.home.stage)
    with story.load() as load:
        story.crm("node", "standby", active)

        def refused():
            seen = cluster.try_view(story.lab)
            return [f for f in (seen.failures() if seen else []) if f["node"] == other
                    and "made by a newer Postern" in (f.get("exitreason") or "")]
        wait_for("the older one refuses the state", refused, 120, 0.3)
        story.crm("node", "online", active)
        story.serves(active)
        load.flows()
        change_back(story, other, newer)
    story.audit(failed=[("postern", "promote")])


def change_back(story, node, package):
    story.crm("node", "standby", node)
    cluster.wait_idle(story.lab)
    install(story, node, package)
    story.crm("node", "online", node)
    story.crm("resource", "cleanup", "postern-clone")
    postern.wait_ready(story.lab)
