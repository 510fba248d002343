# SPDX-License-Identifier: GPL-2.0-only
"""postern-update and libfreshclam against a mirror, good and bad, and what is taken of it."""
import email.utils
import gzip
import json
import os
import pathlib
import pwd
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import threading
import time

import pytest

import instance
from mirror import Mirror

DATA = pathlib.Path(__file__).parent / "freshclam"
PROGRAMS = ("postern", "postern-update", "postern-fetch")
NOBODY = pwd.getpwnam("nobody")


def cvd(version):
    return (DATA / f"test-{version}.cvd").read_bytes()


@pytest.fixture(scope="module")
def programs():
    """Where a user without rights can run them."""
    path = pathlib.Path(tempfile.mkdtemp(prefix="postern-update-", dir="/var/tmp"))
    path.chmod(0o755)
    for name in PROGRAMS:
        shutil.copy(instance.BUILD / name, path)
    yield path
    shutil.rmtree(path)


def taken(folder):
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def http_date(seconds):
    return email.utils.formatdate(time.time() + seconds, usegmt=True)


class Site:
    def __init__(self, folder, programs, mirror):
        self.dir = folder
        self.programs = programs
        self.mirror = mirror
        self.update_dir = folder / "update"
        self.update_dir.mkdir()
        self.signatures = folder / "signatures"
        if os.geteuid() == 0:
            os.chown(self.update_dir, NOBODY.pw_uid, NOBODY.pw_gid)
        self.write()

    def write(self, **settings):
        values = {"signatures_dir": self.signatures, "update_dir": self.update_dir,
                  "update_user": "nobody", "update_databases": ["test"],
                  "update_mirrors": [self.mirror.url], "update_dns": "none",
                  "update_attempts": 1, "update_timeout": 60, **settings}
        with open(self.dir / "postern.conf", "w", encoding="ascii") as conf:
            for name, value in values.items():
                text = json.dumps(value if isinstance(value, (int, list)) else str(value))
                conf.write(f"{name} = {text.replace('[', '{ ').replace(']', ' }')}\n")

    def postern(self, *words, prefix=()):
        return subprocess.run(
            [*prefix, self.programs / "postern", "--config", self.dir / "postern.conf",
             "signatures", *words], capture_output=True, text=True, check=False, timeout=120)

    def json(self, *words):
        return json.loads(self.postern(*words, "--json").stdout)

    def update(self, status=0, **more):
        done = self.postern("update", "--json", **more)
        assert done.returncode == status, done.stdout + done.stderr
        return json.loads(done.stdout) if done.stdout else {"error": done.stderr}

    def files(self, name):
        """File: version, of a generation."""
        return {row["file"]: row["version"] for row in self.json("show", name)["contents"]}

    def publish(self, version, cdiffs=True):
        self.mirror.answers.clear()
        self.mirror.asked.clear()
        self.mirror.otherwise = lambda request: request.give(404)
        self.mirror.serve("test.cvd", cvd(version))
        for each in range(2, version + 1) if cdiffs else ():
            self.mirror.serve(f"test-{each}.cdiff", (DATA / f"test-{each}.cdiff").read_bytes())


@pytest.fixture
def site(programs):
    folder = pathlib.Path(tempfile.mkdtemp(prefix="postern-site-", dir="/var/tmp"))
    folder.chmod(0o755)
    mirror = Mirror()
    yield Site(folder, programs, mirror)
    mirror.close()
    shutil.rmtree(folder)


def test_fresh_then_cdiffs(site):
    site.publish(1)
    first = site.update()
    assert first["new"] and site.files(first["generation"]) == {"test.cvd": 1}
    assert not any(name.endswith(".cld") for name in site.mirror.asked), "nobody signs a CLD"
    site.publish(6)
    second = site.update()
    assert second["new"] and site.files(second["generation"]) == {"test.cld": 6}
    assert [name for name in site.mirror.asked if "cdiff" in name] == \
        [f"test-{n}.cdiff" for n in range(2, 7)]
    assert "test.cvd" in site.mirror.asked  # its header only
    again = site.update()
    assert not again["new"] and again["generation"] == second["generation"]
    assert again["update"]["result"] == "current"
    assert site.postern("show", "--verify", second["generation"]).returncode == 0
    states = {row["generation"]: row["state"] for row in site.json("list")}
    # Without an engine the first of all is what it loads when it starts; others are tried first.
    assert states == {first["generation"]: "adopted", second["generation"]: "fetched"}
    assert site.json("status")["current"]["generation"] == first["generation"]


def test_lock_of_strangers(site):
    """Who can open it can hold it, and no update would ever take place again."""
    site.publish(1)
    site.update()
    assert (site.update_dir / "lock").stat().st_mode & 0o777 == 0o600


def test_broken_cdiff(site):
    site.publish(1)
    site.update()
    site.publish(6)
    broken = bytearray((DATA / "test-3.cdiff").read_bytes())
    broken[len(broken) // 2] ^= 1
    site.mirror.serve("test-3.cdiff", bytes(broken))
    done = site.update()
    assert done["new"] and site.files(done["generation"]) == {"test.cvd": 6}
    assert "test-4.cdiff" not in site.mirror.asked


def flipped(version, at):
    body = bytearray(cvd(version))
    body[at] ^= 1
    return bytes(body)


def wrongly_signed():
    head = cvd(6)[:512].split(b":")
    head[6] = cvd(5)[:512].split(b":")[6]
    return b":".join(head).ljust(512)[:512] + cvd(6)[512:]


BAD = {
    "truncated": (cvd(6)[:4000], {}),
    "damaged": (flipped(6, 4000), {}),
    "unsigned": (cvd(6)[:512].replace(cvd(6)[:512].split(b":")[6], b"x") + cvd(6)[512:], {}),
    "wrongly signed": (wrongly_signed(), {}),
    "empty": (b"", {}),
    "a page": (b"<!DOCTYPE html><html><body>Log in to the hotel's network" + b" " * 600, {}),
    "short of what it says": (cvd(6), {"Content_Length": 20000}),
    "longer than it says": (cvd(6), {"Content_Length": 4000}),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_cvd(site, what):
    site.publish(1)
    first = site.update()
    body, headers = BAD[what]
    site.publish(6, cdiffs=False)
    site.mirror.serve("test.cvd", body, **headers)
    done = site.update(1)
    assert done["generation"] == first["generation"] and not done["new"]
    [source] = done["update"]["sources"]
    assert source["result"] == "failed" and source["error"].startswith("test: ")
    assert "\n" not in source["error"]
    assert len(site.json("list")) == 1
    # And at a first fetch: nothing at all.
    shutil.rmtree(site.update_dir / "sources")
    shutil.rmtree(site.update_dir / "offer")
    done = site.update(2)
    assert done["generation"] is None and "never been fetched" in done["error"]
    # A good mirror mends it.
    site.publish(6)
    assert site.update()["new"]


def test_nobody_there(site):
    """What went wrong is said, not only that something did."""
    site.write(update_mirrors=["http://127.0.0.1:9"])
    assert "connect to server" in site.update(2)["update"]["sources"][0]["error"]
    site.write()
    site.mirror.fail(500)
    assert "500" in site.update(2)["update"]["sources"][0]["error"]


def test_redirects_without_end(site):
    site.mirror.redirect_for_ever()
    done = site.update(2)
    assert done["update"]["sources"][0]["result"] == "failed"
    assert len(site.mirror.asked) < 20


def test_hang(site):
    site.publish(1)
    first = site.update()
    site.write(update_timeout=2)
    site.publish(6, cdiffs=False)
    site.mirror.hang("test.cvd", cvd(6)[:600])
    done = site.update(1)
    assert "update_timeout" in done["update"]["sources"][0]["error"]
    assert done["generation"] == first["generation"]


def test_silence(site):
    """Somebody listens, and says nothing at all."""
    site.publish(1)
    first = site.update()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        site.write(update_timeout=2,
                   update_mirrors=[f"http://127.0.0.1:{silent.getsockname()[1]}"])
        done = site.update(1)
    assert "update_timeout" in done["update"]["sources"][0]["error"]
    assert done["generation"] == first["generation"]


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


def test_taken_over(site, tmp_path):
    """A postern-fetch that writes files without end is ended, and leaves nothing."""
    own = pathlib.Path(tempfile.mkdtemp(dir=site.dir))
    own.chmod(0o755)
    for name in PROGRAMS:
        shutil.copy(site.programs / name, own)
    site.publish(1)
    first = site.update()
    (own / "postern-fetch").write_text(f"""#!/bin/sh
n=0
cd {site.update_dir}/sources/official
while n=$((n + 1)); do head -c 100000 /dev/zero >tmp/$n; cp tmp/$n $n.ndb; done
""")
    site.programs = own
    site.write(update_size=1 << 20)
    done = site.update(1)
    assert "took more than twice update_size" in done["update"]["sources"][0]["error"]
    assert done["generation"] == first["generation"]
    assert taken(site.update_dir) <= 64 << 10
    # What there was is still there.
    assert (site.update_dir / "sources/official/test.cvd").read_bytes() == cvd(1)


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


@pytest.mark.parametrize("status, seconds", [(429, 100), (403, 86400)])
def test_told_to_wait(site, status, seconds):
    site.publish(1)
    site.update()
    site.mirror.fail(status, **({"Retry_After": 100} if status == 429 else {}))
    before = time.time()
    [source] = site.update(1)["update"]["sources"]
    assert source["result"] == "waiting"
    assert "until 20" in source["error"]
    assert before + seconds - 2 <= source["retry"] <= time.time() + seconds
    site.publish(6)
    [source] = site.update(1)["update"]["sources"]
    assert source["result"] == "waiting" and site.mirror.asked == []
    # The clock passes the time, or it was wrong by more than a day: asked again.
    state = site.update_dir / "status.json"
    text = json.loads(state.read_text())
    text["sources"][0]["retry"] = 0
    state.write_text(json.dumps(text))
    data = site.update_dir / "sources/official/freshclam.dat"
    raw = bytearray(data.read_bytes())
    raw[61:69] = struct.pack("q", int(time.time()) + 10 * 86400)
    data.write_bytes(raw)
    assert site.update()["new"]


def test_urls(site):
    site.write(update_databases=["none"],
               update_urls=[site.mirror.url + "/a.ndb", site.mirror.url + "/b.ldb"])
    site.mirror.serve("a.ndb", b"A.Sig:0:*:41414141\n")
    site.mirror.serve("b.ldb", b"<html>Moved</html>")
    done = site.update(1)
    assert site.files(done["generation"]) == {"a.ndb": 0}
    assert [row["result"] for row in done["update"]["sources"]] == ["updated", "failed"]
    assert "web page" in done["update"]["sources"][1]["error"]
    site.mirror.serve("b.ldb", b"B.Sig;Target:0;0;42424242\n")
    assert set(site.files(site.update()["generation"])) == {"a.ndb", "b.ldb"}


def test_url_of_no_signatures(site):
    """It is told, and keeps nothing else back."""
    site.write(update_databases=["none"],
               update_urls=[site.mirror.url + "/a.ndb", site.mirror.url + "/list.php"])
    site.mirror.serve("a.ndb", b"A.Sig:0:*:41414141\n")
    site.mirror.serve("list.php", b"B.Sig:0:*:42424242\n")
    done = site.update(1)
    assert site.files(done["generation"]) == {"a.ndb": 0}
    assert "that extension" in done["update"]["sources"][1]["error"]
    assert "list.php" not in site.mirror.asked


def test_relative_names(site):
    site.publish(1)
    done = subprocess.run([site.programs / "postern", "--dir", site.dir.name, "signatures",
                           "update"], cwd=site.dir.parent, capture_output=True, text=True,
                          check=False, timeout=120)
    assert done.returncode == 0, done.stderr


def test_foreign_cvd_is_not_signed(site):
    site.write(update_databases=["none"], update_urls=[site.mirror.url + "/own.cvd"])
    site.mirror.serve("own.cvd", flipped(6, 4000))
    assert "not signed" in site.update(2)["update"]["sources"][0]["error"]


def test_private_instance(site):
    """`./dev run`: the commands of its folder fetch as the user who may, and the engine adopts."""
    site.publish(6)
    site.mirror.serve("a.ndb", b"A.Sig:0:*:deadbeefdeadbeef\n")
    one = instance.Instance(site.dir / "private", settings=f"""
update_databases = {{"test"}}
update_mirrors = {{"{site.mirror.url}"}}
update_urls = {{"{site.mirror.url}/a.ndb"}}
update_dns = "none"
""").start()
    try:
        done = subprocess.run([instance.BUILD / "postern", "--dir", one.dir, "signatures",
                               "update"], capture_output=True, text=True, check=False,
                              timeout=120)
        assert (done.returncode, done.stderr) == (0, "")
        instance.wait_for(lambda: one.postern("signatures", "status", check=False).returncode == 0,
                          "the adoption", 240)
    finally:
        one.stop()


def test_directory(site):
    local = site.dir / "local"
    local.mkdir()
    (local / "own.ndb").write_text("A.Sig:0:*:41414141\n")
    site.write(update_directories=[str(local)])
    site.publish(1)
    done = site.update()
    assert site.files(done["generation"]) == {"own.ndb": 0, "test.cvd": 1}
    (local / "test.cvd").write_bytes(cvd(2))
    assert f"{local}/test.cvd: comes from two sources" in problem(site)
    (local / "test.cvd").write_text("")
    shutil.rmtree(site.update_dir / "sources")
    site.write(update_directories=[str(local)], update_databases=["none"])
    assert f"{local}/test.cvd: is empty" in problem(site)


def problem(site):
    """Of the last source, which keeps nothing else back."""
    done = site.update(1)
    source = done["update"]["sources"][-1]
    assert (source["name"], source["result"]) == ("directory", "failed")
    assert done["error"] is None
    site.last = done["generation"]
    return source["error"]


def test_directory_is_gone(site):
    """It is told, what came from there stays, and official updates go on."""
    local = site.dir / "local"
    local.mkdir()
    (local / "own.ndb").write_text("A.Sig:0:*:41414141\n")
    site.write(update_directories=[str(local)])
    site.publish(1)
    site.update()
    local.rename(site.dir / "away")
    site.publish(6)
    assert "No such file or directory" in problem(site)
    assert site.files(site.last) == {"own.ndb": 0, "test.cld": 6}
    assert f"{local}: failed: No such file or directory" in site.postern("update").stdout
    assert f"{local}" in site.postern("status").stdout
    if os.geteuid() == 0:
        (site.dir / "away").rename(local)
        local.chmod(0o700)
        assert "Permission denied" in problem(site)
        local.chmod(0o755)
        (local / "own.ndb").chmod(0o600)
        assert f"{local}/own.ndb: Permission denied" in problem(site)
    shutil.rmtree(site.dir / "away", ignore_errors=True)


def test_no_permission(site):
    if os.geteuid() != 0:
        pytest.skip("needs root")
    os.chown(site.update_dir, 0, 0)
    site.publish(1)
    assert "Permission denied" in site.update(2)["error"]


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
        subprocess.run(["umount", tight], check=True)
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
        subprocess.run(["umount", tight], check=True)


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
        subprocess.run(["umount", tight], check=True)


@pytest.mark.parametrize("shift", ["-1d", "+1d"])
def test_clock_off_by_a_day(site, shift):
    site.publish(1)
    wrong = ("env", "ASAN_OPTIONS=verify_asan_link_order=0", "faketime", "-f", shift)
    done = site.update(prefix=wrong)
    assert abs(done["update"]["started"] - time.time()) > 80000
    site.publish(6)
    assert site.update()["new"]


def test_killed(site):
    """At any moment: the next round finds what was whole, and goes on."""
    site.publish(1)
    first = site.update()
    site.publish(6, cdiffs=False)
    site.mirror.hang("test.cvd", cvd(6)[:5000])
    process = subprocess.Popen(
        [site.programs / "postern-update", "--once", "--config", site.dir / "postern.conf"],
        user="nobody" if os.geteuid() == 0 else None, stdout=subprocess.DEVNULL)
    instance.wait_for(lambda: site.mirror.asked.count("test.cvd") > 0, "the question")
    process.send_signal(signal.SIGKILL)
    process.wait()
    site.publish(6)
    done = site.update()
    assert done["new"] and site.files(done["generation"]) == {"test.cld": 6}
    assert site.postern("show", "--verify", first["generation"]).returncode == 0


def test_torn_by_a_power_cut(site):
    site.publish(1)
    site.update()
    path = site.update_dir / "sources/official/test.cvd"
    path.write_bytes(path.read_bytes()[:3000])
    site.publish(6)
    assert site.files(site.update()["generation"]) == {"test.cvd": 6}


def test_rejected_is_not_taken_again(site):
    site.postern("add", DATA / "test-2.cvd")
    site.publish(1)
    first = site.update()
    assert site.postern("reject", first["generation"], "--reason", "it crashed").returncode == 0
    done = site.update(2)
    assert "was rejected before: it crashed" in done["error"]
    [row] = [row for row in site.json("list") if row["generation"] == first["generation"]]
    assert row["state"] == "rejected" and row["reason"] == "it crashed" and not row["present"]


def test_pin(site):
    site.postern("add", DATA / "test-2.cvd")
    used = site.json("status")["current"]["generation"]
    site.publish(1)
    name = site.update()["generation"]
    assert site.postern("pin", name[:6]).returncode == 0
    assert site.json("status")["pinned"]["generation"] == name
    assert "is pinned" in site.postern("reject", name).stderr
    site.publish(5)
    done = site.postern("update")
    assert "stays in use until `unpin`" in done.stdout and "after its trial" not in done.stdout
    site.publish(6)
    other = site.update()["generation"]
    for words in (("adopt", other), ("adopt", other, "--force")):
        done = site.postern(*words)
        assert done.returncode == 2 and "unpin" in done.stderr
    done = site.postern("add", DATA / "test-3.cvd")
    assert done.returncode == 0 and "is pinned" in done.stdout
    assert site.json("status")["current"]["generation"] == used
    assert site.postern("unpin").returncode == 0
    assert site.json("status")["pinned"] is None
    assert site.postern("adopt", other, "--force").returncode == 0
    assert "no such generation" in site.postern("pin", "0000").stderr


def test_daemon(site):
    """It looks by itself, and again when it is told; the schedule outlives it."""
    site.write(update_jitter=0, update_interval=60)
    site.publish(1)
    command = [site.programs / "postern-update", "--foreground", "--config",
               site.dir / "postern.conf"]
    user = "nobody" if os.geteuid() == 0 else None
    state = site.update_dir / "status.json"
    with subprocess.Popen(command, user=user) as process:
        try:
            def scheduled():
                text = json.loads(state.read_text()) if state.exists() else {}
                return text.get("result") == "offered" and text["started"] + 60 == text["next"]
            instance.wait_for(scheduled, "the first round")
        finally:
            process.terminate()
    # A round that somebody orders leaves the schedule alone.
    following = json.loads(state.read_text())["next"]
    site.update()
    assert json.loads(state.read_text())["next"] == following
    asked = len(site.mirror.asked)
    with subprocess.Popen(command, user=user) as process:
        try:
            time_limit = time.monotonic() + 1
            while time.monotonic() < time_limit:
                assert len(site.mirror.asked) == asked
                time.sleep(0.05)
        finally:
            process.terminate()
