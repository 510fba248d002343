#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""Which generation comes after which: back to the one before when a mail proves the new one guilty,
and only then, and on to what came meanwhile; on the real engine.

    /usr/bin/python3 -m pytest scanner/engine/test-evidence.py
"""
import os
import pathlib
import re
import shutil
import signal
import sys
import time

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "worker"))
from chain import attachment, has_mail, mail, memfd, needs_root, zipped
from chain import own  # fixture
from daemon import NEW, Daemon, wait_for, zygotes
from daemon import site  # fixture


# So long that no load of the machine ends a scan: that would prove nothing.
PATIENT = {"scan_timeout": 240}


def accused(site):
    """An engine that has adopted NEW after OLD, a daemon, and all its workers."""
    engine, store, old = site(**PATIENT)
    daemon = Daemon(engine)
    new = store.put(NEW)
    daemon.until(lambda: daemon.state.get("generation") == new and daemon.phase() is None,
                 "the adoption")
    daemon.until(lambda: len(daemon.idle) == 2, "the workers")
    return engine, store, old, new, daemon


# The zygotes of such an engine, in the order in which they were begun.
OLD_ONE, SERVING, BEFORE, AFRESH = range(4)


def worker(engine, which, known):
    """One of the zygote WHICH that none of KNOWN is, once there is one."""
    found = []

    def look():
        begun = re.findall(r"zygote: process (\d+) loads", engine.log_text())[which:which + 1]
        found[:] = [pid for zygote in begun for pid in engine.children(int(zygote))
                    if pid not in known]
        return found
    wait_for(look, "another worker")
    return found[0]


def crash_given(engine, which, known=()):
    """Kills a new worker of the zygote WHICH once it has the mail."""
    pid = worker(engine, which, known)
    wait_for(lambda: has_mail(pid), "that it is given the mail")
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
    crash_given(engine, SERVING, known)
    crash_given(engine, BEFORE)
    os.close(fd)
    wait_for(lambda: "crash, too: nothing is rolled back" in engine.log_text(), "the verdict")
    wait_for(lambda: len(zygotes(engine)) == 1, "the end of the old zygote")
    assert store.current() == new and engine.status()["generation"] == new
    assert store.state(new)[0] == "adopted"
    daemon.close()


@needs_root
def test_a_mail_that_crashes_the_new_alone(site):
    engine, store, old, new, daemon = accused(site)
    known = engine.processes()["postern-worker"]
    fd = lethal()
    daemon.line.send({"op": "evidence"}, fd)
    crash_given(engine, SERVING, known)
    crash_given(engine, AFRESH)
    assert "those of " + old + " scan it" in engine.log_text()
    os.close(fd)
    assert len(zygotes(engine)) <= 2
    daemon.until(lambda: daemon.state["generation"] == old, "the way back", data=mail())
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
    crash_given(engine, SERVING, known)
    wait_for(lambda: "afresh they scan it: nothing is rolled back" in engine.log_text(), "the verdict")
    wait_for(lambda: len(zygotes(engine)) == 1, "the end of the other zygotes")
    assert store.current() == new and engine.status()["generation"] == new
    assert store.state(new)[0] == "adopted"
    # Whoever tries again at once gets one worker, and no zygote.
    known = engine.processes()["postern-worker"]
    daemon.line.send({"op": "evidence"}, fd)
    os.close(fd)
    crash_given(engine, SERVING, known)
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
        os.kill(worker(engine, SERVING, known), signal.SIGKILL)
    os.close(fd)
    wait_for(lambda: "a mail that cost two workers: a third one" in engine.log_text(), "the verdict")
    assert engine.status()["generation"] == new and len(zygotes(engine)) == 1
    daemon.close()


@needs_root
def test_an_answer_before_the_end(site):
    """Who has scanned it and retired has scanned it, also when an engine that had to wait for a
    processor hears of its end first."""
    engine, store, _ = site(workers=1, worker_scans=1, **PATIENT)
    daemon = Daemon(engine)
    new = store.put(NEW)
    daemon.until(lambda: daemon.state.get("generation") == new and daemon.phase() is None
                 and daemon.idle, "the adoption")
    known = engine.processes()["postern-worker"]
    fd = lethal()
    daemon.line.send({"op": "evidence"}, fd)
    os.close(fd)
    pid = worker(engine, SERVING, known)
    wait_for(lambda: has_mail(pid), "that it is given the mail")
    os.kill(engine.process.pid, signal.SIGSTOP)
    wait_for(lambda: not pathlib.Path(f"/proc/{pid}").exists(), "its end")
    os.kill(engine.process.pid, signal.SIGCONT)
    wait_for(lambda: "a third one" in engine.log_text(), "the verdict")
    assert "a third one has scanned it" in engine.log_text()
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
