# SPDX-License-Identifier: GPL-2.0-only
"""The older Postern and this one, on one state and on one machine, in each mixture.

The older one is that of cluster-tests/upgrade-from, built beside.
"""
import json
import os
import pathlib
import shutil
import signal
import subprocess

import pytest

import instance
import mails
import postfix
from instance import BUILD, wait_for
from test_release import Gate, copies, keep

TOP = pathlib.Path(__file__).resolve().parents[2]
ASKED = {"mail_options": ["RET=HDRS", "ENVID=QQ42", "BODY=8BITMIME"],
         "rcpt_options": ["NOTIFY=FAILURE,DELAY", "ORCPT=rfc822;user@lab.test"]}


@pytest.fixture(scope="module")
def older(folder):
    """A folder with the older programs, as in a build folder."""
    made = subprocess.run([TOP / "cluster-tests/older"], stdout=subprocess.PIPE, text=True,
                          check=False)
    assert made.returncode == 0, "the older Postern cannot be made: see above"
    tree = folder / "older"
    subprocess.run(["dpkg-deb", "-x", made.stdout.strip(), tree], check=True)
    programs = folder / "older-programs"
    programs.mkdir()
    for path in [*(tree / "usr/libexec/postern").iterdir(), tree / "usr/bin/postern"]:
        shutil.copy(path, programs)
    return programs


@pytest.fixture(scope="module")
def rig(folder, signatures, older):
    if os.geteuid() != 0:
        pytest.skip("a private Postfix needs root")
    home = folder / "versions"
    one = instance.Instance(home, signatures, f'release_socket = "{home}/gate"\n', older)
    mta = postfix.Postfix(folder / "postfix-versions", f"unix:{home}/milter.sock")
    inner = mta.add_release_service()
    one.start()
    gate = Gate(home / "gate", inner)
    mta.start()
    yield one, mta, gate
    mta.stop()
    one.stop()


def keep_asking(postern, mta, subject):
    """Keeps a mail whose sender has asked for more; returns its key."""
    message = mails.multipart(subject, [mails.text_part(subject.encode()),
                                        mails.attachment(mails.EICAR)])
    assert mta.send(message, **ASKED)[0] == 550
    (row,) = [r for r in postern.json("quarantine", "list") if r["subject"] == subject]
    return row["key"]


def envelope(postern, key):
    line = (postern.dir / f"state/quarantine/{key}.eml").read_bytes().split(b"\n")[0]
    return json.loads(line.split(b": ", 1)[1])["envelope"]


def change_to(postern, build):
    postern.stop()
    postern.build = build
    postern.start()


def respawn(postern, name, build):
    """As when the package was upgraded below a running node: one program is of another version."""
    running = name.removeprefix("postern-")
    pid = postern.pid(running)
    new = postern.dir / f"bin/{name}.new"
    shutil.copy(build / name, new)
    os.replace(new, postern.dir / f"bin/{name}")
    os.kill(pid, signal.SIGKILL)
    file = postern.dir / f"{running}.pid"
    wait_for(lambda: file.read_text().strip() not in ("", str(pid)), f"another {name}")
    wait_for(lambda: postern.postern("status", check=False).returncode == 0, "a verdict")


def check_verdicts(postern, mta, subject):
    assert mta.send(mails.multipart(subject, [mails.text_part(b"good")]))[0] == 250
    assert copies(mta, subject)
    return keep(postern, mta, f"{subject}, infected")[1]


def released(postern, mta, key, subject):
    assert postern.json("quarantine", "release", "--yes", key)[0]["done"] == "released"
    assert len(copies(mta, subject)) == 1


def test_each_reads_what_the_other_kept(rig, older):
    postern, mta, gate = rig
    by_old = keep_asking(postern, mta, "kept by the older")
    change_to(postern, BUILD)
    assert b"state format 2, 3 available: postern cluster finish-upgrade" in \
        postern.postern("status").stdout
    assert not (postern.dir / "state/format").exists()
    by_new = keep_asking(postern, mta, "kept by the newer")
    # What the older one writes is what the newer one writes.
    one, two = envelope(postern, by_old), envelope(postern, by_new)
    assert one.keys() == two.keys() and "parameters" not in two
    released(postern, mta, by_old, "kept by the older")
    change_to(postern, older)
    released(postern, mta, by_new, "kept by the newer")
    assert b"RET=" not in gate.heard and b"NOTIFY=" not in gate.heard


def test_every_mixture_on_one_node(rig, older):
    postern, mta, _ = rig
    respawn(postern, "posternd", BUILD)             # a newer posternd, the older engine
    check_verdicts(postern, mta, "newer posternd")
    respawn(postern, "posternd", older)
    respawn(postern, "postern-engine", BUILD)       # a newer engine and the older zygote
    check_verdicts(postern, mta, "newer engine")
    new = postern.dir / "bin/postern-zygote"
    os.replace(shutil.copy(BUILD / "postern-zygote", f"{new}.new"), new)
    respawn(postern, "postern-engine", older)       # an older engine and the newer zygote
    check_verdicts(postern, mta, "newer zygote")


def test_raised(rig, older):
    postern, mta, gate = rig
    change_to(postern, BUILD)
    before = keep_asking(postern, mta, "before")
    done = postern.json("cluster", "finish-upgrade")
    assert (done["was"], done["format"]) == (2, 3)
    assert postern.json("cluster", "finish-upgrade")["was"] == 3
    assert (postern.dir / "state/format").read_text() == "3\n"
    assert b"finish-upgrade" not in postern.postern("status").stdout
    after = keep_asking(postern, mta, "after")
    assert envelope(postern, after)["parameters"] == "RET=HDRS ENVID=QQ42 BODY=8BITMIME"
    released(postern, mta, before, "before")
    assert b"RET=" not in gate.heard
    released(postern, mta, after, "after")
    assert b" RET=HDRS" in gate.heard and b" ENVID=QQ42" in gate.heard
    assert b" NOTIFY=FAILURE,DELAY ORCPT=rfc822;user@lab.test\r\n" in gate.heard
    kinds = {row["kind"] for row in postern.json("incidents")}
    assert "format" in kinds


def test_the_older_one_refuses_it(rig, older):
    postern, mta, _ = rig
    change_to(postern, BUILD)
    postern.stop()
    config = str(postern.dir / "postern.conf")
    done = subprocess.run(["setpriv", "--reuid", "postern", "--regid", "postern", "--clear-groups",
                           older / "posternd", "--config", config, "--foreground"],
                          capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 2 and "was made by a newer Postern" in done.stderr, done
    postern.start()
    check_verdicts(postern, mta, "as before")
