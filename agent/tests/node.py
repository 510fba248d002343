# SPDX-License-Identifier: GPL-2.0-only
"""A node of the lab, and the agent in it."""

import json
import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
LAB = os.path.join(HERE, "../../cluster-tests/lab/lab")
sys.dont_write_bytecode = True
sys.path.append(os.path.dirname(LAB))

import lablib.cgroup                # noqa: E402
import lablib.node                  # noqa: E402
import lablib.rig                   # noqa: E402

UNITS = ("postern-engine", "posternd", "postern-notify", "postern-share", "postern-update")
AGENT = "/usr/lib/ocf/resource.d/postern/scanner"
MOUNT = "/srv/mail"
STATE = f"{MOUNT}/postern"
QUEUE = f"{MOUNT}/queue"
CONFIG = f'state_dir = "{STATE}"\n'
BEHAVIOUR = {"load": 0.5, "state_dir": STATE, "milter": "/run/postern/milter/milter.sock"}


def lab(*args):
    return subprocess.run([LAB, *args], text=True, capture_output=True, timeout=300, check=False)


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

    def __init__(self):
        """As `lab exec` enters it, without starting that each time."""
        lab_ = lablib.rig.Lab().need()
        group = lablib.cgroup.freezing(lab_.name, "n1")
        self.pid = lablib.node.Node(lab_, "n1").init_pid()
        self.enter = ["/bin/sh", "-c", 'echo 0 >"$0/cgroup.procs" 2>/dev/null; exec "$@"', group,
                      *lablib.node.Node(lab_, "n1").command([])]

    def run(self, *cmd, stdin=None, timeout=90):
        return Done(subprocess.run([*self.enter, *cmd], input=stdin, text=True,
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

    def pid_of(self, program):
        pid = self.unit(program, "MainPID")
        return pid if pid != "0" else None

    def condition(self, program):
        """In the words of postern-supervise."""
        state = self.unit(program)
        return {"active": "up", "inactive": "down"}.get(state, state)

    def limit(self, program, line):
        """A line in the unit's [Service], until the test ends."""
        folder = f"/run/systemd/system/{program}.service.d"
        self.sh(f"mkdir -p {folder}; printf '[Service]\\n{line}\\n' > {folder}/90-test.conf; "
                "systemctl daemon-reload")

    def told(self, since):
        """Has postern-notify had the cluster look? SINCE: Unix seconds."""
        return "telling the cluster" in self.sh(
            f"journalctl -u postern-notify -t postern-notify -b --since @{since}")

    def traces(self):
        """What is left of the units."""
        return [name for name in UNITS if self.unit(name) != "inactive"] + self.sh(
            "ls /run/systemd/system").split()

    def mount(self):
        self.sh(f"mkdir -p {MOUNT}; mountpoint -q {MOUNT} || mount /dev/sdb {MOUNT}; "
                f"install -d -o postern -g postern -m 0700 {STATE}; install -d {QUEUE}")

    def attribute(self, name):
        out = self.run("attrd_updater", "-Q", "-n", name).out
        return out.partition('value="')[2].rstrip('"') or None

    def mounts(self):
        return [line.split()[4] for line in self.sh("cat /proc/self/mountinfo").splitlines()]


def unpack(what):
    """From the stage, over what is there."""
    pack = subprocess.Popen(["tar", "-C", os.environ["POSTERN_STAGE"], "-cf", "-", what],
                            stdout=subprocess.PIPE)
    subprocess.run([LAB, "exec", "n1", "tar", "-C", "/", "-xpf", "-", "--keep-directory-symlink",
                    "--no-overwrite-dir", "--no-same-owner"], stdin=pack.stdout, check=True)
    assert pack.wait() == 0


def stand_in(node, *names):
    with open(f"{HERE}/stand-in", encoding="utf-8") as f:
        text = f.read()
    for name in names:
        path = f"/usr/libexec/postern/{name}"
        node.sh(f"rm -f {path}")
        node.write(path, text)
        node.sh(f"chmod 755 {path}")


def install(node):
    unpack(".")
    stand_in(node, "postern-engine", "postern-zygote", "posternd")
    node.sh("mkdir -p /etc/postern; systemd-sysusers 2>&1; "
            "systemd-tmpfiles --create postern.conf; systemctl daemon-reload")
