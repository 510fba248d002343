#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""The update bench's reading of answers, and that a run goes on where it was ended."""
import importlib.machinery
import importlib.util
import json
import pathlib
import sys
import types

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.dont_write_bytecode = True
sys.path.insert(0, str(HERE))

import corpus    # noqa: E402
import flow      # noqa: E402
import memory    # noqa: E402
import record    # noqa: E402

loader = importlib.machinery.SourceFileLoader("update", str(HERE / "update"))
update = importlib.util.module_from_spec(importlib.util.spec_from_loader("update", loader))
loader.exec_module(update)

OLD, NEW = "stream: OK", "stream: Bench.Update.UNOFFICIAL FOUND"
REFUSED = "engine not ready ERROR"
MARKED = corpus.MARKED - 1


def answer(n, due_s, ms=10, text=OLD):
    return {"n": n, "due": int(due_s * 1e6), "us": int(ms * 1000), "answer": text}


def calm(until=10):
    """Two mails and a marked one, each second: 10, 400 and 5 ms."""
    return [a for s in range(until) for a in (
        answer(0, s, 10), answer(1, s + 0.3, 400), answer(MARKED, s + 0.6, 5))]


def evaluate(answers, until=100):
    return flow.evaluate(answers, 0, 10e6, until * 1e6)


def test_nobody_noticed():
    found = evaluate(calm() + [answer(0, 11), answer(1, 12, 400), answer(MARKED, 13, 5, NEW)])
    assert found["added"] == {"p99_ms": 0, "worst_ms": 0}
    assert (found["refused"], found["refused_span"], found["wrong"]) == (0, None, 0)
    assert (found["mails_calm"], found["mails"]) == (30, 3)


def test_each_mail_is_held_against_itself():
    """A large one that takes 400 ms, as always, has not waited; a small one has."""
    found = evaluate(calm() + [answer(1, 11, 410), answer(0, 12, 400)])
    assert found["added"]["worst_ms"] == 390


def test_what_is_quicker_gives_nothing_back():
    assert evaluate(calm() + [answer(1, 11, 100)])["added"]["worst_ms"] == 0


def test_a_mail_under_way_belongs_to_the_update():
    found = evaluate(calm() + [answer(0, 9.95, 20000)])
    assert found["added"]["worst_ms"] == 19990
    assert found["calm"]["worst_ms"] == 0


def test_mails_after_the_update_do_not_count():
    found = evaluate(calm() + [answer(0, 11), answer(0, 21, 500)], until=20)
    assert found["mails"] == 1 and found["added"]["worst_ms"] == 0


def test_the_percentile_is_not_the_worst():
    during = [answer(0, 10 + i / 100, 10 + (i == 7) * 1000 + (i < 5) * 100) for i in range(400)]
    assert evaluate(calm() + during)["added"] == {"p99_ms": 100, "worst_ms": 1000}


def test_refused():
    found = evaluate(calm() + [answer(0, 11, 1, REFUSED), answer(1, 12), answer(0, 14, 1, "closed"),
                               answer(0, 15)])
    assert found["refused"] == 2 and found["refused_span"] == [1, 4]
    assert found["refused_why"] == ["closed", REFUSED]
    assert found["added"]["worst_ms"] == 0


def test_switch():
    marked = [(11, OLD), (12, OLD), (13, NEW), (13.5, OLD), (15, NEW)]
    found = evaluate(calm() + [answer(MARKED, when, 500, text) for when, text in marked]
                     + [answer(0, 20, 500, OLD)])
    assert found["to_new"] == 3.5 and found["to_last_old"] == 4
    assert evaluate(calm())["to_new"] is None


def test_wrong():
    """Found in a mail without the mark, or by another name."""
    assert evaluate(calm() + [answer(0, 11, 10, NEW)])["wrong"] == 1
    assert evaluate(calm() + [answer(MARKED, 11, 10, "stream: Bench.ndb.7 FOUND")])["wrong"] == 1
    assert evaluate(calm() + [answer(MARKED, 11, 10, NEW)])["wrong"] == 0


def test_no_calm_no_verdict():
    found = evaluate([answer(0, 11)])
    assert found["added"] == {"p99_ms": None, "worst_ms": None}


def test_peak_of_a_window():
    watch = type("Seen", (), {"seen": [(1, 100), (2, 250), (3, 120)]})
    assert memory.Watch.between(watch, 1, 2) == [100, 250]


def test_goes_on(tmp_path):
    path, run = tmp_path / "update.jsonl", {"scale": 1}
    first = record.Results(path, run)
    assert not path.exists(), "looking at nothing leaves nothing"
    first.add({"key": "1 a", "refused": 0})
    first.add({"key": "1 b", "error": "it did not start"})
    again = record.Results(path, run)
    assert list(again.cells) == ["1 a"], "what failed is measured again"
    again.add({"key": "1 b", "refused": 1})
    assert set(record.Results(path, run).cells) == {"1 a", "1 b"}
    other = record.Results(path, {"scale": 2})
    assert not other.cells and set(record.Results(path, run).cells) == {"1 a", "1 b"}
    other.add({"key": "1 a", "refused": 2})
    assert [json.loads(line) for line in path.read_text().splitlines()] == \
        [{"scale": 2}, {"key": "1 a", "refused": 2}]


def test_goals():
    [met, missed, none] = record.goal_rows([("a", 0, 0), ("b", 2.2, 2.1), ("c", None, 0)])
    assert met["met"] and not missed["met"] and not none["met"]


def cell(setup, **more):
    return {"setup": setup, "refused": 0, "refused_span": None, "wrong": 0, "engines": 1.0,
            "to_new": 50, "stages": {}, **more}


def test_goals_of_an_update():
    cells = {"1": cell("postern", engines=2.0), "2": cell("postern", engines=2.2, refused=3),
             "3": cell("clamd", engines=9, refused=7, wrong=1),
             "4": {"setup": "postern", "error": "x"}}
    values = {what: value for what, value, _ in update.goals(cells)}
    assert list(values.values()) == [3, 2.2, None, None, 0, 1]


def test_refused_in_the_swap_alone():
    def refused(*span):
        return update.out_of_turn(cell("postern-budget", refused=9, refused_span=list(span),
                                       stages={"calm before": 20}))
    assert refused(25, 49) == 0
    assert refused(19, 49) == refused(25, 51) == 9
    assert update.out_of_turn(cell("postern-budget", stages={"calm before": 20})) == 0
    assert update.refused_for(cell("clamd", refused_span=[2.5, 12])) == 9.5


def test_another_order_in_each_round():
    options = types.SimpleNamespace(seed=1, rounds=6, only=None)
    steps = list(update.plan(options))
    assert steps == list(update.plan(options))
    rounds = [[name for number, name in steps if number == n + 1] for n in range(6)]
    assert all(sorted(names) == sorted(update.KINDS) for names in rounds)
    assert len({tuple(names) for names in rounds}) > 1


def test_marked_mails(tmp_path):
    folder = corpus.make_flow(tmp_path, 10)
    mails = [path.read_bytes() for path in sorted(folder.iterdir())]
    assert [corpus.MARK in mail for mail in mails] == [corpus.is_marked(n) for n in range(10)]
    assert all(b"X-Bench: " in mail for mail in mails)


if __name__ == "__main__":
    sys.exit(pytest.main([__file__]))
