# SPDX-License-Identifier: GPL-2.0-only
"""A bare lab whose node n1 has the agent, the units and stand-ins for engine and posternd.

POSTERN_STAGE=DIR  a tree made by 'make install DESTDIR=DIR' with --prefix=/usr --sysconfdir=/etc
"""

import os

import pytest

from node import AGENT, CONFIG, LAB, MOUNT, QUEUE, Node, install, lab
from plain import machine
from steps import OK

@pytest.fixture(scope="session")
def bare():
    stage = os.environ.get("POSTERN_STAGE")
    if not stage or not os.access(LAB, os.X_OK):
        pytest.skip("needs the lab, and POSTERN_STAGE=DIR from 'make install DESTDIR=DIR'")
    os.environ.setdefault("LAB_NAME", "agenttest")
    os.environ["LAB_OWNER"] = str(os.getpid())
    up = lab("up", "--bare")
    assert up.returncode == 0, up.stderr
    node = Node()
    try:
        install(node)
        yield node
    finally:
        lab("down")


# Only what a test has left is taken away: a systemd that reads its units anew takes its time.
CLEAR = f"""
for name in scanner second warm; do
    ! grep -qsF "[$name]" /run/postern/cluster/role ||
        env OCF_ROOT=/usr/lib/ocf OCF_RESOURCE_INSTANCE=$name OCF_RESKEY_CRM_meta_on_node=n1 \\
            OCF_RESKEY_CRM_meta_timeout=20000 {AGENT} stop
done
systemctl stop postern.target posternd postern-engine postern-notify postern-share postern-update
rm -f /run/postern/cluster/role
if ls -d /run/systemd/system/p*.d >/dev/null 2>&1; then
    rm -r /run/systemd/system/p*.d
    systemctl daemon-reload
fi
! mountpoint -q {QUEUE}/postern || umount {QUEUE}/postern
! mountpoint -q {MOUNT} || umount {MOUNT}
"""


@pytest.fixture
def lab_node(bare):
    """A node on which nothing of Postern runs, with the state mounted."""
    bare.behave()
    bare.write("/etc/postern/postern.conf", CONFIG)
    bare.mount()
    yield bare
    bare.behave()
    bare.write("/etc/postern/postern.conf", CONFIG)
    bare.sh(CLEAR)


@pytest.fixture
def node(lab_node):
    return lab_node


@pytest.fixture(scope="session")
def plain():
    if "POSTERN_STAGE" not in os.environ or os.geteuid() != 0:
        pytest.skip("needs root, and POSTERN_STAGE=DIR from 'make install DESTDIR=DIR'")
    with machine() as one:
        yield one


@pytest.fixture
def plain_node(plain):
    """The same on a machine without systemd."""
    plain.behave()
    plain.sh("rm -rf /run/told /run/attributes")
    yield plain
    plain.behave()
    for resource in ("scanner", "second"):
        assert plain.agent("stop", resource, promotable=False).rc == OK
    assert plain.running() == []


def pytest_configure(config):
    config.addinivalue_line("markers", "long: only in ./dev test --cluster")
