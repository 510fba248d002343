# SPDX-License-Identifier: GPL-2.0-only
"""Postfix and Postern, started once for all tests of a module.

A module may say more: SETTINGS for postern.conf, MAIN_CF for Postfix.
"""
import os
import pathlib
import shutil
import subprocess
import tempfile

import pytest

import instance
import postfix

TESTFILES = pathlib.Path("/usr/share/clamav-testfiles")


@pytest.fixture(scope="session")
def folder():
    """A folder that the daemons' users can reach (pytest's own are for the owner alone)."""
    path = pathlib.Path(tempfile.mkdtemp(prefix="postern-e2e-", dir="/var/tmp"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="session")
def signatures(folder):
    """Signatures for Debian's clamav-testfiles, made with sigtool from their one payload."""
    path = folder / "testfiles.hsb"
    made = subprocess.run(["sigtool", "--sha256", TESTFILES / "clam.exe"], check=True,
                          capture_output=True, text=True).stdout
    assert made.endswith(":clam.exe\n")
    path.write_text(made)
    return [path]


@pytest.fixture(scope="module")
def postern(folder, signatures, request):
    one = instance.Instance(folder / request.module.__name__, signatures,
                            getattr(request.module, "SETTINGS", ""))
    yield one.start()
    one.stop()


@pytest.fixture(scope="module")
def mta(postern, folder, request):
    if os.geteuid() != 0:
        pytest.skip("a private Postfix needs root")
    one = postfix.Postfix(folder / f"postfix-{request.module.__name__}",
                          f"unix:{postern.dir}/milter.sock",
                          more=getattr(request.module, "MAIN_CF", ""))
    # smtpd is not chrooted here and runs as postfix; the socket's folder belongs to the daemon.
    one.start()
    yield one
    one.stop()


def pytest_configure(config):
    config.addinivalue_line("markers", "long: only in ./dev test --cluster")
