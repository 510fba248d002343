# SPDX-License-Identifier: GPL-2.0-only
"""The real agent, one action after the other, against systemd in a node of the lab."""

import time

import pytest

from node import AGENT, MOUNT, QUEUE, STATE, UNITS
from steps import (ERROR, INVALID, NOT_INSTALLED, NOT_RUNNING, OK, PROMOTED, promoted, started,
                   until)


def test_start_does_not_wait_for_the_signatures(node):
    node.behave(load=120)
    begin = time.monotonic()
    assert node.agent("start").rc == OK
    assert node.agent("monitor").rc == OK
    assert time.monotonic() - begin < 60
    assert node.attribute("master-scanner") == "10"
    until("it says so", lambda: (node.attribute("postern-state") or "").startswith("loading since"))


def test_promoted_keeps_its_score_while_it_first_loads(node):
    node.behave(load=3)
    assert node.agent("start").rc == OK
    assert node.attribute("master-scanner") == "10"
    assert node.agent("promote").rc == OK
    assert node.attribute("master-scanner") == "100000"
    until("it is ready", lambda: "ready" in node.attribute("postern-state"))
    node.behave(load=120)
    node.sh("kill -9 $(systemctl show -P MainPID postern-engine)")
    until("the death is told", lambda: node.attribute("master-scanner") == "20")
    assert node.agent("monitor", interval=7000).rc == PROMOTED


def test_broken_signatures_lower_the_promoted(node):
    node.behave(load=1, broken=True)
    assert node.agent("start").rc == OK
    assert node.agent("promote").rc == OK
    until("it is told", lambda: node.attribute("master-scanner") == "20")
    assert node.attribute("postern-state").startswith("signatures cannot be loaded since")


def test_promote_refuses_without_the_storage(node):
    started(node)
    node.sh(f"umount {MOUNT}")
    done = node.agent("promote")
    assert (done.rc, STATE in done.reason) == (ERROR, True)
    node.sh(f"install -d -o postern {STATE}")
    done = node.agent("promote")
    assert (done.rc, "file system of /" in done.reason) == (ERROR, True)
    assert node.agent("monitor").rc == OK
    node.sh(f"rmdir {STATE}")
    node.mount()
    node.sh(f"chown root {STATE}")
    done = node.agent("promote")
    assert (done.rc, "chown" in done.reason) == (ERROR, True)
    node.sh(f"chown postern {STATE}")
    assert node.agent("promote").rc == OK


def test_demoted_node_lets_go_of_the_storage(node):
    """The engine and postern-notify, started while it was mounted, stay and do not hold it."""
    promoted(node, queue_directory=QUEUE)
    assert f"{QUEUE}/postern" in node.mounts()
    node.sh(f"test -S {QUEUE}/postern/milter.sock")
    assert node.sh(f"stat -c '%U %G %a' {QUEUE}/postern") == "postern postfix 2750"
    assert node.agent("demote", queue_directory=QUEUE).rc == OK
    assert f"{QUEUE}/postern" not in node.mounts()
    node.sh(f"umount {MOUNT}")
    assert node.unit("postern-engine") == "active"
    for name in ("postern-engine", "postern-notify"):
        assert MOUNT not in node.sh(
            f"cat /proc/$(systemctl show -P MainPID {name})/mountinfo")


def test_storage_in_use_stays_mounted(node):
    """Whoever unmounts it, out of order, must hear that it is busy: another node mounts it next."""
    promoted(node)
    done = node.run("umount", MOUNT)
    assert (done.rc, "busy" in done.err) == (32, True), done.err
    assert node.agent("demote").rc == OK
    assert node.run("umount", MOUNT).rc == 0


def test_mount_goes_without_the_parameter(node):
    """The parameter was changed meanwhile: the role file remembers."""
    promoted(node, queue_directory=QUEUE)
    assert node.agent("demote").rc == OK
    assert f"{QUEUE}/postern" not in node.mounts()


def test_busy_mount_costs_no_node(node):
    """Somebody's shell in the socket's directory: it does not hold the storage."""
    promoted(node, queue_directory=QUEUE)
    node.sh(f"cd {QUEUE}/postern; systemd-run -q --unit=holder -p WorkingDirectory={QUEUE}/postern"
            " sleep 600")
    assert node.agent("demote", queue_directory=QUEUE).rc == OK
    assert f"{QUEUE}/postern" not in node.mounts()
    assert node.run("umount", MOUNT).rc == 0
    assert node.unit("holder") == "active"
    node.sh("systemctl stop holder")


def test_dead_engine(node):
    started(node)
    node.sh("systemctl kill -s KILL postern-engine; systemctl stop postern-engine")
    done = node.agent("monitor", interval=10000)
    assert (done.rc, "postern-engine.service" in done.reason) == (ERROR, True)
    assert node.agent("stop").rc == OK
    assert node.agent("monitor").rc == NOT_RUNNING


def test_selftest(node):
    promoted(node)
    assert node.agent("monitor", level=10).rc == PROMOTED
    node.behave(selftest=False)
    node.sh("systemctl restart postern-engine")
    # While it loads posternd's test, which fails, too, is the only one.
    until("its selftest fails",
          lambda: "the canary is dead" in node.agent("monitor", level=10).reason)
    assert node.agent("monitor", level=10).rc == ERROR
    assert node.agent("monitor").rc == PROMOTED


def test_stop_with_everything_broken(node):
    promoted(node, queue_directory=QUEUE)
    node.write("/etc/postern/postern.conf", "this is no configuration {")
    assert node.agent("monitor", interval=7000).rc == PROMOTED
    assert node.agent("start").rc == INVALID
    assert node.agent("validate-all").rc == INVALID
    node.sh(f"umount -l {MOUNT}")
    assert node.agent("stop", nonsense="1").rc == OK
    assert [node.unit(name) for name in UNITS] == ["inactive"] * len(UNITS)


@pytest.mark.long
def test_stop_when_systemd_cannot_be_asked(node):
    """What has to end is found by its control group and ended."""
    promoted(node, queue_directory=QUEUE)
    node.sh("cat /dev/null > /run/deaf; cat > /run/deaf-agent << 'END'\n"
            "for path in /run/systemd/private /run/dbus/system_bus_socket; do\n"
            "    mount --bind /run/deaf $path\ndone\nexec \"$@\"\nEND")
    begin = time.monotonic()
    for action, answer in (("monitor", ERROR), ("demote", OK), ("stop", OK)):
        done = node.run("env", "OCF_ROOT=/usr/lib/ocf", "OCF_RESOURCE_INSTANCE=scanner",
                        "OCF_RESKEY_CRM_meta_on_node=n1", "OCF_RESKEY_CRM_meta_promoted_max=1",
                        "OCF_RESKEY_CRM_meta_timeout=60000",
                        f"OCF_RESKEY_queue_directory={QUEUE}", "unshare", "-m", "--propagation",
                        "slave", "sh", "/run/deaf-agent", AGENT, action)
        assert (done.rc, "cannot be reached" in done.reason) == (answer, answer == ERROR), done.err
    assert time.monotonic() - begin < 90
    until("all have ended", lambda: [node.unit(name) for name in UNITS[:2]] == ["inactive"] * 2)
    assert node.agent("stop", queue_directory=QUEUE).rc == OK
    assert [node.unit(name) for name in UNITS] == ["inactive"] * len(UNITS)


def test_second_resource_is_refused_and_harmless(node):
    promoted(node)
    assert node.agent("monitor", "second").rc == NOT_RUNNING
    done = node.agent("start", "second")
    assert (done.rc, "scanner" in done.reason) == (INVALID, True)
    assert node.agent("demote", "second").rc in (OK, NOT_RUNNING)
    assert node.agent("stop", "second").rc == OK
    assert node.agent("monitor", interval=7000).rc == PROMOTED


def test_lost_role_file(node):
    promoted(node, queue_directory=QUEUE)
    node.sh("rm /run/postern/cluster/role")
    assert node.agent("monitor", interval=7000, queue_directory=QUEUE).rc == PROMOTED
    assert "stage=serving" in node.sh("cat /run/postern/cluster/role")
    assert node.agent("stop", queue_directory=QUEUE).rc == OK
    assert f"{QUEUE}/postern" not in node.mounts()


def test_live_migration(node):
    """The warm clone and the primitive share the engine; the source's stop leaves it alone."""
    def warm(action, **more):
        return node.agent(action, "warm", promotable=False, part="engine", **more)

    def primitive(action, **more):
        return node.agent(action, promotable=False, **more)

    assert warm("start").rc == OK
    engine = node.unit("postern-engine", "MainPID")
    assert primitive("monitor").rc == NOT_RUNNING
    assert primitive("start").rc == OK
    assert primitive("monitor", interval=7000).rc == OK
    done = primitive("migrate_to")
    assert (done.rc, "state_storage" in done.reason) == (ERROR, True)
    node.write("/etc/postern/postern.conf",
               f'state_dir = "{STATE}"\nstate_storage = "shared"\n')
    assert primitive("migrate_to").rc == OK
    assert primitive("monitor").rc == NOT_RUNNING
    node.sh(f"umount {MOUNT}")
    assert primitive("stop").rc == OK
    assert warm("monitor", interval=10000).rc == OK
    node.mount()
    assert primitive("migrate_from").rc == OK
    assert primitive("monitor", interval=7000).rc == OK
    assert node.unit("postern-engine", "MainPID") == engine
    assert primitive("stop").rc == OK
    assert warm("stop").rc == OK
    for name in UNITS:  # by systemd: ended behind its back, postern-notify would be started again
        assert node.unit(name) == "inactive"
        assert "pacemaker.service" not in node.unit(name, "Before").split()


def test_clone_is_not_who_serves(node):
    """A clone that comes to a running primitive must not take the end of posternd for its own."""
    assert node.agent("start", promotable=False).rc == OK
    assert node.agent("monitor", "warm", promotable=False, part="engine").rc == OK
    role = node.sh("cat /run/postern/cluster/role").partition("[warm]")[2].partition("[")[0]
    assert "stage=standby" in role.split()
    assert node.agent("stop", promotable=False).rc == OK
    assert node.agent("monitor", "warm", promotable=False, part="engine", interval=10000).rc == OK
    assert node.agent("stop", "warm", promotable=False, part="engine").rc == OK


def test_order_at_shutdown(node):
    """While the cluster uses them the units stop after Pacemaker; the line goes before a stop."""
    promoted(node)
    for name in UNITS:
        assert "pacemaker.service" in node.unit(name, "Before").split()
    assert node.agent("stop").rc == OK
    for name in UNITS:
        assert "pacemaker.service" not in node.unit(name, "Before").split()


def test_missing_folder_is_named(node):
    node.sh("mv /run/postern/cluster /run/postern/away")
    try:
        assert node.agent("monitor").rc == NOT_RUNNING
        assert node.agent("stop").rc == OK
        done = node.agent("start")
        assert (done.rc, "systemd-tmpfiles" in done.reason) == (NOT_INSTALLED, True)
    finally:
        node.sh("mv /run/postern/away /run/postern/cluster")


def test_systemd_that_executes_itself_anew(node):
    """An upgrade of systemd drops all its connections; the units live on."""
    promoted(node)
    node.sh("touch /run/storm; systemd-run -q --unit=storm sh -c "
            "'while [ -e /run/storm ]; do systemctl daemon-reexec; sleep 0.2; done'")
    try:
        for _ in range(60):
            done = node.agent("monitor", interval=7000)
            assert done.rc == PROMOTED, done.err
        for action in ("demote", "promote", "demote", "stop", "start", "stop"):
            done = node.agent(action)
            assert done.rc == OK, (action, done.err)
    finally:
        node.sh("rm /run/storm")
        until("the storm is over", lambda: node.unit("storm") == "inactive")


def test_name_that_start_refuses_can_be_stopped(node):
    for name in ("größe", "-x", ""):
        assert node.agent("monitor", name).rc == NOT_RUNNING
        assert node.agent("start", name).rc == INVALID
        assert node.agent("stop", name).rc == OK
        assert node.agent("meta-data", name).rc == OK


def test_hung_engine(node):
    """It would go on saying ready: systemd ends it."""
    started(node)
    assert node.unit("postern-engine", "WatchdogUSec") == "10s"
    node.limit("postern-engine", "WatchdogSec=2")
    node.sh("systemctl restart postern-engine")
    until("it is ready", lambda: node.attribute("master-scanner") == "100000")
    node.sh("kill -STOP $(systemctl show -P MainPID postern-engine)")
    until("it is killed", lambda: node.unit("postern-engine", "NRestarts") == "1")
    until("the new one is ready", lambda: node.attribute("master-scanner") == "100000")


@pytest.mark.long
def test_posternd_that_does_not_come_back(node):
    """Its start hangs: systemd never counts that as a failure."""
    promoted(node)
    node.limit("posternd", "ExecStartPre=/bin/sleep 1000")
    node.sh("kill -9 $(systemctl show -P MainPID posternd)")
    assert node.agent("monitor", interval=7000).rc == PROMOTED
    until("it is noticed", lambda: node.agent("monitor", interval=7000).rc == ERROR)
    assert "does not come back" in node.agent("monitor", interval=7000).reason
    assert node.agent("demote").rc == OK
    assert node.agent("monitor").rc == OK


def in_cib(node, name):
    done = node.run("cibadmin", "-Q", "--xpath",
                    f"//transient_attributes//nvpair[@name='{name}']")
    return 'value="100000"' in done.out


def test_what_the_cluster_forgets_is_said_again(node):
    started(node)
    until("it is in the CIB", lambda: in_cib(node, "master-scanner"))
    # As when pacemaker-controld dies: pacemaker-attrd still has it.
    node.sh("cibadmin --delete --force --xpath "
            "\"//node_state[@uname='n1']/transient_attributes\"")
    until("it is erased", lambda: not in_cib(node, "master-scanner"))
    assert node.agent("monitor").rc == OK
    until("it is back", lambda: in_cib(node, "master-scanner"))
    node.sh("kill -9 $(pidof pacemaker-attrd)")
    until("it is lost", lambda: node.attribute("master-scanner") is None)
    until("it is back", lambda: node.agent("monitor", interval=10000).rc == OK
          and node.attribute("master-scanner") == "100000")


def test_metadata_is_what_the_cluster_reads(bare):
    """Pacemaker lists it, and its own tools understand it."""
    assert "scanner" in bare.run("crm_resource", "--list-agents", "ocf:postern").out.split()
    shown = bare.run("crm_resource", "--show-metadata", "ocf:postern:scanner")
    assert (shown.rc, 'role="Promoted"' in shown.out) == (OK, True)
    read = bare.run("crm", "ra", "info", "ocf:postern:scanner")
    assert "queue_directory" in read.out, read.err
    described = bare.run("pcs", "resource", "describe", "ocf:postern:scanner")
    assert (described.rc, "queue_directory" in described.out) == (OK, True)


def test_units_are_sound(bare):
    files = [f"/usr/lib/systemd/system/{name}.service" for name in UNITS]
    done = bare.run("systemd-analyze", "--man=no", "verify", *files)
    assert (done.rc, done.err) == (0, "")
    for name in UNITS:
        assert bare.unit(name, "UnitFileState") == "static"


def test_a_single_host(node):
    """Without a cluster postern.target starts all that is needed, and nothing of a cluster's; in a
    cluster nobody starts it."""
    needed = {"postern-engine", "posternd", "postern-update"}
    node.sh("systemctl start postern.target")
    assert {name for name in UNITS if node.unit(name) == "active"} == needed
    pids = {node.pid_of(name) for name in needed}
    node.sh("systemctl restart postern.target")
    until("all are new", lambda: not pids & {node.pid_of(name) for name in needed})
    node.sh("systemctl stop postern.target")
    until("all have ended", lambda: {node.unit(name) for name in UNITS} == {"inactive"})
    promoted(node)
    assert node.unit("postern.target") == "inactive"
