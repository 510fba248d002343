# SPDX-License-Identifier: GPL-2.0-only
"""New signatures while mail flows through Postfix, posternd and the engine; and a mail that proves
them guilty. The engine alone: scanner/engine/test-adoption.py."""
import contextlib
import hashlib
import json
import os
import pathlib
import pwd
import re
import signal
import socket
import sys
import threading
import time

import pytest

import instance
import mails
import postfix
from instance import children, wait_for, zygotes

sys.path.append(str(instance.TOP / "scanner/engine"))
from generations import Store

SETTINGS = 'workers = 2\nclamd_listen = {"unix:%s"}\n'
NO_CACHE = 'verdict_cache = "0"\npart_cache = "0"\n'
MARK = b"The marker that only the second generation knows."


def ndb(name, text):
    return {f"{name}.ndb": f"Test.{name}:0:*:" + text.hex() + "\n"}


@pytest.fixture
def site(folder, request):
    """An instance that serves the generation `old`, with a store that a test can write."""
    made = []

    def make(settings=NO_CACHE, **more):
        path = folder / f"adoption-{request.node.name.translate({91: 45, 93: None})}"
        path.mkdir()
        path.chmod(0o755)
        (path / "signatures").mkdir()
        owner = pwd.getpwnam("postern-engine").pw_uid if os.geteuid() == 0 else None
        store = Store(path / "signatures", owner)
        store.old = store.put(ndb("First", b"nobody has this marker"), "adopted",
                              time.time() - 100, **more)
        store.adopt(store.old)
        one = instance.Instance(path, (), SETTINGS % (path / "clamd.sock") + settings)
        made.append(one)
        one.start()
        return one, store
    yield make
    for one in made:
        one.stop()


def status(postern):
    """Also while no verdict can be given."""
    return json.loads(postern.postern("status", "--json", check=False).stdout)


def engine(postern):
    return status(postern)["engine"]


def clamd(postern, command, content=None):
    """The answer of the clamd protocol."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(postern.dir / "clamd.sock"))
        sock.sendall(b"n" + command + b"\n")
        if content is not None:
            sock.sendall(len(content).to_bytes(4, "big") + content + bytes(4))
        answer = b""
        while not answer.endswith(b"\n"):
            part = sock.recv(4096)
            if not part:
                break
            answer += part
    return answer.decode().rstrip("\n")


class Load(threading.Thread):
    """Scans one message after the other over one connection to clamd's protocol, which notices
    everything that is not a verdict."""

    def __init__(self, postern, content):
        super().__init__(daemon=True)
        self.postern, self.content = postern, content
        self.answers, self.worst, self.over = [], 0.0, threading.Event()
        self.error = None

    def run(self):
        try:
            with socket.socket(socket.AF_UNIX) as sock:
                sock.settimeout(300)
                sock.connect(str(self.postern.dir / "clamd.sock"))
                sock.sendall(b"nIDSESSION\n")
                lines = sock.makefile("rb")
                while not self.over.is_set():
                    began = time.monotonic()
                    sock.sendall(b"nINSTREAM\n" + len(self.content).to_bytes(4, "big")
                                 + self.content + bytes(4))
                    self.answers.append(lines.readline().decode().strip().split(": ", 2)[-1])
                    self.worst = max(self.worst, time.monotonic() - began)
        except OSError as error:
            self.error = error

    def end(self):
        self.over.set()
        self.join(300)
        assert self.error is None and not self.is_alive()
        return self.answers


def test_mail_goes_on(site):
    """Three adoptions, the marker all the time: no error, and never clean after the first one."""
    postern, store = site()
    loads = [Load(postern, MARK) for _ in range(3)]
    for load in loads:
        load.start()
    for n, text in enumerate((MARK, MARK[:40], MARK[:30])):
        new = store.put(ndb(f"G{n}", text), created=time.time() + n)
        wait_for(lambda want=new: engine(postern)["generation"] == want, "the adoption")
        wait_for(lambda: engine(postern)["adoption"] is None, "the end of the old zygote")
        assert len(zygotes(postern)) == 1 and store.current() == new
        if n == 0:
            marks = [len(load.answers) for load in loads]
    for load, mark in zip(loads, marks):
        wait_for(lambda one=load, least=mark: len(one.answers) > least + 20, "more scans")
        answers = load.end()
        assert set(answers) <= {"OK"} | {f"Test.G{n}.UNOFFICIAL FOUND" for n in range(3)}
        assert "OK" not in answers[mark + 1:], "a worker of before after the last one had gone"
    assert engine(postern)["restarts"] == 0
    lost = status(postern)["posternd"]["pool"]["lost"]
    assert lost == 0
    print("worst answer:", max(load.worst for load in loads), "of",
          sum(len(load.answers) for load in loads))


def test_through_postfix(site, folder):
    """The milter's connections stay, and every message gets its verdict."""
    if os.geteuid() != 0:
        pytest.skip("a private Postfix needs root")
    postern, store = site()
    mta = postfix.Postfix(folder / "postfix-adoption", f"unix:{postern.dir}/milter.sock")
    mta.start()
    replies, over = [], threading.Event()

    def send():
        while not over.is_set():
            began = time.monotonic()
            replies.append((began, mta.send(mails.clean("marked", MARK))[0]))
    threads = [threading.Thread(target=send) for _ in range(3)]
    try:
        for thread in threads:
            thread.start()
        wait_for(lambda: len(replies) > 5, "mail")
        assert {code for _, code in replies} == {250}
        new = store.put(ndb("Second", MARK), created=time.time() + 1)
        wait_for(lambda: engine(postern)["generation"] == new
                 and engine(postern)["adoption"] is None, "the adoption")
        adopted = time.monotonic()
        wait_for(lambda: sum(began > adopted for began, _ in replies) > 10, "mail")
    finally:
        over.set()
        for thread in threads:
            thread.join(300)
        mta.stop()
    assert {code for _, code in replies} == {250, 550}
    assert {code for began, code in replies if began > adopted} == {550}


def test_version(site):
    """VERSION is of the signatures that scan, as freshclam's users know it."""
    postern, store = site()
    before = clamd(postern, b"VERSION")
    assert before.count("/") == 0
    cvd = (pathlib.Path(__file__).parent / "freshclam/test-6.cvd").read_bytes()
    digest = hashlib.sha256(cvd).hexdigest()
    identity = hashlib.sha256(b"daily.cvd\0" + digest.encode() + b"\0").hexdigest()
    draft = store.path / ".draft-cvd"
    draft.mkdir()
    (draft / "daily.cvd").write_bytes(cvd)
    (draft / "manifest.json").write_text(json.dumps(
        {"version": 1, "identity": identity, "created": int(time.time()), "files": [
            {"file": "daily.cvd", "size": len(cvd), "sha256": digest, "origin": "x",
             "time": 1700000000, "database_version": 6, "signatures": 5, "built": 1700000000}]}))
    draft.rename(store.path / identity[:16])
    store.record(identity[:16], "tried", identity, int(time.time()))
    wait_for(lambda: engine(postern)["generation"] == identity[:16], "the adoption")
    wait_for(lambda: clamd(postern, b"VERSION") != before, "the version")
    built = time.strftime("%a %b %e %H:%M:%S %Y", time.localtime(1700000000))
    assert clamd(postern, b"VERSION") == f"{before}/6/{built}"


def test_a_verdict_of_before_is_not_kept(site):
    """The caches are those of a generation."""
    postern, store = site('verdict_cache = "8M"\n')
    for _ in range(3):
        assert clamd(postern, b"INSTREAM", MARK) == "stream: OK"
    new = store.put(ndb("Second", MARK))
    wait_for(lambda: engine(postern)["generation"] == new and engine(postern)["adoption"] is None,
             "the adoption")
    for _ in range(3):
        assert clamd(postern, b"INSTREAM", MARK) == "stream: Test.Second.UNOFFICIAL FOUND"


def test_a_quiet_moment(site):
    """No memory for two: as long as there is load nothing happens; then for a moment 451."""
    postern, store = site('memory = "110M"\nspool_memory = "64M"\nmessage_size = "32M"\n'
                          'adopt_quiet = 8\n')
    load = Load(postern, b"nothing")
    load.start()
    new = store.put(ndb("Second", MARK), created=time.time() + 1)
    wait_for(lambda: (engine(postern)["adoption"] or {}).get("phase") == "quiet", "the wait")
    assert set(load.end()) == {"OK"}
    wait_for(lambda: engine(postern)["generation"] == new, "the adoption")
    wait_for(lambda: status(postern)["ready"], "the service")
    assert clamd(postern, b"INSTREAM", MARK) == "stream: Test.Second.UNOFFICIAL FOUND"
    wait_for(lambda: [line for line in postern.log
                      if "there is no scanning until it is loaded" in line], "the log")


def test_old_signatures(site):
    """By signatures that are too old nothing is clean; what is found is found."""
    day = 86400
    postern, store = site(f"age_limit = {day}\nage_unsafe = {2 * day}\n", age=3 * day)
    assert clamd(postern, b"INSTREAM", b"x") == "stream: The signatures are 3 days old. ERROR"
    assert clamd(postern, b"INSTREAM", mails.EICAR).endswith(" FOUND")
    wait_for(lambda: [line for line in postern.log if "the signatures is 3 days" in line],
             "the warning")
    out = postern.postern("scan", "/etc/hostname", check=False)
    assert out.returncode == 1 and b"3 days old" in out.stdout + out.stderr
    new = store.put(ndb("Second", MARK))
    wait_for(lambda: engine(postern)["generation"] == new, "the adoption")
    wait_for(lambda: clamd(postern, b"INSTREAM", b"x") == "stream: OK", "younger ones")


# A mail that crashes workers. Nothing in the scanner crashes on request: they are killed over it.

# The zygotes, in the order in which they were begun.
OLD, SERVING, BEFORE, AFRESH = range(4)


def has_mail(pid):
    with contextlib.suppress(OSError):
        return any(os.readlink(fd).startswith("/memfd:postern-message")
                   for fd in pathlib.Path(f"/proc/{pid}/fd").iterdir())
    return False


def crash_next(postern, which, ended):
    """The next worker of the zygote WHICH that has the mail dies of it, and is added to ENDED."""
    def look():
        begun = [re.search(r"zygote: process (\d+) loads", line) for line in list(postern.log)]
        for found in [found for found in begun if found][which:which + 1]:
            for pid in filter(has_mail, set(children(int(found[1]))) - ended):
                ended.add(pid)
                os.kill(pid, signal.SIGABRT)  # which no sanitizer catches
                return True
        return False
    wait_for(look, "a worker with the mail")


@pytest.mark.parametrize("crashes", [3, 4, 5])
def test_a_lethal_mail(site, crashes):
    """Two workers, a third one alone, and one of the generation before (4), which three crafted mails
    would have, too; or not that one, and the new one not again (3), or again (5)."""
    if os.geteuid() != 0:
        pytest.skip("reaches into workers through /proc")
    # What runs out of its time on a slow machine is no evidence.
    postern, store = site(NO_CACHE + "scan_timeout = 240\n")
    new = store.put(ndb("Second", MARK))
    wait_for(lambda: engine(postern)["generation"] == new and engine(postern)["adoption"] is None,
             "the adoption")
    message = mails.with_attachment("lethal", mails.zipped(bytes(300 << 20)), "a.zip")
    answers = []
    thread = threading.Thread(target=lambda: answers.append(
        clamd(postern, b"INSTREAM", message)))
    thread.start()
    ended = set()
    for which in [SERVING] * 3 + {3: [], 4: [BEFORE], 5: [AFRESH]}[crashes]:
        crash_next(postern, which, ended)
    thread.join(300)
    assert answers == ["stream: two workers were lost over it ERROR"]
    if crashes == 5:
        wait_for(lambda: engine(postern)["generation"] == store.old, "the way back")
        assert store.current() == store.old
        state, reason = store.state(new)
        assert state == "rejected" and "the same mail crashes its workers" in reason
        assert clamd(postern, b"INSTREAM", MARK) == "stream: OK"
    else:
        wait_for(lambda: [line for line in postern.log if "nothing is rolled back" in line],
                 "the verdict")
        assert store.current() == new and engine(postern)["generation"] == new
        assert clamd(postern, b"INSTREAM", MARK) == "stream: Test.Second.UNOFFICIAL FOUND"
