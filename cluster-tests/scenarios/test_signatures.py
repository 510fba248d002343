# SPDX-License-Identifier: GPL-2.0-only
"""New signatures on their way through a cluster under load: fetched once, the active node last."""

import json

from lablib.base import wait_for
from lablib.node import Node

LAB = {"nodes": 3}
UPDATES = "/etc/postern/update/lab.ndb"


def report(story, node):
    return json.loads(story.run(node, "postern", "cluster", "node", "report"))


def generations(story, node):
    text = story.run(node, "postern", "signatures", "list", "--json")
    return {row["generation"]: row for row in json.loads(text)}


def fetch(story, node, line):
    """A new line in what NODE's postern-update finds. The generation that it makes."""
    before = set(generations(story, node))
    story.run(node, "sh", "-c", f"echo '{line}' >> {UPDATES}")
    Node(story.lab, node).run("postern", "signatures", "update", check=False)
    [name] = set(generations(story, node)) - before
    return name


def share_key(story):
    """As setup does it; the lab's scanner was put in by hand."""
    story.run(story.active(), "postern", "cluster", "rekey", "--yes")
    marks = {report(story, node)["peers"]["mark"] for node in story.home.names}
    assert len(marks) == 1 and "none" not in marks
    for node in story.home.names:
        wait_for(f"{node} speaks to the others", lambda node=node: report(story, node)["share"], 60)


def test_passive_nodes_first(story):
    share_key(story)
    active = story.active()
    with story.load():
        name = fetch(story, active, "Lab.More:0:*:0badcafe0badcafe0badcafe")
        wait_for("every node uses it", lambda: all(
            report(story, node)["signatures"]["generation"] == name for node in story.home.names),
            600, 2)
    adopted = {node: generations(story, node)[name]["adopted"] for node in story.home.names}
    assert all(adopted[node] < adopted[active] for node in adopted if node != active), adopted
    assert story.active() == active
    story.audit()


def test_bad_one_stays_on_the_passive_nodes(story):
    share_key(story)
    active = story.active()
    before = report(story, active)["signatures"]["generation"]
    with story.load():
        name = fetch(story, active, "this is no signature")
        wait_for("the active node leaves it alone", lambda: "rejected it: " in (
            (report(story, active)["share"] or {}).get("why") or ""), 300, 2)
    row = generations(story, active)[name]
    assert row["state"] == "fetched" and row["trials"] == 0
    assert all(report(story, node)["signatures"]["generation"] == before
               for node in story.home.names)
    story.run(active, "sed", "-i", "$ d", UPDATES)
    story.audit()
