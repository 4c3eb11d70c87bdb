"""Ryu 4.34's ofctl_rest, unmodified: what its REST interface asks and sets, over a connection of its own."""

import re
import tempfile
from contextlib import ExitStack
from pathlib import Path

import pytest
from peers import need
from peers.netns import unique
from peers.ryu_controller import Ryu, flows_of, need_ryu
from peers.switch import Switch
from peers.wait import until

pytestmark = pytest.mark.interop

BRIDGE = unique("rr")


class World:
    """A bridge with two ports that nobody is connected to, and ofctl_rest."""

    def __init__(self, place, switch, stack):
        self.switch = switch
        self.socket = switch.run_dir / f"{BRIDGE}.mgmt"
        self.ryu = Ryu(place, "ryu.app.ofctl_rest")
        stack.callback(self.ryu.kill)
        switch.add_bridge(BRIDGE, secure=True)
        switch.add_vhost(BRIDGE, "vm1", 1)
        switch.add_vhost(BRIDGE, "vm2", 2)
        self.ryu.start()
        switch.vsctl("set-controller", BRIDGE, self.ryu.target)
        switch.vsctl("set", "Controller", BRIDGE, "max_backoff=1000")
        self.dpid = self.ryu.wait_for(switch.vsctl("get", "Bridge", BRIDGE, "datapath_id").strip('"'))

    def get(self, what, more="", body=None):
        """Ask for statistics of the switch."""
        answer = self.ryu.rest(
            "POST" if body is not None else "GET", f"/stats/{what}/{self.dpid}{more}", body
        )
        return answer[str(self.dpid)]

    def set(self, what, **body):
        """Send a modification."""
        self.ryu.rest("POST", f"/stats/{what}", {"dpid": self.dpid, **body})
        self.get("desc")  # the messages of a connection are carried out in their order

    def flows(self):
        return flows_of(self.socket)


@pytest.fixture(scope="module")
def module_world():
    need_ryu()
    need.need_program("ovs-ofctl", "setpriv")
    with (
        tempfile.TemporaryDirectory(prefix="vsi") as place,
        Switch(Path(place) / "state") as switch,
        ExitStack() as stack,
    ):
        yield World(Path(place), switch, stack)


@pytest.fixture
def world(module_world):
    module_world.ryu.rest("DELETE", f"/stats/flowentry/clear/{module_world.dpid}")
    module_world.get("desc")
    return module_world


def test_descriptions_and_statistics(world):
    description = world.get("desc")
    assert set(description) == {"dp_desc", "hw_desc", "mfr_desc", "serial_num", "sw_desc"}
    assert description["sw_desc"]
    ports = {port["name"]: port for port in world.get("portdesc")}
    assert {name: port["port_no"] for name, port in ports.items()} == {"vm1": 1, "vm2": 2, BRIDGE: "LOCAL"}
    assert all(re.fullmatch(r"([0-9a-f]{2}:){5}[0-9a-f]{2}", port["hw_addr"]) for port in ports.values())
    assert sorted(str(port["port_no"]) for port in world.get("port")) == ["1", "2", "LOCAL"]
    assert [port["port_no"] for port in world.get("port", "/2")] == [2]
    assert len(world.get("table")) == 254
    features = world.get("tablefeatures")
    assert len(features) == 254
    assert features[0]["max_entries"] > 0
    assert world.get("groupfeatures")[0]["max_groups"]
    assert world.get("meterfeatures")[0]["max_bands"] >= 0


FLOWS = [
    ({"in_port": 1, "eth_type": 0x0800, "ipv4_dst": "10.0.0.0/255.0.0.0"},
     [{"type": "SET_FIELD", "field": "eth_dst", "value": "02:00:00:00:00:07"}, {"type": "DEC_NW_TTL"},
      {"type": "OUTPUT", "port": 2}],
     "priority=10,ip,in_port=1,nw_dst=10.0.0.0/8 actions=set_field:02:00:00:00:00:07->eth_dst,dec_ttl,output:2"),
    ({"dl_vlan": 5, "eth_src": "02:00:00:00:00:00/ff:00:00:00:00:00"},
     [{"type": "POP_VLAN"}, {"type": "GOTO_TABLE", "table_id": 3}],
     "priority=10,dl_vlan=5,dl_src=02:00:00:00:00:00/ff:00:00:00:00:00 actions=pop_vlan,goto_table:3"),
    ({"eth_type": 0x86DD, "ip_proto": 6, "ipv6_src": "fd00::/ffff::", "tcp_dst": 80},
     [{"type": "PUSH_VLAN", "ethertype": 33024}, {"type": "SET_FIELD", "field": "vlan_vid", "value": 4106},
      {"type": "OUTPUT", "port": "NORMAL"}],
     "priority=10,tcp6,ipv6_src=fd00::/16,tp_dst=80 actions=push_vlan:0x8100,set_field:4106->vlan_vid,NORMAL"),
    ({"eth_type": 0x0806, "arp_tpa": "10.0.0.1", "arp_op": 1},
     [{"type": "WRITE_METADATA", "metadata": 1, "metadata_mask": 15}, {"type": "GOTO_TABLE", "table_id": 2},
      {"type": "WRITE_ACTIONS", "actions": [{"type": "OUTPUT", "port": "IN_PORT"}]}],
     "priority=10,arp,arp_tpa=10.0.0.1,arp_op=1 actions=write_actions(IN_PORT),write_metadata:0x1/0xf,goto_table:2"),
]  # fmt: skip


def test_flow_entries_added_modified_deleted(world):
    for match, actions, _ in FLOWS:
        world.set("flowentry/add", priority=10, match=match, actions=actions, cookie=0)
    assert sorted(world.flows()) == sorted(text for _, _, text in FLOWS)
    told = world.get("flow")
    assert len(told) == len(FLOWS)
    assert {flow["priority"] for flow in told} == {10}
    assert [flow["match"]["arp_tpa"] for flow in world.get("flow", body={"match": {"eth_type": 0x0806}})] == [
        "10.0.0.1"
    ]
    assert world.get("aggregateflow")[0]["flow_count"] == len(FLOWS)
    match, _, text = FLOWS[0]
    world.set("flowentry/modify_strict", priority=10, match=match, actions=[{"type": "OUTPUT", "port": 1}])
    assert text.split(" ")[0] + " actions=output:1" in world.flows()
    world.set("flowentry/delete", match={"dl_vlan": 5})
    assert len(world.flows()) == len(FLOWS) - 1
    world.set("flowentry/delete_strict", priority=9, match=match)
    assert len(world.flows()) == len(FLOWS) - 1
    world.set("flowentry/delete_strict", priority=10, match=match)
    assert len(world.flows()) == len(FLOWS) - 2
    world.ryu.rest("DELETE", f"/stats/flowentry/clear/{world.dpid}")
    until(lambda: world.flows() == [], "the flows are gone")


def test_groups(world):
    buckets = [{"actions": [{"type": "OUTPUT", "port": 1}]}, {"actions": [{"type": "OUTPUT", "port": 2}]}]
    world.set("groupentry/add", type="ALL", group_id=7, buckets=buckets)
    world.set("flowentry/add", priority=1, match={"in_port": 1}, actions=[{"type": "GROUP", "group_id": 7}])
    group = world.get("groupdesc")[0]
    assert (group["type"], group["group_id"]) == ("ALL", 7)
    assert [bucket["actions"] for bucket in group["buckets"]] == [["OUTPUT:1"], ["OUTPUT:2"]]
    assert world.get("group", "/7")[0]["ref_count"] == 1
    world.set("groupentry/modify", type="ALL", group_id=7, buckets=buckets[:1])
    assert [bucket["actions"] for bucket in world.get("groupdesc")[0]["buckets"]] == [["OUTPUT:1"]]
    world.set("groupentry/delete", group_id=7)
    assert world.get("groupdesc") == []
    assert world.flows() == []


def test_groups_that_select_and_fail_over(world):
    weighted = [
        {"weight": weight, "actions": [{"type": "OUTPUT", "port": port}]} for weight, port in ((3, 1), (1, 2))
    ]
    watched = [{"watch_port": port, "actions": [{"type": "OUTPUT", "port": port}]} for port in (1, 2)]
    world.set("groupentry/add", type="SELECT", group_id=8, buckets=weighted)
    world.set("groupentry/add", type="FF", group_id=9, buckets=watched)
    told = {group["group_id"]: group for group in world.get("groupdesc")}
    assert [bucket["weight"] for bucket in told[8]["buckets"]] == [3, 1]
    assert [bucket["watch_port"] for bucket in told[9]["buckets"]] == [1, 2]
    for number in (8, 9):
        world.set("groupentry/delete", group_id=number)


def test_meters(world):
    bands = [
        {"type": "DROP", "rate": 1000, "burst_size": 100},
        {"type": "DSCP_REMARK", "rate": 500, "prec_level": 1},
    ]
    world.set("meterentry/add", flags=["KBPS", "BURST", "STATS"], meter_id=3, bands=bands)
    world.set("flowentry/add", priority=1, match={"in_port": 1}, actions=[
        {"type": "METER", "meter_id": 3}, {"type": "OUTPUT", "port": 2}])  # fmt: skip
    assert [flow for flow in world.flows() if "meter:3,output:2" in flow]
    meter = world.get("meterconfig", "/3")[0]
    assert sorted(meter["flags"]) == ["BURST", "KBPS", "STATS"]
    assert [band["type"] for band in meter["bands"]] == ["DROP", "DSCP_REMARK"]
    assert world.get("meter", "/3")[0]["flow_count"] == 1
    world.set("meterentry/modify", flags="PKTPS", meter_id=3, bands=bands[:1])
    assert world.get("meterconfig", "/3")[0]["flags"] == ["PKTPS"]
    world.set("meterentry/delete", meter_id=3)
    assert world.get("meterconfig") == []
    assert world.flows() == []


def test_queues(world):
    world.switch.vsctl(
        "set", "Port", "vm1", "qos=@q",
        "--", "--id=@q", "create", "QoS", "type=linux-htb", "queues:4=@a",
        "--", "--id=@a", "create", "Queue", "other_config:max-rate=1000000",
    )  # fmt: skip
    queues = until(lambda: world.get("queueconfig", "/1")[0]["queues"], "the queue")
    assert [queue["queue_id"] for queue in queues] == [4]
    assert [(queue["port_no"], queue["queue_id"], queue["tx_packets"]) for queue in world.get("queue")] == [
        (1, 4, 0)
    ]
    world.switch.vsctl(
        "clear", "Port", "vm1", "qos", "--", "--all", "destroy", "QoS", "--", "--all", "destroy", "Queue"
    )


def test_port_configuration_and_role(world):
    world.set("portdesc/modify", port_no=2, config=0x20, mask=0x20)  # OFPPC_NO_FWD
    assert {port["name"]: port["config"] for port in world.get("portdesc")}["vm2"] == 0x20
    world.set("portdesc/modify", port_no=2, config=0, mask=0x20)
    assert {port["name"]: port["config"] for port in world.get("portdesc")}["vm2"] == 0
    world.set("role", role="MASTER")
    assert world.get("role")[0]["role"] == "MASTER"
    until(
        lambda: world.switch.vsctl("get", "Controller", BRIDGE, "role") == "master",
        "the role in the database",
    )
    world.set("role", role="EQUAL")
    assert world.get("role")[0]["role"] == "EQUAL"


def test_refusals_reach_the_application(world):
    world.set("flowentry/add", priority=1, match={}, actions=[{"type": "GROUP", "group_id": 99}])
    # OFPET_BAD_ACTION, OFPBAC_BAD_OUT_GROUP
    until(lambda: re.search(r"OFPErrorMsg\(type=0x2, code=0x9", world.ryu.output()), "Ryu logs the error")
    assert world.flows() == []
