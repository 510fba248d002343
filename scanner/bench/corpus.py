# SPDX-License-Identifier: GPL-2.0-only
"""Mail as a company receives it, made from a seed.

Kinds and sizes follow what postmasters see on inbound mail: three of four messages are text and
HTML of a few to some dozen KB, few carry files, and those few are most of the bytes. The mean is
about 48 KB, the median about 8 KB. Three of four begin with Received: as mail does that comes
from somewhere; the rest with what large providers put in front (DKIM-Signature:, ARC-Seal:), which
libclamav does not take for a mail's beginning.
"""
import base64
import email.message
import email.policy
import io
import random
import zipfile
import zlib

from PIL import Image

VERSION = 2
TOKEN = b"X-Bench: 0000000000\r\n"  # the clients count it up: no two messages are the same

WORDS = """the of and to in is you that it he was for on are as with his they at be this have from
or one had by word but not what all were we when your can said there use an each which she do how
their if will up other about out many then them these so some her would make like him into time has
look two more write go see number no way could people my than first water been call who oil its now
find long down day did get come made may part invoice order delivery meeting contract attached
regards please confirm schedule project report quarterly budget customer account payment due""".split()

# What only the new set of an update knows: one in MARKED mails of make_flow() has it.
MARK = b"A line that the next signatures know, and those before them do not: 5b0c93e1."
MARK_NAME = "Bench.Update"
MARKED = 5

# Share in percent, kind, size parameter in KB (median, spread as a power of two).
MIX = (
    (34, "text", 3, 1.0),
    (28, "both", 9, 1.0),      # text and HTML alternatives
    (16, "newsletter", 45, 0.6),
    (7, "pdf", 110, 0.9),
    (4, "docx", 45, 0.8),
    (3, "xlsx", 60, 0.8),
    (5, "photo", 120, 0.8),
    (3, "zip", 80, 0.9),
)


def words(rng, size):
    """About SIZE bytes of text in lines and paragraphs."""
    lines, line, total = [], [], 0
    while total < size:
        line.append(rng.choice(WORDS) if rng.random() > 0.08 else f"{rng.getrandbits(24):x}")
        if sum(len(word) + 1 for word in line) > 68:
            lines.append(" ".join(line))
            total += len(lines[-1]) + 1
            line = []
            if rng.random() < 0.12:
                lines.append("")
    return "\n".join(lines) + "\n"


def html(rng, size):
    rows, total = [], 0
    while total < size:
        text = words(rng, rng.randint(60, 400)).replace("\n", " ")
        link = f"https://www.example-{rng.getrandbits(16):x}.com/c/{rng.getrandbits(64):x}?u={rng.getrandbits(32)}"
        rows.append(f'<tr><td style="font-family:Arial,sans-serif;font-size:{rng.randint(10, 18)}px;'
                    f'color:#{rng.getrandbits(24):06x};padding:{rng.randint(0, 20)}px">'
                    f'<a href="{link}">{text[:24]}</a><p>{text}</p></td></tr>\n')
        total += len(rows[-1])
    return ('<html><head><meta http-equiv="Content-Type" content="text/html; charset=utf-8">'
            "<style>body{margin:0}td{line-height:1.4}</style></head><body><table>"
            + "".join(rows) + "</table></body></html>\n")


def picture(rng, size, kind="JPEG"):
    """A photograph-like picture of about SIZE bytes: smooth areas with noise."""
    side = max(24, int((size * 2.6) ** 0.5))
    small = Image.frombytes("RGB", (12, 12), rng.randbytes(432))
    noise = Image.frombytes("L", (side, side), rng.randbytes(side * side)).convert("RGB")
    image = Image.blend(small.resize((side, side), Image.BICUBIC), noise, 0.12)
    out = io.BytesIO()
    image.save(out, kind, **({"quality": 80} if kind == "JPEG" else {}))
    return out.getvalue()


def pdf(rng, size):
    """Pages of compressed text, and a picture when it is a large one."""
    objects = [b"<< /Type /Catalog /Pages 2 0 R >>", None]
    kids, total = [], 0
    while total < size:
        if rng.random() < 0.5 and size - total > 20_000:
            data = picture(rng, min(size - total, 90_000))
            head = (b"<< /Type /XObject /Subtype /Image /Width 100 /Height 100 /ColorSpace "
                    b"/DeviceRGB /BitsPerComponent 8 /Filter /DCTDecode /Length %d >>" % len(data))
        else:
            text = words(rng, 9000).encode()
            data = zlib.compress(b"BT /F1 11 Tf 72 720 Td (" +
                                 text.replace(b"\n", b") Tj T* (") + b") Tj ET")
            head = b"<< /Length %d /Filter /FlateDecode >>" % len(data)
        objects.append(head + b"\nstream\n" + data + b"\nendstream")
        objects.append(b"<< /Type /Page /Parent 2 0 R /Contents %d 0 R >>" % len(objects))
        kids.append(b"%d 0 R" % len(objects))
        total += len(data)
    objects[1] = b"<< /Type /Pages /Kids [%s] /Count %d >>" % (b" ".join(kids), len(kids))
    out, offsets = bytearray(b"%PDF-1.5\n%\xe2\xe3\xcf\xd3\n"), []
    for number, body in enumerate(objects, 1):
        offsets.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    table = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    out += b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    out += b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, table)
    return bytes(out)


def packed(members):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in members:
            file.writestr(zipfile.ZipInfo(name, (2024, 1, 1, 0, 0, 0)), data, zipfile.ZIP_DEFLATED)
    return out.getvalue()


def office(rng, size, kind):
    types = ('<?xml version="1.0" encoding="UTF-8" standalone="yes"?><Types xmlns='
             '"http://schemas.openxmlformats.org/package/2006/content-types"><Default '
             'Extension="xml" ContentType="application/xml"/></Types>')
    main = "word/document.xml" if kind == "docx" else "xl/worksheets/sheet1.xml"
    tag = "w:t" if kind == "docx" else "v"
    body = "".join(f"<w:p><{tag}>{text}</{tag}></w:p>"
                   for text in words(rng, int(size * 1.6)).split("\n"))
    members = [("[Content_Types].xml", types), ("_rels/.rels", "<Relationships/>"),
               (main, f'<?xml version="1.0"?><w:document xmlns:w="w"><w:body>{body}</w:body></w:document>'),
               ("docProps/app.xml", "<Properties/>")]
    if size > 20_000:
        members.append(("word/media/image1.jpeg", picture(rng, size // 2)))
    return packed(members)


def archive(rng, size):
    return packed([("report.txt", words(rng, size)), ("data.csv", words(rng, size // 2)),
                   ("scan.jpg", picture(rng, size // 2))])


FILES = {
    "pdf": ("application", "pdf", "invoice.pdf", pdf),
    "docx": ("application", "vnd.openxmlformats-officedocument.wordprocessingml.document",
             "offer.docx", lambda rng, size: office(rng, size, "docx")),
    "xlsx": ("application", "vnd.openxmlformats-officedocument.spreadsheetml.sheet",
             "figures.xlsx", lambda rng, size: office(rng, size, "xlsx")),
    "photo": ("image", "jpeg", "photo.jpg", picture),
    "zip": ("application", "zip", "documents.zip", archive),
}


def top(rng, number):
    """The header lines that relays put in front."""
    received = (f"Received: from mx{rng.randint(1, 9)}.example.net (mx.example.net [192.0.2.{rng.randint(1, 254)}])\r\n"
                f"\tby relay.example.org (Postfix) with ESMTPS id {rng.getrandbits(40):010X}\r\n"
                "\tfor <user@lab.test>; Mon, 1 Jan 2024 10:00:00 +0000 (UTC)\r\n")
    sealed = "b=" + base64.b64encode(rng.randbytes(256)).decode() + "\r\n"
    front = rng.random()
    if front < 0.75:
        return received + received
    if front < 0.9:
        return ("DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=example.net; s=s1;\r\n\t"
                + sealed + received)
    if front < 0.97:
        return "ARC-Seal: i=1; a=rsa-sha256; s=arc; d=example.org; cv=none;\r\n\t" + sealed + received
    return f"X-Campaign: {number}\r\n" + received


def build(rng, number, kind, size, attachment=None):
    mail = email.message.EmailMessage(policy=email.policy.SMTP)
    mail["From"] = f"Sender {rng.randint(1, 99)} <sender@client.test>"
    mail["To"] = "User <user@lab.test>"
    mail["Subject"] = " ".join(rng.choices(WORDS, k=6))
    mail["Date"] = "Mon, 01 Jan 2024 10:00:00 +0000"
    mail["Message-ID"] = f"<{number}.{rng.getrandbits(64):x}@client.test>"
    if kind in FILES:
        mail.set_content(words(rng, 900))
        main, sub, name, make = FILES[kind]
        mail.add_attachment(attachment or make(rng, size), maintype=main, subtype=sub, filename=name)
    elif kind == "text":
        mail.set_content(words(rng, size), cte=rng.choice(("7bit", "quoted-printable")))
    else:
        mail.set_content(words(rng, max(500, size // 5)))
        mail.add_alternative(html(rng, size * 4 // 5), subtype="html", cte="quoted-printable"
                             if rng.random() < 0.7 else "base64")
    # No line begins with a dot, so that it need not be doubled on its way through SMTP.
    return top(rng, number).encode() + TOKEN + mail.as_bytes().replace(b"\r\n.", b"\r\n=2E")


def spread(rng, median, width):
    """Log-normal, within 1/6 and 6 of the median; bytes."""
    return int(1024 * median * min(6.0, max(1 / 6, 2 ** rng.gauss(0, width))))


def kinds(count, rng):
    """Exactly the shares of MIX, shuffled: a small corpus is no luck of the draw."""
    chosen, owed = [], 0.0
    for share, kind, median, width in MIX:
        owed += count * share / 100
        while len(chosen) + 0.5 <= owed and len(chosen) < count:
            chosen.append((kind, median, width))
    while len(chosen) < count:
        chosen.append(MIX[0][1:])
    rng.shuffle(chosen)
    return chosen


def build_kind(rng, number, kind, median, width):
    return build(rng, number, kind, spread(rng, median, width))


def write(folder, mails):
    folder.mkdir(parents=True)
    for number, mail in enumerate(mails):
        (folder / f"{number:04}.eml").write_bytes(mail)


def make(folder, count, seed=1):
    """The everyday mix. Returns its folder, kept for the next time."""
    final = folder / f"mails-{VERSION}-{seed}-{count}"
    if not final.exists():
        rng = random.Random(f"{seed} mails")
        write(final, (build_kind(rng, number, *kind)
                      for number, kind in enumerate(kinds(count, rng))))
    return final


def make_small(folder, count, seed=1):
    """Text of 2 to 4 KB, as most messages are."""
    final = folder / f"small-{VERSION}-{seed}-{count}"
    if not final.exists():
        rng = random.Random(f"{seed} small")
        write(final, (build(rng, number, "text", rng.randint(1500, 3500)) for number in range(count)))
    return final


def make_repeat(folder, count, seed=1):
    """The same few attachments in new messages, as a mailing to a whole company has."""
    final = folder / f"repeat-{VERSION}-{seed}-{count}"
    if not final.exists():
        rng = random.Random(f"{seed} repeat")
        files = [(kind, FILES[kind][3](rng, 150_000)) for kind in ("pdf", "docx", "zip", "photo")]
        write(final, (build(rng, number, kind, 0, data)
                      for number, (kind, data) in ((n, files[n % len(files)]) for n in range(count))))
    return final


def is_marked(number):
    """Whether that mail of make_flow() has MARK."""
    return number % MARKED == MARKED - 1


def marked(rng, number):
    end = b"\r\n\r\n"
    return build(rng, number, "text", 2000).replace(end, end + MARK + b"\r\n", 1)


def make_flow(folder, count, seed=1):
    """The everyday mix, COUNT mails, each MARKED-th a small one with MARK."""
    final = folder / f"flow-{VERSION}-{seed}-{count}"
    if not final.exists():
        rng = random.Random(f"{seed} flow")
        everyday = iter(kinds(count, rng))
        write(final, (marked(rng, number) if is_marked(number)
                      else build_kind(rng, number, *next(everyday)) for number in range(count)))
    return final
