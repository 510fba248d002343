# SPDX-License-Identifier: GPL-2.0-only
"""A place where postern-update fetches from a mirror of ours, and the signed files that it has."""
import json
import os
import pathlib
import pwd
import shutil
import subprocess
import tempfile

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
             "signatures", *words], capture_output=True, text=True, check=False, timeout=300)

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
