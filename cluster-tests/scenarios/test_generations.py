# SPDX-License-Identifier: GPL-2.0-only
"""New signatures go through the cluster: passive nodes first, the active one last, nobody waits."""

import contextlib
import os
import shutil
import signal
import subprocess
import time

import pytest

from lablib import faults
from lablib.base import wait_for
from lablib.node import LOCAL_SIZE, Node
from lablib.nodefiles import address
from lablib.rig import CLIENT
from memory import CONFIG
from rollout import FILE, ROUND, Rollout, SIZE, signatures

ENGINE = "postern-engine.service"
FAILED = [("postern", "monitor"), ("postern", "asyncmon")]


@pytest.fixture
def rollout(story):
    return Rollout(story)


def nothing_moved(story, active, pids, since):
    """Nor was there a moment at which another node was the better one."""
    assert story.serves() == active
    assert story.group_pids(active) == pids
    said = "".join(story.run(node, "journalctl", "-q", "-o", "cat", "-t", "pacemaker-attrd", "--since",
                             f"@{since:.0f}") for node in story.home.names)
    assert "postern-state" in said, "the log of the attributes is not the one that is read"
    assert "master-postern" not in said, "a score has changed: " + said


def agreed(story, rollout, name):
    """`postern cluster status` shows it on each node, with its age."""
    def all_have():
        told = [report["signatures"] for report in rollout.reports(story.active()).values()]
        return len(told) == len(rollout.nodes) and told
    told = wait_for("all nodes are on the page", all_have, 60, 1)
    assert {t["generation"] for t in told} == {name}, told
    assert all(abs(time.time() - t["date"]) < 3600 for t in told), told
    text = story.run_quietly(story.active(), "postern", "cluster", "status")
    assert name in text and "Updates" in text, text


def rolled(story, rollout, load):
    """One release, as the story goes on; nobody notices. Returns who had it in which order."""
    active = story.active()
    pids, begun = story.group_pids(active), time.time()
    name = rollout.publish()
    rollout.fetch(active, name)
    order = rollout.everywhere(name)
    story.tell(f"{name}: {' '.join(order)} in {time.time() - begun:.1f} s")
    assert order[-1] == active, f"the active node, {active}, was not the last one: {order}"
    load.flows()
    assert not load.refused(begun), load.refused(begun)[:3]
    nothing_moved(story, active, pids, begun)
    return name


@pytest.mark.core
def test_rolled_through_two_nodes(story, rollout):
    with story.load(rate=10) as load:
        name = rolled(story, rollout, load)
        agreed(story, rollout, name)
    story.audit()


def test_rolled_by_itself(story, rollout):
    """Nobody asks for it: the active node looks, and its peer takes it from there."""
    active = story.active()
    with story.load() as load:
        begun, name = time.time(), rollout.publish()
        order = rollout.everywhere(name, 3 * ROUND)
        story.tell(f"everywhere after {time.time() - begun:.0f} s")
        assert order[-1] == active
        assert not load.refused(begun), load.refused(begun)[:3]
    said = story.run(story.other(active), "journalctl", "-q", "-o", "cat", "-u", "postern-share",
                     "--since", f"@{begun:.0f}")
    assert f"{name} was taken from {active}" in said, said
    assert rollout.offer(story.other(active)) != name, "both have fetched"
    story.audit()


def test_the_active_node_waits(story, rollout, loading):
    """While its peer is in the middle of it; and says so."""
    active = story.active()
    passive = story.other(active)
    with story.load() as load:
        pids, begun, old = story.group_pids(active), time.time(), rollout.current(active)
        loading.hold(passive)
        name = rollout.publish()
        rollout.fetch(active, name)
        rollout.at(passive, "trying", name, lambda: None)

        def told():
            return rollout.reports(active).get(active, {}).get("share") or {}
        wait_for("the page says who is at it", lambda: told().get("turn") == "wait"
                 and f"{passive} goes first, and is in the middle of it" in told()["why"], 60, 0.5)
        load.flows(mails=20)
        assert rollout.current(active) == old and rollout.record(active, name)["trials"] == 0
        loading.release(passive)
        assert rollout.everywhere(name)[-1] == active
        nothing_moved(story, active, pids, begun)
    story.audit()


# From a private mirror

SIGNED = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "scanner", "e2e",
                      "freshclam")
MIRROR = f"{CLIENT}:8080"
SETTINGS = f"""
update_databases = {{ "test" }}  # of a mirror
update_mirrors = {{ "http://{MIRROR}" }}  # of a mirror
update_dns = "none"  # of a mirror
"""


@contextlib.contextmanager
def mirror(lab, folder, log):
    """Serves a folder where the clients are, and notes who asks."""
    with open(log, "w", encoding="ascii") as said, subprocess.Popen(
            ["setpriv", "--pdeathsig", "TERM", *lab.client_command(
                ["/usr/bin/python3", "-m", "http.server", "--directory", folder, "--bind",
                 *MIRROR.split(":")])], stdout=said, stderr=said) as server:
        try:
            yield
        finally:
            server.terminate()


def signed(folder, version):
    shutil.copy(f"{SIGNED}/test-{version}.cvd", f"{folder}/test.cvd")
    for n in range(2, version + 1):
        shutil.copy(f"{SIGNED}/test-{n}.cdiff", folder)


def trial_settings(story, *lines):
    """These alone on all nodes; a reload is enough for them."""
    for node in story.home.names:
        story.run(node, "sed", "-i", "/^trial_/d", CONFIG)
        for line in lines:
            story.run(node, "sed", "-i", f"$ a {line}", CONFIG)
        story.run(node, "systemctl", "reload", ENGINE)


def configure(story, *words):
    """Changes the configuration of the active node, and gives it to all. ($ a: before any d.)"""
    story.run(story.active(), *words, CONFIG)
    story.run(story.active(), "postern", "cluster", "push-config", "--yes")


@contextlib.contextmanager
def fetching_from(story, rollout, folder, log, *more):
    """All nodes are told of the mirror; in the end they are without it, and without what it gave."""
    active = story.active()
    lines = SETTINGS.strip().splitlines() + [f"{line}  # of a mirror" for line in more]
    with mirror(story.lab, folder, log):
        configure(story, "sed", "-i", "-e", "$ a " + "\\n".join(lines), "-e", "/^update_databases/d")
        yield
        configure(story, "sed", "-i", "-e", '$ a update_databases = { "none" }',
                  "-e", "$ a trial_shrink = 100", "-e", "/# of a mirror/d")
    name = rollout.publish()
    rollout.fetch(active, name)
    rollout.everywhere(name)
    configure(story, "sed", "-i", "/^trial_shrink/d")


def asked(log):
    """{address: what it has asked the mirror for}"""
    found = {}
    for line in log.read_text().splitlines():
        if "GET" in line:
            found.setdefault(line.split()[0], []).append(line.split('"')[1].split()[1])
    return found


def test_each_node_fetches_by_itself(story, rollout, tmp_path):
    """That is an option. (First of those from a mirror: what comes by differences is another file
    than what comes whole, and so another generation.)"""
    active, log, folder = story.active(), tmp_path / "mirror.log", tmp_path / "mirror"
    folder.mkdir()
    signed(folder, 1)
    with story.load() as load, fetching_from(story, rollout, folder, log, 'update_on = "every node"'):
        begun = time.time()
        wait_for("all nodes have asked the mirror", lambda: len(asked(log)) == len(rollout.nodes),
                 3 * ROUND, 0.5)
        story.tell(f"the mirror was asked: {asked(log)}")
        wait_for("all offer the same", lambda: len({rollout.offer(n) for n in rollout.nodes}) == 1
                 and "test.cvd" in [row["file"] for row in rollout.offered(active)["files"]],
                 ROUND, 0.2)
        name = rollout.offer(active)
        rollout.everywhere(name)
        assert not load.refused(begun), load.refused(begun)[:3]
    story.audit()


def test_signed_sets_from_a_mirror(story, rollout, tmp_path):
    """A CVD, then differences to it: one node asks for them, all have them."""
    active, log, folder = story.active(), tmp_path / "mirror.log", tmp_path / "mirror"
    folder.mkdir()
    with story.load() as load, fetching_from(story, rollout, folder, log):
        begun, names = time.time(), []
        for version in (1, 6):
            signed(folder, version)
            names.append(rollout.fetch_version(active, "test", version))
            assert rollout.everywhere(names[-1])[-1] == active
        assert names[0] != names[1]
        assert any(row["file"] == "test.cld" for row in rollout.manifest(active)["files"])
        story.tell(f"the mirror was asked: {asked(log)}")
        assert list(asked(log)) == [address(int(active[1:]))]
        got = asked(log)[address(int(active[1:]))]
        assert "/test-6.cdiff" in got
        assert not load.refused(begun), load.refused(begun)[:3]
    story.audit()


# What is bad on the passive node never reaches the active one

BAD = {
    "false-alarm": {"release.b.ndb": "Bad.Mail:0:*:" + b"see you on Tuesday".hex() + "\n"},
    "malformed": {"release.b.ndb": "Bad\n"},
    # A regular expression of 200^6 letters, all of which the loader would have in memory.
    "devouring": {"release.b.wdb": "X:.+" + "(" * 6 + "a" + "){1,200}" * 6 + ":.+:17-\n"},
    "endless": {"release.b.ldb": f"Bad.Deep;Engine:81-255,Target:0;{'(' * 16000}0{')' * 16000};"
                "deadbeef\n"},
}


def kept_away(story, rollout, name, old):
    """The active node knows that it was rejected, and has never loaded it. Returns why."""
    active = story.active()
    word = f"{story.other(active)} rejected it"

    def why():
        share = rollout.reports(active)[active].get("share") or {}
        return share.get("why") if word in (share.get("why") or "") else None
    # A trial ends by its processor time, and gets little of it where others want it, too.
    reason = wait_for(f"{active} has heard of it", why, 400, 1)
    story.tell(f"{active}: {reason}")
    record = rollout.record(active, name)
    assert (record["state"], record["trials"]) == ("fetched", 0), "the active node has tried it"
    assert {rollout.whole(node) for node in rollout.nodes} == {old}
    assert all(rollout.works_with(node, old) for node in rollout.nodes)
    return reason


@pytest.mark.parametrize("what", [pytest.param(what, marks=pytest.mark.core) if n == 0 else what
                                  for n, what in enumerate(BAD)])
def test_rejected_on_the_passive_node(story, rollout, what):
    active = story.active()
    with story.load(rate=10) as load:
        begun, old = time.time(), rollout.current(active)
        name = rollout.publish({FILE: signatures("bad", 2000), **BAD[what]})
        rollout.fetch(active, name)
        kept_away(story, rollout, name, old)
        assert not load.refused(begun), load.refused(begun)[:3]
        rolled(story, rollout, load)        # the next one is taken again
    story.audit()


def slow_to_load(lines=1500, parts=400):
    """Patterns that begin the same way, in one list that the loader walks: seconds of it."""
    return "".join("Bad.Slow:0:*:" + "*".join([f"616161{n:06x}"] * parts) + "\n"
                   for n in range(lines))


def test_the_loader_is_killed(story, rollout):
    """It takes more processor time than trial_load_time: its trial ends it."""
    active = story.active()
    with story.load(rate=10) as load:
        begun, old = time.time(), rollout.current(active)
        trial_settings(story, "trial_load_time = 1")
        name = rollout.publish({FILE: signatures("slow", 2000), "release.b.ndb": slow_to_load()})
        rollout.fetch(active, name)
        assert "within 1 s of processor time" in kept_away(story, rollout, name, old)
        assert not load.refused(begun), load.refused(begun)[:3]
        trial_settings(story)
        rolled(story, rollout, load)
    story.audit()


def nobody_else(rollout, active, name, old):
    assert rollout.current(active) == old and rollout.record(active, name)["trials"] == 0


def test_the_loader_crashes(story, rollout, loading):
    """libclamav of today loads or refuses whatever we know of: another program stands for a set that
    crashes it."""
    active = story.active()
    passive = story.other(active)
    with story.load(rate=10) as load:
        begun, old = time.time(), rollout.current(active)
        loading.crash(passive)
        name = rollout.publish()
        rollout.fetch(active, name)
        assert "loading crashes (signal " in kept_away(story, rollout, name, old)
        assert rollout.record(passive, name)["trials"] == 1
        loading.release(passive)
        assert not load.refused(begun), load.refused(begun)[:3]
        rolled(story, rollout, load)
    story.audit()


def test_the_loader_is_killed_from_outside(story, rollout, loading):
    """Somebody's mistake, or the kernel's choice: the second time it is the set's fault."""
    active = story.active()
    passive = story.other(active)
    with story.load(rate=10) as load:
        begun, old = time.time(), rollout.current(active)
        loading.hold(passive)
        name = rollout.publish()
        rollout.fetch(active, name)
        for trial in (1, 2):
            wait_for(f"trial {trial}", lambda n=trial: (rollout.record(passive, name) or {}).get(
                "trials") == n, 120, 0.01)
            loader = wait_for("it loads", lambda: faults.trials_zygote(Node(story.lab, passive)), 30,
                              0.05)
            nobody_else(rollout, active, name, old)
            os.kill(loader, signal.SIGKILL)
        assert "interrupted each time" in kept_away(story, rollout, name, old)
        assert "loading was killed" in rollout.record(passive, name)["reason"]
        loading.release(passive)
        assert not load.refused(begun), load.refused(begun)[:3]
        rolled(story, rollout, load)
    story.audit()


def test_the_passive_node_dies_of_it(story, rollout):
    """Its power goes whenever it tries them: after the second time nobody does any more."""
    active = story.active()
    passive = story.other(active)
    with story.load() as load:
        begun, old = time.time(), rollout.current(active)
        name = rollout.publish()
        rollout.fetch(active, name)
        for trial in (1, 2):
            wait_for(f"trial {trial}", lambda n=trial: (rollout.record(passive, name) or {}).get(
                "trials") == n, 120, 0.01)
            rollout.at(passive, "trying", name, lambda: story.fault("plug", passive))
            story.all_back()
            assert rollout.current(active) == old and rollout.record(active, name)["trials"] == 0
        assert "interrupted each time" in kept_away(story, rollout, name, old)
        assert not load.refused(begun), load.refused(begun)[:3]
        rolled(story, rollout, load)
    story.audit(fenced=[passive, passive])


# In the middle of an update something else happens

# whose event, which event, what happens, to whom
POINTS = {
    "fetch-update": ("active", "fetches", "kill-update", "active"),
    "take-plug": ("active", "takes", "plug", "active"),
    "receive-share": ("passive", "receives", "kill-share", "passive"),
    "give-share": ("passive", "receives", "kill-share", "active"),
    "received-plug": ("passive", "received", "plug", "passive"),
    "trying-engine": ("passive", "trying", "kill-engine", "passive"),
    "tried-standby": ("passive", "tried", "standby", "active"),
    "adopted-plug": ("passive", "adopted", "plug", "active"),
    "adopted-plug-passive": ("passive", "adopted", "plug", "passive"),
    "active-trying-posternd": ("active", "trying", "kill-posternd", "active"),
    "active-tried-engine": ("active", "tried", "kill-engine", "active"),
    "active-adopted-plug": ("active", "adopted", "plug", "active"),
}


CORE = ("tried-standby", "adopted-plug")


def happens(story, fault, node):
    if fault == "standby":
        story.crm("node", "standby", node)
    else:
        story.fault(fault, node)


@pytest.mark.parametrize("point", [pytest.param(point, marks=pytest.mark.core) if point in CORE
                                   else point for point in POINTS])
def test_in_the_middle_of_an_update(story, rollout, point):
    """Each node has one whole generation at every moment, and all the same in the end."""
    nodes = {"active": story.active(), "passive": story.other(story.active())}
    where, event, fault, whom = POINTS[point]
    victim = nodes[whom]
    with story.load() as load:
        old, name = rollout.current(victim), rollout.publish()
        fetching = begin_fetching(story, rollout, nodes["active"], event)
        begun = rollout.at(nodes[where], event, name, lambda: happens(story, fault, victim))
        assert {rollout.whole(node) for node in rollout.nodes} <= {old, name}
        story.tell(f"{fault} of {victim}, {nodes[where]} {event}: " + ", ".join(
            f"{n} {rollout.state(n, name) or 'without it'}" for n in rollout.nodes))
        ended(fetching)
        if fault == "plug":
            story.fenced(victim)
        story.serves()
        load.flows(since=begun)
        if fault == "standby":
            story.crm("node", "online", victim)
        story.all_back()
        rollout.everywhere(name)
        story.tell(f"all the same after {time.time() - begun:.0f} s")
        load.flows()
    story.tells(load, begun)
    story.audit(fenced=[victim] if fault == "plug" else [], failed=FAILED)


def begin_fetching(story, rollout, node, event):
    """postern-update itself looks within a minute; a person does not wait."""
    return None if event == "fetches" else subprocess.Popen(
        Node(story.lab, node).command(["postern", "signatures", "update"]),
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def ended(process):
    """It may have lost its node."""
    if process:
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


# When there is not enough of something

def test_disk_full_while_the_active_node_takes(story, rollout):
    """What was there scans on, nothing half written is ever loaded, and later it is taken."""
    active = story.active()
    with story.load() as load:
        pids, begun, old = story.group_pids(active), time.time(), rollout.current(active)
        space = os.statvfs(rollout.local(active))
        # The offer fits in; the copy does not, although the offer of before, which is smaller, goes.
        # Both leave 64 MB to others.
        faults.resize_local(Node(story.lab, active), (space.f_blocks - space.f_bfree)
                            * space.f_frsize + 2 * SIZE + (66 << 20))
        name = rollout.publish({FILE: signatures(f"{begun}", 2 * SIZE)})
        wait_for(f"{active} says that there is no room", lambda: "No space left" in story.run(
            active, "journalctl", "-q", "-o", "cat", "-u", ENGINE, "--since", f"@{begun:.0f}"),
            3 * ROUND, 0.5)
        assert rollout.state(active, name) is None
        assert {rollout.whole(node) for node in rollout.nodes} == {old}
        load.flows()
        faults.resize_local(Node(story.lab, active), LOCAL_SIZE)
        rollout.fetch(active, name)
        assert rollout.everywhere(name)[-1] == active
        nothing_moved(story, active, pids, begun)
        assert not load.refused(begun), load.refused(begun)[:3]
    story.audit()


@contextlib.contextmanager
def engines_with(story, line):
    """They read it when they start: one node after the other is on standby for a moment."""
    def renew():
        for node in (story.other(story.active()), story.active()):
            story.crm("node", "standby", node)
            story.serves(story.other(node))
            story.crm("node", "online", node)
            story.all_back()
    configure(story, "sed", "-i", f"$ a {line}")
    renew()
    yield
    configure(story, "sed", "-i", f"/^{line}$/d")
    renew()


def test_memory_for_one_on_the_active_node(story, rollout):
    """Nothing is killed for it: its peer goes first, and it follows when somebody moves the mail."""
    old = story.active()
    new = story.other(old)
    with story.load() as load:
        begun, before = time.time(), rollout.current(old)
        engine = story.main_pid(old, ENGINE)
        name = squeezed(story, rollout, old)
        wait_for(f"{old} says what it waits for", lambda: "waits for memory" in story.run_quietly(
            old, "postern", "signatures", "status"), 120, 0.5)
        load.flows(mails=20)
        assert rollout.works_with(old, before) and story.serves() == old
        assert not load.refused(begun), load.refused(begun)[:3]
        begun = story.crm("resource", "move", "mail", new)
        followed(story, rollout, load, name, begun)
        story.crm("resource", "clear", "mail")
        assert story.main_pid(old, ENGINE) == engine
        enough(story, old)
    story.tells(load, begun)
    story.audit()


def test_memory_for_one_and_the_mail_moves(story, rollout):
    """With adopt_move the cluster does that by itself, and does not move it back."""
    with story.load() as load, engines_with(story, 'adopt_move = "yes"'):
        old, begun = story.active(), time.time()
        engine = story.main_pid(old, ENGINE)
        name = squeezed(story, rollout, old)
        followed(story, rollout, load, name, begun)
        assert story.main_pid(old, ENGINE) == engine
        assert story.moves(begun) == [story.other(old)], story.moves(begun)
        times = [begun] + [t for t in load.accepted() if t > begun]
        story.tell(f"longest silence {max(b - a for a, b in zip(times, times[1:])):.1f} s")
        enough(story, old)
    story.audit()


def squeezed(story, rollout, node):
    """New signatures, which the active node has no memory for; its peer has them."""
    used = int(story.run(node, "systemctl", "show", "-P", "MemoryCurrent", ENGINE))
    limit(story, node, used + (100 << 20))
    name = rollout.publish()
    rollout.fetch(node, name)
    other = story.other(node)
    wait_for(f"{other} works with it", lambda: rollout.works_with(other, name), 120, 0.1)
    return name


def followed(story, rollout, load, name, begun):
    """The mail has moved to who has them, and stays; so the other one has them, too."""
    new = story.serves(next(n for n in rollout.nodes if rollout.works_with(n, name)))
    load.flows(since=begun)
    rollout.everywhere(name)
    story.all_back()
    assert story.serves() == new


def limit(story, node, size):
    story.run(node, "systemctl", "set-property", "--runtime", ENGINE, f"MemoryMax={size}")


def enough(story, node):
    limit(story, node, "infinity")
