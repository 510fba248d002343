# SPDX-License-Identifier: GPL-2.0-only
"""More mail at once than memory: 451 before DATA, nobody killed, every message accounted for."""
import os
import socket
import subprocess
import threading
import time

import pytest

import instance
import mails
import postfix
from instance import private_kb

CLIENTS = 200
SIZE = 104_000_000
MAIN_CF = """\
default_process_limit = 250
smtpd_client_connection_count_limit = 0
"""
SETTINGS = "scan_timeout = 240\n"


class Client(threading.Thread):
    """One message; all say MAIL at the same time."""

    def __init__(self, port, barrier, content, number):
        super().__init__(daemon=True)
        self.port, self.barrier, self.content, self.number = port, barrier, content, number
        self.code, self.command = None, None

    def say(self, sock, answers, command, data):
        self.command = command
        sock.sendall(data)
        while (line := answers.readline())[3:4] == b"-":
            pass
        self.code = int(line[:3])
        return self.code < 400

    def run(self):
        with socket.create_connection(("127.0.0.1", self.port), timeout=300) as sock:
            answers = sock.makefile("rb")
            answers.readline()
            self.say(sock, answers, "EHLO", b"EHLO client.test\r\n")
            self.barrier.wait(300)
            mail = b"MAIL FROM:<%d@client.test> SIZE=%d\r\n" % (self.number, SIZE)
            if self.say(sock, answers, "MAIL", mail) and \
                    self.say(sock, answers, "RCPT", b"RCPT TO:<user@lab.test>\r\n") and \
                    self.say(sock, answers, "DATA", b"DATA\r\n"):
                sock.sendall(mails.headers(f"storm {self.number}") + b"\r\n")
                self.say(sock, answers, "end", self.content)


class Watch(threading.Thread):
    """Looks at the budget while the others use it."""

    def __init__(self, postern):
        super().__init__(daemon=True)
        self.postern, self.over, self.done = postern, [], threading.Event()
        self.most, self.private = 0, 0

    def run(self):
        while not self.done.wait(0.1):
            spool = self.postern.json("status")["posternd"]["spool"]
            self.most = max(self.most, spool["used"])
            self.private = max(self.private, private_kb(self.postern.pid("posternd")))
            if spool["used"] > spool["limit"]:
                self.over.append(spool)


def status(postern):
    return postern.json("status")["posternd"]


def check_quiet(postern, pids):
    """Nothing has died, nothing is held any more."""
    end = time.monotonic() + 300
    while status(postern)["spool"]["used"] != 0:
        assert time.monotonic() < end
        time.sleep(0.05)
    assert [postern.pid("posternd"), postern.pid("engine")] == pids
    assert status(postern)["pool"]["lost"] == 0


def test_storm(postern, mta):
    """200 mails of 100 MB at once, each with its SIZE=."""
    pids = [postern.pid("posternd"), postern.pid("engine")]
    line = b"a" * 998 + b"\r\n"
    content = line * ((SIZE - 1000) // len(line)) + b".\r\n"
    barrier = threading.Barrier(CLIENTS)
    clients = [Client(mta.port, barrier, content, n) for n in range(CLIENTS)]
    watch = Watch(postern)
    watch.start()
    for client in clients:
        client.start()
    for client in clients:
        client.join(300)
    watch.done.set()
    watch.join(300)
    sent = [client for client in clients if client.code == 250]
    refused = [client for client in clients if client.code == 451]
    assert len(sent) + len(refused) == CLIENTS, [(c.command, c.code) for c in clients]
    assert len(sent) >= 3
    assert {client.command for client in refused} == {"MAIL"}
    assert not watch.over
    assert watch.most >= 3 * SIZE
    assert watch.private < 60 * 1024  # a body is in the spool, and nowhere else
    mta.drain()
    assert sorted(mta.delivered()) == sorted(f"storm {client.number}" for client in sent)
    check_quiet(postern, pids)


def test_small_mail_in_the_storm(postern, mta):
    """Clients that declare much and send nothing keep each other out, not the small mail."""
    holding = []
    codes = []
    for number in range(10):
        sock = socket.create_connection(("127.0.0.1", mta.port), timeout=300)
        answers = sock.makefile("rb")
        answers.readline()
        sock.sendall(b"HELO client.test\r\n")
        answers.readline()
        sock.sendall(b"MAIL FROM:<%d@client.test> SIZE=%d\r\n" % (number, SIZE))
        codes.append(answers.readline()[:3])
        holding.append((sock, answers))
    assert set(codes) == {b"250", b"451"}
    assert mta.send(mails.clean("small in the storm"))[0] == 250
    for sock, answers in holding:
        answers.close()
        sock.close()


def test_no_size(folder, signatures):
    """smtp-source says no SIZE=: what does not fit hears 451 at its end."""
    if os.geteuid() != 0:
        pytest.skip("a private Postfix needs root")
    postern = instance.Instance(folder / "no-size", signatures,
                                'message_size = "8M"\nspool_memory = "12M"\n')
    mta = postfix.Postfix(folder / "postfix-no-size", f"unix:{postern.dir}/milter.sock", more=MAIN_CF)
    postern.start()
    try:
        mta.start()
        pids = [postern.pid("posternd"), postern.pid("engine")]
        subprocess.run(["smtp-source", "-A", "-s", "30", "-m", "60", "-l", "4000000", "-f",
                        "sender@client.test", "-t", "user@lab.test", f"127.0.0.1:{mta.port}"],
                       check=True, timeout=300, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL)
        mta.drain(120)
        counters = status(postern)["counters"]
        delivered = len(list((mta.dir / "mail/user/new").iterdir()))
        assert counters["accepted"] == delivered
        assert counters["refused"] == 60 - delivered
        assert 0 < delivered < 60
        check_quiet(postern, pids)
    finally:
        mta.stop()
        postern.stop()
