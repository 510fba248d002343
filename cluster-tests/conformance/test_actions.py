# SPDX-License-Identifier: GPL-2.0-only
"""What OCF 1.1 demands of the actions, in a node, for both modes; and what ocf-tester says.

The order of calls is ocf-tester's, with what it leaves out: each call twice, stop from every
state, probes without the configuration, actions nobody knows.
"""

import agent_node
import pytest

OK, GENERIC, ARGS, UNIMPLEMENTED, CONFIGURED, STOPPED, PROMOTED = 0, 1, 2, 3, 6, 7, 8
AGENT = "/usr/lib/ocf/resource.d/postern/scanner"


class Resource:
    """One resource of the node; says which call gave what."""

    def __init__(self, node, promotable):
        self.node, self.promotable = node, promotable

    def call(self, *actions, expect, **how):
        for action in actions:
            done = self.node.agent(action, promotable=self.promotable, timeout=60, **how)
            assert done.rc == expect, f"{action}: {done.rc}, not {expect}: {done.err}"
            if done.rc not in (OK, STOPPED, PROMOTED):
                assert done.reason, f"{action} failed without an exit reason"

    def monitor(self, expect):
        """As a probe and as a recurring one: the same answer."""
        self.call("monitor", expect=expect)
        self.call("monitor", expect=expect, interval=10000)


@pytest.fixture(params=[True, False], ids=["promotable", "primitive"])
def resource(node, request):
    return Resource(node, request.param)


def test_sequence(resource):
    serving = PROMOTED if resource.promotable else OK
    resource.call("meta-data", "validate-all", expect=OK)
    resource.monitor(STOPPED)
    resource.call("stop", "stop", expect=OK)
    resource.monitor(STOPPED)
    resource.call("start", "start", expect=OK)
    resource.monitor(OK)
    if resource.promotable:
        resource.call("demote", "demote", expect=OK)
        resource.call("promote", "promote", expect=OK)
        resource.monitor(serving)
        resource.call("demote", "demote", expect=OK)
        resource.monitor(OK)
        resource.call("promote", expect=OK)
    resource.call("notify", expect=OK)
    resource.monitor(serving)
    resource.call("stop", expect=OK)            # from promoted at once: it must end all the same
    resource.monitor(STOPPED)
    resource.call("stop", expect=OK)
    for unit in ("posternd", "postern-engine", "postern-notify"):
        assert resource.node.unit(unit) in ("inactive", "failed")


def test_migration(node):
    node.write("/etc/postern/postern.conf", f'{agent_node.CONFIG}state_storage = "shared"\n')
    resource = Resource(node, promotable=False)
    resource.call("start", expect=OK)
    resource.call("migrate_to", expect=OK)
    resource.call("stop", expect=OK)            # of the source, afterwards
    resource.call("migrate_from", expect=OK)
    resource.monitor(OK)
    resource.call("stop", expect=OK)
    resource.monitor(STOPPED)


@pytest.mark.parametrize("action", ["nothing", "START", "", "start;id", "recover"])
def test_unknown_action(node, action):
    done = node.agent(action)
    assert done.rc == UNIMPLEMENTED, f"{action}: {done.rc}"
    assert node.unit("postern-engine") != "active"


def test_probe_where_nothing_is_there(resource):
    """On a node without configuration, state or programs a probe says: not running."""
    node = resource.node
    node.sh("umount /srv/mail")
    node.sh("mv /etc/postern/postern.conf /etc/postern/away")
    node.sh("mv /usr/libexec/postern/posternd /usr/libexec/postern/away")
    try:
        resource.call("monitor", expect=STOPPED)
        resource.call("stop", expect=OK)
    finally:
        node.sh("mv /usr/libexec/postern/away /usr/libexec/postern/posternd")
        node.sh("mv /etc/postern/away /etc/postern/postern.conf")
        node.mount()


def test_metadata_needs_nothing(node):
    """Any user, no environment, no configuration."""
    done = node.run("setpriv", "--reuid", "65534", "--clear-groups", "env", "-i", AGENT, "meta-data")
    assert done.rc == OK and done.out.startswith("<?xml") and not done.err


def test_wrong_parameter_is_named(resource):
    done = resource.node.agent("validate-all", promotable=resource.promotable, part="half")
    assert done.rc in (ARGS, CONFIGURED) and "part" in done.reason
    resource.call("monitor", expect=STOPPED)    # an error of the configuration is no probe's


def test_ocf_tester(node):
    """It has one complaint that is about itself: its DTD is that of OCF 1.0."""
    node.sh("systemctl start --no-block dbus || true")
    done = node.run("/usr/sbin/ocf-tester", "-v", "-n", "scanner", "-o", "CRM_meta_promoted_max=1",
                    "-o", "CRM_meta_on_node=n1", AGENT, timeout=300)
    said = done.out + done.err
    complaints = [line for line in done.out.splitlines() if line.startswith("* rc=")]
    assert len(complaints) == 1 and "does not conform to ra-api-1.dtd" in complaints[0], said
    assert f"{AGENT} failed 1 tests" in said
    assert "partially supports" not in said
