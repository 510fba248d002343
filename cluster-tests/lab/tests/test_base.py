# SPDX-License-Identifier: GPL-2.0-only
"""Commands are run to their end, or to the end of their time."""

import pytest

from lablib.base import LabError, run


def test_what_it_says():
    done = run(["sh", "-c", "cat; echo no >&2; exit 3"], stdin="yes", check=False)
    assert (done.stdout, done.stderr, done.returncode) == ("yes", "no\n", 3)


def test_much_is_read_while_much_is_written():
    text = "x" * 1_000_000
    assert run(["sh", "-c", "sleep 1.2; cat"], stdin=text).stdout == text


def test_one_that_stops_itself_goes_on():
    assert run(["sh", "-c", "kill -STOP $$; echo on"], timeout=60).stdout == "on\n"


def test_one_that_does_not_end_is_ended():
    with pytest.raises(LabError, match="gave no answer within 0.3 s"):
        run(["sleep", "600"], timeout=0.3)


def test_failures():
    with pytest.raises(LabError, match="failed with code 4: why"):
        run(["sh", "-c", "echo why >&2; exit 4"])
    with pytest.raises(LabError, match="cannot be run"):
        run(["/no/such/command"])
