# SPDX-License-Identifier: GPL-2.0-only
"""The engine of a node in a cluster: it takes what postern-share brought, and goes when it is its
turn. What the other nodes do is written by hand, as postern-share writes it."""
import json
import os
import pathlib
import signal
import sys
import time

import pytest

import instance
from test_trial import GOOD, LARGE, MORE, NOBODY, Node, WELL, needs_root, stopped_trial

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "engine"))
from generations import Store

wait_for = instance.wait_for


class Member(Node):
    """A node called n1, of two."""

    def __init__(self, mode, **settings):
        super().__init__(mode, **settings)
        (self.dir / "share/state").mkdir(mode=0o755, parents=True)
        (self.dir / "peers.json").write_text("{}")
        self.write(share_dir=self.dir / "share", share_peers=self.dir / "peers.json",
                   share_interval=30, **settings)
        self.role("standby")

    def command(self):
        return [*super().command(), "--role", str(self.dir / "role")]

    def role(self, stage):
        self.put("role", f"[postern]\nnode=n1\nstage={stage}\n")

    def put(self, name, text):
        new = self.dir / f"{name}.new"
        new.write_text(text)
        new.rename(self.dir / name)

    def told(self, name, state, **more):
        """What postern-share knows of n2, which was given NAME; that one gives since long ago."""
        now = time.clock_gettime(time.CLOCK_BOOTTIME)
        given = int(now) - more.get("seconds", 0)
        loaded = name if more.get("confirmed") else None
        self.put("share/state/status.json", json.dumps(
            {"version": 1, "self": "n1", "role": "gives", "from": None, "gives": name,
             "given": given, "held": given, "error": None, "boot": int(time.time() - now),
             "since": int(now) - 1000, "at": int(now), "nodes": [
                 {"name": "n2", "silent": 0, "adopted": loaded, "confirmed": more.get("confirmed"),
                  "state": {"engine": "ready", "loaded": loaded, "pinned": None,
                            "given": {"name": name, "state": state,
                                      "reason": more.get("reason")}}}]}))

    def made(self, contents):
        """A generation that nobody knows of; its name."""
        folder = self.dir / "made"
        folder.mkdir(mode=0o755)
        name = Store(folder).put(contents)
        for path in [folder / name, *(folder / name).iterdir()]:
            if os.geteuid() == 0:
                os.chown(path, NOBODY, NOBODY)
        return name

    def give(self, name):
        """postern-share has brought it."""
        (self.dir / "made" / name).rename(self.dir / "share/offer")

    def trial(self):
        return self.status()["trial"]

    def adopted_state(self):
        return (self.status()["adoption"] or {}).get("phase")

    def held(self, name, word):
        """The trial of it waits for WORD."""
        wait_for(lambda: self.trial()["state"] == "held" and word in self.trial()["reason"],
                 f"{word}, not {self.trial()}")
        record = self.record(name)
        assert (record["state"], record["trials"]) == ("fetched", 0)
        assert f"{name}: held since" in self.postern("status").stdout


@pytest.fixture
def member():
    made = []

    def make(mode="caps" if os.geteuid() == 0 else "user", **settings):
        made.append(Member(mode, **settings))
        return made[-1]

    yield make
    for one in made:
        print(one.log_text())
        one.stop()


def test_what_was_given_is_adopted(member):
    """On a passive node at once, and nobody asks for it."""
    one = member()
    one.begin()
    name = one.made({"a.ndb": MORE})
    one.give(name)
    one.wait(name, "adopted")
    wait_for(lambda: one.status()["generation"] == name, "the new signatures")


def test_what_was_given_is_not_what_it_says(member):
    """It is said once, and what postern-update offers is taken all the same."""
    one = member()
    one.begin()
    bad = one.made({"a.ndb": MORE, "b.ndb": GOOD})
    (one.dir / "made" / bad / "b.ndb").write_text(MORE)
    one.give(bad)
    wait_for(lambda: "-share offers is not taken" in one.log_text(), "a word")
    assert one.outcome(one.offer({"a.ndb": MORE}))["state"] in WELL
    assert one.log_text().count("-share offers is not taken") == 1
    assert one.record(bad)["state"] is None


def test_the_active_node_goes_last(member):
    one = member()
    one.begin()
    one.role("serving")
    name = one.offer({"a.ndb": MORE})
    one.held(name, "postern-share does not run here")
    one.told(name, "none")
    one.held(name, "n2 goes first: there it is not known yet")
    one.told(name, "trying")
    one.held(name, "n2 goes first, and is in the middle of it")
    one.told(name, "adopted", confirmed=name)
    one.wait(name, "adopted")


@pytest.mark.parametrize("state", ["rejected", "trying"])
def test_what_another_node_says(member, state):
    """It holds new signatures back, and rejects nothing here: that node may have been taken over.
    Then this node's own trial decides."""
    one = member()
    first = one.begin()
    one.role("serving")
    name = one.offer({"a.ndb": MORE})
    one.told(name, state, reason="it crashed")
    word = {"rejected": "n2 rejected it: it crashed",
            "trying": "n2 goes first, and is in the"}[state]
    one.held(name, word)
    assert os.readlink(one.dir / "signatures/current") == first
    one.told(name, state, reason="it crashed", seconds=90000)
    one.wait(name, "adopted")
    assert one.record(name)["trials"] == 1


def test_an_administrator_need_not_wait(member):
    one = member()
    one.begin()
    one.role("serving")
    name = one.offer({"a.ndb": MORE})
    one.told(name, "none")
    one.held(name, "n2 goes first")
    assert one.postern("adopt", name).returncode == 0
    assert one.status()["generation"] == name


@needs_root
def test_active_in_the_middle_of_it(member):
    """It was tried as a passive node: adopted when the others are."""
    one = member()
    first = one.begin()
    name = one.offer(LARGE)
    pid = stopped_trial(one, name)
    one.role("serving")
    one.told(name, "fetched")
    os.kill(pid, signal.SIGCONT)
    one.wait(name, "tried")
    wait_for(lambda: one.adopted_state() == "hold", "the wait")
    assert os.readlink(one.dir / "signatures/current") == first
    assert "n2 goes first: there it is fetched" in one.postern("status").stdout
    one.told(name, "rejected", reason="it crashed")
    wait_for(lambda: "n2 rejected it: it crashed" in one.postern("status").stdout,
             "that it is told")
    assert one.record(name)["state"] == "tried" and one.adopted_state() == "hold"
    one.told(name, "adopted", confirmed=name)
    one.wait(name, "adopted")
