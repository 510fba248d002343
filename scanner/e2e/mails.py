# SPDX-License-Identifier: GPL-2.0-only
"""Messages for the tests. EICAR is put together at run time: a file that held it would be eaten
by the next scanner that looks at the source tree."""
import base64
import binascii
import gzip
import io
import zipfile

EICAR = (b"X5O!P%@AP[4\\PZX54(P^)7CC)7}$" + b"EICAR-STANDARD-ANTIVIRUS-TEST-FILE" + b"!$H+H*")


def headers(subject, extra=b""):
    return (b"Message-ID: <" + subject.replace(" ", ".").encode() + b"@client.test>\r\n"
            b"Date: Mon, 02 Nov 2026 10:00:00 +0000\r\n"
            b"From: Sender <sender@client.test>\r\nTo: <user@lab.test>\r\n"
            b"Subject: " + subject.encode() + b"\r\nMIME-Version: 1.0\r\n" + extra)


def clean(subject="clean", body=b"Hello,\r\n\r\n.a line with a dot\r\n\tand a tab \r\n-- \r\n"):
    return headers(subject) + b"Content-Type: text/plain\r\n\r\n" + body


def multipart(subject, parts):
    lines = [headers(subject), b'Content-Type: multipart/mixed; boundary="=_b"\r\n\r\n']
    for part in parts:
        lines += [b"--=_b\r\n", part, b"\r\n"]
    return b"".join(lines + [b"--=_b--\r\n"])


def text_part(text=b"see the attachment"):
    return b"Content-Type: text/plain\r\n\r\n" + text + b"\r\n"


def attachment(content, name="sample.bin", kind="application/octet-stream"):
    return (f'Content-Type: {kind}; name="{name}"\r\nContent-Transfer-Encoding: base64\r\n'
            f'Content-Disposition: attachment; filename="{name}"\r\n\r\n').encode() + \
        base64.encodebytes(content).replace(b"\n", b"\r\n")


def with_attachment(subject, content, name="sample.bin"):
    """The subject is in the body too: equal bodies would be attempts at one message (W4)."""
    return multipart(subject, [text_part(subject.encode()), attachment(content, name)])


def uuencoded(content, name="sample.bin"):
    lines = [b"begin 644 " + name.encode()]
    lines += [binascii.b2a_uu(content[i:i + 45]).rstrip(b"\n") for i in range(0, len(content), 45)]
    return b"\r\n".join(lines + [b"`", b"end", b""])


def zipped(content, name="inner.bin"):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return out.getvalue()


def nested(subject, inner):
    return multipart(subject, [text_part(), b"Content-Type: message/rfc822\r\n\r\n" + inner])


def quoted_printable(content):
    return b"".join(b"=%02X" % byte for byte in content[:20]) + b"=\r\n" + \
        b"".join(b"=%02X" % byte for byte in content[20:])


def infected():
    """Name and message: EICAR in what mail programs wrap around it."""
    qp = (b"Content-Type: application/octet-stream\r\nContent-Transfer-Encoding: quoted-printable"
          b"\r\nContent-Disposition: attachment; filename=a.com\r\n\r\n" + quoted_printable(EICAR))
    base = with_attachment("base64", EICAR, "eicar.com")
    return {
        "plain": headers("plain") + b"\r\n" + EICAR + b"\r\n",
        "base64": base,
        "quoted-printable": multipart("quoted-printable", [text_part(), qp]),
        "uuencode": headers("uuencode") + b"\r\n" + uuencoded(EICAR, "eicar.com"),
        "nested": nested("nested", base),
        "nested twice": nested("nested twice", nested("nested", base)),
        "zip": with_attachment("zip", zipped(EICAR), "eicar.zip"),
        "zip in zip": with_attachment("zip in zip", zipped(zipped(EICAR)), "eicar.zip"),
        "gzip": with_attachment("gzip", gzip.compress(EICAR, mtime=0), "eicar.gz"),
    }
