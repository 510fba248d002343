# SPDX-License-Identifier: GPL-2.0-only
"""One download per cluster: nodes that give each other signatures, and who is heard."""
import contextlib
import http.client
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time

import pytest

import instance
from peer import Cluster, Peer, SEAL, programs_dir, request_seal

DATA = pathlib.Path(__file__).parent / "freshclam"
wait_for = instance.wait_for


@pytest.fixture(scope="module")
def programs():
    path = programs_dir()
    yield path
    shutil.rmtree(path)


@pytest.fixture
def cluster(programs, request):
    folder = pathlib.Path(tempfile.mkdtemp(prefix="postern-cluster-", dir="/var/tmp"))
    folder.chmod(0o755)
    one = Cluster(folder, programs, getattr(request, "param", 2))
    yield one
    one.close()
    if request.node.stash.get("failed", True):
        for node in one.nodes:
            print(node.name, *node.log, sep="\n    ")
    shutil.rmtree(folder)


def cvd(version):
    return (DATA / f"test-{version}.cvd").read_bytes()


def publish(node, version):
    node.mirror.serve("test.cvd", cvd(version))


def comes(node, name):
    wait_for(lambda: node.offer() == name, f"{name} on {node.name}")


def rests(node, name, word):
    """An error with WORD in it is told, in one sentence, and the offer stays."""
    said = []

    def is_said():
        said[:] = [node.error() or ""]
        return word in said[0]
    wait_for(is_said, f"{word}, not {node.error()}")
    assert "\n" not in said[0] and node.offer() == name
    left = [path.name for path in (node.dir / "share").iterdir() if path.name != "state"]
    assert set(left) <= {"offer", ".tmp-generation"}


# Who fetches


def test_one_download(cluster):
    """Two postern-update with a mirror each: only the active node's asks."""
    n1, n2 = cluster.nodes
    for node, stage in ((n1, "serving"), (n2, "standby")):
        publish(node, 1)
        node.start(stage)
        node.launch("postern-update")
    offer = n1.dir / "update/offer/manifest.json"
    wait_for(offer.exists, "the offer of the active node")
    first = n1.add(test_cvd=cvd(1))
    assert json.loads(offer.read_text())["identity"].startswith(first)
    comes(n2, first)
    assert n2.take() == first, "the same files are the same generation"
    assert "test.cvd" in n1.mirror.asked and n2.mirror.asked == []
    # The roles change, and so who asks.
    n1.role("standby")
    n2.role("serving")
    wait_for(lambda: "test.cvd" in n2.mirror.asked, "the question of the new active node")


def test_every_node(cluster):
    for node in cluster.nodes:
        publish(node, 1)
        node.write(update_on="every node")
        node.start("standby")
        node.launch("postern-update")
    for node in cluster.nodes:
        wait_for((node.dir / "update/offer/manifest.json").exists, f"the offer of {node.name}")
        wait_for(lambda node=node: any("every node fetches" in line for line in node.log), "a word")
        assert node.status() == {}


def test_without_peers(cluster):
    """A node that nobody gives anything fetches by itself."""
    node = cluster.nodes[1]
    (node.dir / "peers.json").unlink()
    publish(node, 1)
    node.start("standby")
    node.launch("postern-update")
    wait_for((node.dir / "update/offer/manifest.json").exists, "its own offer")


# Giving and taking


@pytest.mark.parametrize("cluster", [3], indirect=True)
def test_all_nodes(cluster):
    n1, n2, n3 = cluster.nodes
    name = n1.add(a_ndb="A.Sig:0:*:41414141\n", test_cvd=cvd(3))
    n1.start("serving")
    n2.start("standby")
    n3.start("standby")
    comes(n2, name)
    comes(n3, name)
    for node in (n2, n3):
        assert (node.dir / "share/offer/test.cvd").read_bytes() == cvd(3)
        assert node.take() == name
        wait_for(lambda node=node: n1.seen(node)["state"]["given"] == {
            "name": name, "state": "fetched", "reason": None, "interrupted": False}, "its state")
    # What is new, of which most is here already.
    newer = n1.add(b_ndb="B.Sig:0:*:42424242\n", test_cvd=cvd(3))
    comes(n2, newer)
    # Who had it last gives it when the roles change; each node knows of all.
    n2.take()
    n1.stop(kill=True)
    n2.role("serving")
    wait_for(lambda: n3.status().get("from") == "n2", "another one that gives")
    comes(n3, newer)
    assert n2.seen(n1)["state"] is not None, "what was known of it is not forgotten"


def test_odd_names(cluster):
    """Files have the names that people give them."""
    n1, n2 = cluster.nodes
    folder = n1.folder()
    for file in ("our own.ndb", "100%25.ndb", "a+b.ndb", "what?#.ndb", "\u00fc.ndb", "[1].ndb"):
        (folder / file).write_text("A.Sig:0:*:41414141\n")
    name = n1.put(folder)
    n1.start("serving")
    n2.start("standby")
    comes(n2, name)
    assert n2.take() == name


def test_only_what_is_new_is_asked_for(cluster):
    n1, n2 = cluster.nodes
    old = n1.add(test_cvd=cvd(3))
    n2.add(test_cvd=cvd(3))
    name = n1.add(a_ndb="A.Sig:0:*:41414141\n", test_cvd=cvd(3))
    peer = Peer(cluster, n1)
    peer.offer(n1, name)
    n2.start("standby")
    comes(n2, name)
    assert [path for path in peer.asked if path != "/1/turn"] == \
        [f"/1/{name}/manifest.json", f"/1/{name}/a.ndb"]
    assert old != name
    peer.close()


def test_states_are_told(cluster):
    n1, n2 = cluster.nodes
    name = n1.add(a_ndb="A.Sig:0:*:41414141\n")
    n1.start("serving")
    n2.start("standby")
    wait_for(lambda: (n1.seen(n2)["state"]["given"] or {}).get("state") == "received", "received")
    n2.take()
    n2.use(name)
    wait_for(lambda: n1.seen(n2).get("confirmed") == name, "that it works with it a while later")
    n2.engine(name, "failed")
    wait_for(lambda: n1.seen(n2).get("confirmed") is None, "that it does not any more")
    n2.record(name, "rejected", "it \x1b[31mcrashed\n")
    wait_for(lambda: n1.seen(n2)["state"]["given"]["state"] == "rejected", "that it was rejected")
    assert n1.seen(n2)["state"]["given"]["reason"] == "it \x1b[31mcrashed\n"
    n2.stop()
    heard = n1.seen(n2)["silent"]
    wait_for(lambda: n1.seen(n2)["silent"] > heard + 3, "silence")


def test_last_word(cluster):
    """A node that is stopped tells how it is then, however long ago the last turn was."""
    n1, n2 = cluster.nodes
    name = n1.add(a_ndb="A.Sig:0:*:41414141\n")
    n1.start("serving")
    wait_for(lambda: listens(n1), "the listener")
    n2.write(share_interval=3600)
    n2.engine(name, "loading")
    n2.start("standby")
    wait_for(lambda: n1.seen(n2)["state"].get("engine") == "loading", "the first word")
    (n2.dir / "engine/state").unlink()
    n2.stop()
    wait_for(lambda: n1.seen(n2)["state"].get("engine") == "none", "the last word")


def test_what_is_given(cluster):
    n1, n2 = cluster.nodes
    first = n1.add(a_ndb="A.Sig:0:*:41414141\n")
    n1.start("serving")
    n2.start("standby")
    comes(n2, first)
    second = n1.add(b_ndb="B.Sig:0:*:42424242\n")
    comes(n2, second)
    # What is rejected here is given to nobody; what is pinned before everything else.
    n1.postern("signatures", "reject", second, "--reason", "it crashed")
    wait_for(lambda: n2.status().get("gives") == first, "the one before")
    third = n1.add(c_ndb="C.Sig:0:*:43434343\n")
    comes(n2, third)
    n1.postern("signatures", "pin", first)
    wait_for(lambda: n2.status().get("gives") == first, "the pinned one")
    comes(n2, first)


def test_damaged_on_the_disk(cluster):
    """What is not what it was, though it is as long, is given to nobody, and the node is named."""
    n1, n2 = cluster.nodes
    first = n1.add(a_ndb="A.Sig:0:*:41414141\n")
    second = n1.add(b_ndb="B.Sig:0:*:42424242\n")
    (n1.dir / "signatures" / second / "b.ndb").write_text("B.Sig:0:*:42424243\n")
    n1.start("serving")
    n2.start("standby")
    comes(n2, first)
    wait_for(lambda: f"{second} is damaged on this node's disk: " in (n1.error() or ""), "a word")
    wait_for(lambda: any("is damaged" in line for line in n1.log), "the log")
    assert sum("is damaged" in line for line in n1.log) == 1
    status, _ = sealed_get(cluster, n1, f"/1/{second}/b.ndb")
    assert status == 404
    mended = n1.dir / "signatures" / second / ".mended"
    mended.write_text("B.Sig:0:*:42424242\n")
    mended.rename(mended.with_name("b.ndb"))
    comes(n2, second)
    third = n1.add(c_ndb="C.Sig:0:*:43434343\n")
    comes(n2, third)
    wait_for(lambda: n1.error() is None, "that all is well")


def test_killed_while_it_takes(cluster):
    n1, n2 = cluster.nodes
    first = n1.add(a_ndb="A.Sig:0:*:41414141\n")
    second = n1.add(a_ndb="A.Sig:0:*:41414141\n", b_ndb="B.Sig:0:*:42424242\n")
    peer = Peer(cluster, n1)
    peer.offer(n1, first)
    n2.start("standby")
    comes(n2, first)
    peer.answers["b.ndb"] = peer.hang
    peer.offer(n1, second)
    wait_for(lambda: f"/1/{second}/b.ndb" in peer.asked, "the question")
    n2.stop(kill=True)
    assert n2.offer() == first
    peer.answers.clear()
    n2.start("standby")
    comes(n2, second)
    wait_for(lambda: {path.name for path in (n2.dir / "share").iterdir()} == {"offer", "state"},
             "nothing else")
    peer.close()


def test_disk_full(cluster):
    if os.geteuid() != 0:
        pytest.skip("needs root")
    n1, n2 = cluster.nodes
    first = n1.add(a_ndb="A.Sig:0:*:41414141\n")
    tight = n2.dir / "share"
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=68m,mode=0777", "tmpfs", tight], check=True)
    try:
        n1.start("serving")
        n2.start("standby")
        comes(n2, first)
        n1.add(big_ndb="A.Sig:0:*:41414141\n" * 400000)
        rests(n2, first, "No space left on device")
    finally:
        n2.stop()
        instance.unmount(tight)


# Who is heard


def ask(cluster, node, method="POST", path="/1/turn", source="127.0.11.2", seal=None, body=b"{}"):
    """(status, headers); None: closed without a word."""
    connection = http.client.HTTPConnection(node.address, cluster.port, timeout=20,
                                            source_address=(source, 0))
    try:
        connection.request(method, path, body, {SEAL: seal} if seal else {})
        answer = connection.getresponse()
        answer.read()
        return answer.status, answer.headers
    except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError):
        return None
    finally:
        connection.close()


def sealed_get(cluster, node, path):
    _, headers = ask(cluster, node)
    seal = request_seal(cluster.keys[0], "GET", path, "n2", node.name, headers["X-Postern-Nonce"])
    return ask(cluster, node, "GET", path, seal=seal, body=b"")


def listens(node):
    with socket.socket() as probe:
        probe.settimeout(5)
        return probe.connect_ex((node.address, node.cluster.port)) == 0


def test_who_is_heard(cluster):
    n1, n2 = cluster.nodes
    name = n1.add(a_ndb="A.Sig:0:*:41414141\n")
    n1.start("serving")
    n2.start("standby")
    comes(n2, name)
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", cluster.port)) != 0, "only the cluster's address"
    assert not listens(n2), "a passive node gives nothing"
    assert ask(cluster, n1, source="127.0.11.77") is None, "a stranger is not answered"
    status, headers = ask(cluster, n1)
    nonce = headers["X-Postern-Nonce"]
    assert status == 401 and headers[SEAL] is None

    def sealed(key=cluster.keys[0], sender="n2", receiver="n1", theirs=nonce, body=b"{}"):
        return request_seal(key, "POST", "/1/turn", sender, receiver, theirs, body)
    good = sealed()
    assert ask(cluster, n1, seal=good)[0] == 200
    bad = {"a second time": good, "another key": sealed({**cluster.keys[0], "key": "ab" * 32}),
           "an unknown key": sealed({"id": "0" * 16, "key": "ab" * 32}),
           "another sender": sealed(sender="n1"), "another receiver": sealed(receiver="n2"),
           "another nonce": sealed(theirs="0" * 32), "half a seal": good[:-10],
           "a nobody": sealed(sender="n9"), "no seal": "x" * 900}
    for what, seal in bad.items():
        assert ask(cluster, n1, seal=seal)[0] == 401, what
    assert ask(cluster, n1, seal=sealed(), path="/1/turns")[0] == 401
    assert ask(cluster, n1, seal=sealed(), method="PUT")[0] == 401
    assert ask(cluster, n1, seal=sealed(body=b"[]")) is None, "not the body that was sealed"
    assert ask(cluster, n1, seal=sealed(body=b"x" * 70000), body=b"x" * 70000) is None
    for body in (b"[]", b"", b"{", b"\xff", b'{"given":7}', b'{"time":"x","given":{"name":[]}}'):
        assert ask(cluster, n1, seal=sealed(body=body), body=body)[0] in (200, 400)
    for path in ("/", "/1/", "/1/current/a.ndb", f"/1/{name}/../{name}/a.ndb", f"/1/{name}/",
                 f"/1/{name}/b.ndb", "/1/records/x", f"/1/{name}/a.ndb/", f"/1/{name[:4]}/a.ndb"):
        seal = request_seal(cluster.keys[0], "GET", path, "n2", "n1", nonce)
        assert ask(cluster, n1, "GET", path, seal=seal, body=b"")[0] == 404, path
    assert ask(cluster, n1, seal=sealed())[0] == 200, "it is well"


def test_many_connections(cluster):
    """One peer that says nothing takes the place of nobody else, and not for ever."""
    n1, n2 = cluster.nodes
    name = n1.add(a_ndb="A.Sig:0:*:41414141\n")
    n1.start("serving")
    wait_for(lambda: listens(n1), "the listener")
    silent = [socket.create_connection((n1.address, cluster.port), source_address=(n1.address, 0))
              for _ in range(100)]
    n2.start("standby")
    comes(n2, name)
    for one in silent:
        one.close()


def test_places_of_a_node(cluster):
    """A user of its own who connects again and again, and says a little each time, keeps no
    node's postern-share away."""
    n1, n2 = cluster.nodes
    name = n1.add(a_ndb="A.Sig:0:*:41414141\n")
    n1.start("serving")
    wait_for(lambda: listens(n1), "the listener")
    over = threading.Event()
    mine = []

    def occupy():
        while not over.wait(0.05):
            mine.append(socket.create_connection((n1.address, cluster.port),
                                                 source_address=(n2.address, 0)))
            mine[-1].sendall(b"POST /1/turn HTTP/1.1\r\n")
            for one in mine[-40:]:
                with contextlib.suppress(OSError):
                    one.sendall(b"X")
    busy = threading.Thread(target=occupy)
    busy.start()
    try:
        wait_for(lambda: len(mine) > 10, "strangers")
        n2.start("standby")
        comes(n2, name)
        newer = n1.add(b_ndb="B.Sig:0:*:42424242\n")
        comes(n2, newer)
    finally:
        over.set()
        busy.join()
    wait_for(lambda: any("does not show the key" in line for line in n1.log), "the log")
    assert sum("does not show the key" in line for line in n1.log) == 1


def test_time_of_a_stranger(cluster):
    """Five seconds to show the key, however much he says meanwhile."""
    n1, n2 = cluster.nodes
    n1.start("serving")
    wait_for(lambda: listens(n1), "the listener")
    with socket.create_connection((n1.address, cluster.port),
                                  source_address=(n2.address, 0)) as one:
        one.settimeout(0.2)
        begun = time.monotonic()
        one.sendall(b"POST /1/turn HTTP/1.1\r\nX-Slow: ")
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            while time.monotonic() - begun < 100:
                one.sendall(b"x")
                try:
                    assert one.recv(100) == b""
                    break
                except TimeoutError:
                    pass
        assert 4.5 < time.monotonic() - begun < 90


def test_word_of_nobody(cluster):
    """Connections from a node's address that never showed the key are no sign of that node."""
    n1, n2 = cluster.nodes
    name = n1.add(a_ndb="A.Sig:0:*:41414141\n")
    n1.start("serving")
    n2.start("standby")
    comes(n2, name)
    n2.stop(kill=True)
    knocks = []

    def is_silent():
        knocks.append(socket.create_connection((n1.address, cluster.port),
                                               source_address=(n2.address, 0)))
        if len(knocks) > 1:
            knocks.pop(0).close()
        time.sleep(0.3)
        return n1.seen(n2)["silent"] > 12
    wait_for(is_silent, "the silence")
    knocks[0].close()


def test_second_link(cluster):
    """Nobody is at the first address: the other one is asked."""
    n1, n2 = cluster.nodes
    name = n1.add(a_ndb="A.Sig:0:*:41414141\n")
    n1.start("serving")
    path = n2.dir / "peers.json"
    text = json.loads(path.read_text())
    text["nodes"][0]["addresses"].insert(0, "127.0.11.60")
    path.write_text(json.dumps(text))
    n2.start("standby")
    comes(n2, name)


@pytest.mark.parametrize("cluster", [3], indirect=True)
def test_keys(cluster):
    """A new key while it runs, beside the old one and then alone; another key gets nothing."""
    n1, n2, n3 = cluster.nodes
    first = n1.add(a_ndb="A.Sig:0:*:41414141\n")
    n1.start("serving")
    n2.start("standby")
    comes(n2, first)
    before = list(cluster.keys)
    cluster.rekey(keep=1)
    cluster.tell(n3, before)
    n3.start("standby")
    comes(n3, first)
    cluster.keys = cluster.keys[:1]
    cluster.tell(n1)
    cluster.tell(n2)
    second = n1.add(b_ndb="B.Sig:0:*:42424242\n")
    comes(n2, second)
    rests(n3, first, "does not know this node by its key")
    cluster.tell(n3)
    comes(n3, second)
    wait_for(lambda: n3.error() is None, "that all is well")


def test_careless_file(cluster):
    n1, n2 = cluster.nodes
    n1.add(a_ndb="A.Sig:0:*:41414141\n")
    n1.start("serving")
    cluster.tell(n2, mode=0o644)
    n2.start("standby")
    wait_for(lambda: any("can be read by everybody" in line for line in n2.log), "a word")
    (n2.dir / "peers.json").write_text("{}")
    (n2.dir / "peers.json").chmod(0o640)
    wait_for(lambda: any("is not what `postern cluster setup` writes" in line for line in n2.log),
             "a word")
    assert n2.offer() is None


# Processes, commands


def test_peer_process_that_dies(cluster):
    """Of the process that speaks to the peers nothing is left behind; another one takes over."""
    n1, n2 = cluster.nodes
    name = n1.add(a_ndb="A.Sig:0:*:41414141\n")
    process = n1.start("serving")
    wait_for(lambda: listens(n1), "the listener")
    text = pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
    [child] = [int(word) for word in text.split()]
    os.kill(child, signal.SIGKILL)
    n2.start("standby")
    comes(n2, name)
    process.kill()
    process.wait()
    wait_for(lambda: not listens(n1), "the end of its child")


def test_node_peers(cluster):
    """What setup and rekey run on each node."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    n1, n2 = cluster.nodes
    here = socket.gethostname().split(".")[0]
    path = n2.dir / "peers.json"
    text = json.loads((n1.dir / "peers.json").read_text())
    path.unlink()

    def put(body):
        return subprocess.run(
            [cluster.programs / "postern", "--config", n2.dir / "postern.conf", "cluster", "node",
             "peers", "set"], input=body, capture_output=True, text=True, check=False, timeout=300)
    shown = json.loads(n2.postern("cluster", "node", "peers", "show").stdout)
    assert shown == {"mark": "none", "nodes": None, "error": None}
    assert "is none of those" in put(json.dumps(text)).stderr and not path.exists()
    text["nodes"][1]["name"] = here
    for body in ("", "{}", "x" * 70000, json.dumps(text)[:-1]):
        assert put(body).returncode == 2 and not path.exists()
    assert put(json.dumps(text)).returncode == 0
    assert json.loads(path.read_text()) == {**text, "self": here}
    is_ = path.stat()
    assert (is_.st_mode & 0o7777, is_.st_uid) == (0o640, 0)
    shown = n2.postern("cluster", "node", "peers", "show").stdout
    assert json.loads(shown)["nodes"] == ["n1", here]
    assert text["keys"][0]["key"] not in shown
    n2.postern("cluster", "node", "peers", "drop")
    n2.postern("cluster", "node", "peers", "drop")
    assert not path.exists()


def test_report(cluster):
    """What `postern cluster status` has of each node."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    n1, n2 = cluster.nodes
    name = n1.add(a_ndb="A.Sig:0:*:41414141\n")
    n1.start("serving")
    n2.start("standby")
    comes(n2, name)
    n2.take()
    n2.use(name)

    def report(node):
        return json.loads(node.postern("cluster", "node", "report").stdout)
    share = report(n2)["share"]
    assert (share["role"], share["from"], share["gives"]) == ("takes", "n1", name)
    assert share["here"]["given"]["state"] == "adopted" and share["here"]["loaded"] == name
    assert share["error"] is None and share["age"] < 60
    peers = report(n2)["peers"]
    assert peers["nodes"] == ["n1", "n2"] and peers["mark"] == report(n1)["peers"]["mark"]
    cluster.rekey()
    cluster.tell(n2, mode=0o644)
    peers = report(n2)["peers"]
    assert peers["mark"] == "unreadable" and "rekey" in peers["error"]
    assert cluster.keys[0]["key"] not in json.dumps(report(n1))
