# SPDX-License-Identifier: GPL-2.0-only
"""An ordinary user's private instance: it scans, and says what sandbox it has."""
import os
import shutil
import subprocess

import pytest

import instance
import mails


class OrdinaryInstance(instance.Instance):
    """As user nobody when the tests run as root, from a copy that this user can read."""

    def __init__(self, folder, signatures):
        super().__init__(folder / "home", signatures)
        self.build = folder / "build"
        self.build.mkdir(parents=True)
        for name in ("postern", "postern-engine", "postern-zygote", "posternd", "postern-update",
                     "postern-fetch"):
            shutil.copy(instance.BUILD / name, self.build)
        shutil.copy(instance.TOP / "scanner/run", self.build)
        self.rights = []
        if os.geteuid() == 0:
            shutil.chown(folder, "nobody")
            self.rights = ["setpriv", "--reuid", "nobody", "--regid", "nogroup", "--clear-groups",
                           "env", f"POSTERN_BUILD={self.build}"]

    def command(self):
        return [*self.rights, self.build / "run", self.dir, "--signatures", *self.signatures]

    def scan(self, *paths):
        return subprocess.run([*self.rights, self.build / "postern", "--dir", self.dir, "scan",
                               *paths], capture_output=True, text=True, check=False, timeout=300)


@pytest.fixture(scope="module")
def ordinary(folder, signatures):
    (folder / "ordinary").mkdir()
    one = OrdinaryInstance(folder / "ordinary", signatures)
    yield one.start()
    one.stop()


def test_scan(ordinary, folder):
    good, bad = folder / "good.eml", folder / "bad.eml"
    good.write_bytes(mails.clean())
    bad.write_bytes(mails.infected()["zip in zip"])
    for path in (good, bad):
        path.chmod(0o644)
    run = ordinary.scan(good)
    assert (run.returncode, run.stderr) == (0, ""), run
    run = ordinary.scan(good, bad)
    assert run.returncode == 1
    assert "good.eml: clean" in run.stdout
    assert "bad.eml: infected" in run.stdout


def test_says_its_sandbox(ordinary):
    run = subprocess.run([*ordinary.rights, ordinary.build / "postern", "--dir", ordinary.dir,
                          "status"], capture_output=True, text=True, check=True, timeout=300)
    assert "sandbox" in run.stdout.lower()


def test_a_stranger_may_not_ask(ordinary):
    """The control socket answers root and its own user alone."""
    if os.geteuid() != 0:
        pytest.skip("needs root to become somebody else")
    run = subprocess.run(["setpriv", "--reuid", "daemon", "--regid", "daemon", "--clear-groups",
                          ordinary.build / "postern", "--dir", ordinary.dir, "quarantine", "list"],
                         capture_output=True, text=True, check=False, timeout=300)
    assert run.returncode == 2
    assert run.stdout == ""


@pytest.mark.parametrize("words", [["unpin"], ["update"], ["add", "/etc/hostname"]])
def test_a_stranger_changes_no_signatures(ordinary, words):
    """And hears who can."""
    if os.geteuid() != 0:
        pytest.skip("needs root to become somebody else")
    run = subprocess.run(["setpriv", "--reuid", "daemon", "--regid", "daemon", "--clear-groups",
                          ordinary.build / "postern", "--dir", ordinary.dir, "signatures", *words],
                         capture_output=True, text=True, check=False, timeout=300)
    assert (run.returncode, run.stdout) == (2, "")
    assert run.stderr.endswith(": Permission denied; run this as root\n"), run
    assert run.stderr.count("\n") == 1
