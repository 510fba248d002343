# SPDX-License-Identifier: GPL-2.0-only
"""postern-update and libfreshclam against a mirror, good and bad, and what is taken of it."""
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import time

import pytest

import instance
from update_site import DATA, cvd, programs, site  # noqa: F401


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


def test_a_mirror_that_is_behind(site):
    """Where what was fetched is lost, nobody but the store knows that a signed file is an old one."""
    site.publish(6)
    first = site.update()
    shutil.rmtree(site.update_dir / "sources")
    shutil.rmtree(site.update_dir / "offer")
    site.publish(1)
    refused = site.postern("update")
    assert refused.returncode != 0
    assert "test.cvd is of version 1, older than the 6 that is in use" in refused.stderr
    assert [row["generation"] for row in site.json("list")] == [first["generation"]]
    site.publish(6)
    assert site.files(site.update()["generation"]) == {"test.cld": 6}


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


@pytest.mark.parametrize("status, seconds", [(429, 100), (403, 86400)])
def test_told_to_wait(site, status, seconds):
    site.publish(1)
    site.update()
    site.mirror.fail(status, **({"Retry_After": 100} if status == 429 else {}))
    answer = site.mirror.otherwise

    def late(request):
        """A day from then is more than a day from when it was asked."""
        time.sleep(1.1)
        answer(request)
    site.mirror.otherwise = late
    before = time.time()
    [source] = site.update(1)["update"]["sources"]
    assert source["result"] == "waiting", source
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


@pytest.mark.parametrize("name, word", [("off.cfg", "switches parts of the scanner off"),
                                        ("off.cud", "nobody signed it")])
def test_urls_of_what_switches_off(site, name, word):
    """It is not even asked for; the rest goes on."""
    site.write(update_databases=["none"],
               update_urls=[site.mirror.url + "/a.ndb", f"{site.mirror.url}/{name}"])
    site.mirror.serve("a.ndb", b"A.Sig:0:*:41414141\n")
    site.mirror.serve(name, b"PE:0x0\n")
    done = site.update(1)
    assert site.files(done["generation"]) == {"a.ndb": 0}
    assert f"{name}: {word}" in done["update"]["sources"][1]["error"]
    assert name not in site.mirror.asked


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
                          check=False, timeout=300)
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
                              timeout=300)
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
