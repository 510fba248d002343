# SPDX-License-Identifier: GPL-2.0-only
"""What `lab status` prints."""

from . import cluster, mail
from .base import LabError
from .node import Node
from .rig import VIP


def text(lab):
    lines = [heading(lab), *powers(lab), ""]
    try:
        seen = cluster.view(lab)
    except LabError as e:
        return "\n".join(lines + [str(e)])
    lines += [service(lab, seen), *attributes(seen), ""]
    shown = Node(lab, seen.asked).run("crm_mon", "-1", "-r", "-f", "--fence-history=2",
                                      check=False).stdout
    return "\n".join(lines) + shown.rstrip()


def heading(lab):
    kind = "bare" if lab.state["bare"] else "Postern installed only" if lab.state["installed"] \
        else "no scanner" if not lab.state["scanner"] \
        else f"Postern as {lab.state['mode']}"
    return f"lab '{lab.name}': {len(lab.nodes)} nodes, {kind}"


def powers(lab):
    lines = []
    for node in [Node(lab, name) for name in lab.nodes]:
        mounted = f", {mail.MOUNT} mounted" if mail.MOUNT in node.mounts() else ""
        lines.append(f"  {node.name}: power {node.power()}{mounted}")
    return lines


def service(lab, seen):
    if lab.state["bare"]:
        return "mail group: none (bare)"
    places = {r: "+".join(seen.where(r)) or "-" for r in cluster.members(lab)}
    line = "mail group: " + " ".join(f"{r}@{where}" for r, where in places.items())
    line += f"; {VIP} {'greets' if mail.banner(lab) else 'is silent'}"
    if seen.has("postern"):
        role = "Promoted" if lab.state["mode"] == "promotable" else None
        line += f"; postern serves on {'+'.join(seen.where('postern', role)) or 'no node'}"
    return line


def attributes(seen):
    lines = []
    for node, values in sorted(seen.attributes("").items()):
        ours = {k: v for k, v in values.items() if "postern" in k}
        if ours:
            pairs = " ".join(f"{k}={v}" for k, v in sorted(ours.items()))
            lines.append(f"  {node}: {pairs}")
    return lines
