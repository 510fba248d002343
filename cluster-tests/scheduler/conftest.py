# SPDX-License-Identifier: GPL-2.0-only
"""Decisions of Pacemaker's scheduler about the recommended configuration; no cluster is needed."""

import os
import shutil
import sys

import pytest

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import sim              # noqa: E402


@pytest.fixture(scope="session")
def settled(tmp_path_factory):
    """settled(nodes): the CIB of a cluster that serves on n1, all nodes ready; made once."""
    made = {}

    def build(nodes):
        if nodes not in made:
            cluster = sim.Sim(str(tmp_path_factory.mktemp("cib")), nodes=nodes)
            cluster.scores(sim.READY, *[sim.LOAD] * (nodes - 1)).settle()
            plan = cluster.scores(*[sim.READY] * nodes).plan()
            assert plan.quiet and plan.mail == plan.promoted == "n1"
            made[nodes] = cluster
        return made[nodes]
    return build


@pytest.fixture
def make(settled, tmp_path):
    """make(nodes=2, stickiness=100): a copy of it for a test to change."""
    if not shutil.which("crm_simulate"):
        pytest.skip("needs crm_simulate (package pacemaker-cli-utils)")

    def build(nodes=2, stickiness=100):
        return settled(nodes).copy(str(tmp_path), stickiness)
    return build
