#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""A private postern-engine for tests, spoken to as posternd would; and mails to scan.

BUILD= names the build directory (default: build/ beside the sources).
"""
import array
import atexit
import binascii
import collections
import contextlib
import ctypes
import email.message
import email.mime.application
import email.mime.message
import email.mime.multipart
import email.mime.text
import email.policy
import fcntl
import io
import json
import os
import pathlib
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import zipfile

import pytest

HERE = pathlib.Path(__file__).resolve().parent
BUILD = pathlib.Path(os.environ.get("BUILD", HERE.parent.parent / "build"))
FILES = pathlib.Path("/usr/share/clamav-testfiles")
NOBODY = 65534
# What is waited for comes, however slow the machine is; this is only the end of a test that hangs.
PATIENCE = 300
# In halves, so that no other scanner eats this file.
EICAR = rb"X5O!P%@AP[4\PZX54(P^)7CC)7}$EICAR-" + b"STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"

CLEAN, INFECTED, UNSCANNED, ERROR, LOST = "clean", "infected", "not fully scanned", "error", "lost"
SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE


def verdict_of(facts):
    """As facts_verdict() in scanner/facts.c."""
    if facts is None:
        return LOST
    if facts["detections"]:
        return INFECTED
    if facts["faults"] or not facts["complete"]:
        return ERROR
    return UNSCANNED if facts["unscanned"] else CLEAN


def why(facts):
    if facts is None:
        return "the worker died"
    return ", ".join(facts["detections"] + facts["faults"]
                     + [f"{u['cause']}: {u['detail']} @{u['part']}" for u in facts["unscanned"]])


def memfd(data, seals=SEALS):
    fd = os.memfd_create("mail", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.write(fd, data) if len(data) < 1 << 20 else os.pwrite(fd, data, 0)
    if seals:
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
    return fd


def has_mail(pid):
    """Whether a worker has been given what memfd() made."""
    with contextlib.suppress(FileNotFoundError):  # one that was just closed
        return any(os.readlink(fd).startswith("/memfd:mail")
                   for fd in pathlib.Path(f"/proc/{pid}/fd").iterdir())
    return False


def all_end(watches):
    """Waits for the end of what the pidfds WATCHES are of, and closes them."""
    for fd in watches:
        assert select.select([fd], [], [], PATIENCE)[0], "a process outlives its engine"
        os.close(fd)


def crash(pid):
    """Sends the process to an address where there is nothing: as a broken loader would go there."""
    ptrace = ctypes.CDLL(None, use_errno=True).ptrace
    ptrace.argtypes = [ctypes.c_long] * 4
    registers = (ctypes.c_ulonglong * 27)()
    attach, detach, get, put = 16, 17, 12, 13
    assert ptrace(attach, pid, 0, 0) == 0, os.strerror(ctypes.get_errno())
    os.waitpid(pid, 0x40000000)  # __WALL
    assert ptrace(get, pid, 0, ctypes.addressof(registers)) == 0
    registers[16] = 1  # rip
    assert ptrace(put, pid, 0, ctypes.addressof(registers)) == 0
    assert ptrace(detach, pid, 0, 0) == 0
    os.kill(pid, signal.SIGCONT)


class Line:
    """One SOCK_SEQPACKET connection."""

    def __init__(self, sock):
        self.sock = sock

    def send(self, packet, fd=None):
        fds = [] if fd is None else [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))]
        self.sock.sendmsg([json.dumps(packet).encode()], fds)

    def receive(self, timeout=PATIENCE):
        """(packet, descriptor or None); (None, None) at the end."""
        self.sock.settimeout(timeout)
        try:
            data, fds, _, _ = socket.recv_fds(self.sock, 1 << 18, 4)
        except ConnectionResetError:
            return None, None
        return (json.loads(data) if data else None), (fds[0] if fds else None)

    def call(self, packet, fd=None, timeout=PATIENCE):
        self.send(packet, fd)
        return self.receive(timeout)[0]

    def close(self):
        self.sock.close()


class Engine:
    """A postern-engine of its own, in a directory of its own."""

    def __init__(self, mode, signatures=True, workers=2, start=True, **settings):
        self.mode = mode
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="postern-test-"))
        self.dir.chmod(0o755)
        for name in ("run", "run/engine", "signatures"):
            (self.dir / name).mkdir(mode=0o755)
        for program in ("postern-engine", "postern-zygote"):
            shutil.copy2(BUILD / program, self.dir / program)
            (self.dir / program).chmod(0o755)
        if signatures:
            self.generation("gen-1", test_signatures())
        if mode != "root" and os.geteuid() == 0:
            os.chown(self.dir / "run/engine", NOBODY, NOBODY)
        lines = {"engine_dir": f'"{self.dir}/run/engine"',
                 "signatures_dir": f'"{self.dir}/signatures"', "workers": workers, **settings}
        self.config = self.dir / "postern.conf"
        self.config.write_text("".join(f"{k} = {v}\n" for k, v in lines.items()))
        self.process = None
        if start:
            self.start()

    def generation(self, name, files):
        path = self.dir / "signatures" / name
        path.mkdir(mode=0o755)
        for file, text in files.items():
            (path / file).write_text(text)
        link = self.dir / "signatures/.new"
        link.symlink_to(name)
        link.rename(self.dir / "signatures/current")

    def command(self):
        command = [str(self.dir / "postern-engine"), "--config", str(self.config), "--foreground",
                   "--debug"]
        if os.geteuid() != 0 or self.mode == "root":
            return command
        caps = "+setuid,+setgid" if self.mode == "caps" else ""
        sets = "-all" + ("," + caps if caps else "")
        return ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups",
                f"--inh-caps={sets}", f"--ambient-caps={sets}", f"--bounding-set={sets}",
                "--no-new-privs"] + command

    def start(self):
        self.log = open(self.dir / "log", "ab")
        # A session of its own: a test that kills the group must not hit pytest.
        self.process = subprocess.Popen(self.command(), stderr=self.log, start_new_session=True)
        self.started = time.monotonic()
        # Whatever happens to the test: no engine outlives it.
        atexit.register(self.process.kill)

    def state_line(self):
        try:
            return (self.dir / "run/engine/state").read_text().split()
        except FileNotFoundError:
            return None

    def wait_state(self, state, timeout=PATIENCE):
        """Waits on the events, not on the clock, once there is a socket to ask."""
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            if self.process.poll() is not None:
                raise AssertionError("the engine ended: " + self.log_text())
            line = self.state_line()
            if line and line[0] == state:
                return line
            time.sleep(0.01)
        raise AssertionError(f"not {state} within {timeout} s: " + self.log_text())

    def log_text(self):
        return (self.dir / "log").read_text()

    def connect(self):
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        sock.connect(str(self.dir / "run/engine/engine.sock"))
        return Line(sock)

    def status(self):
        line = self.connect()
        try:
            return line.call({"op": "status"})
        finally:
            line.close()

    def attach(self):
        return Pool(self.connect())

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(PATIENCE)
        self.log.close()
        shutil.rmtree(self.dir)

    @staticmethod
    def _all():
        """{pid: (name, parent)} of what runs: one that has ended may wait for its parent to hear it."""
        tree = {}
        for path in pathlib.Path("/proc").glob("[0-9]*"):
            try:
                text = (path / "stat").read_text()
            except OSError:
                continue
            state, parent = text[text.rindex(")") + 2:].split()[:2]
            if state not in "ZX":
                tree[int(path.name)] = (text[text.index("(") + 1:text.rindex(")")], int(parent))
        return tree

    def processes(self):
        """{"postern-zygote": [pid], "postern-worker": [pids]} of this engine, by parentage."""
        found = collections.defaultdict(list)
        parents = {self.process.pid}
        tree = self._all()
        for _ in range(3):
            parents |= {pid for pid, (_, parent) in tree.items() if parent in parents}
        for pid in parents - {self.process.pid}:
            name, parent = tree[pid]
            if name == tree.get(parent, ("",))[0] == "postern-zygote":
                name = "postern-worker"     # just forked: it has not yet said who it is
            found[name].append(pid)
        return found

    def watches(self):
        """A pidfd of each process of this engine; what looks at the disk comes and goes."""
        found = []
        for pid in [pid for pids in self.processes().values() for pid in pids]:
            with contextlib.suppress(ProcessLookupError):
                found.append(os.pidfd_open(pid))
        return found

    def children(self, parent):
        return [pid for pid, (_, its) in self._all().items() if its == parent]


class Pool:
    """What posternd does with the engine: attaches, takes workers, scans."""

    def __init__(self, line):
        self.line = line
        self.workers = collections.OrderedDict()
        self.gone = {}
        self.states = []
        assert line.call({"op": "attach"}) == {"ok": True}

    def event(self, timeout=PATIENCE):
        packet, fd = self.line.receive(timeout)
        assert packet is not None, "the engine hung up"
        if packet["event"] == "worker":
            sock = socket.socket(fileno=fd)
            self.workers[packet["worker"]] = Line(sock)
        elif packet["event"] == "gone":
            self.gone[packet["worker"]] = packet["cause"]
            self.workers.pop(packet["worker"], None)
        elif packet["event"] == "state":
            self.states.append(packet)
        return packet

    def worker(self, but=()):
        while not [n for n in self.workers if n not in but]:
            self.event()
        number = [n for n in self.workers if n not in but][0]
        return number, self.workers[number]

    def wait_gone(self, number):
        while number not in self.gone:
            self.event()
        return self.gone[number]

    def scan(self, data, seals=SEALS, timeout=PATIENCE):
        """The facts, or None when the worker died over it."""
        number, line = self.worker()
        fd = memfd(data, seals)
        try:
            answer = line.call({"op": "scan", "id": number}, fd, timeout)
        finally:
            os.close(fd)
        if answer is None or answer["retire"]:
            del self.workers[number]
            line.close()
        if answer is None:
            return None
        assert answer["id"] == number
        return answer["facts"]

    def close(self):
        self.line.close()
        for line in self.workers.values():
            line.close()


def test_signatures():
    """Signatures of ClamAV's harmless test program: its hash, and its code for what is packed."""
    hsb = subprocess.run(["sigtool", "--sha256", FILES / "clam.exe"], check=True,
                         capture_output=True, text=True).stdout
    code = "33c050508bf3535350b02940300466ac79f9ba3100780dad50ff66700e1fbe3100e9"
    return {"test.hsb": hsb, "test.ndb": f"Test.Clam:0:*:{code}\n"}


test_signatures.__test__ = False


def mail(*parts, subject="test"):
    root = email.mime.multipart.MIMEMultipart()
    root["From"], root["To"], root["Subject"] = "a@example.com", "b@example.com", subject
    root.attach(email.mime.text.MIMEText("See the attachment.\n"))
    for part in parts:
        root.attach(part)
    return root.as_bytes(policy=email.policy.SMTP)


def attachment(data, name="file.bin"):
    part = email.mime.application.MIMEApplication(data)
    part.add_header("Content-Disposition", "attachment", filename=name)
    return part


def zipped(data, name="file.bin", method=zipfile.ZIP_DEFLATED):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        archive.writestr(name, data)
    return out.getvalue()


def raw_part(headers, body):
    head = "From: a@example.com\r\nMIME-Version: 1.0\r\n" + headers + "\r\n\r\n"
    return head.encode() + body


def uuencode(data):
    lines = [binascii.b2a_uu(data[i:i + 45]) for i in range(0, len(data), 45)]
    return b"begin 644 eicar.com\r\n" + b"".join(l.rstrip(b"\n") + b"\r\n" for l in lines) + b"`\r\nend\r\n"


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="reaches into workers through /proc")
MODES = ["root", "caps", "user"] if os.geteuid() == 0 else ["user"]


@pytest.fixture(scope="module", params=MODES)
def engine(request):
    engine = Engine(request.param)
    engine.wait_state("ready")
    yield engine
    engine.stop()


@pytest.fixture
def pool(engine):
    pool = engine.attach()
    # A slot is filled again only when its old worker is gone: now there are these two and no more.
    while len(pool.workers) < 2:
        pool.event()
    yield pool
    pool.close()


@pytest.fixture(scope="module")
def scanner():
    """The workers of one engine, for tests of what they find; in the mode closest to the unit."""
    engine = Engine("caps")
    engine.wait_state("ready")
    pool = engine.attach()
    yield pool
    pool.close()
    engine.stop()


@pytest.fixture
def own():
    """Makes engines for tests that break them; in the mode closest to the unit."""
    engines = []

    def make(mode=None, **settings):
        engines.append(Engine(mode or ("caps" if "caps" in MODES else "user"), **settings))
        return engines[-1]

    yield make
    for engine in engines:
        engine.stop()
