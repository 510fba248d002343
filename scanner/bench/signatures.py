# SPDX-License-Identifier: GPL-2.0-only
"""A signature set of the official one's size and shape, made from a seed; none of it matches.

The numbers of each kind are those of the official set of 2024 rounded; patterns are random but
valid. Their beginnings must differ as those of real ones do: with shared ones the matcher becomes
absurdly slow and measures nothing.
"""
import random

# Kind: how many at scale 1.
KINDS = {"hdb": 3_000_000, "mdb": 2_600_000, "hsb": 2_500_000, "ndb": 120_000, "ldb": 60_000,
         "cdb": 2_000}
VERSION = 3  # of this file: kept sets of another one are made anew
CHUNK = 50_000

# ClamAV's target types: any file, PE, OLE2, HTML, mail, text, and their shares.
TARGETS = (0, 1, 2, 3, 4, 7)
WEIGHTS = (40, 35, 5, 12, 3, 5)
# Logical signatures for other targets than programs are few: each costs 8 us for each object that
# is of its target, whatever is in it. These shares make them a tenth of the time.
LOGICAL_WEIGHTS = (0.1, 97.3, 2, 0.3, 0.1, 0.2)
TEXTS = (3, 4, 7)
TEXTUAL = 0.05  # of the patterns for texts; a larger share makes text ten times as slow as it is
LETTERS = b"etaoinshrdlucmfwypvbgkqjxz0123456789=<>\"'/ ();.%"


def hashes(kind, count, rng):
    """Lines of hash signatures. The sizes spread as those of programs do: 1 KB to 16 MB."""
    width = 64 if kind == "hsb" else 32
    digits = rng.randbytes(count * width // 2).hex()
    sizes = [int(2 ** rng.uniform(10, 24)) for _ in range(count)]
    for i in range(count):
        digest = digits[i * width:(i + 1) * width]
        if kind == "mdb":
            yield f"{sizes[i]}:{digest}:Bench.{kind}.{i}\n"
        else:
            yield f"{digest}:{sizes[i]}:Bench.{kind}.{i}\n"


def pattern(target, rng, low, high):
    """Hexadecimal, of LOW to HIGH bytes, one in five with a gap."""
    length = rng.randint(low, high)
    textual = target in TEXTS and rng.random() < TEXTUAL
    raw = bytes(rng.choices(LETTERS, k=length)) if textual else rng.randbytes(length)
    half = length // 2 * 2
    gap = "" if rng.random() > 0.2 else rng.choice(("??", "{2-16}", "*"))
    return raw.hex()[:half] + gap + raw.hex()[half:]


def bodies(count, rng):
    for i in range(count):
        target = rng.choices(TARGETS, WEIGHTS)[0]
        offset = "*" if rng.random() < 0.9 else str(rng.randint(0, 4096))
        yield f"Bench.ndb.{i}:{target}:{offset}:{pattern(target, rng, 12, 64)}\n"


def logicals(count, rng):
    for i in range(count):
        target = rng.choices(TARGETS, LOGICAL_WEIGHTS)[0]
        parts = [pattern(target, rng, 8, 40) for _ in range(rng.randint(2, 7))]
        logic = "&".join(str(n) for n in range(len(parts)))
        yield f"Bench.ldb.{i};Engine:51-255,Target:{target};{logic};{';'.join(parts)}\n"


def members(count, rng):
    for i in range(count):
        name = "".join(chr(rng.randint(97, 122)) for _ in range(rng.randint(6, 14)))
        kind = rng.choice(("CL_TYPE_ZIP", "CL_TYPE_RAR", "CL_TYPE_7Z", "*"))
        yield f"Bench.cdb.{i}:{kind}:*:^{name}\\.exe$:*:*:*:*:*:*\n"


def write(path, kind, count, seed):
    rng = random.Random(f"{seed} {kind}")
    with open(path, "w", encoding="ascii") as file:
        if kind in ("hdb", "mdb", "hsb"):
            for begin in range(0, count, CHUNK):
                file.writelines(hashes(kind, min(CHUNK, count - begin), rng))
        else:
            make = {"ndb": bodies, "ldb": logicals, "cdb": members}[kind]
            file.writelines(make(count, rng))


def make(folder, scale, seed=1):
    """A directory of signatures below FOLDER, kept for the next time. SCALE 1 is the full size."""
    final = folder / f"signatures-{VERSION}-{seed}-{scale:g}"
    if final.exists():
        return final
    part = final.with_suffix(".part")
    part.mkdir(parents=True, exist_ok=True)
    for kind, full in KINDS.items():
        write(part / f"bench.{kind}", kind, max(1, int(full * scale)), seed)
    part.rename(final)
    return final


def total(scale):
    return sum(max(1, int(full * scale)) for full in KINDS.values())
