#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""The scanning chain from outside: a real postern-engine with a private configuration, its zygote
and its workers, spoken to as posternd would.

    /usr/bin/python3 -m pytest scanner/worker/test-chain.py        (-s prints the tables)

As root every test runs with three kinds of engine: root, an ordinary user with the unit's two
capabilities, an ordinary user with none. As anybody else: the last. BUILD= names the build
directory (default: build/ beside the sources).
"""
import array
import base64
import bz2
import collections
import email.message
import email.mime.application
import email.mime.message
import email.mime.multipart
import email.mime.text
import email.policy
import fcntl
import gzip
import io
import json
import lzma
import os
import pathlib
import quopri
import select
import shutil
import signal
import socket
import statistics
import struct
import subprocess
import tarfile
import tempfile
import time
import uuid
import zipfile

import pytest

HERE = pathlib.Path(__file__).resolve().parent
BUILD = pathlib.Path(os.environ.get("BUILD", HERE.parent.parent / "build"))
FILES = pathlib.Path("/usr/share/clamav-testfiles")
NOBODY = 65534
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
    if facts["unscanned"] or facts["parts_total"] > len(facts["parts"]):
        return UNSCANNED
    return CLEAN


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


class Line:
    """One SOCK_SEQPACKET connection."""

    def __init__(self, sock):
        self.sock = sock

    def send(self, packet, fd=None):
        fds = [] if fd is None else [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))]
        self.sock.sendmsg([json.dumps(packet).encode()], fds)

    def receive(self, timeout=60):
        """(packet, descriptor or None); (None, None) at the end."""
        self.sock.settimeout(timeout)
        try:
            data, fds, _, _ = socket.recv_fds(self.sock, 1 << 18, 4)
        except ConnectionResetError:
            return None, None
        return (json.loads(data) if data else None), (fds[0] if fds else None)

    def call(self, packet, fd=None, timeout=60):
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

    def state_line(self):
        try:
            return (self.dir / "run/engine/state").read_text().split()
        except FileNotFoundError:
            return None

    def wait_state(self, state, timeout=30):
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
            self.process.wait(10)
        self.log.close()
        shutil.rmtree(self.dir)

    def processes(self):
        """{"postern-zygote": [pid], "postern-worker": [pids]} of this engine, by parentage."""
        found = collections.defaultdict(list)
        parents = {self.process.pid}
        tree = {}
        for path in pathlib.Path("/proc").glob("[0-9]*"):
            try:
                text = (path / "stat").read_text()
            except OSError:
                continue
            comm = text[text.index("(") + 1:text.rindex(")")]
            tree[int(path.name)] = (comm, int(text[text.rindex(")") + 2:].split()[1]))
        for _ in range(3):
            parents |= {pid for pid, (_, parent) in tree.items() if parent in parents}
        for pid in parents - {self.process.pid}:
            found[tree[pid][0]].append(pid)
        return found


class Pool:
    """What posternd does with the engine: attaches, takes workers, scans."""

    def __init__(self, line):
        self.line = line
        self.workers = collections.OrderedDict()
        self.gone = {}
        self.states = []
        assert line.call({"op": "attach"}) == {"ok": True}

    def event(self, timeout=30):
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

    def scan(self, data, seals=SEALS, timeout=90):
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
    import binascii
    lines = [binascii.b2a_uu(data[i:i + 45]) for i in range(0, len(data), 45)]
    return b"begin 644 eicar.com\r\n" + b"".join(l.rstrip(b"\n") + b"\r\n" for l in lines) + b"`\r\nend\r\n"


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


# Detection

def nested(data):
    inner = email.message_from_bytes(mail(attachment(data, "eicar.com"), subject="inner"))
    return mail(email.mime.message.MIMEMessage(inner), subject="outer")


INFECTED_MAILS = {
    "plain": lambda: raw_part("Content-Type: text/plain", EICAR),
    "attachment": lambda: mail(attachment(EICAR, "eicar.com")),
    "base64": lambda: raw_part("Content-Type: application/octet-stream\r\n"
                               "Content-Transfer-Encoding: base64", base64.encodebytes(EICAR)),
    "quoted-printable": lambda: raw_part("Content-Type: application/octet-stream\r\nContent-Transfer-"
                                         "Encoding: quoted-printable", quopri.encodestring(EICAR)),
    "uuencode, declared": lambda: raw_part("Content-Type: application/octet-stream\r\nContent-"
                                           "Transfer-Encoding: x-uuencode", uuencode(EICAR)),
    "uuencode in text": lambda: raw_part("Content-Type: text/plain",
                                         b"Hello,\r\n\r\n" + uuencode(EICAR)),
    "nested message": lambda: nested(EICAR),
    "zip": lambda: mail(attachment(zipped(EICAR), "a.zip")),
    "zip in zip": lambda: mail(attachment(zipped(zipped(EICAR)), "a.zip")),
    "zip with bzip2": lambda: mail(attachment(zipped(EICAR, method=zipfile.ZIP_BZIP2), "a.zip")),
    "tar.gz": lambda: mail(attachment(gzip.compress(tarred(EICAR)), "a.tar.gz")),
    "xz": lambda: mail(attachment(lzma.compress(EICAR), "a.xz")),
    "bz2": lambda: mail(attachment(bz2.compress(EICAR), "a.bz2")),
    "encoded message/rfc822": lambda: raw_part(
        "Content-Type: message/rfc822\r\nContent-Transfer-Encoding: base64",
        base64.encodebytes(mail(attachment(EICAR, "e.com")))),
    "base64 with padding inside": lambda: raw_part(
        "Content-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64",
        base64.b64encode(EICAR[:16]) + b"\r\n" + base64.b64encode(EICAR[16:]) + b"\r\n"),
    "no mail at all": lambda: EICAR,
    "zip, no mail": lambda: zipped(EICAR),
}


def tarred(data):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        info = tarfile.TarInfo("file.bin")
        info.size = len(data)
        archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


@pytest.mark.parametrize("kind", INFECTED_MAILS)
def test_eicar_is_found(pool, kind):
    facts = pool.scan(INFECTED_MAILS[kind]())
    assert verdict_of(facts) == INFECTED, why(facts)
    assert not facts["faults"]


CLEAN_MAILS = {
    "text": lambda: raw_part("Content-Type: text/plain", b"Hello.\r\n"),
    "attachment": lambda: mail(attachment(b"\0\1\2\3" * 1000)),
    "quotes EICAR": lambda: raw_part("Content-Type: text/plain",
                                     b"The test file is\r\n" + EICAR + b"\r\nand harmless.\r\n"),
    "zip": lambda: mail(attachment(zipped(b"harmless " * 100), "a.zip")),
    "tar.gz": lambda: mail(attachment(gzip.compress(tarred(b"harmless " * 100)), "a.tar.gz")),
    "html": lambda: raw_part("Content-Type: text/html", b"<html><body><p>Hello</p></body></html>"),
    "nested": lambda: nested(b"harmless " * 100),
    "empty attachment": lambda: mail(attachment(b"", "empty")),
    "zip with an empty and a tiny file": lambda: mail(attachment(tiny_zip(), "a.zip")),
    "many members": lambda: mail(attachment(many_zip(), "a.zip")),
    "empty body": lambda: raw_part("Content-Type: text/plain", b""),
    "no mail": lambda: b"just some text\n",
}


def tiny_zip():
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("dir/", b"")
        archive.writestr("empty", b"")
        archive.writestr("tiny", b"abc")
    return out.getvalue()


def many_zip():
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for i in range(60):
            archive.writestr(f"dir/file{i}.txt", f"text number {i}\n" * (i + 1))
    return out.getvalue()


@pytest.mark.parametrize("kind", CLEAN_MAILS)
def test_clean_mail_is_clean(pool, kind):
    facts = pool.scan(CLEAN_MAILS[kind]())
    assert verdict_of(facts) == CLEAN, why(facts)


def test_facts_describe_the_parts(pool):
    facts = pool.scan(mail(attachment(b"hello world", "gr\u00fc\u00dfe.txt")))
    assert [(p["path"], p["type"]) for p in facts["parts"]] == [
        ("", "multipart/mixed"), ("1", "text/plain"), ("2", "application/octet-stream")]
    part = facts["parts"][2]
    assert part["filename"] == "gr\u00fc\u00dfe.txt" and part["size"] == 11
    assert part["sha256"] == "b94d27b9934d3e08a52e52d7da7dabfac484efe37a5380ee9088f7ace2efcde9"
    assert facts["parts_total"] == 3 and facts["complete"] and facts["scan_us"] > 0


def test_no_test_file_is_clean(pool):
    """Every file of ClamAV's set is the same program in another wrapping."""
    verdicts = {}
    for path in sorted(FILES.iterdir()):
        facts = pool.scan(mail(attachment(path.read_bytes(), path.name)))
        verdicts[path.name] = verdict_of(facts)
        print(f"{path.name:32} {verdicts[path.name]:18} {why(facts)[:110]}")
    assert len(verdicts) >= 44
    assert not [name for name, verdict in verdicts.items() if verdict not in (INFECTED, UNSCANNED)]
    assert sum(v == INFECTED for v in verdicts.values()) >= 40


# What was not scanned whole

def seven_nested(data, depth):
    for _ in range(depth):
        data = zipped(data)
    return data


def encrypted_zip():
    """A ZIP whose only member claims to be encrypted; nobody has the password."""
    data = bytearray(zipped(b"secret " * 20, "secret.txt"))
    data[6] |= 1
    data[data.index(b"PK\1\2") + 8] |= 1
    return bytes(data)


def zip_method(method):
    data = bytearray(zipped(b"packed " * 20, "packed.bin"))
    struct.pack_into("<H", data, 8, method)
    struct.pack_into("<H", data, data.index(b"PK\1\2") + 10, method)
    return bytes(data)


def two_members_one_unknown():
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.txt", b"harmless " * 20)
        archive.writestr("b.bin", b"packed " * 20)
    data = bytearray(out.getvalue())
    struct.pack_into("<H", data, data.index(b"PK\3\4", 10) + 8, 98)
    struct.pack_into("<H", data, data.rindex(b"PK\1\2") + 10, 98)
    return bytes(data)


def packed_by(*command):
    return subprocess.run(command, input=EICAR * 3, capture_output=True, check=True).stdout


UNSCANNED_MAILS = {
    "bomb": ("limit", lambda: mail(attachment(zipped(bytes(450 << 20) + EICAR), "a.zip"))),
    "25 nested zips": ("limit", lambda: mail(attachment(seven_nested(EICAR, 25), "a.zip"))),
    "encrypted zip": ("encrypted", lambda: mail(attachment(encrypted_zip(), "a.zip"))),
    "zip with PPMd": ("unsupported", lambda: mail(attachment(zip_method(98), "a.zip"))),
    "zip with one PPMd member": ("unsupported",
                                 lambda: mail(attachment(two_members_one_unknown(), "a.zip"))),
    "zstd": ("unsupported", lambda: mail(attachment(packed_by("zstd", "-c"), "a.zst"))),
    "lz4": ("unsupported", lambda: mail(attachment(packed_by("lz4", "-c"), "a.lz4"))),
    "lzma": ("unsupported", lambda: mail(attachment(
        lzma.compress(EICAR, lzma.FORMAT_ALONE), "a.lzma"))),
    "rar": ("unsupported", lambda: mail(attachment(b"Rar!\x1a\7\1\0" + bytes(200), "a.rar"))),
    "rar in zip": ("unsupported", lambda: mail(attachment(
        zipped(b"Rar!\x1a\7\1\0" + bytes(200)), "a.zip"))),
    "rar behind a program": ("unsupported", lambda: mail(attachment(
        (FILES / "clam_IScab_int.exe").read_bytes()[:64] + bytes(4096) + b"Rar!\x1a\7\1\0"
        + bytes(200), "setup.exe"))),
    "message/partial": ("unsupported", lambda: raw_part(
        'Content-Type: message/partial; id="x@y"; number=1; total=2', b"Subject: x\r\n\r\nabc\r\n")),
    "encoded multipart": ("unsupported", lambda: raw_part(
        'Content-Type: multipart/mixed; boundary="b"\r\nContent-Transfer-Encoding: base64',
        base64.encodebytes(b"--b\r\nContent-Type: application/octet-stream\r\n\r\n" + EICAR
                           + b"\r\n--b--\r\n"))),
    "60 nested multiparts": ("limit", lambda: deep_multipart(60)),
    "1500 parts": (None, lambda: mail(*[attachment(b"part %d" % i) for i in range(1500)])),
}


def deep_multipart(depth):
    body = b"Content-Type: text/plain\r\n\r\nhello\r\n"
    for i in range(depth):
        mark = b"b%d" % i
        body = (b'Content-Type: multipart/mixed; boundary="' + mark + b'"\r\n\r\n--' + mark + b"\r\n"
                + body + b"\r\n--" + mark + b"--\r\n")
    return b"From: a@example.com\r\nMIME-Version: 1.0\r\n" + body


@pytest.mark.parametrize("kind", UNSCANNED_MAILS)
def test_what_is_not_scanned_is_not_clean(pool, kind):
    cause, make = UNSCANNED_MAILS[kind]
    facts = pool.scan(make())
    print(verdict_of(facts), why(facts))
    assert verdict_of(facts) in (UNSCANNED, INFECTED)
    if cause is not None and verdict_of(facts) == UNSCANNED:
        assert cause in [u["cause"] for u in facts["unscanned"]]


def test_a_limit_hides_no_virus(pool):
    """EICAR after something that exceeds a limit is still named."""
    facts = pool.scan(mail(attachment(seven_nested(b"x" * 100, 25), "a.zip"),
                           attachment(EICAR, "e.com")))
    assert verdict_of(facts) == INFECTED


# Mail from all over the world

CHARSETS = ["utf-8", "iso-8859-1", "iso-8859-2", "iso-8859-5", "iso-8859-7", "iso-8859-15", "koi8-r",
            "koi8-u", "windows-1250", "windows-1251", "windows-1252", "windows-1256", "iso-2022-jp",
            "shift_jis", "euc-jp", "gb2312", "gb18030", "big5", "euc-kr", "iso-2022-kr", "tis-620",
            "utf-16", "utf-7", "x-unknown-9", "windows-874", "cp866", "hz-gb-2312", "iso-8859-8-i"]


def test_no_charset_kills_a_worker(pool):
    text = b"\xe4\xf6\xfc \xa4\xa2 \x1b$B$\"\x1b(B +AOQ-"
    for charset in CHARSETS:
        word = b"=?" + charset.encode() + b"?B?" + base64.b64encode(text) + b"?="
        facts = pool.scan(b"From: " + word + b" <a@example.com>\r\nSubject: " + word
                          + b"\r\nMIME-Version: 1.0\r\nContent-Type: text/html; charset="
                          + charset.encode() + b"; name=\"" + word + b"\"\r\n\r\n<html><head><meta "
                          b"http-equiv=content-type content=\"text/html; charset=" + charset.encode()
                          + b"\"></head><body>" + text + b"</body></html>\r\n")
        assert verdict_of(facts) == CLEAN, (charset, why(facts))


# Faults

def test_a_message_that_is_not_sealed_is_refused(pool):
    for seals in (0, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW):
        facts = pool.scan(mail(), seals)
        assert verdict_of(facts) == ERROR and "sealed" in facts["faults"][0]


def test_an_unknown_operation_is_answered(pool):
    _, line = pool.worker()
    assert line.call({"op": "dance"})["ok"] is False
    assert verdict_of(pool.scan(mail())) == CLEAN


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="reaches into workers through /proc")


@needs_root
def test_a_full_temporary_directory_is_an_error(own):
    engine = own(workers=1, scan_size="1M", scan_file_size="1M")
    engine.wait_state("ready")
    pool = engine.attach()
    number, _ = pool.worker()
    [pid] = engine.processes()["postern-worker"]
    # Root is nobody in a file system of the worker's user namespace: its user fills it.
    cwd = os.open(f"/proc/{pid}/cwd/", os.O_RDONLY)
    os.setegid(os.fstat(cwd).st_gid)
    os.seteuid(os.fstat(cwd).st_uid)
    try:
        fill = os.open("fill", os.O_WRONLY | os.O_CREAT, 0o600, dir_fd=cwd)
        with pytest.raises(OSError):
            while True:
                os.write(fill, bytes(1 << 16))
        os.close(fill)
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.close(cwd)
    facts = pool.scan(mail(attachment(zipped(EICAR), "a.zip")))
    print(why(facts))
    assert verdict_of(facts) != CLEAN and facts["faults"]
    assert "No space left" in " ".join(facts["faults"])
    # After a fault nobody relies on that worker again.
    assert pool.wait_gone(number) == "retired"
    assert verdict_of(pool.scan(mail(attachment(zipped(b"text " * 9), "a.zip")))) == CLEAN
    pool.close()


@needs_root
def test_an_unwritable_temporary_directory_is_an_error(engine, pool):
    number, _ = pool.worker()
    for pid in engine.processes()["postern-worker"]:
        os.chmod(f"/proc/{pid}/cwd/", 0o500)
    for data in (zipped(EICAR), zipped(b"harmless " * 100)):
        facts = pool.scan(mail(attachment(data, "a.zip")))
        assert facts["faults"] and verdict_of(facts) in (ERROR, INFECTED), why(facts)
    assert pool.wait_gone(number) == "retired"


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

    @pytest.mark.parametrize("call", ["landlock_restrict_self", "prlimit64", "seccomp"])
    def test_no_step_of_a_worker_is_left_out(self, filtered, call):
        """The zygote does without these, so it loads; but no worker ever counts."""
        engine = filtered(call, errno=1, mode="root")
        engine.start()
        deadline = time.monotonic() + 20
        status = None
        while time.monotonic() < deadline:
            if engine.state_line():
                status = engine.status()
                if status["error"]:
                    break
            time.sleep(0.02)
        assert status["error"] and status["state"] != "ready", status
        assert engine.connect().call({"op": "selftest"})["ok"] is False


def test_a_killed_worker_is_replaced(engine, pool):
    number, line = pool.worker()
    pool.line.send({"op": "kill", "worker": number})
    assert pool.wait_gone(number) == "killed"
    assert line.receive(5) == (None, None)
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
    busy = max(pids, key=lambda pid: wait_cpu(pid))
    os.kill(busy, signal.SIGKILL)
    assert line.receive(5) == (None, None)
    assert pool.wait_gone(number) == "signal 9"
    while len(pool.workers) < 2:
        pool.event()


def wait_cpu(pid):
    """CPU ticks that the process takes in the next 200 ms."""
    ticks = lambda: sum(map(int, pathlib.Path(f"/proc/{pid}/stat").read_text()
                            .rpartition(")")[2].split()[11:13]))
    before = ticks()
    time.sleep(0.2)
    return ticks() - before


def test_a_worker_retires(own):
    engine = own(workers=1, worker_scans=3)
    engine.wait_state("ready")
    pool = engine.attach()
    first, _ = pool.worker()
    for _ in range(3):
        pool.scan(mail())
    assert first not in pool.workers and pool.wait_gone(first) == "retired"
    assert pool.worker()[0] != first
    assert engine.state_line()[0] == "ready"
    pool.close()


# The engine

def test_status_and_state_file(engine):
    status = engine.status()
    assert status["ok"] and status["state"] == "ready" and status["generation"] == "gen-1"
    assert status["signatures"] == 3 and not status["test_only"] and status["error"] is None
    assert status["workers"] == 2 and status["restarts"] == 0 and status["load_seconds"] > 0
    assert ("ONE user" in status["sandbox"]) == (engine.mode == "user")
    print(status["sandbox"])
    state, since, seconds, generation = engine.state_line()
    assert (state, generation) == ("ready", "gen-1")
    assert int(since) == status["since"] and abs(float(seconds) - status["load_seconds"]) < 0.001


def test_selftest(engine, pool):
    line = engine.connect()
    answer = line.call({"op": "selftest"})
    assert answer["ok"] and answer["ms"] < 1000
    line.close()


def test_only_one_attaches(engine, pool):
    line = engine.connect()
    assert line.call({"op": "attach"})["ok"] is False
    assert line.call({"op": "kill", "worker": 1})["ok"] is False
    assert line.call({"op": "dance"})["ok"] is False
    line.close()


def test_workers_of_who_left_are_replaced(engine):
    pool = engine.attach()
    numbers = {pool.worker()[0]}
    lines = dict(pool.workers)
    pool.line.close()
    for line in lines.values():
        assert line.receive(5) == (None, None)
    pool = engine.attach()
    assert pool.worker()[0] not in numbers
    assert verdict_of(pool.scan(mail(attachment(EICAR)))) == INFECTED
    pool.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs a second user")
def test_strangers_are_refused(engine):
    if engine.mode == "user" or engine.mode == "caps":
        uid = 12345
    else:
        uid = NOBODY
    code = ("import socket; s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET); "
            f"s.connect('{engine.dir}/run/engine/engine.sock'); print(s.recv(999).decode())")
    out = subprocess.run(["setpriv", f"--reuid={uid}", "--clear-groups", "/usr/bin/python3", "-c",
                          code], capture_output=True, text=True)
    assert '"ok":false' in out.stdout, out


def test_a_dead_zygote_is_replaced(own):
    engine = own(mode="root" if os.geteuid() == 0 else "user")
    engine.wait_state("ready")
    pool = engine.attach()
    pool.worker()
    [zygote] = engine.processes()["postern-zygote"]
    since = engine.state_line()
    os.kill(zygote, signal.SIGKILL)
    while not [s for s in pool.states if s["state"] == "loading"]:
        pool.event()
    while not [s for s in pool.states if s["state"] == "ready" and s["restarts"] == 1]:
        pool.event()
    assert len(pool.gone) >= 1 and since != engine.state_line()
    assert verdict_of(pool.scan(mail(attachment(EICAR)))) == INFECTED
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
    assert status["restarts"] == 4 and status["generation"] == "bad"
    assert engine.connect().call({"op": "selftest"})["ok"] is False


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
    pids = [pid for pids in engine.processes().values() for pid in pids]
    engine.process.terminate()
    assert engine.process.wait(10) == 0
    assert not [pid for pid in pids if pathlib.Path(f"/proc/{pid}").exists()]
    assert engine.state_line() is None and not (engine.dir / "run/engine/engine.sock").exists()


def test_a_killed_engine_takes_all_with_it(own):
    engine = own()
    engine.wait_state("ready")
    pids = [pid for pids in engine.processes().values() for pid in pids]
    watches = [os.pidfd_open(pid) for pid in pids]
    engine.process.kill()
    engine.process.wait(10)
    for fd in watches:
        assert select.select([fd], [], [], 10)[0], "a process outlives its engine"
        os.close(fd)
    engine.start()
    engine.wait_state("ready")


def test_notify_socket_is_poked(own):
    engine = own(start=False)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sock.bind(str(engine.dir / "run/notify.sock"))
    (engine.dir / "run/notify.sock").chmod(0o666)
    engine.start()
    sock.settimeout(20)
    while (engine.state_line() or ["none"])[0] != "ready":
        assert sock.recv(10) == b""
    sock.close()


# The sandbox, seen from outside

@pytest.mark.skipif(os.geteuid() != 0, reason="/proc of other users")
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
        mounts = pathlib.Path(f"/proc/{pid}/mountinfo").read_text()
        assert "/home" not in mounts and "/etc/passwd" not in mounts
    if engine.mode == "user":
        assert uids == {str(NOBODY)}
    else:
        assert len(uids) == len(workers) and uids <= {str(n) for n in range(60701, 60956)}


def test_temporary_directories_are_empty_between_scans(engine, pool):
    if os.geteuid() != 0:
        pytest.skip("/proc of other users")
    pool.scan(mail(attachment(zipped(EICAR), "a.zip")))
    for pid in engine.processes()["postern-worker"]:
        assert os.listdir(f"/proc/{pid}/cwd/") == []
        assert os.statvfs(f"/proc/{pid}/cwd/").f_bfree > 0


# How fast

def test_speed(engine, pool):
    line = engine.connect()
    tests = []
    for _ in range(10):
        answer = line.call({"op": "selftest"})
        while not answer["ok"]:
            answer = line.call({"op": "selftest"})
        tests.append(answer["ms"])
    line.close()
    message = mail(attachment(os.urandom(20000)))
    times = []
    for _ in range(30):
        start = time.perf_counter()
        assert verdict_of(pool.scan(message)) == CLEAN
        times.append((time.perf_counter() - start) * 1000)
    print(f"{engine.mode}: fork to ready {statistics.median(tests)} ms (max {max(tests)}), "
          f"27 kB mail {statistics.median(times):.1f} ms (max {max(times):.1f})")
    assert statistics.median(tests) < 200
