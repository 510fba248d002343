#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""EICAR in every container that Debian's tools can make, attached to a mail: infected, or not
fully scanned with its reason. Clean only what no mail program or unpacker turns into the virus.

    /usr/bin/python3 -m pytest scanner/worker/test-containers.py        (-s prints the table)
"""
import base64
import bz2
import gzip
import lzma
import pathlib
import sys
import tarfile
import zipfile
import zlib

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import documents as docs
import samples as made
from chain import (CLEAN, EICAR, INFECTED, UNSCANNED, attachment, mail, scanner, verdict_of,
                   why)

# What a mail may come out as: "infected", a cause of "not fully scanned", or "clean" and why not.
FOUND, LIMIT, ENCRYPTED, UNSUPPORTED, DAMAGED = (INFECTED, "limit", "encrypted", "unsupported",
                                                 "damaged")

ZIPS = {
    "stored": (FOUND, made.zipped(zipfile.ZIP_STORED)),
    "deflated": (FOUND, made.zipped()),
    "bzip2": (FOUND, made.zipped(zipfile.ZIP_BZIP2)),
    "lzma": (UNSUPPORTED, made.zipped(zipfile.ZIP_LZMA)),
    "Deflate64": (FOUND, made.seven("-tzip", "-mm=Deflate64", output="a.zip")),
    "PPMd": (UNSUPPORTED, made.seven("-tzip", "-mm=PPMd", output="a.zip")),
    "ZipCrypto": (ENCRYPTED, made.tool("a.zip", "zip", "-q", "-P", "x", "a.zip", "eicar.com")),
    "AES": (ENCRYPTED, made.seven("-tzip", "-px", "-mem=AES256", output="a.zip")),
    "zip64": (FOUND, made.zipped(force_zip64=True)),
    "comment": (FOUND, made.zipped(comment=b"c" * 300)),
    "streamed": (FOUND, made.zip_streamed),
    "no directory": (DAMAGED, made.zip_without_directory),
    "two archives": (DAMAGED, made.zip_two_members),
    "local header: deflated": (DAMAGED, made.zip_patched(local={8: ("<H", 8)})),
    "local header: method 99": (DAMAGED, made.zip_patched(local={8: ("<H", 99)})),
    "directory: deflated": (FOUND, made.zip_patched(central={10: ("<H", 8)})),
    "local header: encrypted": (ENCRYPTED, made.zip_patched(local={6: ("<H", 1)})),
    "directory: encrypted": (FOUND, made.zip_patched(central={8: ("<H", 1)})),
    "directory: size 0": (FOUND, made.zip_patched(central={24: ("<I", 0)})),
    "directory: sizes 0": (FOUND, made.zip_patched(central={24: ("<I", 0), 20: ("<I", 0)})),
    "directory: size 3": (FOUND, made.zip_patched(central={24: ("<I", 3)})),
    "local header: sizes 0": (DAMAGED, made.zip_patched(local={18: ("<I", 0), 22: ("<I", 0)})),
    "local header: sizes 3": (DAMAGED, made.zip_patched(local={18: ("<I", 3), 22: ("<I", 3)})),
    "local header: huge": (DAMAGED, made.zip_patched(local={18: ("<I", 1 << 30)})),
    "behind a picture": (FOUND, made.behind(made.JPEG, made.zipped())),
    "behind a program": (FOUND, made.behind(made.STUB, made.zipped())),
    "behind text": (FOUND, made.behind(b"hello\n", made.zipped())),
    "first volume": (DAMAGED, made.cut(made.zipped(), 60)),
}
TWO_7Z = ("7z", "a", "-bd", "-m0=LZMA", "a.7z", "a.txt")
SEVENS = {
    "LZMA2": (FOUND, made.seven("-m0=LZMA2")), "LZMA": (FOUND, made.seven("-m0=LZMA")),
    "BZip2": (UNSUPPORTED, made.seven("-m0=BZip2")), "PPMd": (FOUND, made.seven("-m0=PPMd")),
    "Deflate": (UNSUPPORTED, made.seven("-m0=Deflate")),
    "Deflate64": (UNSUPPORTED, made.seven("-m0=Deflate64")),
    "Copy": (FOUND, made.seven("-mx=1", "-m0=Copy")),
    "BCJ": (FOUND, made.seven("-m0=BCJ", "-m1=LZMA2")),
    "BCJ2": (UNSUPPORTED, made.seven("-m0=BCJ2", "-m1=LZMA2")),
    "Delta": (UNSUPPORTED, made.seven("-m0=Delta:4", "-m1=LZMA2")),
    "encrypted": (ENCRYPTED, made.seven("-px")),
    "encrypted names": (ENCRYPTED, made.seven("-px", "-mhe=on")),
    "self-extracting": (FOUND, made.seven_sfx),
    "behind a picture": (FOUND, made.behind(made.JPEG, made.seven())),
    "solid": (FOUND, made.two("a.7z", ("7z", "a", "-bd", "a.7z", "a.txt", "eicar.com"))),
    "second BZip2": (UNSUPPORTED, made.two(
        "a.7z", TWO_7Z, ("7z", "a", "-bd", "-m0=BZip2", "a.7z", "eicar.com"))),
    "second encrypted": (ENCRYPTED, made.two(
        "a.7z", TWO_7Z, ("7z", "a", "-bd", "-px", "a.7z", "eicar.com"))),
    "first volume": (UNSUPPORTED, made.cut(made.seven(), 30)),
}
TARS = {
    "ustar": (FOUND, made.tarred(tarfile.USTAR_FORMAT)),
    "pax": (FOUND, made.tarred(tarfile.PAX_FORMAT)),
    "long name": (FOUND, made.tarred(name="d/" * 120 + "e.com")),
    "long name, pax": (FOUND, made.tarred(tarfile.PAX_FORMAT, name="\xe4/" * 160 + "e.com")),
    "behind a block": (UNSUPPORTED, made.behind(bytes(512), made.tarred())),
    "behind text": (UNSUPPORTED, made.behind(b"x" * 1024, made.tarred())),
    "v7 behind a block": (UNSUPPORTED, made.behind(bytes(512), made.tar_by("v7"))),
    # GNU tar, bsdtar and 7z read in blocks of 512 bytes.
    "behind 664 bytes": (CLEAN, made.behind(made.STUB, made.tarred())),
    "gzip": (FOUND, made.then(made.tarred(), gzip.compress)),
    "bzip2": (FOUND, made.then(made.tarred(), bz2.compress)),
    "xz": (FOUND, made.then(made.tarred(), lzma.compress)),
    "zstd": (UNSUPPORTED, made.then(made.tarred(), made.pipe("zstd", "-c"))),
    "compress": (UNSUPPORTED, made.then(made.tarred(), made.pipe("compress", "-fc"))),
    "xz of many blocks": (FOUND, made.then(
        lambda data: made.tarred()(b"x" * 3000)[:3584] + made.tarred()(data),
        made.pipe("xz", "-c", "--block-size=512"))),
    **{f"--format={kind}": (FOUND, made.tar_by(kind))
       for kind in ("v7", "oldgnu", "ustar", "gnu", "posix")},
}
CPIOS = {
    **{kind: (FOUND, made.cpio(kind))
       for kind in ("bin", "odc", "newc", "crc", "tar", "ustar", "hpbin", "hpodc")},
    **{f"{kind}, second": (FOUND, made.cpio_two(kind)) for kind in ("bin", "odc", "newc", "crc")},
    **{f"{kind}, second damaged": (DAMAGED, made.cpio_damaged(kind))
       for kind in ("bin", "odc", "newc", "crc")},
}
MSZIP = made.tool("a.cab", "gcab", "-c", "-z", "a.cab", "eicar.com")
ARJ = made.tool("a.arj", "arj", "a", "a.arj", "eicar.com")
LHA = made.tool("a.lzh", "jlha", "a", "a.lzh", "eicar.com")
ARCHIVES = {
    "ar": (UNSUPPORTED, made.tool("a.a", "ar", "rc", "a.a", "eicar.com")),
    **{f"deb, {packer}": (UNSUPPORTED, made.deb(packer)) for packer in ("gzip", "xz", "zstd", "none")},
    **{f"rpm, {packer}": (UNSUPPORTED, made.rpm(packer))
       for packer in ("w9.gzdio", "w9.bzdio", "w6.xzdio", "w3.zstdio")},
    "cab, MSZIP": (FOUND, MSZIP),
    "cab, stored": (FOUND, made.tool("a.cab", "gcab", "-c", "a.cab", "eicar.com")),
    "cab behind a program": (FOUND, made.behind(made.STUB, MSZIP)),
    "cab behind a picture": (FOUND, made.behind(made.JPEG, MSZIP)),
    "cab, second": (FOUND, made.two("a.cab", ("gcab", "-c", "-z", "a.cab", "a.txt", "eicar.com"))),
    "cab, cut off": (UNSUPPORTED, made.cut(MSZIP, 20)),
    "arj": (FOUND, ARJ),
    "arj, stored": (FOUND, made.tool("a.arj", "arj", "a", "-m0", "a.arj", "eicar.com")),
    "arj, method 4": (FOUND, made.tool("a.arj", "arj", "a", "-m4", "a.arj", "eicar.com")),
    "arj, encrypted": (ENCRYPTED, made.tool("a.arj", "arj", "a", "-gx", "a.arj", "eicar.com")),
    "arj, second encrypted": (ENCRYPTED, made.two(
        "a.arj", ("arj", "a", "a.arj", "a.txt"), ("arj", "a", "-gx", "a.arj", "eicar.com"))),
    "arj behind a program": (FOUND, made.behind(made.STUB, ARJ)),
    "lha": (FOUND, LHA),
    **{f"lha, lh{n}": (FOUND, made.tool("a.lzh", "jlha", f"ao{n}", "a.lzh", "eicar.com"))
       for n in "0567"},
    "lha behind a program": (UNSUPPORTED, made.behind(made.STUB, LHA)),
    "lha, second": (FOUND, made.lha_two),
    **{f"lha, second {n.decode()}": (DAMAGED, made.lha_method(n)) for n in (b"1", b"4", b"x", b"9")},
    "arc": (UNSUPPORTED, made.tool("a.arc", "arc", "a", "a.arc", "eicar.com")),
    "zoo": (UNSUPPORTED, made.zoo), "ace": (UNSUPPORTED, made.ace),
    "rar 4": (UNSUPPORTED, made.rar4), "rar 5": (UNSUPPORTED, made.rar5),
    "rar 4 behind a program": (UNSUPPORTED, made.behind(made.STUB, made.rar4)),
    "rar 5 behind a picture": (UNSUPPORTED, made.behind(made.JPEG, made.rar5)),
    "zpaq": (UNSUPPORTED, made.tool("a.zpaq", "zpaq", "a", "a.zpaq", "eicar.com")),
    **{f"nsis, {packer}": (FOUND, made.nsis(packer)) for packer in ("zlib", "bzip2", "lzma")},
    "msi": (FOUND, made.msi),
    "AppleSingle": (UNSUPPORTED, made.apple_single),
    # Whoever runs a script has lost: it needs no archive behind it.
    "script with tar.gz": (CLEAN, made.shell_archive),
}
STREAMS = {
    "gzip": (FOUND, gzip.compress), "gzip -n": (FOUND, made.pipe("gzip", "-nc")),
    "gzip, then garbage": (FOUND, lambda data: gzip.compress(data) + b"garbage" * 9),
    "gzip, second member": (UNSUPPORTED, made.gzip_multi),
    "gzip, second behind zeros": (UNSUPPORTED, lambda data: gzip.compress(b"harmless") + bytes(4)
                                  + gzip.compress(data)),
    "bzip2": (FOUND, bz2.compress), "bzip2, second stream": (UNSUPPORTED, made.bzip2_multi),
    "xz": (FOUND, lzma.compress), "xz, second stream": (UNSUPPORTED, made.xz_multi),
    "xz, second behind zeros": (UNSUPPORTED, lambda data: lzma.compress(b"harmless") + bytes(4)
                                + lzma.compress(data)),
    "xz, unchecked": (FOUND, made.pipe("xz", "-c", "-C", "none")),
    "xz, x86": (FOUND, made.pipe("xz", "-c", "--x86", "--lzma2")),
    "lzma": (UNSUPPORTED, made.lzma_alone()),
    "lzma, lc 0": (UNSUPPORTED, made.lzma_alone(0, 0, 0)),
    "lzma, lp 2": (UNSUPPORTED, made.lzma_alone(0, 2, 2)),
    # 7-Zip and libarchive refuse such a dictionary; who calls unlzma by hand unpacks anything.
    "lzma, odd dictionary": (CLEAN, lambda data: (
        lambda out: out[:1] + (5000).to_bytes(4, "little") + out[5:])(made.lzma_alone()(data))),
    **{name: (UNSUPPORTED, made.pipe(*name.split())) for name in (
        "lzip -c", "lzop -c", "lz4 -c", "lz4 -lc", "zstd -c", "compress -fc", "compress -fc -b9",
        "plzip -c")},
    "lrzip": (UNSUPPORTED, made.tool("eicar.com.lrz", "lrzip", "-q", "eicar.com")),
    "zlib": (FOUND, zlib.compress),
    # No mark in the file, and no program that opens it unasked.
    "brotli": (CLEAN, made.pipe("brotli", "-c")),
    "bare deflate": (CLEAN, lambda data: zlib.compress(data)[2:-4]),
    "szdd": (FOUND, made.szdd),
}
IMAGES = {
    **{f"iso {options}": (FOUND, made.tool("a.iso", "genisoimage", "-quiet", *options.split(), "-o",
                                           "a.iso", "eicar.com"))
       for options in ("", "-J", "-R", "-udf", "-hfs")},
    **{f"squashfs, {packer}": (UNSUPPORTED, made.tool(
        "a.sq", "mksquashfs", "eicar.com", "a.sq", "-quiet", "-no-progress", "-comp", packer))
       for packer in ("gzip", "xz", "zstd")},
    **{f"wim, {packer}": (UNSUPPORTED, made.wim(packer)) for packer in ("none", "lzx", "lzms")},
    "FAT": (UNSUPPORTED, made.fat_image), "ext4": (UNSUPPORTED, made.ext_image),
    **{kind: (UNSUPPORTED, made.converted(kind))
       for kind in ("qcow2", "vdi", "vmdk", "vpc", "vhdx", "parallels", "qed")},
    "vpc, fixed": (UNSUPPORTED, made.converted("vpc", "-o", "subformat=fixed")),
}


def link(text):
    return lambda data: docs.html(text.replace(b"URI", docs.data_uri(data)))


DOCUMENTS = {
    "OLE package": (FOUND, docs.ole_package),
    "OLE streams": (FOUND, lambda data: docs.compound({"a": b"x" * 4096, "b": data})),
    "docx": (FOUND, lambda data: docs.office("word", "document", docs.ole_package(data))),
    "xlsx": (FOUND, lambda data: docs.office("xl", "workbook", docs.ole_package(data))),
    "pptx": (FOUND, lambda data: docs.office("ppt", "presentation", data)),
    "odt": (FOUND, docs.opendocument),
    "pdf": (FOUND, docs.pdf()), "pdf, plain objects": (FOUND, docs.pdf("disable")),
    "pdf, linearized": (FOUND, docs.pdf(linearize=True)),
    "pdf, password": (ENCRYPTED, docs.pdf(user="secret")),
    "pdf, AES without password": (ENCRYPTED, docs.pdf(user="")),
    "pdf, RC4 without password": (ENCRYPTED, docs.pdf(user="", R=3, aes=False, metadata=False)),
    "pdf, hexadecimal": (FOUND, docs.pdf_filtered(b"/ASCIIHexDecode", lambda data:
                                                  data.hex().encode() + b">")),
    "pdf, base 85": (FOUND, docs.pdf_filtered(b"/ASCII85Decode", lambda data:
                                              base64.a85encode(data) + b"~>")),
    "pdf, flate": (FOUND, docs.pdf_filtered(b"/FlateDecode", zlib.compress)),
    "pdf, run length": (FOUND, docs.pdf_filtered(b"/RunLengthDecode", lambda data:
                                                 bytes([len(data) - 1]) + data + b"\x80")),
    "pdf, two filters": (FOUND, docs.pdf_filtered(
        b"[/ASCII85Decode/FlateDecode]", lambda data: base64.a85encode(zlib.compress(data)) + b"~>")),
    "pdf, crypt filter": (FOUND, docs.pdf_filtered(b"[/Crypt/FlateDecode]", zlib.compress)),
    "rtf": (FOUND, docs.rtf), "tnef": (FOUND, docs.tnef), "onenote": (FOUND, docs.onenote),
    "calendar": (FOUND, docs.calendar), "vcard": (FOUND, docs.vcard),
    "chm": (UNSUPPORTED, made.chm),
    "html, link": (FOUND, link(b'<a href="URI">x</a>')),
    "html, image": (FOUND, link(b'<img src="URI">')),
    "html, frame": (FOUND, link(b'<iframe src="URI"></iframe>')),
    "html, object": (FOUND, link(b'<object data="URI">')),
    "html, UTF-16": (FOUND, lambda data: ("\ufeff" + link(b'<a href="URI">x</a>')(data).decode())
                     .encode("utf-16-le")),
    "svg, link": (FOUND, lambda data: b'<svg xmlns="http://www.w3.org/2000/svg"><a href="'
                  + docs.data_uri(data) + b'">x</a></svg>'),
    # A script can make the virus from anything; this is no container but a program.
    "html, script": (CLEAN, lambda data: docs.html(
        b'<script>a="' + base64.b64encode(data) + b'"</script>')),
    # A player keeps it in memory, for scripts of the film.
    "swf": (CLEAN, docs.swf),
    "mail": (FOUND, lambda data: mail(attachment(data))),
    "mbox": (FOUND, lambda data: b"From a@b Mon Jan  1 00:00:00 2024\n" + mail() + b"\n"
             b"From a@b Mon Jan  1 00:00:00 2024\n" + mail(attachment(data))),
    "Outlook message": (FOUND, lambda data: docs.compound({"__properties_version1.0": bytes(32),
                                                           "__substg1.0_37010102": data})),
}
ALL = {f"{group}: {name}": case for group, cases in (
    ("zip", ZIPS), ("7z", SEVENS), ("tar", TARS), ("cpio", CPIOS), ("archive", ARCHIVES),
    ("stream", STREAMS), ("image", IMAGES), ("document", DOCUMENTS)) for name, case in cases.items()}


@pytest.mark.parametrize("kind", ALL)
def test_container(scanner, kind):
    expected, make = ALL[kind]
    data = make(EICAR)
    assert EICAR not in data[:len(EICAR)]
    facts = scanner.scan(mail(attachment(data, "sample.bin")))
    print(f"{kind:36} {verdict_of(facts):18} {why(facts)[:110]}")
    assert not facts["faults"]
    if expected in (INFECTED, CLEAN):
        assert verdict_of(facts) == expected, why(facts)
    else:
        assert verdict_of(facts) == UNSCANNED, why(facts)
        assert expected in [u["cause"] for u in facts["unscanned"]], why(facts)


def test_the_same_containers_without_the_virus_are_not_infected(scanner):
    """What is infected here is infected because of EICAR, not because of the container."""
    for kind, (_, make) in ALL.items():
        if kind.startswith(("zip", "tar", "document")):
            facts = scanner.scan(mail(attachment(make(EICAR[::-1]), "sample.bin")))
            assert verdict_of(facts) != INFECTED, (kind, why(facts))
