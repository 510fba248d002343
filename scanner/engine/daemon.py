# SPDX-License-Identifier: GPL-2.0-only
"""posternd as an engine that adopts generations sees it, and such an engine (import after chain.py's
folder is in the path)."""
import ctypes
import os
import select
import signal
import socket
import time

import pytest

from chain import NOBODY, PATIENCE, Line, memfd
from generations import Store


class Daemon:
    """posternd, as far as the engine can tell: scans on each worker that is idle, and lets go those
    that it is asked for."""

    def __init__(self, engine):
        self.line = engine.connect()
        assert self.line.call({"op": "attach"}) == {"ok": True}
        self.idle = {}
        self.busy = {}
        self.released = set()
        self.releases = 0
        self.state = {}
        self.seen = []  # (generation that the engine reported when the scan began, detections)
        self.lost = 0
        self.release = True
        self.gone = {}

    def _event(self):
        packet, fd = self.line.receive()
        assert packet is not None, "the engine hung up"
        if packet["event"] == "worker":
            self.idle[packet["worker"]] = Line(socket.socket(fileno=fd))
        elif packet["event"] == "gone":
            number = packet["worker"]
            self.gone[number] = packet["cause"]
            self.idle.pop(number, None)
            if number in self.busy:
                self._answer(number)  # what it said before it ended is still there
            self.idle.pop(number, None)
        elif packet["event"] == "state":
            self.state = packet
        elif packet["event"] == "release" and self.release:
            self.released = set(packet["workers"])
            self.releases += 1
            for number in list(self.idle):
                self._let_go(number)

    def _let_go(self, number):
        if self.releases and number in self.released:
            self.idle.pop(number).close()
            self.releases -= 1

    def _answer(self, number):
        line, generation = self.busy.pop(number)
        answer, _ = line.receive()
        if answer is None:
            self.lost += 1
            return
        self.seen.append((generation, answer["facts"]["detections"]))
        if not answer["retire"]:
            self.idle[number] = line
            self._let_go(number)

    def scan(self, data):
        """On all that are idle."""
        for number in list(self.idle):
            line = self.idle.pop(number)
            fd = memfd(data)
            try:
                line.send({"op": "scan", "id": number}, fd)
            except (BrokenPipeError, ConnectionResetError):
                continue  # it was not given: no scan is lost
            finally:
                os.close(fd)
            self.busy[number] = (line, self.state.get("generation"))

    def turn(self, timeout=0.05):
        lines = {self.line.sock: None}
        lines.update({line.sock: number for number, (line, _) in self.busy.items()})
        for sock in select.select(list(lines), [], [], timeout)[0]:
            if lines[sock] is None:
                self._event()
            elif lines[sock] in self.busy:
                self._answer(lines[sock])

    def until(self, condition, what, seconds=240, data=None):
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, f"{what}: not within {seconds} s; {self.state}"
            if data is not None:
                self.scan(data)
            self.turn()

    def phase(self):
        return (self.state.get("adoption") or {}).get("phase")

    def close(self):
        self.line.close()
        for line in [*self.idle.values(), *[line for line, _ in self.busy.values()]]:
            line.close()


def wait_for(condition, what, seconds=240, pause=0.02):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"{what}: not within {seconds} s"
        time.sleep(pause)


ROOT = os.geteuid() == 0
MARK = b"The marker that only the second generation knows."
OLD = {"a.ndb": "Test.First:0:*:" + b"nobody has this marker".hex() + "\n"}
NEW = {"b.ndb": "Test.Second:0:*:" + MARK.hex() + "\n"}


def slow():
    """NEW with so much beside that its load can be caught in the middle."""
    return {**NEW, "many.hdb": "".join(f"{n:032x}:{n + 1000}:Test.{n}\n" for n in range(200000))}


@pytest.fixture
def site(own):
    """An engine that serves OLD; its store."""
    def make(**settings):
        engine = own(signatures=False, start=False, **settings)
        owner = NOBODY if ROOT and engine.mode != "root" else None
        store = Store(engine.dir / "signatures", owner)
        old = store.put(OLD, "adopted", time.time() - 100)
        store.adopt(old)
        engine.start()
        engine.wait_state("ready")
        return engine, store, old
    return make


class HungDisk:
    """While it lasts, nobody can open PATH or what lies in it (fanotify(7), as root)."""
    PERMISSION_CLASS, ADD, AT_FDCWD = 4, 1, -100
    OPEN_PERM, ON_CHILD, ON_DIR = 0x10000, 0x08000000, 0x40000000

    def __init__(self, path):
        self.path = path

    def __enter__(self):
        libc = ctypes.CDLL(None, use_errno=True)
        self.fd = libc.fanotify_init(self.PERMISSION_CLASS, os.O_RDONLY | os.O_CLOEXEC)
        mask = ctypes.c_uint64(self.OPEN_PERM | self.ON_CHILD | self.ON_DIR)
        if self.fd < 0 or libc.fanotify_mark(self.fd, self.ADD, mask, self.AT_FDCWD,
                                             os.fsencode(self.path)) < 0:
            pytest.skip(f"no fanotify: {os.strerror(ctypes.get_errno())}")
        return self

    def __exit__(self, *_):
        os.close(self.fd)


def phase(engine):
    return (engine.status()["adoption"] or {}).get("phase")


def zygotes(engine):
    return engine.processes()["postern-zygote"]


def stop_next(engine, serving):
    """The new zygote, stopped as soon as it is there: the adoption stays where it is."""
    found = []

    def look():
        found[:] = [pid for pid in zygotes(engine) if pid not in serving]
        return found
    wait_for(look, "a second zygote")
    os.kill(found[0], signal.SIGSTOP)
    return found[0]


def restart(engine, store, expected):
    assert store.current() in expected
    engine.process.wait(PATIENCE)
    current = store.current()
    (engine.dir / "run/engine/state").unlink(missing_ok=True)
    engine.start()
    engine.wait_state("ready")
    assert engine.status()["generation"] in expected
    return current
