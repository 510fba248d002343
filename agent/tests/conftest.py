# SPDX-License-Identifier: GPL-2.0-only
"""A bare lab whose node n1 has the agent, the units and stand-ins for engine and posternd.

POSTERN_STAGE=DIR  a tree made by 'make install DESTDIR=DIR' with --prefix=/usr --sysconfdir=/etc
"""

import json
import os
import subprocess

import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
LAB = os.environ.get("LAB", os.path.join(HERE, "../../cluster-tests/lab/lab"))
AGENT = "/usr/lib/ocf/resource.d/postern/scanner"
MOUNT = "/srv/mail"
STATE = f"{MOUNT}/postern"
QUEUE = f"{MOUNT}/queue"
CONFIG = f'state_dir = "{STATE}"\n'
BEHAVIOUR = {"load": 0.5, "state_dir": STATE, "milter": "/run/postern/milter/milter.sock"}


class Done:
    """How a command in the node ended."""

    def __init__(self, process):
        self.rc = process.returncode
        self.out = process.stdout.strip()
        self.err = process.stderr.strip()
        self.reason = "".join(line.partition(":")[2] for line in self.err.splitlines()[-1:]
                              if line.startswith("ocf-exit-reason:"))


class Node:
    """n1 of the lab, and the agent in it."""

    def run(self, *cmd, stdin=None, timeout=90):
        return Done(subprocess.run([LAB, "exec", "n1", *cmd], input=stdin, text=True,
                                   capture_output=True, timeout=timeout, check=False))

    def sh(self, script):
        done = self.run("/bin/sh", "-ec", script)
        assert done.rc == 0, f"{script}: {done.err}"
        return done.out

    def agent(self, action, resource="scanner", promotable=True, timeout=20, level=0,
              interval=0, **params):
        env = [f"OCF_RESKEY_{name}={value}" for name, value in params.items()]
        if promotable:
            env.append("OCF_RESKEY_CRM_meta_promoted_max=1")
        return self.run("env", "OCF_ROOT=/usr/lib/ocf", f"OCF_RESOURCE_INSTANCE={resource}",
                        "OCF_RESKEY_CRM_meta_on_node=n1", f"OCF_CHECK_LEVEL={level}",
                        f"OCF_RESKEY_CRM_meta_timeout={timeout * 1000}",
                        f"OCF_RESKEY_CRM_meta_interval={interval}", *env, AGENT, action)

    def write(self, path, text):
        done = self.run("/bin/sh", "-c", f"cat > {path}", stdin=text)
        assert done.rc == 0, done.err

    def behave(self, **how):
        self.write("/etc/postern/stand-in.json", json.dumps({**BEHAVIOUR, **how}))

    def unit(self, name, what="ActiveState"):
        return self.run("systemctl", "show", "-P", what, name).out

    def mount(self):
        self.sh(f"mkdir -p {MOUNT}; mountpoint -q {MOUNT} || mount /dev/sdb {MOUNT}; "
                f"install -d -o postern -g postern -m 0700 {STATE}; install -d {QUEUE}")

    def attribute(self, name):
        out = self.run("attrd_updater", "-Q", "-n", name).out
        return out.partition('value="')[2].rstrip('"') or None

    def mounts(self):
        return [line.split()[4] for line in self.sh("cat /proc/self/mountinfo").splitlines()]


def lab(*args):
    return subprocess.run([LAB, *args], text=True, capture_output=True, timeout=300, check=False)


def install(node, stage):
    pack = subprocess.Popen(["tar", "-C", stage, "-cf", "-", "."], stdout=subprocess.PIPE)
    subprocess.run([LAB, "exec", "n1", "tar", "-C", "/", "-xpf", "-", "--keep-directory-symlink",
                    "--no-overwrite-dir", "--no-same-owner"], stdin=pack.stdout, check=True)
    assert pack.wait() == 0
    with open(f"{HERE}/stand-in", encoding="utf-8") as f:
        stand_in = f.read()
    for name in ("postern-engine", "postern-zygote", "posternd"):
        path = f"/usr/libexec/postern/{name}"
        node.sh(f"rm -f {path}")
        node.write(path, stand_in)
        node.sh(f"chmod 755 {path}")
    node.sh("mkdir -p /etc/postern; systemd-sysusers 2>&1; "
            "systemd-tmpfiles --create postern.conf; systemctl daemon-reload")


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
        install(node, stage)
        yield node
    finally:
        lab("down")


@pytest.fixture
def node(bare):
    """A node on which nothing of Postern runs, with the state mounted."""
    bare.behave()
    bare.write("/etc/postern/postern.conf", CONFIG)
    bare.mount()
    yield bare
    bare.behave()
    bare.write("/etc/postern/postern.conf", CONFIG)
    for resource in ("scanner", "second", "warm"):
        bare.agent("stop", resource, promotable=False)
    bare.run("systemctl", "stop", "posternd", "postern-engine", "postern-notify")
    bare.sh("rm -rf /run/postern/cluster/role /run/systemd/system/p*.d; systemctl daemon-reload;"
            f"umount {QUEUE}/postern 2>/dev/null || true; umount {MOUNT} 2>/dev/null || true")


def pytest_configure(config):
    config.addinivalue_line("markers", "long: only in ./dev test --cluster")
