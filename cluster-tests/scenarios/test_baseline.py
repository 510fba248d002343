# SPDX-License-Identifier: GPL-2.0-only
"""The mail group without Postern: what the cluster alone does, and the lab itself."""

import subprocess

import pytest

from lablib import account

LAB = {"scanner": False}


def test_standby(story):
    old = story.active()
    with story.load() as load:
        begun = story.crm("node", "standby", old)
        story.serves(story.other(old))
        load.flows()
    story.tell(f"first 250 after {load.outage(begun):.1f} s")
    story.audit()


def test_plug_pulled(story):
    old = story.active()
    with story.load() as load:
        begun = story.fault("plug", old)
        story.serves(story.other(old))
        load.flows()
        story.all_back()
    story.tell(f"first 250 after {load.outage(begun):.1f} s")
    story.audit(fenced=[old])


@pytest.mark.core
def test_account_sees_a_loss_and_a_copy(story):
    """The account itself: an account that cannot be wrong proves nothing."""
    with story.load() as load:
        load.flows()
    story.audit()
    inbox = "/srv/mail/maildir/inbox/new"
    node = story.active()
    victim = load.attempts()[0]["id"]
    names = story.run(node, "grep", "-rl", f"X-Lab-Id: {victim}", inbox).split()
    story.run(node, "cp", "-p", names[0], f"{inbox}/copy")
    rows, _ = account.account(story.lab, load.log)
    assert rows["DELIVERED WITHOUT CAUSE"] == [victim] and not account.good(rows)
    story.run(node, "rm", names[0], f"{inbox}/copy")
    rows, _ = account.account(story.lab, load.log)
    assert rows["LOST"] == [victim] and not account.good(rows)
    told = subprocess.run([account_tool(), load.log], capture_output=True, text=True,
                          check=False)
    assert told.returncode == 1 and "LOST" in told.stdout


def account_tool():
    import story as stories
    return stories.LAB_TOOL.removesuffix("lab") + "account"
