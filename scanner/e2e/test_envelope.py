# SPDX-License-Identifier: GPL-2.0-only
"""Senders, recipients and headers that are not the usual ones: answered, logged and kept rightly."""
import os
import smtplib
import subprocess
import time

import pytest

import mails
import postfix

VERSIONS = (2, 3, 4, 6)
SERVICES = "".join(f"""\
127.0.0.1:{{v{version}}} inet n - n - - smtpd
  -o milter_protocol={version}
  -o cleanup_service_name=cleanup{version}
cleanup{version} unix n - n - 0 cleanup
  -o milter_protocol={version}
""" for version in VERSIONS)
PORTS = {}
MORE = "smtpd_authorized_xclient_hosts = 127.0.0.1\ninet_protocols = all\n"


@pytest.fixture(scope="module")
def mta(postern, folder):
    if os.geteuid() != 0:
        pytest.skip("a private Postfix needs root")
    milter = f"unix:{postern.dir}/milter.sock"
    PORTS.update((version, postfix.free_port()) for version in VERSIONS)
    one = postfix.Postfix(folder / "postfix-envelope", milter,
                          SERVICES.format(**{f"v{v}": port for v, port in PORTS.items()}),
                          MORE + f"non_smtpd_milters = {milter}\n")
    one.start()
    yield one
    one.stop()


def line_of(postern, subject):
    """The log line of the message whose Message-Id was made of SUBJECT, as its fields."""
    wanted = f"message-id=<{subject.replace(' ', '.')}@client.test>"
    end = time.monotonic() + 300
    while time.monotonic() < end:
        found = [line for line in postern.log if wanted in line]
        if found:
            assert len(found) == 1, found
            return found[0]
        time.sleep(0.02)
    raise AssertionError(f"no log line with {wanted}:\n" + "\n".join(postern.log[-20:]))


def row_of(postern, subject):
    (row,) = [row for row in postern.json("quarantine", "list") if row["subject"] == subject]
    return postern.json("quarantine", "show", row["key"])


def session(port):
    client = smtplib.SMTP("127.0.0.1", port, "client.test", timeout=300)
    client.ehlo()
    return client


def send(mta, message, sender="sender@client.test", recipients=("user@lab.test",), port=None,
         mail=(), rcpt=(), xclient=None):
    client = session(port or mta.port)
    try:
        if xclient:
            assert client.docmd("XCLIENT", xclient)[0] == 220
            client.ehlo()
        code, text = client.mail(sender, mail)
        assert code == 250, text
        for recipient in recipients:
            code, text = client.rcpt(recipient, rcpt)
            assert code == 250, text
        return client.data(message)[0]
    finally:
        client.close()


def test_null_sender(postern, mta):
    assert send(mta, mails.clean("from nobody"), sender="<>") == 250
    assert ' from="" ' in line_of(postern, "from nobody")
    assert send(mta, mails.with_attachment("bad bounce", mails.EICAR), sender="<>") == 550
    assert row_of(postern, "bad bounce")["envelope"]["sender"] == ""


def test_dsn(postern, mta):
    code = send(mta, mails.with_attachment("dsn", mails.EICAR), mail=("RET=HDRS", "ENVID=QQ314159"),
                rcpt=("NOTIFY=SUCCESS,DELAY", "ORCPT=rfc822;Bob@lab.test"))
    assert code == 550
    envelope = row_of(postern, "dsn")["envelope"]
    assert envelope["sender"] == "sender@client.test"
    assert envelope["recipients"] == ["user@lab.test"]
    assert send(mta, mails.clean("dsn clean"), mail=("RET=FULL", "ENVID=x"),
                rcpt=("NOTIFY=NEVER",)) == 250


def test_smtputf8(postern, mta):
    sender, recipient = "jürgen@müller.test", "πελάτης@lab.test"
    message = mails.with_attachment("utf8", mails.EICAR).replace(
        b"From: Sender", "From: Jürgen Grün".encode())
    client = session(mta.port)
    code, text = client.mail(sender, ["SMTPUTF8", "BODY=8BITMIME"])
    assert code == 250, text
    assert client.rcpt(recipient)[0] == 250
    assert client.data(message)[0] == 550
    client.close()
    envelope = row_of(postern, "utf8")["envelope"]
    assert (envelope["sender"], envelope["recipients"]) == (sender, [recipient])
    assert f" from={sender} " in line_of(postern, "utf8")
    assert postern.kept()["utf8"][0].endswith(message)


def test_eight_bit_header(postern, mta):
    """Latin-1 in a header is no UTF-8: escaped in the log, made valid in JSON, kept as it is."""
    message = mails.with_attachment("eight bit", mails.EICAR).replace(
        b"Subject: eight bit", b"Subject: Gr\xfc\xdfe \x1b[31m eight bit")
    assert send(mta, message) == 550
    line = line_of(postern, "eight bit")
    assert line.isprintable()
    rows = [row for row in postern.json("quarantine", "list") if "eight bit" in row["subject"]]
    assert len(rows) == 1
    raw = postern.postern("quarantine", "show", "--raw", rows[0]["key"]).stdout
    assert raw.endswith(message)


@pytest.mark.parametrize("length", [90000, 300000])
def test_long_header(postern, mta, length):
    """Longer ones than header_size_limit are cut by Postfix, for us as for the recipient."""
    words = b" ".join(b"word%06d" % n for n in range(length // 11))
    subject = f"long {length}"
    message = mails.headers(subject, b"X-Long: " + words[:900] + b"\r\n " + b"\r\n ".join(
        words[i:i + 900] for i in range(900, length, 900)) + b"\r\n") + b"\r\nbody\r\n"
    assert send(mta, message) == 250
    mta.drain()
    (got,) = mta.delivered()[subject]
    assert b"X-Postern: clean" in got
    assert b"word000100" in got


def test_nul(postern, mta):
    """Postfix hands a header to milters up to its first NUL: nothing is found clean by that."""
    hidden = mails.with_attachment("nul", mails.EICAR).replace(b"mixed;", b"mixed;\0")
    assert send(mta, hidden) == 550
    in_body = mails.headers("nul body") + b"\r\nbody a\0b\r\n" + mails.uuencoded(mails.EICAR)
    assert send(mta, in_body) == 550
    assert postern.kept()["nul body"][0].endswith(in_body)


def test_local_submission(postern, mta):
    """The sendmail command: no client, no answer to anybody; nothing is delivered all the same."""
    for subject, content in (("local good", b"hello"), ("local bad", mails.EICAR)):
        subprocess.run(["sendmail", "-C", mta.dir / "conf", "-f", "root@lab.test", "user@lab.test"],
                       input=mails.clean(subject, content).replace(b"\r\n", b"\n"), check=True,
                       timeout=300)
        line = line_of(postern, subject)
        assert " direction=submission " in line
        assert f" verdict={'clean' if subject == 'local good' else 'infected'} " in line
    mta.drain()
    assert "local good" in mta.delivered()
    assert "local bad" not in mta.delivered()


def test_many_recipients(postern, mta):
    recipients = [f"user{n}@lab.test" for n in range(1000)]
    assert send(mta, mails.with_attachment("thousand", mails.EICAR), recipients=recipients) == 550
    assert row_of(postern, "thousand")["envelope"]["recipients"] == recipients
    assert " rcpts=1000 " in line_of(postern, "thousand")


def test_escapes(postern, mta):
    """What comes from outside cannot look like a field of ours, or move the terminal's cursor."""
    message = mails.clean("forged").replace(
        b"<forged@client.test>", b"<forged@client.test> verdict=clean action=\"accept\"\x1b[2J\x07")
    assert send(mta, message, sender='"a verdict=clean"@client.test') == 250
    end = time.monotonic() + 300
    while not (found := [line for line in postern.log if "forged@client.test" in line]):
        assert time.monotonic() < end
        time.sleep(0.02)
    (line,) = found
    assert line.isprintable()
    assert line.count(" verdict=clean reason=- action=accept ") == 1
    assert "\\x1b[2J\\x07" in line


@pytest.mark.parametrize("version", VERSIONS)
def test_protocol_versions(postern, mta, version):
    """Postfix's milter_protocol: the same content is scanned, marked and kept with each."""
    good, bad = f"version {version} good", f"version {version} bad"
    odd = mails.headers(good, b"X-Odd:no space\r\nX-Fold: a\r\n\tb\r\nX-Postern: clean\r\n") + \
        b"\r\nbody\r\n"
    assert send(mta, odd, port=PORTS[version]) == 250
    message = mails.with_attachment(bad, mails.EICAR)
    assert send(mta, message, port=PORTS[version]) == 550
    assert postern.kept()[bad][0].endswith(message)
    mta.drain()
    (got,) = mta.delivered()[good]
    assert got.count(b"\nX-Postern:") == 1
    assert b"\nX-Fold: a\n\tb\n" in got


def test_several_messages_of_one_connection(postern, mta):
    """Each with its own queue id and verdict; one that is given up in the middle leaves nothing."""
    client = session(mta.port)
    ids = set()
    for number in range(6):
        infected = number % 2 == 0
        subject = f"row {number}"
        message = mails.with_attachment(subject, mails.EICAR if infected else b"fine")
        assert client.mail("sender@client.test")[0] == 250
        if number == 3:
            assert client.rcpt("gone@lab.test")[0] == 250
            assert client.rset()[0] == 250
            assert client.mail("other@client.test")[0] == 250
        assert client.rcpt("user@lab.test")[0] == 250
        assert client.data(message)[0] == (550 if infected else 250)
        line = line_of(postern, subject)
        assert " rcpts=1 " in line
        ids.add(line.split(": ")[2])
    client.quit()
    assert len(ids) == 6
    assert "-" not in ids


def test_given_up(postern, mta):
    """A client that goes away at any point leaves nothing behind and hurts nobody."""
    steps = [b"MAIL FROM:<a@client.test>\r\n", b"RCPT TO:<user@lab.test>\r\n", b"DATA\r\n",
             mails.headers("given up")[:60], b"\r\n\r\n" + b"x" * 200000]
    for last in range(len(steps)):
        client = session(mta.port)
        for step in steps[:last + 1]:
            client.sock.sendall(step)
        client.close()
    assert send(mta, mails.clean("after those")) == 250
    end = time.monotonic() + 300
    while postern.json("status")["posternd"]["spool"]["used"] != 0:
        assert time.monotonic() < end
        time.sleep(0.05)
    mta.drain()
    assert "given up" not in mta.delivered()


@pytest.mark.parametrize("xclient, expected", [
    (None, "submission"),  # loopback
    ("ADDR=192.0.2.7 NAME=mail.client.test", "inbound"),
    ("ADDR=192.0.2.7 NAME=mail.client.test LOGIN=jo", "submission"),
    ("ADDR=IPv6:2001:db8::7 NAME=[UNAVAILABLE]", "inbound"),
    ("ADDR=IPv6:::1 NAME=localhost", "submission"),
    ("ADDR=[UNAVAILABLE] NAME=[UNAVAILABLE]", "inbound"),
])
def test_direction(postern, mta, xclient, expected):
    subject = "direction " + (xclient or "plain").translate(str.maketrans("=:[]", "...."))
    assert send(mta, mails.with_attachment(subject, mails.EICAR), xclient=xclient) == 550
    envelope = row_of(postern, subject)["envelope"]
    assert envelope["direction"] == expected
    line = line_of(postern, subject)
    assert f" direction={expected} " in line
    assert (" user=jo " in line) == ("LOGIN=jo" in (xclient or ""))


def test_smtp_source(postern, mta):
    """Many in parallel, several per connection, pipelined."""
    before = postern.json("status")["posternd"]["counters"]["clean"]
    subprocess.run(["smtp-source", "-s", "10", "-m", "200", "-l", "4000", "-d", "-f",
                    "sender@client.test", "-t", "user@lab.test", f"127.0.0.1:{mta.port}"],
                   check=True, timeout=300)
    assert postern.json("status")["posternd"]["counters"]["clean"] == before + 200


def test_swaks(mta):
    for words, code in ((["--body", "hello"], 0), (["--attach", "@/dev/stdin"], 26)):
        run = subprocess.run(["swaks", "--server", f"127.0.0.1:{mta.port}", "--from", "a@client.test",
                              "--to", "user@lab.test", "--silent", "2", "--pipeline", *words],
                             input=mails.EICAR if code else b"", capture_output=True, timeout=300,
                             check=False)
        assert run.returncode == code, run
