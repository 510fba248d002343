# SPDX-License-Identifier: GPL-2.0-only
"""The clamd protocol: real clients, the same questions to a real clamd, and abuse."""
import array
import contextlib
import os
import pathlib
import re
import shutil
import socket
import struct
import subprocess
import sys
import threading
import time

import pytest

import instance
import mails
import postfix
from instance import wait_for

sys.path.append("/usr/lib/python3/dist-packages")
SHARE = 32 << 20  # clamd's clients may hold half of spool_memory


@pytest.fixture(scope="module")
def files(folder):
    top = folder / "clamd files"
    (top / "sub/deep").mkdir(parents=True)
    (top / "clean").write_bytes(b"clean\n")
    (top / "sub/deep/eicar.com").write_bytes(mails.EICAR)
    (top / "empty").write_bytes(b"")
    (top / "link").symlink_to("/etc/passwd")
    (top / "sub/linked").symlink_to("/etc")
    os.mkfifo(top / "fifo")
    (folder / "outside").write_bytes(b"outside\n")
    return top


@pytest.fixture(scope="module")
def eicar(folder):
    """A signature that clamd and Postern share, so that answers can be compared."""
    path = folder / "eicar.com"
    path.write_bytes(mails.EICAR)
    made = subprocess.run(["sigtool", "--sha256", path], check=True, capture_output=True, text=True)
    signature = folder / "eicar.hsb"
    signature.write_text(made.stdout.replace(":eicar.com", ":Test.Eicar"))
    return signature


@pytest.fixture(scope="module")
def daemon(folder, files, eicar, signatures):
    port = postfix.free_port()
    home = folder / "clamd"
    one = instance.Instance(home, [eicar, *signatures], (
        f'clamd_listen = {{"unix:{home}/clamd.sock", "inet:127.0.0.1:{port}"}}\n'
        f'clamd_paths = {{"{files}"}}\nclamd_clients = 60\nclamd_socket_mode = "0666"\n'
        'message_size = "16M"\nspool_memory = "64M"\nclient_timeout = 10\n'))
    one.socket, one.port = str(home / "clamd.sock"), port
    yield one.start()
    one.stop()


def chunk(data):
    return struct.pack(">I", len(data)) + data


def stream(data, size=4096):
    pieces = [chunk(data[i:i + size]) for i in range(0, len(data), size)]
    return b"".join([b"zINSTREAM\0", *pieces, chunk(b"")])


def connect(path):
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(300)
    sock.connect(path)
    return sock


def send(sock, pieces):
    """Bytes, or (bytes, path) for bytes that carry a descriptor."""
    for piece in pieces:
        if isinstance(piece, tuple):
            fd = os.open(piece[1], os.O_RDONLY | os.O_NONBLOCK)
            sock.sendmsg([piece[0]], [(socket.SOL_SOCKET, socket.SCM_RIGHTS,
                                       array.array("i", [fd]))])
            os.close(fd)
        else:
            sock.sendall(piece)


def receive(sock):
    out = b""
    while data := sock.recv(65536):
        out += data
    return out


def same_names(answer):
    """EICAR has two names here (ours is built in), and ALLMATCHSCAN says both."""
    answer = answer.replace(b"Postern.Test.EICAR.UNOFFICIAL", b"Test.Eicar.UNOFFICIAL")
    lines = re.split(rb"(?<=[\0\n])", answer)
    return b"".join(dict.fromkeys(lines))


def ask(path, *pieces):
    with connect(path) as sock:
        send(sock, pieces)
        return same_names(receive(sock))


# --- the same answers as clamd ---------------------------------------------------------------

@pytest.fixture(scope="module")
def clamd(folder, eicar):
    home = folder / "real-clamd"
    (home / "db").mkdir(parents=True)
    shutil.copy(eicar, home / "db")
    for path in (home, home / "db"):
        shutil.chown(path, "clamav")
    (home / "clamd.conf").write_text(
        f"LocalSocket {home}/clamd.sock\nDatabaseDirectory {home}/db\nForeground yes\n"
        f"StreamMaxLength 16M\nMaxThreads 4\nTemporaryDirectory {home}\n")
    with open(home / "log", "wb") as log:
        process = subprocess.Popen(["clamd", "-c", home / "clamd.conf"], stdout=log, stderr=log)
    def answers():
        with contextlib.suppress(OSError):
            return ask(str(home / "clamd.sock"), b"PING") == b"PONG\n"
    wait_for(answers, "clamd starts")
    yield str(home / "clamd.sock")
    process.terminate()
    process.wait(300)


SAME = [
    [b"PING"], [b"PING\n"], [b"PING\r\n"], [b"nPING\n"], [b"nPING\r\n"], [b"zPING\0"],
    [b"zPING x\0"], [b"PINGX"], [b"zSCAN\0"], [b"zping\0"], [b"END\n"], [b"zEND\0"], [b"STATS\n"],
    [b"INSTREAM\n"], [b"IDSESSION\n"], [b"VERSIONCOMMANDS\n"], [b"zFOO\0"], [b"\0"], [b"\n"],
    [b"n\n"], [b"z\0"], [b"zPING\0zPING\0"], [stream(mails.EICAR)], [stream(b"fine", 1)],
    [stream(b"")], [b"nINSTREAM\n" + chunk(mails.EICAR) + chunk(b"")],
    [b"zINSTREAM\0" + struct.pack(">I", 0xffffffff) + b"x"],
    [b"zIDSESSION\0zPING\0zEND\0"], [b"zIDSESSION\0zPING\0nPING\nzEND\0"], [b"zIDSESSION\0zEND\0"],
    [b"zIDSESSION\0" + stream(mails.EICAR) + b"zEND\0"], [b"zIDSESSION\0zFOO\0zPING\0"],
    [b"zIDSESSION\0zRELOAD\0"], [b"zIDSESSION\0zIDSESSION\0"], [b"zIDSESSION\0zCONTSCAN /\0"],
    [b"zIDSESSION\0zSCAN @/clean\0zEND\0"], [b"zFILDES\0", (b"\0", "@/sub/deep/eicar.com")],
    [(b"zFILDES\0\0", "@/clean")], [b"nFILDES\n", (b"x", "@/clean")], [b"zFILDES\0\0"],
    [b"zFILDES\0", (b"\0", "@")], [b"zFILDES\0", (b"\0", "@/empty")], [(b"zPING\0", "@/clean")],
    [b"zIDSESSION\0zFILDES\0", (b"\0", "@/sub/deep/eicar.com"), b"zEND\0"],
    [b"FILDES\n", (b"\0", "@/clean")], [b"zFILDES\0", (b"\0", "@/fifo")],
] + [[prefix + b" @" + path + end] for prefix, end in
     ((b"zSCAN", b"\0"), (b"SCAN", b""), (b"nCONTSCAN", b"\n"), (b"zMULTISCAN", b"\0"),
      (b"zALLMATCHSCAN", b"\0"))
     for path in (b"", b"/clean", b"/sub/deep/eicar.com", b"/empty", b"/none", b"/sub/deep/")]


@pytest.mark.parametrize("number", range(len(SAME)))
def test_same_answer_as_clamd(daemon, clamd, files, number):
    question = [(p[0], p[1].replace("@", str(files))) if isinstance(p, tuple)
                else p.replace(b"@", str(files).encode()) for p in SAME[number]]
    answers = [re.sub(rb"fd\[\d+\]", b"fd[N]", ask(path, *question))
               for path in (clamd, daemon.socket)]
    assert answers[0] == answers[1]


def test_more_than_clamd(daemon, files):
    """Where clamd calls something OK that it has not looked at."""
    name = str(files).encode()
    assert ask(daemon.socket, b"zSCAN " + name + b"/link\0").endswith(
        b"/link: Symbolic links are not followed. ERROR\0")
    assert ask(daemon.socket, b"zSCAN " + name + b"/fifo\0") == \
        name + b"/fifo: Not supported file type ERROR\0"
    big = files / "big"
    with open(big, "wb") as out:
        out.truncate((16 << 20) + 1)
    found = b": Heuristics.Limits.Exceeded.MaxFileSize FOUND\0"
    assert ask(daemon.socket, b"zSCAN " + bytes(big) + b"\0") == bytes(big) + found
    assert ask(daemon.socket, b"zFILDES\0", (b"\0", big)).endswith(found)
    big.unlink()


@pytest.mark.parametrize("path", ["/etc/passwd", "@/../outside", "@/sub/linked/passwd", "relative",
                                  "@x/clean", "/", "@/../../../../etc"])
def test_paths_outside_are_refused(daemon, files, path):
    path = path.replace("@", str(files)).encode()
    answer = ask(daemon.socket, b"zCONTSCAN " + path + b"\0")
    assert re.fullmatch(re.escape(path) + rb": (Path is not below a directory of clamd_paths|"
                        rb"Symbolic links are not followed)\. ERROR\0", answer)


def test_too_deep_is_not_ok(daemon, files):
    deep = files / "/".join(["nest"] + ["d"] * 20)
    deep.mkdir(parents=True)
    answer = ask(daemon.socket, b"zCONTSCAN " + bytes(files / "nest") + b"\0")
    assert answer.endswith(b": Directory recursion limit reached. ERROR\0")
    shutil.rmtree(files / "nest")


def test_not_fully_scanned_is_found(daemon, folder, files):
    """A container that nobody here opens, and one with a password."""
    path = files / "secret.zip"
    subprocess.run(["zip", "-q", "-j", "-P", "secret", path, files / "clean"], check=True)
    answer = ask(daemon.socket, stream(path.read_bytes()))
    assert re.fullmatch(rb"stream: Heuristics\.Encrypted\.\S+ FOUND\0", answer)
    rar = b"Rar!\x1a\x07\x00" + bytes(100)
    answer = ask(daemon.socket, stream(rar))
    assert re.fullmatch(rb"stream: Heuristics\.Limits\.Exceeded\.\S+ FOUND\0", answer)
    path.unlink()


def test_allmatchscan_lists_all(daemon, files):
    path = files / "two.eml"
    exe = pathlib.Path("/usr/share/clamav-testfiles/clam.exe").read_bytes()
    path.write_bytes(mails.multipart("two", [mails.attachment(mails.EICAR), mails.attachment(exe)]))
    lines = ask(daemon.socket, b"zALLMATCHSCAN " + bytes(path) + b"\0").split(b"\0")[:-1]
    assert {line.rsplit(b": ", 1)[1] for line in lines} == \
        {b"Test.Eicar.UNOFFICIAL FOUND", b"clam.exe.UNOFFICIAL FOUND"}
    path.unlink()


def test_version_and_stats(daemon):
    assert re.fullmatch(rb"ClamAV 1\.\d+\.\d+-postern-[\d.]+(/\d+/[^/]+)?\0",
                        ask(daemon.socket, b"zVERSION\0"))
    assert re.search(rb"^POOLS: 1\n\nSTATE: VALID PRIMARY\nTHREADS: live \d+  idle \d+ max \d+ "
                     rb".*\nQUEUE: 0 items\n.*MEMSTATS: .*\nEND\0$",
                     ask(daemon.socket, b"zSTATS\0"), re.S)


def test_forged_line(daemon, files):
    """A file name with a line end cannot speak for another file."""
    path = files / "sub/a\nfine: OK\nb.com"
    path.write_bytes(mails.EICAR)
    answer = ask(daemon.socket, b"nSCAN " + bytes(path.parent) + b"\n")
    assert b"\nfine" not in answer and answer.endswith(b" FOUND\n")
    path.unlink()


# --- real clients ----------------------------------------------------------------------------

@pytest.fixture(scope="module")
def clamdscan(daemon, folder):
    config = folder / "clamdscan.conf"
    config.write_text(f"LocalSocket {daemon.socket}\nStreamMaxLength 16M\n")

    def run(*words, **more):
        return subprocess.run(["clamdscan", "-c", config, "--no-summary", *words],
                              capture_output=True, timeout=300, check=False, **more)
    return run


@pytest.mark.parametrize("words", ["--stream", "--fdpass", "--multiscan", "--multiscan --fdpass",
                                   "--multiscan --stream", "--allmatch", ""])
def test_clamdscan(clamdscan, files, words):
    done = clamdscan(*words.split(), files / "sub")
    assert done.returncode == 1, done
    assert same_names(done.stdout) == bytes(files) + b"/sub/deep/eicar.com: Test.Eicar.UNOFFICIAL FOUND\n"
    done = clamdscan(*words.split(), files / "clean")
    assert (done.returncode, done.stdout) == (0, bytes(files) + b"/clean: OK\n")


def test_clamdscan_others(clamdscan):
    assert clamdscan("--version").stdout.startswith(b"ClamAV 1.")
    assert clamdscan("--ping", "1").stdout == b"PONG\n"
    assert clamdscan("-", input=mails.EICAR).returncode == 1


def test_pyclamd(daemon, files):
    pyclamd = pytest.importorskip("pyclamd")
    for client in (pyclamd.ClamdUnixSocket(daemon.socket),
                   pyclamd.ClamdNetworkSocket("127.0.0.1", daemon.port)):
        def same(result):
            return eval(same_names(repr(result).encode()))

        found = ("FOUND", "Test.Eicar.UNOFFICIAL")
        path = str(files / "sub/deep/eicar.com")
        assert client.ping()
        assert client.version().startswith("ClamAV ")
        assert client.stats().startswith("POOLS")
        assert client.scan_stream(b"fine") is None
        assert same(client.scan_stream(mails.EICAR)) == {"stream": found}
        assert same(client.scan_file(path)) == {path: found}
        assert same(client.contscan_file(str(files / "sub"))) == {path: found}
        assert same(client.multiscan_file(str(files / "sub"))) == {path: found}
        assert found in same(client.allmatchscan(path))[path]


@pytest.mark.skipif(os.geteuid() != 0, reason="a private Postfix needs root")
def test_clamav_milter(daemon, folder):
    home = folder / "clamav-milter"
    home.mkdir()
    shutil.chown(home, "clamav")
    port = postfix.free_port()
    (home / "conf").write_text(
        f"MilterSocket inet:{port}@127.0.0.1\nClamdSocket unix:{daemon.socket}\nForeground yes\n"
        f"OnInfected Reject\nOnFail Defer\nAddHeader Replace\nTemporaryDirectory {home}\n"
        "User clamav\nMaxFileSize 16M\n")
    with open(home / "log", "wb") as log:
        process = subprocess.Popen(["clamav-milter", "-c", home / "conf"], stdout=log, stderr=log)
    mta = postfix.Postfix(folder / "postfix-clamav-milter", f"inet:127.0.0.1:{port}")
    try:
        mta.start()
        wait_for(lambda: mta.send(mails.clean("warm"))[0] == 250, "clamav-milter answers")
        code, text = mta.send(mails.with_attachment("bad", mails.EICAR))
        assert code == 550, text
        mta.drain()
        assert "bad" not in mta.delivered()
        (got,) = mta.delivered()["warm"]
        assert b"\nX-Virus-Status: Clean\n" in got
    finally:
        mta.stop()
        process.terminate()
        process.wait(300)


RSPAMD = """
options {{ pidfile = "{dir}/pid"; filters = ""; control_socket = "{dir}/control mode=0600";
  rrd = ""; url_tld = "{dir}/tld"; dns {{ nameserver = ["127.0.0.1:1"]; timeout = 10ms; }} }}
logging {{ type = "file"; filename = "{dir}/log"; level = "info"; }}
actions {{ reject = 15; add_header = 6; greylist = 4; }}
worker "normal" {{ bind_socket = "127.0.0.1:{port}"; count = 1; }}
worker "controller" {{ bind_socket = "127.0.0.1:{control}"; count = 1; secure_ip = "127.0.0.1"; }}
modules {{ path = "/usr/share/rspamd/plugins/antivirus.lua"; }}
antivirus {{ clamav {{ type = "clamav"; servers = "{server}"; symbol = "CLAM_VIRUS"; action = "reject";
  scan_mime_parts = false; retransmits = 1; timeout = 20; }} }}
"""


def test_rspamd(daemon, folder):
    home = folder / "rspamd"
    home.mkdir()
    port = postfix.free_port()
    (home / "tld").write_text("test\n")  # the real list takes a minute to compile
    (home / "rspamd.conf").write_text(RSPAMD.format(
        dir=home, port=port, control=postfix.free_port(), server=daemon.socket))
    with open(home / "out", "wb") as log:
        process = subprocess.Popen(
            ["rspamd", "-f", "-i", "-c", home / "rspamd.conf", "--var", f"DBDIR={home}", "--var",
             f"RUNDIR={home}", "--var", f"LOGDIR={home}"], stdout=log, stderr=log, cwd=home)

    def check(message):
        return subprocess.run(["rspamc", "-h", f"127.0.0.1:{port}", "symbols"], input=message,
                              capture_output=True, timeout=300, check=False)
    try:
        wait_for(lambda: check(mails.clean("clean")).returncode == 0, "rspamd answers")
        done = check(mails.with_attachment("bad", mails.EICAR))
        assert b"CLAM_VIRUS" in done.stdout and b".UNOFFICIAL" in done.stdout, \
            (done, (home / "log").read_text()[-3000:])
        assert b"CLAM_VIRUS" not in check(mails.clean("clean 2")).stdout
    finally:
        process.terminate()
        process.wait(300)


# --- abuse: closed or refused, and the others unhurt -----------------------------------------

def status(daemon):
    return daemon.json("status")["posternd"]


def held(daemon):
    return status(daemon)["spool"]["used"]


def connections(daemon):
    return sum(one["connections"] for one in status(daemon)["clamd"]["listeners"])


def is_unhurt(daemon):
    assert ask(daemon.socket, stream(mails.EICAR)) == b"stream: Test.Eicar.UNOFFICIAL FOUND\0"
    wait_for(lambda: held(daemon) == 0, "the memory comes back")


def test_endless_stream(daemon):
    """Too much is answered although the client goes on sending."""
    with connect(daemon.socket) as sock:
        sock.sendall(b"zINSTREAM\0")
        for _ in range(20):
            sock.sendall(chunk(bytes(1 << 20)))
        assert receive(sock) == b"INSTREAM size limit exceeded. ERROR\0"
    is_unhurt(daemon)


@pytest.mark.parametrize("pieces", [
    [b"zINSTREAM\0" + chunk(mails.EICAR)], [b"zINSTREAM\0\0\0\1\0abc"], [b"zINSTREAM\0\0\0"],
    [b"zIDSESSION\0" + stream(mails.EICAR)], [b"zFILDES\0"], [b"x" * 10000], [b"z" + b"x" * 10000],
    [os.urandom(100000)]], ids=range(8))
def test_truncated(daemon, pieces):
    """No answer but an error to what ends in the middle; nothing stays of it."""
    with connect(daemon.socket) as sock:
        try:
            send(sock, pieces)
            sock.shutdown(socket.SHUT_WR)
            assert b"OK" not in receive(sock)
        except OSError:
            pass
    is_unhurt(daemon)


def test_slow_clients_wait_alone(daemon):
    """More than clamd_clients connect and say nothing, or little; the rest is served."""
    socks = [connect(daemon.socket) for _ in range(50)]
    for sock in socks[:25]:
        sock.sendall(b"zINSTREAM\0" + chunk(b"x" * 1000))
    is_answered = ask(daemon.socket, b"zPING\0")
    assert is_answered == b"PONG\0"
    more = [connect(daemon.socket) for _ in range(20)]
    closed = sum(sock.recv(1) == b"" for sock in more[10:])
    assert closed == 10
    for sock in socks + more:
        sock.close()
    wait_for(lambda: connections(daemon) == 0, "the connections end")
    is_unhurt(daemon)


def test_idle_connection_is_closed(daemon):
    with connect(daemon.socket) as sock:
        assert sock.recv(1) == b""


def test_memory_is_shared(daemon):
    """Streams that never end may take clamd's half, not the mail's."""
    socks = []
    for _ in range(5):
        sock = connect(daemon.socket)
        sock.settimeout(300)
        socks.append(sock)
        sock.sendall(b"zINSTREAM\0")
        try:
            for _ in range(15):
                sock.sendall(chunk(bytes(1 << 20)))
        except OSError:
            pass
    assert held(daemon) <= SHARE
    answers = b""
    for sock in socks[2:]:
        try:
            answers += sock.recv(100)
        except TimeoutError:
            pass
    assert b"The memory for messages is in use, try again later. ERROR\0" in answers
    for sock in socks:
        sock.close()
    is_unhurt(daemon)


def test_a_client_that_does_not_read(daemon, files):
    with connect(daemon.socket) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        sock.sendall(b"zIDSESSION\0")
        sock.settimeout(1)
        try:
            for _ in range(20000):
                sock.sendall(b"zVERSIONCOMMANDS\0" * 10)
        except TimeoutError:
            pass
        is_unhurt(daemon)


def test_blocking_file_holds_nobody_up(daemon):
    """A passed FIFO, a terminal, a directory: refused; the loop never waits."""
    for path in ("/dev/zero", "/dev/null", "/proc/self/mem"):
        answer = ask(daemon.socket, b"zFILDES\0", (b"\0", path))
        assert answer.endswith(b" ERROR\0") or path == "/proc/self/mem", answer
        assert not answer.endswith(b"OK\0") or path == "/proc/self/mem"
    is_unhurt(daemon)


def as_nobody(code, *words):
    return subprocess.run(
        ["setpriv", "--reuid", "nobody", "--regid", "nogroup", "--clear-groups", "/usr/bin/python3",
         "-c", code, *words], capture_output=True, timeout=300, check=True).stdout


ASK = """
import socket, sys
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
s.sendall(sys.argv[2].encode())
sys.stdout.write(s.recv(1000).decode())
"""


@pytest.mark.parametrize("command", ["RELOAD", "SHUTDOWN", "QUIT"])
def test_control_is_for_root(daemon, command):
    pid = daemon.pid("posternd")
    refusal = b"COMMAND UNAVAILABLE, only root may say that, on the unix socket. ERROR"
    with socket.create_connection(("127.0.0.1", daemon.port)) as sock:
        sock.sendall(f"n{command}\n".encode())
        assert receive(sock) == refusal + b"\n"
    if os.geteuid() == 0:
        assert as_nobody(ASK, daemon.socket, f"n{command}\n") == refusal + b"\n"
    is_unhurt(daemon)
    assert daemon.pid("posternd") == pid


@pytest.mark.skipif(os.geteuid() != 0, reason="only root is heard")
def test_reload_reads_the_configuration(daemon):
    path = daemon.dir / "postern.conf"
    text = path.read_text()
    try:
        path.write_text(text + "client_timeout = nonsense\n")
        assert b"the configuration stays as it was" in ask(daemon.socket, b"nRELOAD\n")
        path.write_text(text)
        assert ask(daemon.socket, b"nRELOAD\n") == b"RELOADING\n"
    finally:
        path.write_text(text)
    is_unhurt(daemon)


def test_clients_that_leave_cost_no_worker(daemon):
    before = status(daemon)["pool"]["lost"]
    for _ in range(30):
        with connect(daemon.socket) as sock:
            sock.sendall(stream(mails.clean("leave") * 200))
    is_unhurt(daemon)
    assert status(daemon)["pool"]["lost"] == before


@pytest.mark.skipif(os.geteuid() != 0, reason="a private Postfix needs root")
def test_mail_goes_on_beside_multiscan(daemon, folder, files):
    many = files / "many"
    many.mkdir()
    for i in range(600):
        (many / f"{i:05}.eml").write_bytes(mails.clean(f"{i}", b"text\r\n" * 50))
    mta = postfix.Postfix(folder / "postfix-multiscan", f"unix:{daemon.dir}/milter.sock")
    mta.start()
    answer = []
    ended = []

    def scan_all():
        answer.append(ask(daemon.socket, b"zMULTISCAN " + bytes(many) + b"\0"))
        ended.append(time.monotonic())
    scan = threading.Thread(target=scan_all)
    try:
        scan.start()
        start = time.monotonic()
        times = []
        while scan.is_alive() and len(times) < 20:
            began = time.monotonic()
            assert mta.send(mails.clean(f"beside {len(times)}"))[0] == 250
            times.append(time.monotonic() - began)
        scan.join(300)
        took = ended[0] - start
        assert answer == [bytes(many) + b": OK\0"]
        # One mail waits for a few scans, not for all the files.
        assert sorted(times)[len(times) // 2] < took / 4, (times, took)
    finally:
        mta.stop()
        shutil.rmtree(many)


@pytest.mark.skipif(os.geteuid() != 0, reason="SHUTDOWN is root's")
def test_shutdown_by_root(daemon):
    """Ends cleanly; who started it (here ./dev run) starts it again."""
    pid = daemon.pid("posternd")
    assert ask(daemon.socket, b"zSHUTDOWN\0") == b""
    wait_for(lambda: any("posternd ended with 0" in line for line in daemon.log), "its end")
    wait_for(lambda: daemon.postern("status", check=False).returncode == 0, "the next posternd")
    assert daemon.pid("posternd") != pid
    is_unhurt(daemon)
