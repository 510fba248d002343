#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""What is in use is damaged on the disk, or cannot be loaded: what takes its place; on the real engine.

    /usr/bin/python3 -m pytest scanner/engine/test-broken.py
"""
import os
import pathlib
import signal
import sys
import time

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "worker"))
from chain import NOBODY
from chain import own  # fixture
from daemon import NEW, OLD, ROOT, slow, stop_next, wait_for, zygotes
from daemon import site  # fixture
from generations import Store


def test_broken_current_gives_way(own):
    """What cannot be loaded at all is followed by what was tried."""
    engine = own(signatures=False, start=False)
    store = Store(engine.dir / "signatures", NOBODY if ROOT and engine.mode != "root" else None)
    store.adopt(store.put({"bad.ndb": "nonsense\n"}, "adopted", time.time() - 100))
    engine.start()
    engine.wait_state("failed")
    new = store.put(NEW)
    engine.wait_state("ready")
    assert store.current() == new and engine.status()["generation"] == new


@pytest.mark.parametrize("damage", ["shorter", "gone", "longer"])
def test_damaged_current_gives_way(own, damage):
    """Lines that are missing would be missed by nobody: libclamav loads what there is."""
    engine = own(signatures=False, start=False)
    store = Store(engine.dir / "signatures", NOBODY if ROOT and engine.mode != "root" else None)
    old = store.put({"a.ndb": OLD["a.ndb"], "b.ndb": OLD["a.ndb"] + NEW["b.ndb"]}, "adopted",
                    time.time() - 100)
    store.adopt(old)
    path = store.path / old / "b.ndb"
    if damage == "gone":
        path.unlink()
    else:
        path.write_text(OLD["a.ndb"] if damage == "shorter" else path.read_text() + OLD["a.ndb"])
    engine.start()
    engine.wait_state("failed")
    assert f"{old}/b.ndb" in engine.status()["error"]
    new = store.put(NEW)
    engine.wait_state("ready")
    assert store.current() == new and engine.status()["generation"] == new


def tree(own, *sets):
    """An engine that is not started, its store, and the names of SETS that it used, oldest first; the
    last one is current."""
    engine = own(signatures=False, start=False)
    store = Store(engine.dir / "signatures", NOBODY if ROOT and engine.mode != "root" else None)
    names = [store.put(files, "adopted", time.time() - 1000 + n) for n, files in enumerate(sets)]
    store.adopt(names[-1])
    return engine, store, names


def spoil(path):
    """As long as before, and a set of signatures still: only its hash tells."""
    text = path.read_text()
    path.write_text(text.replace("Test.", "Tost."))
    assert path.read_text() != text


THIRD = {"c.ndb": OLD["a.ndb"] + NEW["b.ndb"]}


def test_the_generation_before_takes_its_place(own):
    """The newest that is whole; what is damaged can be fetched again."""
    engine, store, (first, second, third) = tree(own, OLD, NEW, THIRD)
    spoil(store.path / third / "c.ndb")
    spoil(store.path / second / "b.ndb")
    engine.start()
    engine.wait_state("ready")
    assert engine.status()["generation"] == first == store.current()
    failed = engine.status()["adoption_failed"]
    assert failed["generation"] == third and f"{third}/c.ndb" in failed["error"]
    log = engine.log_text()
    assert f"{first} takes its place" in log and "engine: FAILED" not in log
    assert log.count("signatures loaded in") == 1
    assert not (store.path / third).exists()
    assert store.put(THIRD, "tried", time.time() - 500) == third
    wait_for(lambda: engine.status()["generation"] == third, "its adoption")
    assert engine.status()["adoption_failed"] is None


def test_what_is_whole_and_cannot_be_loaded_is_rejected(own):
    engine, store, (first, second) = tree(own, OLD, {"bad.ndb": "nonsense\n"})
    engine.start()
    engine.wait_state("ready")
    assert engine.status()["generation"] == first == store.current()
    state, reason = store.state(second)
    assert state == "rejected" and "bad.ndb" in reason


def test_pinned_is_what_cannot_be_loaded(own):
    """No scanning would be worse than what nobody pinned; the pin is not forgotten."""
    engine, store, (first, second) = tree(own, OLD, NEW)
    (store.path / "pinned").symlink_to(second)
    spoil(store.path / second / "b.ndb")
    engine.start()
    engine.wait_state("ready")
    assert engine.status()["generation"] == first == store.current()
    assert (store.path / "pinned").is_symlink()


def test_a_record_that_cannot_be_written(own):
    """As on a full disk: `current` is the truth, and what it leads to serves."""
    engine, store, (first, second) = tree(own, OLD, NEW)
    spoil(store.path / second / "b.ndb")
    if not ROOT or engine.mode == "root":
        pytest.skip("needs root, and an engine that is not")
    for path in (store.path / "records", *(store.path / "records").iterdir()):
        os.chown(path, 0, 0)
    (store.path / "records").chmod(0o1777)
    engine.start()
    engine.wait_state("ready")
    assert engine.status()["generation"] == first == store.current()
    log = engine.log_text()
    assert "engine: FAILED" not in log and log.count("signatures loaded in") == 1
    assert "its record cannot be written" in log


@pytest.mark.parametrize("what", ["damaged", "missing"])
def test_a_store_that_cannot_be_written(own, what):
    """As on a read-only file system: what is whole serves; `current` follows when it can."""
    engine, store, (first, second) = tree(own, OLD, NEW)
    if not ROOT or engine.mode == "root":
        pytest.skip("needs root, and an engine that is not")
    expected = second if what == "missing" else first
    if what == "damaged":
        spoil(store.path / second / "b.ndb")
    else:
        (store.path / "current").unlink()
    os.chown(store.path, 0, 0)
    engine.start()
    engine.wait_state("ready")
    assert engine.status()["generation"] == expected
    log = engine.log_text()
    assert "engine: FAILED" not in log and f"{store.path}/current cannot be changed to it" in log
    failed = engine.status()["adoption_failed"]
    assert failed["generation"] == (second if what == "damaged" else "(none)")
    assert "cannot be changed to it" in failed["error"]
    # Not loaded again because `current` leads elsewhere; after a crash as at the first time.
    os.kill(zygotes(engine)[0], signal.SIGKILL)
    wait_for(lambda: engine.log_text().count("cannot be changed to it") == 2, "the next time")
    engine.wait_state("ready")
    assert engine.status()["generation"] == expected
    assert engine.log_text().count("signatures loaded in") == 2
    os.chown(store.path, NOBODY, NOBODY)
    (store.path / "touched").write_text("")
    (store.path / "touched").rename(store.path / "touched-again")
    wait_for(lambda: f"{expected}: `current` leads to it now" in engine.log_text(), "the link")
    assert store.current() == expected == engine.status()["generation"]
    assert engine.log_text().count("signatures loaded in") == 2
    assert (what == "missing") == (store.path / second).exists()
    failed = engine.status()["adoption_failed"]
    assert failed is None or "cannot be changed" not in failed["error"]


def test_a_link_that_leads_nowhere(own):
    engine, store, (first, second) = tree(own, OLD, NEW)
    (store.path / second / "b.ndb").unlink()
    (store.path / second / "manifest.json").unlink()
    (store.path / second).rmdir()
    engine.start()
    engine.wait_state("ready")
    assert engine.status()["generation"] == first == store.current()


@pytest.mark.parametrize("gone", ["current", "all"])
def test_current_is_gone(own, gone):
    """After a crash of the zygote EICAR alone does not take the place of what found viruses."""
    engine, store, (first, second) = tree(own, OLD, NEW)
    engine.start()
    engine.wait_state("ready")
    assert engine.status()["generation"] == second
    if gone == "all":
        store.path.rename(store.path.with_name("away"))
    else:
        (store.path / "current").unlink()
    os.kill(zygotes(engine)[0], signal.SIGKILL)
    if gone == "all":
        engine.wait_state("failed")
        assert "does not exist" in engine.status()["error"]
    else:
        wait_for((store.path / "current").is_symlink, "what is whole")
        engine.wait_state("ready")
        assert engine.status()["generation"] == second == store.current()
    assert "ONLY THE BUILT-IN" not in engine.log_text()


@pytest.mark.parametrize("what", ["more", "no manifest"])
def test_what_no_manifest_vouches_for(own, what):
    """libclamav loads all that lies in the directory."""
    engine, store, (first, second) = tree(own, OLD, NEW)
    if what == "more":
        (store.path / second / "x.ndb").write_text(OLD["a.ndb"])
    else:
        (store.path / second / "manifest.json").unlink()
    engine.start()
    engine.wait_state("ready")
    assert engine.status()["generation"] == first == store.current()


@pytest.mark.parametrize("what", ["one file", "all files", "another offer"])
def test_damage_of_the_only_one(own, what):
    """What is still offered is taken again, without waiting for something newer."""
    engine, store, (only,) = tree(own, OLD)
    update = engine.dir / "update"
    update.mkdir()
    with open(engine.config, "a", encoding="ascii") as conf:
        conf.write(f'update_dir = "{update}"\nhealth_memory = "0"\n')
    offer = Store(update).put(NEW if what == "another offer" else OLD)
    assert (offer == only) == (what != "another offer")
    (update / offer).rename(update / "offer")
    if what == "all files":
        for path in (store.path / only).iterdir():
            path.unlink()
        (store.path / only).rmdir()
    else:
        spoil(store.path / only / "a.ndb")
    engine.start()
    engine.wait_state("ready")
    assert engine.status()["generation"] == offer == store.current()
    assert (store.path / offer / "manifest.json").exists()
    assert ("are taken from the offer again" in engine.log_text()) == (offer == only)


def test_damage_before_the_adoption(own):
    """Whatever somebody did to it after its trial: the old one serves on, and the offer is taken
    again."""
    engine, store, (first,) = tree(own, OLD)
    update = engine.dir / "update"
    update.mkdir()
    with open(engine.config, "a", encoding="ascii") as conf:
        conf.write(f'update_dir = "{update}"\nhealth_memory = "0"\n')
    engine.start()
    engine.wait_state("ready")
    line = engine.connect()
    assert line.call({"op": "hold", "seconds": 600, "why": "the test"}) == {"ok": True}
    new = Store(update).put(NEW)
    (update / new).rename(update / "offer")

    def tried():
        return (store.path / f"records/{new}.json").exists() and store.state(new)[0] == "tried"
    wait_for(tried, "its trial")
    spoil(store.path / new / "b.ndb")
    assert line.call({"op": "hold", "seconds": 0}) == {"ok": True}
    wait_for(lambda: engine.status()["adoption_failed"], "the failure")
    assert f"{new}/b.ndb" in engine.status()["adoption_failed"]["error"]
    assert engine.status()["generation"] == first == store.current()
    wait_for(lambda: f"{new}: damaged after its trial: forgotten" in engine.log_text(), "the word")
    wait_for(lambda: engine.log_text().count(f"generation {new}: tried, all well") == 2,
             "its next trial")
    assert tried() and (store.path / new / "b.ndb").read_text() == NEW["b.ndb"]
    line.close()


def test_damage_while_it_loads(site):
    """Behind the hashes, before the loader."""
    engine, store, old = site()
    serving = zygotes(engine)
    new = store.put(slow())
    pid = stop_next(engine, serving)
    quiet = 0

    def is_hashed():
        nonlocal quiet
        quiet = 0 if "postern-aside" in engine.processes() else quiet + 1
        return quiet >= 20
    wait_for(is_hashed, "the end of the hashes")
    (store.path / new / "b.ndb").unlink()
    os.kill(pid, signal.SIGCONT)
    wait_for(lambda: engine.status()["adoption_failed"] or engine.status()["generation"] == new,
             "the end")
    assert engine.status()["generation"] == old == store.current()
    assert "touched while it was loaded" in engine.status()["adoption_failed"]["error"]


def test_damage_while_it_serves(own):
    """What is in memory serves on; a new zygote is none of what is on the disk now."""
    engine, store, (first, second) = tree(own, OLD, NEW)
    engine.start()
    engine.wait_state("ready")
    assert engine.status()["generation"] == second
    spoil(store.path / second / "b.ndb")
    os.kill(zygotes(engine)[0], signal.SIGKILL)
    wait_for(lambda: engine.status()["generation"] == first, "the one before")
    engine.wait_state("ready")
    assert store.current() == first


RULE = 'rule %s { strings: $a = "%s" condition: $a }\n'


@pytest.mark.parametrize("text", ["404 page not found\n", 'rule cut { strings: $a = "some'])
def test_yara_of_which_nothing_is_left(site, text):
    """libclamav loads the rest of the set without a word, and calls that a success."""
    engine, store, old = site()
    new = store.put({**NEW, "rules.yara": text}, "fetched")
    wait_for(lambda: store.state(new)[0] != "fetched", "the trial")
    wait_for(lambda: store.state(new)[0] != "trying", "its end")
    state, reason = store.state(new)
    assert state == "rejected" and "rules.yara" in reason
    assert store.current() == old and engine.status()["generation"] == old


def test_yara_that_libclamav_knows_in_part(site):
    """It knows a part of the language; what it leaves out is told."""
    engine, store, old = site()
    rules = RULE % ("good", "nobody has this marker, too") + 'import "pe"\n' + \
        "rule bad { condition: pe.number_of_sections == 1 }\n"
    new = store.put({**NEW, "rules.yara": rules}, "fetched")
    wait_for(lambda: engine.status()["generation"] == new, "its adoption")
    assert "failed to parse or load 1 yara rules from file rules.yara" in engine.log_text()
