# SPDX-License-Identifier: GPL-2.0-only
"""A generation on its way through a cluster with real engines: the passive node first."""
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

import pytest

import instance
from peer import Cluster, NOBODY, programs_dir

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "engine"))
from generations import Store

wait_for = instance.wait_for
GOOD = "".join(f"Test.Sig.{n}:0:*:{n:08x}cafe{n:08x}\n" for n in range(10))
MORE = GOOD + "Test.More:0:*:0badcafe0badcafe0badcafe\n"


@pytest.fixture(scope="module")
def programs():
    path = programs_dir()
    for name in ("postern-engine", "postern-zygote"):
        shutil.copy(instance.BUILD / name, path)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def cluster(programs):
    """n1 serves, n2 does not, and both use the same signatures."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="postern-cluster-", dir="/var/tmp"))
    folder.chmod(0o755)
    one = Cluster(folder, programs, 2)
    for node, stage in zip(one.nodes, ("serving", "standby")):
        node.write(workers=1, health_memory="0", update_alone=3600)
        node.postern("signatures", "add", node.folder(a_ndb=GOOD))
        if os.geteuid() == 0:
            subprocess.run(["chown", "-R", "nobody:", node.dir / "signatures", node.dir / "engine"],
                           check=True)
        node.start(stage)
        node.launch("postern-engine")
    for node in one.nodes:
        wait_for(lambda node=node: loaded(node) is not None, f"the engine of {node.name}")
    yield one
    one.close()
    for node in one.nodes:
        print(node.name, *node.log, sep="\n    ")
    shutil.rmtree(folder)


def loaded(node):
    """The generation that its engine works with."""
    try:
        words = (node.dir / "engine/state").read_text().split()
    except OSError:
        return None
    return words[3] if words and words[0] == "ready" else None


def state(node, name):
    for row in node.json("signatures", "list"):
        if row["generation"] == name:
            return row["state"]
    return None


def fetch(node, **files):
    """What postern-update has fetched. Its name."""
    offer = node.dir / "update/offer"
    folder = node.folder(**files)
    made = Cluster.manifest(folder)
    for path in [folder, *folder.iterdir()]:
        path.chmod(0o755)
        if os.geteuid() == 0:
            os.chown(path, NOBODY.pw_uid, NOBODY.pw_gid)
    folder.rename(offer)
    return made


def test_passive_node_first(cluster):
    n1, n2 = cluster.nodes
    old = loaded(n1)
    name = fetch(n1, a_ndb=MORE)
    wait_for(lambda: loaded(n2) == name or loaded(n1) == name, "the adoption on one node")
    assert (loaded(n1), loaded(n2)) == (old, name)
    assert state(n1, name) in ("fetched", "trying", "tried"), "the active node has not begun first"
    wait_for(lambda: loaded(n1) == name, "the adoption on the active node")
    assert n1.seen(n2)["confirmed"] == name
    wait_for(lambda: any("waits for other nodes: " in line for line in n1.log), "the log")
    assert state(n1, name) == state(n2, name) == "adopted"


def test_bad_one_never_reaches_the_active_node(cluster):
    n1, n2 = cluster.nodes
    old = loaded(n1)
    name = fetch(n1, a_ndb=GOOD + "this is no signature\n")
    wait_for(lambda: state(n2, name) == "rejected", "the trial on the passive node")
    wait_for(lambda: any(f"{name}: waits for other nodes: n2 rejected it: " in line
                         for line in n1.log), "that the active node leaves it alone")
    assert loaded(n1) == loaded(n2) == old
    assert state(n1, name) == "fetched"
    assert not any("trial of generation" in line for line in n1.log)


def test_what_was_tried_here_waits_too(cluster):
    """As when the node became the active one between its trial and the adoption."""
    n1, n2 = cluster.nodes
    old = loaded(n1)
    name = Store(n1.dir / "signatures", NOBODY.pw_uid if os.geteuid() == 0 else None).put(
        {"a.ndb": MORE}, "tried", time.time() + 1)
    wait_for(lambda: loaded(n2) == name or loaded(n1) == name, "the adoption on one node")
    assert (loaded(n1), loaded(n2)) == (old, name)
    wait_for(lambda: loaded(n1) == name, "the adoption on the active node")
