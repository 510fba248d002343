# SPDX-License-Identifier: GPL-2.0-only
"""Scanners that are given new signatures while they scan: each in its own way, the same files."""
import json
import os
import shutil
import socket
import subprocess
import time

import corpus
import services
from record import BUILD

MARK_FILE = "update.ndb"
UPDATER = "postern-update"
SETTINGS = """\
update_databases = {{ "none" }}
update_directories = {{ "{dir}/source" }}
"""
# Phases of an adoption in which the scanner wants no mail, and in which it takes none.
QUIET, PAUSE = ("quiet",), ("room", "trying", "loading", "proving")


def place_files(folder, signatures, *more):
    """The files of the set in FOLDER, by hard links: once on the disk, once in the page cache."""
    folder.mkdir(exist_ok=True)
    for file in [*signatures.iterdir(), *more]:
        target = folder / file.name
        if not target.exists():
            os.link(file, target)
    folder.chmod(0o755)


def mark_file(folder):
    """What the new set has beside the old one."""
    path = folder / MARK_FILE
    path.write_text(f"{corpus.MARK_NAME}:0:*:{corpus.MARK.hex()}\n", encoding="ascii")
    path.chmod(0o644)
    return path


class Postern(services.Postern):
    """postern-update offers it from a directory of this machine; the engine tries and adopts it."""

    def __init__(self, name, folder, scratch, signatures):
        where = folder / name
        super().__init__(name, folder, scratch, signatures,
                         services.POSTERN_PLAIN + SETTINGS.format(dir=where))
        self.mark = mark_file(folder)
        self.stages = {}

    def publish(self):
        """The new files are there, and postern-update looks; it is over when they are offered."""
        place_files(self.dir / "source", self.signatures, self.mark)
        for program in ("postern-update", "postern-fetch"):
            shutil.copy2(BUILD / program, self.dir / "bin")
        begun = time.monotonic()
        done = subprocess.run(
            [self.dir / "bin/postern-update", "--once", "--config", self.dir / "postern.conf"],
            user=UPDATER, group=UPDATER, extra_groups=[], capture_output=True, text=True,
            check=False)
        if done.returncode != 0:
            raise RuntimeError(f"postern-update failed: {done.stdout}{done.stderr}")
        self.stages["offered"] = round(time.monotonic() - begun, 3)

    def status(self):
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock:
            sock.settimeout(30)
            sock.connect(str(self.dir / "engine/engine.sock"))
            sock.send(b'{"op":"status"}')
            return json.loads(sock.recv(1 << 18))

    def look(self):
        """(stage, whether it wants a quiet moment, whether it takes no mail)."""
        status = self.status()
        trial, adoption = status["trial"], status["adoption"] or {}
        last = trial["last"] or {}
        if last.get("outcome") == "rejected" or status["adoption_failed"]:
            raise RuntimeError(f"the update came to nothing: {last} {status['adoption_failed']}")
        phase = adoption.get("phase")
        is_tried = trial["state"] not in ("idle", "waiting")
        stage = f"trial: {trial['state']}" if is_tried else phase
        return stage, phase in QUIET, bool(adoption.get("pauses")) and phase in PAUSE


class Clamd(services.Clamd):
    """freshclam puts the files into its directory and says RELOAD (freshclam's NotifyClamd)."""

    CONCURRENT = True

    def __init__(self, name, folder, scratch, signatures):
        database = folder / f"{name}-database"
        place_files(database, signatures)
        super().__init__(name, folder, scratch, database, cache=False, concurrent=self.CONCURRENT)
        self.mark = mark_file(folder)
        self.database = database
        self.stages = {}

    def publish(self):
        os.link(self.mark, self.database / MARK_FILE)
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(self.sock))
            sock.sendall(b"zRELOAD\0")
            if not sock.recv(64).startswith(b"RELOADING"):
                raise RuntimeError("clamd does not reload")

    def look(self):
        """It does not say; the caller waits for the first verdict."""
        return None, False, False


class ClamdBlocking(Clamd):
    CONCURRENT = False
