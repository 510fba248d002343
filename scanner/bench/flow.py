# SPDX-License-Identifier: GPL-2.0-only
"""Mail in flow beside an update (bench-flow.c), and what its answers say."""
import json
import statistics
import subprocess
import threading

import corpus
import measure
from record import BUILD

OK = "stream: OK"


class Flow:
    """Mails of the directory MAILS, RATE a second, whatever comes of them, until `end()`."""

    def __init__(self, socket, rate, mails):
        words = [BUILD / "bench-flow", socket, rate, mails, next(measure.tokens)]
        self.process = subprocess.Popen([str(word) for word in words], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True, bufsize=1)
        self.answers = []
        self.new_seen = threading.Event()  # a mail was judged by the new signatures
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        for line in self.process.stdout:
            answer = json.loads(line)
            self.answers.append(answer)
            if is_new(answer):
                self.new_seen.set()

    def _say(self, word):
        self.process.stdin.write(word)
        self.process.stdin.flush()

    def pause(self):
        self._say("p")

    def go(self):
        self._say("g")

    def end(self):
        """All answers, each of them come."""
        self.process.stdin.close()
        code = self.process.wait()
        self.reader.join()
        if code != 0:
            raise SystemExit("bench: the flow of mails failed, see above")
        return self.answers

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


# The arithmetic. An answer: {"n": which mail, "due": us, "us": us after that, "answer": text}.

def is_new(answer):
    return answer["answer"].endswith(" FOUND") and corpus.MARK_NAME in answer["answer"]


def is_verdict(answer):
    return answer["answer"] == OK or answer["answer"].endswith(" FOUND")


def ended(answer):
    return answer["due"] + answer["us"]


def is_wrong(answer):
    """A clean mail that was called infected; the marked ones may be."""
    may_be = is_new(answer) and corpus.is_marked(answer["n"])
    return answer["answer"].endswith(" FOUND") and not may_be


def usual(answers):
    """What each mail takes in the calm: mail -> median, us."""
    each = {}
    for answer in answers:
        if is_verdict(answer):
            each.setdefault(answer["n"], []).append(answer["us"])
    return {n: statistics.median(us) for n, us in each.items()}


def added(answers, base):
    """By how much each took longer than the same mail does in the calm, ms; quicker ones: 0."""
    return [max(0, answer["us"] - base[answer["n"]]) / 1000 for answer in answers
            if is_verdict(answer) and answer["n"] in base]


def worst(values):
    return {"p99_ms": round(measure.percentile(values, 0.99), 1) if values else None,
            "worst_ms": round(max(values), 1) if values else None}


def refusals(answers, begun):
    """How many had no verdict, and from when to when after BEGUN, s; None: there were none."""
    bad = [answer for answer in answers if not is_verdict(answer)]
    span = [round((min(a["due"] for a in bad) - begun) / 1e6, 3),
            round((max(a["due"] for a in bad) - begun) / 1e6, 3)] if bad else None
    return {"refused": len(bad), "refused_span": span,
            "refused_why": sorted({answer["answer"] for answer in bad})[:4]}


def switch(answers, begun):
    """Seconds after BEGUN to the first verdict of the new signatures, and the last of the old."""
    marked = [a for a in answers
              if corpus.is_marked(a["n"]) and is_verdict(a) and ended(a) > begun]
    new = [ended(a) for a in marked if is_new(a)]
    old = [ended(a) for a in marked if not is_new(a)]
    return {"to_new": round((min(new) - begun) / 1e6, 3) if new else None,
            "to_last_old": round((max(old) - begun) / 1e6, 3) if old else None}


def evaluate(answers, calm_from, begun, until):
    """What an update has cost that began at BEGUN and was over at UNTIL; us of CLOCK_MONOTONIC.

    The calm is what had its answer before BEGUN; a mail under way by then belongs to the update.
    """
    calm = [a for a in answers if a["due"] >= calm_from and ended(a) < begun]
    during = [a for a in answers if ended(a) >= begun and a["due"] <= until]
    base = usual(calm)
    return {"mails_calm": len(calm), "mails": len(during),
            "wrong": sum(is_wrong(a) for a in calm + during),
            "refused_calm": sum(not is_verdict(a) for a in calm),
            **refusals(during, begun), **switch(during, begun),
            "calm": worst(added(calm, base)), "added": worst(added(during, base))}
