# SPDX-License-Identifier: GPL-2.0-only
"""New signatures on trial: good ones are tried unattended, bad ones rejected and remembered."""
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import time

import pytest

import instance

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "worker"))
from chain import EICAR, INFECTED, MODES, NOBODY, Engine, attachment, crash, mail, verdict_of

GOOD = "".join(f"Test.Sig.{n}:0:*:{n:08x}cafe{n:08x}\n" for n in range(10))
MORE = GOOD + "Test.More:0:*:0badcafe0badcafe0badcafe\n"
# What may come of one that is well: who adopts is told.
WELL = ("tried", "adopted")


class Node(Engine):
    """An engine with the commands, postern-update, and one set of signatures in use."""

    def __init__(self, mode, **settings):
        super().__init__(mode, signatures=False, workers=1, start=False, health_memory='"0"')
        for program in ("postern", "postern-update", "postern-fetch"):
            shutil.copy2(instance.BUILD / program, self.dir / program)
            (self.dir / program).chmod(0o755)
        for name in ("update", "local"):
            (self.dir / name).mkdir(mode=0o755)
        if os.geteuid() == 0:
            owner = NOBODY if mode != "root" else 0
            os.chown(self.dir / "signatures", owner, owner)
            os.chown(self.dir / "update", NOBODY, NOBODY)
        self.write(**settings)

    def write(self, **settings):
        values = {"engine_dir": self.dir / "run/engine", "signatures_dir": self.dir / "signatures",
                  "update_dir": self.dir / "update", "update_user": "nobody", "workers": 1,
                  "update_databases": ["none"], "update_directories": [str(self.dir / "local")],
                  "health_memory": "0", **settings}
        with open(self.config, "w", encoding="ascii") as conf:
            for name, value in values.items():
                text = json.dumps(value if isinstance(value, (int, list)) else str(value))
                conf.write(f"{name} = {text.replace('[', '{ ').replace(']', ' }')}\n")

    def postern(self, *words):
        return subprocess.run([self.dir / "postern", "--config", self.config, "signatures", *words],
                              capture_output=True, text=True, check=False, timeout=300)

    def json(self, *words):
        return json.loads(self.postern(*words, "--json").stdout)

    def findings(self):
        done = subprocess.run([self.dir / "postern", "--config", self.config, "doctor", "--json",
                               "state"], capture_output=True, text=True, check=False, timeout=300)
        return [(row["level"], row["id"], row["where"])
                for row in json.loads(done.stdout)["findings"]]

    def files(self, name, contents):
        folder = self.dir / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(mode=0o755)
        for file, text in contents.items():
            (folder / file).write_text(text)
        return folder

    def begin(self, contents=None):
        """With what is in use from the beginning; returns its name."""
        made = self.postern("add", str(self.files("first", contents or {"a.ndb": GOOD})), "--json")
        assert made.returncode == 0, made.stderr
        self.start()
        self.wait_state("ready")
        return json.loads(made.stdout)["generation"]

    def offer(self, contents):
        """postern-update has found something; nobody asks for it."""
        self.files("local", contents)
        done = subprocess.run([self.dir / "postern-update", "--once", "--config", self.config],
                              capture_output=True, text=True, check=False,
                              user="nobody" if os.geteuid() == 0 else None)
        assert done.returncode == 0, done.stdout + done.stderr
        offer = json.loads((self.dir / "update/offer/manifest.json").read_text())
        return offer["identity"][:16]

    def record(self, name):
        try:
            return json.loads((self.dir / f"signatures/records/{name}.json").read_text())
        except FileNotFoundError:
            return {"state": None}

    def wait(self, name, *states):
        instance.wait_for(lambda: self.record(name)["state"] not in (None, "fetched"),
                          f"the trial of {name}")
        # It stands back behind everything else that wants a processor.
        instance.wait_for(lambda: self.record(name)["state"] in states, f"{name} {states}", 1000)
        return self.record(name)

    def serving(self):
        """The zygotes that are not on trial."""
        return set(self.processes()["postern-zygote"]) & set(self.children(self.process.pid))

    def halt(self):
        self.process.terminate()
        self.process.wait(300)
        self.log.close()

    def outcome(self, name):
        """Its record when it was tried, and the engine has said so."""
        self.wait(name, "rejected", *WELL)
        instance.wait_for(lambda: (self.status()["trial"]["last"] or {}).get("generation") == name,
                          "the end of the trial")
        return self.record(name)

    def rejected(self, contents):
        """Why what is offered is; and nothing else has changed."""
        before = os.readlink(self.dir / "signatures/current")
        zygote = self.serving()
        name = self.offer(contents)
        record = self.outcome(name)
        assert record["state"] == "rejected", record["trial"]
        assert os.readlink(self.dir / "signatures/current") == before
        assert self.serving() == zygote, "what serves goes on"
        assert not (self.dir / "signatures" / name).exists()
        assert "\n" not in record["reason"]
        assert f"generation {name}: REJECTED" in self.log_text()
        assert self.status()["trial"]["last"]["reason"] == record["reason"]
        return record["reason"]

    def finds(self):
        pool = self.attach()
        try:
            return verdict_of(pool.scan(mail(attachment(EICAR)))) == INFECTED
        finally:
            pool.close()


@pytest.fixture
def node():
    made = []

    def make(mode=None, **settings):
        made.append(Node(mode or ("caps" if "caps" in MODES else "user"), **settings))
        return made[-1]

    yield make
    for one in made:
        if one.process is None:
            shutil.rmtree(one.dir)
        else:
            one.stop()


@pytest.fixture(scope="module")
def served():
    """One for all that is rejected."""
    one = Node("caps" if "caps" in MODES else "user", trial_scan_time=3)
    one.begin()
    yield one
    one.stop()


@pytest.mark.parametrize("mode", MODES)
def test_an_offer_is_tried_unattended(node, mode):
    one = node(mode)
    one.begin()
    name = one.offer({"a.ndb": MORE})
    record = one.outcome(name)
    assert record["state"] in WELL, record
    assert record["trial"]["signatures"] == 12 and record["trial"]["memory"] > 1 << 20
    assert record["trials"] == 1 and record["trial"]["load_us"] > 0
    assert f"generation {name}: tried, all well" in one.log_text()
    [shown] = [row for row in one.json("list") if row["generation"] == name]
    assert shown["trial"]["signatures"] == 12
    assert "12 signatures" in one.postern("show", name).stdout
    assert one.finds()


def test_the_first_signatures_of_all(node):
    """Nothing is in use but the built-in one."""
    one = node()
    one.start()
    one.wait_state("ready")
    assert one.wait(one.offer({"a.ndb": GOOD}), "rejected", *WELL)["state"] in WELL


def nested(depth):
    """libclamav evaluates each pair of parentheses anew for every one around it."""
    return f"Bad.Deep;Engine:81-255,Target:0;{'(' * depth}0{')' * depth};deadbeef\n"


BAD = {
    "matches everything": ({"a.ldb": "Bad.All;Engine:81-255,Target:0;0=0;deadbeefdeadbeef\n"},
                           "a harmless mail, is called Bad.All"),
    "matches mails": ({"b.ndb": f"Bad.Mail:0:*:{b'see you on Tuesday'.hex()}\n"},
                      "a small mail, which is clean, is called Bad.Mail"),
    "matches a program": ({"b.ndb": "Bad.Exe:1:0:4d5a00000000\n"},
                          "a program, which is clean, is called Bad.Exe"),
    "makes the matcher crawl": ({"b.ldb": nested(16000)},
                                "does not come to its end within 3 s of processor time"),
    "malformed": ({"b.ndb": "# a comment\nBad\n"}, "b.ndb: Problem parsing database at line 2"),
    "hides EICAR": ({"b.fp": "44d88612fea8a8f36de82e1278abb02f:68:Harmless\n"},
                    "EICAR"),
    "is empty": ({"a.ndb": "# none\n"}, "there is no signature in it"),
    "is a fraction": ({"a.ndb": GOOD[:GOOD.index("\n") + 1]}, "it has only 2 signatures"),
}


@pytest.mark.parametrize("what", BAD)
def test_rejected(served, what):
    contents, reason = BAD[what]
    contents = contents if "a.ndb" in contents else {"a.ndb": GOOD, **contents}
    said = served.rejected(contents)
    assert reason in said and "/signatures" not in said
    assert served.finds()


def patterns(count):
    """Each begins in its own way, so each costs the matcher a node of two kilobytes."""
    pick = random.Random(5)
    return "".join(f"Large.{n}:0:*:{pick.randbytes(20).hex()}\n" for n in range(count))


LARGE = {"a.ndb": GOOD, "large.ndb": patterns(100000)}


def settled(node, name):
    """It serves, and workers of before are gone: another order may come."""
    instance.wait_for(lambda: node.status()["generation"] == name
                      and node.status()["adoption"] is None, f"{name} in use")


def trial_zygote(node):
    """The zygote on trial, when it has begun to load; else None."""
    for path in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            name, _, rest = (path / "stat").read_text().partition("(")[2].rpartition(")")
            parent = pathlib.Path("/proc") / rest.split()[1]
            if name == "postern-zygote" and (parent / "comm").read_text() == "postern-trial\n" and \
                    (parent / "stat").read_text().rpartition(")")[2].split()[1] == \
                    str(node.process.pid):
                return int(path.name)
        except OSError:
            pass
    return None


def stopped_trial(node, name):
    """Freezes the trial of NAME in the middle of loading; the zygote's process."""
    found = []

    def loads():
        found[:] = [node.record(name)["state"] == "trying" and trial_zygote(node)]
        return found[0]
    instance.wait_for(loads, "a trial that loads")
    [pid] = found
    os.kill(pid, signal.SIGSTOP)
    assert node.record(name)["state"] == "trying"
    assert node.status()["trial"]["state"] == "loading"
    return pid


def power_cut(node):
    node.process.kill()
    node.process.wait()
    node.log.close()


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="touches processes of other users")


@needs_root
def test_a_power_cut_in_the_trial(node):
    """The first time it is tried once more; the second time nobody knows what it would cost."""
    one = node()
    first = one.begin()
    name = one.offer(LARGE)
    stopped_trial(one, name)
    power_cut(one)
    assert one.record(name)["state"] == "trying"
    one.start()
    stopped_trial(one, name)
    assert "its trial was interrupted; it is tried once more" in one.log_text()
    power_cut(one)
    one.start()
    record = one.wait(name, "rejected", *WELL)
    assert record["state"] == "rejected" and "interrupted each time" in record["reason"]
    instance.wait_for(lambda: f"generation {name}: REJECTED" in one.log_text(), "the log")
    assert os.readlink(one.dir / "signatures/current") == first
    one.wait_state("ready")
    assert one.finds()


@needs_root
def test_what_was_cut_off_once_may_still_pass(node):
    one = node()
    one.begin()
    name = one.offer(LARGE)
    stopped_trial(one, name)
    power_cut(one)
    one.start()
    record = one.outcome(name)
    assert record["state"] in WELL and record["trials"] == 2


@needs_root
def test_an_orderly_stop_does_not_count(node):
    one = node()
    one.begin()
    name = one.offer(LARGE)
    for _ in range(3):
        stopped_trial(one, name)
        one.process.terminate()
        one.process.wait(300)
        assert (one.record(name)["state"], one.record(name)["trials"]) == ("fetched", 0)
        one.log.close()
        one.start()
    assert one.outcome(name)["state"] in WELL


@needs_root
def test_killed_from_outside(node):
    """Somebody's kill is no fault of the signatures, but not for ever."""
    one = node()
    one.begin()
    name = one.offer(LARGE)
    os.kill(stopped_trial(one, name), signal.SIGKILL)
    instance.wait_for(lambda: "its trial was interrupted: loading was killed" in one.log_text(),
                      "the interruption")
    os.kill(stopped_trial(one, name), signal.SIGKILL)
    record = one.outcome(name)
    assert record["state"] == "rejected" and record["reason"] == "loading was killed"


def test_from_the_offer_to_the_workers(node):
    """Found, taken, tried, adopted: nobody was asked, and no scan has noticed."""
    one = node()
    first = one.begin()
    pool = one.attach()
    name = one.offer({"a.ndb": MORE})
    one.wait(name, "adopted")
    instance.wait_for(lambda: one.status()["generation"] == name, "the new signatures")
    assert verdict_of(pool.scan(mail(attachment(EICAR)))) == INFECTED
    pool.close()
    settled(one, name)
    assert one.record(first)["state"] == "adopted"  # it was, and is what comes before
    assert adopted(one.postern("rollback", "--reason", "a test", "--json")) == first
    assert one.status()["generation"] == first
    assert one.record(name)["state"] == "rejected" and one.record(name)["reason"] == "a test"
    # The same offer is still there: it is not taken again.
    time_limit = time.monotonic() + 1
    while time.monotonic() < time_limit:
        assert one.record(name)["state"] == "rejected"
        time.sleep(0.05)


def adopted(done):
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["generation"]


def test_adopt_tries_first(node):
    one = node()
    first = one.begin()
    good = one.postern("add", str(one.files("more", {"a.ndb": MORE})), "--json")
    name = json.loads(good.stdout)["generation"]
    assert one.outcome(name)["trials"] == 1
    settled(one, name)
    # One from before needs no second trial; `previous` is it.
    assert adopted(one.postern("adopt", "previous", "--json")) == first
    assert one.record(first)["trials"] == 0 and one.status()["generation"] == first
    settled(one, first)
    assert adopted(one.postern("adopt", name[:6], "--json")) == name
    bad = one.postern("add", str(one.files("bad", {"a.ndb": GOOD, "b.ldb": BAD[
        "matches everything"][0]["a.ldb"]})), "--json")
    assert bad.returncode == 0, bad.stderr
    bad = json.loads(bad.stdout)["generation"]
    assert one.outcome(bad)["state"] == "rejected"
    assert f"Rejected   {bad}: rejected" in one.postern("status").stdout
    assert one.json("status")["rejected"]["generation"] == bad
    assert ("warning", "signatures.rejected", bad) in one.findings()
    again = one.postern("adopt", bad)
    assert again.returncode == 2 and "was rejected: " in again.stderr, again.stderr
    assert one.status()["generation"] == name


def test_status_of_a_trial(node):
    if os.geteuid() != 0:
        pytest.skip("touches processes of other users")
    one = node()
    one.begin()
    name = one.offer(LARGE)
    pid = stopped_trial(one, name)
    assert f"{name}: loading since" in one.postern("status").stdout
    assert one.json("status")["trial"]["state"] == "loading"
    assert one.json("status")["waiting"]["generation"] == name
    other = one.postern("add", str(one.files("more", {**LARGE, "a.ndb": MORE})))
    assert other.returncode == 0 and "this one is next" in other.stdout, other.stderr
    refused = one.postern("adopt", other.stdout.split()[1])
    assert "is being tried; ask again after that" in refused.stderr
    os.kill(pid, signal.SIGCONT)
    one.wait(name, *WELL)
    assert one.outcome(other.stdout.split()[1])["state"] in WELL
    assert f"{other.stdout.split()[1]} tried" in one.postern("status").stdout


def hungry(count):
    """Eight patterns with a gap each: eight kilobytes of memory for 170 bytes of file."""
    pick = random.Random(5)
    part = lambda: f"{pick.randbytes(4).hex()}*{pick.randbytes(4).hex()}"
    return "".join(f"Hungry.{n};Engine:81-255,Target:0;0&1&2&3&4&5&6&7;"
                   f"{';'.join(part() for _ in range(8))}\n" for n in range(count))


def test_takes_too_much_memory(node):
    """By its address space, where there are no control groups; one gigabyte of that is free."""
    one = node(trial_memory="1K")
    one.begin()
    reason = one.rejected({"a.ndb": GOOD, "hungry.ldb": hungry(160000)})
    assert "allocate memory" in reason, reason
    assert one.finds()


def test_samples_of_the_administrator(node):
    one = node()
    clean = one.files("clean", {"our-tool.bin": "what only we have"})
    infected = one.files("infected", {"old-enemy.bin": "what bothered only us"})
    one.write(trial_clean=clean, trial_infected=infected)
    enemy = f"Old.Enemy:0:*:{b'bothered only us'.hex()}\n"
    one.begin({"a.ndb": GOOD + enemy})
    assert one.rejected({"a.ndb": MORE}) == "old-enemy.bin is not found"
    assert one.rejected({"a.ndb": MORE + enemy + f"Wrong:0:*:{b'only we have'.hex()}\n"}) == \
        "our-tool.bin, which is clean, is called Wrong.UNOFFICIAL"
    assert one.outcome(one.offer({"a.ndb": MORE + enemy}))["state"] in WELL


def test_a_folder_that_is_not_there(node):
    """That is the node's fault: nothing is rejected, nothing is adopted."""
    one = node(trial_clean="/nowhere")
    first = one.begin()
    name = one.offer({"a.ndb": MORE})
    instance.wait_for(lambda: "cannot be tried: " in one.log_text(), "the complaint")
    assert "/nowhere" in one.log_text()
    assert one.record(name)["state"] == "fetched" and one.record(name)["trials"] == 0
    asked = one.postern("adopt", name)
    assert asked.returncode == 2 and "could not be tried: " in asked.stderr
    assert os.readlink(one.dir / "signatures/current") == first


def test_waits_for_memory(node):
    """Nothing is killed for it; force is an administrator's."""
    one = node(health_memory="900G")
    one.begin()
    name = one.offer({"a.ndb": MORE})
    instance.wait_for(lambda: one.status()["trial"]["state"] == "waiting", "the wait")
    assert one.status()["trial"]["generation"] == name
    assert "waiting since" in one.postern("status").stdout
    assert ("warning", "signatures.trial", name) in one.findings()
    asked = one.postern("adopt", name)
    assert asked.returncode == 2 and "is not tried yet: it is likely to need" in asked.stderr
    assert one.record(name)["state"] == "fetched" and one.record(name)["trials"] == 0


def test_pinned(node):
    """Nothing else is tried, until it may be adopted."""
    one = node()
    first = one.begin()
    assert one.postern("pin", first).returncode == 0
    name = one.offer({"a.ndb": MORE})
    instance.wait_for(lambda: one.record(name)["state"] is not None, "what is taken")
    time_limit = time.monotonic() + 2
    while time.monotonic() < time_limit:
        assert one.record(name)["state"] == "fetched"
        time.sleep(0.05)
    assert one.postern("unpin").returncode == 0
    assert one.outcome(name)["state"] in WELL


def test_a_changed_file_is_not_loaded(node):
    """Nothing half written, or damaged later, comes so far; what is offered is taken again."""
    one = node(health_memory="900G")
    one.begin()
    name = one.offer({"a.ndb": MORE})
    instance.wait_for(lambda: one.record(name)["state"] == "fetched", "what is taken")
    one.halt()
    (one.dir / f"signatures/{name}/a.ndb").write_text(GOOD)
    one.write()
    one.start()
    instance.wait_for(lambda: one.record(name)["state"] not in ("fetched", "trying"), "the trial")
    assert one.record(name)["state"] is None and not (one.dir / "signatures" / name).exists()
    instance.wait_for(lambda: f"{name}/a.ndb: is not what its" in one.log_text(), "the word")
    one.halt()
    one.start()
    assert one.outcome(name)["state"] in WELL


@needs_root
def test_rejected_by_somebody_meanwhile(node):
    one = node()
    one.begin()
    name = one.offer(LARGE)
    pid = stopped_trial(one, name)
    assert one.postern("reject", name, "--reason", "we do not want it").returncode == 0
    os.kill(pid, signal.SIGCONT)
    assert one.outcome(name)["reason"] == "we do not want it"
    assert one.status()["trial"]["last"]["outcome"] == "overtaken"


@needs_root
def test_disk_full(node):
    """What cannot be copied whole is not taken; it is when there is room again."""
    one = node()
    one.begin()
    one.halt()
    tight = one.dir / "tight"
    tight.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", tight], check=True)
    try:
        subprocess.run(["cp", "-a", f"{one.dir}/signatures/.", tight], check=True)
        os.chown(tight, NOBODY, NOBODY)
        one.write(signatures_dir=tight)
        one.start()
        one.wait_state("ready")
        name = one.offer({"a.ndb": MORE, "large.ndb": patterns(6000)})
        instance.wait_for(lambda: "offers is not taken: " in one.log_text(), "the complaint")
        assert "No space left on device" in one.log_text()
        assert not (tight / name).exists() and one.finds()
        subprocess.run(["mount", "-o", "remount,size=100m", tight], check=True)
        (one.dir / "update/.now").write_text("")
        (one.dir / "update/.now").rename(one.dir / "update/now")  # a sign to look
        instance.wait_for(lambda: (tight / f"records/{name}.json").exists() and json.loads(
            (tight / f"records/{name}.json").read_text())["state"] in WELL, "the trial")
        assert not list(tight.glob(".tmp-*"))
    finally:
        one.process.terminate()
        one.process.wait(300)
        instance.unmount(tight)


@needs_root
def test_no_permission(node):
    """One sentence, and what is in use stays."""
    one = node("user")
    first = one.begin()
    os.chown(one.dir / "signatures", 0, 0)
    one.offer({"a.ndb": MORE})
    instance.wait_for(lambda: "offers is not taken: " in one.log_text(), "the complaint")
    assert "Permission denied" in one.log_text()
    assert os.readlink(one.dir / "signatures/current") == first and one.finds()


def test_an_offer_that_lies(node):
    """As a postern-update that was taken over could make it."""
    one = node()
    one.begin()
    name = one.offer({"a.ndb": MORE})
    one.wait(name, *WELL)
    offer = one.dir / "update/offer"
    next_one = one.dir / "update/next"
    shutil.copytree(offer, next_one)
    manifest = json.loads((offer / "manifest.json").read_text())
    (next_one / "a.ndb").write_text(GOOD.replace("cafe", "beef") + MORE)
    text = json.dumps(manifest).replace(manifest["identity"], "0" * 64)
    (next_one / "manifest.json").write_text(text)
    shutil.rmtree(offer)
    next_one.rename(offer)
    instance.wait_for(lambda: "offers is not taken: " in one.log_text(), "the complaint")
    assert not (one.dir / f"signatures/{'0' * 16}").exists()
    assert len(one.json("list")) == 2


def test_an_offer_from_before(node):
    """What an administrator put in place is not undone by what had been offered before."""
    one = node()
    old = one.offer({"a.ndb": MORE})
    made = json.loads((one.dir / "update/offer/manifest.json").read_text())["created"]
    instance.wait_for(lambda: time.time() >= made + 1, "the next second")
    one.begin()
    time_limit = time.monotonic() + 2
    while time.monotonic() < time_limit:
        assert one.record(old)["state"] is None
        time.sleep(0.05)
    assert one.outcome(one.offer({"a.ndb": MORE + "New:0:*:feedbeeffeedbeef\n"}))["state"] in WELL


@needs_root
@pytest.mark.skipif(os.uname().machine != "x86_64", reason="knows the registers of x86-64 alone")
def test_crashes_the_loader(node):
    one = node()
    first = one.begin()
    name = one.offer(LARGE)
    crash(stopped_trial(one, name))
    record = one.outcome(name)
    assert record["state"] == "rejected" and record["reason"] == "loading crashes (signal 11)"
    assert os.readlink(one.dir / "signatures/current") == first and one.finds()
