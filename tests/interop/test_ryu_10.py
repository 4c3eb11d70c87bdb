"""Ryu 4.34's simple_switch and ofctl_rest, unmodified, with OpenFlow 1.0."""

import re
import tempfile
from contextlib import ExitStack
from pathlib import Path

import pytest
from peers.ofctl import Ofctl
from peers.ryu_controller import Ryu, need_ryu
from peers.site import Site, need_site
from peers.switch import Switch
from peers.wait import until

pytestmark = [pytest.mark.interop, pytest.mark.root]

LEARNED = r"in_port=\d,dl_src=\S+,dl_dst=\S+ actions=output:\d"


class World:
    """A bridge of OpenFlow 1.0 with three hosts, and Ryu with two applications of OpenFlow 1.0."""

    def __init__(self, place, switch, stack):
        self.site = Site(switch, stack)
        switch.vsctl("set", "Bridge", self.site.name, "protocols=OpenFlow10")
        self.hosts = [self.site.add_host(f"10.81.0.{number}/24") for number in (1, 2, 3)]
        # simple_switch alone knows 1.0 only: that is what Ryu offers with both.
        self.ryu = Ryu(place, "ryu.app.simple_switch", "ryu.app.ofctl_rest")
        stack.callback(self.ryu.kill)
        self.ryu.start()
        self.site.obey(self.ryu.target)
        self.dpid = self.ryu.wait_for(self.site.datapath_id)
        self.ofctl = Ofctl(f"unix:{self.site.socket}", "OpenFlow10")

    def get(self, what, more=""):
        return self.ryu.rest("GET", f"/stats/{what}/{self.dpid}{more}")[str(self.dpid)]

    def set(self, what, **body):
        self.ryu.rest("POST", f"/stats/{what}", {"dpid": self.dpid, **body})
        self.get("desc")  # the messages of a connection are carried out in their order


@pytest.fixture(scope="module")
def world():
    need_site()
    need_ryu()
    with (
        tempfile.TemporaryDirectory(prefix="vsi") as place,
        Switch(Path(place) / "state") as switch,
        ExitStack() as stack,
    ):
        yield World(Path(place), switch, stack)


def test_simple_switch_teaches_without_a_table_miss_entry(world):
    assert world.ofctl.flows() == []
    world.hosts[0].wait_ping("10.81.0.2")
    world.hosts[2].wait_ping("10.81.0.1")
    until(
        lambda: sum(bool(re.fullmatch(LEARNED, flow)) for flow in world.ofctl.flows()) >= 4, "learned flows"
    )
    assert world.hosts[0].ping("10.81.0.2") == 3


def test_rest_interface(world):
    ports = {port["port_no"]: port for port in world.get("portdesc")}
    assert {1, 2, 3} <= set(ports)
    assert [port["port_no"] for port in world.get("port", "/2")] == [2]
    assert world.get("port", "/1")[0]["rx_packets"] > 0
    assert world.get("table")[0]["active_count"] >= 4
    match = {"dl_type": 0x0800, "nw_proto": 6, "nw_dst": "10.0.0.0/8", "tp_dst": 80}
    actions = [{"type": "SET_NW_DST", "nw_dst": "10.81.0.3"}, {"type": "SET_VLAN_VID", "vlan_vid": 7}]
    actions += [{"type": "OUTPUT", "port": 3}]
    world.set("flowentry/add", priority=77, match=match, actions=actions)
    found = [flow for flow in world.ofctl.flows() if "priority=77" in flow]
    assert found == [
        "priority=77,tcp,nw_dst=10.0.0.0/8,tp_dst=80 actions=mod_nw_dst:10.81.0.3,mod_vlan_vid:7,output:3"
    ]
    told = [flow for flow in world.get("flow") if flow["priority"] == 77]
    assert told[0]["actions"] == ["SET_NW_DST:10.81.0.3", "SET_VLAN_VID:7", "OUTPUT:3"]
    assert told[0]["match"]["nw_dst"] == "10.0.0.0/8"
    world.set("flowentry/delete_strict", priority=77, match=match)
    assert not [flow for flow in world.ofctl.flows() if "priority=77" in flow]


def test_headers_are_rewritten_as_told(world):
    """What is sent to an address that nobody has goes to the third host, in 1.0's way of changing headers."""
    address = world.hosts[2].run("cat", "/sys/class/net/eth0/address").strip()
    for host, destination in ((world.hosts[0], "10.81.0.9"),):
        host.run("ip", "neigh", "replace", destination, "lladdr", "02:00:00:00:00:99", "dev", "eth0")
    first = world.hosts[0].run("cat", "/sys/class/net/eth0/address").strip()
    world.set(
        "flowentry/add", priority=90, match={"dl_type": 0x0800, "nw_dst": "10.81.0.9"},
        actions=[{"type": "SET_DL_DST", "dl_dst": address}, {"type": "SET_NW_DST", "nw_dst": "10.81.0.3"},
                 {"type": "OUTPUT", "port": 3}],
    )  # fmt: skip
    world.set(
        "flowentry/add", priority=90, match={"in_port": 3, "dl_type": 0x0800, "nw_proto": 1, "nw_src": "10.81.0.3"},
        actions=[{"type": "SET_NW_SRC", "nw_src": "10.81.0.9"}, {"type": "SET_DL_DST", "dl_dst": first},
                 {"type": "OUTPUT", "port": 1}],
    )  # fmt: skip
    assert world.hosts[0].ping("10.81.0.9") == 3
