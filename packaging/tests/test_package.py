# SPDX-License-Identifier: GPL-2.0-only
"""The Debian package: what it lays down, and that it leaves alone what runs and what is kept."""

import os
import subprocess

UNITS = ["postern-engine.service", "postern-notify.service", "postern-share.service",
         "postern-update.service", "posternd.service"]
RELOAD = "systemctl --system daemon-reload"
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def is_look(call):
    return " is-active " in call


def next_version(package, folder, conf=None):
    """The same with a higher version, and perhaps another postern.conf."""
    tree = f"{folder}/next"
    subprocess.run(["dpkg-deb", "-R", package, tree], check=True)
    control = f"{tree}/DEBIAN/control"
    with open(control, encoding="utf-8") as f:
        text = f.read()
    with open(control, "w", encoding="utf-8") as f:
        f.write(text.replace("\nVersion: ", "\nVersion: 9"))
    if conf:
        with open(f"{tree}/etc/postern/postern.conf", "a", encoding="utf-8") as f:
            f.write(conf)
    made = f"{folder}/next.deb"
    subprocess.run(["dpkg-deb", "-Zgzip", "-z1", "--root-owner-group", "-b", tree, made],
                   check=True, stdout=subprocess.DEVNULL)
    return made


def users(machine):
    return machine.sh("getent passwd postern postern-engine | cut -d: -f1,3,4").split()


def test_lintian_accepts_it(package):
    done = subprocess.run(["lintian", "--allow-root", "--fail-on", "error,warning", package],
                          capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_it_needs(package):
    fields = dict(line.split(": ", 1) for line in subprocess.run(
        ["dpkg-deb", "-f", package], capture_output=True, text=True,
        check=True).stdout.splitlines() if ": " in line and not line.startswith(" "))
    assert "libclamav" in fields["Depends"] and "systemd" in fields["Depends"]
    # A scanner on a single host needs neither a cluster nor freshclam.
    assert "pacemaker" not in fields["Depends"] and "freshclam" not in fields["Depends"]
    assert "pacemaker (>= 2.1)" in fields["Recommends"]
    # Postern fetches for itself; freshclam beside it would ask the mirrors twice, from every node.
    assert "freshclam" not in fields["Recommends"] and "ca-certificates" in fields["Recommends"]
    assert fields["Breaks"] == "pacemaker (<< 2.1)"


def test_it_installs_and_starts_nothing(machine, package):
    machine.install(package)
    assert machine.calls() == [RELOAD]
    assert [u.split(":")[0] for u in users(machine)] == ["postern", "postern-engine"]
    assert "postern" in machine.sh("getent group postdrop").strip().split(":")[3].split(",")
    assert machine.sh("stat -c '%U %a' /run/postern/engine /var/lib/postern/signatures "
                      "/run/postern/milter").split("\n")[:3] == \
        ["postern-engine 755", "postern-engine 755", "postern 2750"]
    for unit in UNITS:
        assert machine.sh(f"grep -c '^.Install.' /lib/systemd/system/{unit} || :").strip() == "0"
    # What a single host enables; it brings the others.
    assert "WantedBy=" in machine.sh("cat /lib/systemd/system/postern.target")
    assert machine.sh("find /etc/systemd -name '*postern*'") == ""
    assert machine.sh("dpkg-query -W -f '${Conffiles}' postern").split()[0] == \
        "/etc/postern/postern.conf"
    # One address for the cluster manager, one for people.
    assert "scanner" in machine.sh("/usr/lib/ocf/resource.d/postern/scanner meta-data")
    machine.sh("postern config check")
    machine.sh("man -w postern posternd postern.conf ocf_postern_scanner")


def test_an_upgrade_touches_nothing_that_runs(machine, package, tmp_path):
    machine.install(package)
    machine.sh("""
        echo 'workers = 3' >>/etc/postern/postern.conf
        usermod -u 4711 postern 2>/dev/null
        mkdir -p /var/lib/postern/state
        echo kept >/var/lib/postern/state/mail
        chgrp mail /run/postern/milter && chmod 2750 /run/postern/milter
        printf '%s\\n' pacemaker.service posternd.service postern-engine.service >/active""")
    before = users(machine)
    machine.calls()
    machine.install(next_version(package, tmp_path))
    assert machine.calls() == [RELOAD]
    assert users(machine) == before and "postern:4711" in before[0]
    assert "workers = 3" in machine.sh("cat /etc/postern/postern.conf")
    assert machine.sh("cat /var/lib/postern/state/mail") == "kept\n"
    # The agent gave it to the mail server, which finds the milter there.
    assert machine.sh("stat -c '%G %a' /run/postern/milter") == "mail 2750\n"


def test_a_changed_configuration_stays(machine, package, tmp_path):
    machine.install(package)
    machine.sh("echo 'workers = 3' >>/etc/postern/postern.conf")
    machine.sh("echo force-confold >>/etc/dpkg/dpkg.cfg")
    machine.install(next_version(package, tmp_path, "# another\n"))
    assert "workers = 3" in machine.sh("cat /etc/postern/postern.conf")
    assert "another" in machine.sh("cat /etc/postern/postern.conf.dpkg-dist")


def test_removed_below_a_running_cluster_it_stops_nothing(machine, package):
    machine.install(package)
    machine.sh("printf '%s\\n' pacemaker.service posternd.service >/active")
    machine.calls()
    said = machine.dpkg("--remove", "postern")
    assert "remove its resource" in said
    assert [c for c in machine.calls() if not is_look(c)] == [RELOAD]


def test_removed_from_a_single_host_it_is_stopped(machine, package):
    machine.install(package)
    machine.sh("echo posternd.service >/active")
    machine.calls()
    machine.dpkg("--remove", "postern")
    asked = [c for c in machine.calls() if not is_look(c)]
    assert asked[0].startswith("deb-systemd-invoke stop postern.target posternd.service")
    assert asked[1:] == [RELOAD]
    assert "postern.conf" in machine.sh("ls /etc/postern")


def test_purge_keeps_what_was_kept(machine, package):
    machine.install(package)
    before = users(machine)
    machine.sh("""
        mkdir -p /var/lib/postern/state/quarantine /var/lib/postern/signatures/1
        echo mail >/var/lib/postern/state/quarantine/KEY.eml""")
    assert "it stays" in machine.dpkg("--purge", "postern")
    assert machine.sh("cat /var/lib/postern/state/quarantine/KEY.eml") == "mail\n"
    assert machine.sh("ls /var/lib/postern") == "state\n"
    assert machine.sh("ls -d /etc/postern 2>&1 || :").count("No such file") == 1
    assert users(machine) == before
    machine.install(package)
    assert users(machine) == before


def test_purge_leaves_no_empty_folder(machine, package):
    machine.install(package)
    enabled = "/etc/systemd/system/multi-user.target.wants/postern.target"
    machine.sh(f"ln -s /lib/systemd/system/postern.target {enabled}")
    machine.dpkg("--purge", "postern")
    assert machine.sh("ls -d /var/lib/postern /usr/libexec/postern /etc/postern "
                      f"{enabled} 2>/dev/null || :") == ""


def test_the_spec_can_be_read(package):
    spec = f"{ROOT}/packaging/rpm/postern.spec"
    done = subprocess.run(["rpmspec", "-P", spec], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    with open(f"{ROOT}/configure.ac", encoding="utf-8") as f:
        version = f.read().split("AC_INIT([postern], [")[1].split("]")[0]
    assert f"Version:        {version}" in done.stdout
    assert "systemctl start" not in done.stdout and "preset" not in done.stdout
