#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""What workers tell of mail: parts at every depth, defects, byte ranges; and every reading of
malformed mail is scanned.

    /usr/bin/python3 -m pytest scanner/worker/test-facts.py
"""
import base64
import email
import hashlib
import io
import struct
import subprocess
import tarfile
import zipfile
import zlib

import pytest

import office
from chain import (CLEAN, EICAR, INFECTED, UNSCANNED, MODES, Engine, attachment, mail, verdict_of,
                   why, zipped)

PLAIN = b"only some text that nobody looks for\r\n"
ZIP64 = base64.encodebytes(zipped(EICAR, "eicar.com")).replace(b"\n", b"\r\n")


@pytest.fixture(scope="module")
def pool():
    engine = Engine("caps" if "caps" in MODES else "user", signatures=False)
    try:
        engine.wait_state("ready")
        yield engine.attach()
    finally:
        engine.stop()


def parts_of(facts):
    return {part["path"]: part for part in facts["parts"]}


def check(pool, data, verdict):
    facts = pool.scan(data)
    assert verdict_of(facts) == verdict, why(facts)
    return facts


def tarred(files):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def test_objects_at_every_depth(pool):
    inner = zipped(EICAR, "deep/eicar.com")
    outer = io.BytesIO()
    with zipfile.ZipFile(outer, "w") as archive:
        archive.writestr("readme.txt", PLAIN)
        archive.writestr("more/inner.zip", inner)
    facts = check(pool, mail(attachment(PLAIN, "a.txt"), attachment(outer.getvalue(), "a.zip")),
                  INFECTED)
    parts = parts_of(facts)
    assert list(parts) == ["", "1", "2", "3", "3/1", "3/2", "3/2/1"]
    assert [parts[p].get("true_type") for p in parts] == [
        None, "text", "text", "zip", "text", "zip", "text"]
    assert [parts[p].get("filename") for p in parts] == [
        None, None, "a.txt", "a.zip", "readme.txt", "more/inner.zip", "deep/eicar.com"]
    assert parts["3/2"]["sha256"] == hashlib.sha256(inner).hexdigest()
    assert parts["3/2/1"]["size"] == len(EICAR)
    assert [p for p in parts if "detections" in parts[p]] == ["3", "3/2", "3/2/1"]


def test_twins_share_what_was_found(pool):
    bad = zipped(EICAR, "eicar.com")
    facts = check(pool, mail(attachment(bad, "a.zip"), attachment(PLAIN), attachment(bad, "b.zip")),
                  INFECTED)
    assert [p for p, part in parts_of(facts).items() if "detections" in part and "/" not in p] == [
        "2", "4"]


@pytest.mark.parametrize("name,raw,shown", [
    ("utf-8", "gr\u00fc\u00dfe.txt".encode(), "gr\u00fc\u00dfe.txt"),
    ("cp437", b"gr\x81\xe1e.txt", "gr\u00fc\u00dfe.txt"),
    ("cp866 as cp437", "\u041c\u0438\u0440.txt".encode("cp866"), None)])
def test_names_in_archives(pool, name, raw, shown):
    data = zipped(PLAIN, "N" * len(raw)).replace(b"N" * len(raw), raw)
    part = parts_of(check(pool, mail(attachment(data, "a.zip")), CLEAN))["2/1"]
    assert shown is None or part["filename"] == shown
    assert part["filename"].endswith(".txt")


def test_names_in_tar(pool):
    data = tarred({"one/a.txt": PLAIN, "two/b.html": b"<html><body>x</body></html>" * 4})
    parts = parts_of(check(pool, mail(attachment(data, "a.tar")), CLEAN))
    assert parts["2"]["true_type"] == "tar"
    assert parts["2/2"]["true_type"] == "html"
    assert [parts[p]["filename"].rsplit("/", 1)[-1] for p in ("2/1", "2/2")] == ["a.txt", "b.html"]


def test_three_hundred_parts_are_clean(pool):
    facts = check(pool, mail(*[attachment(b"part %d" % i, f"{i}.txt") for i in range(300)]), CLEAN)
    assert facts["parts_total"] == len(facts["parts"]) == 302


def test_what_was_found_is_described_among_many(pool):
    many = io.BytesIO()
    with zipfile.ZipFile(many, "w") as archive:
        for i in range(1500):
            archive.writestr(f"{'n' * 150}{i}.txt", b"member %d" % i)
    facts = check(pool, mail(attachment(many.getvalue(), "a.zip"), attachment(EICAR, "e.com")),
                  INFECTED)
    assert facts["parts_total"] == 1504 and len(facts["parts"]) < 1000
    assert "detections" in parts_of(facts)["3"]


def test_hundred_thousand_parts(pool):
    part = b"--b\r\n\r\nx\r\n"
    data = b"From: a@b\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n" + part * 100000
    facts = check(pool, data + b"--b--\r\n", UNSCANNED)
    assert {u["cause"] for u in facts["unscanned"]} == {"limit"}
    assert facts["scan_us"] < 30e6


# Byte ranges

def test_ranges_cover_the_entities(pool):
    inner = email.mime.message.MIMEMessage(email.message_from_bytes(
        mail(attachment(EICAR, "e.com"))))
    raw = mail(attachment(PLAIN, "a.txt"), inner)
    parts = parts_of(check(pool, raw, INFECTED))
    assert {"1", "2", "3.1", "3.2"} <= {p for p in parts if "range" in parts[p]}
    for part in parts.values():
        if "range" in part:
            begin, body, end = part["range"]
            entity = email.message_from_bytes(raw[begin:end])
            content = entity.get_payload(decode=True)
            assert hashlib.sha256(content).hexdigest() == part["sha256"], part
            assert raw[:begin].endswith(b"\r\n") and raw[end:].startswith(b"\r\n--")
            assert raw[body - 4:body] == b"\r\n\r\n"
    begin, _, end = parts["3.2"]["range"]
    check(pool, raw[:begin] + b"\r\ngone" + raw[end:], CLEAN)


def test_a_single_part_is_the_whole_message(pool):
    raw = b"From: a@b\r\nContent-Type: application/octet-stream\r\n\r\n" + EICAR
    parts = parts_of(check(pool, raw, INFECTED))
    assert parts["1"]["range"] == [0, raw.index(EICAR), len(raw)]


# Mails that programs read differently: (defects, mail with BODY in the part that matters)

HEAD = b"From: a@example.com\r\nTo: b@example.com\r\nMIME-Version: 1.0\r\n"
MIXED = HEAD + b'Content-Type: multipart/mixed; boundary="b"\r\n\r\n'
TEXT = b"--b\r\nContent-Type: text/plain\r\n\r\nHi\r\n"
FILE = (b"--b\r\nContent-Type: application/octet-stream; name=a.zip\r\n"
        b"Content-Transfer-Encoding: base64\r\n")
END = b"--b--\r\n"
CR = {b"\r\n": b"\r"}


def lines(data, end):
    return data.replace(b"\r\n", end)


READINGS = {
    "no blank line in a part": ("no-blank-line", MIXED + TEXT + FILE + ZIP64 + END),
    "no blank line in the mail": (
        "no-blank-line", HEAD + b"Content-Type: application/zip\r\n"
        b"Content-Transfer-Encoding: base64\r\n" + ZIP64),
    "CR only": ("bare-cr", lines(MIXED + TEXT + FILE + b"\r\n" + ZIP64 + END, b"\r")),
    "CR only behind a header with CRLF": (
        "bare-cr", b"Received: by x; today\r\n"
        + lines(MIXED + TEXT + FILE + b"\r\n" + ZIP64 + END, b"\r")),
    "LF CR": ("lf-cr", lines(MIXED + TEXT + FILE + b"\r\n" + ZIP64 + END, b"\n\r")),
    "CR in a header": (
        "bare-cr", MIXED + TEXT + FILE.replace(b".zip\r\n", b".zip\r") + b"\r\n" + ZIP64 + END),
    "NULs in a header": (
        "nul", MIXED + TEXT + FILE.replace(b"Encoding: base64", b"Enco\0ding: ba\0se64") + b"\r\n"
        + ZIP64 + END),
    "NULs in the boundary": (
        "nul", MIXED + TEXT + FILE.replace(b"--b", b"--\0b") + b"\r\n" + ZIP64 + END),
    "two types, the first counts": (
        "conflicting-header", HEAD + b"Content-Type: text/plain\r\n" + MIXED[len(HEAD):] + TEXT + FILE
        + b"\r\n" + ZIP64 + END),
    "two types, the last counts": (
        "conflicting-header", MIXED[:-2] + b"Content-Type: text/plain\r\n\r\n" + TEXT + FILE + b"\r\n"
        + ZIP64 + END),
    "two boundaries": (
        "conflicting-header", MIXED[:-2] + b"Content-Type: multipart/mixed; boundary=x\r\n\r\n" + TEXT
        + FILE + b"\r\n" + ZIP64 + END),
    "two boundary parameters": (
        "conflicting-parameter", MIXED.replace(b'"b"', b'x; boundary="b"') + TEXT + FILE + b"\r\n"
        + ZIP64 + END),
    "comment in the boundary": (
        "comment-in-type", MIXED.replace(b'"b"', b"(c)b(d)") + TEXT + FILE + b"\r\n" + ZIP64 + END),
    "no boundary": (
        "no-boundary", MIXED.replace(b'; boundary="b"', b"") + TEXT + FILE + b"\r\n" + ZIP64 + END),
    "behind the end": ("epilogue", MIXED + TEXT + END + FILE + b"\r\n" + ZIP64 + END),
    "before the beginning": (
        "preamble", MIXED + FILE.replace(b"--b", b"--a") + b"\r\n" + ZIP64 + TEXT + END),
    "delimiter with something behind": (
        "longer-delimiter", MIXED + TEXT + FILE.replace(b"--b", b"--bx") + b"\r\n" + ZIP64 + END),
    "two encodings": (
        "conflicting-header", MIXED + TEXT + FILE + b"Content-Transfer-Encoding: 7bit\r\n\r\n" + ZIP64
        + END),
    "encoding with a comment": (
        "odd-encoding", MIXED + TEXT + FILE.replace(b"base64", b"base64 (x)") + b"\r\n" + ZIP64 + END),
    "base64 with rubbish": (
        "invalid-base64", MIXED + TEXT + FILE + b"\r\n" + ZIP64[:8] + b"*!*" + ZIP64[8:] + END),
}


@pytest.mark.parametrize("kind", READINGS)
def test_every_reading_is_scanned(pool, kind):
    defect, data = READINGS[kind]
    facts = check(pool, data, INFECTED)
    assert defect in facts["defects"], facts["defects"]
    assert not any("range" in p for p in facts["parts"]) or kind in ("base64 with rubbish",
                                                                     "encoding with a comment")


@pytest.mark.parametrize("kind", [k for k in READINGS if "CR" not in k and "rubbish" not in k])
def test_every_reading_is_read_as_leniently(pool, kind):
    """libclamav's base64 decoder stops at the padding."""
    twisted = ZIP64[:4] + b"==\r\n" + ZIP64[4:]
    check(pool, READINGS[kind][1].replace(ZIP64, twisted), INFECTED)


def attached(message, kind, name=b"x"):
    return (MIXED + TEXT + b"--b\r\nContent-Type: " + kind + b"; name=" + name + b"\r\n"
            b"Content-Transfer-Encoding: base64\r\n\r\n"
            + base64.encodebytes(message).replace(b"\n", b"\r\n") + END)


INNER = {
    "forwarded": lambda m: attached(m, b"message/rfc822"),
    "file": lambda m: attached(m, b"application/octet-stream", b"x.eml"),
    "zip": lambda m: attached(zipped(m, "x.eml"), b"application/zip", b"x.zip"),
}


@pytest.mark.parametrize("wrap", INNER)
@pytest.mark.parametrize("kind", READINGS)
def test_every_reading_of_a_mail_in_the_mail(pool, kind, wrap):
    check(pool, INNER[wrap](READINGS[kind][1]), INFECTED)


@pytest.mark.parametrize("types", [
    b"multipart/mixed; boundary=b\r\nContent-Type: text/plain", b"multipart/mixed",
    b"multipart/mixed; boundary=a; boundary=b"])
def test_an_attachment_without_a_type(pool, types):
    data = (HEAD + b"Content-Type: " + types + b"\r\n\r\n" + TEXT
            + b"--b\r\nContent-Disposition: attachment; filename=a.com\r\n\r\n" + EICAR + b"\r\n"
            + END)
    check(pool, data, INFECTED)


def test_quoted_printable_with_blanks_at_the_end_of_lines(pool):
    body = b"".join(b"=%02X= \r\n" % c for c in EICAR)
    check(pool, HEAD + b"Content-Type: application/octet-stream\r\n"
          b"Content-Transfer-Encoding: quoted-printable\r\n\r\n" + body, INFECTED)


def test_longer_delimiters_that_are_others(pool):
    inner = b"--b\r\nContent-Type: multipart/mixed; boundary=b1\r\n\r\n" + TEXT.replace(b"--b", b"--b1")
    facts = check(pool, MIXED + inner + b"--b1--\r\n" + END, CLEAN)
    assert facts["defects"] == []


def test_harmless_defects(pool):
    """Defects alone are no reason to find anything."""
    for kind, (defect, data) in READINGS.items():
        harmless = data.replace(ZIP64, base64.encodebytes(PLAIN)).replace(
            ZIP64.replace(b"\r\n", b"\r"), b"AAAA\r").replace(ZIP64.replace(b"\r\n", b"\n\r"), b"AA\n")
        facts = pool.scan(harmless)
        if "rubbish" not in kind:
            assert verdict_of(facts) == CLEAN, (kind, why(facts))


def test_ordinary_mail_has_no_defects(pool):
    facts = check(pool, mail(attachment(PLAIN, "gr\u00fc\u00dfe.txt")), CLEAN)
    assert facts["defects"] == []


@pytest.mark.parametrize("defect,headers,body", [
    ("two-names", "Content-Type: text/plain; name=a.txt\r\n"
     "Content-Disposition: attachment; filename=a.exe", PLAIN),
    ("odd-name", "Content-Disposition: attachment; filename*=utf-8''a%E2%80%AEtxt.exe", PLAIN),
    ("long-line", "Content-Type: text/plain", b"x" * 2000),
    ("8bit-header", "Subject: gr\udcfc\udcdfe", PLAIN),
    ("encoded-composite", "Content-Type: message/rfc822\r\nContent-Transfer-Encoding: base64",
     base64.b64encode(b"Subject: x\r\n\r\nhello"))])
def test_defects(pool, defect, headers, body):
    data = HEAD + headers.encode("utf-8", "surrogateescape") + b"\r\n\r\n" + body
    assert defect in pool.scan(data)["defects"]


def test_mail_in_an_archive_is_read_as_mail(pool):
    """Its first header is none that libclamav knows, and only GMime reads what follows."""
    inner = (b"X-Own: yes\r\n" + MIXED + TEXT + FILE + b"\r\n"
             + ZIP64[:4] + b"==\r\n" + ZIP64[4:] + END)
    known = b"Received: by x; today\r\n" + inner
    for message in inner, known, b"X-Own: yes\r\n" + MIXED + TEXT + FILE + b"\r\n" + ZIP64 + END:
        check(pool, mail(attachment(zipped(message, "a.eml"), "a.zip")), INFECTED)


# Macros

def docm(project):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("[Content_Types].xml", b"<?xml version='1.0'?><Types></Types>")
        archive.writestr("word/document.xml", b"<?xml version='1.0'?><document></document>")
        if project:
            archive.writestr("word/vbaProject.bin", project)
    return out.getvalue()


MACROS = {
    "VBA": lambda yes: office.word(yes),
    "Excel 4": lambda yes: office.excel4(yes),
    "VBA in OOXML": lambda yes: docm(office.vba_project_bin() if yes else None),
    "VBA in a ZIP": lambda yes: zipped(office.word(yes), "a.doc")}


@pytest.mark.parametrize("kind", MACROS)
def test_macros(pool, kind):
    """A fact, no detection."""
    for yes in True, False:
        facts = check(pool, mail(attachment(PLAIN, "a.txt"), attachment(MACROS[kind](yes), "a.doc")),
                      CLEAN)
        parts = parts_of(facts)
        assert parts["3"].get("macros", False) is yes
        assert "macros" not in parts["2"]


# OpenPGP

def packet(tag, body):
    return bytes([0xc0 | tag, 255]) + struct.pack(">I", len(body)) + body


def literal(data):
    return packet(11, b"b\x05e.com" + bytes(4) + data)


def deflated(data):
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packet(8, b"\x01" + deflate.compress(data) + deflate.flush())


def armored(data, kind="MESSAGE"):
    return (f"-----BEGIN PGP {kind}-----\r\nVersion: 1\r\n\r\n".encode()
            + base64.encodebytes(data) + f"=abcd\r\n-----END PGP {kind}-----\r\n".encode())


ENCRYPTED = packet(1, b"\x03" + bytes(12)) + packet(18, b"\x01" + bytes(range(200)))


@pytest.mark.parametrize("wrap", [bytes, armored])
@pytest.mark.parametrize("name", ["secret.gpg", "secret.dat"])
def test_encrypted_openpgp(pool, wrap, name):
    facts = check(pool, mail(attachment(wrap(ENCRYPTED), name)), UNSCANNED)
    assert [u["cause"] for u in facts["unscanned"]] == ["end-to-end encrypted"]
    assert parts_of(facts)["2"]["encrypted"] is True


@pytest.mark.parametrize("wrap", [bytes, armored])
@pytest.mark.parametrize("pack", [literal, lambda d: deflated(literal(d)),
                                  lambda d: b"\xa3" + deflated(literal(d))[6:]])
def test_openpgp_that_anybody_can_open(pool, wrap, pack):
    facts = check(pool, mail(attachment(wrap(pack(EICAR)), "a.gpg")), INFECTED)
    assert "detections" in parts_of(facts)["2/1"] and "detections" in parts_of(facts)["2"]
    check(pool, mail(attachment(wrap(pack(PLAIN)), "a.gpg")), CLEAN)


def test_openpgp_that_nobody_unpacks(pool):
    data = packet(8, b"\x03BZh91AY&SY" + bytes(40))
    facts = check(pool, mail(attachment(data, "a.gpg")), UNSCANNED)
    assert facts["unscanned"][0]["cause"] == "unsupported"


def test_real_gpg(pool, tmp_path):
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    for options, verdict in ([["--symmetric"], UNSCANNED], [["--store"], INFECTED]):
        run = subprocess.run(["gpg", "--homedir", home, "--batch", "--passphrase", "x",
                              "--pinentry-mode", "loopback", "--output", "-", *options],
                             input=EICAR, capture_output=True, check=True)
        check(pool, mail(attachment(run.stdout, "a.gpg")), verdict)
    subprocess.run(["gpgconf", "--homedir", home, "--kill", "all"], check=False)


def test_signed(pool):
    data = (HEAD + b'Content-Type: multipart/signed; boundary="b"; micalg=sha-256;\r\n'
            b' protocol="application/pgp-signature"\r\n\r\n' + TEXT
            + b"--b\r\nContent-Type: application/pgp-signature\r\n\r\n"
            + armored(b"\x88\x04", "SIGNATURE") + END)
    parts = parts_of(check(pool, data, CLEAN))
    assert all(parts[p].get("signed") for p in ("", "1", "2"))
    inline = parts_of(check(pool, HEAD + b"\r\n-----BEGIN PGP SIGNED MESSAGE-----\r\nHash: SHA256\r\n"
                            b"\r\nhello\r\n" + armored(b"\x88\x04", "SIGNATURE"), CLEAN))
    assert inline["1"].get("signed")
    assert not parts_of(pool.scan(mail(attachment(PLAIN))))["2"].get("signed")


# Charsets: subject, body and file name

WORDS = {
    "utf-8": "gr\u00fc\u00dfe", "utf-7": "\u65e5\u672c\u8a9e", "utf-16": "\u65e5\u672c",
    "utf-16be": "\u65e5\u672c", "us-ascii": "plain",
    "iso-8859-1": "\u00e4\u00f6\u00fc", "iso-8859-2": "\u017elu\u0165", "iso-8859-3": "\u0109ap",
    "iso-8859-4": "\u0101\u010d", "iso-8859-5": "\u041c\u0438\u0440", "iso-8859-6": "\u0645\u0644\u0641",
    "iso-8859-7": "\u03b1\u03b2\u03b3", "iso-8859-8": "\u05e9\u05dc\u05d5\u05dd",
    "iso-8859-9": "\u011fi\u015f", "iso-8859-13": "\u0101\u010d", "iso-8859-15": "\u20ac",
    "koi8-r": "\u041f\u0440\u0438\u0432\u0435\u0442", "koi8-u": "\u0457\u0436\u0430",
    "windows-1250": "\u017elu\u0165", "windows-1251": "\u041c\u0438\u0440",
    "windows-1252": "\u20ac\u201e", "windows-1253": "\u03b1\u03b2", "windows-1254": "\u011f",
    "windows-1255": "\u05e9\u05dc", "windows-1256": "\u0645\u0644", "windows-1257": "\u0101",
    "windows-1258": "\u0111", "cp437": "\u00fc", "cp866": "\u041c\u0438\u0440",
    "tis-620": "\u0e44\u0e17\u0e22", "big5": "\u7e41\u9ad4", "big5-hkscs": "\u7e41\u9ad4",
    "gb2312": "\u6587\u4ef6", "gbk": "\u6587\u4ef6", "gb18030": "\u7b80\u4f53",
    "iso-2022-jp": "\u65e5\u672c\u8a9e", "iso-2022-kr": "\ud55c\uad6d", "shift_jis": "\u65e5\u672c",
    "euc-jp": "\u65e5\u672c", "euc-kr": "\ud55c\uad6d\uc5b4", "macintosh": "\u00e9"}
PYTHON = {"tis-620": "tis_620", "macintosh": "mac_roman"}


def percent(data):
    return "".join(f"%{byte:02X}" for byte in data)


def names_in(charset, data):
    """Ways to write a file name in a header."""
    half = len(data) // 2
    word = base64.b64encode(data).decode()
    return {
        "RFC 2047 in a parameter": f'name="=?{charset}?B?{word}?="',
        "RFC 2231": f"name*={charset}''{percent(data)}",
        "RFC 2231 in pieces": f"name*0*={charset}''{percent(data[:half])};\r\n name*1*={percent(data[half:])}"}


@pytest.mark.parametrize("charset", WORDS)
def test_charset(pool, charset):
    data = WORDS[charset].encode(PYTHON.get(charset, charset))
    word = base64.b64encode(data)
    for way, name in names_in(charset, data).items():
        raw = (b"From: =?%s?B?%s?= <a@example.com>\r\nSubject: =?%s?Q?%s?=\r\nMIME-Version: 1.0\r\n"
               b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain; "
               b"charset=%s\r\n\r\n%s\r\n--b\r\nContent-Type: text/html; charset=%s\r\n\r\n<html>"
               b"<meta charset=%s><body>%s</body></html>\r\n--b\r\nContent-Type: text/x-odd; %s\r\n\r\n"
               b"hello\r\n--b--\r\n") % ((charset.encode(), word, charset.encode(),
                                        percent(data).replace("%", "=").encode())
                                       + (charset.encode(), data) + (charset.encode(),) * 2
                                       + (data, name.encode()))
        facts = pool.scan(raw)
        assert facts is not None, "the worker died"
        assert facts["parts"][3]["filename"] == WORDS[charset], way
        if b"\0" not in data:
            assert verdict_of(facts) == CLEAN, why(facts)
            check(pool, raw.replace(b"text/x-odd", b"application/octet-stream")
                  .replace(b"hello", EICAR), INFECTED)


@pytest.mark.parametrize("raw,shown", [
    ("gr\u00fc\u00dfe.txt".encode(), "gr\u00fc\u00dfe.txt"),
    ("gr\u00fc\u00dfe.txt".encode("latin-1"), "gr\u00fc\u00dfe.txt"),
    ("\u041c\u0438\u0440.txt".encode("koi8-r"), None),
    (b"\xff\xfe\x80\x81.txt", None)])
def test_raw_8bit_names(pool, raw, shown):
    facts = check(pool, HEAD + b'Content-Type: application/x-odd; name="' + raw + b'"\r\n\r\nhello',
                  CLEAN)
    name = facts["parts"][0]["filename"]
    assert name.endswith(".txt") and shown in (None, name)
