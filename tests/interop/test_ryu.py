"""Ryu 4.34's simple_switch_13, unmodified, teaches the switch; hosts ping; then it dies (fail mode) and comes back."""

import re

import pytest
from peers import need
from peers.netns import NetNs, unique
from peers.ryu_controller import Ryu, flows_of, need_ryu
from peers.switch import Switch
from peers.wait import until

pytestmark = [pytest.mark.interop, pytest.mark.root]

TABLE_MISS = r"priority=0 actions=CONTROLLER:65535"
NORMAL = r"priority=0 actions=NORMAL"
LEARNED = r"priority=1,in_port=\d,dl_src=\S+,dl_dst=\S+ actions=output:\d"
PROBE_MS = 1000


class World:
    """A bridge with two hosts on veth ports and a Ryu."""

    def __init__(self, place, switch, stack, mode):
        self.switch = switch
        self.bridge = unique("ry")
        self.ryu = Ryu(place, "ryu.app.simple_switch_13")
        stack.callback(self.ryu.kill)
        switch.vsctl(
            "add-br", self.bridge, "--", "set-fail-mode", self.bridge, mode,
            "--", "set-controller", self.bridge, self.ryu.target,
        )  # fmt: skip
        switch.vsctl("set", "Controller", self.bridge, f"inactivity_probe={PROBE_MS}", "max_backoff=1000")
        self.hosts = []
        for number in (1, 2):
            host = stack.enter_context(NetNs())
            switch.add_device(self.bridge, host.add_veth(f"10.79.0.{number}/24"), number)
            self.hosts.append(host)

    def flows(self):
        """All flows without counters, one a line."""
        return flows_of(self.switch.run_dir / f"{self.bridge}.mgmt")

    def has(self, pattern):
        return any(re.fullmatch(pattern, flow) for flow in self.flows())

    def controller(self, column):
        return self.switch.vsctl("get", "Controller", self.bridge, column).strip('"')

    def is_taught(self):
        """Ryu is there and its table-miss flow; the hosts ping; the rest goes by flows that it learned."""
        until(lambda: self.has(TABLE_MISS), "Ryu's table-miss flow is there")
        until(lambda: self.controller("is_connected") == "true", "is_connected")
        self.hosts[0].wait_ping("10.79.0.2")
        self.hosts[1].wait_ping("10.79.0.1")
        until(lambda: sum(bool(re.fullmatch(LEARNED, flow)) for flow in self.flows()) >= 2, "learned flows")
        assert not self.has(NORMAL)

    def loses_ryu(self):
        self.ryu.kill()
        until(lambda: self.controller("is_connected") == "false", "the loss is seen")


@pytest.fixture
def world(place, stack):
    need.need_root()
    need.need_program("ovs-ofctl", "ip", "ping", "ethtool", "setpriv")
    need_ryu()
    with Switch(place / "state") as switch, stack:
        yield lambda mode: World(place, switch, stack, mode)


def test_standalone_goes_on_by_normal_and_back(world):
    w = world("standalone")
    w.ryu.start()
    w.is_taught()
    w.loses_ryu()
    assert not w.has(NORMAL), "three probe intervals have not passed"
    until(lambda: w.flows() == [NORMAL.replace("\\", "")], "the switch fails open")
    w.hosts[0].wait_ping("10.79.0.2")
    assert w.hosts[1].ping("10.79.0.1") == 3
    w.ryu.start()
    w.is_taught()


def test_secure_keeps_its_flows(world):
    w = world("secure")
    assert w.flows() == []
    assert w.hosts[0].ping("10.79.0.2", count=1) == 0
    w.ryu.start()
    w.is_taught()
    before = sorted(w.flows())
    w.loses_ryu()
    # Well after the three probe intervals at which a standalone bridge would fail open.
    until(
        lambda: int(re.search(r"sec_since_disconnect=\"?(\d+)", w.controller("status"))[1]) >= 5, "5 s pass"
    )
    assert sorted(w.flows()) == before
    assert w.hosts[0].ping("10.79.0.2") == 3
    w.ryu.start()
    w.is_taught()
