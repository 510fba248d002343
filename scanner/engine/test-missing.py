#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""An engine that is started where `current` is missing: a first start, or signatures that are away.

    /usr/bin/python3 -m pytest scanner/engine/test-missing.py
"""
import json
import pathlib
import sys
import time

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "worker"))
from chain import NOBODY
from chain import own  # fixture
from daemon import NEW, OLD, ROOT
from generations import Store

BUILTIN = "ONLY THE BUILT-IN"


@pytest.fixture
def empty(own):
    """An engine that is not started, and its empty store."""
    engine = own(signatures=False, start=False)
    return engine, Store(engine.dir / "signatures",
                         NOBODY if ROOT and engine.mode != "root" else None)


def spoil(path):
    text = path.read_text()
    path.write_text(text.replace("Test.", "Tost."))
    assert path.read_text() != text


def failed(engine):
    """What it says; nothing else was loaded before."""
    engine.wait_state("failed")
    status = engine.status()
    assert not status["test_only"] and BUILTIN not in engine.log_text()
    return status["error"]


def test_the_newest_that_was_in_use(empty):
    engine, store = empty
    store.put(OLD, "adopted", time.time() - 200)
    newest = store.put(NEW, "adopted", time.time() - 100)
    store.put({"c.ndb": OLD["a.ndb"] + NEW["b.ndb"]}, "rejected")
    engine.start()
    engine.wait_state("ready")
    assert engine.status()["generation"] == newest == store.current()
    log = engine.log_text()
    assert BUILTIN not in log and f"{newest} takes its place" in log
    assert "engine: FAILED" not in log


def test_none_is_whole(empty):
    """Until somebody comes, or something whole does."""
    engine, store = empty
    old = store.put(OLD, "adopted", time.time() - 200)
    spoil(store.path / old / "a.ndb")
    engine.start()
    error = failed(engine)
    assert f"{store.path}/current is missing" in error and "postern signatures adopt" in error
    new = store.put(NEW)
    engine.wait_state("ready")
    assert engine.status()["generation"] == new == store.current()


def test_one_that_nobody_tried(empty):
    """It is tried first."""
    engine, store = empty
    new = store.put(NEW, "fetched")
    engine.start()
    engine.wait_state("ready")
    log = engine.log_text()
    assert engine.status()["generation"] == new == store.current()
    assert BUILTIN not in log and "engine: FAILED" in log and "tried, all well" in log


def test_one_that_was_made_by_hand(empty):
    """What the link should lead to only a person can say."""
    engine, store = empty
    (store.path / "mine").mkdir()
    (store.path / "mine/a.ndb").write_text(OLD["a.ndb"])
    engine.start()
    assert "postern signatures adopt" not in failed(engine)
    store.adopt("mine")
    engine.wait_state("ready")
    assert engine.status()["generation"] == "mine"


@pytest.mark.parametrize("state, adopted", [("adopted", 5), ("rejected", 5), ("tried", 0)])
def test_only_the_records_are_left(empty, state, adopted):
    """Its files are away, but something was in use, or about to be."""
    engine, store = empty
    (store.path / "records/0123456789abcdef.json").write_text(json.dumps(
        {"identity": "0123456789abcdef" * 4, "state": state, "since": 5, "reason": None, "trials": 1,
         "adopted": adopted}))
    engine.start()
    assert "postern signatures update" in failed(engine)


def test_a_first_start(empty):
    """Nothing was ever in use here, whatever was rejected; a disk of its own has a lost+found."""
    engine, store = empty
    (store.path / "lost+found").mkdir(mode=0o700)
    (store.path / "records/0123456789abcdef.json").write_text(json.dumps(
        {"identity": "0123456789abcdef" * 4, "state": "rejected", "since": 5, "reason": "bad",
         "trials": 1, "adopted": 0}))
    engine.start()
    engine.wait_state("ready")
    assert engine.status()["test_only"] and BUILTIN in engine.log_text()


def test_a_directory_that_comes_later(empty):
    """Of a file system that is not mounted yet nobody knows what is in it."""
    engine, store = empty
    away = store.path.with_name("away")
    old = store.put(OLD, "adopted", time.time() - 200)
    store.adopt(old)
    store.path.rename(away)
    engine.start()
    assert f"{store.path} does not exist" in failed(engine)
    assert "cannot be watched" in engine.log_text()
    away.rename(store.path)
    engine.wait_state("ready")
    assert engine.status()["generation"] == old
