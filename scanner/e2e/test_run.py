# SPDX-License-Identifier: GPL-2.0-only
"""./dev run: what a private instance can do beside scanning."""
import json
import os
import pathlib
import subprocess
import tempfile

import pytest

import instance


@pytest.fixture
def place():
    """Where the daemons' users may go."""
    with tempfile.TemporaryDirectory(prefix="postern-run-", dir="/var/tmp") as name:
        path = pathlib.Path(name)
        path.chmod(0o755)
        yield path


def test_new_signatures_are_adopted(place):
    """The engine may change its own store, whoever started the instance."""
    files = []
    for name in ("first", "second"):
        files.append(place / f"{name}.ndb")
        files[-1].write_text("".join(f"Run.{name}.{n}:0:*:{n:08x}{name.encode().hex()}\n"
                                     for n in range(4)))
    one = instance.Instance(place / "one", files[:1]).start()
    try:
        store = place / "one/signatures"
        first = os.readlink(store / "current")
        one.postern("signatures", "add", *files)
        instance.wait_for(lambda: os.readlink(store / "current") != first, "the adoption")
    finally:
        one.stop()


def test_a_configuration_without_places_of_its_own(place):
    """One sentence, instead of programs that cannot start, or the machine's own Postern."""
    conf = place / "one/postern.conf"
    conf.parent.mkdir()
    conf.write_text(f'workers = 1\n  signatures_dir="{place}/signatures"\n# state_dir = "x"\n')
    done = subprocess.run([instance.TOP / "scanner/run", conf.parent], capture_output=True, text=True,
                          check=False, timeout=300,
                          env=dict(os.environ, POSTERN_BUILD=str(instance.BUILD)))
    assert done.returncode == 2 and "starting it again" not in done.stderr
    assert "does not set state_dir engine_dir control_socket milter_listen:" in done.stderr
    assert conf.read_text().startswith("workers = 1\n")


def test_status_of_what_cannot_be_loaded(place):
    """`signatures status` does not say that all is well."""
    broken = place / "broken.ndb"
    broken.write_text("# none\n")
    one = instance.Instance(place / "one", [broken])
    one.launch()
    try:
        def status():
            return one.postern("signatures", "status", check=False)
        instance.wait_for(lambda: b"Engine     cannot load it: there is no signature" in
                          status().stdout, "the failure")
        assert status().returncode == 1
        assert "no signature" in json.loads(one.postern("signatures", "status", "--json",
                                                        check=False).stdout)["engine_error"]
    finally:
        one.stop()
