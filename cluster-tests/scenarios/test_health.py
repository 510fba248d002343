# SPDX-License-Identifier: GPL-2.0-only
"""A node's health: told to the cluster, which acts on it only where its strategy says so."""

import re

import memory
from lablib import cluster, postern
from lablib.base import poll, wait_for

HEALTH = "#health-postern"
QUICK = "health_interval = 1\nhealth_window = 3\nhealth_needed = 2\nhealth_hold = 5"


def health(story, node):
    """As pacemaker-attrd of the node has it; None if it is not set."""
    said = story.run(node, "sh", "-c", f"attrd_updater -Q -n '{HEALTH}' -N {node} 2>&1 || true")
    found = re.search(r'value="(\w+)"', said)
    return found.group(1) if found else None


def told(story, node, value, limit=60):
    wait_for(f"{node} is {value}", lambda: health(story, node) == value, limit, 0.3)


def fill(story, node):
    """Of /run nothing is left: engine, posternd and notify keep their files there."""
    story.run(node, "mount", "-o", "remount,size=64M", "/run")
    story.run(node, "sh", "-c", "dd if=/dev/zero of=/run/fill bs=4k status=none || true")


def make_room(story, node):
    story.run(node, "rm", "/run/fill")
    story.run(node, "mount", "-o", "remount,size=20%", "/run")


def engines_again(story):
    """With other settings; the mail moves to whoever is warm."""
    for node in [story.other(story.active()), story.active()]:
        story.run(node, "systemctl", "restart", "postern-engine")
        postern.wait_ready(story.lab)


def test_migrate_on_red(story):
    """The mail moves whole, the instance stays warm, turns green again, and nothing moves back."""
    old = story.active()
    new = story.other(old)
    with memory.setting(story.lab, QUICK):
        engines_again(story)
        old = story.active()
        new = story.other(old)
        wait_for("the health of both is known",
                 lambda: all(health(story, n) in ("green", "yellow") for n in (old, new)), 30, 0.3)
        calm = health(story, old)
        engine = story.main_pid(old, "postern-engine.service")
        with story.load() as load:
            # The default strategy: the attribute informs, nothing else.
            fill(story, old)
            told(story, old, "red")
            shown = story.run(old, "sh", "-c", "postern status || true")
            assert re.search(r"red: a file system of this node is full", shown), shown
            found = story.run(old, "sh", "-c", "postern doctor host || true")
            assert "storage-full" in found, found
            cluster.wait_idle(story.lab)
            assert story.active() == old, "node-health-strategy=none moved the mail"
            make_room(story, old)
            told(story, old, calm)

            story.crm("configure", "property", "node-health-strategy=migrate-on-red")
            fill(story, old)
            story.serves(new)
            load.flows()
            assert cluster.view(story.lab).where("fs") == [new]
            assert story.main_pid(old, "postern-engine.service") == engine, \
                "the instance on the red node was stopped: it could never turn green"
            told(story, old, "red")
            make_room(story, old)
            told(story, old, calm)
            before = story.transitions()
            assert not poll(lambda: story.active() != new, 15, 0.5), "the mail came back"
            assert story.transitions() - before <= 1
            postern.wait_ready(story.lab)
        story.crm("configure", "property", "node-health-strategy=none")
    engines_again(story)
    story.audit()


def test_the_attribute_goes_with_the_resource(story):
    passive = story.other(story.active())
    wait_for("it is there", lambda: health(story, passive) in ("green", "yellow"), 60, 0.3)
    story.crm("node", "standby", passive)
    wait_for("it is gone", lambda: health(story, passive) is None, 60, 0.3)
    story.crm("node", "online", passive)
    wait_for("it is back", lambda: health(story, passive) in ("green", "yellow"), 60, 0.3)
    postern.wait_ready(story.lab)
    story.audit()
