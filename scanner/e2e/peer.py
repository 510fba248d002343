# SPDX-License-Identifier: GPL-2.0-only
"""Nodes of a cluster on loopback that give each other signatures, and a peer that has the key and
can be told to behave badly."""
import hashlib
import hmac
import http.server
import json
import os
import pathlib
import pwd
import secrets
import shutil
import subprocess
import tempfile
import threading
import time

import instance
from mirror import Mirror

NOBODY = pwd.getpwnam("nobody")
PROGRAMS = ("postern", "postern-update", "postern-fetch", "postern-share")
SEAL = "X-Postern-Seal"


class Node:
    def __init__(self, cluster, number):
        self.cluster = cluster
        self.name = f"n{number}"
        self.address = f"127.0.11.{number}"
        self.dir = cluster.dir / self.name
        self.dir.mkdir(mode=0o755)
        self.mirror = Mirror()
        self.processes = []
        self.log = []
        self.settings = {}
        self.made = int(time.time()) - 1000
        for name in ("share", "update", "engine", "signatures"):
            (self.dir / name).mkdir(mode=0o755)
        if os.geteuid() == 0:
            for name in ("share", "update"):
                os.chown(self.dir / name, NOBODY.pw_uid, NOBODY.pw_gid)

    def write(self, **settings):
        self.settings.update(settings)
        values = {"signatures_dir": self.dir / "signatures", "update_dir": self.dir / "update",
                  "share_dir": self.dir / "share", "engine_dir": self.dir / "engine",
                  "share_peers": self.dir / "peers.json", "share_port": self.cluster.port,
                  "share_user": "nobody", "update_user": "nobody", "share_interval": 1,
                  "update_databases": ["test"], "update_mirrors": [self.mirror.url],
                  "update_dns": "none", "update_attempts": 1, "update_timeout": 20,
                  "update_jitter": 0, **self.settings}
        with open(self.dir / "postern.conf", "w", encoding="ascii") as conf:
            for name, value in values.items():
                text = json.dumps(value if isinstance(value, (int, list)) else str(value))
                conf.write(f"{name} = {text.replace('[', '{ ').replace(']', ' }')}\n")

    def role(self, stage):
        path = self.dir / "role.new"
        path.write_text(f"[postern]\nnode={self.name}\nstage={stage}\n")
        path.rename(self.dir / "role")

    def _read(self, process):
        for line in process.stdout:
            self.log.append(line.rstrip())

    def launch(self, program):
        process = subprocess.Popen(
            [self.cluster.programs / program, "--config", self.dir / "postern.conf", "--role",
             self.dir / "role", "--foreground"],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, stdin=subprocess.DEVNULL,
            **({"user": NOBODY.pw_uid, "group": NOBODY.pw_gid, "extra_groups": []}
               if os.geteuid() == 0 else {}))
        threading.Thread(target=self._read, args=(process,), daemon=True).start()
        self.processes.append(process)
        return process

    def start(self, stage):
        self.role(stage)
        return self.launch("postern-share")

    def stop(self, kill=False):
        for process in self.processes:
            process.kill() if kill else process.terminate()
            process.wait(300)
        self.processes.clear()

    def postern(self, *words, check=True):
        done = subprocess.run(
            [self.cluster.programs / "postern", "--config", self.dir / "postern.conf", *words],
            capture_output=True, text=True, check=False, timeout=300)
        assert not check or done.returncode == 0, done.stderr
        return done

    def json(self, *words):
        return json.loads(self.postern(*words, "--json").stdout)

    def folder(self, **files):
        """Of these files (a_ndb="...")."""
        folder = pathlib.Path(tempfile.mkdtemp(dir=self.dir))
        for name, text in files.items():
            (folder / name.replace("_", ".")).write_bytes(
                text.encode() if isinstance(text, str) else text)
        return folder

    def add(self, **files):
        """A generation of them; its name."""
        return self.put(self.folder(**files))

    def put(self, *paths):
        """As it is when it was fetched, and nobody has tried it."""
        current = self.dir / "signatures/current"
        before = current.readlink() if current.is_symlink() else None
        text = self.postern("signatures", "add", *paths, "--json").stdout
        name = json.loads(text)["generation"]
        current.unlink()
        if before is not None:
            current.symlink_to(before)
        self.record(name, "fetched")
        # Each a second after the last one, however quick the test is.
        self.made += 1
        path = self.dir / "signatures" / name / "manifest.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "created": self.made}))
        return name

    def take(self):
        """What the engine does with an offer."""
        files = [path for path in (self.dir / "share/offer").iterdir() if path.suffix != ".json"]
        return self.put(*files)

    def record(self, name, state, reason=None):
        path = self.dir / "signatures/records" / f"{name}.json"
        text = json.loads(path.read_text())
        path.write_text(json.dumps({**text, "state": state, "reason": reason}))

    def engine(self, name, state="ready"):
        path = self.dir / "engine/state.new"
        path.write_text(f"{state} 1 0.100 {name}\n")
        path.rename(self.dir / "engine/state")

    def use(self, name):
        link = self.dir / "signatures/current.new"
        link.symlink_to(name)
        link.rename(self.dir / "signatures/current")
        self.record(name, "adopted")
        self.engine(name)

    def status(self):
        try:
            return json.loads((self.dir / "share/state/status.json").read_text())
        except (OSError, ValueError):
            return {}

    def error(self):
        return self.status().get("error")

    def seen(self, node):
        """What this one knows of another."""
        for each in self.status().get("nodes", []):
            if each["name"] == node.name:
                return each
        return {"silent": 1 << 30, "state": {"given": None}}

    def offer(self):
        try:
            text = (self.dir / "share/offer/manifest.json").read_text()
            return json.loads(text)["identity"][:16]
        except OSError:
            return None


class Cluster:
    def __init__(self, folder, programs, count):
        self.dir = folder
        self.programs = programs
        self.port = instance.free_port("127.0.11.1")
        self.keys = []
        self.nodes = [Node(self, number) for number in range(1, count + 1)]
        self.rekey()
        for node in self.nodes:
            node.write()

    def rekey(self, keep=0):
        self.keys = [{"id": secrets.token_hex(8), "key": secrets.token_hex(32)}] + self.keys[:keep]
        for node in self.nodes:
            self.tell(node)

    def tell(self, node, keys=None, mode=0o640):
        nodes = [{"name": each.name, "addresses": [each.address]} for each in self.nodes]
        path = node.dir / "peers.new"
        path.write_text(json.dumps({"version": 1, "self": node.name, "keys": keys or self.keys,
                                    "nodes": nodes}))
        path.chmod(mode)
        if os.geteuid() == 0:
            os.chown(path, 0, NOBODY.pw_gid)
        path.rename(node.dir / "peers.json")

    @staticmethod
    def manifest(folder):
        """Makes an offer of what is in FOLDER; the generation's name."""
        files = []
        identity = hashlib.sha256()
        for path in sorted(folder.iterdir()):
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            identity.update(path.name.encode() + b"\0" + digest.encode() + b"\0")
            files.append({"file": path.name, "size": path.stat().st_size, "sha256": digest,
                          "origin": "a test", "time": int(time.time())})
        (folder / "manifest.json").write_text(json.dumps(
            {"version": 1, "identity": identity.hexdigest(), "created": int(time.time()) + 1,
             "files": files}))
        return identity.hexdigest()[:16]

    def close(self):
        for node in self.nodes:
            node.stop(kill=True)
            node.mirror.close()


def programs_dir():
    path = pathlib.Path(tempfile.mkdtemp(prefix="postern-share-", dir="/var/tmp"))
    path.chmod(0o755)
    for name in PROGRAMS:
        shutil.copy(instance.BUILD / name, path)
    return path


def mac(key, *words):
    return hmac.new(bytes.fromhex(key["key"]), "\n".join(words).encode(), "sha256").hexdigest()


def request_seal(key, method, path, sender, receiver, theirs, body=b""):
    words = [key["id"], sender, receiver, secrets.token_hex(16), theirs,
             hashlib.sha256(body).hexdigest()]
    return " ".join(["1", *words, mac(key, "postern request", "1", method, path, *words)])


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self):
        peer = self.server.peer
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        peer.asked.append(self.path)
        if self.path == "/1/turn":
            peer.states.append(json.loads(body))
        behave = peer.answers.get(self.path.rsplit("/", 1)[1], peer.honest)
        try:
            behave(self)
        except (BrokenPipeError, ConnectionResetError):
            pass
        self.close_connection = True

    do_GET = do_POST = answer

    def seal(self, status, body):
        digest = hashlib.sha256(body).hexdigest()
        words = self.headers[SEAL].split(" ")
        key = next(key for key in self.server.peer.cluster.keys if key["id"] == words[1])
        return f"1 {digest} {mac(key, 'postern answer', '1', str(status), words[-1], digest)}"

    def give(self, status, body=b"", says=None, **headers):
        """SAYS: the body that is sealed, when it is another than what is sent."""
        self.send_response(status)
        headers.setdefault("Content_Length", len(body))
        headers.setdefault("X_Postern_Seal", self.seal(status, body if says is None else says))
        for name, value in headers.items():
            if value is not None:
                self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words):
        pass


class Peer:
    """A node that has the key. ANSWERS: functions of a Handler, by the last word of the path."""

    def __init__(self, cluster, node):
        self.cluster = cluster
        self.answers = {}
        self.asked = []
        self.states = []
        self.gives = None
        self.files = {}
        self.released = threading.Event()
        self.server = http.server.ThreadingHTTPServer((node.address, cluster.port), Handler)
        self.server.daemon_threads = True
        self.server.peer = self
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.released.set()
        self.server.shutdown()
        self.server.server_close()

    def offer(self, node, name):
        """Gives what NODE has as NAME."""
        self.gives = name
        self.files = {path.name: path.read_bytes()
                      for path in (node.dir / "signatures" / name).iterdir()}

    def turn(self):
        return json.dumps({"version": 1, "node": "n1", "gives": self.gives, "state": {},
                           "nodes": []}).encode()

    def honest(self, request):
        name = request.path.rsplit("/", 1)[1]
        if name == "turn":
            request.give(200, self.turn())
        elif name in self.files and f"/{self.gives}/" in request.path:
            request.give(200, self.files[name])
        else:
            request.give(404)

    def hang(self, request):
        request.send_response(200)
        request.send_header(SEAL, request.seal(200, b""))
        request.send_header("Content-Length", "1000")
        request.end_headers()
        request.wfile.flush()
        self.released.wait(300)

    def pour(self, request):
        request.send_response(200)
        request.send_header(SEAL, request.seal(200, b""))
        request.end_headers()
        while not self.released.is_set():
            request.wfile.write(b"0" * 65536)

    def pour_headers(self, request):
        request.send_response(200)
        request.end_headers = lambda: None
        while not self.released.is_set():
            request.wfile.write(b"X-More: " + b"0" * 900 + b"\r\n")
