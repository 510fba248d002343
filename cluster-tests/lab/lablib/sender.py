# SPDX-License-Identifier: GPL-2.0-only
"""A mailload that runs beside what is being tried, and what it has logged so far."""

import json
import os
import signal
import subprocess

from .base import poll

MAILLOAD = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "mailload")


class Sender:
    """To be ended by who has made it: finish() when all mails are to become final, then end()."""

    def __init__(self, lab, log, drain, *options):
        self.log, self.drain = log, drain
        self.read = 0
        self.known = []
        with open(f"{log}.said", "wb") as said:
            self.process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "TERM"] + lab.client_command(
                    [MAILLOAD, "--drain", str(drain), "--log", log, *map(str, options)]),
                stdin=subprocess.DEVNULL, stderr=said)
        poll(lambda: os.path.exists(log), 30)

    def attempts(self):
        """All that have ended. Each line is read once: to look must not be a load itself."""
        with open(self.log, "rb") as f:
            f.seek(self.read)
            text = f.read()
        whole = text[:text.rfind(b"\n") + 1]        # the last line may be half written
        self.read += len(whole)
        self.known += [e for e in map(json.loads, whole.splitlines()) if "took" in e]
        return self.known

    def finish(self):
        """No new mails; waits until all are final, or the drain time is over."""
        self.process.send_signal(signal.SIGUSR1)
        self.process.wait(self.drain + 60)

    def end(self):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
