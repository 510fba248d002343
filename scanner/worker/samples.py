#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""Files that hold other files, made with Debian's tools or byte by byte; each maker takes the
content and returns the container's bytes."""
import bz2
import contextlib
import gzip
import io
import lzma
import pathlib
import struct
import subprocess
import tarfile
import tempfile
import zipfile
import zlib

STUB = b"MZ" + bytes(58) + struct.pack("<I", 64) + bytes(600)
JPEG = bytes.fromhex("ffd8ffe000104a46494600010100000100010000ffdb004300") + bytes(64) + b"\xff\xd9"


@contextlib.contextmanager
def folder(data, name="eicar.com"):
    """A directory that holds the content as a file."""
    with tempfile.TemporaryDirectory() as path:
        path = pathlib.Path(path)
        path.chmod(0o755)
        (path / name).write_bytes(data)
        yield path


def run(path, *command, stdin=None):
    done = subprocess.run([str(c) for c in command], cwd=path, input=stdin, capture_output=True,
                          check=False)
    assert done.returncode == 0, (command, done.stdout[-300:], done.stderr[-300:])
    return done.stdout


def tool(output, *command):
    """The maker that runs COMMAND beside eicar.com and takes the file OUTPUT."""
    def make(data):
        with folder(data) as path:
            run(path, *command)
            return (path / output).read_bytes()
    return make


def pipe(*command):
    """The maker whose COMMAND reads the content and writes the container."""
    return lambda data: run(None, *command, stdin=data)


def listed(*command):
    """The maker whose COMMAND reads the name of the file, as cpio does."""
    def make(data):
        with folder(data) as path:
            return run(path, *command, stdin=b"eicar.com\n")
    return make


def then(*makers):
    """The last one outermost."""
    def make(data):
        for maker in makers:
            data = maker(data)
        return data
    return make


def behind(prefix, maker):
    return lambda data: prefix + maker(data)


# ZIP

def zipped(method=zipfile.ZIP_DEFLATED, name="eicar.com", comment=b"", **more):
    def make(data):
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", method) as archive:
            archive.comment = comment
            with archive.open(name, "w", **more) as member:
                member.write(data)
        return out.getvalue()
    return make


class Unseekable(io.RawIOBase):
    """Makes zipfile write sizes behind the data."""

    def __init__(self):
        self.bytes = bytearray()

    def writable(self):
        return True

    def write(self, data):
        self.bytes += data
        return len(data)


def zip_streamed(data):
    out = Unseekable()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("eicar.com", data)
    return bytes(out.bytes)


def zip_patched(local=None, central=None, maker=zipped(zipfile.ZIP_STORED)):
    """16- and 32-bit fields of the headers overwritten: {offset: (format, value)}."""
    def make(data):
        out = bytearray(maker(data))
        for at, fields in ((0, local), (out.rindex(b"PK\1\2"), central)):
            for offset, (kind, value) in (fields or {}).items():
                struct.pack_into(kind, out, at + offset, value)
        return bytes(out)
    return make


def zip_without_directory(data):
    out = zipped()(data)
    return out[:out.index(b"PK\1\2")]


def zip_two_members(data):
    """The virus is only in the directory of the second of two ends."""
    first = zipped(name="harmless.txt")(b"harmless " * 20)
    return first + zipped()(data)


# 7z, tar, cpio, ...

def seven(*options, output="a.7z"):
    return tool(output, "7z", "a", "-bd", "-y", *options, output, "eicar.com")


def seven_sfx(data):
    return pathlib.Path("/usr/lib/p7zip/7zCon.sfx").read_bytes() + seven()(data)


def tarred(kind=tarfile.GNU_FORMAT, name="eicar.com"):
    def make(data):
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w", format=kind) as archive:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        return out.getvalue()
    return make


def tar_by(kind):
    return pipe_tar("--format=" + kind)


def pipe_tar(*options):
    def make(data):
        with folder(data) as path:
            return run(path, "tar", "c", *options, "eicar.com")
    return make


def cpio(kind):
    return listed("cpio", "-o", "-H", kind, "--quiet")


def deb(compression):
    def make(data):
        with folder(data) as path:
            (path / "p/DEBIAN").mkdir(parents=True)
            (path / "p/DEBIAN/control").write_text(
                "Package: eicar\nVersion: 1\nArchitecture: all\nMaintainer: a <a@example.com>\n"
                "Description: test\n")
            (path / "eicar.com").rename(path / "p/eicar.com")
            run(path, "dpkg-deb", "-Z" + compression, "--root-owner-group", "-b", "p", "a.deb")
            return (path / "a.deb").read_bytes()
    return make


def rpm(payload):
    def make(data):
        with folder(data) as path:
            (path / "eicar.spec").write_text(
                "Name: eicar\nVersion: 1\nRelease: 1\nSummary: test\nLicense: none\n"
                "BuildArch: noarch\n%description\ntest\n%install\nmkdir -p %{buildroot}/opt\n"
                "cp %{_sourcedir}/eicar.com %{buildroot}/opt/\n%files\n/opt/eicar.com\n")
            run(path, "rpmbuild", "-bb", "--define", f"_topdir {path}", "--define",
                f"_sourcedir {path}", "--define", f"_binary_payload {payload}", "eicar.spec")
            return (path / "RPMS/noarch/eicar-1-1.noarch.rpm").read_bytes()
    return make


def zoo(data):
    """One stored member (the format as zoo 2.10 writes it)."""
    head = b"ZOO 2.10 Archive.\x1a\0\0" + struct.pack("<II", 0xfdc4a7dc, 42)
    head += struct.pack("<i", -42) + b"\2\0\1" + bytes(42 - len(head) - 7)
    entry = struct.pack("<IBBIIHHHII", 0xfdc4a7dc, 1, 0, 0, 42 + 51, 0x21, 0, 0, len(data),
                        len(data)) + b"\1\0\0" + bytes(6) + b"eicar.com".ljust(13, b"\0")
    return head + entry.ljust(51, b"\0") + data + struct.pack("<I", 0xfdc4a7dc) + bytes(47)


def rar4(data):
    """A stored member (RAR technical note, version 3)."""
    def block(kind, flags, rest, extra=b""):
        head = struct.pack("<BHH", kind, flags, 7 + len(rest)) + rest
        return struct.pack("<H", zlib.crc32(head) & 0xffff) + head + extra
    member = struct.pack("<IIBIIBBHI", len(data), len(data), 2, zlib.crc32(data), 0x21, 20, 0x30, 9,
                         32) + b"eicar.com"
    return (b"Rar!\x1a\7\0" + block(0x73, 0, bytes(6)) + block(0x74, 0x8000, member, data)
            + block(0x7b, 0x4000, b""))


def vint(n):
    out = b""
    while n > 127:
        out += bytes([n & 127 | 128])
        n >>= 7
    return out + bytes([n])


def rar5(data):
    """A stored member (technote "RAR 5.0 archive format")."""
    def block(body, extra=b""):
        body = vint(len(body)) + body
        return struct.pack("<I", zlib.crc32(body)) + body + extra
    member = (vint(2) + vint(2) + vint(len(data)) + vint(4) + vint(len(data)) + vint(0x20)
              + struct.pack("<I", zlib.crc32(data)) + vint(0) + vint(1) + vint(9) + b"eicar.com")
    return (b"Rar!\x1a\7\1\0" + block(vint(1) + vint(0) + vint(0)) + block(member, data)
            + block(vint(5) + vint(0) + vint(0)))


def ace(data):
    """Main header and nothing that this test could compress."""
    head = struct.pack("<BH", 0, 0x9000) + b"**ACE**" + bytes([20, 20, 2, 0]) + bytes(16)
    return struct.pack("<HH", zlib.crc32(head) & 0xffff, len(head)) + head + data


def disk_image(size, *command):
    """A file system that COMMAND puts into the image "a.img"."""
    def make(data):
        with folder(data) as path:
            with open(path / "a.img", "wb") as image:
                image.truncate(size)
            for step in command:
                run(path, *step)
            return (path / "a.img").read_bytes()
    return make


fat_image = disk_image(1474560, ("mformat", "-f", "1440", "-i", "a.img", "::"),
                       ("mcopy", "-i", "a.img", "eicar.com", "::"))


def ext_image(data):
    with folder(data) as path:
        (path / "d").mkdir()
        (path / "eicar.com").rename(path / "d/eicar.com")
        run(path, "mke2fs", "-q", "-t", "ext4", "-d", "d", "a.img", "1M")
        return (path / "a.img").read_bytes()


def converted(kind, *options):
    """A FAT file system in the disk image of some virtual machine."""
    def make(data):
        with tempfile.TemporaryDirectory() as path:
            path = pathlib.Path(path)
            (path / "a.img").write_bytes(fat_image(data))
            run(path, "qemu-img", "convert", "-f", "raw", "-O", kind, *options, "a.img", "out")
            return (path / "out").read_bytes()
    return make


def chm(data):
    with folder(data, "eicar.htm") as path:
        (path / "a.hhp").write_text("[OPTIONS]\nCompiled file=a.chm\nDefault topic=eicar.htm\n"
                                    "[FILES]\neicar.htm\n")
        run(path, "chmcmd", "--no-html-scan", "a.hhp")
        return (path / "a.chm").read_bytes()


def nsis(compressor):
    def make(data):
        with folder(data) as path:
            (path / "a.nsi").write_text(f"OutFile a.exe\nSetCompressor {compressor}\nUnicode true\n"
                                        "Section\nSetOutPath $TEMP\nFile eicar.com\nSectionEnd\n")
            run(path, "makensis", "-V1", "a.nsi")
            return (path / "a.exe").read_bytes()
    return make


def msi(data):
    with folder(data) as path:
        run(path, "gcab", "-c", "-z", "a.cab", "eicar.com")
        run(path, "msibuild", "a.msi", "-s", "test", "example")
        run(path, "msibuild", "a.msi", "-a", "cab1.cab", "a.cab")
        return (path / "a.msi").read_bytes()


def wim(compression):
    def make(data):
        with folder(data) as path:
            (path / "d").mkdir()
            (path / "eicar.com").rename(path / "d/eicar.com")
            run(path, "wimcapture", "d", "a.wim", "--compress=" + compression)
            return (path / "a.wim").read_bytes()
    return make


def shell_archive(data):
    """makeself and its like: a script, then the archive."""
    script = b"#!/bin/sh\ntail -n +3 \"$0\" | tar xz\nexit\n"
    return script + gzip.compress(tarred()(data))


def szdd(data):
    """Literals only."""
    head = b"SZDD\x88\xf0\x27\x33A\0" + struct.pack("<I", len(data))
    return head + b"".join(b"\xff" + data[i:i + 8] for i in range(0, len(data), 8))


def lzma_alone(lc=3, lp=0, pb=2, dict_size=1 << 23):
    return lambda data: lzma.compress(data, lzma.FORMAT_ALONE, filters=[
        {"id": lzma.FILTER_LZMA1, "lc": lc, "lp": lp, "pb": pb, "dict_size": dict_size}])


def apple_single(data):
    """RFC 1740: the data fork alone."""
    return bytes.fromhex("0005160000020000") + bytes(16) + struct.pack(">HIII", 1, 1, 38, len(data)) + data


def gzip_multi(data):
    return gzip.compress(b"harmless " * 20) + gzip.compress(data)


def xz_multi(data):
    return lzma.compress(b"harmless " * 20) + lzma.compress(data)


def bzip2_multi(data):
    return bz2.compress(b"harmless " * 20) + bz2.compress(data)


# Two members: the first is harmless and every scanner reads it

def two(output, *commands):
    def make(data):
        with folder(data) as path:
            (path / "a.txt").write_bytes(b"harmless " * 20)
            for command in commands:
                run(path, *command)
            return (path / output).read_bytes()
    return make


lha_two = two("a.lzh", ("jlha", "a", "a.lzh", "a.txt", "eicar.com"))


def lha_method(method):
    """The second member of a method that libclamav does not know."""
    def make(data):
        out = bytearray(lha_two(data))
        at = out.rindex(b"-lh")
        out[at + 3:at + 4] = method
        return bytes(out)
    return make


def cpio_two(kind):
    def make(data):
        with folder(data) as path:
            (path / "a.txt").write_bytes(b"harmless " * 20)
            return run(path, "cpio", "-o", "-H", kind, "--quiet", stdin=b"a.txt\neicar.com\n")
    return make


def cpio_damaged(kind):
    """GNU cpio looks for the next header and finds the member's name and content."""
    def make(data):
        out = bytearray(cpio_two(kind)(data))
        out[out.rindex(b"eicar.com") - {"bin": 26, "odc": 76, "newc": 110, "crc": 110}[kind]] ^= 1
        return bytes(out)
    return make


def cut(maker, n):
    return lambda data: maker(data)[:-n]
