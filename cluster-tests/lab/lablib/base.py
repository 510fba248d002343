# SPDX-License-Identifier: GPL-2.0-only
"""Errors, bounded waits, running commands, progress lines."""

import os
import signal
import subprocess
import sys
import tempfile
import time

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
CLEAN_ENV = {"PATH": PATH, "HOME": "/root", "LANG": "C.UTF-8"}


class LabError(Exception):
    """One sentence for a person: what, where, what to do."""


class UsageError(LabError):
    """The command line itself is wrong."""


def last_line(text):
    lines = [line for line in (text or "").splitlines() if line.strip()]
    return lines[-1].strip().rstrip(".") if lines else "no message"


def run(cmd, timeout=60, check=True, stdin=None, env=None, name=None):
    """Runs a command to its end; returns CompletedProcess with text output.

    name: what errors call it, when cmd says more than a person wants to read.
    """
    name = name or " ".join(map(str, cmd))
    try:
        with tempfile.TemporaryFile("w+") as text:
            text.write(stdin or "")
            text.seek(0)
            process = subprocess.Popen(list(map(str, cmd)), text=True, errors="replace",
                                       stdin=text, stdout=subprocess.PIPE,
                                       stderr=subprocess.PIPE, env=env or CLEAN_ENV)
    except OSError as e:
        raise LabError(f"'{name}' cannot be run: {e.strerror}.") from None
    with process:
        try:
            out, err = answer(process, timeout)
        except subprocess.TimeoutExpired:
            raise LabError(f"'{name}' gave no answer within {timeout} s.") from None
        finally:
            process.kill()              # nothing if it has ended
    done = subprocess.CompletedProcess(cmd, process.returncode, out, err)
    if check and done.returncode != 0:
        said = last_line(done.stderr or done.stdout)
        raise LabError(f"'{name}' failed with code {done.returncode}: {said}.")
    return done


def answer(process, timeout):
    """communicate(), but no process stays stopped.

    A node that shuts down first stops all its processes, and nsenter(1) stops itself when its
    child is stopped: nobody else would wake it, and the node waits minutes for a dead child
    that nsenter does not reap.
    """
    end = time.monotonic() + timeout
    while True:
        try:
            return process.communicate(timeout=min(1, max(0, end - time.monotonic())))
        except subprocess.TimeoutExpired:
            if time.monotonic() >= end:
                raise
            process.send_signal(signal.SIGCONT)


def poll(check, timeout, interval=0.1):
    """The first true answer of check(), or its last answer at the timeout."""
    end = time.monotonic() + timeout
    while True:
        answer = check()
        if answer or time.monotonic() >= end:
            return answer
        time.sleep(interval)


def wait_for(what, check, timeout, interval=0.1, hint=""):
    """poll(), but a timeout is an error; `what` reads "node n1 is online"."""
    answer = poll(check, timeout, interval)
    if not answer:
        advice = f"; {hint}" if hint else ""
        raise LabError(f"Waited {timeout} s in vain until {what}{advice}.")
    return answer


def start_time(pid):
    """Start time of a process in clock ticks; None if there is none.

    A pid alone may name another process by now; with this it cannot.
    """
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as f:
            return int(f.read().rpartition(")")[2].split()[19])
    except (OSError, IndexError, ValueError):
        return None


def read(path, default=None):
    try:
        with open(path, encoding="utf-8", errors="replace") as f:
            return f.read()
    except OSError:
        if default is None:
            raise
        return default


def write(path, text, mode=None):
    """Writes a file, with its folders, replacing a link that stands there."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    if os.path.islink(path):
        os.unlink(path)
    with open(path, "w", encoding="utf-8") as f:
        f.write(text)
    if mode is not None:
        os.chmod(path, mode)


class Progress:
    """Lines with the seconds since the start."""

    def __init__(self, stream=None):
        self.start = time.monotonic()
        self.stream = stream or sys.stderr

    def seconds(self):
        return time.monotonic() - self.start

    def __call__(self, text):
        print(f"[{self.seconds():5.1f} s] {text}", file=self.stream, flush=True)
