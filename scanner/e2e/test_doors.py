# SPDX-License-Identifier: GPL-2.0-only
"""How MTAs reach posternd, and what peers that are no good MTA can do to the others."""
import os
import pathlib
import shutil
import signal
import socket
import struct
import subprocess
import threading
import time

import pytest

import instance
import mails
import postfix
from instance import private_kb, wait_for

HERE = pathlib.Path(__file__).resolve().parent

CHROOTED = """\
127.0.0.1:{port} inet n - y - - smtpd -o cleanup_service_name=jailed
jailed unix n - y - 0 cleanup
"""


def packet(command, data=b""):
    return struct.pack(">I", len(data) + 1) + command + data


NEGOTIATE = packet(b"O", struct.pack(">III", 6, 0x1ff, 0x1fffff))
CONNECT = packet(b"C", b"mail.client.test\0004\0\x19192.0.2.1\0")
HELO = packet(b"H", b"mail.client.test\0")


def exactly(sock, length):
    data = b""
    while len(data) < length:
        more = sock.recv(length - len(data))
        assert more, "closed"
        data += more
    return data


def reply(sock):
    (length,) = struct.unpack(">I", exactly(sock, 4))
    data = exactly(sock, length)
    return data[:1], data[1:]


def connect(postern, greet=True):
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(300)
    sock.connect(str(postern.dir / "milter.sock"))
    if greet:
        sock.sendall(NEGOTIATE)
        assert reply(sock)[0] == b"O"
        sock.sendall(CONNECT + HELO)
    return sock


def is_closed(sock):
    try:
        return sock.recv(1) == b""
    except ConnectionError:
        return True


def connections(postern):
    return postern.json("status")["posternd"]["milter"][0]["connections"]


def test_many_idle_connections(postern, mta):
    """500 of them, each after a message: below 60 MB, and mail flows beside them."""
    body = packet(b"B", b"x" * 60000)
    idle = [connect(postern) for _ in range(500)]
    for sock in idle:
        sock.sendall(packet(b"M", b"<a@client.test>\0") + packet(b"R", b"<b@lab.test>\0") +
                     packet(b"L", b"Subject\0 idle\0") + packet(b"N") + body)
    for sock in idle:
        assert reply(sock)[0] == b"c"
    for sock in idle:
        sock.sendall(packet(b"A"))
    wait_for(lambda: postern.json("status")["posternd"]["spool"]["used"] == 0, "all is given back")
    assert connections(postern) == 500
    assert mta.send(mails.clean("beside the idle"))[0] == 250
    used = private_kb(postern.pid("posternd"))
    assert used < 60 * 1024, f"{used} kB"
    for sock in idle:
        sock.close()
    wait_for(lambda: connections(postern) < 10, "they are closed")


def test_slow_clients(postern, mta):
    """Peers that send a byte now and then, or half a packet, or read nothing: others do not wait."""
    slow = [connect(postern, greet=False) for _ in range(50)]
    words = NEGOTIATE + CONNECT + packet(b"M", b"<a@client.test>\0")
    for i, sock in enumerate(slow):
        sock.sendall(words[:i])
    began = time.monotonic()
    for number in range(10):
        assert mta.send(mails.clean(f"beside the slow {number}"))[0] == 250
        for i, sock in enumerate(slow):
            sock.sendall(words[i + number:i + number + 1])
    assert time.monotonic() - began < 120  # an idle connection is closed after 330 s
    for sock in slow:
        sock.close()


HOSTILE = {
    "length 0": NEGOTIATE + b"\0\0\0\0",
    "length 4 GB": NEGOTIATE + b"\xff\xff\xff\xff",
    "unknown command": NEGOTIATE + packet(b"z"),
    "not the protocol": b"EHLO client.test\r\n",
    "version 1": packet(b"O", struct.pack(">III", 1, 0x1ff, 0x1fffff)),
    "no headers": packet(b"O", struct.pack(">III", 6, 0x0e, 0x1fffff)),
    "body before MAIL": NEGOTIATE + packet(b"B", b"x"),
    "twice": NEGOTIATE + NEGOTIATE,
    "no sender": NEGOTIATE + packet(b"M"),
    "unterminated": NEGOTIATE + packet(b"M", b"<a@client.test>"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_nonsense_is_closed(postern, mta, name):
    with connect(postern, greet=False) as sock:
        sock.sendall(HOSTILE[name])
        while not is_closed(sock):
            pass
    assert mta.send(mails.clean(f"after {name}"))[0] == 250


def test_why_an_mta_is_refused(postern):
    with connect(postern, greet=False) as sock:
        sock.sendall(HOSTILE["no headers"])
        assert is_closed(sock)
    wait_for(lambda: any("SMFIF_ADDHDRS" in line for line in postern.log), "the log says why")


def test_endless_headers_and_macros(postern, mta):
    """A flood of macros costs nothing; endless headers end at message_size, with 552."""
    with connect(postern) as sock:
        sock.sendall(packet(b"D", b"M" + b"i\0id\0{auth_authen}\0jo\0" * 20000))
        sock.sendall(packet(b"D", b"M" + b"x" * 500000 + b"\0y\0"))
        sock.sendall(packet(b"M", b"<a@client.test>\0") + packet(b"R", b"<b@lab.test>\0"))
        assert reply(sock)[0] == b"c"
        header = packet(b"L", b"X-Endless\0" + b" long" * 180000 + b"\0")
        for _ in range(130):
            sock.sendall(header)
        sock.sendall(packet(b"N") + packet(b"E"))
        kind, text = reply(sock)
        assert (kind, text[:9]) == (b"y", b"552 5.3.4")
    assert mta.send(mails.clean("after the flood"))[0] == 250
    assert private_kb(postern.pid("posternd")) < 60 * 1024


def test_connection_flood(postern, mta):
    """More than `clients` are turned away; those that are served, and later ones, get answers."""
    flood = []
    for _ in range(1100):
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(300)
        sock.connect(str(postern.dir / "milter.sock"))
        flood.append(sock)
    code, text = mta.send(mails.clean("in the flood"))
    assert code == 451, text
    assert postern.json("status")["posternd"]["counters"]["refused"] >= 100
    for sock in flood:
        sock.close()
    wait_for(lambda: mta.send(mails.clean("after the connections"))[0] == 250, "it serves again")


# Version, actions, steps: what libmilter's headers have for it, and the least that is enough.
OFFERS = [(2, 0x3f, 0x7f), (2, 0x13, 0), (3, 0x3f, 0x7f), (4, 0x3f, 0x3ff), (5, 0x7f, 0xfff),
          (6, 0x1ff, 0x1fffff), (6, 0x13, 0)]


@pytest.mark.parametrize("version, actions, steps", OFFERS)
def test_miltertest(postern, version, actions, steps):
    subprocess.run(["miltertest", "-w", "-D", f"SOCKET=unix:{postern.dir}/milter.sock",
                    "-D", f"VERSION={version}", "-D", f"ACTIONS={actions}", "-D", f"STEPS={steps}",
                    "-D", "EICAR=" + mails.EICAR.decode(), "-s", HERE / "milter.lua"], check=True,
                   timeout=300)
    for name, verdict in (("clean", "clean"), ("bad", "infected")):
        name = f"Qlua.{name}.{version}: message-id=<lua.{name}.{version}@client.test>"
        wait_for(lambda name=name: any(name in line for line in postern.log), name)
        line = [line for line in postern.log if name in line][-1]
        assert f" user=jo direction=submission from=a@client.test rcpts=1 " in line
        assert f" verdict={verdict} " in line


def test_stop_accounts_for_all(postern, mta):
    """Ended while infected mail comes in: what heard 550 is kept, the rest heard 451."""
    replies, stop = {}, threading.Event()

    def client(number):
        turn = 0
        while not stop.is_set():
            turn += 1
            subject = f"stop {number} {turn}"
            replies[subject] = mta.send(mails.with_attachment(subject, mails.EICAR))[0]
            time.sleep(0.01)

    threads = [threading.Thread(target=client, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for _ in range(3):
        before = sum(code == 550 for code in replies.values())
        wait_for(lambda before=before: sum(code == 550 for code in replies.values()) > before + 3,
                 "mail is kept")
        pid = postern.pid("posternd")
        began = time.monotonic()
        os.kill(pid, signal.SIGTERM)
        wait_for(lambda pid=pid: not pathlib.Path(f"/proc/{pid}").exists(), "it ends")
        assert time.monotonic() - began < 20
    stop.set()
    for thread in threads:
        thread.join()
    wait_for(lambda: mta.send(mails.clean("after the stops"))[0] == 250, "it serves again")
    assert set(replies.values()) <= {550, 451}
    kept = {row["subject"] for row in postern.json("quarantine", "list")}
    assert not {subject for subject, code in replies.items() if code == 550} - kept
    mta.drain()
    assert not [subject for subject in mta.delivered() if subject.startswith("stop ")]


def test_chrooted_postfix(folder, signatures):
    """As Debian ships it: smtpd and cleanup see the socket below the queue directory only."""
    if os.geteuid() != 0:
        pytest.skip("a private Postfix needs root")
    port = postfix.free_port()
    mta = postfix.Postfix(folder / "postfix-chroot", "unix:/postern/milter.sock",
                          CHROOTED.format(port=port))
    queue = mta.dir / "queue/postern"
    queue.mkdir()
    shutil.chown(queue, "postern", "postfix")
    queue.chmod(0o2750)
    postern = instance.Instance(folder / "chroot", signatures,
                                f'milter_listen = {{"unix:{queue}/milter.sock"}}\n')
    postern.start()
    try:
        mta.start()
        mta.port = port
        assert mta.send(mails.clean("chrooted"))[0] == 250
        assert mta.send(mails.with_attachment("chrooted bad", mails.EICAR))[0] == 550
        mta.drain()
        assert list(mta.delivered()) == ["chrooted"]
    finally:
        mta.stop()
        postern.stop()
