# SPDX-License-Identifier: GPL-2.0-only
"""Kept mail is released through a real Postfix: once, as it came, and never into a loop."""
import json
import os
import pwd
import re
import signal
import socket
import threading

import pytest

import instance
import mails
import postfix
from instance import wait_for


class Gate:
    """Between posternd and Postfix's release service: holds the talk at a chosen moment."""

    def __init__(self, path, target):
        self.target = str(target)
        self.hold = None         # a regular expression on what Postfix says after DATA's end, or on
        self.reached = threading.Event()  # the command that posternd sends
        self.open = threading.Event()
        self.talks = 0
        self.heard = b""         # of both sides
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.bind(str(path))
        os.chmod(path, 0o666)
        self.sock.listen(10)
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            client, _ = self.sock.accept()
            self.talks += 1
            server = socket.socket(socket.AF_UNIX)
            try:
                server.connect(self.target)
            except OSError:
                client.close()
                continue
            for source, sink in ((client, server), (server, client)):
                threading.Thread(target=self.pass_on, args=(source, sink), daemon=True).start()

    def pass_on(self, source, sink):
        try:
            while data := source.recv(65536):
                self.heard += data
                if self.hold and re.search(self.hold, data):
                    self.hold = None
                    self.reached.set()
                    self.open.wait(300)
                sink.sendall(data)
        except OSError:
            pass
        sink.close()

    def stop_at(self, what):
        self.hold = what
        self.reached.clear()
        self.open.clear()


@pytest.fixture(scope="module")
def rig(folder, signatures):
    if os.geteuid() != 0:
        pytest.skip("a private Postfix needs root")
    home = folder / "release"
    one = instance.Instance(home, signatures, f'release_socket = "{home}/gate"\n')
    mta = postfix.Postfix(folder / "postfix-release", f"unix:{home}/milter.sock")
    inner = mta.add_release_service()
    one.start()
    gate = Gate(home / "gate", inner)
    mta.start()
    yield one, mta, gate
    mta.stop()
    one.stop()


def keep(postern, mta, subject, recipients=("user@lab.test",), more=()):
    message = mails.multipart(subject, [mails.text_part(subject.encode()),
                                        mails.attachment(mails.EICAR), *more])
    assert mta.send(message, recipients=recipients)[0] == 550
    (row,) = [r for r in postern.json("quarantine", "list") if r["subject"] == subject]
    return message, row["key"]


def state_of(postern, key):
    (row,) = [r for r in postern.json("quarantine", "list") if r["key"] == key]
    return row["state"]


class Asking:
    """One connection to the control socket."""

    def __init__(self, postern):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.sock.connect(f"{postern.dir}/control.sock")

    def send(self, **request):
        self.sock.send(json.dumps(request).encode())

    def answer(self):
        return json.loads(self.sock.recv(1 << 20))


def copies(mta, subject):
    mta.drain()
    return mta.delivered().get(subject, [])


def incidents(postern, key):
    return [(r["kind"], r["user"], r["detail"]) for r in postern.json("incidents", "--key", key)]


def test_released_once_as_it_came(rig):
    postern, mta, _ = rig
    message, key = keep(postern, mta, "release one")
    infected = postern.json("status")["posternd"]["counters"]["infected"]
    done = postern.json("quarantine", "release", key[:16])
    assert done[0]["ok"] and done[0]["done"] == "released", done
    (got,) = copies(mta, "release one")
    body = message.replace(b"\r\n", b"\n").split(b"\n\n", 1)[1]
    assert got.split(b"\n\n", 1)[1].rstrip(b"\n") == body.rstrip(b"\n")
    assert got.count(b"\nMessage-ID: <release.one@client.test>\n") == 1
    assert b"X-Postern" not in got
    assert b"Return-Path: <sender@client.test>" in got
    assert state_of(postern, key) == "released"
    assert postern.json("status")["posternd"]["counters"]["infected"] == infected  # no loop
    kinds = incidents(postern, key)
    assert [k[0] for k in kinds] == ["release", "release"]
    assert "succeeded" in kinds[0][2] and "attempt 1 begins" in kinds[1][2]
    assert kinds[0][1] == pwd.getpwuid(0).pw_name
    shown = postern.json("quarantine", "show", key)
    assert shown["state"] == "released" and "queued as" in shown["release_answer"]


def test_to_another(rig):
    """--to replaces the recipients, as often as one likes; the sender stays."""
    postern, mta, _ = rig
    _, key = keep(postern, mta, "release to", ("a@lab.test", "b@lab.test"))
    postern.postern("quarantine", "release", key, "--to", "user@lab.test")
    assert len(copies(mta, "release to")) == 1
    postern.postern("quarantine", "release", key)
    assert len(copies(mta, "release to")) == 3  # both recipients have the same mailbox
    assert postern.json("quarantine", "show", key)["release_attempts"] == 2


def test_refused_is_told(rig):
    postern, mta, _ = rig
    _, key = keep(postern, mta, "release refused")
    done = postern.postern("quarantine", "release", key, "--to", "user@lab.test", "--to",
                           "a b@lab.test", check=False)
    assert done.returncode == 1
    assert re.search(rb"refused: 5\d\d ", done.stdout), done.stdout
    assert state_of(postern, key) == "kept"
    assert not copies(mta, "release refused")  # all or nothing


def test_mail_server_away(rig):
    """What is certain to have failed is told, and nothing stays half done."""
    postern, mta, _ = rig
    _, key = keep(postern, mta, "release away")
    mta.stop()
    try:
        done = postern.postern("quarantine", "release", key, check=False)
        assert done.returncode == 1 and b"failed" in done.stdout
        assert state_of(postern, key) == "kept"
    finally:
        mta.start()
    postern.postern("quarantine", "release", key)
    assert len(copies(mta, "release away")) == 1


def test_two_at_once(rig):
    """Two who release the same at the same time: one delivery, and the second hears why."""
    postern, mta, gate = rig
    _, key = keep(postern, mta, "release both")
    gate.stop_at(rb"^MAIL FROM")
    first, second, third = (Asking(postern) for _ in range(3))
    first.send(op="quarantine-release", key=key)
    assert gate.reached.wait(300)
    second.send(op="quarantine-release", key=key[:9])
    for _ in range(2):  # what was sent before an answer's request has been read
        third.send(op="status")
        assert third.answer()["ok"]
    gate.open.set()
    assert first.answer()["done"] == "released"
    refused = second.answer()
    assert not refused["ok"] and "meanwhile" in refused["error"], refused
    assert len(copies(mta, "release both")) == 1
    postern.postern("quarantine", "release", key)  # later it is meant
    assert len(copies(mta, "release both")) == 2


def killed_at(rig, subject, moment):
    """Kills posternd when the talk has come to MOMENT; returns the key."""
    postern, mta, gate = rig
    _, key = keep(postern, mta, subject)
    gate.stop_at(moment)
    asking = threading.Thread(
        target=lambda: postern.postern("quarantine", "release", key, check=False))
    asking.start()
    assert gate.reached.wait(300)
    os.kill(postern.pid("posternd"), signal.SIGKILL)
    asking.join(300)
    gate.open.set()
    wait_for(lambda: postern.postern("status", check=False).returncode == 0, "posternd is back")
    return key


def test_killed_before_the_message(rig):
    """RELEASING is durable: posternd delivers it after its restart, once."""
    postern, mta, _ = rig
    key = killed_at(rig, "killed before", rb"^MAIL FROM")
    wait_for(lambda: state_of(postern, key) == "released", "the release is completed")
    assert len(copies(mta, "killed before")) == 1


def test_killed_after_250(rig):
    """Postfix had it, nobody could know: once more, with the same Message-Id."""
    postern, mta, gate = rig
    key = killed_at(rig, "killed after", rb"^250 2\.0\.0 Ok: queued")
    wait_for(lambda: state_of(postern, key) == "released", "the release is completed")
    got = copies(mta, "killed after")
    assert len(got) == 2
    assert all(b"\nMessage-ID: <killed.after@client.test>\n" in one for one in got)
    assert postern.json("quarantine", "show", key)["release_attempts"] == 2


def test_killed_after_released(rig):
    """What has ended has ended: nothing is delivered again after a crash."""
    postern, mta, gate = rig
    _, key = keep(postern, mta, "killed late")
    postern.postern("quarantine", "release", key)
    talks = gate.talks
    os.kill(postern.pid("posternd"), signal.SIGKILL)
    wait_for(lambda: postern.postern("status", check=False).returncode == 0, "posternd is back")
    _, other = keep(postern, mta, "after killed late")
    postern.postern("quarantine", "release", other)
    assert gate.talks == talks + 1
    assert len(copies(mta, "killed late")) == 1
    assert state_of(postern, key) == "released"


def test_large_and_odd(rig):
    """20 MB; and lines that would end the message, or a command, early."""
    postern, mta, _ = rig
    _, large = keep(postern, mta, "release large", more=[mails.attachment(b"\0" * 15_000_000)])
    odd = b".\r\r\n..\r\n.x\r\n\xff\xe4 8 bit\r\nlast line"
    keep(postern, mta, "release odd", more=[mails.text_part(odd)])
    postern.postern("quarantine", "release", "--all", "--yes", "--subject", "release odd")
    postern.postern("quarantine", "release", large)
    assert len(copies(mta, "release large")) == 1
    (got,) = copies(mta, "release odd")
    assert b"\n..\n.x\n\xff\xe4 8 bit\nlast line\n" in got


def test_deleted(rig):
    postern, mta, _ = rig
    _, key = keep(postern, mta, "delete me")
    assert postern.json("quarantine", "delete", key)[0]["done"] == "deleted"
    assert not [r for r in postern.json("quarantine", "list") if r["key"] == key]
    assert not (postern.dir / f"state/quarantine/{key}.eml").exists()
    assert incidents(postern, key)[0][0] == "delete"
    assert postern.postern("quarantine", "release", key, check=False).returncode == 1
