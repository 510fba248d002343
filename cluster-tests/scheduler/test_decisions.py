# SPDX-License-Identifier: GPL-2.0-only
"""Who is promoted, and what is touched on the way, for what Postern publishes."""

import pytest

from sim import LOAD, MEMBERS, PLOST, READY

# On the promoted node: READY also while it loads for the first time (score.h keeps it high).
HOLDER = {"ready or first load": READY, "lost or broken": PLOST}
PEER = {"ready": READY, "loading": LOAD, "stopped": None}
STICKINESS = (0, 1, 100, 1000)
PREFERENCES = (None, ("n1", 1000), ("n2", 1000))


def moves(holder, peer, stickiness, prefers):
    """The arithmetic that ocf_postern_scanner(7) states: the group's points count twice."""
    points = stickiness * len(MEMBERS)
    if prefers:
        points += prefers[1] if prefers[0] == "n1" else -prefers[1]
    return peer is not None and peer - holder > 2 * points


@pytest.mark.parametrize("stickiness", STICKINESS)
@pytest.mark.parametrize("prefers", PREFERENCES, ids=str)
def test_table(make, stickiness, prefers):
    cluster = make(stickiness=stickiness)
    if prefers:
        cluster.prefers(*prefers)
    for holder_is, holder in HOLDER.items():
        for peer_is, peer in PEER.items():
            plan = cluster.scores(holder, peer).plan()
            case = f"holder {holder_is}, peer {peer_is}"
            expected = "n2" if moves(holder, peer, stickiness, prefers) else "n1"
            assert (plan.promoted, plan.mail) == (expected, expected), case
            assert expected == "n2" or plan.quiet, f"{case}: {plan.steps}"


def test_what_moves_and_in_which_order(make):
    """A lost engine: the group goes whole; the scanners are demoted and promoted, not stopped."""
    steps = make().scores(PLOST, READY).plan()
    assert steps.of("scanner") == [("demote", "n1"), ("promote", "n2")]
    assert steps.moves == sorted(MEMBERS)
    row = [(name, op) for name, op, _ in steps.steps]
    for first, then in ((("postfix", "stop"), ("fs", "stop")),
                        (("scanner", "demote"), ("fs", "stop")),
                        (("fs", "start"), ("scanner", "promote")),
                        (("scanner", "promote"), ("postfix", "start"))):
        assert row.index(first) < row.index(then), f"{first} before {then}: {row}"


@pytest.mark.parametrize("nodes", [2, 3])
def test_cold_boot_in_any_order(make, tmp_path, nodes):
    """The group starts without waiting for signatures; who is ready first takes nothing away."""
    from sim import Sim
    cluster = Sim(str(tmp_path), nodes=nodes)
    assert cluster.plan().mail is None, "without a score nobody may be promoted"
    first = cluster.scores(*[LOAD] * nodes).settle()
    holder = first.promoted
    assert first.mail == holder is not None
    for other in cluster.names:
        cluster.attribute(holder, "master-scanner", READY)      # kept high while it loads
        if other != holder:
            cluster.attribute(other, "master-scanner", READY)
            assert cluster.plan().quiet


@pytest.mark.parametrize("nodes", [2, 3])
def test_nobody_is_ready(make, nodes):
    """Broken signatures everywhere: the mail server runs on; the first that is mended gets it."""
    cluster = make(nodes=nodes)
    cluster.scores(PLOST, *[LOAD] * (nodes - 1))
    assert cluster.plan().quiet
    last = cluster.names[-1]
    cluster.attribute(last, "master-scanner", READY)
    assert cluster.settle().promoted == last
    cluster.attribute("n1", "master-scanner", READY)
    assert cluster.plan().quiet, "nothing returns"


@pytest.mark.parametrize("warm", ["n2", "n3"])
@pytest.mark.parametrize("event", ["lost", "died", "standby"])
def test_goes_to_the_ready_one_of_two(make, warm, event):
    cluster = make(nodes=3)
    cold = "n2" if warm == "n3" else "n3"
    cluster.attribute(cold, "master-scanner", LOAD)
    events = []
    if event == "lost":
        cluster.attribute("n1", "master-scanner", PLOST)
    elif event == "standby":
        cluster.node_attribute("n1", "standby", "on")
    else:
        events = ["-f", "n1"]
    plan = cluster.plan(*events)
    assert plan.promoted == plan.mail == warm
    assert (("n1", "fence", None, None) in plan.actions) == (event == "died")


def test_node_death_with_a_cold_peer(make):
    """The peer takes over at once and answers 451 until it is ready."""
    plan = make().scores(READY, LOAD).plan("-f", "n1")
    assert plan.promoted == plan.mail == "n2"


def test_second_death_leaves_one_without_quorum(make):
    cluster = make(nodes=3)
    cluster.settle("-f", "n1")
    plan = cluster.plan("-f", "n2", "-q", "false")
    assert not [step for step in plan.steps if step[1] in ("start", "promote")], plan.steps


def test_standby_keeps_the_engine_of_the_other(make):
    cluster = make()
    cluster.node_attribute("n1", "standby", "on")
    plan = cluster.plan()
    assert plan.mail == plan.promoted == "n2"
    assert plan.of("scanner") == [("demote", "n1"), ("promote", "n2"), ("stop", "n1")] or \
        ("start", "n2") not in plan.of("scanner")


@pytest.mark.parametrize("peer", [READY, LOAD])
def test_move_is_whole(make, peer):
    """The administrator's move goes through, whoever is ready; scanner and group stay one."""
    cluster = make().scores(READY, peer)
    cluster.prefers("n2", "INFINITY")
    plan = cluster.settle()
    assert plan.mail == plan.promoted == "n2"


def test_move_with_require_ready(make):
    """A rule on the score, for those who would rather wait (postern cluster wait)."""
    cluster = make().scores(READY, LOAD)
    cluster.add("constraints", f"""
        <rsc_location id="ready" rsc="scanner-clone"><rule id="ready-rule" score="-INFINITY"
            role="Promoted"><expression id="ready-expression" attribute="master-scanner"
            operation="lt" value="{READY}" type="integer"/></rule></rsc_location>""")
    cluster.prefers("n2", "INFINITY")
    assert cluster.plan().mail == "n1"
    cluster.attribute("n2", "master-scanner", READY)
    assert cluster.plan().mail == cluster.plan().promoted == "n2"


# What fails

def failure(resource, node, interval=10000, rc=1):
    return "-i", f"{resource}_monitor_{interval}@{node}={rc}"


def test_failed_engine_of_the_passive(make):
    """Its instance alone is restarted; no mail is refused."""
    plan = make().plan(*failure("scanner", "n2"))
    assert plan.moves == [] and {node for _, node in plan.of("scanner")} == {"n2"}
    assert plan.mail == "n1"


def test_failed_scanner_recovers_without_the_mail_server(make):
    """No ready peer: recovered in place, and neither Postfix nor Dovecot restarts."""
    plan = make().scores(READY, LOAD).plan(*failure("scanner", "n1", 7000))
    assert [op for op, _ in plan.of("scanner")] == ["demote", "stop", "start", "promote"]
    assert plan.moves == []


def test_failed_scanner_with_the_usual_order_would_restart_it(make):
    """Why that order is optional: this is the double of the test above."""
    cluster = make().scores(READY, LOAD)
    order = cluster.find("constraints/rsc_order[@id='scanner-then-postfix']")
    order.set("kind", "Mandatory")
    cluster.save()
    plan = cluster.plan(*failure("scanner", "n1", 7000))
    assert plan.moves == ["dovecot", "postfix"]


def test_failed_postfix(make):
    """Below the threshold in place; at the threshold all moves together."""
    cluster = make()
    plan = cluster.plan(*failure("postfix", "n1"))
    assert plan.moves == ["dovecot", "postfix"] and not plan.of("scanner")
    cluster.value("default-threshold", 1)
    cluster.save()
    plan = cluster.plan(*failure("postfix", "n1"))
    assert plan.mail == plan.promoted == "n2"


def test_file_system_that_is_mended_in_place(make):
    """The scheduler knows no restart of a promotion: it stops the file system under a promoted
    scanner and says promote again. So Filesystem's stop ends posternd, and promote of what is
    promoted already has to start it anew."""
    plan = make().plan(*failure("fs", "n1"))
    assert plan.of("scanner") == [("promote", "n1")]
    row = [(name, op) for name, op, _ in plan.steps]
    assert row.index(("fs", "start")) < row.index(("scanner", "promote")) \
        < row.index(("postfix", "start"))
    assert plan.mail == plan.promoted == "n1"


def test_file_system_that_fails_too_often_moves(make):
    """Then there is a demotion, before the file system is stopped."""
    cluster = make()
    cluster.value("default-threshold", 1)
    cluster.save()
    plan = cluster.plan(*failure("fs", "n1"))
    row = [(name, op) for name, op, _ in plan.steps]
    assert row.index(("scanner", "demote")) < row.index(("fs", "stop"))
    assert plan.mail == plan.promoted == "n2"


def test_stop_that_fails_fences(make):
    """demote and stop answer with an error when a process is left: the node has to go."""
    cluster = make().scores(PLOST, READY)
    plan = cluster.settle("-F", "scanner_demote_0@n1=1")
    assert plan.mail == plan.promoted == "n2"
    cluster = make().scores(PLOST, READY)
    cluster.node_attribute("n1", "standby", "on")
    cluster.simulate("-F", "scanner_stop_0@n1=1", "-X")
    assert ("n1", "fence", None, None) in cluster.plan().actions


def test_maintenance(make):
    cluster = make().scores(PLOST, READY)
    cluster.option("maintenance-mode", "true")
    assert cluster.plan().quiet


@pytest.mark.parametrize("peer", ["green", "red"])
def test_health(make, peer):
    """A red node loses the group and keeps its warm engine; red on both moves nothing."""
    cluster = make()
    cluster.option("node-health-strategy", "migrate-on-red")
    cluster.attribute("n1", "#health-postern", "red")
    cluster.attribute("n2", "#health-postern", peer)
    plan = cluster.plan()
    if peer == "green":
        assert plan.mail == plan.promoted == "n2"
        assert ("stop", "n1") not in plan.of("scanner"), "the engine that could report green"
    else:
        assert ("stop", "n1") not in plan.of("scanner")


def test_colocation_the_other_way_round_ignores_readiness(make):
    """Why the mail follows the scanner: otherwise a node that cannot scan keeps it."""
    cluster = make().scores(PLOST, READY)
    rule = cluster.find("constraints/rsc_colocation")
    for name in list(rule.attrib):
        del rule.attrib[name]
    rule.attrib.update(id="turned", rsc="scanner-clone", score="INFINITY")
    rule.set("rsc-role", "Promoted")
    rule.set("with-rsc", "mail")
    cluster.save()
    assert cluster.plan().promoted == "n1"
    assert make().scores(PLOST, READY).plan().promoted == "n2"


def test_the_configuration_is_valid(make):
    assert make().verify() == ""


def test_recovery_in_place_keeps_the_group(make):
    """Between stop and start the scanner keeps a score; without one the group would stop, too."""
    cluster = make()
    cluster.node_attribute("n2", "standby", "on")
    cluster.settle()
    stopped = ("-i", "scanner_stop_0@n1=0")
    cluster.attribute("n1", "master-scanner", LOAD)
    assert {name for name, _, _ in cluster.plan(*stopped).steps} == {"scanner"}
    cluster.attribute("n1", "master-scanner", None)
    assert ("postfix", "stop", "n1") in cluster.plan(*stopped).steps
