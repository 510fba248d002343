# SPDX-License-Identifier: GPL-2.0-only
"""The failover bench's reading of a log: when service ended, when it came back."""

import json
import os
import sys
import types

import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, ".."), os.path.join(HERE, "../../bench"),
                os.path.join(HERE, "../../../scanner/bench")]

import cells                        # noqa: E402


def attempt(when, code=None, kind="clean-plain", took=0.1, stage="end"):
    entry = {"id": f"m{when}", "kind": kind, "time": when, "took": took, "stage": stage}
    return {**entry, **({"error": "refused"} if code is None else {"code": code})}


def test_nobody_noticed():
    mails = [attempt(t, 250) for t in range(20)]
    assert cells.outage(mails, 5, 20)["first_accepted"] == 0
    assert cells.outage(mails, 5, 20)["refused"] == 0


def test_outage():
    mails = [attempt(t, 250) for t in range(10)]
    mails += [attempt(10.2, None, stage="connect"), attempt(11.2, 451, stage="mail"),
              attempt(11.2, 550, stage="rcpt")]
    mails += [attempt(12.5 + t, 250) for t in range(10)]
    found = cells.outage(mails, 9.5, 25)
    assert found["first_accepted"] == pytest.approx(3.1)
    assert (found["connection"], found["temporary"], found["refused"]) == (1, 1, 3)


def test_a_refused_infected_mail_is_served():
    assert cells.is_served(attempt(1, 550, "infected-zip"))
    assert not cells.is_served(attempt(1, 550, "clean-zip"))
    assert not cells.is_served(attempt(1, 550, "infected-zip", stage="rcpt"))
    assert not cells.is_served(attempt(1, 451, "infected-zip"))


def test_service_that_comes_and_goes():
    mails = [attempt(1, 250), attempt(2, 451), attempt(6, 250), attempt(7, 451), attempt(7.5, 250)]
    found = cells.outage(mails, 1.5, 20)
    assert found["first_accepted"] == pytest.approx(4.6)
    assert found["last_refused"] == pytest.approx(5.6)


def test_a_log_is_read_once(tmp_path):
    log = tmp_path / "log"
    log.touch()                         # a Sender waits for it
    flow = types.SimpleNamespace(log=str(log), read=0, known=[])
    assert cells.Flow.attempts(flow) == []
    first = json.dumps(attempt(1, 250)) + "\n" + json.dumps({"id": "x", "begin": True}) + "\n"
    log.write_text(first + '{"id": "half')
    assert len(cells.Flow.attempts(flow)) == 1
    log.write_text(first + json.dumps(attempt(2, 250)) + "\n")
    assert [e["time"] for e in cells.Flow.attempts(flow)] == [1, 2]
