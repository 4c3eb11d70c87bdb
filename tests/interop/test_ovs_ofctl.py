"""Debian's ovs-ofctl, unmodified, with OpenFlow 1.3 against our switch: over BRIDGE.mgmt and over ptcp:."""

import re
import tempfile
from pathlib import Path

import pytest
from peers import need
from peers.netns import unique
from peers.ofctl import Ofctl
from peers.proc import Child, run
from peers.switch import Switch, free_tcp_port
from peers.wait import until

pytestmark = pytest.mark.interop

BRIDGE = unique("of")  # its LOCAL port is a tap of this name
ARP = "ffffffffffff0200000000010806000108000604000102000000000a0a0000010000000000000a000002" + "00" * 18


@pytest.fixture(scope="module")
def switch():
    need.need_program("ovs-ofctl")
    with tempfile.TemporaryDirectory(prefix="vsi") as place, Switch(Path(place) / "state") as switch:
        switch.vsctl("add-br", BRIDGE, "--", "set-fail-mode", BRIDGE, "secure")
        switch.add_vhost(BRIDGE, "vm1", 1)
        switch.add_vhost(BRIDGE, "vm2", 2)
        yield switch


@pytest.fixture(scope="module", params=["mgmt", "ptcp"])
def target(request, switch):
    if request.param == "mgmt":
        return f"unix:{switch.run_dir}/{BRIDGE}.mgmt"
    port = free_tcp_port()
    switch.vsctl("set-controller", BRIDGE, f"ptcp:{port}:127.0.0.1")
    ofctl = Ofctl(f"tcp:127.0.0.1:{port}")
    until(lambda: run(ofctl.words("probe"), check=False).returncode == 0, "the listener answers")
    return ofctl.target


@pytest.fixture
def ofctl(target):
    ofctl = Ofctl(target)
    ofctl("del-flows")
    ofctl("del-groups")
    return ofctl


def test_show_and_port_descriptions(ofctl, switch):
    text = ofctl("show")
    assert f"dpid:{switch.vsctl('get', 'Bridge', BRIDGE, 'datapath_id').strip(chr(34))}" in text
    assert "n_tables:254, n_buffers:256" in text
    assert "capabilities: FLOW_STATS TABLE_STATS PORT_STATS GROUP_STATS" in text
    assert "frags=normal" in text
    for head in (" 1(vm1): addr:", " 2(vm2): addr:", f" LOCAL({BRIDGE}): addr:"):
        assert head in text
        assert head in ofctl("dump-ports-desc")


FLOWS = [
    "priority=100,ip,in_port=1,nw_dst=10.0.0.0/8 actions=set_field:02:00:00:00:00:07->eth_dst,dec_ttl,output:2",
    "priority=101,tcp6,ipv6_src=fd00::/16,tp_dst=80 actions=CONTROLLER:128",
    "cookie=0x5, table=1, idle_timeout=60, send_flow_rem priority=7,dl_vlan=5 actions=pop_vlan,output:1",
    "table=1, priority=8,arp,arp_tpa=10.0.0.1,arp_op=1 actions=push_vlan:0x8100,set_field:4106->vlan_vid,NORMAL",
    "table=2, priority=9,metadata=0x5/0xf actions=clear_actions,write_actions(output:2),goto_table:3",
    "hard_timeout=99, priority=3,udp,dl_dst=01:00:00:00:00:00/01:00:00:00:00:00 actions=write_metadata:0x1,goto_table:1",
    "priority=2,icmp,nw_tos=32,icmp_type=8 actions=IN_PORT",
    "priority=0 actions=drop",
]  # fmt: skip


def test_flows_come_back_as_they_were_given(ofctl, place):
    for flow in FLOWS:
        ofctl("add-flow", flow.replace(" actions", ",actions").replace(" priority", ",priority"))
    assert ofctl.flows() == sorted(FLOWS)
    path = place / "flows"
    path.write_text("\n".join(FLOWS) + "\n")
    assert ofctl("diff-flows", str(path)) == ""
    assert ofctl.flows("table=1") == sorted(flow for flow in FLOWS if "table=1," in flow)
    assert "flow_count=8" in ofctl("dump-aggregate")


def test_add_flows_mod_flows_del_flows(ofctl):
    ofctl(
        "add-flows",
        "-",
        stdin="".join(f"priority={i},ip,nw_src=10.0.0.{i},actions=output:1\n" for i in range(1, 251)),
    )
    assert len(ofctl.flows()) == 250
    ofctl("mod-flows", "ip,nw_src=10.0.0.16/28,actions=output:2")
    assert sum(flow.endswith("output:2") for flow in ofctl.flows()) == 16
    ofctl("--strict mod-flows", "priority=7,ip,nw_src=10.0.0.7,actions=drop")
    assert "priority=7,ip,nw_src=10.0.0.7 actions=drop" in ofctl.flows()
    ofctl("--strict del-flows", "priority=7,ip,nw_src=10.0.0.7")
    ofctl("del-flows", "out_port=2")
    assert len(ofctl.flows()) == 250 - 1 - 16
    ofctl("del-flows")
    assert ofctl.flows() == []


def test_replace_flows(ofctl, place):
    ofctl("add-flow", "priority=5,in_port=1,actions=drop")
    path = place / "flows"
    path.write_text("priority=6,in_port=2,actions=output:1\n")
    ofctl("replace-flows", str(path))
    assert ofctl.flows() == ["priority=6,in_port=2 actions=output:1"]


def test_refusals_are_named(ofctl):
    assert ofctl.fails("add-flow", "actions=group:9") == ["OFPBAC_BAD_OUT_GROUP"]
    ofctl("add-flow", "priority=5,ip,actions=drop")
    assert ofctl.fails("add-flow", "check_overlap,priority=5,tcp,actions=drop") == ["OFPFMFC_OVERLAP"]
    assert ofctl.fails("add-flow", "actions=meter:7,output:1") == ["OFPMMFC_UNKNOWN_METER"]
    assert ofctl.flows() == ["priority=5,ip actions=drop"]


def counts(ofctl):
    """Packets dropped on their way out of vm2, and matched in table 0."""
    drops = re.search(r"port +2: rx pkts=0,.*\n +tx pkts=0, bytes=0, drop=(\d+),", ofctl("dump-ports"))
    matches = re.search(r"table 0:\n +active=\d+, lookup=\d+, matched=(\d+)\n", ofctl("dump-tables"))
    return int(drops[1]), int(matches[1])


def test_packet_out_is_counted_where_it_went(ofctl):
    ofctl("add-flow", "priority=9,arp,actions=output:2")
    drops, matches = counts(ofctl)
    ofctl("packet-out", f"in_port=1,packet={ARP},actions=TABLE")
    # Nobody is connected to vm2: the copy is dropped there, and that is counted.
    assert counts(ofctl) == (drops + 1, matches + 1)
    assert "n_packets=1, n_bytes=60" in ofctl("dump-flows")
    assert "packet_count=1 byte_count=60 flow_count=1" in ofctl("dump-aggregate", "table=0")


def test_monitor_shows_packet_ins_and_flow_removed(ofctl, place):
    ofctl("add-flow", "table=0,priority=9,arp,actions=write_metadata:0x77,goto_table:4")
    ofctl("add-flow", "cookie=0xabc,table=4,send_flow_rem,actions=CONTROLLER:42")
    with Child(ofctl.words("monitor", "65534"), place / "monitor", env={"OVS_RUNDIR": str(place)}) as monitor:

        def seen():
            ofctl("packet-out", f"in_port=2,packet={ARP},actions=TABLE")
            return "PACKET_IN" in monitor.output()

        until(seen, "ovs-ofctl monitor shows a packet-in")
        text = monitor.output()
        assert re.search(
            r"OFPT_PACKET_IN \(OF1.3\) \(xid=0x0\): table_id=4 cookie=0xabc total_len=60 metadata=0x77,in_port=2 "
            r"\(via action\) data_len=42 buffer=0x\w+\n"
            r"arp,vlan_tci=0x0000,dl_src=02:00:00:00:00:01,dl_dst=ff:ff:ff:ff:ff:ff,arp_spa=10.0.0.1,arp_tpa=10.0.0.2",
            text,
        ), text
        ofctl("del-flows", "table=4")
        monitor.wait_output("OFPT_FLOW_REMOVED")
        assert re.search(
            r"FLOW_REMOVED.*:  ?(priority=32768)? ?reason=delete table_id=4 cookie:0xabc", monitor.output()
        )


def test_monitor_shows_port_status(ofctl, switch, place):
    ofctl("add-flow", "priority=9,arp,actions=CONTROLLER")
    with Child(ofctl.words("monitor", "65534"), place / "monitor", env={"OVS_RUNDIR": str(place)}) as monitor:

        def seen():
            ofctl("packet-out", f"in_port=2,packet={ARP},actions=TABLE")
            return "PACKET_IN" in monitor.output()

        until(seen, "the monitor listens")
        switch.add_vhost(BRIDGE, "vm3", 3)
        monitor.wait_output("OFPT_PORT_STATUS (OF1.3) (xid=0x0): ADD: 3(vm3)")
        ofctl("mod-port", "3", "no-forward")
        monitor.wait_output("MOD: 3(vm3)")
        assert "NO_FWD" in ofctl("dump-ports-desc")
        switch.vsctl("del-port", "vm3")
        monitor.wait_output("DEL: 3(vm3)")


def test_groups(ofctl):
    ofctl("add-group", "group_id=1,type=all,bucket=output:1,bucket=output:2")
    ofctl("add-group", "group_id=2,type=indirect,bucket=group:1")
    assert ofctl.fails("add-group", "group_id=1,type=all,bucket=output:1") == ["OFPGMFC_GROUP_EXISTS"]
    ofctl("add-flow", "priority=1,arp,actions=group:2")  # the kernel sends IPv6 on LOCAL
    ofctl("packet-out", f"in_port=LOCAL,packet={ARP},actions=TABLE")
    groups = ofctl("dump-groups")
    assert "group_id=1,type=all,bucket=actions=output:1,bucket=actions=output:2" in groups
    assert "group_id=2,type=indirect,bucket=actions=group:1" in groups
    assert re.search(
        r"group_id=1,.*ref_count=1,packet_count=1,byte_count=60,", ofctl("dump-group-stats", "group_id=1")
    )
    ofctl("mod-group", "group_id=1,type=all,bucket=output:2")
    assert "group_id=1,type=all,bucket=actions=output:2" in ofctl("dump-groups")
    assert "Types:  0xf" in ofctl("dump-group-features")
    ofctl("del-groups")
    assert ofctl("dump-groups").strip() == ""
    assert ofctl.flows() == []


def test_frags_and_table_features(ofctl):
    ofctl("set-frags", "drop")
    assert ofctl("get-frags").strip() == "drop"
    assert "set-frags" not in ofctl("set-frags", "normal")
    features = ofctl("dump-table-features")
    assert (
        "instructions: meter apply_actions clear_actions write_actions write_metadata goto_table" in features
    )


def test_probe_ping_benchmark(ofctl):
    ofctl("probe")
    assert len(re.findall(r"64 bytes from ", ofctl("ping", "64"))) == 10
    assert "Finished in" in ofctl("benchmark", "64", "200")


def test_two_thousand_flows(ofctl, place):
    path = place / "flows"
    path.write_text("".join(f"priority=5,udp,tp_dst={i},actions=output:{1 + i % 2}\n" for i in range(2000)))
    ofctl("add-flows", path)
    assert len(ofctl.flows()) == 2000
    assert ofctl("diff-flows", str(path)) == ""
    assert "flow_count=1000" in ofctl("dump-aggregate", "out_port=2")
    ofctl("del-flows", "udp")
    assert ofctl.flows() == []
