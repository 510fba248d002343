# SPDX-License-Identifier: GPL-2.0-only
"""A private Postern, as `./dev run` starts it."""
import contextlib
import json
import os
import pathlib
import random
import signal
import socket
import subprocess
import threading
import time

TOP = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("POSTERN_BUILD", TOP / "build"))


def wait_for(condition, what, seconds=200):
    """SECONDS: as long as a slow machine may need, and shorter than what looks every five minutes."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"{what}: not within {seconds} s"
        time.sleep(0.02)


def children(pid):
    """What runs; not what has ended, although its parent has not heard it yet."""
    found = []
    with contextlib.suppress(OSError):
        for word in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            with contextlib.suppress(OSError):
                text = pathlib.Path(f"/proc/{word}/stat").read_text()
                if text.rpartition(")")[2].split()[0] not in "ZX":
                    found.append(int(word))
    return found


def zygotes(postern):
    """What looks at the disk beside them comes and goes."""
    found = []
    for pid in children(postern.pid("engine")):
        with contextlib.suppress(OSError):
            if pathlib.Path(f"/proc/{pid}/comm").read_text() == "postern-zygote\n":
                found.append(pid)
    return found


def workers(postern):
    return [pid for zygote in zygotes(postern) for pid in children(zygote)]


def unmount(path):
    """A process that was killed with its parent may have a file in there for a moment longer."""
    wait_for(lambda: subprocess.run(["umount", path], check=False).returncode == 0, f"umount {path}")


# Below those that the kernel draws for whoever connects.
PORTS = range(10000, 32000)


def free_port(address="127.0.0.1"):
    while True:
        port = random.SystemRandom().choice(PORTS)
        with contextlib.suppress(OSError), socket.create_server((address, port)):
            return port


def private_kb(pid):
    text = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
    return sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("Private_"))


class Instance:
    def __init__(self, folder, signatures=(), settings="", build=BUILD):
        """BUILD: where the programs come from; the next launch takes another value, too."""
        self.dir = pathlib.Path(folder)
        self.signatures = [str(path) for path in signatures]
        self.settings = settings
        self.build = build
        self.process = None
        self.log = []
        self.ready = threading.Event()

    def command(self):
        words = [TOP / "scanner/run", self.dir]
        for path in self.signatures:
            words += ["--signatures", path]
        return words

    def environment(self):
        return dict(os.environ, POSTERN_BUILD=str(self.build))

    def _read(self):
        for line in self.process.stdout:
            self.log.append(line.rstrip())
            if line == "ready\n":
                self.ready.set()

    def launch(self):
        """Starts it without waiting for the signatures."""
        if self.settings and not (self.dir / "postern.conf").exists():
            subprocess.run([*self.command(), "--prepare"], check=True, env=self.environment())
            with open(self.dir / "postern.conf", "a", encoding="ascii") as conf:
                conf.write(self.settings)
        self.ready.clear()
        self.process = subprocess.Popen(
            self.command(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, start_new_session=True, env=self.environment())
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def start(self):
        self.launch()
        if not self.ready.wait(300):
            self.stop()
            raise RuntimeError("Postern is not ready after 300 s:\n" + "\n".join(self.log[-40:]))
        return self

    def stop(self):
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(300)
        if self.process is not None:
            self.reader.join(10)
        self.process = None

    def pid(self, name):
        """Of the process that was started last; the file is just being written, maybe."""
        wait_for((self.dir / f"{name}.pid").read_text, f"the number of {name}")
        return int((self.dir / f"{name}.pid").read_text())

    def postern(self, *words, check=True, **more):
        return subprocess.run([BUILD / "postern", "--config", self.dir / "postern.conf", *words],
                              capture_output=True, check=check, timeout=300, **more)

    def json(self, *words):
        return json.loads(self.postern(*words, "--json").stdout)

    def kept(self):
        """The messages in the quarantine by their Subject: the original bytes."""
        found = {}
        for row in self.json("quarantine", "list"):
            raw = self.postern("quarantine", "show", "--raw", row["key"]).stdout
            found.setdefault(row["subject"], []).append(raw)
        return found
