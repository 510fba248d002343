# SPDX-License-Identifier: GPL-2.0-only
"""Fixtures of the scenarios.

A module says which lab it wants:  LAB = {"scanner": False}
    scanner  Postern or the mail group alone (default True)
    mode     promotable (default) or primitive
    nodes    2 (default) or 3
    older    Postern is that of upgrade-from, to be upgraded (default False)
Modules that want the same share a lab; each test is a story (story.py) with audits at its end.
A story that cannot put the lab in order again leaves a new one to the next.
"""

import os
import signal
import subprocess
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
    config.keeper = Keeper(config)
    config.seed = config.getoption("--seed") or int.from_bytes(os.urandom(2), "big") + 10000


def pytest_report_header(config):
    return f"scenario seed: {config.seed} (repeat with --seed {config.seed})"


def interrupted(_signal, _frame):
    raise KeyboardInterrupt


def wants(module):
    return {"scanner": True, "mode": "promotable", "nodes": 2, **getattr(module, "LAB", {})}


def pytest_collection_modifyitems(items):
    """Modules with the same lab come one after the other."""
    items.sort(key=lambda item: sorted(map(str, wants(item.module).items())))


class Keeper:
    """The lab that is up, if one is."""

    def __init__(self, config):
        self.config = config
        self.cluster = None

    def give(self, wanted):
        """One that is as wanted and in order."""
        if self.cluster and (self.cluster.wanted != wanted or self.cluster.spoiled):
            self.end()
        if not self.cluster:
            stage = older_package() if wanted.get("older") else self.config.getoption("--stage")
            self.cluster = stories.Cluster(wanted, stage, self.config.getoption("--logs"))
            self.cluster.spoiled = True     # until it is up
            self.cluster.up()
        return self.cluster

    def end(self):
        cluster, self.cluster = self.cluster, None
        if cluster:
            cluster.down()


@pytest.hookimpl(trylast=True)      # an interrupted story ends in its lab
def pytest_sessionfinish(session):
    """However the run ends; LAB_OWNER ends the lab when even this does not run."""
    session.config.keeper.end()


@pytest.fixture
def lab(request):
    wanted = wants(request.module)
    if (wanted["scanner"] or wanted.get("installed")) and not request.config.getoption("--stage"):
        pytest.skip("needs --stage WHAT: Postern's .deb, or a tree by 'make install DESTDIR=DIR'")
    return request.config.keeper.give(wanted)


def older_package():
    """The Postern that an upgrade begins with; it says itself why it cannot be made."""
    made = subprocess.run([os.path.join(os.path.dirname(HERE), "older")], text=True,
                          stdout=subprocess.PIPE, check=False)
    assert made.returncode == 0, "the older Postern cannot be made: see above"
    return made.stdout.strip()


@pytest.fixture
def newer(request):
    """This Postern, for a lab that begins with the older one."""
    package = os.path.abspath(request.config.getoption("--stage"))
    if not package.endswith(".deb"):
        pytest.skip("an upgrade needs --stage FILE.deb, made by './dev package'")
    return package


@pytest.fixture
def story(lab, request, tmp_path):
    telling = stories.Story(lab, request.config.seed, str(tmp_path), request.node.name)
    lab.spoiled = True              # until all of it is over well
    telling.begin()
    try:
        yield telling
    finally:
        failed = getattr(request.node, "told_badly", True)
        telling.end(failed)
        lab.spoiled = failed


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
