# SPDX-License-Identifier: GPL-2.0-only
"""What a benchmark has measured: kept line by line, so that it goes on where it was ended."""
import json
import os
import pathlib
import statistics
import sys
import time

TOP = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("POSTERN_BUILD", TOP / "build"))
STARTED = time.monotonic()


def say(text):
    print(f"bench [{time.monotonic() - STARTED:6.0f} s] {text}", file=sys.stderr, flush=True)


def place():
    """Where sets are kept and instances run: below build/, unless it lies where the daemons' users
    cannot go."""
    folder = BUILD / "bench"
    if all(path.stat().st_mode & 0o001 for path in BUILD.resolve().parents):
        return folder
    return pathlib.Path("/var/tmp/postern-bench")


class Results:
    """A line of what the run is, then a line for each cell; a cell with "error" does not count.

    `cells` has them by their "key". What another run has left there goes with the first cell.
    """

    def __init__(self, path, run, fresh=False):
        self.path = path
        self.cells = {}
        self.run = run
        if not fresh:
            self.load(run)
        self.begun = bool(self.cells)

    def load(self, run):
        lines = self.path.read_text(encoding="ascii").splitlines() if self.path.exists() else []
        if not lines or json.loads(lines[0]) != run:
            return
        for line in lines[1:]:
            cell = json.loads(line)
            if "error" not in cell:
                self.cells[cell["key"]] = cell
        if self.cells:
            say(f"{len(self.cells)} measurements are there already (--fresh begins anew)")

    def add(self, cell):
        self.cells[cell["key"]] = cell
        with open(self.path, "a" if self.begun else "w", encoding="ascii") as f:
            if not self.begun:
                f.write(json.dumps(self.run) + "\n")
            self.begun = True
            f.write(json.dumps(cell) + "\n")
            f.flush()
            os.fsync(f.fileno())


def spread(values):
    return {"median": round(statistics.median(values), 3), "lowest": min(values),
            "highest": max(values), "n": len(values)} if values else None


def goal_rows(goals):
    """Of (what, value, limit), the value None when it was not measured: as the JSON has them."""
    return [{"what": what, "value": value, "limit": limit,
             "met": value is not None and value <= limit} for what, value, limit in goals]


def show_goals(rows):
    for goal in rows:
        value = "not measured" if goal["value"] is None else f"{goal['value']:g}"
        print(f"{'ok  ' if goal['met'] else 'MISS'} {goal['what']}: {value} "
              f"(at most {goal['limit']:g})")


def finish(path, made):
    """Keeps the report MADE in PATH; the exit status."""
    path.write_text(json.dumps(made, indent=1) + "\n", encoding="ascii")
    print(f"\n{path}", file=sys.stderr)
    return 0 if all(goal["met"] for goal in made["goals"]) else 1
