# SPDX-License-Identifier: GPL-2.0-only
"""The command line of the lab."""

import argparse
import os
import signal
import sys

from . import bmc, faults, logs, rig, status, up
from .base import CLEAN_ENV, LabError, Progress, UsageError
from .node import Node
from .rig import Lab

EPILOG = """The environment variable LAB_NAME (default: postern) names the lab: several can
run side by side. LAB_OWNER=PID ends the lab when that process ends. Exit codes: 0 done,
1 failed, 2 wrong use."""


class Parser(argparse.ArgumentParser):
    """Errors in one sentence, exit code 2."""

    def error(self, message):
        raise UsageError(f"{self.prog}: {message}: '{self.prog} --help' shows the use.")


def parser():
    top = Parser(prog="lab", epilog=EPILOG, formatter_class=argparse.RawTextHelpFormatter,
                 description="A real fenced Pacemaker cluster on this machine.")
    subs = top.add_subparsers(dest="command", metavar="COMMAND", required=True)
    add_up(subs)
    add_fault(subs)
    p = subs.add_parser("exec", help="run a command in a node")
    p.add_argument("node", metavar="NODE", help="n1, n2 or n3")
    p.add_argument("cmd", metavar="CMD", nargs=argparse.REMAINDER)
    p = subs.add_parser("client", help="run a command in the network of the client")
    p.add_argument("cmd", metavar="CMD", nargs=argparse.REMAINDER)
    subs.add_parser("status", help="cluster, power, where mail runs, Postern's state")
    p = subs.add_parser("logs", help="copy journals and cluster logs of all nodes")
    p.add_argument("folder", metavar="DIR", nargs="?")
    subs.add_parser("down", help="end the lab; nothing of it stays")
    return top


def add_up(subs):
    p = subs.add_parser("up", help="start a lab: a cluster with mail flowing")
    p.add_argument("--nodes", type=int, choices=(2, 3), default=2)
    p.add_argument("--bare", action="store_true", help="corosync and pacemaker alone")
    p.add_argument("--no-scanner", action="store_true", help="the mail group without Postern")
    p.add_argument("--installed", action="store_true",
                   help="Postern on the nodes, but in neither the cluster nor Postfix")
    p.add_argument("--no-dovecot", action="store_true", help="a mail group without Dovecot")
    p.add_argument("--mode", choices=("promotable", "primitive"), default="promotable",
                   help="how the cluster runs Postern (default: promotable)")
    p.add_argument("--stage", metavar="WHAT", help="Postern: its .deb, or a folder by "
                   "'make install DESTDIR=DIR'")
    p.add_argument("--keep", action="store_true", help="a lab that fails to start stays")


def add_fault(subs):
    p = subs.add_parser("fault", help="break something, or heal everything")
    p.add_argument("name", metavar="NAME", nargs="?")
    p.add_argument("node", metavar="NODE", nargs="?", help="default: the active node")
    p.add_argument("--list", action="store_true", help="print the faults")


# Commands

def do_up(lab, args):
    bare = args.bare
    stage = os.path.abspath(args.stage) if args.stage else None
    scanner = not (bare or args.no_scanner or args.installed)
    up.up(lab, {"nodes": args.nodes, "bare": bare, "mode": args.mode, "stage": stage,
                "scanner": scanner, "installed": args.installed and not bare,
                "dovecot": not args.no_dovecot, "keep": args.keep})


def do_exec(lab, args):
    """Replaces this process: signals and the terminal reach the command itself."""
    if not args.cmd:
        raise UsageError("lab exec: no command given: 'lab exec NODE CMD...'.")
    from . import cgroup
    node = Node(lab.need(), args.node)
    cmd = node.command(args.cmd)
    cgroup.join(lab.name, node.name, all_of_them=False)
    os.execvpe(cmd[0], cmd, CLEAN_ENV)


def do_client(lab, args):
    if not args.cmd:
        raise UsageError("lab client: no command given: 'lab client CMD...'.")
    cmd = lab.need().client_command(args.cmd)
    os.execvp(cmd[0], cmd)


def do_fault(lab, args):
    if args.list:
        for name, (_, what) in faults.FAULTS.items():
            print(f"{name:16} {what}")
        return
    if not args.name:
        raise UsageError("lab fault: no NAME given: 'lab fault --list' prints all.")
    say = Progress()
    done = faults.inject(lab.need(), args.name, args.node, say)
    if done:
        say(f"{args.name} on {done[0]} at {done[1]:.3f}")


def do_status(lab, _):
    print(status.text(lab.need()))


def do_logs(lab, args):
    print(logs.collect(lab.need(), args.folder or logs.default_folder(lab)))


def do_down(lab, _):
    up.down(lab)


COMMANDS = {"up": do_up, "exec": do_exec, "client": do_client, "fault": do_fault,
            "status": do_status, "logs": do_logs, "down": do_down}


def inner(argv):
    """Calls that the lab makes to itself; they are not for people."""
    if argv[0] == "_init":
        return rig.init()
    lab = Lab()
    if argv[0] == "_build":
        up.inside_build(lab)
    elif argv[0] == "_bmc":
        return bmc.control(lab, argv[1], argv[2:])
    elif argv[0] == "_power":
        return bmc.control(lab, argv[1], ["set", "power", str(int(argv[2] == "on"))])
    return 0


def terminated(_signal, _frame):
    raise KeyboardInterrupt


def main(argv):
    signal.signal(signal.SIGTERM, terminated)
    try:
        if argv and argv[0].startswith("_"):
            return inner(argv)
        args = parser().parse_args(argv)
        COMMANDS[args.command](Lab(), args)
        return 0
    except UsageError as e:
        print(e, file=sys.stderr)
        return 2
    except LabError as e:
        print(f"lab: {e}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("lab: interrupted; nothing of a half-made lab was kept.", file=sys.stderr)
        return 1
