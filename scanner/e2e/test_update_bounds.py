# SPDX-License-Identifier: GPL-2.0-only
"""How much postern-update takes: of a mirror without end, of the disk, of a node without room."""
import contextlib
import email.utils
import gzip
import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import threading
import time

import pytest

import instance
from update_site import DATA, NOBODY, PROGRAMS, cvd, programs, site, taken  # noqa: F401


def http_date(seconds):
    return email.utils.formatdate(time.time() + seconds, usegmt=True)


def test_endless_answer(site):
    """The second one is a database; a limit of the file size ends it."""
    site.write(update_databases=["none"], update_size=1 << 20,
               update_urls=[site.mirror.url + "/huge.ndb"])
    site.mirror.pour("huge.ndb")
    done = site.update(2)
    [source] = done["update"]["sources"]
    assert source["result"] == "failed"
    assert "larger than the 1048576 bytes that update_size leaves" in source["error"]
    assert taken(site.update_dir) <= 64 << 10


def test_endless_database(site):
    """The mirror says no size, and does not come to an end."""
    site.publish(1)
    first = site.update()
    site.write(update_size=1 << 20, update_timeout=20)
    site.publish(6, cdiffs=False)
    site.mirror.pour("test.cvd", cvd(6))
    done = site.update(1)
    assert done["update"]["sources"][0]["result"] == "failed"
    assert done["generation"] == first["generation"]
    assert taken(site.update_dir) <= 64 << 10


def bomb(megabytes):
    return gzip.compress(bytes(megabytes << 20))


@pytest.mark.parametrize("head", [cvd(6)[:512], cvd(1)[:512].replace(b":1:", b":6:", 1)])
def test_bomb_as_database(site, head):
    """It is not signed, so nobody unpacks it."""
    site.publish(1)
    first = site.update()
    site.write(update_size=16 << 20)
    site.publish(6, cdiffs=False)
    site.mirror.serve("test.cvd", head + bomb(64))
    done = site.update(1)
    assert done["update"]["sources"][0]["result"] == "failed"
    assert done["generation"] == first["generation"]
    assert taken(site.update_dir) <= 64 << 10


def test_bomb_as_difference(site):
    """Its signature is of something else: the whole database is fetched."""
    site.publish(1)
    site.update()
    site.write(update_size=16 << 20)
    site.publish(6)
    real = (DATA / "test-3.cdiff").read_bytes()
    end = real[real.rindex(b":"):]
    site.mirror.serve("test-3.cdiff", b"ClamAV-Diff:3:%d:" % (64 << 20) + bomb(64) + end)
    done = site.update()
    assert done["new"] and site.files(done["generation"]) == {"test.cvd": 6}
    assert taken(site.update_dir) <= 64 << 10


def test_bomb_on_the_way(site):
    """A mirror that compresses what nobody wants compressed: it stays as it came."""
    body = bomb(64)
    site.write(update_databases=["none"], update_size=16 << 20,
               update_urls=[site.mirror.url + "/a.ndb"])
    site.mirror.serve("a.ndb", body, Content_Encoding="gzip")
    site.update()
    [got] = site.update_dir.glob("sources/*/a.ndb")
    assert got.read_bytes() == body


def at_work_in(folder):
    """The processes whose working directory it is."""
    found = []
    for process in pathlib.Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if os.readlink(process / "cwd").startswith(str(folder)):
                found.append(process.name)
    return found


def take_over(site, script):
    """What runs in the place of postern-fetch from now on."""
    own = pathlib.Path(tempfile.mkdtemp(dir=site.dir))
    own.chmod(0o755)
    for name in PROGRAMS:
        shutil.copy(site.programs / name, own)
    folder = site.update_dir / "sources/official"
    (own / "postern-fetch").write_text(f"#!/bin/sh\ncd {folder}\n{script}\n")
    site.programs = own
    return folder


def test_taken_over(site):
    """One that writes files without end is ended, as are its children, and nothing is left."""
    site.publish(1)
    first = site.update()
    folder = take_over(site, """n=0
sleep 600 >&- 2>&- &
while n=$((n + 1)); do head -c 100000 /dev/zero >tmp/$n; cp tmp/$n $n.ndb; done""")
    site.write(update_size=1 << 20)
    done = site.update(1)
    assert "took more than twice update_size" in done["update"]["sources"][0]["error"]
    assert done["generation"] == first["generation"]
    assert not at_work_in(folder)
    assert taken(site.update_dir) <= 64 << 10
    # What there was is still there.
    assert (folder / "test.cvd").read_bytes() == cvd(1)


def test_silent(site):
    """One that has closed its mouth, and stays, is not waited for beyond its time."""
    site.publish(1)
    first = site.update()
    folder = take_over(site, "exec sleep 600 >&- 2>&-")
    site.write(update_timeout=2)
    done = site.update(1)
    assert "update_timeout" in done["update"]["sources"][0]["error"]
    assert done["generation"] == first["generation"]
    assert not at_work_in(folder)


def test_url_leaves_room(site):
    """One that grows and grows keeps no official database away."""
    site.write(update_size=65536, update_urls=[site.mirror.url + "/a.ndb"])
    site.publish(1)
    site.mirror.serve("a.ndb", b"A.Sig:0:*:41414141\n" * 3000)
    done = site.update()
    assert set(site.files(done["generation"])) == {"test.cvd", "a.ndb"}
    site.publish(6, cdiffs=False)
    site.mirror.serve("test.cvd", cvd(6))
    site.mirror.serve("a.ndb", b"A.Sig:0:*:41414141\n" * 3400, Last_Modified=http_date(3600))
    done = site.update(1)
    assert site.files(done["generation"])["test.cvd"] == 6
    assert "update_size" in done["update"]["sources"][1]["error"]


def test_disk_full(site):
    if os.geteuid() != 0:
        pytest.skip("needs root")
    site.publish(1)
    first = site.update()
    tight = site.dir / "tight"
    tight.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48k", "tmpfs", tight], check=True)
    try:
        subprocess.run(["cp", "-a", f"{site.update_dir}/.", tight], check=True)
        os.chown(tight, NOBODY.pw_uid, NOBODY.pw_gid)
        site.write(update_dir=tight)
        site.publish(6)
        done = site.update(1)
        assert done["generation"] == first["generation"] and not done["new"]
        [source] = done["update"]["sources"]
        assert source["result"] == "failed"
        assert source["error"].startswith(f"{tight}: No space left on device: ")
        offer = json.loads((tight / "offer/manifest.json").read_text())
        assert offer["identity"].startswith(first["generation"])
    finally:
        instance.unmount(tight)
    site.write()
    assert site.update()["new"]


def test_no_room_for_the_offer(site):
    """What was offered before stays."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    tight = site.dir / "tight"
    local = site.dir / "local"
    tight.mkdir()
    local.mkdir()
    (local / "own.ndb").write_text("A.Sig:0:*:41414141\n")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=66m,mode=0755", "tmpfs", tight], check=True)
    try:
        os.chown(tight, NOBODY.pw_uid, NOBODY.pw_gid)
        site.write(update_dir=tight, update_databases=["none"], update_directories=[str(local)])
        first = site.update()
        (local / "more.ndb").write_text("A.Sig:0:*:41414141\n" * 200000)
        done = site.update(2)
        assert f"{tight}: No space left on device: " in done["error"]
        offer = json.loads((tight / "offer/manifest.json").read_text())
        assert offer["identity"].startswith(first["generation"])
        assert {path.name for path in tight.iterdir()} == {"lock", "offer", "status.json"}
    finally:
        instance.unmount(tight)


@pytest.mark.parametrize("official", [True, False])
def test_never_the_last_of_the_disk(site, official):
    """However much a mirror sends, 64 MB stay free for others."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    tight = site.dir / "tight"
    tight.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=80m,mode=0755", "tmpfs", tight], check=True)
    try:
        os.chown(tight, NOBODY.pw_uid, NOBODY.pw_gid)
        if official:
            site.write(update_dir=tight)
            site.publish(6)
            site.mirror.pour("test.cvd", cvd(6))
        else:
            site.write(update_dir=tight, update_databases=["none"],
                       update_urls=[site.mirror.url + "/huge.ndb"])
            site.mirror.pour("huge.ndb")
        least = []
        over = threading.Event()

        def look():
            while not over.wait(0.005):
                room = os.statvfs(tight)
                least.append(room.f_bavail * room.f_frsize)
        looker = threading.Thread(target=look)
        looker.start()
        done = site.update(2)
        over.set()
        looker.join()
        [source] = done["update"]["sources"]
        assert source["result"] == "failed"
        if not official:
            assert f"{tight}: No space left on device: " in source["error"]
        assert min(least) >= (64 << 20) - (1 << 20)
        assert taken(tight) <= 64 << 10
    finally:
        instance.unmount(tight)
