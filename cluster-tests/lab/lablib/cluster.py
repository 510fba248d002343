# SPDX-License-Identifier: GPL-2.0-only
"""Questions to Pacemaker, and the configuration of the lab's cluster."""

import contextlib
import datetime
import time
import xml.etree.ElementTree as ET

from . import bmc, mail
from .base import LabError, last_line, wait_for
from .node import Node
from .rig import VIP

FENCING = """primitive fence_n{i} stonith:fence_ipmilan \\
    params ip={address} username={user} password={password} lanplus=1 cipher=3 \\
    power_wait=0 pcmk_host_list=n{i} {delay} \\
    op monitor interval=300s timeout=60s
location fence_n{i}-elsewhere fence_n{i} -inf: n{i}
"""
# Depth 20 of Filesystem writes and reads: without it the cluster never sees
# storage that answers with errors.
MAIL = """primitive fs ocf:heartbeat:Filesystem \\
    params device=/dev/sdb directory={mount} fstype=ext4 \\
    op start timeout=60s interval=0 op stop timeout=60s interval=0 \\
    op monitor interval=10s timeout=40s \\
    op monitor interval=11s timeout=40s OCF_CHECK_LEVEL=20
primitive vip ocf:heartbeat:IPaddr2 \\
    params ip={vip} cidr_netmask=24 nic=host0 \\
    op start timeout=30s interval=0 op stop timeout=30s interval=0 \\
    op monitor interval=10s timeout=30s
primitive postfix ocf:heartbeat:postfix \\
    op start timeout=60s interval=0 op stop timeout=60s interval=0 \\
    op monitor interval=5s timeout=60s
{dovecot}group mail {members}
"""
DOVECOT = """primitive dovecot ocf:heartbeat:dovecot \\
    op start timeout=30s interval=0 op stop timeout=30s interval=0 \\
    op monitor interval=10s timeout=30s
"""
DEFAULTS = """property stonith-enabled=true
rsc_defaults resource-stickiness=100 migration-threshold=3 failure-timeout=10min
"""

# No node can boot and be shot again within it.
SAME_SHOT = 2


def configuration(lab):
    text = DEFAULTS
    two = lab.state["nodes"] == 2
    for i in range(1, lab.state["nodes"] + 1):
        # When two nodes shoot at each other, n2 wins.
        delay = "pcmk_delay_base=2s" if two and i == 2 else ""
        text += FENCING.format(i=i, address=bmc.address(i), user=bmc.USER,
                               password=bmc.PASSWORD, delay=delay)
    return text + MAIL.format(mount=mail.MOUNT, vip=VIP, members=" ".join(members(lab)),
                              dovecot=DOVECOT if lab.state["dovecot"] else "")


def members(lab):
    """The mail group, in its order."""
    return ["fs", "vip", "postfix"] + ["dovecot"] * lab.state["dovecot"]


def load(node, text):
    """Commits crmsh lines as a unit."""
    node.run("crm", "-F", "configure", "load", "update", "-", timeout=120, stdin=text)


# Questions

class View:
    """What one crm_mon says, asked of any node that answers."""

    def __init__(self, xml, asked):
        self.tree = ET.fromstring(xml)
        self.asked = asked

    def online(self):
        return [n.get("name") for n in self.tree.iterfind("./nodes/node")
                if n.get("online") == "true" and n.get("unclean") == "false"
                and n.get("pending") == "false"]

    def standby(self):
        return [n.get("name") for n in self.tree.iterfind("./nodes/node")
                if n.get("standby") == "true"]

    def dc(self):
        dc = self.tree.find("./summary/current_dc")
        return dc.get("name") if dc is not None and dc.get("present") == "true" else None

    def quorum(self):
        dc = self.tree.find("./summary/current_dc")
        return dc is not None and dc.get("with_quorum") == "true"

    def where(self, resource, role=None):
        """Nodes where a resource is active, in `role` if one is given."""
        return [node.get("name") for rsc in self.tree.iterfind(".//resource")
                if rsc.get("id").split(":")[0] == resource
                and rsc.get("active") == "true"
                and (role is None or rsc.get("role") == role)
                for node in rsc.iterfind("node")]

    def has(self, resource):
        return any(r.get("id").split(":")[0] == resource
                   for r in self.tree.iterfind(".//resource"))

    def attributes(self, prefix):
        """{node: {name: value}} of the attributes whose name has the prefix."""
        return {n.get("name"): {a.get("name"): a.get("value")
                                for a in n.iterfind("attribute")
                                if a.get("name").startswith(prefix)}
                for n in self.tree.iterfind("./node_attributes/node")}

    def failures(self):
        """Failed actions as dictionaries (op_key, node, exitreason, ...)."""
        return [dict(f.attrib) for f in self.tree.iterfind("./failures/failure")]

    def shots(self):
        """(node, when, in seconds) of each fencing that the asked node has heard of."""
        return [(f.get("target"), datetime.datetime.fromisoformat(f.get("completed")).timestamp())
                for f in self.tree.iterfind(".//fence_event") if f.get("status") == "success"]


def view(lab, prefer=None):
    """Asks the living nodes, `prefer` first; one with quorum knows best."""
    said, without_quorum = [], None
    for name in ([prefer] if prefer else []) + [n for n in lab.nodes if n != prefer]:
        try:
            seen = ask(Node(lab, name))
        except LabError as e:
            said.append(str(e))
            continue
        if seen.quorum() or name == prefer:
            return seen
        without_quorum = without_quorum or seen
    if without_quorum:
        return without_quorum
    raise LabError(f"No node of lab '{lab.name}' answers ({' '.join(said)})")


def ask(node):
    done = node.run("crm_mon", "-1", "--output-as=xml", "--fence-history=3", "-A", "-r",
                    "-o", check=False, timeout=20)
    if done.returncode != 0:
        raise LabError(f"crm_mon on {node.name} ended with {done.returncode}: "
                       f"{last_line(done.stderr or done.stdout)}.")
    return View(done.stdout, node.name)


def shots(lab):
    """(node, when) of all fencing, whoever has heard of it: one that has just booted has not,
    for up to half a minute."""
    told = []
    for name in lab.nodes:
        with contextlib.suppress(LabError):
            told += ask(Node(lab, name)).shots()
    return each_once(told)


def each_once(told):
    """Each node notes the moment of the news: one shot may have two."""
    found = []
    for node, when in sorted(told):
        if not found or found[-1][0] != node or when - found[-1][1] > SAME_SHOT:
            found.append((node, when))
    return found


def try_view(lab, prefer=None):
    try:
        return view(lab, prefer)
    except LabError:
        return None


def all_online(lab):
    """Each node itself sees all nodes online, and there is a DC."""
    views = [try_view(lab, name) for name in lab.nodes]
    return all(v and v.asked == name and len(v.online()) == len(lab.nodes) and v.dc()
               and v.quorum() for v, name in zip(views, lab.nodes))


def wait_online(lab, timeout=120):
    wait_for(f"all {len(lab.nodes)} nodes are online", lambda: all_online(lab), timeout,
             0.3, "'lab exec NODE journalctl -b' and 'lab status' show why")


def active(lab):
    """The node that serves mail: where the group's postfix, or else its file system, runs."""
    seen = view(lab)
    for resource in ("postfix", "fs"):
        nodes = seen.where(resource)
        if len(nodes) == 1:
            return nodes[0]
    raise LabError("The mail group runs on no node: name the NODE, or wait "
                   "('lab status' shows the cluster).")


def wait_idle(lab, timeout=120):
    """The controller has nothing more to do."""
    end = time.monotonic() + timeout
    while True:
        name = view(lab).asked
        try:
            return Node(lab, name).run("crm_resource", "--wait", f"--timeout={timeout}",
                                       timeout=timeout + 30)
        except LabError:            # the node that was asked may just have been fenced
            if time.monotonic() > end:
                raise
        time.sleep(0.5)


def group_place(lab):
    """The node on which the whole mail group runs; None if there is none just now."""
    seen = try_view(lab)
    places = {tuple(seen.where(r)) for r in members(lab)} if seen else set()
    nodes = next(iter(places)) if len(places) == 1 else ()
    return nodes[0] if len(nodes) == 1 else None


def wait_group(lab, timeout=180, on=None):
    """The whole mail group runs on one node (`on`, if given)."""
    def running():
        node = group_place(lab)
        return node if on in (None, node) else None
    where = f" on {on}" if on else ""
    return wait_for(f"the mail group runs{where}", running, timeout, 0.2,
                    "'lab status' shows what the cluster did")
