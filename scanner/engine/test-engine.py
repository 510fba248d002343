#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""postern-engine from outside: workers, zygotes, states, rights, and what happens when they break.

    /usr/bin/python3 -m pytest scanner/engine/test-engine.py        (-s prints the tables)

As root every test runs with three kinds of engine: root, an ordinary user with the unit's two
capabilities, an ordinary user with none. As anybody else: the last.
"""
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import time

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "worker"))
from chain import (EICAR, INFECTED, NOBODY, PATIENCE, all_end, attachment, has_mail, mail, memfd,
                   needs_root, verdict_of, zipped)
from chain import engine, own, pool  # fixtures

# Workers

def test_a_killed_worker_is_replaced(engine, pool):
    number, line = pool.worker()
    pool.line.send({"op": "kill", "worker": number})
    assert pool.wait_gone(number) == "killed"
    assert line.receive() == (None, None)
    while len(pool.workers) < 2:
        pool.event()
    assert verdict_of(pool.scan(mail(attachment(EICAR)))) == INFECTED


@needs_root
def test_kill_9_in_a_scan_is_the_end_of_file(engine, pool):
    number, line = pool.worker()
    pids = engine.processes()["postern-worker"]
    fd = memfd(mail(attachment(zipped(bytes(300 << 20)), "a.zip")))
    line.send({"op": "scan", "id": 1}, fd)
    os.close(fd)
    while not (busy := [pid for pid in pids if has_mail(pid)]):
        time.sleep(0.01)
    os.kill(busy[0], signal.SIGKILL)
    assert line.receive() == (None, None)
    assert pool.wait_gone(number) == "signal 9"
    while len(pool.workers) < 2:
        pool.event()


def test_a_worker_retires(own):
    engine = own(workers=1, worker_scans=3)
    engine.wait_state("ready")
    pool = engine.attach()
    first, _ = pool.worker()
    for _ in range(3):
        pool.scan(mail())
    assert first not in pool.workers and pool.wait_gone(first) == "retired"
    assert pool.worker()[0] != first
    assert engine.status()["state"] == "ready" == engine.state_line()[0]
    pool.close()


# The engine

def test_the_state_file_is_for_everybody(own):
    engine = own(start=False)
    command = engine.command()
    engine.command = lambda: ["/bin/sh", "-c", 'umask 077; exec "$@"', "sh"] + command
    engine.start()
    engine.wait_state("ready")
    assert (engine.dir / "run/engine/state").stat().st_mode & 0o777 == 0o644
    assert (engine.dir / "run/engine/engine.sock").stat().st_mode & 0o777 == 0o666


def test_status_and_state_file(engine, pool):
    status = engine.status()
    assert status["ok"] and status["state"] == "ready" and status["generation"] == "gen-1"
    assert status["signatures"] == 3 and not status["test_only"] and status["error"] is None
    assert status["workers"] == 2 and status["restarts"] == 0 and status["load_seconds"] > 0
    assert ("ONE user" in status["sandbox"]) == (engine.mode == "user")
    assert "control group" in status["sandbox"]
    assert 1 << 20 < status["memory"] < 1 << 30 < status["worker_memory"]
    print(status["sandbox"])
    wait = time.monotonic() + PATIENCE
    while len(engine.state_line()) < 5 and time.monotonic() < wait:
        time.sleep(0.02)
    state, since, seconds, generation, health = engine.state_line()
    assert (state, generation) == ("ready", "gen-1")
    assert health == "green" or "=" in health
    assert status["health"]["level"] in ("green", "yellow")
    assert int(since) == status["since"] and abs(float(seconds) - status["load_seconds"]) < 0.001


def test_selftests(engine, pool):
    """One after the other and at the same time: a monitor must not fail because of another."""
    lines = [engine.connect() for _ in range(5)]
    for _ in range(10):
        began = time.monotonic()
        for line in lines:
            line.send({"op": "selftest"})
        for line in lines:
            answer, _ = line.receive()
            assert answer["ok"] and answer["ms"] <= (time.monotonic() - began) * 1000, answer
    for line in lines:
        line.close()
    assert len(pool.workers) == 2 and not pool.gone


def test_only_one_attaches(engine, pool):
    line = engine.connect()
    assert line.call({"op": "attach"})["ok"] is False
    assert line.call({"op": "kill", "worker": 1})["ok"] is False
    answer = line.call({"op": "attach", "protocol": [7, 9]})
    assert not answer["ok"] and "protocols 7 to 9" in answer["error"]
    assert line.call({"op": "status"})["protocol"] == [1, 1]
    assert line.call({"op": "dance"})["ok"] is False
    line.close()


def test_workers_of_who_left_are_replaced(engine):
    pool = engine.attach()
    numbers = {pool.worker()[0]}
    lines = dict(pool.workers)
    pool.line.close()
    for line in lines.values():
        assert line.receive() == (None, None)
    pool = engine.attach()
    assert pool.worker()[0] not in numbers
    while len(pool.workers) < 2:
        pool.event()
    # What became of workers that another had is none of this one's business.
    assert not pool.gone
    assert verdict_of(pool.scan(mail(attachment(EICAR)))) == INFECTED
    pool.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs a second user")
def test_strangers_are_refused(engine):
    if engine.mode == "user" or engine.mode == "caps":
        uid = 12345
    else:
        uid = NOBODY
    code = ("import socket; s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET); "
            f"s.settimeout({PATIENCE}); s.connect('{engine.dir}/run/engine/engine.sock'); print(s.recv(999).decode())")
    out = subprocess.run(["setpriv", f"--reuid={uid}", "--clear-groups", "/usr/bin/python3", "-c",
                          code], capture_output=True, text=True)
    assert '"ok":false' in out.stdout, out


def test_a_dead_zygote_is_replaced(own):
    engine = own(mode="root" if os.geteuid() == 0 else "user")
    engine.wait_state("ready")
    pool = engine.attach()
    pool.worker()
    [zygote] = engine.processes()["postern-zygote"]
    os.kill(zygote, signal.SIGKILL)
    while not [s for s in pool.states if s["state"] == "loading"]:
        pool.event()
    while not [s for s in pool.states if s["state"] == "ready" and s["restarts"] == 1]:
        pool.event()
    assert len(pool.gone) >= 1
    assert verdict_of(pool.scan(mail(attachment(EICAR)))) == INFECTED
    pool.close()


def test_a_frozen_zygote_is_replaced(own):
    """Its spare workers go on, so nothing but its silence tells."""
    engine = own(mode="root" if os.geteuid() == 0 else "user")
    engine.wait_state("ready")
    pool = engine.attach()
    pool.worker()
    [zygote] = engine.processes()["postern-zygote"]
    os.kill(zygote, signal.SIGSTOP)
    while not [s for s in pool.states if s["state"] == "ready" and s["restarts"] == 1]:
        pool.event()
    assert "does not answer any more" in engine.log_text()
    pool.close()


def test_a_crash_loop_is_slowed_down(own):
    """Eight crashes in a row are replaced at once, then the pauses grow."""
    engine = own(workers=1)
    engine.wait_state("ready")
    pool = engine.attach()
    began = time.monotonic()
    for _ in range(12):
        number, _ = pool.worker()
        [pid] = engine.processes()["postern-worker"]
        os.kill(pid, signal.SIGSEGV)
        pool.wait_gone(number)
        pool.workers.pop(number, None)
    pool.worker()
    # 0.1 + 0.2 + ... is what the engine waits, however slow the machine is.
    assert time.monotonic() - began > 1
    pool.close()


def test_without_a_generation_only_eicar(own):
    engine = own(signatures=False)
    engine.wait_state("ready")
    status = engine.status()
    assert status["generation"] == "builtin" and status["test_only"] and status["signatures"] == 1
    assert "ONLY THE BUILT-IN" in engine.log_text()
    pool = engine.attach()
    assert verdict_of(pool.scan(mail(attachment(EICAR)))) == INFECTED
    pool.close()


def test_corrupt_signatures_are_named_and_fail(own):
    engine = own(signatures=False, start=False)
    engine.generation("bad", {"good.ndb": "Test.A:0:0:41424344454647\n", "broken.ndb": "nonsense\n"})
    engine.start()
    engine.wait_state("failed")
    status = engine.status()
    assert "broken.ndb" in status["error"] and status["workers"] == 0, status
    assert status["restarts"] == 0 and status["generation"] == "bad"
    assert engine.connect().call({"op": "selftest"})["ok"] is False
    assert "next attempt in a minute" in engine.log_text()


@pytest.mark.parametrize("target", ["../elsewhere", "missing", "/etc"])
def test_a_bad_link_is_not_none(own, target):
    engine = own(signatures=False, start=False)
    (engine.dir / "signatures/current").symlink_to(target)
    engine.start()
    engine.wait_state("failed")
    assert "current" in engine.status()["error"]


def test_terminate_leaves_nothing(own):
    engine = own()
    engine.wait_state("ready")
    watches = engine.watches()
    engine.process.terminate()
    assert engine.process.wait(PATIENCE) == 0
    all_end(watches)
    assert engine.state_line() is None and not (engine.dir / "run/engine/engine.sock").exists()


def test_a_killed_engine_takes_all_with_it(own):
    engine = own()
    engine.wait_state("ready")
    watches = engine.watches()
    engine.process.kill()
    engine.process.wait(PATIENCE)
    all_end(watches)
    engine.start()
    engine.wait_state("ready")


def test_what_a_killed_engine_said_is_taken_back_before_ready(own, monkeypatch):
    """systemd calls it up from then on, and the cluster would believe the state file."""
    engine = own(start=False)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sock.bind(str(engine.dir / "sd.sock"))
    (engine.dir / "sd.sock").chmod(0o666)
    sock.settimeout(PATIENCE)
    monkeypatch.setenv("NOTIFY_SOCKET", str(engine.dir / "sd.sock"))
    engine.start()
    said = [sock.recv(1000).decode()]
    while "READY=1" not in said[-1]:
        said.append(sock.recv(1000).decode())
    assert any("STATUS=loading" in text for text in said[:-1]), said
    sock.close()


def test_notify_socket_is_poked(own):
    engine = own(start=False)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sock.bind(str(engine.dir / "run/notify.sock"))
    (engine.dir / "run/notify.sock").chmod(0o666)
    engine.start()
    sock.settimeout(PATIENCE)
    while (engine.state_line() or ["none"])[0] != "ready":
        assert sock.recv(10) == b""
    sock.close()


# The sandbox, seen from outside

JAIL = {"/", "/usr", "/lib", "/lib32", "/lib64", "/etc/ld.so.cache", "/etc/localtime",
        "/etc/ssl/openssl.cnf", "/dev/null", "/dev/urandom", "/signatures"}


@needs_root
def test_workers_are_confined(engine, pool):
    pool.worker()
    while len(pool.workers) < 2:
        pool.event()
    workers = engine.processes()["postern-worker"]
    assert len(workers) >= 2
    uids = set()
    for pid in workers:
        status = dict(line.split(":\t", 1) for line in
                      pathlib.Path(f"/proc/{pid}/status").read_text().splitlines())
        assert status["Seccomp"] == "2" and status["NoNewPrivs"] == "1"
        for which in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
            assert int(status[which], 16) == 0, which
        assert status["Groups"].strip() in ("", str(NOBODY)) or engine.mode == "user"
        uids.add(status["Uid"].split()[1])
        assert len(set(status["Uid"].split())) == 1
        for kind in ("user", "mnt", "pid", "net", "ipc", "uts"):
            assert os.readlink(f"/proc/{pid}/ns/{kind}") != os.readlink(f"/proc/self/ns/{kind}")
        fds = {int(fd): os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")}
        assert sorted(fds) == [0, 1, 2, 3] and fds[3].startswith("socket:"), fds
        assert {fds[0], fds[1], fds[2]} == {"/dev/null"}
        limits = pathlib.Path(f"/proc/{pid}/limits").read_text()
        assert "Max core file size        0 " in limits
        assert pathlib.Path(f"/proc/{pid}/oom_score_adj").read_text() == "1000\n"
        mounts = [line.split() for line in
                  pathlib.Path(f"/proc/{pid}/mountinfo").read_text().splitlines()]
        assert sum(fields[4] == "/" for fields in mounts) == 1
        assert {fields[4] for fields in mounts} <= JAIL, mounts
        assert all("ro" in fields[5].split(",") for fields in mounts), mounts
    if engine.mode == "user":
        assert uids == {str(NOBODY)}
    else:
        assert len(uids) == len(workers) and uids <= {str(n) for n in range(60701, 60956)}


@needs_root
def test_the_loader_is_confined(engine, pool):
    """Signatures come over the network: who parses them has a jail and a filter, too."""
    [zygote] = engine.processes()["postern-zygote"]
    status = pathlib.Path(f"/proc/{zygote}/status").read_text()
    assert "Seccomp:\t2\n" in status and "NoNewPrivs:\t1\n" in status


@needs_root
def test_temporary_directories_are_empty_between_scans(engine, pool):
    pool.scan(mail(attachment(zipped(EICAR), "a.zip")))
    for pid in engine.processes()["postern-worker"]:
        assert os.listdir(f"/proc/{pid}/cwd/") == []
        assert os.statvfs(f"/proc/{pid}/cwd/").f_bfree > 0


# What the kernel or a container may refuse

def refusing(*calls, errno=38, flags=0):
    """A command prefix: runs the rest under a filter that refuses these system calls; with FLAGS
    only where their first argument has one of them."""
    code = f"""
import ctypes, os, sys
lib = ctypes.CDLL("libseccomp.so.2")
lib.seccomp_init.restype = ctypes.c_void_p
ctx = ctypes.c_void_p(lib.seccomp_init(ctypes.c_uint32(0x7fff0000)))
class Compare(ctypes.Structure):
    _fields_ = [("arg", ctypes.c_uint), ("op", ctypes.c_int), ("a", ctypes.c_uint64),
                ("b", ctypes.c_uint64)]
compare = Compare(0, 7, {flags}, {flags})
for call in {calls!r}:
    nr = lib.seccomp_syscall_resolve_name(call.encode())
    rc = lib.seccomp_rule_add_array(ctx, ctypes.c_uint32(0x00050000 | {errno}), nr,
                                    1 if {flags} else 0, ctypes.byref(compare))
    assert rc == 0, rc
assert lib.seccomp_load(ctx) == 0
os.execv(sys.argv[1], sys.argv[1:])
"""
    return ["/usr/bin/python3", "-c", code]


@pytest.fixture
def filtered(own):
    def make(*args, mode=None, **kwargs):
        engine = own(mode=mode, start=False)
        command = engine.command()
        prefix = refusing(*args, **kwargs)
        if command[0] == "setpriv":
            # Under the filter from the start: without no_new_privs it takes root to load one.
            command[0] = shutil.which("setpriv")
        engine.command = lambda: prefix + command
        return engine
    return make


CLONE_NEWUSER = 0x10000000


@pytest.mark.skipif(os.geteuid() != 0, reason="loading a filter")
class TestRefusals:
    def test_clone3(self, filtered):
        """systemd's RestrictNamespaces= answers clone3 with ENOSYS."""
        engine = filtered("clone3")
        engine.start()
        engine.wait_state("ready")
        pool = engine.attach()
        assert verdict_of(pool.scan(mail(attachment(EICAR)))) == INFECTED
        pool.close()

    def test_landlock(self, filtered):
        engine = filtered("landlock_create_ruleset")
        engine.start()
        engine.wait_state("ready")
        assert "NO landlock" in engine.status()["sandbox"]
        assert "offers no landlock" in engine.log_text()

    def test_user_namespaces(self, filtered):
        engine = filtered("clone3")
        prefix = refusing("clone", errno=1, flags=CLONE_NEWUSER)
        inner = engine.command()
        engine.command = lambda: prefix + inner
        engine.start()
        engine.wait_state("failed")
        assert "user namespaces are forbidden" in engine.status()["error"]

    @pytest.mark.parametrize("call", ["fsopen", "open_tree", "mount_setattr", "pivot_root",
                                      "capset", "setresuid", "setgroups"])
    def test_no_step_of_the_zygote_is_left_out(self, filtered, call):
        engine = filtered(call, errno=1, mode="root")
        engine.start()
        engine.wait_state("failed")
        assert engine.status()["error"] and not engine.processes()["postern-zygote"]

    @pytest.mark.parametrize("call,step", [("landlock_restrict_self", "landlock"),
                                           ("prlimit64", "resource limits")])
    def test_no_step_of_a_worker_is_left_out(self, filtered, call, step):
        """The zygote does without these, so it loads; but no worker ever counts."""
        engine = filtered(call, errno=1, mode="root")
        engine.start()
        while not (engine.state_line() and engine.status()["error"]):
            assert engine.process.poll() is None
            time.sleep(0.02)
        status = engine.status()
        assert step in status["error"] and status["state"] == "loading", status
        assert engine.connect().call({"op": "selftest"})["ok"] is False
        # A slot tries again after 0.1, 0.2, 0.4 ... seconds, not at once.
        before = engine.log_text().count(step)
        time.sleep(1)
        assert engine.log_text().count(step) - before < 12
