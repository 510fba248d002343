#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""A worker that is not recycled keeps no memory of the mails it has seen.

    /usr/bin/python3 -m pytest scanner/worker/test-memory.py        (-s prints the figures)
"""
import importlib.util
import pathlib
import random
import sys


HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
from chain import FILES, Engine, attachment, mail, needs_root, verdict_of

PRIVATE_MB = 16
MAILS = 500


def parity():
    """Its mails; the file's name is no module's."""
    spec = importlib.util.spec_from_file_location("parity", HERE / "test-parity.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def private(engine):
    """MB that the only worker shares with nobody."""
    [pid] = engine.processes()["postern-worker"]
    fields = dict(line.split(":", 1) for line in
                  pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:])
    return (int(fields["Private_Dirty"].split()[0]) + int(fields["Private_Clean"].split()[0])) / 1024


@needs_root
def test_private_memory_after_500_mails():
    engine = Engine("caps", workers=1, worker_scans=1000000, worker_age=86400)
    try:
        engine.wait_state("ready")
        pool = engine.attach()
        number, _ = pool.worker()
        build, rng = parity().build, random.Random(7)
        mails = [build(rng)[2] for _ in range(100)]
        mails += [mail(attachment(path.read_bytes(), path.name)) for path in sorted(FILES.iterdir())]
        at = [private(engine)]
        for i in range(MAILS):
            assert verdict_of(pool.scan(mails[i % len(mails)])) not in ("error", "lost")
            if (i + 1) % 100 == 0:
                at.append(private(engine))
        print("private MB, each 100 mails: " + " ".join(f"{mb:.1f}" for mb in at))
        assert list(pool.workers) == [number], "the same worker to the end"
        pool.close()
        assert at[-1] < PRIVATE_MB
    finally:
        engine.stop()
