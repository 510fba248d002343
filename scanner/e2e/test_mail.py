# SPDX-License-Identifier: GPL-2.0-only
"""Mail through a real Postfix and the whole chain. Every message is accounted for."""
import pathlib
import re
import subprocess

import pytest

import mails

TESTFILES = sorted(pathlib.Path("/usr/share/clamav-testfiles").glob("clam*"))
ADDED = re.compile(rb"^(Return-Path|Delivered-To|X-Original-To|Received|X-Postern[-A-Za-z]*): .*\n(?:[ \t].*\n)*",
                   re.M)


def as_sent(delivered):
    """A delivered message without the header lines that were added on the way."""
    head, body = delivered.split(b"\n\n", 1)
    return ADDED.sub(b"", head + b"\n") + b"\n" + body


def check_kept(postern, mta, subject, message):
    """Refused with 550, kept byte for byte, not delivered."""
    code, text = mta.send(message)
    assert (code, text[:5]) == (550, "5.7.1"), text
    (kept,) = postern.kept()[subject]
    assert kept.endswith(message)
    mta.drain()
    assert subject not in mta.delivered()


CLEAN = {
    "clean": mails.clean(),
    "empty": mails.clean("empty", b""),
    "no line end": mails.clean("no line end", b"text"),
    "dots": mails.clean("dots", b".\r\n..\r\n...\r\n.a\r\n"),
    "attachment": mails.with_attachment("attachment", bytes(range(256)) * 200),
    "odd header": mails.headers("odd header", b"X-Odd:no space\r\nX-Tab:\ttab\r\nX-Two:  two\r\n"
                                b"X-Fold: a\r\n\tb\r\n  c\r\nX-Eight: \xe4\xff\r\nX-Empty:\r\n")
    + b"\r\nbody\r\n",
    "big": mails.clean("big", b"0123456789abcdef" * 4 + b"\r\n" + b"line\r\n" * 500000),
}


@pytest.mark.parametrize("subject", CLEAN)
def test_clean_arrives_byte_for_byte(mta, subject):
    code, text = mta.send(CLEAN[subject])
    assert code == 250, text
    mta.drain()
    (got,) = mta.delivered()[subject]
    wanted = CLEAN[subject].replace(b"\r\n", b"\n")
    assert as_sent(got) == wanted + (b"" if wanted.endswith(b"\n") else b"\n")
    assert b"\nX-Postern: clean" in got


def smime_encrypted(subject, folder):
    """Encrypted by openssl for a key made here."""
    key, certificate = folder / "smime.key", folder / "smime.crt"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj",
                    "/CN=user", "-keyout", key, "-out", certificate], check=True,
                   capture_output=True)
    done = subprocess.run(["openssl", "cms", "-encrypt", "-aes256", certificate], check=True,
                          input=mails.text_part(b"secret"), capture_output=True)
    return mails.headers(subject).replace(b"MIME-Version: 1.0\r\n", b"") + \
        done.stdout.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


PGP = b"-----BEGIN PGP MESSAGE-----\r\n\r\nhQEMA1\r\n=abcd\r\n-----END PGP MESSAGE-----\r\n"


def end_to_end(subject, folder):
    if subject == "S/MIME":
        return smime_encrypted(subject, folder)
    if subject == "PGP inline":
        return mails.clean(subject, b"Hello,\r\n" + PGP)
    part = b"Content-Type: application/octet-stream; name=encrypted.asc\r\n\r\n" + PGP
    version = b"Content-Type: application/pgp-encrypted\r\n\r\nVersion: 1\r\n"
    return mails.multipart(subject, [version, part]).replace(
        b"multipart/mixed;", b'multipart/encrypted; protocol="application/pgp-encrypted";')


@pytest.mark.parametrize("subject", ["S/MIME", "PGP inline", "PGP/MIME"])
def test_end_to_end_encrypted_is_delivered_but_never_called_clean(mta, folder, subject):
    code, text = mta.send(end_to_end(subject, folder))
    assert code == 250, text
    mta.drain()
    (got,) = mta.delivered()[subject]
    assert b"\nX-Postern: not fully scanned\n" in got


def test_a_virus_beside_encrypted_content_is_found(postern, mta):
    parts = [mails.text_part(PGP), mails.attachment(mails.EICAR, "a.com")]
    check_kept(postern, mta, "beside", mails.multipart("beside", parts))


def test_foreign_header_is_removed(mta):
    code, _ = mta.send(mails.headers("foreign", b"X-Postern: clean; trust me\r\n") + b"\r\nhi\r\n")
    assert code == 250
    mta.drain()
    (got,) = mta.delivered()["foreign"]
    assert b"trust me" not in got
    assert got.count(b"\nX-Postern:") == 1


@pytest.mark.parametrize("subject", mails.infected())
def test_infected_is_refused_and_kept(postern, mta, subject):
    check_kept(postern, mta, subject, mails.infected()[subject])


@pytest.mark.parametrize("path", TESTFILES, ids=lambda path: path.name)
def test_clamav_testfiles(postern, mta, path):
    message = mails.with_attachment(path.name, path.read_bytes(), path.name)
    check_kept(postern, mta, path.name, message)


def test_all_testfiles_are_there():
    assert len(TESTFILES) == 44


def test_several_messages_per_connection_and_recipients(postern, mta):
    message = mails.clean("recipients")
    code, _ = mta.send(message, recipients=("user@lab.test", "other@lab.test"))
    assert code == 250
    mta.drain()
    assert len(mta.delivered()["recipients"]) == 2


def test_null_sender(mta):
    assert mta.send(mails.clean("null sender"), sender="<>")[0] == 250


def test_repeat_is_an_attempt_not_a_copy(postern, mta):
    message = mails.with_attachment("repeat", mails.EICAR)
    for _ in range(3):
        assert mta.send(message)[0] == 550
    rows = [row for row in postern.json("quarantine", "list") if row["subject"] == "repeat"]
    assert [row["attempts"] for row in rows] == [3]


def test_status(postern):
    status = postern.json("status")
    assert status["engine"]["state"] == "ready"
    text = postern.postern("status").stdout.decode()
    assert "ready" in text
    assert "only test signatures" not in text.lower()
