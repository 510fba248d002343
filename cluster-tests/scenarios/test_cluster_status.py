# SPDX-License-Identifier: GPL-2.0-only
"""`postern cluster status` and `push-config`: what differs is seen, and mended, while mail flows."""

import json

import pytest

from lablib.base import LabError, wait_for
from lablib.node import Node
from memory import CONFIG

LAB = {"nodes": 3}


def page(story, node):
    """What a node's page says; its exit status is held against its verdict."""
    done = Node(story.lab, node).run("sh", "-c", "postern cluster status --json; echo $? >&2")
    told = json.loads(done.stdout)
    codes = {"healthy": "0", "degraded": "1", "unknown": "2"}
    assert done.stderr.split()[-1] == codes[told["verdict"]], told["findings"]
    return told


def healthy(story, node):
    wait_for("the page says healthy", lambda: page(story, node)["verdict"] == "healthy", 90, 1)


def findings(told, where):
    return [f["what"] for f in told["findings"] if f["where"] == where]


def test_all_nodes_on_one_page(story):
    active = story.active()
    for node in story.home.names:
        told = page(story, node)
        assert told["verdict"] == "healthy", (told["findings"], told["differences"])
        assert {n["name"]: n["role"] for n in told["nodes"]} == {
            n: "Promoted" if n == active else "Unpromoted" for n in story.home.names}
        for one in told["nodes"]:
            assert one["score"] == 100000 and one["state"].startswith("ready")
            assert one["report"]["users"] == told["nodes"][0]["report"]["users"]
            assert one["report"]["postfix"][0]["milter"] == "enabled"
        served = next(n for n in told["nodes"] if n["name"] == active)["report"]
        assert served["service"]["ready"] and served["quarantine"]["entries"] >= 0
        assert served["postfix"][0]["master_pid"] > 0
    text = story.run(active, "postern", "cluster", "status")
    assert "\033" not in text and "Promoted" in text and text.splitlines()[-1].endswith("healthy")
    story.audit()


def test_push_config(story):
    """A configuration that differs is marked; pushed, the posternd that runs has read it."""
    active = story.active()
    other = story.other(active)
    daemon = story.main_pid(active, "posternd.service")
    before = story.run(active, "cat", CONFIG)
    with story.load():
        story.run(other, "sh", "-c", f"echo 'on_encrypted = \"tempfail\"' >> {CONFIG}")
        told = page(story, active)
        assert told["verdict"] == "degraded"
        assert [d["what"] for d in told["differences"]] == ["configuration"]
        assert "configuration: " in story.run(active, "sh", "-c", "postern cluster status || true")
        shown = story.run(other, "postern", "cluster", "push-config", "--dry-run")
        assert '+on_encrypted = "tempfail"' in shown and "Nothing was changed" in shown
        assert story.run(active, "cat", CONFIG) == before
        story.run(other, "postern", "cluster", "push-config", "--yes")
        story.said(active, "configuration: on_encrypted = tempfail")
        healthy(story, active)
        assert story.run(active, "cat", CONFIG) == story.run(other, "cat", CONFIG) != before
        refuse_bad(story, active, other)
        story.run(active, "sh", "-c", f"sed -i /on_encrypted/d {CONFIG}")
        story.run(active, "postern", "cluster", "push-config", "--yes")
        healthy(story, other)
    assert story.run(other, "cat", CONFIG) == before
    assert story.main_pid(active, "posternd.service") == daemon
    story.audit()


def refuse_bad(story, active, other):
    """A node on which it cannot be put in place keeps all others from it."""
    good = story.run(active, "cat", CONFIG)
    story.run(other, "sh", "-c", f"echo 'workers = 3' >> {CONFIG}")
    third = next(n for n in story.home.names if n not in (active, other))
    # What is mounted cannot be renamed over.
    story.run(third, "mount", "--bind", CONFIG, CONFIG)
    try:
        with pytest.raises(LabError, match=third):
            story.run(other, "postern", "cluster", "push-config", "--yes")
    finally:
        story.run(third, "umount", CONFIG)
    assert story.run(active, "cat", CONFIG) == good
    assert story.run(third, "cat", CONFIG) == good
    assert story.run(active, "sh", "-c", "ls -A /etc/postern | grep -c '^[.]' || true") == "0"
    story.run(other, "sh", "-c", f"sed -i '/^workers = 3/d' {CONFIG}")


def test_without_ssh(story):
    """The page then has what the cluster knows, and says what it does not know."""
    active = story.active()
    other = story.other(active)
    story.run(other, "systemctl", "stop", "ssh.service")
    try:
        told = page(story, active)
        assert told["verdict"] == "unknown"
        assert "ssh as root does not work" in " ".join(findings(told, other))
        blind = next(n for n in told["nodes"] if n["name"] == other)
        assert blind["report"] is None and blind["score"] == 100000
    finally:
        story.run(other, "systemctl", "start", "ssh.service")
    healthy(story, active)
    story.audit()


def test_a_node_down_and_an_order_deleted(story):
    active = story.active()
    other = story.other(active)
    order = json.loads(story.run(active, "python3", "-c", FIND_ORDER))
    story.run(active, "pcs", "constraint", "remove", order)
    told = page(story, active)
    assert told["verdict"] == "degraded"
    assert any("no order names its promotion first" in f["what"] for f in told["findings"])
    clone = told["resource"]
    story.run(active, "pcs", "constraint", "order", "promote", clone, "then", "start", "postfix",
              "kind=Optional")
    healthy(story, active)
    with story.load():
        story.fault("plug", other)
        wait_for("the page shows that the node is down", lambda: any(
            "offline" in what or "lost" in what for what in findings(page(story, active), other)),
            60, 0.3)
        story.all_back()
        healthy(story, active)
    story.audit(fenced=[other])


def test_milter_enabled_nowhere_but_here(story):
    """A passive node whose Postfix lost its milter would let mail pass after a failover."""
    active = story.active()
    other = story.other(active)
    pids = story.group_pids(active)
    story.run(other, "postern", "cluster", "node", "milter", "disable", "--yes")
    told = page(story, active)
    assert told["verdict"] == "degraded"
    assert any("mail passes unscanned" in what for what in findings(told, other))
    assert any("milter enable /etc/postfix`" in (f.get("todo") or "") for f in told["findings"])
    story.run(other, "postern", "cluster", "node", "milter", "enable", "--yes")
    healthy(story, active)
    assert story.run(other, "postconf", "-h", "smtpd_milters", "non_smtpd_milters") \
        == story.run(active, "postconf", "-h", "smtpd_milters", "non_smtpd_milters")
    assert story.group_pids(active) == pids
    story.audit()


FIND_ORDER = """
import json, subprocess, xml.etree.ElementTree as E
tree = E.fromstring(subprocess.check_output(['cibadmin', '--query']))
print(json.dumps(next(o.get('id') for o in tree.iter('rsc_order')
                      if o.get('first-action') == 'promote')))
"""
