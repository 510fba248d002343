#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""One generation after the other, on the real engine: without a pause, killed in the middle.
(The way back: test-evidence.py; what is damaged: test-broken.py; memory for one: test-budget.py.)

    /usr/bin/python3 -m pytest scanner/engine/test-adoption.py
"""
import contextlib
import fcntl
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "worker"))
from chain import NOBODY, PATIENCE, all_end, mail, memfd, needs_root
from chain import own  # fixture
from daemon import (MARK, NEW, ROOT, Daemon, HungDisk, phase, restart,
                    slow, stop_next, wait_for, zygotes)
from daemon import site  # fixture
from generations import Store


# Without a pause

def test_under_load_no_scan_is_lost(site):
    engine, store, old = site(workers=3)
    daemon = Daemon(engine)
    body = mail() + MARK
    daemon.until(lambda: len(daemon.seen) > 20, "scans", data=body)
    assert {generation for generation, _ in daemon.seen} <= {None, old}
    new = store.put(NEW)
    daemon.until(lambda: daemon.state.get("generation") == new, "the adoption", data=body)
    assert store.current() == new
    first = list(daemon.idle) + list(daemon.busy)
    daemon.until(lambda: daemon.state["adoption"] is None, "the end of the old zygote", data=body)
    assert not {generation for generation, found in daemon.seen if found} - {new}
    daemon.seen.clear()
    daemon.until(lambda: len(daemon.seen) > 20, "scans", data=body)
    assert {tuple(found) for _, found in daemon.seen} == {("Test.Second.UNOFFICIAL",)}
    assert daemon.lost == 0
    assert {daemon.gone[number] for number in first if number in daemon.gone} == {"retired"}
    daemon.until(lambda: len(daemon.idle) + len(daemon.busy) == 3, "all workers", data=body)
    assert len(zygotes(engine)) == 1
    assert store.state(new)[0] == "adopted" and engine.status()["restarts"] == 0
    daemon.close()


def test_a_busy_worker_ends_its_scan(site):
    """It is of the old generation for as long as it needs; who waits has the new ones."""
    engine, store, _ = site(workers=1)
    daemon = Daemon(engine)
    daemon.until(lambda: daemon.idle, "a worker")
    [number] = daemon.idle
    line = daemon.idle.pop(number)  # it is scanning, as far as the engine can know
    new = store.put(NEW)
    daemon.until(lambda: daemon.idle, "a worker of the new generation")
    assert daemon.phase() == "draining" and daemon.state["generation"] == new
    assert number not in daemon.gone and len(zygotes(engine)) == 2
    daemon.scan(mail() + MARK)
    daemon.until(lambda: daemon.seen, "its scan")
    assert daemon.seen[0][1]
    line.close()
    daemon.until(lambda: number in daemon.gone and daemon.phase() is None, "the end")
    assert daemon.gone[number] == "retired"
    daemon.close()


def test_posternd_comes_and_goes(site):
    """In the middle of the change, and of the next one: who comes gets new workers alone."""
    engine, store, _ = site()
    for n in range(3):
        daemon = Daemon(engine)
        daemon.until(lambda: len(daemon.idle) == 2, "the workers")
        daemon.release = False
        new = store.put({f"n{n}.ndb": NEW["b.ndb"]}, created=time.time() + n)
        daemon.until(lambda: daemon.phase() == "draining", "the change")
        daemon.close()
        daemon = Daemon(engine)
        daemon.until(lambda: daemon.phase() is None and daemon.state.get("generation") == new,
                     "the end of the old zygote", data=mail() + MARK)
        daemon.until(lambda: len(daemon.seen) > 4, "scans", data=mail() + MARK)
        assert {tuple(found) for _, found in daemon.seen} == {("Test.Second.UNOFFICIAL",)}
        assert len(zygotes(engine)) == 1 and daemon.lost == 0
        daemon.close()


def test_by_hand_and_back(site):
    """`current` is the truth, whoever changed it, and whatever the directory is called."""
    engine, store, old = site()
    by_hand = store.path / "mine"
    by_hand.mkdir()
    (by_hand / "b.ndb").write_text(NEW["b.ndb"])
    for name in ("mine", old):
        store.adopt(name)
        wait_for(lambda want=name: engine.status()["generation"] == want, "the adoption")
        assert store.current() == name
        wait_for(lambda: engine.status()["adoption"] is None, "the end of the old zygote")


def test_from_nothing(own):
    engine = own(signatures=False)
    engine.wait_state("ready")
    store = Store(engine.dir / "signatures", NOBODY if ROOT and engine.mode != "root" else None)
    new = store.put(NEW)
    wait_for(lambda: engine.status()["generation"] == new, "the adoption")
    assert store.current() == new and not engine.status()["test_only"]


def test_a_directory_that_goes_and_comes(site):
    """What serves is in memory; what comes into another directory of that name is seen, and tried."""
    engine, store, _ = site()
    shutil.rmtree(store.path)
    store.path.mkdir(exist_ok=True)
    store = Store(store.path, store.owner)
    for n in range(3):  # the first may be seen because the directory went
        new = store.put({f"n{n}.ndb": NEW["b.ndb"]}, "fetched", time.time() + n)
        wait_for(lambda want=new: engine.status()["generation"] == want, "the adoption", 60)
    assert store.current() == new


def test_pinned_and_older_ones_stay(site):
    engine, store, old = site()
    store.put(NEW, created=time.time() - 200)
    (store.path / "pinned").symlink_to(old)
    newer = store.put({"c.ndb": NEW["b.ndb"]})
    line = engine.connect()
    answer = line.call({"op": "status"})
    assert answer["generation"] == old and answer["adoption"] is None
    (store.path / "pinned").unlink()
    wait_for(lambda: engine.status()["generation"] == newer, "the adoption")
    line.close()


def test_one_that_was_made_before_the_last_adoption(site):
    """It came while the last one waited for other nodes, and was tried when that was adopted."""
    engine, store, old = site()
    first = store.put(NEW, created=time.time() - 50)
    wait_for(lambda: engine.status()["generation"] == first, "the adoption")
    second = store.put({"c.ndb": NEW["b.ndb"]}, created=time.time() - 40, since=time.time())
    wait_for(lambda: engine.status()["generation"] == second, "the next adoption")


def test_hold(site):
    engine, store, old = site()
    line = engine.connect()
    assert line.call({"op": "hold", "seconds": 600, "why": "node n2 is first"}) == {"ok": True}
    new = store.put(NEW)
    wait_for(lambda: phase(engine) == "hold", "the wait")
    status = engine.status()
    assert status["generation"] == old and status["adoption"]["why"] == "node n2 is first"
    assert line.call({"op": "hold", "seconds": 0}) == {"ok": True}
    wait_for(lambda: engine.status()["generation"] == new, "the adoption")
    line.close()


def test_orders(site):
    engine, store, old = site()
    line = engine.connect()
    bad = store.put(NEW, "rejected")
    answer = line.call({"op": "adopt", "generation": bad})
    assert not answer["ok"] and "was rejected" in answer["error"]
    assert not line.call({"op": "adopt", "generation": "0123"})["ok"]
    assert line.call({"op": "adopt", "generation": bad, "force": True}) == \
        {"ok": True, "generation": bad}
    assert store.current() == bad
    answer = line.call({"op": "adopt", "generation": bad})
    assert not answer["ok"] and "serves already" in answer["error"]
    wait_for(lambda: engine.status()["adoption"] is None, "the end of the old zygote")
    answer = line.call({"op": "adopt", "generation": "previous", "reject": "it found too much"})
    assert answer == {"ok": True, "generation": old}
    assert store.state(bad) == ("rejected", "it found too much")
    assert store.current() == old
    line.close()


def test_only_an_administrator_chooses(site):
    """posternd reads what strangers send."""
    if not ROOT:
        pytest.skip("needs a second user")
    engine, _, old = site(daemon_user='"daemon"')
    code = ("import socket; s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET); "
            f"s.connect('{engine.dir}/run/engine/engine.sock'); "
            f"s.send(b'{{\"op\":\"adopt\",\"generation\":\"{old}\"}}'); print(s.recv(999).decode())")
    out = subprocess.run(["setpriv", "--reuid=daemon", "--clear-groups", "/usr/bin/python3", "-c",
                          code], capture_output=True, text=True)
    assert json.loads(out.stdout) == {"ok": False, "error": "only root may"}, out


def test_what_cannot_be_loaded_changes_nothing(site):
    engine, store, old = site()
    daemon = Daemon(engine)
    bad = store.put({"bad.ndb": "nonsense\n"})
    daemon.until(lambda: daemon.state.get("adoption_failed"), "the failure", data=mail())
    failed = daemon.state["adoption_failed"]
    assert failed["generation"] == bad and "bad.ndb" in failed["error"]
    assert store.current() == old and engine.status()["generation"] == old
    assert daemon.lost == 0 and len(zygotes(engine)) == 1
    # Not at once again, but another one is.
    assert engine.status()["adoption"] is None
    new = store.put(NEW, created=time.time() + 1)
    daemon.until(lambda: daemon.state["generation"] == new, "the adoption", data=mail())
    assert daemon.state["adoption_failed"] is None
    daemon.close()


def test_somebody_else_changes_the_store(site):
    """It waits for the lock, and serves meanwhile."""
    engine, store, old = site()
    daemon = Daemon(engine)
    owner = os.stat(store.path)
    lock = os.open(os.path.join(store.path, ".lock"), os.O_RDWR | os.O_CREAT, 0o600)
    os.fchown(lock, owner.st_uid, owner.st_gid)
    fcntl.flock(lock, fcntl.LOCK_EX)
    new = store.put(NEW)
    daemon.until(lambda: daemon.phase() == "proving", "the proof", data=mail())
    before = len(daemon.seen)
    daemon.until(lambda: len(daemon.seen) > before + 50, "scans", data=mail())
    assert daemon.phase() == "proving" and store.current() == old
    os.close(lock)
    daemon.until(lambda: daemon.state["generation"] == new, "the adoption", data=mail())
    assert store.current() == new and daemon.lost == 0
    daemon.close()


@needs_root
def test_a_disk_that_hangs(site):
    """What serves is in memory: only what is new has to wait for the disk."""
    engine, store, old = site()
    daemon = Daemon(engine)
    daemon.until(lambda: len(daemon.idle) == 2, "the workers")
    with HungDisk(store.path):
        os.symlink(old, store.path / "another")
        wait_for(lambda: engine.processes().get("postern-aside"), "a look")
        before = len(daemon.seen)
        fd = memfd(mail())
        daemon.line.send({"op": "evidence"}, fd)
        os.close(fd)
        line = engine.connect()
        line.send({"op": "adopt", "generation": old})
        daemon.until(lambda: len(daemon.seen) > before + 20, "scans", data=mail())
        assert engine.status()["state"] == "ready"
    answer, _ = line.receive()
    assert "serves already" in answer["error"]
    new = store.put(NEW)
    daemon.until(lambda: daemon.state.get("generation") == new, "the adoption", data=mail())
    assert daemon.lost == 0
    # What hung has ended; a look at what was just adopted may still be under way.
    wait_for(lambda: not engine.processes().get("postern-aside"), "the end of the looks")
    line.close()
    daemon.close()


@needs_root
def test_a_disk_that_hangs_when_it_is_needed(site):
    engine, store, _ = site()
    with HungDisk(store.path):
        os.kill(zygotes(engine)[0], signal.SIGKILL)
        wait_for(lambda: engine.state_line()[0] == "loading", "the word that nothing is scanned")
        assert engine.status()["state"] == "loading"
    engine.wait_state("ready")
    assert engine.status()["restarts"] == 1


def test_no_permission(site):
    """What cannot be noted is not done: the old generation serves on, and is told why."""
    if not ROOT:
        pytest.skip("needs another owner")
    engine, store, old = site(mode="caps")
    os.chown(store.path, 0, 0)
    store.put(NEW)
    wait_for(lambda: engine.status()["adoption_failed"], "the failure")
    assert "Permission denied" in engine.status()["adoption_failed"]["error"]
    assert store.current() == old and engine.status()["generation"] == old


def nice_of(pid):
    """Its own, and that of its session where sessions count."""
    group = pathlib.Path(f"/proc/{pid}/autogroup")
    return os.getpriority(os.PRIO_PROCESS, pid), \
        int(group.read_text().split()[-1]) if group.exists() and group.read_text() else None


@needs_root
def test_it_loads_behind_the_mail(site):
    """And its workers are as good as those of before; it is as nice as it can take back."""
    engine, store, _ = site(mode="caps")
    limits = pathlib.Path(f"/proc/{engine.process.pid}/limits").read_text()
    limit = int(limits.split("Max nice priority")[1].split()[0])
    [serving] = zygotes(engine)
    own, session = expected = nice_of(serving)
    steps = [(min(own + n, 19) if limit + own >= 20 else own, None if session is None else n)
             for n in (10, 5, 0)]
    new = store.put(slow())
    pid = stop_next(engine, [serving])
    for step in steps:
        # It loads for a moment at a time, or it would be through before it is looked at.
        os.kill(pid, signal.SIGCONT)
        wait_for(lambda want=step: nice_of(pid) == want, "its next step", pause=0.001)
        os.kill(pid, signal.SIGSTOP)
        if step != steps[-1]:
            os.kill(pid, signal.SIGALRM)  # as if so much time had gone by
    assert phase(engine) == "loading"
    os.kill(pid, signal.SIGCONT)
    wait_for(lambda: engine.status()["generation"] == new and phase(engine) is None, "the adoption")

    def all_are():
        with contextlib.suppress(OSError):  # one that was just ended
            return [nice_of(pid) for pid in
                    zygotes(engine) + engine.processes()["postern-worker"]] == 3 * [expected]
    wait_for(all_are, "workers as good as those of before")


# Ended in the middle

@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_ended_while_it_loads(site, how):
    engine, store, old = site()
    serving = zygotes(engine)
    new = store.put(slow())
    stop_next(engine, serving)
    watches = engine.watches()
    os.kill(engine.process.pid, how)
    all_end(watches)
    assert restart(engine, store, (old, new)) == old
    wait_for(lambda: engine.status()["generation"] == new, "the adoption")
    assert store.current() == new


@needs_root
def test_ended_before_it_loads(site):
    """A zygote that is just being started ends with its engine, too."""
    engine, store, _ = site()
    with HungDisk(engine.dir / "postern-zygote"):
        store.put(slow())

        found = []

        def waits():
            with contextlib.suppress(OSError):  # what looks at the disk comes and goes
                found[:] = [pid for pid in engine.processes()["postern-engine"]
                            if "fanotify" in pathlib.Path(f"/proc/{pid}/wchan").read_text()]
            return found
        wait_for(waits, "a process before its exec")
        watch = os.pidfd_open(found[0])
        engine.process.kill()
        all_end([watch])
    engine.process.wait(PATIENCE)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_ended_while_it_drains(site, how):
    engine, store, old = site(workers=1)
    daemon = Daemon(engine)
    daemon.until(lambda: daemon.idle, "a worker")
    daemon.release = False
    new = store.put(NEW)
    daemon.until(lambda: daemon.phase() == "draining", "the change")
    os.kill(engine.process.pid, how)
    daemon.close()
    assert restart(engine, store, (new,)) == new
    assert phase(engine) is None and len(zygotes(engine)) == 1


def test_killed_anywhere(site):
    """Whenever it comes: one whole generation is current, and it is loaded."""
    engine, store, old = site()
    names = [old]
    for n in range(12):
        names.append(store.put({f"n{n}.ndb": NEW["b.ndb"]}, created=time.time() + n))
        end = time.monotonic() + 0.015 * n
        while time.monotonic() < end:
            pass
        engine.process.kill()
        restart(engine, store, names[-2:])
        wait_for(lambda: engine.status()["generation"] == names[-1], "the adoption")
        assert store.current() == names[-1]
        wait_for(lambda: engine.status()["adoption"] is None, "the end of the old zygote")


def test_killed_new_zygote(site):
    engine, store, old = site()
    serving = zygotes(engine)
    new = store.put(slow())
    os.kill(stop_next(engine, serving), signal.SIGKILL)
    wait_for(lambda: engine.status()["adoption_failed"], "the failure")
    assert engine.status()["generation"] == old and store.current() == old
    assert zygotes(engine) == serving
    line = engine.connect()
    assert line.call({"op": "adopt", "generation": new})["ok"]
    line.close()


def test_killed_old_zygote_meanwhile(site):
    """The new one loads on, and serves."""
    engine, store, old = site()
    serving = zygotes(engine)
    new = store.put(slow())
    pid = stop_next(engine, serving)
    os.kill(serving[0], signal.SIGKILL)
    os.kill(pid, signal.SIGCONT)
    wait_for(lambda: engine.status()["generation"] == new and phase(engine) is None, "the adoption")
    assert engine.state_line()[0] == "ready" and len(zygotes(engine)) == 1
