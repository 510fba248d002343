#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""Which generation comes after which: back to the one before when a mail proves the new one guilty,
and only then, and on to what came meanwhile; on the real engine.

    /usr/bin/python3 -m pytest scanner/engine/test-evidence.py
"""
import os
import pathlib
import shutil
import signal
import sys
import time

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "worker"))
from chain import attachment, mail, memfd, needs_root, zipped
from chain import own  # fixture
from daemon import NEW, Daemon, wait_for, zygotes
from daemon import site  # fixture


def busy_worker(engine, known):
    """A worker that none of KNOWN is, once there is one."""
    found = []

    def look():
        found[:] = [pid for pid in engine.processes()["postern-worker"] if pid not in known]
        return found
    wait_for(look, "another worker", 90)
    return found[0]


def accused(site):
    """An engine that has adopted NEW after OLD, a daemon, and all its workers."""
    engine, store, old = site()
    daemon = Daemon(engine)
    new = store.put(NEW)
    daemon.until(lambda: daemon.state.get("generation") == new and daemon.phase() is None,
                 "the adoption")
    daemon.until(lambda: len(daemon.idle) == 2, "the workers")
    return engine, store, old, new, daemon


def crash_given(engine, known):
    """Kills the next new worker once it takes processor time: it has the mail then."""
    pid = busy_worker(engine, known)

    def ticks():
        text = pathlib.Path(f"/proc/{pid}/stat").read_text()
        return sum(map(int, text.rpartition(")")[2].split()[11:13]))
    before = ticks()
    wait_for(lambda: ticks() > before + 5, "its scan")
    os.kill(pid, signal.SIGABRT)  # which no sanitizer catches
    wait_for(lambda: not pathlib.Path(f"/proc/{pid}").exists(), "its end")


def lethal():
    """A mail that takes a moment, so that a worker can be killed over it."""
    return memfd(mail(attachment(zipped(bytes(300 << 20)), "a.zip")))


@needs_root
def test_a_mail_that_crashes_both(site):
    engine, store, old, new, daemon = accused(site)
    known = engine.processes()["postern-worker"]
    fd = lethal()
    daemon.line.send({"op": "evidence"}, fd)
    crash_given(engine, known)
    crash_given(engine, known)
    os.close(fd)
    wait_for(lambda: "crash, too: nothing is rolled back" in engine.log_text(), "the verdict")
    wait_for(lambda: len(zygotes(engine)) == 1, "the end of the old zygote")
    assert store.current() == new and engine.status()["generation"] == new
    assert store.state(new)[0] == "adopted"
    daemon.close()


def asked_afresh(engine):
    """The new generation crashed, the old one scanned it: those who cannot be the next to have it."""
    wait_for(lambda: "asked afresh" in engine.log_text(), "the old one's scan")
    return engine.processes()["postern-worker"]


@needs_root
def test_a_mail_that_crashes_the_new_alone(site):
    engine, store, old, new, daemon = accused(site)
    known = engine.processes()["postern-worker"]
    fd = lethal()
    daemon.line.send({"op": "evidence"}, fd)
    crash_given(engine, known)
    crash_given(engine, asked_afresh(engine))
    os.close(fd)
    assert len(zygotes(engine)) <= 2
    daemon.until(lambda: daemon.state["generation"] == old, "the way back", 120, data=mail())
    assert store.current() == old and daemon.lost == 0
    state, reason = store.state(new)
    assert state == "rejected" and old in reason
    # And it does not come back.
    daemon.until(lambda: daemon.phase() is None, "the end", data=mail())
    assert engine.status()["generation"] == old and len(zygotes(engine)) == 1
    daemon.close()


@needs_root
def test_a_mail_that_crashes_by_chance(site):
    """As memory lay in one zygote of the new generation, and not in a fresh one of it."""
    engine, store, old, new, daemon = accused(site)
    known = engine.processes()["postern-worker"]
    fd = lethal()
    daemon.line.send({"op": "evidence"}, fd)
    crash_given(engine, known)
    wait_for(lambda: "afresh they scan it: nothing is rolled back" in engine.log_text(), "the verdict")
    wait_for(lambda: len(zygotes(engine)) == 1, "the end of the other zygotes")
    assert store.current() == new and engine.status()["generation"] == new
    assert store.state(new)[0] == "adopted"
    # Whoever tries again at once gets one worker, and no zygote.
    known = engine.processes()["postern-worker"]
    daemon.line.send({"op": "evidence"}, fd)
    os.close(fd)
    crash_given(engine, known)
    assert engine.status()["generation"] == new and len(zygotes(engine)) == 1
    assert engine.log_text().count("it is given to one of") == 1
    daemon.close()


@needs_root
@pytest.mark.parametrize("how", ["scanned", "killed"])
def test_no_evidence(site, how):
    """A third worker scans it, or was killed for want of memory: nothing is loaded for that."""
    engine, store, old, new, daemon = accused(site)
    known = engine.processes()["postern-worker"]
    fd = lethal() if how == "killed" else memfd(mail())
    daemon.line.send({"op": "evidence"}, fd)
    if how == "killed":
        os.kill(busy_worker(engine, known), signal.SIGKILL)
    os.close(fd)
    wait_for(lambda: "a mail that cost two workers: a third one" in engine.log_text(), "the verdict")
    assert engine.status()["generation"] == new and len(zygotes(engine)) == 1
    daemon.close()


def test_what_came_while_another_was_adopted(site):
    """An adoption may wait for hours. What was put together meanwhile is newer all the same."""
    engine, store, _ = site()
    first = store.put(NEW, created=time.time() - 60)
    wait_for(lambda: engine.status()["generation"] == first, "the adoption")
    second = store.put({"c.ndb": NEW["b.ndb"]}, created=time.time() - 30)
    wait_for(lambda: engine.status()["generation"] == second, "the next one's")
    store.put({"d.ndb": NEW["b.ndb"]}, created=time.time() - 45)
    store.adopt(first)
    wait_for(lambda: engine.status()["generation"] == first, "the way back by hand")
    wait_for(lambda: engine.status()["adoption"] is None, "its end")
    assert store.current() == first


def test_the_directory_is_another_one(site):
    """A restored copy in the place of signatures_dir: what comes there is noticed, and not
    only by the look of each minute."""
    engine, store, _ = site()
    first = store.put(NEW)
    wait_for(lambda: engine.status()["generation"] == first, "the first adoption")
    wait_for(lambda: engine.status()["adoption"] is None, "its end")
    copy = store.path.with_name("copy")
    shutil.copytree(store.path, copy, symlinks=True)
    for path in [copy, *copy.rglob("*")]:
        os.lchown(path, store.path.stat().st_uid, store.path.stat().st_gid)
    store.path.rename(store.path.with_name("away"))
    copy.rename(store.path)
    assert engine.status()["generation"] == first
    new = store.put({"c.ndb": NEW["b.ndb"]}, created=time.time() + 1)
    wait_for(lambda: engine.status()["generation"] == new, "the adoption", 40)
