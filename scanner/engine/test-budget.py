#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""Generations where there is memory for one alone, and generations that are old; on the real engine.

    /usr/bin/python3 -m pytest scanner/engine/test-budget.py
"""
import contextlib
import fcntl
import os
import pathlib
import signal
import sys
import time

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "worker"))
from chain import NOBODY, PATIENCE, all_end, mail, memfd
from chain import own  # fixture
from daemon import MARK, NEW, OLD, ROOT, Daemon, phase, restart, slow, stop_next, wait_for, zygotes
from daemon import site  # fixture
from generations import Store


# Memory for one alone

ONE = {"memory": '"80M"'}  # a second one is taken to need at least 64M


def test_nobody_scans_here(site):
    """On a passive node nobody has to be waited for."""
    engine, store, _ = site(adopt_quiet=1, **ONE)
    new = store.put(NEW)
    most = 0
    while engine.status()["generation"] != new or engine.state_line()[0] != "ready":
        most = max(most, len(zygotes(engine)))
    assert most <= 1 and store.current() == new
    assert "there is no scanning until it is loaded" in engine.log_text()


def test_a_quiet_moment(site):
    engine, store, old = site(adopt_quiet=5, **ONE)
    daemon = Daemon(engine)
    new = store.put(NEW)
    daemon.until(lambda: daemon.phase() == "quiet", "the wait", data=mail())
    adoption = daemon.state["adoption"]
    assert adoption["quiet"] == 5 and "more than the setting memory allows" in adoption["why"]
    line = engine.connect()
    assert line.call({"op": "adopt", "generation": new})["waits"] == adoption["why"]
    line.close()
    # What is being scanned is scanned to the end, although posternd was wrong.
    daemon.until(lambda: len(daemon.idle) == 2, "the end of the scans")
    number, line = daemon.idle.popitem()
    serving = zygotes(engine)
    daemon.line.send({"op": "quiet"})
    daemon.until(lambda: daemon.phase() == "room", "the change")
    daemon.until(lambda: len(daemon.gone) == 1, "the end of the other")
    assert daemon.state["state"] == "loading" and daemon.state["adoption"]["pauses"]
    assert zygotes(engine) == serving and number not in daemon.gone
    fd = memfd(mail())
    line.send({"op": "scan", "id": number}, fd)
    os.close(fd)
    assert line.receive()[0]["facts"]["complete"]
    line.close()
    daemon.until(lambda: daemon.state["generation"] == new and daemon.state["state"] == "ready",
                 "the adoption")
    assert daemon.lost == 0 and len(zygotes(engine)) == 1
    daemon.seen.clear()
    daemon.until(lambda: daemon.seen, "a scan", data=mail() + MARK)
    assert daemon.seen[0][1]
    daemon.close()


def test_what_cannot_be_loaded_is_followed_by_the_old(site):
    engine, store, old = site(adopt_quiet=1, **ONE)
    bad = store.put({"bad.ndb": "nonsense\n"})
    wait_for(lambda: engine.status()["adoption_failed"], "the failure")
    engine.wait_state("ready")
    assert engine.status()["generation"] == old and store.current() == old
    assert engine.status()["adoption_failed"]["generation"] == bad


def test_what_failed_is_in_nobodys_way(site):
    """It is tried again later and later; what came after it is not to wait for that."""
    engine, store, old = site(adopt_quiet=1, **ONE)
    bad = store.put({"bad.ndb": "nonsense\n"})
    wait_for(lambda: engine.status()["adoption_failed"], "the failure")
    new = store.put(NEW, "fetched", time.time() + 1)
    wait_for(lambda: engine.status()["generation"] == new, "the adoption of the next", 40)
    assert store.state(bad)[0] == "tried"


@pytest.mark.parametrize("good", [True, False])
def test_tried_in_the_pause(site, good):
    """Where two do not fit, the trial has to wait for the pause, too."""
    engine, store, old = site(adopt_quiet=1, **ONE)
    files = NEW if good else {"all.ndb": "Test.Everything:0:*:" + b"the".hex() + "\n"}
    new = store.put(files, "fetched")
    most = 0

    def is_over():
        nonlocal most
        most = max(most, len(zygotes(engine)))
        status = engine.status()
        return status["adoption_failed"] or (status["generation"] == new
                                             and status["state"] == "ready")
    wait_for(is_over, "the adoption")
    engine.wait_state("ready")
    assert most <= 1
    assert store.current() == (new if good else old)
    assert store.state(new)[0] == ("adopted" if good else "rejected")
    assert engine.status()["generation"] == store.current()
    # What was tried is not loaded once more.
    loads = engine.log_text().count("zygote: process")
    assert loads == (1 if good else 2)


def test_what_was_tried_serves(site):
    """As one that was not: it scans, its workers are replaced, it makes room, it ends with its engine."""
    engine, store, old = site(adopt_quiet=1, **ONE)
    new = store.put(NEW, "fetched")
    wait_for(lambda: engine.status()["generation"] == new and phase(engine) is None, "the adoption")
    assert "what was tried goes on" in engine.log_text()
    [serving] = zygotes(engine)
    limits = pathlib.Path(f"/proc/{serving}/limits").read_text()
    assert "unlimited" in [line for line in limits.splitlines() if "address space" in line][0]
    assert os.getpriority(os.PRIO_PROCESS, serving) == os.getpriority(os.PRIO_PROCESS,
                                                                      engine.process.pid)
    daemon = Daemon(engine)
    daemon.until(lambda: len(daemon.idle) == 2, "the workers")
    daemon.until(lambda: len(daemon.seen) > 4, "scans", data=mail() + MARK)
    assert all(found for _, found in daemon.seen) and daemon.lost == 0
    for pid in engine.processes()["postern-worker"]:
        os.kill(pid, signal.SIGKILL)
    daemon.until(lambda: len(daemon.gone) == 2 and len(daemon.idle) == 2, "other workers")
    daemon.close()
    third = store.put({"c.ndb": NEW["b.ndb"]}, "fetched", time.time() + 1)
    wait_for(lambda: engine.status()["generation"] == third and phase(engine) is None, "the next")
    [serving] = zygotes(engine)
    watch = os.pidfd_open(serving)
    engine.process.kill()
    all_end([watch])
    engine.process.wait(PATIENCE)


@pytest.mark.parametrize("who", ["postern-trial", "postern-zygote"])
def test_the_trial_in_the_pause_is_killed(site, who):
    """Wherever it comes: the old ones are loaded again, or the new ones serve."""
    begun = time.monotonic()
    engine, store, old = site(adopt_quiet=1, **ONE)
    start = time.monotonic() - begun  # a load, and all around it, at this machine's speed
    new = store.put(slow(), "fetched")
    found = []

    def look():
        seen = engine.processes()
        found[:] = seen[who] if seen["postern-trial"] and seen["postern-zygote"] else []
        return found
    wait_for(look, "its zygote")
    with contextlib.suppress(ProcessLookupError):  # it has ended by itself since
        os.kill(found[0], signal.SIGKILL)
    killed = time.monotonic()
    wait_for(lambda: engine.status()["state"] == "ready", "that it scans again")
    # Nobody waits for a trial that is no more: that would be 20 s, and as many looks besides.
    assert time.monotonic() - killed < 15 + 4 * start
    assert engine.status()["generation"] in (old, new) and len(zygotes(engine)) == 1
    assert store.current() == engine.status()["generation"]


def test_the_trial_in_the_pause_does_not_begin(site):
    """When the old one serves again there is no memory for it any more."""
    engine, store, old = site(adopt_quiet=5, **ONE)
    daemon = Daemon(engine)
    store.put(NEW, "fetched")
    daemon.until(lambda: daemon.phase() == "quiet", "the wait", data=mail())
    daemon.until(lambda: len(daemon.idle) == 2, "the end of the scans")
    worker = daemon.idle.popitem()[1]
    daemon.line.send({"op": "quiet"})
    daemon.until(lambda: daemon.phase() == "room", "the change")
    lock = os.open(store.path / ".lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(lock, fcntl.LOCK_EX)
    worker.close()
    daemon.until(lambda: engine.status()["adoption_failed"], "the failure")
    daemon.until(lambda: daemon.state["state"] == "ready", "the old one")
    os.close(lock)
    # What is looked at next waits for memory; a trial would be through by then.
    daemon.until(lambda: engine.status()["trial"]["state"] == "waiting"
                 or len(zygotes(engine)) > 1, "a look")
    assert len(zygotes(engine)) == 1 and engine.status()["generation"] == old
    assert "trial of generation" not in engine.log_text()
    daemon.close()


def test_nothing_else_can_be_loaded(site):
    """There is nothing to wait for then, whoever is attached."""
    engine, store, old = site(adopt_quiet=600, **ONE)
    daemon = Daemon(engine)
    new = store.put(NEW, "fetched")
    daemon.until(lambda: daemon.phase() == "quiet", "the wait", data=mail())
    (store.path / old / "a.ndb").write_text(OLD["a.ndb"].replace("Test.", "Tost."))
    os.kill(zygotes(engine)[0], signal.SIGKILL)
    daemon.until(lambda: daemon.state["generation"] == new and daemon.state["state"] == "ready",
                 "the only one that is whole", 60)
    assert store.current() == new
    daemon.close()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_ended_in_the_pause(site, how):
    engine, store, old = site(adopt_quiet=1, **ONE)
    serving = zygotes(engine)
    new = store.put(slow())
    stop_next(engine, serving)
    os.kill(engine.process.pid, how)
    assert restart(engine, store, (old, new)) == old


def test_never(site):
    engine, store, old = site(adopt_quiet=0, **ONE)
    store.put(NEW)
    wait_for(lambda: phase(engine) == "memory", "the wait")
    assert engine.status()["generation"] == old and engine.state_line()[0] == "ready"


def test_it_says_so(site):
    """The node's health, for the cluster and for people; and that the mail is to move, if it may."""
    for move, cause in (("no", "signatures-wait"), ("yes", "signatures-move")):
        engine, store, _ = site(adopt_quiet=0, health_interval=1, health_window=1, health_needed=1,
                                adopt_move=f'"{move}"', **ONE)
        store.put(NEW)
        wait_for(lambda e=engine, c=cause: f"{c}=yellow" in e.state_line()[-1], "the health")


# Age

def test_old_signatures(own):
    engine = own(signatures=False, start=False, age_limit=3600, health_interval=1, health_window=1,
                 health_needed=1)
    store = Store(engine.dir / "signatures", NOBODY if ROOT and engine.mode != "root" else None)
    store.adopt(store.put(OLD, "adopted", time.time() - 100, age=7200))
    engine.start()
    engine.wait_state("ready")
    wait_for(lambda: "signatures-old=yellow" in engine.state_line()[-1], "the health")
    assert engine.log_text().count("days and 2 hours old: new viruses pass") == 1
    store.put(NEW)
    wait_for(lambda: "signatures-old" not in engine.state_line()[-1], "younger ones")


MEMORY = pathlib.Path("/sys/fs/cgroup/memory")


@pytest.fixture
def tight():
    """A control group; its memory limit is a file to be written to."""
    if not (ROOT and (MEMORY / "memory.limit_in_bytes").exists()):
        pytest.skip("needs the memory controller of cgroup v1")
    group = MEMORY / f"postern-test-{os.getpid()}"
    group.mkdir()
    yield group
    wait_for(lambda: not (group / "cgroup.procs").read_text(), "the end of its processes")
    group.rmdir()


def test_a_control_group_for_one(site, own, tight):
    engine = own(signatures=False, start=False, adopt_quiet=1)
    store = Store(engine.dir / "signatures", NOBODY if engine.mode != "root" else None)
    old = store.put(OLD, "adopted", time.time() - 100)
    store.adopt(old)
    command = engine.command()
    engine.command = lambda: ["/bin/sh", "-c", f'echo $$ > {tight}/cgroup.procs; exec "$@"', "sh",
                              *command]
    engine.start()
    engine.wait_state("ready")
    daemon = Daemon(engine)
    daemon.until(lambda: len(daemon.idle) == 2, "the workers")
    used = int((tight / "memory.usage_in_bytes").read_text())
    (tight / "memory.limit_in_bytes").write_text(str(used + (40 << 20)))
    new = store.put(NEW)
    daemon.until(lambda: daemon.phase() == "quiet", "the wait", data=mail())
    assert "MB are available" in daemon.state["adoption"]["why"]
    assert daemon.state["generation"] == old and daemon.lost == 0
    (tight / "memory.limit_in_bytes").write_text("-1")
    daemon.until(lambda: daemon.state["generation"] == new, "the adoption", data=mail())
    assert daemon.lost == 0
    daemon.close()
    engine.process.terminate()
    engine.process.wait(PATIENCE)
