# SPDX-License-Identifier: GPL-2.0-only
"""What a node believes of one that has the key, and what not."""
import json

import pytest

from peer import Peer
from test_share import comes, cvd, rests, wait_for
from test_share import cluster, programs  # fixtures


def unsealed(request):
    request.give(200, b"<html>Log in to the hotel's network", X_Postern_Seal=None)


def moved(request):
    request.give(302, b"", Location="/1/elsewhere", X_Postern_Seal=None)


HOSTILE = {
    "no seal": ("a.ndb", unsealed, "without the right seal"),
    "no seal of a turn": ("turn", unsealed, "without the right seal"),
    "moved": ("a.ndb", moved, "without the right seal"),
    "a seal of something else": (
        "a.ndb", lambda r: r.give(200, b"A.Sig:0:*:41414142\n", says=b"x"), "is not what it says"),
    "another file": ("a.ndb", lambda r: r.give(200, b"A.Sig:0:*:41414142\n"),
                     "sends another a.ndb than its manifest says"),
    "less": ("a.ndb", lambda r: r.give(200, b"A.Sig"), "another a.ndb"),
    "more": ("a.ndb", lambda r: r.give(200, b"A.Sig:0:*:41414141\nA.Sig:0:*:41414141\n"),
             "sends more than it should"),
    "less than it says": ("a.ndb", lambda r: r.give(200, b"A.Sig", Content_Length=19), "n1: "),
    "more than it says": ("a.ndb", lambda r: r.give(
        200, b"A.Sig:0:*:41414141\n", Content_Length=4), "is not what it says"),
    "nothing": ("a.ndb", lambda r: r.give(200, b""), "another a.ndb"),
    "404": ("a.ndb", lambda r: r.give(404), "does not have a.ndb"),
    "500": ("turn", lambda r: r.give(500), "answers with 500"),
    "no HTTP": ("turn", lambda r: r.wfile.write(b"220 mail.example ESMTP\r\n"), "n1: "),
    "nothing at all": ("turn", lambda r: r.connection.close(), "n1: "),
    "no JSON": ("turn", lambda r: r.give(200, b"\xff\x00{"), "is not understood"),
    "a path": ("turn", lambda r: r.give(200, b'{"gives":"../../../../etc"}'), "is not understood"),
    "a number": ("turn", lambda r: r.give(200, b'{"gives":7}'), "is not understood"),
    "no manifest": ("manifest.json", lambda r: r.give(200, b"<html>"), "manifest.json"),
    "an empty manifest": ("manifest.json", lambda r: r.give(200, b""), "manifest.json"),
    "a large manifest": ("manifest.json", lambda r: r.give(200, b" " * (2 << 20)),
                         "more than it should"),
    "compressed": ("a.ndb", lambda r: r.give(200, b"\x1f\x8b\x08\x00", Content_Encoding="gzip"),
                   "another a.ndb"),
}


@pytest.fixture
def hostile(cluster):
    """n2 has a first generation; n1 is somebody with the key who gives a second one."""
    n1, n2 = cluster.nodes
    first = n1.add(test_cvd=cvd(3))
    second = n1.add(a_ndb="A.Sig:0:*:41414141\n", test_cvd=cvd(3))
    peer = Peer(cluster, n1)
    peer.offer(n1, first)
    n2.start("standby")
    comes(n2, first)
    yield n1, n2, peer, first, second
    peer.close()


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile(hostile, what):
    n1, n2, peer, first, second = hostile
    name, behave, word = HOSTILE[what]
    peer.answers[name] = behave
    peer.offer(n1, second)
    rests(n2, first, word)
    peer.answers.clear()
    comes(n2, second)
    wait_for(lambda: n2.error() is None, "the end of the error")


def manifest(peer, change):
    text = json.loads(peer.files["manifest.json"])
    change(text)
    peer.files["manifest.json"] = json.dumps(text).encode()


def set_first(key, value):
    return lambda text: text["files"][0].update({key: value})


MANIFESTS = {
    "of another generation": lambda text: text["files"].pop(),
    "another hash": set_first("sha256", "ab" * 32),
    "another size": set_first("size", 18),
    "no size": set_first("size", -1),
    "a huge size": set_first("size", 1 << 50),
    "a path": set_first("file", "../../a.ndb"),
    "a hidden name": set_first("file", ".a.ndb"),
    "a name twice": lambda text: text["files"].append(text["files"][0]),
    "another identity": lambda text: text.update(identity="ab" * 32),
    "another version": lambda text: text.update(version=2),
    "a list": lambda text: text.update(files={}),
}


@pytest.mark.parametrize("what", MANIFESTS)
def test_manifest_that_does_not_fit(hostile, what):
    n1, n2, peer, first, second = hostile
    peer.offer(n1, second)
    manifest(peer, MANIFESTS[what])
    rests(n2, first, "more than it should" if what == "another size" else "n1")
    asked = [path for path in peer.asked if "/1/" + second in path and "manifest" not in path]
    assert asked == [] or what == "another size"
    peer.offer(n1, second)
    comes(n2, second)


@pytest.mark.parametrize("what", ["hang", "pour", "pour_headers"])
def test_without_end(cluster, what):
    n1, n2 = cluster.nodes
    n2.write(update_timeout=2)
    first = n1.add(test_cvd=cvd(3))
    second = n1.add(a_ndb="A.Sig:0:*:41414141\n", test_cvd=cvd(3))
    peer = Peer(cluster, n1)
    peer.offer(n1, first)
    n2.start("standby")
    comes(n2, first)
    peer.answers["a.ndb"] = getattr(peer, what)
    peer.offer(n1, second)
    rests(n2, first, "n1")
    peer.answers.clear()
    peer.released.set()
    comes(n2, second)
    peer.close()


def test_older_than_it_says(cluster):
    """What is old is seen by the files themselves."""
    n1, n2 = cluster.nodes
    old = n1.add(test_cvd=cvd(3))
    first = n2.add(test_cvd=cvd(4))
    n2.use(first)
    peer = Peer(cluster, n1)
    peer.offer(n1, old)
    manifest(peer, set_first("database_version", 9))
    n2.start("standby")
    wait_for(lambda: "older than" in (n2.error() or ""), f"the refusal, not {n2.error()}")
    assert n2.offer() is None
    peer.close()


def test_older_one(cluster):
    """A node that was away for long and is the active one now."""
    n1, n2 = cluster.nodes
    old = n1.add(test_cvd=cvd(3))
    newer = n2.add(test_cvd=cvd(5))
    n2.use(newer)
    n1.start("serving")
    n2.start("standby")
    rests(n2, None, "older than the 5 that is in use here")
    newest = n1.add(test_cvd=cvd(6))
    comes(n2, newest)
    assert old != newest


def test_too_large(cluster):
    n1, n2 = cluster.nodes
    n2.write(update_size=4096)
    n1.add(test_cvd=cvd(3))
    n1.start("serving")
    n2.start("standby")
    rests(n2, None, "is larger than update_size")


def test_states_of_a_stranger(hostile):
    """What a peer says of others is kept short and clean, and of nodes that exist."""
    n1, n2, peer, first, second = hostile
    long = {"name": "n1", "silent": 0, "adopted": "x" * 999, "state": {
        "postern": "\x1b]0;x\x07" * 99, "engine": 7, "error": "\x1b[2J" * 500, "time": -1,
        "given": {"name": [], "state": {}, "reason": "\n" * 900}}}
    nodes = [long, {"name": "n9", "silent": 0, "state": {}}, {"name": "n2", "silent": 0},
             {"name": "n1", "silent": -5, "state": {}}, 7, None, {"name": "n1", "silent": 1 << 62}]
    peer.answers["turn"] = lambda request: request.give(200, json.dumps(
        {"gives": second, "state": {"engine": "\x1b[2J"}, "nodes": nodes}).encode())
    peer.gives = second
    peer.files.update({path.name: path.read_bytes()
                       for path in (n1.dir / "signatures" / second).iterdir()})
    comes(n2, second)
    status = n2.status()
    assert [node["name"] for node in status["nodes"]] == ["n1"]
    text = (n2.dir / "share/state/status.json").read_text()
    assert len(text) < 8192
    assert first != second
