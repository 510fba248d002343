#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""What people send each other all day is clean: each false alarm is a letter in the quarantine.

    /usr/bin/python3 -m pytest scanner/worker/test-ordinary.py
"""
import base64
import bz2
import email.mime.message
import email.mime.multipart
import email.mime.text
import email.policy
import gzip
import io
import lzma
import pathlib
import random
import struct
import subprocess
import sys
import tempfile
import wave
import zipfile

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import documents as docs
import samples as made
from chain import CLEAN, attachment, mail, raw_part, scanner, uuencode, verdict_of, why

TEXT = "".join(f"Line {i}: the quick brown fox jumps over the lazy dog. \u00e4\u20ac\n"
               for i in range(200)).encode()
RANDOM = random.Random(1).randbytes(50000)


def saved(document):
    out = io.BytesIO()
    document.save(out)
    return out.getvalue()


def docx(_):
    import docx as library
    document = library.Document()
    document.add_heading("Minutes", 0)
    for i in range(30):
        document.add_paragraph(f"Paragraph {i} of the minutes.")
    return saved(document)


def xlsx(_):
    import openpyxl
    book = openpyxl.Workbook()
    for row in range(200):
        book.active.append([row, row * 2, "text"])
    return saved(book)


def xls(_):
    import xlwt
    book = xlwt.Workbook()
    sheet = book.add_sheet("A")
    for row in range(200):
        sheet.write(row, 0, f"row {row}")
    return saved(book)


def odt(_):
    from odf.opendocument import OpenDocumentText
    from odf.text import P
    document = OpenDocumentText()
    for i in range(30):
        document.text.addElement(P(text=f"Paragraph {i}"))
    return saved(document)


def report(**options):
    def make(_):
        from reportlab.pdfgen.canvas import Canvas
        out = io.BytesIO()
        canvas = Canvas(out, **options)
        for page in range(5):
            for line in range(40):
                canvas.drawString(50, 800 - 18 * line, f"Page {page}, line {line} of the report")
            canvas.showPage()
        canvas.save()
        return out.getvalue()
    return make


def restricted(_):
    """Anybody may read it, nobody may print it."""
    import pikepdf
    with pikepdf.open(io.BytesIO(report()(None))) as document:
        out = io.BytesIO()
        document.save(out, encryption=pikepdf.Encryption(owner="o", user=""))
        return out.getvalue()


def picture(kind):
    def make(_):
        from PIL import Image
        image = Image.frombytes("RGB", (100, 100), RANDOM[:30000])
        out = io.BytesIO()
        image.save(out, kind)
        return out.getvalue()
    return make


def sound(_):
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(RANDOM)
    return out.getvalue()


def film(_):
    """The boxes that an MP4 begins with."""
    def box(kind, data):
        return struct.pack(">I", len(data) + 8) + kind + data
    return box(b"ftyp", b"isom\0\0\2\0isomiso2mp41") + box(b"mdat", RANDOM)


def cms(*options):
    def make(data):
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout",
                            "key", "-out", "cert", "-subj", "/CN=test"], cwd=folder, check=True,
                           capture_output=True)
            return subprocess.run(["openssl", "cms", "-sign", *options, "-signer", "cert", "-inkey",
                                   "key"], cwd=folder, check=True, capture_output=True,
                                  input=data).stdout
    return make


def many(maker):
    """A tree of files, as people pack their folders."""
    def make(_):
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
            for i in range(40):
                archive.writestr(f"folder {i % 4}/file {i}.txt", TEXT[:i * 50])
            archive.writestr("inner.bin", maker(TEXT))
        return out.getvalue()
    return make


def two_files(output, *commands):
    return made.two(output, *commands)


FILES = {
    "docx": docx, "xlsx": xlsx, "xls": xls, "odt": odt, "docx, empty": lambda _: docs.office(
        "word", "document"),
    "docx with xlsx": lambda _: docs.office("word", "document", xlsx(None)),
    "pdf": report(), "pdf, compressed": report(pageCompression=1),
    "pdf, encrypted without password": restricted,
    "pdf with a file": docs.pdf(), "pdf with a file, plain": docs.pdf("disable"),
    "pdf, linearized": docs.pdf(linearize=True),
    "rtf": lambda _: b"{\\rtf1\\ansi Hello \\par World}", "rtf with an object": docs.rtf,
    **{kind: picture(kind) for kind in ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "ICO", "PPM")},
    "svg": lambda _: b'<svg xmlns="http://www.w3.org/2000/svg"><rect width="9" height="9"/></svg>',
    "wav": sound, "mp4": film, "random bytes": lambda _: RANDOM, "text": lambda data: data,
    "latin-1": lambda _: "\u00e4\u00f6\u00fc \u00df\r\n".encode("latin-1") * 100,
    "utf-16": lambda data: data.decode().encode("utf-16"),
    "csv": lambda _: b"a;b;c\r\n" * 500, "json": lambda _: b'{"data": [1, 2, 3]}' * 100,
    "yaml": lambda _: b"data: 1\n" * 20000, "xml": lambda _: b"<?xml version='1.0'?><a>b</a>",
    "sql": lambda _: b"--\n-- Table a\n--\n\nINSERT INTO a VALUES (1);\n" * 3000,
    "log": lambda _: b"Nov 21 10:00:00 host sshd[1]: Accepted\n" * 5000,
    "ldif": lambda _: b"dn: cn=a,dc=example\ncn: a\n\n" * 5000,
    "patch": lambda _: b"--- a/x.c\n+++ b/x.c\n@@ -1 +1 @@\n-a: b\n+a: c\n" * 500,
    "zip": made.zipped(), "zip, stored": made.zipped(zipfile.ZIP_STORED), "zip of many": many(bytes),
    "zip in zip": made.then(made.zipped(), made.zipped()), "zip of tar.gz": many(made.then(
        made.tarred(), gzip.compress)), "zip, streamed": made.zip_streamed,
    "7z": made.seven(), "7z of two": two_files("a.7z", ("7z", "a", "-bd", "a.7z", "a.txt", "eicar.com")),
    "tar": made.tarred(), "tar, pax": made.tar_by("posix"), "tar.gz": made.then(made.tarred(), gzip.compress),
    "tar.bz2": made.then(made.tarred(), bz2.compress), "tar.xz": made.then(made.tarred(), lzma.compress),
    "gzip": gzip.compress, "xz": lzma.compress, "xz of blocks": made.pipe("xz", "-c", "--block-size=512"),
    "bzip2": bz2.compress, "cpio": made.cpio("newc"), "cpio of two": made.cpio_two("newc"),
    "cpio of two, odc": made.cpio_two("odc"), "cpio of two, binary": made.cpio_two("bin"),
    "cab": made.tool("a.cab", "gcab", "-c", "-z", "a.cab", "eicar.com"),
    "arj": made.tool("a.arj", "arj", "a", "a.arj", "eicar.com"), "lha": made.lha_two,
    "iso": made.tool("a.iso", "genisoimage", "-quiet", "-o", "a.iso", "eicar.com"),
    "program": lambda _: pathlib.Path("/bin/true").read_bytes(),
    "library": lambda _: pathlib.Path("/usr/lib/x86_64-linux-gnu/libz.so.1").read_bytes(),
    "installer": made.nsis("zlib"), "msi": made.msi,
    "certificate": lambda _: b"-----BEGIN CERTIFICATE-----\n" + base64.encodebytes(RANDOM[:900])
    + b"-----END CERTIFICATE-----\n",
    "calendar": lambda _: docs.calendar(b"agenda"), "vcard": docs.vcard, "tnef": docs.tnef,
    "html": lambda _: docs.html(b'<a href="https://example.com/">x</a>'),
    "html with a picture": lambda _: docs.html(b'<img src="' + docs.data_uri(
        picture("PNG")(None), b"image/png") + b'">'),
    "mail": lambda _: mail(attachment(TEXT, "a.txt")), "onenote": docs.onenote,
}


def alternative():
    root = email.mime.multipart.MIMEMultipart("alternative")
    root["From"], root["To"], root["Subject"] = "a@example.com", "b@example.com", "Hello"
    root.attach(email.mime.text.MIMEText("Hello \u00e4\n"))
    root.attach(email.mime.text.MIMEText("<html><body>Hello \u00e4</body></html>", "html"))
    return root.as_bytes(policy=email.policy.SMTP)


def report_mail():
    """A delivery status notification (RFC 3464)."""
    return raw_part('Content-Type: multipart/report; report-type=delivery-status; boundary=b',
                    b"--b\r\n\r\nYour mail could not be delivered.\r\n--b\r\nContent-Type: message/"
                    b"delivery-status\r\n\r\nReporting-MTA: dns; a.example\r\n\r\nFinal-Recipient: "
                    b"rfc822; b@example.com\r\nAction: failed\r\nStatus: 5.1.1\r\n\r\n--b\r\n"
                    b"Content-Type: message/rfc822\r\n\r\n" + mail() + b"\r\n--b--\r\n")


MAILS = {
    "alternative": alternative, "bounce": report_mail,
    "S/MIME, clear signature": lambda: b"From: a@example.com\r\n" + cms()(b"Hello\r\n"),
    "S/MIME, opaque signature": lambda: b"From: a@example.com\r\n" + cms("-nodetach")(
        b"Content-Type: text/plain\r\n\r\nHello\r\n"),
    "uuencode": lambda: raw_part("Content-Type: text/plain", b"Hi\r\n" + uuencode(TEXT[:900])),
    "many recipients": lambda: b"From: a@example.com\r\nTo: " + b",\r\n ".join(
        b"u%d <u%d@example.com>" % (i, i) for i in range(300)) + b"\r\n\r\nHello\r\n",
    "many headers": lambda: b"Received: from a by b; Thu, 1 Jan 1970 00:00:00 +0000\r\n" * 30
    + b"DKIM-Signature: v=1; b=" + b"\r\n ".join([b"abcd" * 15] * 8) + b"\r\n" + mail(),
    "100 parts": lambda: mail(*[attachment(TEXT[:100 + i], f"{i}.txt") for i in range(100)]),
    "quotes its signature": lambda: raw_part("Content-Type: text/plain", b"Hello\r\n-- \r\nA. B.\r\n"),
}


@pytest.mark.parametrize("kind", FILES)
def test_ordinary_file(scanner, kind):
    facts = scanner.scan(mail(attachment(FILES[kind](TEXT), "file")))
    assert verdict_of(facts) == CLEAN, why(facts)


@pytest.mark.parametrize("kind", MAILS)
def test_ordinary_mail(scanner, kind):
    facts = scanner.scan(MAILS[kind]())
    assert verdict_of(facts) == CLEAN, why(facts)
