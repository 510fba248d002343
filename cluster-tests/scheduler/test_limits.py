# SPDX-License-Identifier: GPL-2.0-only
"""How much stickiness and how many location points leave readiness in charge.

READY - PLOST has to exceed 2 x (the members' stickiness + points of the group) + points of the
clone: `postern cluster setup` refuses the rest, so the number has to be the scheduler's own.
"""

import pytest

from sim import MEMBERS, PLOST, READY

MARGIN = READY - PLOST


def leaves(cluster):
    """Whether a lost engine still moves the group to a ready peer."""
    plan = cluster.scores(PLOST, READY, *[None] * (len(cluster.names) - 2)).plan()
    assert plan.mail == plan.promoted
    return plan.promoted == "n2"


# The highest stickiness per member that readiness still wins against.
HIGHEST = (MARGIN - 1) // (2 * len(MEMBERS))


@pytest.mark.parametrize("nodes", [2, 3])
def test_stickiness(make, nodes):
    assert leaves(make(nodes=nodes, stickiness=HIGHEST))
    assert not leaves(make(nodes=nodes, stickiness=HIGHEST + 1))


def test_infinity_never_leaves(make):
    assert not leaves(make(stickiness="INFINITY"))


@pytest.mark.parametrize("who, factor", [("mail", 2), ("fs", 2), ("dovecot", 2),
                                         ("scanner-clone", 1)])
def test_location(make, who, factor):
    """Points of the group or of any member count twice, those of the clone once."""
    for points, expected in (((MARGIN - 1) // factor, True), (-(-MARGIN // factor), False)):
        cluster = make(stickiness=0)
        cluster.add("constraints", f'<rsc_location id="prefer" rsc="{who}" node="n1" '
                                   f'score="{points}"/>')
        assert leaves(cluster) == expected, f"{who} {points}"


def test_they_add_up(make):
    stickiness = 1000
    points = (MARGIN - 1) // 2 - stickiness * len(MEMBERS)
    for more, expected in ((0, True), (1, False)):
        cluster = make(stickiness=stickiness)
        cluster.prefers("n1", points + more)
        assert leaves(cluster) == expected


def test_a_member_of_its_own_stickiness(make):
    """One sticky member is enough; the sum counts, not the defaults."""
    cluster = make(stickiness=0)
    member = cluster.tree.find(".//primitive[@id='dovecot']")
    member.append(member.makeelement("meta_attributes", {"id": "dovecot-meta"}))
    pair = {"id": "dovecot-stickiness", "name": "resource-stickiness", "value": str(MARGIN // 2)}
    member[-1].append(member.makeelement("nvpair", pair))
    cluster.save()
    assert not leaves(cluster)
    member[-1][0].set("value", str((MARGIN - 1) // 2))
    cluster.save()
    assert leaves(cluster)


def test_ties_keep_the_holder(make):
    """Two ready nodes, no stickiness: nothing moves, whoever was promoted."""
    cluster = make(stickiness=0)
    assert cluster.scores(READY, READY).plan().quiet
    assert cluster.scores(PLOST, PLOST).plan().quiet
