# SPDX-License-Identifier: GPL-2.0-only
"""`postern cluster node milter`: Postfix gets Postern as a milter, and gets rid of it, byte for byte.

Each case is a real Postfix configuration; two run.
"""
import json
import os
import pathlib
import random
import re
import shutil
import signal
import smtplib
import subprocess
import time

import pytest

import instance
import postfix

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="a private Postfix needs root")

OURS = "unix:/postern/milter.sock"
BASE = "compatibility_level = 3.6\nqueue_directory = /var/spool/postfix\n"
MASTER = """\
# services
smtp      inet  n       -       y       -       -       smtpd
cleanup   unix  n       -       y       -       0       cleanup
pickup    unix  n       -       y       60      1       pickup
"""
# name: (main.cf, master.cf, what smtpd_milters becomes)
CASES = {
    "plain": (BASE, MASTER, OURS),
    "no line end": (BASE + "mydestination = a", MASTER.rstrip("\n"), OURS),
    "blank and set": (BASE + "smtpd_milters =\nnon_smtpd_milters=\n\n\n# end\n", MASTER, OURS),
    "others": (BASE + "smtpd_milters = inet:a:1, unix:/b\n", MASTER,
               f"inet:a:1, unix:/b, {OURS}"),
    "odd formatting": (BASE + "#smtpd_milters = x\n\nsmtpd_milters=inet:a:1\n\t,\n   unix:/b ,\n"
                       "  # inner\n\n\tinet:c:2  \n   \nnon_smtpd_milters   =   $smtpd_milters\n",
                       MASTER, f"inet:a:1 , unix:/b , inet:c:2, {OURS}"),
    "signer": (BASE + "smtpd_milters = inet:a:1,inet:localhost:8891\n", MASTER,
               f"inet:a:1,{OURS}, inet:localhost:8891"),
    "reference": (BASE + "filters = inet:a:1\nsmtpd_milters = $filters\n"
                  "non_smtpd_milters = ${smtpd_milters}\n", MASTER, f"$filters, {OURS}"),
    "others skipped": (BASE + "milter_default_action = accept\nsmtpd_milters = inet:a:1\n", MASTER,
                       "inet:a:1, { %s, default_action=tempfail }" % OURS),
    "accept": (BASE + "milter_default_action = accept\n", MASTER, OURS),
    "other charset": (BASE + "# Gr\udcfc\udcdfe\nmydestination = a\n", MASTER, OURS),
    "overrides": (BASE, MASTER + """\
submission inet n       -       y       -       -       smtpd
  -o syslog_name=postfix/submission
 # a comment inside
  -o { smtpd_milters = inet:localhost:8891, inet:a:1 }
\t-o smtpd_tls_security_level=encrypt
127.0.0.1:10025 inet n  -       n       -       -       smtpd
  -o smtpd_milters=
# the end
""", OURS),
    "mixed chroot": (BASE, MASTER.replace("y       -       0", "n       -       0"),
                     "unix:postern/milter.sock"),
    "no chroot": (BASE, MASTER.replace(" y ", " n "), "unix:/run/postern/milter/milter.sock"),
    "there already": (BASE + f"smtpd_milters = {OURS}\nnon_smtpd_milters = $smtpd_milters\n"
                      "milter_default_action = tempfail\n", MASTER, OURS),
}


def encode(text):
    return text.encode("utf-8", "surrogateescape")


class Host:
    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.dir = self.folder / "postfix"
        self.records = self.folder / "records"
        (self.folder / "postern.conf").write_text("")
        self.dir.mkdir()

    def write(self, main, master):
        (self.dir / "main.cf").write_bytes(encode(main))
        (self.dir / "master.cf").write_bytes(encode(master))
        postfix.make_old(self.dir)

    def command(self, action, *more, dirs=None):
        return [instance.BUILD / "postern", "--config", self.folder / "postern.conf", "cluster",
                "node", "milter", action, "--records", self.records, *more,
                *(dirs or [self.dir])]

    def milter(self, action, *more, dirs=None, code=0):
        done = subprocess.run(self.command(action, "--json", *more, dirs=dirs), text=True,
                              stdin=subprocess.DEVNULL, capture_output=True, timeout=300,
                              check=False)
        assert done.returncode == code, done
        answer = json.loads(done.stdout) if done.stdout else None
        return answer[0] if answer and len(answer) == 1 else answer

    def files(self):
        return {name: self.facts(self.dir / name) for name in ("main.cf", "master.cf")}

    @staticmethod
    def facts(path):
        is_ = os.stat(path)
        xattrs = {name: os.getxattr(path, name) for name in os.listxattr(path)}
        return (path.read_bytes(), is_.st_mode, is_.st_uid, is_.st_gid, is_.st_mtime_ns, xattrs)

    def postconf(self, name, *flags):
        return subprocess.run(["postconf", "-c", self.dir, "-h", *flags, name], check=True,
                              capture_output=True, text=True, errors="surrogateescape",
                              timeout=300).stdout.strip()


@pytest.fixture
def host(tmp_path):
    return Host(tmp_path)


@pytest.mark.parametrize("case", [
    case if i < 3 else pytest.param(case, marks=pytest.mark.long) for i, case in enumerate(CASES)])
def test_there_and_back(host, case):
    main, master, wanted = CASES[case]
    host.write(main, master)
    os.chmod(host.dir / "main.cf", 0o640)
    os.chown(host.dir / "master.cf", 1, 1)
    os.utime(host.dir / "main.cf", ns=(10**18, 10**18 + 5))
    before = host.files()
    answer = host.milter("enable", "--yes")
    assert answer["milter"] == "enabled"
    assert host.postconf("smtpd_milters") == wanted
    assert "milter.sock" in host.postconf("non_smtpd_milters", "-x")
    plain = "default_action" not in host.postconf("smtpd_milters")
    assert host.postconf("milter_default_action") == "tempfail" or not plain
    assert {n: f[1:4] for n, f in host.files().items()} == {n: f[1:4] for n, f in before.items()}
    enabled = host.files()
    again = host.milter("enable", "--yes")
    assert again["state"] == "unchanged" and again["diff"] == ""
    assert host.files() == enabled
    host.milter("disable", "--yes", code=1 if case == "there already" else 0)
    assert host.files() == before
    assert not list(host.records.glob("milter/*"))
    assert sorted(os.listdir(host.dir)) == ["main.cf", "master.cf"]


def test_override_is_asked_about_and_named(host):
    host.write(*CASES["overrides"][:2])
    answer = host.milter("enable", "--yes")
    text = (host.dir / "master.cf").read_text()
    assert f"-o smtpd_milters={OURS},inet:localhost:8891,inet:a:1" in text
    assert [note["where"] for note in answer["notes"]] == ["127.0.0.1:10025/inet"]


def test_milters_that_are_hidden_are_named(host):
    host.write(BASE, MASTER.replace(
        "smtpd\n", "smtpd\n  -o receive_override_options=no_milters\n"))
    answer = host.milter("enable", "--yes", code=1)
    assert [n["where"] for n in answer["notes"] if n["open"]] == ["smtp/inet"]
    assert answer["milter"] == "partly"


def test_dry_run_changes_nothing(host):
    host.write(BASE, MASTER)
    before = host.files()
    answer = host.milter("enable", "--dry-run")
    assert f"+smtpd_milters = {OURS}" in answer["diff"]
    assert host.files() == before and not list(host.records.glob("milter/*"))


def test_nobody_to_ask(host):
    host.write(BASE, MASTER)
    before = host.files()
    answer = host.milter("enable", code=1)
    assert answer["state"] == "declined" and host.files() == before


@pytest.mark.long
def test_somebody_else_changed_other_things(host):
    host.write("a_first = 1\n" + CASES["odd formatting"][0], CASES["overrides"][1])
    before = {name: facts[0] for name, facts in host.files().items()}
    host.milter("enable", "--yes", "--release")
    assert host.milter("check")["changed_since"] is False
    for name, old, new in (("main.cf", b"a_first = 1", b"a_first = 2"),
                           ("master.cf", b"60      1", b"60      2")):
        text = (host.dir / name).read_bytes()
        assert text.count(old) == 1
        (host.dir / name).write_bytes(text.replace(old, new) + b"")
        before[name] = before[name].replace(old, new)
    assert host.milter("check")["changed_since"] is True
    assert host.milter("enable", "--yes", "--release")["state"] == "unchanged"
    answer = host.milter("disable", "--yes")
    assert {name: facts[0] for name, facts in host.files().items()} == before
    assert answer["milter"] == "off"


def test_somebody_else_changed_the_same(host):
    host.write(BASE, MASTER)
    host.milter("enable", "--yes")
    path = host.dir / "main.cf"
    path.write_text(path.read_text().replace(f"smtpd_milters = {OURS}\n",
                                             f"smtpd_milters = inet:new:1, {OURS}\n", 1))
    answer = host.milter("disable", "--yes")
    assert host.postconf("smtpd_milters") == "inet:new:1"
    assert host.postconf("non_smtpd_milters") == ""
    assert any("somebody" in note["what"] for note in answer["notes"])


def test_without_a_record_only_our_name_goes(host):
    host.write(BASE + f"smtpd_milters = inet:a:1, {OURS}\nmilter_default_action = tempfail\n",
               MASTER)
    answer = host.milter("disable", "--yes")
    assert host.postconf("smtpd_milters") == "inet:a:1"
    assert "no record" in answer["notes"][0]["what"]


@pytest.mark.long
def test_links_are_followed(host):
    host.write(BASE, MASTER)
    real = host.folder / "real"
    real.mkdir()
    shutil.move(host.dir / "main.cf", real / "main.cf")
    (host.dir / "main.cf").symlink_to("../real/main.cf")
    before = (real / "main.cf").read_bytes()
    host.milter("enable", "--yes")
    assert (host.dir / "main.cf").is_symlink() and OURS in (real / "main.cf").read_text()
    host.milter("disable", "--yes")
    assert (host.dir / "main.cf").is_symlink() and (real / "main.cf").read_bytes() == before


def test_a_half_done_change_is_completed_and_undone(host):
    host.write(*CASES["overrides"][:2])
    before = host.files()
    host.milter("enable", "--yes")
    done = {name: facts[0] for name, facts in host.files().items()}
    (host.dir / "master.cf").write_bytes(before["master.cf"][0])
    host.milter("enable", "--yes")
    assert {name: facts[0] for name, facts in host.files().items()} == done
    (host.dir / "main.cf").write_bytes(before["main.cf"][0])
    host.milter("disable", "--yes")
    assert {n: f[0] for n, f in host.files().items()} == {n: f[0] for n, f in before.items()}


@pytest.mark.long
def test_killed_at_any_moment(host):
    """The files are always whole, old or new, and disable always finds its way back."""
    host.write(*CASES["overrides"][:2])
    before = {name: facts[0] for name, facts in host.files().items()}
    begun = time.monotonic()
    host.milter("enable", "--yes")
    took = time.monotonic() - begun
    after = {name: facts[0] for name, facts in host.files().items()}
    host.milter("disable", "--yes")
    dice = random.Random(7)
    for turn in range(24):
        action = "enable" if turn % 2 == 0 else "disable"
        process = subprocess.Popen(host.command(action, "--yes"), stdin=subprocess.DEVNULL,
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            process.wait(took * dice.uniform(0.3, 1.1))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
        for name, facts in host.files().items():
            assert facts[0] in (before[name], after[name]), (turn, name)
    host.milter("disable", "--yes")
    assert {name: facts[0] for name, facts in host.files().items()} == before
    assert sorted(os.listdir(host.dir)) == ["main.cf", "master.cf"]


def test_an_absent_configuration_is_another_nodes(host):
    answer = host.milter("enable", "--yes", dirs=[host.folder / "shared"])
    assert answer["state"] == "absent"


@pytest.mark.long
def test_several_instances(host):
    host.write(BASE, MASTER)
    second = host.folder / "second"
    second.mkdir()
    (second / "main.cf").write_text(BASE + "smtpd_milters = inet:a:1\n")
    (second / "master.cf").write_text(MASTER)
    both = [host.dir, second]
    before = host.files(), (second / "main.cf").read_bytes()
    answers = host.milter("enable", "--yes", dirs=both)
    assert [a["milter"] for a in answers] == ["enabled", "enabled"]
    assert host.postconf("smtpd_milters") == OURS
    assert f"smtpd_milters = inet:a:1, {OURS}\n" in (second / "main.cf").read_text()
    host.milter("disable", "--yes", dirs=both)
    assert (host.files(), (second / "main.cf").read_bytes()) == before


@pytest.fixture
def two(folder, request):
    """Two running instances of Postfix."""
    all_ = [postfix.Postfix(folder / f"{request.node.name}-{n}", "") for n in (1, 2)]
    for one in all_:
        one.start()
    yield all_
    for one in all_:
        one.stop()


def master_pid(one):
    return int((one.dir / "queue/pid/master.pid").read_text())


def test_running_instances_are_reloaded(host, two):
    dirs = [one.dir / "conf" for one in two]
    pids = [master_pid(one) for one in two]
    before = [(d / name).read_bytes() for d in dirs for name in ("main.cf", "master.cf")]
    refused = host.milter("enable", "--yes", dirs=dirs, code=2)
    assert all("posternd does not serve" in answer["error"] for answer in refused)
    assert [(d / n).read_bytes() for d in dirs for n in ("main.cf", "master.cf")] == before
    answers = host.milter("enable", "--yes", "--force", "--release", dirs=dirs)
    assert [(a["reloaded"], a["master_pid"]) for a in answers] == [(True, pid) for pid in pids]
    for one in two:
        # Nobody listens at the milter's socket: a sender is told to come back.
        assert one.send(b"Subject: x\r\n\r\nx\r\n")[0] == 451
    answers = host.milter("disable", "--yes", dirs=dirs)
    assert [(a["reloaded"], a["master_pid"]) for a in answers] == [(True, pid) for pid in pids]
    assert [(d / n).read_bytes() for d in dirs for n in ("main.cf", "master.cf")] == before
    for one in two:
        assert one.send(b"Subject: x\r\n\r\nx\r\n")[0] == 250
    assert [master_pid(one) for one in two] == pids


@pytest.mark.long
def test_the_release_service_is_that_of_the_manual(host):
    host.write(BASE, MASTER)
    host.milter("enable", "--yes", "--release")
    ours = subprocess.run(["postconf", "-c", host.dir, "-P", "postern-release/unix"], check=True,
                          capture_output=True, text=True, timeout=300).stdout
    manual = pathlib.Path(__file__).resolve().parents[2] / "docs/OPERATIONS.md"
    told = re.findall(r"postconf -P postern-release/unix/(\S+)=(\S*)", manual.read_text())
    assert len(told) > 5
    assert sorted(line.split("/", 2)[2] for line in ours.splitlines()) == \
        sorted(f"{name} = {value}".rstrip() for name, value in told)


def test_report_of_a_bare_host(host):
    done = subprocess.run([instance.BUILD / "postern", "--config", host.folder / "postern.conf",
                           "cluster", "node", "report"], check=True, capture_output=True,
                          text=True, timeout=300, env={"PATH": str(host.folder)})
    report = json.loads(done.stdout)
    assert report["version"] == 1 and report["config"]["error"] is None
    assert report["memory"]["total"] > 0 and report["state_formats"][0] >= 1


@pytest.fixture
def served(postern, folder, request):
    """A Postfix that asks Postern, and an SMTP session with it that has begun."""
    one = postfix.Postfix(folder / f"{request.node.name}", f"unix:{postern.dir}/milter.sock")
    one.start()
    client = smtplib.SMTP("127.0.0.1", one.port, "client.test", timeout=300)
    client.ehlo()
    yield one, client
    client.close()
    one.stop()


def connections(postern):
    return sum(door["connections"] for door in postern.json("status")["posternd"]["milter"])


def disable(postern, one):
    """Begun; Postfix has been told."""
    process = subprocess.Popen(
        [instance.BUILD / "postern", "--config", postern.dir / "postern.conf", "cluster", "node",
         "milter", "disable", "--yes", "--json", "--records", one.dir / "records",
         one.dir / "conf"], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)
    log = one.dir / "mail.log"
    instance.wait_for(lambda: log.exists() and "reload -- version" in log.read_text(), "a reload")
    return process


def names_it(said):
    return any("451" in note["what"] for note in said[0]["notes"])


def test_a_session_that_has_begun_is_let_end(postern, served):
    """Who disables the milter is about to end posternd, and would refuse the mail under way."""
    one, client = served
    assert connections(postern) == 1
    process = disable(postern, one)
    assert client.sendmail("a@client.test", ["user@lab.test"], b"Subject: x\r\n\r\nx\r\n") == {}
    early = process.poll() is not None
    client.quit()
    said = json.loads(process.communicate(timeout=300)[0])
    # On a slow machine the session may outlast the wait, and is named then.
    assert not early or names_it(said)
    assert connections(postern) == 0 or names_it(said)


@pytest.mark.long
def test_a_session_without_end_is_named(postern, served):
    one, _ = served
    assert names_it(json.loads(disable(postern, one).communicate(timeout=300)[0]))
