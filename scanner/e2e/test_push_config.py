# SPDX-License-Identifier: GPL-2.0-only
"""One node's side of `postern cluster push-config`, with a systemctl that is none."""
import json
import os
import subprocess

import pytest

import instance


@pytest.fixture
def finish(tmp_path):
    """Ends a push where UNITS run, of which BROKEN do not take it; its answer, and who was told."""
    (tmp_path / "postern.conf").write_text("")

    def run(units, broken=(), status=0):
        (tmp_path / "bin").mkdir(exist_ok=True)
        tool = tmp_path / "bin/systemctl"
        tool.write_text(f"""#!/bin/sh
echo "$*" >>{tmp_path}/asked
case "$1" in
is-active) case " {' '.join(units)} " in *" $2 "*) echo active ;; *) exit 3 ;; esac ;;
reload) case " {' '.join(broken)} " in *" $2 "*) echo "no such luck" >&2; exit 1 ;; esac ;;
esac
""")
        tool.chmod(0o755)
        done = subprocess.run(
            [instance.BUILD / "postern", "cluster", "node", "config", "finish", "--config",
             tmp_path / "postern.conf"], capture_output=True, text=True, check=False, timeout=300,
            env={**os.environ, "PATH": f"{tmp_path}/bin:{os.environ['PATH']}"})
        assert done.returncode == status, done.stderr
        asked = (tmp_path / "asked").read_text().splitlines()
        (tmp_path / "asked").unlink()
        told = [line.split()[1] for line in asked if line.startswith("reload ")]
        return json.loads(done.stdout), told
    return run


def test_all_are_told(finish):
    """Who fetches and who shares have the same configuration as who scans."""
    units = ["posternd.service", "postern-engine.service", "postern-update.service",
             "postern-share.service"]
    answer, told = finish(units)
    assert told == units
    assert answer == {"reloaded": True, "error": None, "programs": [
        unit.removesuffix(".service") for unit in units]}


def test_what_does_not_run(finish):
    answer, told = finish(["postern-update.service"])
    assert told == ["postern-update.service"] and answer["programs"] == ["postern-update"]
    answer, told = finish([])
    assert told == [] and answer == {"reloaded": False, "error": None, "programs": []}


def test_one_does_not_take_it(finish):
    """The others are told all the same."""
    answer, told = finish(["posternd.service", "postern-share.service"], ["posternd.service"], 1)
    assert told == ["posternd.service", "postern-share.service"]
    assert answer["programs"] == ["postern-share"] and "no such luck" in answer["error"]
