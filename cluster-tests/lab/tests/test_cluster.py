# SPDX-License-Identifier: GPL-2.0-only
"""What the nodes tell of fencing, put together."""

from lablib import cluster

SAID = """<pacemaker-result><fence_history>
<fence_event action="reboot" target="n1" status="success" completed="1970-01-01 00:01:40Z"/>
<fence_event action="reboot" target="n2" status="failed" completed="1970-01-01 00:02:00Z"/>
<fence_event action="reboot" target="n3" status="pending"/>
</fence_history></pacemaker-result>"""


def test_what_a_node_says():
    assert cluster.View(SAID, "n1").shots() == [("n1", 100.0)]


def test_one_shot_with_two_moments():
    assert cluster.each_once([("n1", 100), ("n2", 100), ("n1", 101)]) == [("n1", 100), ("n2", 100)]


def test_two_shots():
    assert cluster.each_once([("n1", 130), ("n1", 100)]) == [("n1", 100), ("n1", 130)]
