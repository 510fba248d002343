# SPDX-License-Identifier: GPL-2.0-only
"""Office documents for tests: compound files ([MS-CFB]) with macros ([MS-OVBA], [MS-XLS])."""
import struct

SECTOR = 512
NONE, END, FAT = 0xFFFFFFFF, 0xFFFFFFFE, 0xFFFFFFFD


def utf16(text):
    return text.encode("utf-16-le")


class Compound:
    """A compound file; `tree` is {name: bytes or such a tree}. No stream is a short one."""

    def __init__(self, tree):
        self.sectors, self.entries = [], []
        self.add("Root Entry", tree)

    def put(self, data):
        start, count = len(self.sectors), max(1, -(-len(data) // SECTOR))
        data = data.ljust(count * SECTOR, b"\0")
        for i in range(count):
            following = start + i + 1 if i + 1 < count else END
            self.sectors.append((data[i * SECTOR:(i + 1) * SECTOR], following))
        return start

    def add(self, name, node):
        index = len(self.entries)
        entry = {"name": name, "right": NONE, "child": NONE, "size": 0, "start": 0}
        self.entries.append(entry)
        if isinstance(node, bytes):
            entry.update(kind=2, start=self.put(node), size=len(node))
            return index
        children = [self.add(*item) for item in node.items()]
        for one, other in zip(children, children[1:]):
            self.entries[one]["right"] = other
        entry.update(kind=1 if index else 5, start=0 if index else END,
                     child=children[0] if children else NONE)
        return index

    def directory(self):
        return b"".join(
            utf16(e["name"]).ljust(64, b"\0")
            + struct.pack("<HBBIII", 2 * len(e["name"]) + 2, e["kind"], 1, NONE, e["right"], e["child"])
            + bytes(36) + struct.pack("<IQ", e["start"], e["size"]) for e in self.entries)

    def bytes(self):
        directory = self.put(self.directory())
        count = 1
        while count * 128 < len(self.sectors) + count:
            count += 1
        begin = len(self.sectors)
        table = [following for _, following in self.sectors] + [FAT] * count
        table += [NONE] * (count * 128 - len(table))
        header = (bytes.fromhex("d0cf11e0a1b11ae1") + bytes(16)
                  + struct.pack("<HHHHH6x", 0x3E, 3, 0xFFFE, 9, 6)
                  + struct.pack("<9I", 0, count, directory, 0, 0, END, 0, END, 0)
                  + struct.pack("<109I", *[begin + i if i < count else NONE for i in range(109)]))
        return header + b"".join(data for data, _ in self.sectors) + struct.pack(
            f"<{len(table)}I", *table)


def packed(data):
    """[MS-OVBA] 2.4.1: chunks of literal tokens."""
    out = b"\x01"
    for i in range(0, len(data), 2048):
        piece = data[i:i + 2048]
        body = b"".join(b"\0" + piece[j:j + 8] for j in range(0, len(piece), 8))
        out += struct.pack("<H", 0xB000 | (len(body) - 1)) + body
    return out


def vba_record(kind, data=b""):
    return struct.pack("<HI", kind, len(data)) + data


def vba_project(code):
    name = "Module1"
    four = struct.pack("<I", 0)
    records = [(0x01, struct.pack("<I", 1)), (0x02, four), (0x14, four), (0x03, struct.pack("<H", 1252)),
               (0x04, b"P"), (0x05, b""), (0x40, b""), (0x06, b""), (0x3D, b""), (0x07, four), (0x08, four)]
    text = b"".join(vba_record(*r) for r in records) + struct.pack("<HIIH", 9, 4, 1, 1)
    records = [(0x0C, b""), (0x3C, b""), (0x0F, struct.pack("<H", 1)), (0x13, b"\xff\xff"),
               (0x19, name.encode()), (0x47, utf16(name)), (0x1A, name.encode()), (0x32, utf16(name)),
               (0x1C, b""), (0x48, b""), (0x31, four), (0x1E, four), (0x2C, b"\xff\xff"), (0x21, b""),
               (0x2B, b""), (0x10, b"")]
    text += b"".join(vba_record(*r) for r in records)
    return {"VBA": {"dir": packed(text), name: packed(code),
                    "_VBA_PROJECT": bytes.fromhex("cc61ffff000000")},
            "PROJECT": b'ID="{0}"\r\nModule=Module1\r\n'}


CODE = b'Attribute VB_Name = "Module1"\r\nSub AutoOpen()\r\nMsgBox "hi"\r\nEnd Sub\r\n'


def word(macros):
    return Compound({"WordDocument": bytes(4096),
                     **({"Macros": vba_project(CODE)} if macros else {})}).bytes()


def vba_project_bin():
    return Compound(vba_project(CODE)).bytes()


def excel4(macros):
    """A workbook with one sheet, of Excel 4's macro kind or an ordinary one."""
    def record(kind, data):
        return struct.pack("<HH", kind, len(data)) + data
    book = (record(0x809, struct.pack("<HHHHII", 0x600, 5, 0, 0, 0, 0))
            + record(0x85, struct.pack("<IBBBB", 0, 0, 1 if macros else 0, 4, 0) + b"Mac1")
            + record(0x0A, b""))
    return Compound({"Workbook": book.ljust(4096, b"\0")}).bytes()
