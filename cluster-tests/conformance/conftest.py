# SPDX-License-Identifier: GPL-2.0-only
"""The agent as Pacemaker finds it: its metadata, and a node in which its actions run.

POSTERN_STAGE=DIR, a tree made by 'make install DESTDIR=DIR', is what is installed there.
"""

import importlib.util
import os
import subprocess
import sys

import pytest

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))

# The node of the agent's own tests: one lab node with stand-ins for engine and posternd.
AGENT_TESTS = os.path.join(HERE, "../../agent/tests")
sys.path.insert(0, AGENT_TESTS)
spec = importlib.util.spec_from_file_location("agent_node", f"{AGENT_TESTS}/conftest.py")
agent_node = importlib.util.module_from_spec(spec)
sys.modules["agent_node"] = agent_node
spec.loader.exec_module(agent_node)
bare, node = agent_node.bare, agent_node.lab_node


@pytest.fixture(scope="session")
def metadata():
    """What the agent prints; it must not need anything of the machine, so it runs here."""
    stage = os.environ.get("POSTERN_STAGE")
    agent = f"{stage}/usr/libexec/postern/postern-agent"
    if not stage or not os.path.exists(agent):
        pytest.skip("needs POSTERN_STAGE=DIR from 'make install DESTDIR=DIR'")
    done = subprocess.run([agent, "meta-data"], env={"OCF_ROOT": "/nowhere"}, text=True,
                          capture_output=True, timeout=20, check=True)
    assert done.stderr == ""
    return done.stdout
