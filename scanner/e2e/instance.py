# SPDX-License-Identifier: GPL-2.0-only
"""A private Postern, as `./dev run` starts it."""
import json
import os
import pathlib
import signal
import subprocess
import threading
import time

TOP = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("POSTERN_BUILD", TOP / "build"))


def wait_for(condition, what, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"{what}: not within {seconds} s"
        time.sleep(0.02)


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
        if not self.ready.wait(120):
            self.stop()
            raise RuntimeError("Postern is not ready after 120 s:\n" + "\n".join(self.log[-40:]))
        return self

    def stop(self):
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(60)
        if self.process is not None:
            self.reader.join(10)
        self.process = None

    def pid(self, name):
        return int((self.dir / f"{name}.pid").read_text())

    def postern(self, *words, check=True, **more):
        return subprocess.run([BUILD / "postern", "--config", self.dir / "postern.conf", *words],
                              capture_output=True, check=check, timeout=120, **more)

    def json(self, *words):
        return json.loads(self.postern(*words, "--json").stdout)

    def kept(self):
        """The messages in the quarantine by their Subject: the original bytes."""
        found = {}
        for row in self.json("quarantine", "list"):
            raw = self.postern("quarantine", "show", "--raw", row["key"]).stdout
            found.setdefault(row["subject"], []).append(raw)
        return found
