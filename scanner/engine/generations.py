# SPDX-License-Identifier: GPL-2.0-only
"""A store of generations as scanner/signatures writes it, made by hand for tests."""
import hashlib
import json
import os
import pathlib
import time


class Store:
    def __init__(self, path, owner=None):
        self.path = pathlib.Path(path)
        self.owner = owner
        (self.path / "records").mkdir(exist_ok=True)
        self._give(self.path, self.path / "records")

    def _give(self, *paths):
        for path in paths:
            if self.owner is not None:
                os.lchown(path, self.owner, self.owner)

    def put(self, files, state="tried", created=None, age=0, since=None):
        """A generation of FILES {name: text} in STATE (SINCE, or since it was CREATED); AGE of its
        files in seconds. Its name."""
        created = int(created or time.time())
        rows = []
        identity = hashlib.sha256()
        for name, text in sorted(files.items()):
            digest = hashlib.sha256(text.encode()).hexdigest()
            identity.update(name.encode() + b"\0" + digest.encode() + b"\0")
            rows.append({"file": name, "size": len(text.encode()), "sha256": digest,
                         "origin": "a test", "time": created - age})
        identity = identity.hexdigest()
        name = identity[:16]
        draft = self.path / f".draft-{name}"
        draft.mkdir()
        for file, text in files.items():
            (draft / file).write_text(text)
        (draft / "manifest.json").write_text(json.dumps(
            {"version": 1, "identity": identity, "created": created, "files": rows}))
        self._give(draft)
        draft.rename(self.path / name)
        self.record(name, state, identity, int(since or created))
        return name

    def record(self, name, state, identity, since):
        draft = self.path / "records" / f".{name}"
        draft.write_text(json.dumps(
            {"identity": identity, "state": state, "since": since, "reason": None, "trials": 1,
             "adopted": since if state == "adopted" else 0}))
        self._give(draft)
        draft.rename(self.path / "records" / f"{name}.json")
        # Nothing changes in the directory itself by a record: the trial tells of its end.
        (self.path / ".touch").write_text("")
        (self.path / ".touch").rename(self.path / "touched")

    def state(self, name):
        record = json.loads((self.path / "records" / f"{name}.json").read_text())
        return record["state"], record["reason"]

    def adopt(self, name):
        link = self.path / ".new"
        link.symlink_to(name)
        self._give(link)
        link.rename(self.path / "current")

    def current(self):
        return os.readlink(self.path / "current")
