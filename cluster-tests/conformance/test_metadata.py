# SPDX-License-Identifier: GPL-2.0-only
"""The agent's metadata against OCF 1.1; the schemas that Debian has know 1.0 only."""

import os
import re
import subprocess
import xml.etree.ElementTree as ET

import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
MANUAL = os.path.join(HERE, "../../docs/man/ocf_postern_scanner.7")


def valid(text):
    done = subprocess.run(["xmllint", "--noout", "--relaxng", f"{HERE}/ocf-1.1.rng", "-"],
                          input=text, text=True, capture_output=True, timeout=20, check=False)
    assert "compilation" not in done.stderr and "cannot parse" not in done.stderr, done.stderr
    return "" if done.returncode == 0 else done.stderr or "invalid"


def wrongs(text):
    """What the schema cannot say."""
    tree = ET.fromstring(text)
    found = []
    actions = [action.attrib for action in tree.iterfind("actions/action")]
    names = {action["name"] for action in actions}
    found += [f"no action {name}" for name in ("start", "stop", "monitor", "meta-data")
              if name not in names]
    found += [f"{one} without {other}" for one, other in (
        ("promote", "demote"), ("demote", "promote"),
        ("migrate_to", "migrate_from"), ("migrate_from", "migrate_to"))
        if one in names and other not in names]
    # The manager tells monitors apart by their interval alone.
    intervals = [action.get("interval") for action in actions if action["name"] == "monitor"]
    if len(set(intervals)) != len(intervals) or None in intervals:
        found.append("monitors of one interval")
    if any(p.get("reloadable") == "1" for p in tree.iterfind("parameters/parameter")) \
            and "reload-agent" not in names:
        found.append("a reloadable parameter without reload-agent")
    for parameter in tree.iterfind("parameters/parameter"):
        content = parameter.find("content")
        options = [option.get("value") for option in content.iterfind("option")]
        if parameter.get("required") == "1" and content.get("default") is not None:
            found.append(f"{parameter.get('name')} is required and has a default")
        if options and content.get("default") not in options:
            found.append(f"{parameter.get('name')} has a default that is no option")
    return found


def test_is_valid(metadata):
    assert valid(metadata) == ""
    assert wrongs(metadata) == []


@pytest.mark.parametrize("old, new", [
    ("<version>1.1</version>", ""),
    ("<version>1.1</version>", "<version>1.0</version>"),
    ('<resource-agent name="scanner"', '<resource-agent name="two words"'),
    ('<action name="start"', '<action name="begin"'),
    ('timeout="30s"', 'timeout="soon"'),
    ('role="Promoted"', 'role="Master"'),
    ('depth="0"', 'depth="5"'),
    ('required="0"', 'unique="0"'),
    ('type="select"', 'type="list"'),
    ('<option value="all"/>', '<option/>'),
    ("</parameters>", "<parameter name='bare'/></parameters>"),
    ("</actions>", "</actions><extra/>")])
def test_schema_finds(metadata, old, new):
    assert old in metadata
    assert valid(metadata.replace(old, new, 1)) != ""


@pytest.mark.parametrize("pattern, new, what", [
    (r'<action name="stop"[^>]*>', "", "no action stop"),
    (r'<action name="demote"[^>]*>', "", "promote without demote"),
    (r'<action name="migrate_from"[^>]*>', "", "migrate_to without migrate_from"),
    (r'interval="7s"', 'interval="10s"', "monitors of one interval"),
    (r'default="all"', 'default="some"', "part has a default that is no option")])
def test_rules_find(metadata, pattern, new, what):
    changed = re.sub(pattern, new, metadata)
    assert changed != metadata and what in wrongs(changed)


def test_debian_knows_the_older_standard_only(metadata):
    """When this fails, Debian has caught up and ocf-tester may be asked without an exception."""
    schema = "/usr/share/resource-agents/ra-api-1.dtd"
    if not os.path.exists(schema):
        pytest.skip("needs the package resource-agents")
    with open(schema, encoding="utf-8") as f:
        assert "reload-agent" not in f.read()


def test_manual_has_all_parameters(metadata):
    with open(MANUAL, encoding="utf-8") as f:
        manual = f.read()
    for parameter in ET.fromstring(metadata).iterfind("parameters/parameter"):
        assert f".It Cm {parameter.get('name')}\n" in manual
