# SPDX-License-Identifier: GPL-2.0-only
"""Bad input from the administrator: one sentence each, exit code 2, nothing started."""
import os
import subprocess

import pytest

import instance


def refused(words, *expected):
    run = subprocess.run([str(word) for word in words], capture_output=True, text=True, timeout=300,
                         check=False, stdin=subprocess.DEVNULL)
    assert run.returncode == 2, run
    lines = run.stderr.strip().splitlines()
    assert len(lines) == 1, run.stderr
    for text in expected:
        assert text in lines[0]


def test_no_such_signatures(folder):
    home = folder / "bad-signatures"
    refused([instance.TOP / "scanner/run", home, "--signatures", "/nonexistent/sigs"],
            "/nonexistent/sigs")
    assert not [path for path in (home / "signatures").iterdir() if path.name != ".lock"]


def test_empty_signature_directory(folder):
    (folder / "no-signatures").mkdir()
    refused([instance.TOP / "scanner/run", folder / "bad-signatures", "--signatures",
             folder / "no-signatures"], str(folder / "no-signatures"))


@pytest.mark.parametrize("line, expected", [
    ("workerz = 3", "there is no setting 'workerz'; did you mean workers?"),
    ('message_size = "12X"', "message_size"),
    ("workers = {", "postern.conf:1"),
])
@pytest.mark.parametrize("program", ["postern-engine", "posternd", "postern"])
def test_broken_configuration(folder, line, expected, program):
    conf = folder / "postern.conf"
    conf.write_text(line + "\n")
    words = [instance.BUILD / program, "--config", conf]
    refused(words + (["config", "check"] if program == "postern" else ["--foreground"]),
            "postern.conf", expected)


def test_no_configuration(folder):
    refused([instance.BUILD / "posternd", "--config", folder / "absent.conf", "--foreground"],
            "absent.conf")


def test_unwritable_state(folder):
    """posternd ends with a sentence; it is not a daemon that runs without a state."""
    if os.geteuid() != 0:
        pytest.skip("needs the daemon's own user")
    home = folder / "unwritable"
    subprocess.run([instance.TOP / "scanner/run", home, "--prepare"], check=True)
    os.chown(home / "state", 0, 0)
    refused(["setpriv", "--reuid", "postern", "--regid", "postern", "--clear-groups",
             home / "bin/posternd", "--config", home / "postern.conf", "--foreground"],
            str(home / "state"))


def test_absent_state(folder):
    conf = folder / "absent-state.conf"
    conf.write_text(f'state_dir = "{folder}/not-mounted"\nengine_dir = "{folder}"\n'
                    f'control_socket = "{folder}/c.sock"\n'
                    f'milter_listen = {{"unix:{folder}/m.sock"}}\n')
    refused([instance.BUILD / "posternd", "--config", conf, "--foreground"],
            f"{folder}/not-mounted")


@pytest.mark.parametrize("words", [["statuss"], ["quarantine"], ["--unknown"], ["scan"]])
def test_usage(words):
    run = subprocess.run([instance.BUILD / "postern", *words], capture_output=True, text=True,
                         timeout=300, check=False)
    assert run.returncode == 2
    assert run.stderr.startswith("postern: ")
