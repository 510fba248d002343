# SPDX-License-Identifier: GPL-2.0-only
"""The examples of ocf_postern_scanner(7) and of docs/OPERATIONS.md, for pcs and for crmsh, make the
same configuration.

They are run as they stand there, on a file instead of a cluster.
"""

import copy
import os
import re
import shutil
import subprocess
import xml.etree.ElementTree as ET

import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
MANUAL = os.path.join(HERE, "../../docs/man/ocf_postern_scanner.7")
OPERATIONS = os.path.join(HERE, "../../docs/OPERATIONS.md")
AGENT = "usr/lib/ocf/resource.d/postern/scanner"

GROUP = """primitive fs ocf:heartbeat:Filesystem \\
    params device=/dev/sdb directory=/srv/mail fstype=ext4
primitive vip ocf:heartbeat:IPaddr2 params ip=10.0.0.1
primitive postfix ocf:heartbeat:postfix
group mail fs vip postfix
"""
# The manual's commands are for a running cluster: what they read and push is the file here.
PCS = """
pcs() {
    case "$1 $2" in
    "cluster cib") cp cib.xml "$3" ;;
    "cluster cib-push") cp "$3" cib.xml ;;
    -f*) command pcs "$@" ;;
    *) command pcs -f cib.xml "$@" ;;
    esac
}
"""
# The tools ask the agent for its metadata, where it would be installed.
INSTALLED = 'mount -t overlay -o "lowerdir=$0/usr:/usr" overlay /usr && exec "$@"'
ABSENT = {"rsc-role": "Started", "kind": "Mandatory", "symmetrical": "true"}


def between(path, begin, end):
    with open(path, encoding="utf-8") as f:
        text = f.read()
    part = text[text.index(begin):]
    return part[:part.index(end)]


def displayed(begin, end):
    """Literal displays of the manual, as they are shown."""
    found = re.findall(r"^\.Bd -literal[^\n]*\n(.*?)^\.Ed$",
                       between(MANUAL, f"\n{begin}\n", f"\n{end}"), re.M | re.S)
    return "\n".join(found).replace("\\e", "\\")


def indented(begin, end):
    """Code of a Markdown text."""
    return "".join(line[4:] for line in between(OPERATIONS, begin, end).splitlines(True)
                   if line.startswith("    "))


SOURCES = {
    "manual": lambda: (displayed("With pcs:", "With crmsh:"),
                       displayed("With crmsh:", "The mail follows the scanner")),
    "OPERATIONS.md": lambda: (indented("above, with pcs:", "\nWith crmsh,"),
                              indented("\nWith crmsh,", "\nDone by hand")),
}


@pytest.fixture(scope="module", params=SOURCES)
def made(tmp_path_factory, request):
    """{tool: configuration} after the commands for it."""
    stage = os.environ.get("POSTERN_STAGE")
    if not stage or not os.path.lexists(f"{stage}/{AGENT}"):
        pytest.skip("needs POSTERN_STAGE=DIR from 'make install DESTDIR=DIR'")
    if os.geteuid() != 0 or not shutil.which("pcs") or not shutil.which("crm"):
        pytest.skip("needs root, pcs and crmsh")
    folder = tmp_path_factory.mktemp("tools")

    def call(script, stdin=None):
        done = subprocess.run(
            ["unshare", "-m", "sh", "-c", INSTALLED, os.path.abspath(stage), "bash", "-ec", script],
            cwd=folder, input=stdin, text=True, capture_output=True, timeout=300, check=False,
            env={**os.environ, "HOME": str(folder)})
        assert done.returncode == 0, done.stderr + done.stdout

    def tree(name):
        return ET.parse(folder / name)

    pcs, crmsh = SOURCES[request.param]()
    batch = "CIB_file=cib.xml crm -F -f -"
    call(f"cibadmin --empty > cib.xml; {batch}; cp cib.xml group.xml",
         f"configure\n{GROUP}commit\n")
    call(f"{PCS}{pcs}\ncp cib.xml pcs.xml; cp group.xml cib.xml")
    call(batch, f"configure\n{crmsh}commit\n")
    return {"pcs": tree("pcs.xml"), "crmsh": tree("cib.xml")}


def pairs(element, path):
    return {p.get("name"): p.get("value") for p in element.iterfind(f"{path}/nvpair")}


def milliseconds(text):
    number, unit = re.fullmatch(r"(\d+)(ms|s|min|)", text).groups()
    return int(number) * {"ms": 1, "s": 1000, "": 1000, "min": 60000}[unit]


def summary(tree):
    """What a configuration says about the scanner, however it is written."""
    clone = tree.find(".//clone")
    primitive = clone.find("primitive")
    # A monitor without a role is that of the others.
    actions = {(op.get("name"), milliseconds(op.get("interval")),
                None if op.get("role") == "Unpromoted" else op.get("role")):
               milliseconds(op.get("timeout")) for op in primitive.iterfind("operations/op")}
    rules = []
    for rule in tree.find(".//constraints"):
        said = {k: v.replace(clone.get("id"), "CLONE") for k, v in rule.attrib.items() if k != "id" and ABSENT.get(k) != v}
        if rule.tag == "rsc_order":
            said.setdefault("first-action", "start")
            said.setdefault("then-action", said["first-action"])
        rules.append((rule.tag, sorted(said.items())))
    # A clone's options hold for what it contains; the role that it may have at most is the default.
    options = {**pairs(primitive, "meta_attributes"), **pairs(clone, "meta_attributes")}
    if options.get("target-role") in ("Promoted", "Started"):
        del options["target-role"]
    return {"parameters": pairs(primitive, "instance_attributes"), "options": options,
            "actions": {k: v for k, v in actions.items() if not k[0].startswith(
                ("migrate", "reload", "notify"))},
            "constraints": sorted(rules)}


def test_pcs_and_crmsh_say_the_same(made):
    pcs, crm = summary(made["pcs"]), summary(made["crmsh"])
    for part in pcs:
        assert pcs[part] == crm[part]
    assert pcs["options"]["promotable"] == "true" and "target-role" not in pcs["options"]
    assert len(pcs["constraints"]) >= 3 and pcs["parameters"]


def test_it_is_what_the_decisions_were_checked_with(made):
    """cib.xml of this folder has the same options and constraints."""
    said = summary(made["pcs"])
    ours = summary(ET.parse(os.path.join(HERE, "cib.xml")))
    assert said["constraints"] == ours["constraints"]
    assert said["options"] == ours["options"]
    monitors = {k: v for k, v in said["actions"].items() if k[0] == "monitor"}
    assert monitors == ours["actions"]


@pytest.mark.parametrize("path, name, value", [
    (".//rsc_order[@kind='Optional']", "kind", "Mandatory"),
    (".//rsc_colocation", "with-rsc-role", "Started"),
    (".//clone//nvpair[@name='promoted-max']", "value", "2"),
    (".//clone//op[@name='promote']", "timeout", "9s")])
def test_a_difference_is_seen(made, path, name, value):
    other = copy.deepcopy(made["pcs"])
    other.find(path).set(name, value)
    assert summary(other) != summary(made["pcs"])
