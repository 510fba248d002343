#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""Documents that hold files: office, PDF, RTF, HTML, TNEF, calendars, notes. Each maker takes the
content and returns the document's bytes."""
import base64
import io
import struct
import zipfile

FREE, END, FAT = 0xffffffff, 0xfffffffe, 0xfffffffd


def compound(streams):
    """A compound file ([MS-CFB]) with these streams in its root: {name: bytes}."""
    sector = 512
    # Padded beyond the cutoff of 4096, so that no mini stream is needed.
    blobs = [data.ljust(max(4096, -(-len(data) // sector) * sector), b"\0") for data in streams.values()]
    entries = 1 + len(streams)
    directory = -(-entries * 128 // sector)
    fat, first = [FAT] + list(range(2, directory + 1)) + [END], []
    for blob in blobs:
        n = len(blob) // sector
        first.append(len(fat))
        fat += list(range(len(fat) + 1, len(fat) + n)) + [END]
    assert len(fat) <= sector // 4

    def entry(name, kind, right, child, start, size):
        text = (name + "\0").encode("utf-16-le")
        return (text.ljust(64, b"\0") + struct.pack("<HBBIII", len(text), kind, 1, FREE, right, child)
                + bytes(36) + struct.pack("<IQ", start, size))

    table = entry("Root Entry", 5, FREE, 1 if streams else FREE, END, 0)
    for i, (name, data) in enumerate(streams.items()):
        right = i + 2 if i + 1 < len(streams) else FREE
        table += entry(name, 2, right, FREE, first[i], max(4096, len(data)))
    head = (bytes.fromhex("d0cf11e0a1b11ae1") + bytes(16) + struct.pack("<HHHHH", 0x3e, 3, 0xfffe, 9, 6)
            + bytes(6) + struct.pack("<IIIIIIIII", 0, 1, 1, 0, 4096, END, 0, END, 0)
            + struct.pack("<I", 0) + struct.pack("<I", FREE) * 108)
    return (head + b"".join(struct.pack("<I", f) for f in fat).ljust(sector, b"\xff")
            + table.ljust(directory * sector, b"\0") + b"".join(blobs))


def package(data, name=b"eicar.com"):
    """What Office's "insert object, from file" writes: an Ole10Native stream."""
    body = (b"\2\0" + name + b"\0" + b"C:\\" + name + b"\0" + b"\0\0\3\0"
            + struct.pack("<I", len(name) + 4) + b"C:\\" + name + b"\0" + struct.pack("<I", len(data))
            + data)
    return struct.pack("<I", len(body)) + body


def ole_package(data):
    return compound({"\1Ole10Native": package(data)})


def office(folder, content, embed=None):
    """The skeleton of an OOXML file, with an embedded object or none."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("[Content_Types].xml", '<?xml version="1.0" encoding="UTF-8"?><Types xmlns='
                         '"http://schemas.openxmlformats.org/package/2006/content-types"><Default '
                         'Extension="bin" ContentType="application/vnd.openxmlformats-officedocument'
                         '.oleObject"/><Default Extension="xml" ContentType="application/xml"/>'
                         '</Types>')
        archive.writestr(f"{folder}/{content}.xml", "<document><p>Hello</p></document>")
        if embed is not None:
            archive.writestr(f"{folder}/embeddings/oleObject1.bin", embed)
    return out.getvalue()


def opendocument(data):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("mimetype", "application/vnd.oasis.opendocument.text")
        archive.writestr("content.xml", "<office:document-content/>")
        archive.writestr("Object 1", data, zipfile.ZIP_DEFLATED)
    return out.getvalue()


def pdf(objects="generate", linearize=False, **encryption):
    """A PDF with an attached file, as qpdf writes it."""
    def make(data):
        import pikepdf
        doc = pikepdf.new()
        doc.add_blank_page()
        doc.attachments["eicar.com"] = pikepdf.AttachedFileSpec(doc, data, filename="eicar.com")
        out = io.BytesIO()
        doc.save(out, object_stream_mode=getattr(pikepdf.ObjectStreamMode, objects),
                 linearize=linearize,
                 encryption=pikepdf.Encryption(owner="o", **encryption) if encryption else False)
        return out.getvalue()
    return make


def pdf_filtered(name, encode):
    """A PDF whose attachment is coded by one filter, written by hand."""
    def make(data):
        body = encode(data)
        objects = [b"<</Type/Catalog/Pages 2 0 R/Names<</EmbeddedFiles<</Names[(e)4 0 R]>>>>>>",
                   b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
                   b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 9 9]>>",
                   b"<</Type/Filespec/F(eicar.com)/EF<</F 5 0 R>>>>",
                   b"<</Type/EmbeddedFile/Filter" + name + b"/Length %d>>stream\n" % len(body)
                   + body + b"\nendstream"]
        out, places = b"%PDF-1.5\n", []
        for i, text in enumerate(objects):
            places.append(len(out))
            out += b"%d 0 obj\n" % (i + 1) + text + b"\nendobj\n"
        xref = len(out)
        out += b"xref\n0 6\n0000000000 65535 f \n"
        out += b"".join(b"%010d 00000 n \n" % place for place in places)
        return out + b"trailer<</Size 6/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF\n" % xref
    return make


def rtf(data):
    """An OLE 1.0 package object, as WordPad writes it."""
    native = package(data)[4:]
    ole = struct.pack("<III", 0x501, 2, 8) + b"Package\0" + struct.pack("<III", 0, 0, len(native)) + native
    return (b"{\\rtf1\\ansi{\\object\\objemb{\\*\\objclass Package}{\\*\\objdata " + ole.hex().encode()
            + b"}}Hello\\par}")


def html(link):
    return b"<html><head><title>x</title></head><body><p>Hello</p>" + link + b"</body></html>\r\n"


def data_uri(data, kind=b"application/octet-stream"):
    return b"data:" + kind + b";base64," + base64.b64encode(data)


def tnef(data, name=b"eicar.com"):
    """winmail.dat ([MS-OXTNEF]) with one attachment."""
    def attribute(level, tag, body):
        return (struct.pack("<BII", level, tag, len(body)) + body
                + struct.pack("<H", sum(body) & 0xffff))
    return (struct.pack("<IH", 0x223e9f78, 1) + attribute(1, 0x00089006, struct.pack("<I", 0x10000))
            + attribute(2, 0x00069002, struct.pack("<HI", 1, 0xffffffff) + bytes(8))
            + attribute(2, 0x00018010, name + b"\0") + attribute(2, 0x0006800f, data))


def onenote(data):
    """The embedded file's FileDataStoreObject ([MS-ONESTORE] 2.6.13) in a section file."""
    head = bytes.fromhex("e4525c7b8cd8a74daeb15378d02996d3") + bytes(1008)
    store = bytes.fromhex("e716e3bd65261145a4c48d4d0b7a9eac") + struct.pack("<QIQ", len(data), 0, 0)
    return (head + store + data.ljust(-(-len(data) // 8) * 8, b"\0")
            + bytes.fromhex("22a7fb71790f0b4abb13899256426b24"))


def folded(text, width=74):
    return b"\r\n ".join(text[i:i + width] for i in range(0, len(text), width))


def calendar(data):
    return (b"BEGIN:VCALENDAR\r\nVERSION:2.0\r\nBEGIN:VEVENT\r\nSUMMARY:x\r\n"
            + folded(b"ATTACH;FMTTYPE=application/octet-stream;ENCODING=BASE64;VALUE=BINARY;"
                     b"X-FILENAME=eicar.com:" + base64.b64encode(data))
            + b"\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n")


def vcard(data):
    return (b"BEGIN:VCARD\r\nVERSION:3.0\r\nFN:x\r\n"
            + folded(b"KEY;ENCODING=b:" + base64.b64encode(data)) + b"\r\nEND:VCARD\r\n")


def swf(data, packed=None):
    """DefineBinaryData (SWF specification 19, chapter 13)."""
    tag = struct.pack("<HIH I", 87 << 6 | 63, len(data) + 6, 1, 0) + data
    body = b"\x08\x00" + struct.pack("<HH", 0x1800, 1) + tag + b"\x40\0\0\0"
    head = struct.pack("<BI", 10, 8 + len(body))
    return (b"CWS" + head + packed(body)) if packed else b"FWS" + head + body
