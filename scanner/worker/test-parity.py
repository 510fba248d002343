#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""The same verdict as clamscan with the same signatures, options and limits and without its
cache, over ClamAV's test files and 360 mails that are built here: never weaker, and stronger only
where the mail is infected by construction or something was not scanned.

    /usr/bin/python3 -m pytest scanner/worker/test-parity.py        (-s prints where they differ)
"""
import base64
import binascii
import bz2
import collections
import gzip
import lzma
import pathlib
import quopri
import random
import re
import subprocess
import sys


sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import documents as docs
import samples as made
from chain import (CLEAN, EICAR, FILES, INFECTED, UNSCANNED, attachment, mail, scanner,
                   test_signatures, uuencode, verdict_of, why)

SEED = 20261121
MAILS = 360


# How the content travels

def base64_badly(data):
    """Lines of any length, spaces, foreign characters; every decoder reads it."""
    text = base64.b64encode(data)
    return b"\r\n".join(b" " + text[i:i + 37] + b"\t" for i in range(0, len(text), 37)) + b"\r\n"


def base64_resumed(data):
    half = len(data) // 2
    return base64.b64encode(data[:half]) + b"\r\n" + base64.b64encode(data[half:]) + b"\r\n"


def yenc(data):
    out = b""
    for byte in data:
        byte = (byte + 42) & 255
        out += b"=" + bytes([(byte + 64) & 255]) if byte in b"\0\n\r=" else bytes([byte])
    return b"=ybegin line=128 size=%d name=a.com\r\n%s\r\n=yend size=%d\r\n" % (len(data), out, len(data))


def binhex(data):
    """RFC 1741: header, data fork, an empty resource fork, each with its CRC; runs of 0x90."""
    def sealed(part):
        return part + binascii.crc_hqx(part, 0).to_bytes(2, "big")
    raw = sealed(b"\5a.com\0BINAdosa\0\0" + len(data).to_bytes(4, "big") + bytes(4)) + sealed(data) + sealed(b"")
    raw = raw.replace(b"\x90", b"\x90\0")
    digits = b"!\"#$%&'()*+,-012345689@ABCDEFGHIJKLMNPQRSTUVXYZ[`abcdefhijklmpqr"
    bits = "".join(f"{byte:08b}" for byte in raw)
    bits += "0" * (-len(bits) % 6)
    text = b":" + bytes(digits[int(bits[i:i + 6], 2)] for i in range(0, len(bits), 6)) + b":"
    return (b"(This file must be converted with BinHex 4.0)\r\n\r\n"
            + b"".join(text[i:i + 64] + b"\r\n" for i in range(0, len(text), 64)))


def part(encoding, body, kind="application/octet-stream"):
    return (f"Content-Type: {kind}; name=a.com\r\nContent-Transfer-Encoding: {encoding}\r\n"
            "Content-Disposition: attachment; filename=a.com\r\n\r\n").encode() + body + b"\r\n"


def in_text(body):
    return b"Content-Type: text/plain\r\n\r\nSee below.\r\n\r\n" + body + b"\r\n"


ENCODINGS = {
    "7bit": lambda data: part("7bit", data), "8bit": lambda data: part("8bit", data),
    "binary": lambda data: part("binary", data),
    "quoted-printable": lambda data: part("quoted-printable", quopri.encodestring(data)),
    "quoted-printable, all": lambda data: part("quoted-printable", b"=\r\n".join(
        b"".join(b"=%02X" % byte for byte in data[i:i + 20]) for i in range(0, len(data), 20))),
    "base64": lambda data: part("base64", base64.encodebytes(data)),
    "BASE64": lambda data: part("BASE64", base64.encodebytes(data)),
    "base64, badly": lambda data: part("base64", base64_badly(data)),
    "base64, one line": lambda data: part("base64", base64.b64encode(data)),
    "base64, resumed": lambda data: part("base64", base64_resumed(data)),
    "base64, no padding": lambda data: part("base64", base64.b64encode(data).rstrip(b"=")),
    "x-uuencode": lambda data: part("x-uuencode", uuencode(data)),
    "uuencode in text": lambda data: in_text(uuencode(data)),
    "yEnc in text": lambda data: in_text(yenc(data)),
    "BinHex in text": lambda data: in_text(binhex(data)),
    "BinHex": lambda data: part("7bit", binhex(data), "application/mac-binhex40"),
    "unknown": lambda data: part("x-none", data),
}
# 7bit and the like carry what has no bare line ends; the rest would be another content.
TEXT_ONLY = {"7bit", "8bit", "binary", "unknown"}


# What travels

def clam(_):
    return (FILES / "clam.exe").read_bytes()


CONTENTS = {
    "text": lambda data: b"Only text.\r\n" * 20 if data is None else data,
    "program": lambda data: clam(data) if data is not None else b"MZ" + bytes(500),
    **{name: (lambda maker: lambda data: maker(data or b"harmless " * 9))(maker) for name, maker in {
        "zip": made.zipped(), "7z": made.seven(), "tar.gz": made.then(made.tarred(), gzip.compress),
        "tar.bz2": made.then(made.tarred(), bz2.compress), "xz": lzma.compress,
        "zip in zip": made.then(made.zipped(), made.zipped()), "cpio": made.cpio("newc"),
        "pdf": docs.pdf(), "rtf": docs.rtf, "ole": docs.ole_package, "tnef": docs.tnef,
        "rar": made.rar5, "encrypted": made.tool("a.zip", "zip", "-q", "-P", "x", "a.zip", "eicar.com"),
        "html": lambda data: docs.html(b'<a href="' + docs.data_uri(data) + b'">x</a>'),
        "mail": lambda data: mail(attachment(data)),
    }.items()},
}
CHARSETS = ["utf-8", "iso-8859-1", "koi8-r", "windows-1251", "shift_jis", "euc-kr", "big5", "gb18030",
            "iso-2022-jp", "utf-7", "x-unknown"]


# What it travels in

def multipart(kind):
    def wrap(inner, rng):
        text = (f"Content-Type: text/plain; charset={rng.choice(CHARSETS)}\r\n\r\n".encode()
                + rng.choice([b"Hello", b"\xe4\xf6", b"\x1b$B$\"\x1b(B"]) + b"\r\n")
        mark = b"b%d" % rng.randrange(10 ** 6)
        return (f'Content-Type: multipart/{kind}; boundary="'.encode() + mark + b'"\r\n\r\n'
                b"Preamble\r\n--" + mark + b"\r\n" + text + b"--" + mark + b"\r\n" + inner
                + b"\r\n--" + mark + b"--\r\nEpilogue\r\n")
    return wrap


def message(inner, rng):
    return b"Content-Type: message/rfc822\r\n\r\nFrom: c@example.com\r\nMIME-Version: 1.0\r\n" + inner


WRAPPINGS = {"mixed": multipart("mixed"), "alternative": multipart("alternative"),
             "related": multipart("related"), "signed": multipart("signed"), "message": message}
HEADERS = [b"From: a@example.com\r\n", b"Received: from a by b; Thu, 1 Jan 1970 00:00:00 +0000\r\n",
           b"X-Mailer: test\r\n", b"To: b@example.com\r\n", b"Date: Thu, 1 Jan 1970 00:00:00 +0000\r\n"]


def build(rng):
    """(description, whether it is infected, bytes)"""
    virus = rng.random() < 0.6
    content = rng.choice(list(CONTENTS))
    encoding = rng.choice(list(ENCODINGS))
    data = CONTENTS[content](EICAR if virus else None)
    if encoding in TEXT_ONLY and re.search(rb"[\r\n\0]", data):
        encoding = "base64"
    body = ENCODINGS[encoding](data)
    names = [rng.choice(list(WRAPPINGS)) for _ in range(rng.randrange(4))]
    for name in names:
        body = WRAPPINGS[name](body, rng)
    head = rng.choice(HEADERS) + f"Subject: =?{rng.choice(CHARSETS)}?B?w6TDtg==?=\r\n".encode()
    data = head + b"MIME-Version: 1.0\r\n" + body
    if rng.random() < 0.2:
        data = data.replace(b"\r\n", b"\n")
    return f"{content}, {encoding}, {' in '.join(names) or 'alone'}", virus, data


def clamscan(folder, signatures):
    """{file name: "clean", "infected" or "not fully scanned"}"""
    signatures.mkdir()
    for name, text in test_signatures().items():
        (signatures / name).write_text(text)
    (signatures / "eicar.ndb").write_text("Test.EICAR:0:0:" + EICAR.hex() + "\n")
    done = subprocess.run(
        ["clamscan", "-r", "--no-summary", "--disable-cache", "--allmatch", "--alert-encrypted=yes",
         "--alert-exceeds-max=yes", "--max-filesize=100M", "--max-scansize=400M", "--max-files=10000",
         "--max-recursion=17", "--max-embeddedpe=100M", "--max-htmlnormalize=100M",
         "--max-htmlnotags=100M", "--max-scriptnormalize=100M", "--pcre-max-filesize=100",
         "-d", signatures, folder], capture_output=True, text=True, check=False)
    verdicts = collections.defaultdict(lambda: CLEAN)
    for line in done.stdout.splitlines():
        name, _, said = line.partition(": ")
        name = pathlib.Path(name).name
        if said.endswith(" FOUND") and not said.startswith("Heuristics."):
            verdicts[name] = INFECTED
        elif said.endswith(" FOUND"):
            verdicts.setdefault(name, UNSCANNED)
        else:
            assert said in ("OK", "Empty file") or said.endswith(" FOUND"), line
            verdicts.setdefault(name, CLEAN)
    return verdicts


def samples():
    """{name: (description, infected by construction, bytes)}"""
    rng = random.Random(SEED)
    found = {f"{i:03}": build(rng) for i in range(MAILS)}
    for path in sorted(FILES.iterdir()):
        found[path.name] = (path.name, True, mail(attachment(path.read_bytes(), path.name)))
        found["bare " + path.name] = (path.name, True, path.read_bytes())
    return found


def test_verdicts_are_clamscans(scanner, tmp_path):
    print(f"seed {SEED}")
    (tmp_path / "mails").mkdir()
    cases = samples()
    for name, (_, _, data) in cases.items():
        (tmp_path / "mails" / name).write_bytes(data)
    theirs = clamscan(tmp_path / "mails", tmp_path / "db")
    assert set(theirs) == set(cases)
    wrong = []
    for name, (what, infected, data) in cases.items():
        facts = scanner.scan(data)
        ours = verdict_of(facts)
        if ours != theirs[name]:
            print(f"{name:28} {what:60} clamscan {theirs[name]}, we {ours} {why(facts)[:60]}")
        if ours == CLEAN:
            right = theirs[name] == CLEAN and not infected
        elif ours == INFECTED:
            right = theirs[name] == INFECTED or infected
        else:
            right = ours == UNSCANNED and theirs[name] != INFECTED
        if not right:
            wrong.append((name, what, theirs[name], ours, why(facts)))
    assert not wrong
