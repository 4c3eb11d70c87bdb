"""Debian's ovs-ofctl, unmodified, with OpenFlow 1.0 against our switch."""

import re
import tempfile
from pathlib import Path

import pytest
from peers import need
from peers.netns import unique
from peers.ofctl import Ofctl
from peers.proc import Child
from peers.switch import Switch
from peers.wait import until

pytestmark = pytest.mark.interop

BRIDGE = unique("on")
ARP = "ffffffffffff0200000000010806000108000604000102000000000a0a0000010000000000000a000002" + "00" * 18


@pytest.fixture(scope="module")
def switch():
    need.need_program("ovs-ofctl")
    with tempfile.TemporaryDirectory(prefix="vsi") as place, Switch(Path(place) / "state") as switch:
        switch.add_bridge(BRIDGE, secure=True)
        switch.add_vhost(BRIDGE, "vm1", 1)
        switch.add_vhost(BRIDGE, "vm2", 2)
        yield switch


@pytest.fixture
def ofctl(switch):
    ofctl = Ofctl(f"unix:{switch.run_dir}/{BRIDGE}.mgmt", "OpenFlow10")
    ofctl("del-flows")
    return ofctl


FLOWS = [
    "priority=100,ip,in_port=1,nw_dst=10.0.0.0/8 actions=mod_dl_dst:02:00:00:00:00:07,mod_nw_src:10.0.0.1,output:2",
    "cookie=0x5, idle_timeout=60, send_flow_rem priority=7,dl_vlan=5,dl_vlan_pcp=3 actions=strip_vlan,output:1",
    "priority=8,arp,arp_tpa=10.0.0.1,arp_op=1 actions=mod_vlan_vid:7,mod_vlan_pcp:3,NORMAL",
    "priority=6,tcp,nw_tos=32,tp_src=1024,tp_dst=80 actions=mod_nw_tos:64,mod_tp_src:7,mod_tp_dst:8,IN_PORT",
    "priority=5,udp,nw_src=192.168.0.0/17 actions=enqueue:2:1",
    "hard_timeout=99, priority=3,vlan_tci=0x0000 actions=CONTROLLER:128",
    "priority=2,icmp,icmp_type=8,icmp_code=0 actions=FLOOD",
    "priority=1 actions=output:2,ALL,LOCAL",
    "priority=0 actions=drop",
]  # fmt: skip


def test_show_and_statistics(ofctl, switch):
    text = ofctl("show")
    assert f"dpid:{switch.vsctl('get', 'Bridge', BRIDGE, 'datapath_id').strip(chr(34))}" in text
    assert "capabilities: FLOW_STATS TABLE_STATS PORT_STATS" in text
    assert (
        "actions: output enqueue set_vlan_vid set_vlan_pcp strip_vlan mod_dl_src mod_dl_dst mod_nw_src"
        in text
    )
    for head in (" 1(vm1): addr:", " 2(vm2): addr:", f" LOCAL({BRIDGE}): addr:"):
        assert head in text
    assert "Manufacturer: vswitchd" in ofctl("dump-desc")
    assert ofctl("dump-ports").count("rx pkts=") == 3
    assert ofctl("dump-ports", "2").count("rx pkts=") == 1
    assert "0 queues" in ofctl("queue-stats")
    assert 'table 0 ("' in ofctl("dump-tables")
    assert "64 bytes from " in ofctl("ping", "64")


def test_flows_come_back_as_they_were_given(ofctl, place):
    path = place / "flows"
    path.write_text(
        "".join(
            flow.replace(" actions", ",actions").replace(" priority", ",priority") + "\n" for flow in FLOWS
        )
    )
    ofctl("add-flows", path)
    # Flow statistics of 1.0 say nothing of flags.
    assert ofctl.flows() == sorted(flow.replace("send_flow_rem ", "") for flow in FLOWS)
    assert ofctl("diff-flows", path) == ""
    assert f"flow_count={len(FLOWS)}" in ofctl("dump-aggregate")
    assert "flow_count=3" in ofctl("dump-aggregate", "out_port=2")


def test_modify_replace_delete(ofctl, place):
    ofctl(
        "add-flows",
        "-",
        stdin="".join(f"priority={i},ip,nw_src=10.0.0.{i},actions=output:1\n" for i in range(1, 51)),
    )
    ofctl("mod-flows", "ip,nw_src=10.0.0.16/28,actions=output:2")
    assert sum(flow.endswith("output:2") for flow in ofctl.flows()) == 16
    ofctl("--strict mod-flows", "priority=7,ip,nw_src=10.0.0.7,actions=drop")
    assert "priority=7,ip,nw_src=10.0.0.7 actions=drop" in ofctl.flows()
    ofctl("--strict del-flows", "priority=7,ip,nw_src=10.0.0.7")
    ofctl("del-flows", "out_port=2")
    assert len(ofctl.flows()) == 50 - 1 - 16
    path = place / "flows"
    path.write_text("priority=6,in_port=2,actions=output:1\n")
    ofctl("replace-flows", path)
    assert ofctl.flows() == ["priority=6,in_port=2 actions=output:1"]


def test_refusals_are_named(ofctl):
    ofctl("add-flow", "priority=5,ip,actions=drop")
    assert ofctl.fails("add-flow", "check_overlap,priority=5,tcp,actions=drop") == ["OFPFMFC_OVERLAP"]
    assert ofctl.fails("dump-ports-desc") == ["OFPBRC_BAD_STAT"]  # a thing of 1.3
    assert ofctl.fails("dump-groups") == ["OFPBRC_BAD_VENDOR"]  # asked as a thing of Nicira's
    assert ofctl.flows() == ["priority=5,ip actions=drop"]


def test_ports_are_configured(ofctl):
    ofctl("mod-port", "vm2", "no-flood")
    assert "config:     NO_FLOOD" in ofctl("show")
    ofctl("mod-port", "vm2", "flood")
    assert "NO_FLOOD" not in ofctl("show")
    ofctl("set-frags", "drop")
    assert ofctl("get-frags").strip() == "drop"
    ofctl("set-frags", "normal")


def test_both_versions_see_the_same_tables(ofctl):
    newer = Ofctl(ofctl.target)
    ofctl("add-flow", "priority=9,ip,nw_dst=10.0.0.1,actions=mod_nw_dst:10.0.0.2,output:2")
    newer("add-flow", "table=3,priority=4,tcp6,tp_dst=80,actions=output:1")
    newer("add-flow", "priority=8,udp,actions=set_field:10.0.0.3->ip_src,output:1")
    assert "priority=9,ip,nw_dst=10.0.0.1 actions=set_field:10.0.0.2->ip_dst,output:2" in newer.flows()
    assert "priority=8,udp actions=mod_nw_src:10.0.0.3,output:1" in ofctl.flows()


def test_monitor_shows_packet_ins_and_flow_removed(ofctl, place):
    ofctl("add-flow", "cookie=0xabc,priority=9,send_flow_rem,arp,actions=CONTROLLER:42")
    with Child(ofctl.words("monitor", "65534"), place / "monitor", env={"OVS_RUNDIR": str(place)}) as monitor:

        def seen():
            ofctl("packet-out", f"in_port=2,packet={ARP},actions=TABLE")
            return "(via action)" in monitor.output()  # LOCAL says things of its own, which are misses

        until(seen, "ovs-ofctl monitor shows a packet-in")
        text = monitor.output()
        assert re.search(
            r"OFPT_PACKET_IN \(xid=0x0\): total_len=60 in_port=2 \(via action\) data_len=42 buffer=0x\w+\n"
            r"arp,vlan_tci=0x0000,dl_src=02:00:00:00:00:01,dl_dst=ff:ff:ff:ff:ff:ff,arp_spa=10.0.0.1",
            text,
        ), text
        assert re.search(r"n_packets=[1-9]\d*, n_bytes=[1-9]", ofctl("dump-flows"))
        ofctl("del-flows")
        monitor.wait_output("OFPT_FLOW_REMOVED (xid=0x0)")
        assert "reason=delete cookie:0xabc" in monitor.output()
        # A miss goes to controllers of 1.0 without anybody having asked for it.
        ofctl("packet-out", f"in_port=1,packet={ARP},actions=TABLE")
        monitor.wait_output("in_port=1 (via no_match)")
        ofctl("mod-port", "vm1", "no-flood")
        monitor.wait_output("OFPT_PORT_STATUS (xid=0x0): MOD: 1(vm1)")
        ofctl("mod-port", "vm1", "flood")
