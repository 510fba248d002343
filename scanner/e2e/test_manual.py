# SPDX-License-Identifier: GPL-2.0-only
"""The manual pages are correct and whole, and completion knows what the program knows."""
import os
import re
import subprocess

import pytest

import instance

PAGES = sorted((instance.TOP / "docs/man").glob("*.[1-8]"))
COMPLETION = instance.TOP / "scanner/cli/completion/postern.bash"


def run(*words, **more):
    return subprocess.run([str(word) for word in words], capture_output=True, text=True,
                          check=False, timeout=300, **more)


def help_of(*words):
    done = run(instance.BUILD / "postern", *words, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def commands(*words):
    text = help_of(*words)
    return re.findall(r"^  (\S+)", text.split("Commands:\n")[1].split("\n\n")[0], re.M) \
        if "Commands:\n" in text else []


def options(*words):
    return re.findall(r"^ +(?:-\w, )?--([\w-]+)", help_of(*words), re.M)


def leaves():
    for command in commands():
        below = commands(command) if command != "help" else []
        yield from ((command, word) for word in below) if below else ((command,),)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_page(page):
    done = run("mandoc", "-Tlint", "-Wwarning", page)
    assert (done.returncode, done.stdout) == (0, "")
    shown = run("man", "--warnings", "-l", page,
                env={**os.environ, "MANWIDTH": "80", "LC_ALL": "C.UTF-8"})
    assert (shown.returncode, shown.stderr) == (0, "")


@pytest.mark.parametrize("program, section", [("postern", 1), ("posternd", 8),
                                              ("postern-engine", 8), ("postern-update", 8),
                                              ("postern-share", 8)])
def test_programs_options(program, section):
    page = (instance.TOP / f"docs/man/{program}.{section}").read_text()
    text = run(instance.BUILD / program, "--help").stdout
    for option in re.findall(r"--([\w-]+)", text):
        assert re.search(rf"Fl -{option}\b", page), option


def test_every_command_and_option():
    page = (instance.TOP / "docs/man/postern.1").read_text()
    synopsis = page.split(".Sh SYNOPSIS")[1].split(".Sh DESCRIPTION")[0]
    known = list(leaves())
    assert ("scan",) in known and ("quarantine", "show") in known
    for words in known:
        assert f".It Cm {' '.join(words)}" in page, words
        assert f".Cm {' '.join(words)}" in synopsis, words
        for option in options(*words):
            assert re.search(rf"Fl -{option}\b", page), (words, option)


def test_references_exist():
    """A page of ours that another one names is there."""
    names = {tuple(page.name.rsplit(".", 1)) for page in PAGES}
    for page in PAGES:
        for name, section in re.findall(r"^\.Xr (\S*postern\S*) (\d)", page.read_text(), re.M):
            assert (name, section) in names, (page.name, name)


def complete(*words):
    script = ('source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _postern; '
              'printf "%s\\n" "${COMPREPLY[@]}"')
    done = run("bash", "-c", script, "bash", COMPLETION, *words,
               env={**os.environ, "PATH": f"{instance.BUILD}:{os.environ['PATH']}"})
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.split()


def test_completion():
    assert complete("postern", "") == commands()
    assert complete("postern", "sca") == ["scan"]
    assert complete("postern", "quarantine", "") == commands("quarantine")
    assert complete("postern", "help", "quar") == ["quarantine"]
    assert complete("postern", "--config", "/x", "stat") == ["status"]
    assert complete("postern", "--config", "/etc/hostn") == ["/etc/hostname"]
    assert complete("postern", "scan", "/etc/hostn") == ["/etc/hostname"]
    assert complete("postern", "scan", "--infected", "/etc/hostn") == ["/etc/hostname"]
    assert complete("postern", "doctor", "clu") == ["cluster"]
    assert complete("postern", "prove", "--log", "jour") == ["journal"]
    for words in leaves():
        offered = complete("postern", *words, "--") if words != ("help",) else []
        for option in options(*words) if offered else []:
            assert f"--{option}" in offered, (words, option)
    assert "--infected" in complete("postern", "scan", "--")


def test_completion_of_generations(tmp_path):
    """Those of the instance that the line names."""
    (tmp_path / "signatures").mkdir()
    (tmp_path / "postern.conf").write_text(f'signatures_dir = "{tmp_path}/signatures"\n')
    (tmp_path / "one.hdb").write_text("44d88612fea8a8f36de82e1278abb02f:68:Test.One\n")
    done = run(instance.BUILD / "postern", "--dir", tmp_path, "signatures", "add",
               tmp_path / "one.hdb")
    name = done.stdout.split()[1]
    assert name in complete("postern", "--dir", tmp_path, "signatures", "show", "")
    assert complete("postern", "signatures", "pin", "--dir", "=", tmp_path, name[:4]) == [name]
    assert name in complete("postern", "-c", tmp_path / "postern.conf", "signatures", "adopt", "")
    assert name not in complete("postern", "--dir", "/nonexistent", "signatures", "reject", "")


def test_help():
    for words in leaves():
        if words != ("help",):
            assert run(instance.BUILD / "postern", "help", *words).stdout == help_of(*words)


def test_no_colours_but_on_terminals():
    """NO_COLOR and a pipe both switch them off."""
    def doctor(**more):
        return run("script", "-qec", f"{instance.BUILD}/postern doctor host", "/dev/null",
                   stdin=subprocess.DEVNULL, env={**os.environ, **more}).stdout

    assert "\x1b[" in doctor()
    assert "\x1b[" not in doctor(NO_COLOR="1")
    assert "\x1b[" not in run(instance.BUILD / "postern", "doctor", "host").stdout


@pytest.mark.parametrize("unit", ["postern-engine", "posternd", "postern-notify"])
def test_journal_limit_is_lifted(unit):
    text = (instance.TOP / f"ocf/{unit}.service.in").read_text()
    assert "\nLogRateLimitIntervalSec=0\n" in text
