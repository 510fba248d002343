# SPDX-License-Identifier: GPL-2.0-only
"""What is measured: private instances below one folder, ended by their pids."""
import os
import pwd
import shutil
import signal
import subprocess
import sys
import threading
import time

import measure
from record import BUILD, TOP

sys.path.insert(0, str(TOP / "scanner/e2e"))
import instance  # noqa: E402
import postfix  # noqa: E402

CORES = len(os.sched_getaffinity(0))
LOAD_SECONDS = 900  # a full set, on a machine that is busy otherwise

# The limits of scanner/settings.def in clamd's words, and what clamd's manual recommends for load.
CLAMD = """\
Foreground yes
LocalSocket {dir}/clamd.sock
LocalSocketMode 666
DatabaseDirectory {signatures}
TemporaryDirectory {tmp}
User clamav
LogFile {dir}/clamd.log
LogFileMaxSize 0
MaxThreads {threads}
MaxQueue {queue}
IdleTimeout 30
CommandReadTimeout 30
ReadTimeout 120
SelfCheck 0
StreamMaxLength 100M
MaxScanTime 55000
MaxScanSize 400M
MaxFileSize 100M
MaxRecursion 17
MaxFiles 10000
MaxEmbeddedPE 100M
MaxHTMLNormalize 100M
MaxHTMLNoTags 100M
MaxScriptNormalize 100M
PCREMaxFileSize 100M
AlertExceedsMax yes
AlertEncryptedArchive yes
AlertEncryptedDoc yes
AllowAllMatchScan yes
ConcurrentDatabaseReload {concurrent}
DisableCache {nocache}
"""

CLAMAV_MILTER = """\
Foreground yes
MilterSocket unix:{dir}/milter.sock
MilterSocketMode 666
User clamav
ClamdSocket unix:{clamd}/clamd.sock
TemporaryDirectory {tmp}
MaxFileSize 100M
ReadTimeout 300
OnClean Accept
OnInfected Reject
OnFail Defer
AddHeader Replace
LogFile {dir}/clamav-milter.log
"""

POSTERN_PLAIN = 'verdict_cache = "0"\npart_cache = "0"\n' if measure.has_setting("verdict_cache") else ""


class Service:
    """A process that says in some way that it is ready."""

    def __init__(self, name, folder, scratch):
        self.name = name
        self.dir = folder / name
        self.tmp = scratch / name
        self.process = None
        for path in (self.dir, self.tmp):
            path.mkdir(parents=True)
            path.chmod(0o755)

    def launch(self, words, **more):
        self.process = subprocess.Popen([str(word) for word in words], start_new_session=True,
                                        stdin=subprocess.DEVNULL, **more)

    def pids(self):
        return [self.process.pid]

    def wait_for(self, done, seconds=LOAD_SECONDS):
        end = time.monotonic() + seconds
        while not done():
            if self.process.poll() is not None:
                raise SystemExit(f"bench: {self.name} ended with {self.process.returncode}; "
                                 f"see {self.dir}")
            if time.monotonic() > end:
                raise SystemExit(f"bench: {self.name} is not ready after {seconds} s; see {self.dir}")
            time.sleep(0.1)

    def stop(self):
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.process = None


def give(user, *paths):
    account = pwd.getpwnam(user)
    for path in paths:
        os.chown(path, account.pw_uid, account.pw_gid)


class Clamd(Service):
    def __init__(self, name, folder, scratch, signatures, cache, concurrent=False):
        super().__init__(name, folder, scratch)
        give("clamav", self.dir, self.tmp)
        self.sock = self.dir / "clamd.sock"
        (self.dir / "clamd.conf").write_text(CLAMD.format(
            dir=self.dir, tmp=self.tmp, signatures=signatures, threads=CORES,
            queue=20 * CORES, nocache="no" if cache else "yes",
            concurrent="yes" if concurrent else "no"))

    def start(self):
        with open(self.dir / "output", "wb") as out:
            self.launch(["clamd", "-c", self.dir / "clamd.conf"], stdout=out, stderr=out)

    def ready(self):
        self.wait_for(lambda: self.sock.exists() and measure.ping(self.sock))


class ClamavMilter(Service):
    def __init__(self, name, folder, scratch, clamd):
        super().__init__(name, folder, scratch)
        self.clamd = clamd
        give("clamav", self.dir, self.tmp)
        self.milter = self.dir / "milter.sock"
        (self.dir / "clamav-milter.conf").write_text(CLAMAV_MILTER.format(
            dir=self.dir, tmp=self.tmp, clamd=clamd.dir))

    def start(self):
        """Not before clamd is there: it says 451 for a while when it once did not find it."""

    def ready(self):
        with open(self.dir / "output", "wb") as out:
            self.launch(["clamav-milter", "-c", self.dir / "clamav-milter.conf"], stdout=out, stderr=out)
        self.wait_for(self.milter.exists)

    def pids(self):
        return super().pids() + self.clamd.pids()


class Postern(Service):
    """`./dev run`'s instance. Its root process owns all its others but the namespaced ones."""

    def __init__(self, name, folder, scratch, signatures, settings=""):
        super().__init__(name, folder, scratch)
        self.one = instance.Instance(self.dir, [], settings + f'clamd_listen = {{"unix:{self.dir}/clamd.sock"}}\n'
                                     if measure.has_setting("clamd_listen") else settings)
        self.signatures = signatures
        self.sock = self.dir / ("clamd.sock" if measure.has_setting("clamd_listen") else "control.sock")
        self.mode = "instream" if measure.has_setting("clamd_listen") else "control"
        self.milter = self.dir / "milter.sock"

    def start(self):
        self.one.signatures = [str(self.signatures)]
        self.one.launch()
        self.process = self.one.process

    def ready(self):
        self.wait_for(self.one.ready.is_set)

    def stop(self):
        self.one.stop()
        self.process = None

    def worker_pids(self):
        return [pid for pid, name in measure.descendants(self.pids()) if name.startswith("postern-worker")]


class Loop(Service):
    def __init__(self, name, folder, scratch, signatures, pages, mails):
        super().__init__(name, folder, scratch)
        self.words = [BUILD / "bench-loop", signatures, self.tmp, CORES, pages, *mails]
        self.mails = list(mails)
        self.is_ready = threading.Event()
        self.said = ""

    def start(self):
        self.process = subprocess.Popen([str(word) for word in self.words], text=True, start_new_session=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        threading.Thread(target=self._first, daemon=True).start()

    def _first(self):
        self.said = self.process.stdout.readline().strip()
        self.is_ready.set()

    def ready(self):
        self.wait_for(self.is_ready.is_set)

    def stop(self):
        if self.process is not None:
            self.process.stdin.close()
            super().stop()


class Mta(Service):
    """A private Postfix that throws away what it has accepted, behind MILTER (None: no filter)."""

    def __init__(self, name, folder, scratch, filters=None):
        super().__init__(name, folder, scratch)
        shutil.rmtree(self.dir)
        self.filters = filters
        self.one = postfix.Postfix(self.dir, f"unix:{filters.milter}" if filters else "")
        conf = self.dir / "conf/main.cf"
        conf.write_text(conf.read_text() + "virtual_transport = discard\n"
                        "milter_content_timeout = 300s\nsmtpd_client_connection_count_limit = 0\n"
                        "default_process_limit = 100\n")

    def start(self):
        pass

    def ready(self):
        self.one.start()

    def stop(self):
        if (self.dir / "queue/pid/master.pid").exists():
            self.one.stop()

    def pids(self):
        own = [int((self.dir / "queue/pid/master.pid").read_text())]
        return own + (self.filters.pids() if self.filters else [])
