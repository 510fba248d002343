# SPDX-License-Identifier: GPL-2.0-only
"""Fixtures of the scenarios.

A module says which lab it wants:  LAB = {"scanner": False}
    scanner  Postern or the mail group alone (default True)
    mode     promotable (default) or primitive
    nodes    2 (default) or 3
Each module has its own lab; each test a story (story.py) with audits at its end.
"""

import os
import signal
import sys

import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.dont_write_bytecode = True
sys.path[:0] = [HERE, os.path.join(os.path.dirname(HERE), "lab")]

import story as stories             # noqa: E402
from loading import Loading         # noqa: E402


def pytest_addoption(parser):
    parser.addoption("--stage", default=os.environ.get("POSTERN_PACKAGE")
                     or os.environ.get("POSTERN_STAGE"),
                     help="Postern's .deb, or a tree made by 'make install DESTDIR=DIR' "
                     "(or POSTERN_PACKAGE, POSTERN_STAGE)")
    parser.addoption("--seed", type=int, default=None, help="repeats the mails of a run")
    parser.addoption("--rounds", type=int, default=10,
                     help="how often the scenarios that measure repeat themselves")
    parser.addoption("--logs", default="/tmp", help="folder for the logs of failed scenarios")


def pytest_configure(config):
    # A terminated run must take its lab down as an interrupted one does.
    signal.signal(signal.SIGTERM, interrupted)
    config.told = []
    config.seed = config.getoption("--seed") or int.from_bytes(os.urandom(2), "big") + 10000


def pytest_report_header(config):
    return f"scenario seed: {config.seed} (repeat with --seed {config.seed})"


def interrupted(_signal, _frame):
    raise KeyboardInterrupt


@pytest.fixture(scope="module")
def lab(request):
    """A lab for one module; it goes away however the module ends."""
    wanted = getattr(request.module, "LAB", {})
    stage = request.config.getoption("--stage")
    if wanted.get("scanner", True) and not stage:
        pytest.skip("needs --stage WHAT: Postern's .deb, or a tree by 'make install DESTDIR=DIR'")
    cluster = stories.Cluster(wanted, stage, request.config.getoption("--logs"))
    try:
        cluster.up()
        yield cluster
    finally:
        cluster.down()


@pytest.fixture
def story(lab, request, tmp_path):
    telling = stories.Story(lab, request.config.seed, str(tmp_path), request.node.name)
    telling.begin()
    try:
        yield telling
    finally:
        telling.end(failed=getattr(request.node, "told_badly", True))


@pytest.fixture
def loading(story, tmp_path):
    with Loading(story.lab, str(tmp_path)) as control:
        yield control


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """Logs are copied while the lab still stands, and the report names their folder."""
    report = (yield).get_result()
    if call.when != "call":
        return
    item.told_badly = report.failed
    telling = item.funcargs.get("story")
    if telling:
        item.config.told.append((item.nodeid.rpartition("/")[2], report.outcome, report.duration,
                                 telling.lines))
    if report.failed and telling:
        report.sections.append(("lab", f"logs of the nodes are in {telling.save_logs()}"))


def pytest_terminal_summary(terminalreporter, config):
    """What each story had to say, also when all went well."""
    terminalreporter.section(f"stories, seed {config.seed}")
    for name, outcome, seconds, lines in config.told:
        terminalreporter.write_line(f"{name}: {outcome}, {seconds:.0f} s")
        for line in lines:
            terminalreporter.write_line(f"    {line}")
