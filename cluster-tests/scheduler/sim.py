# SPDX-License-Identifier: GPL-2.0-only
"""What Pacemaker's scheduler decides: crm_simulate on a CIB of our own, no cluster.

A Sim begins with all nodes online and nothing started; settle() carries its decisions out until
nothing is left to do. Then a test changes scores or injects events and looks at plan().
"""

import copy
import os
import re
import subprocess
import xml.etree.ElementTree as ET

HERE = os.path.dirname(os.path.abspath(__file__))
TEMPLATE = os.path.join(HERE, "cib.xml")
SCORES = os.path.join(HERE, "../../ha/score.h")
MEMBERS = ("fs", "vip", "postfix", "dovecot")
# What crm_simulate calls the actions that people see.
QUIET = {"monitor", "cancel"}


def score(name):
    """A score as Postern publishes it."""
    with open(SCORES, encoding="utf-8") as f:
        return int(re.search(rf"^#define SCORE_{name} (\d+)$", f.read(), re.M).group(1))


READY, PLOST, LOAD = score("READY"), score("PLOST"), score("LOAD")


class Plan:
    """A transition: what is done to whom, and where things are afterwards."""

    def __init__(self, tree):
        self.actions = [(a.get("resource").split(":")[0], a.get("action"), a.get("node"),
                         a.get("dest")) for a in tree.iterfind("./actions/rsc_action")
                        if a.get("blocked") != "true"]
        self.actions += [(a.get("node"), "fence", None, None)
                         for a in tree.iterfind("./actions/node_action")]
        self.steps = [(a.get("resource").split(":")[0], a.get("op"), a.get("node"))
                      for a in tree.iterfind("./transition/rsc_action")
                      if a.get("op") not in QUIET]
        self.after = tree.find("./revised_cluster_status")
        if self.after is None:
            self.after = tree.find("./cluster_status")

    @property
    def moves(self):
        """Resources of the mail group that are touched at all."""
        return sorted({name for name, *_ in self.steps if name in MEMBERS})

    @property
    def quiet(self):
        return not self.actions and not self.steps

    def where(self, resource, role=None):
        """Names of nodes, sorted."""
        return sorted(node.get("name") for rsc in self.after.iterfind(".//resource")
                      if rsc.get("id").split(":")[0] == resource and rsc.get("active") == "true"
                      and (role is None or rsc.get("role") == role)
                      for node in rsc.iterfind("node"))

    @property
    def promoted(self):
        return self.one(self.where("scanner", "Promoted"))

    @property
    def mail(self):
        """The node of the whole group; "split" or None."""
        places = {tuple(self.where(name)) for name in MEMBERS}
        return self.one(places.pop()) if len(places) == 1 else "split"

    @staticmethod
    def one(names):
        return names[0] if len(names) == 1 else "split" if names else None

    def of(self, resource):
        """Steps of one resource: [(operation, node)]."""
        return [(op, node) for name, op, node in self.steps if name == resource]


class Sim:
    def __init__(self, folder, nodes=2):
        self.file = os.path.join(folder, "cib.xml")
        self.names = [f"n{i + 1}" for i in range(nodes)]
        self.tree = ET.parse(TEMPLATE)
        for number, name in enumerate(self.names, 1):
            ET.SubElement(self.find("nodes"), "node", id=str(number), uname=name)
            self.fencing(name)
        self.save()
        self.simulate(*(word for name in self.names for word in ("-u", name)), "-X")

    def copy(self, folder, stickiness):
        """One of its own that the caller may change."""
        twin = copy.copy(self)
        twin.file = os.path.join(folder, "cib.xml")
        twin.tree = copy.deepcopy(self.tree)
        twin.value("default-stickiness", stickiness)
        twin.save()
        return twin

    # the CIB

    def find(self, path):
        return self.tree.find(f"./configuration/{path}")

    def value(self, ident, value):
        self.tree.find(f".//nvpair[@id='{ident}']").set("value", str(value))

    def add(self, where, text):
        """XML below a part of the configuration."""
        self.find(where).append(ET.fromstring(text))
        self.save()

    def fencing(self, name):
        self.find("resources").append(ET.fromstring(
            f'<primitive id="fence-{name}" class="stonith" type="fence_ipmilan">'
            f'<instance_attributes id="fence-{name}-params">'
            f'<nvpair id="fence-{name}-list" name="pcmk_host_list" value="{name}"/>'
            "</instance_attributes></primitive>"))
        self.find("constraints").append(ET.fromstring(
            f'<rsc_location id="fence-{name}-elsewhere" rsc="fence-{name}" node="{name}" '
            'score="-INFINITY"/>'))

    def prefers(self, node, points):
        self.add("constraints", f'<rsc_location id="prefer-{node}" rsc="mail" node="{node}" '
                                f'score="{points}"/>')

    def node_attribute(self, node, name, value):
        """A permanent one, as standby."""
        number = self.names.index(node) + 1
        self.tree.find(f".//nodes/node[@id='{number}']").append(ET.fromstring(
            f'<instance_attributes id="nodes-{number}"><nvpair id="nodes-{number}-{name}" '
            f'name="{name}" value="{value}"/></instance_attributes>'))
        self.save()

    def option(self, name, value):
        self.find("crm_config/cluster_property_set").append(ET.fromstring(
            f'<nvpair id="option-{name}" name="{name}" value="{value}"/>'))
        self.save()

    def attribute(self, node, name, value):
        """A transient one; None takes it away."""
        number = str(self.names.index(node) + 1)
        state = self.tree.find(f"./status/node_state[@id='{number}']")
        held = state.find("transient_attributes")
        if held is None:
            held = ET.SubElement(state, "transient_attributes", id=number)
            ET.SubElement(held, "instance_attributes", id=f"status-{number}")
        pairs, ident = held[0], f"status-{number}-{name.strip('#')}"
        for pair in pairs.findall("nvpair"):
            if pair.get("id") == ident:
                pairs.remove(pair)
        if value is not None:
            ET.SubElement(pairs, "nvpair", id=ident, name=name, value=str(value))
        self.save()

    def scores(self, *values):
        """What Postern publishes on n1, n2, ...; None = nothing."""
        for name, value in zip(self.names, values):
            self.attribute(name, "master-scanner", value)
        return self

    def save(self):
        self.tree.write(self.file)

    # the scheduler

    def simulate(self, *options):
        done = subprocess.run(
            ["crm_simulate", "-x", self.file, "-S", "--output-as=xml", *options],
            capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr or done.stdout
        if "-X" in options:
            self.tree = ET.parse(self.file)
        return Plan(ET.fromstring(done.stdout))

    def plan(self, *events):
        """What would be done now, or after these events (options of crm_simulate)."""
        return self.simulate(*events)

    def settle(self, *events):
        """Carries it out until nothing is left to do; the last plan before that."""
        last = self.simulate(*events, "-X")
        for _ in range(9):
            plan = self.simulate("-X")
            if plan.quiet:
                return last
            last = plan
        raise AssertionError(f"the cluster does not come to rest: {last.steps}")

    def verify(self):
        """Messages of crm_verify; empty when all is well."""
        done = subprocess.run(["crm_verify", "-V", "-x", self.file], capture_output=True,
                              text=True, timeout=60, check=False)
        return "" if done.returncode == 0 else done.stderr
