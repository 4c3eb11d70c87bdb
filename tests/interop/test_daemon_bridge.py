"""The whole daemon as vsctl configures it: VLAN modes, learning, patch ports, cores and queues with real frames."""

import os
import struct
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fakes.front_end import FrontEnd
from fakes.talker import Talker, meet
from fakes.wire import Wire, frame, ip, namespace
from peers import need
from peers.controller import Controller
from peers.switch import Switch, total
from peers.wait import until

from vswitchd.ofproto import multipart as mp

pytestmark = [pytest.mark.interop, pytest.mark.root]
BR = "vsbr0"
FRAME = frame(200)


def tag(vlan, data=FRAME, priority=0):
    return data[:12] + struct.pack("!HH", 0x8100, priority << 13 | vlan) + data[12:]


class World:
    """A switch in a network namespace; `wires` are the far ends of its veth ports, by name."""

    def __init__(self, place, stack):
        ip("link", "set", "lo", "up")
        self.switch = stack.enter_context(Switch(place / "s"))
        self.stack = stack
        self.wires = {}

    def add(self, bridge, name, number, *words):
        """Add a veth port with the settings of its Port row."""
        ip("link", "add", name, "type", "veth", "peer", "name", f"x{name}")
        for end in (name, f"x{name}"):
            ip("link", "set", end, "up")
        settings = ["--", "set", "Interface", name, f"ofport_request={number}"]
        self.switch.vsctl("add-port", bridge, name, *words, *settings)
        self.wires[name] = Wire(f"x{name}")
        self.stack.callback(self.wires[name].close)

    def rows(self):
        return {row["port"]: row for row in self.switch.json("drops")}

    def send(self, name, data):
        """Send a frame into a port; {port: frame} of what came out."""
        before = self.rows()
        self.wires[name].send(data)
        until(lambda: self.rows()[name]["received"] > before[name]["received"], "the frame is counted")
        after = self.rows()
        assert all(row["closes"] for row in after.values())
        left = [n for n in self.wires if after[n]["sent"] > before[n]["sent"]]
        return {n: self.wires[n].frames(1)[0] for n in left}

    def queues(self):
        return {
            (row["port"], row["queue"]): (row["core"], row["pinned"])
            for row in self.switch.json("dpif-netdev/pmd-rxq-show")
        }


@pytest.fixture
def world(place):
    need.need_root()
    need.need_program("ip")
    with namespace(), ExitStack() as stack:
        yield World(place, stack)


def test_vlan_modes_of_ports(world):
    world.switch.add_bridge(BR)
    for number, (name, *words) in enumerate(
        (
            ("acc10", "tag=10"),
            ("acc20", "tag=20"),
            ("trunk", "trunks=10,20"),
            ("ntag", "tag=10", "trunks=20", "vlan_mode=native-tagged"),
            ("nuntag", "tag=10", "trunks=20", "vlan_mode=native-untagged"),
            ("every",),
        ),
        1,
    ):
        world.add(BR, name, number, *words)
    in10 = {"trunk": tag(10), "ntag": tag(10), "nuntag": FRAME, "every": tag(10), "acc10": FRAME}
    in20 = {"trunk": tag(20), "ntag": tag(20), "nuntag": tag(20), "every": tag(20), "acc20": FRAME}

    def others(ways, name):
        return {port: data for port, data in ways.items() if port != name}

    for name, data, ways in (
        ("acc10", FRAME, in10),
        ("trunk", tag(10), in10),
        ("ntag", FRAME, in10),
        ("ntag", tag(10), in10),
        ("nuntag", FRAME, in10),
        ("acc20", FRAME, in20),
        ("trunk", tag(20), in20),
        ("nuntag", tag(20), in20),
        ("every", tag(20), in20),
        ("trunk", FRAME, {}),
        ("trunk", tag(30), {}),
        ("acc10", tag(10), {}),
        ("every", tag(30), {}),
        ("every", FRAME, {}),
    ):
        # Nobody has the destination address: every frame is flooded in its VLAN.
        assert world.send(name, data) == others(ways, name), (name, data[12:16].hex())
    assert world.rows()["trunk"]["rx_drops"] == {"vlan_not_allowed": 2}
    assert world.rows()["acc10"]["rx_drops"] == {"vlan_not_allowed": 1}
    learned = {(row["vlan"], row["mac"]) for row in world.switch.json("fdb/show", BR)}
    assert {(10, "02:00:00:00:00:bb"), (20, "02:00:00:00:00:bb")} <= learned
    world.switch.vsctl("clear", "Port", "acc10", "tag", "--", "set", "Port", "acc10", "trunks=30")
    assert world.send("acc10", tag(30)) == {"every": tag(30)}


def test_the_mac_table_is_bounded_and_ages_as_told(world):
    switch = world.switch
    switch.add_bridge(BR)
    switch.vsctl("set", "Bridge", BR, "other_config:mac-table-size=10", "other_config:mac-aging-time=15")
    world.add(BR, "one", 1)
    world.add(BR, "two", 2)
    for last in range(20):
        world.wires["one"].send(FRAME[:11] + bytes([last]) + FRAME[12:])
    until(lambda: world.rows()["one"]["received"] == 20, "all frames are counted")
    assert len(switch.json("fdb/show", BR)) == 10
    assert total(switch.metrics(), "vs_mac_entries", bridge=BR) == 10
    assert total(switch.metrics(), "vs_mac_limit", bridge=BR) == 10
    assert "10" in switch.appctl("fdb/stats-show", BR)
    until(lambda: switch.json("fdb/show", BR) == [], "addresses age in 15 s", seconds=60, every=0.5)


def test_patch_ports_join_bridges_while_both_are_there(world):
    switch = world.switch
    for bridge, name in (("pa", "one"), ("pb", "two")):
        switch.add_bridge(bridge)
        world.add(bridge, name, 1)
    words = []
    for bridge, port, peer in (("pa", "to-b", "to-a"), ("pb", "to-a", "to-b")):
        words += ["--", "add-port", bridge, port]
        words += ["--", "set", "Interface", port, "type=patch", f"options:peer={peer}"]
    switch.vsctl(*words[1:])
    assert world.send("one", FRAME) == {"two": FRAME}
    rows = world.rows()
    assert (rows["to-b"]["sent"], rows["to-a"]["received"]) == (1, 1)
    switch.vsctl("del-port", "to-a")
    assert world.send("one", FRAME) == {}
    assert world.rows()["to-b"]["tx_drops"] == {"no_peer": 1}


def test_queues_of_a_guest_are_spread_over_cores_and_can_be_pinned(world):
    allowed = sorted(os.sched_getaffinity(0))[:2]
    if len(allowed) < 2:
        pytest.skip("needs two processors")
    switch, mask = world.switch, sum(1 << cpu for cpu in allowed)
    switch.vsctl("set", "Open_vSwitch", ".", f"other_config:pmd-cpu-mask={mask:#x}")
    assert {row["core"] for row in switch.json("dpif-netdev/pmd-perf-show")} == set(allowed)
    switch.add_bridge(BR)
    path = switch.add_vhost(BR, "mq", 1)
    guest = FrontEnd(meet(path), pairs=2)
    world.stack.callback(guest.close)
    guest.start()
    until(lambda: {("mq", 0), ("mq", 1)} <= set(world.queues()), "both queues are polled")
    queues = world.queues()
    assert {queues["mq", n][0] for n in (0, 1)} == set(allowed)
    rings = switch.metrics()["vs_vhost_ring_enabled"]
    assert {labels["ring"]: value for labels, value in rings} == {str(ring): 1.0 for ring in range(4)}
    for cpu in allowed:
        switch.vsctl("set", "Interface", "mq", f"other_config:pmd-rxq-affinity=0:{cpu},1:{cpu}")
        until(lambda c=cpu: [world.queues()["mq", n] for n in (0, 1)] == [(c, True)] * 2, f"pinned to {cpu}")
    switch.vsctl("remove", "Interface", "mq", "other_config", "pmd-rxq-affinity")
    until(lambda: {world.queues()["mq", n][0] for n in (0, 1)} == set(allowed), "spread again")
    switch.vsctl("set", "Open_vSwitch", ".", f"other_config:pmd-cpu-mask={1 << allowed[1]:#x}")
    until(lambda: {core for core, _ in world.queues().values()} == {allowed[1]}, "one core polls")
    left = os.sched_getaffinity(0) - {allowed[1]}
    assert os.sched_getaffinity(switch.child.pid) == left, "the control thread keeps off the polling core"


def test_ports_without_a_device_have_an_address_that_stays(world):
    switch = world.switch
    switch.add_bridge(BR)
    switch.add_vhost(BR, "v1", 1)
    switch.add_bridge("vsbr1")
    words = []
    for bridge, port, peer in ((BR, "p2", "p3"), ("vsbr1", "p3", "p2")):
        words += ["--", "add-port", bridge, port]
        words += ["--", "set", "Interface", port, "type=patch", f"options:peer={peer}"]
    switch.vsctl(*words[1:])

    def addresses():
        mgmt = switch.run_dir / f"{BR}.mgmt"
        with until(lambda: Controller.to(mgmt), "the bridge is there") as controller:
            entries = controller.ask(mp.PortDescRequest()).entries
        return {port.name: port.hw_addr.hex(":") for port in entries}

    before = addresses()
    assert set(before) == {BR, "v1", "p2"}
    assert len(set(before.values())) == 3
    assert all(int(text[:2], 16) & 3 == 2 for text in before.values()), "locally administered, not a group"
    assert switch.vsctl("get", "Interface", "v1", "mac_in_use").strip('"') == before["v1"]
    switch.crash_and_restart()
    until(lambda: addresses() == before, "the same addresses after a restart")
    switch.vsctl("set", "Interface", "v1", 'mac="02:00:00:00:00:77"')
    until(lambda: addresses()["v1"] == "02:00:00:00:00:77", "the address that was asked for")


def test_a_core_sleeps_when_idle_unless_told_never(world):
    switch = world.switch
    switch.add_bridge(BR)
    switch.add_vhost(BR, "v1", 1)

    def sleeps():
        return sum(core["sleeps"] for core in switch.json("dpif-netdev/pmd-perf-show"))

    switch.vsctl("set", "Open_vSwitch", ".", "other_config:vs-idle-sleep-us=100")
    until(lambda: sleeps() > 0, "an idle core sleeps")
    switch.vsctl("set", "Open_vSwitch", ".", "other_config:vs-idle-sleep-us=never")
    before, rounds = sleeps(), iterations(switch)
    until(lambda: iterations(switch) > rounds + 1_000_000, "an idle core goes on polling")
    assert sleeps() == before


def iterations(switch):
    return min(core["iterations"] for core in switch.json("dpif-netdev/pmd-perf-show"))


METRICS = {
    "vs_build_info": {"version"},
    "vs_up": set(),
    "vs_start_time_seconds": set(),
    "vs_config_generation": {"state"},
    "vs_port_info": {"port", "bridge", "type", "socket", "vm", "owner"},
    "vs_port_receive_packets_total": {"port"},
    "vs_port_receive_bytes_total": {"port"},
    "vs_port_transmit_packets_total": {"port"},
    "vs_port_transmit_bytes_total": {"port"},
    "vs_port_drops_total": {"port", "direction", "reason"},
    "vs_port_up": {"port"},
    "vs_port_mtu_bytes": {"port"},
    "vs_vhost_connected": {"port"},
    "vs_vhost_reconnects_total": {"port"},
    "vs_vhost_ring_enabled": {"port", "ring"},
    "vs_vhost_ring_full_total": {"port", "ring"},
    "vs_vhost_kicks_total": {"port", "ring", "state"},
    "vs_vhost_retries_total": {"port"},
    "vs_core_cycles_total": {"core", "numa", "state"},
    "vs_core_packets_total": {"core"},
    "vs_core_batches_total": {"core"},
    "vs_rxq_cycles_total": {"port", "queue", "core"},
    "vs_lookup_hits_total": {"core", "layer"},
    "vs_lookup_miss_total": {"core"},
    "vs_cache_entries": {"core"},
    "vs_cache_evictions_total": {"core"},
    "vs_flow_entries": {"bridge", "table"},
    "vs_table_lookups_total": {"bridge", "table"},
    "vs_table_matches_total": {"bridge", "table"},
    "vs_controller_connected": {"bridge", "target"},
    "vs_controller_role": {"bridge", "target", "role"},
    "vs_packet_in_total": {"bridge"},
    "vs_packet_in_dropped_total": {"bridge", "target"},
    "vs_punt_packets_total": {"core"},
    "vs_punt_dropped_total": {"core"},
}


def test_the_metrics_page_tells_what_happened(world):
    """Names and labels as promised, on a switch where a guest sends 8 packets: 4 forwarded, 4 dropped."""
    switch = world.switch
    switch.add_bridge(BR)
    world.add(BR, "one", 1)
    leave = world.stack.enter_context(ExitStack())
    guest = Talker(switch.add_vhost(BR, "v1", 2), "0200000000bb", "0200000000aa")
    leave.callback(guest.close)
    switch.vsctl("set-controller", BR, "ptcp:0:127.0.0.1")
    guest.send(4)
    until(lambda: world.rows()["v1"]["forwarded"] == 4, "the guest's packets are flooded")
    switch.ofctl("add-flow", BR, "in_port=2,actions=drop")
    guest.send(4)
    until(lambda: world.rows()["v1"]["received"] == 8, "the guest's packets are dropped")
    seen = switch.metrics()
    assert sorted(set(METRICS) - set(seen)) == []
    for name, labels in METRICS.items():
        assert all(labels <= set(given) for given, _ in seen[name]), name
    assert total(seen, "vs_port_receive_packets_total", port="v1") == 8
    assert total(seen, "vs_port_transmit_packets_total", port="one") == 4
    drops = {"port": "v1", "direction": "receive", "reason": "action_drop"}
    assert total(seen, "vs_port_drops_total", **drops) == 4
    assert total(seen, "vs_port_drops_total", port="v1") == 4
    assert total(seen, "vs_lookup_hits_total") == total(seen, "vs_core_packets_total") == 8
    assert total(seen, "vs_lookup_hits_total", layer="classifier") == total(seen, "vs_lookup_miss_total") >= 2
    assert total(seen, "vs_cache_entries") >= 1
    assert total(seen, "vs_vhost_connected", port="v1") == 1
    assert total(seen, "vs_flow_entries", bridge=BR, table="0") >= 1
    assert {labels["state"] for labels, _ in seen["vs_core_cycles_total"]} == {"busy", "idle", "sleep"}
    leave.close()
    until(lambda: total(switch.metrics(), "vs_vhost_connected", port="v1") == 0, "the guest left")
