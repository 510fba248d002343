# SPDX-License-Identifier: GPL-2.0-only
"""`postern cluster setup` and `remove` on a mail cluster that runs."""

import json
import subprocess

import pytest

import dialogue
from lablib import cluster, postern
from lablib.base import LabError, wait_for
from lablib.node import Node

LAB = {"scanner": False, "installed": True}
FILES = ["/etc/postfix/main.cf", "/etc/postfix/master.cf"]


def configuration(story):
    """The cluster's configuration, in one form whatever wrote it."""
    return story.run("n1", "sh", "-c", "cibadmin -Q -o configuration | xmllint --c14n -")


def files(story):
    return {name: story.run(name, "md5sum", *FILES) for name in story.home.names}


def masters(story):
    """The main processes of the mail servers where mail runs."""
    return story.run(story.active(), "pidof", "master", "dovecot")


def put_in(story, *args, node="n1", check=True):
    return Node(story.lab, node).run("postern", "cluster", "setup", *args, check=check,
                                     timeout=400)


def take_out(story, *args, node="n1", check=True):
    return Node(story.lab, node).run("postern", "cluster", "remove", "--yes", *args, check=check,
                                     timeout=400)


def plan(story, command="setup"):
    return json.loads(story.run("n1", "postern", "cluster", command, "--dry-run", "--json"))


def refusals(story):
    done = put_in(story, "--yes", "--json", check=False)
    assert done.returncode == 1, done.stdout
    return {r["where"]: r for r in json.loads(done.stdout)["refusals"]}


def step(story, words):
    """What a person would type, and the wait that the plan asks for."""
    script = "cd $(mktemp -d)\n" + "\n".join(words)
    Node(story.lab, "n1").run("sh", "-e", "-c", script, timeout=300)
    cluster.wait_idle(story.lab)


def promoted(story, node):
    wait_for(f"the scanner is promoted on {node}",
             lambda: postern.where(story.lab) == node, 60, 0.3)


def clean(story, before):
    """Nothing is left of a scanner, and nothing else has changed."""
    assert configuration(story) == before
    seen = cluster.view(story.lab)
    assert not seen.has("postern") and not seen.failures()
    for name in story.home.names:
        assert story.run(name, "systemctl", "show", "-P", "ActiveState",
                         "postern-engine") == "inactive"


def test_setup_and_remove_under_load(story):
    """Nothing is refused, nothing restarts, and afterwards all is as it was."""
    before, pids, kept = configuration(story), masters(story), files(story)
    node = story.active()
    with story.load(rate=5) as load:
        done = put_in(story, "--yes")
        assert "nothing of the mail group was started or stopped" in done.stdout
        assert postern.where(story.lab) == node
        assert masters(story) == pids
        load.flows()
        assert "smtpd_milters = unix:/postern/milter.sock" in story.run(
            story.other(node), "postconf", "smtpd_milters")
        again = configuration(story)
        assert "There is nothing to change" in put_in(story).stdout
        assert configuration(story) == again
        take_out(story)
        load.flows()
    assert masters(story) == pids
    assert files(story) == kept
    clean(story, before)
    assert not [e for e in load.attempts() if e.get("code") != 250], "mail was refused"
    assert "nothing to change" in take_out(story).stdout
    story.audit()


@pytest.mark.parametrize("tool", ["pcs", "crmsh"])
def test_the_printed_commands(story, tool):
    """They do what setup and remove do."""
    before, pids, node = configuration(story), masters(story), story.active()
    steps = plan(story)["steps"]
    step(story, steps[0][tool])
    postern.wait_ready(story.lab)
    step(story, steps[1][tool])
    promoted(story, node)
    step(story, steps[2][tool])
    assert "There is nothing to change" in put_in(story, "--no-milter").stdout
    for one in plan(story, "remove")["steps"]:
        step(story, one[tool])
    assert masters(story) == pids
    clean(story, before)
    story.audit()


def test_refusals(story):
    before = configuration(story)
    node = story.active()
    story.crm("configure", "property", "maintenance-mode=true")
    assert "maintenance" in refusals(story)["maintenance-mode"]["what"]
    story.crm("configure", "property", "maintenance-mode=false")
    story.crm("configure", "property", "stonith-enabled=false")
    assert "switched off" in refusals(story)["stonith-enabled"]["what"]
    story.crm("configure", "property", "stonith-enabled=true")
    story.crm("node", "standby", story.other(node))
    cluster.wait_idle(story.lab)
    assert "standby" in refusals(story)[story.other(node)]["what"]
    story.crm("node", "online", story.other(node))
    cluster.wait_idle(story.lab)
    story.run(node, "crm_resource", "--fail", "--resource", "dovecot", "--node", node)
    cluster.wait_idle(story.lab)
    found = refusals(story)
    assert any(where.startswith("dovecot_") and "failed action" in r["what"]
               for where, r in found.items()), found
    story.run(node, "crm_resource", "--cleanup", "--resource", "dovecot")
    cluster.wait_idle(story.lab)
    story.run(story.other(node), "sh", "-c", "echo >>/etc/postern/postern.conf")
    assert any("configuration differs" in r["what"] for r in refusals(story).values())
    story.run(story.other(node), "sed", "-i", "$ d", "/etc/postern/postern.conf")
    with pytest.raises(LabError, match="nobody can be asked"):
        put_in(story)
    assert "nvpair" in before and not cluster.view(story.lab).has("postern")
    story.audit()


def begun(story, *args):
    """A setup that runs, as a process of ours; step 1 is done when it returns."""
    process = subprocess.Popen(
        Node(story.lab, "n1").command(["postern", "cluster", "setup", "--yes", *args]),
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    wait_for("the clone is there", lambda: cluster.view(story.lab).has("postern"), 60, 0.1)
    return process


def test_interrupted(story):
    """SIGTERM in between: all of it is taken back."""
    before, pids = configuration(story), masters(story)
    process = begun(story)
    story.run("n1", "sh", "-c", "kill $(pidof -s postern)")
    said = process.communicate(timeout=300)[0]
    assert process.returncode == 2 and "taken back" in said, said
    assert masters(story) == pids
    clean(story, before)
    story.audit()


def test_killed(story):
    """kill -9 in between: the next setup clears it away and begins anew."""
    before = configuration(story)
    process = begun(story)
    story.run("n1", "sh", "-c", "kill -9 $(pidof -s postern)")
    process.communicate(timeout=60)
    cluster.wait_idle(story.lab)        # while the controller is busy it is refused by name
    done = put_in(story, "--yes")
    assert "left from a setup that did not end" in done.stdout
    assert postern.where(story.lab) == story.active()
    take_out(story)
    clean(story, before)
    story.audit()


def test_two_at_a_time(story):
    """A setup on the other node refuses while one runs, and takes nothing of it away."""
    before = configuration(story)
    process = begun(story)
    third = take_out(story, node="n2", check=False)
    assert third.returncode == 1 and "changed from there" in third.stdout, third.stdout
    second = put_in(story, "--yes", node="n2", check=False)
    said = process.communicate(timeout=400)[0]
    assert process.returncode == 0 and "starting over" not in said, said
    if second.returncode != 0:  # else the first had come to its end
        assert second.returncode == 1 and "changed from there" in second.stdout, second.stdout
    assert postern.where(story.lab) == story.active()
    take_out(story)
    clean(story, before)
    story.audit()


def test_a_postfix_of_its_own(story):
    """The group's Postfix has its files on the shared storage: these get the milter."""
    node, directory = story.active(), "/srv/mail/etc-postfix"
    story.run(node, "cp", "-a", "/etc/postfix", directory)
    for name in story.home.names:
        story.run(name, "postconf", "-e", f"alternate_config_directories={directory}")
    story.crm("resource", "param", "postfix", "set", "config_dir", directory)
    cluster.wait_idle(story.lab)
    kept = files(story)
    before = story.run(node, "md5sum", f"{directory}/main.cf", f"{directory}/master.cf")
    put_in(story, "--yes")
    assert "unix:/postern/milter.sock" in story.run(
        node, "postconf", "-c", directory, "smtpd_milters")
    assert files(story) == kept
    assert dialogue.send(story.lab, dialogue.message("own", infected=True)) == 550
    take_out(story)
    assert story.run(node, "md5sum", f"{directory}/main.cf", f"{directory}/master.cf") == before
    story.crm("resource", "param", "postfix", "delete", "config_dir")
    cluster.wait_idle(story.lab)    # Postfix needs it once more to stop
    for name in story.home.names:
        story.run(name, "postconf", "-X", "alternate_config_directories")
    story.run(node, "rm", "-r", directory)
    story.audit()


def test_changed_meanwhile(story):
    """Somebody else changes the configuration while it loads: once more from the start."""
    process = begun(story)
    story.crm("configure", "property", "cluster-recheck-interval=14min")
    said = process.communicate(timeout=400)[0]
    assert process.returncode == 0 and "starting over" in said, said
    assert postern.where(story.lab) == story.active()
    take_out(story)
    assert "cluster-recheck-interval" in configuration(story)
    story.audit()
