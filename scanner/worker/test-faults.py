#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""Where libclamav calls infected files clean because it could not do its work. Each is measured:
descriptors used up, temporary directory full or taken away, names drawn twice, its cache.

    /usr/bin/python3 -m pytest scanner/worker/test-faults.py
"""
import concurrent.futures
import hashlib
import os
import pathlib
import signal
import subprocess
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from chain import (CLEAN, EICAR, FILES, INFECTED, UNSCANNED, Pool, attachment, mail, memfd,
                   needs_root, verdict_of, zipped)
from chain import own  # fixture

# Two blocks with one MD5 (Wang et al., "Collisions for Hash Functions", 2004).
TWINS = [bytes.fromhex(text) for text in (
    "d131dd02c5e6eec4693d9a0698aff95c2fcab58712467eab4004583eb8fb7f89"
    "55ad340609f4b30283e488832571415a085125e8f7cdc99fd91dbdf280373c5b"
    "d8823e3156348f5bae6dacd436c919c6dd53e2b487da03fd02396306d248cda0"
    "e99f33420f577ee8ce54b67080a80d1ec69821bcb6a8839396f9652b6ff72a70",
    "d131dd02c5e6eec4693d9a0698aff95c2fcab50712467eab4004583eb8fb7f89"
    "55ad340609f4b30283e4888325f1415a085125e8f7cdc99fd91dbd7280373c5b"
    "d8823e3156348f5bae6dacd436c919c6dd53e23487da03fd02396306d248cda0"
    "e99f33420f577ee8ce54b67080280d1ec69821bcb6a8839396f965ab6ff72a70")]


def twin_signature():
    """Of the second block alone, as SHA-256."""
    return f"{hashlib.sha256(TWINS[1]).hexdigest()}:{len(TWINS[1])}:Test.Twin:73\n"


def test_the_harmless_twin_of_an_md5_collision_hides_nothing(own):
    """libclamav's cache of clean files is keyed by MD5."""
    assert hashlib.md5(TWINS[0]).digest() == hashlib.md5(TWINS[1]).digest()
    engine = own(signatures=False, workers=1, start=False)
    engine.generation("gen-1", {"twin.hsb": twin_signature()})
    engine.start()
    engine.wait_state("ready")
    pool = engine.attach()
    for wrap in (bytes, zipped, lambda data: mail(attachment(data)),
                 lambda data: mail(attachment(zipped(data, method=0)))):
        assert verdict_of(pool.scan(wrap(TWINS[0]))) == CLEAN
        assert verdict_of(pool.scan(wrap(TWINS[1]))) == INFECTED
    assert not pool.gone
    pool.close()


def limit_descriptors(pid, n):
    """As the worker's own user: root of the machine is nobody in there."""
    st = os.stat(f"/proc/{pid}")
    subprocess.run(["prlimit", "--pid", str(pid), f"--nofile={n}"], user=st.st_uid,
                   group=st.st_gid, extra_groups=[], check=True)


@needs_root
@pytest.mark.parametrize("descriptors", [3, 5, 6, 7, 8, 9, 11])
def test_without_descriptors_nothing_is_clean(own, descriptors):
    """With 7, libclamav calls 7 of 45 infected files clean."""
    engine = own(workers=1)
    engine.wait_state("ready")
    pool = engine.attach()
    bad = []
    for path in sorted(FILES.iterdir())[::6]:
        pool.worker()
        while not engine.processes()["postern-worker"]:
            pool.event()
        for pid in engine.processes()["postern-worker"]:
            limit_descriptors(pid, descriptors)
        facts = pool.scan(mail(attachment(path.read_bytes(), path.name)))
        if verdict_of(facts) == CLEAN:
            bad.append(path.name)
    pool.close()
    assert not bad


def test_eight_workers_at_once_find_all(own):
    """Forked workers draw the same temporary names: 93 of 1800 were missed in one directory."""
    engine = own(workers=8, worker_scans=100000)
    engine.wait_state("ready")
    pool = engine.attach()
    while len(pool.workers) < 8:
        pool.event()
    mails = [mail(attachment(path.read_bytes(), path.name)) for path in sorted(FILES.iterdir())
             if path.stat().st_size < 20000]
    rounds = 1 + 1800 // len(mails) // 8

    def work(line):
        own_pool = Pool.__new__(Pool)
        own_pool.workers = {0: line}
        own_pool.worker = lambda but=(): (0, line)
        return [verdict_of(own_pool.scan(data)) for _ in range(rounds) for data in mails]

    with concurrent.futures.ThreadPoolExecutor(8) as executor:
        results = list(executor.map(work, list(pool.workers.values())))
    total = sum(len(verdicts) for verdicts in results)
    print(f"{total} scans")
    assert total >= 1800
    assert {verdict for verdicts in results for verdict in verdicts} <= {INFECTED, UNSCANNED}
    assert all(verdicts == results[0] for verdicts in results)
    pool.close()


@needs_root
def test_the_replacement_of_a_killed_worker_finds_all(own):
    """In the directory of its predecessor it would draw the same name and say clean."""
    engine = own(workers=1)
    engine.wait_state("ready")
    pool = engine.attach()
    data = mail(attachment(zipped(EICAR), "a.zip"))
    for _ in range(6):
        number, line = pool.worker()
        [pid] = engine.processes()["postern-worker"]
        fd = memfd(mail(attachment(zipped(bytes(50 << 20)), "a.zip")))
        line.send({"op": "scan", "id": number}, fd)
        os.close(fd)
        os.kill(pid, signal.SIGKILL)
        pool.wait_gone(number)
        assert verdict_of(pool.scan(data)) == INFECTED
    pool.close()
