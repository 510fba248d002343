# SPDX-License-Identifier: GPL-2.0-only
"""Runs, and what they cost."""
import fcntl
import itertools
import json
import os
import pathlib
import socket
import statistics
import subprocess

from record import BUILD, TOP

TICK = os.sysconf("SC_CLK_TCK")
tokens = itertools.count(1_000_000, 100_000)  # each run's messages have numbers of their own


def has_setting(name):
    return f", {name}," in (TOP / "scanner/settings.def").read_text()


def ping(path):
    with socket.socket(socket.AF_UNIX) as sock:
        try:
            sock.settimeout(5)
            sock.connect(str(path))
            sock.sendall(b"zPING\0")
            return sock.recv(16).startswith(b"PONG")
        except OSError:
            return False


def stat(pid):
    """Name, parent, ticks of the process and of its children that have ended."""
    text = pathlib.Path(f"/proc/{pid}/stat").read_text()
    name, rest = text[text.index("(") + 1:text.rindex(")")], text[text.rindex(")") + 2:].split()
    return name, int(rest[1]), sum(int(ticks) for ticks in rest[11:15])


def is_alive(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def processes():
    found = {}
    for path in pathlib.Path("/proc").iterdir():
        if path.name.isdigit():
            try:
                found[int(path.name)] = stat(path.name)
            except (OSError, ValueError):
                pass
    return found


def descendants(roots):
    """ROOTS and all below them: (pid, name)."""
    every = processes()
    children = {}
    for pid, (_, parent, _) in every.items():
        children.setdefault(parent, []).append(pid)
    found, todo = [], [pid for pid in roots if pid in every]
    while todo:
        pid = todo.pop()
        found.append((pid, every[pid][0]))
        todo += children.get(pid, [])
    return found


def cpu_seconds(roots):
    every = processes()
    return sum(every[pid][2] for pid, _ in descendants(roots) if pid in every) / TICK


def memory_mb(roots):
    """Proportional: what is shared is counted once."""
    total = 0
    for pid, _ in descendants(roots):
        try:
            for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1])
        except OSError:
            pass
    return total / 1024


def client(mode, where, clients, mails):
    words = [BUILD / "bench-client", mode, where, clients, mails, next(tokens)]
    done = subprocess.run([str(word) for word in words], stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        raise SystemExit("bench: the client failed, see above")
    return json.loads(done.stdout)


def loop(service, mails):
    service.process.stdin.write(f"{service.mails.index(mails)} {next(tokens)}\n")
    service.process.stdin.flush()
    return json.loads(service.process.stdout.readline())


def timed(name, run, roots):
    """One run with its cost. A mail that was not taken for clean makes the numbers void."""
    before = cpu_seconds(roots)
    result = run()
    result["cpu"] = cpu_seconds(roots) - before
    if result["bad"]:
        raise SystemExit(f"bench: {name}: {result['bad']} mails were not accepted as clean: this measures nothing")
    return result


def percentile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def rate(result):
    return len(result["us"]) / result["seconds"]


def summary(results):
    """The runs of one path as one."""
    us = [value for result in results for value in result["us"]]
    mails = len(us)
    return {
        "messages_per_s": statistics.median(rate(result) for result in results),
        "p50_ms": percentile(us, 0.50) / 1000,
        "p99_ms": percentile(us, 0.99) / 1000,
        "worst_ms": max(us) / 1000,
        "cpu_ms_per_message": sum(result["cpu"] for result in results) * 1000 / mails,
        "runs": len(results),
    }


def ratio(over, under):
    """Of the rates, run by run: neighbours in time have the same neighbours on the machine."""
    each = [rate(a) / rate(b) for a, b in zip(over, under)]
    return {"median": statistics.median(each), "lowest": min(each), "highest": max(each),
            "of_sums": sum(rate(a) for a in over) / sum(rate(b) for b in under)}


def scan_instream(path, mail):
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(path))
        sock.sendall(b"zINSTREAM\0" + len(mail).to_bytes(4, "big") + mail + bytes(4))
        return sock.recv(256) == b"stream: OK\0"


def scan_control(path, mail):
    fd = os.memfd_create("bench", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.write(fd, mail)
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS,
                    fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW)
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock:
            sock.connect(str(path))
            socket.send_fds(sock, [b'{"op":"scan"}'], [fd])
            return json.loads(sock.recv(1 << 18)).get("verdict") == "clean"
    finally:
        os.close(fd)


def scan(service, mail):
    return {"instream": scan_instream, "control": scan_control}[service.mode](service.sock, mail)


def cpu_ratio(over, under):
    """Of the CPU time of a message: what else the machine does matters less to it."""
    each = [a["cpu"] / b["cpu"] for a, b in zip(over, under) if b["cpu"] > 0]
    return {"median": statistics.median(each), "lowest": min(each), "highest": max(each)}
