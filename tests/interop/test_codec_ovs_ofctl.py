"""Debian's ovs-ofctl as an oracle: its flow-mods are ours byte for byte, and it prints ours as we do."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fakes.ofctl_switch import FakeSwitch
from peers import need

from vswitchd.ofproto import actions10 as a10
from vswitchd.ofproto.actions import Output
from vswitchd.ofproto.codec import encode, encode_parts
from vswitchd.ofproto.constants import OFPFC
from vswitchd.ofproto.flowactions import parse_actions
from vswitchd.ofproto.flowformat import format_flags, format_flow, format_instructions, format_rule
from vswitchd.ofproto.flowtext import FlowTextError, flow_stats_request, parse_flow
from vswitchd.ofproto.instructions import ApplyActions
from vswitchd.ofproto.messages import (
    FlowMod,
    PacketOut,
)
from vswitchd.ofproto.multipart import (
    FlowStatsReply,
    FlowStatsRequest,
    PortDescReply,
)
from vswitchd.ofproto.stats import FlowStats
from vswitchd.ofproto.structures import Port

pytestmark = pytest.mark.interop

# Flows that ovs-ofctl and we read alike.
SAME = """
table=3,priority=10,tcp,nw_dst=10.0.0.0/8,tp_dst=80,actions=set_field:02:00:00:00:00:01->eth_dst,output:2
in_port=1,actions=2
in_port=LOCAL,actions=all,flood,normal,local,in_port,controller
cookie=0x12,idle_timeout=5,hard_timeout=7,send_flow_rem,check_overlap,reset_counts,actions=drop
no_packet_counts,no_byte_counts,actions=drop
dl_vlan=5,dl_vlan_pcp=3,actions=strip_vlan,mod_vlan_vid:7,mod_vlan_pcp:2,output:1
vlan_tci=0x1005,actions=1
vlan_tci=0x1000/0x1000,actions=1
vlan_tci=0,actions=1
vlan_tci=0x1005/0x1fff,actions=1
dl_vlan=0xffff,actions=1
vlan_vid=0x1005,actions=1
vlan_vid=0x1000/0x1000,actions=1
vlan_vid=0x1005/0x1005,actions=1
vlan_vid=5,actions=1
vlan_pcp=3,vlan_vid=0x1000/0x1000,actions=1
dl_vlan_pcp=3,actions=1
ip,nw_tos=33,nw_ecn=1,actions=mod_nw_tos:16,mod_nw_src:1.2.3.4,mod_nw_dst:4.3.2.1,dec_ttl,controller:100
ip,ip_dscp=8,nw_proto=47,actions=dec_ttl
udp,tp_src=53/0xfff0,actions=mod_tp_src:5,mod_tp_dst:6
sctp,sctp_dst=9,actions=mod_tp_dst:6
icmp,icmp_type=8,icmp_code=0,actions=set_field:0->icmp_type,in_port
icmp6,icmp_type=135,nd_target=fe80::1,nd_sll=02:00:00:00:00:01,actions=1
icmpv6_type=136,icmp6,nd_tll=02:00:00:00:00:01,actions=1
ipv6,ipv6_src=fe80::/10,ipv6_dst=::1,ipv6_label=5,actions=1
ipv6,ipv6_dst=2001::5:0:0:1/ffff::ffff,actions=1
ipv6,ipv6_src=::ffff:1.2.3.4,ipv6_dst=::1.2.3.4,actions=1
tcp6,tp_dst=80,actions=group:5
udp6,tp_dst=80,actions=set_queue:3,2
arp,arp_op=1,arp_spa=1.2.3.4,arp_tpa=10.0.0.0/24,arp_sha=02:00:00:00:00:01,arp_tha=02:00:00:00:00:01,actions=1
arp,nw_src=1.2.3.4,nw_proto=2,actions=1
rarp,actions=1
mplsm,actions=1
ip,actions=push_mpls:0x8847,set_field:10->mpls_label,output:1
dl_type=0x88cc,actions=controller(max_len=128)
dl_src=02:00:00:00:00:01/ff:ff:ff:00:00:00,dl_dst=01:00:00:00:00:00/01:00:00:00:00:00,actions=1
metadata=0x5,actions=write_metadata:0x5/0xff,goto_table:3
metadata=5/0xf,actions=write_metadata:5,goto_table:3
tun_id=5,actions=set_field:7->tun_id,1
tunnel_id=5/7,actions=set_tunnel:7
actions=push_vlan:0x8100,set_field:4101->vlan_vid,set_field:3->vlan_pcp,output:1
actions=push_vlan:0x88a8,mod_vlan_vid:5,output:1
actions=mod_vlan_vid:5,1
actions=meter:5,output:1,clear_actions,write_actions(output:3,group:4),write_metadata:7,goto_table:2
actions=clear_actions
actions=table
actions=output:NORMAL
actions=CONTROLLER:65535
actions=controller:0
actions=mod_dl_src:02:00:00:00:00:01,mod_dl_dst:02:00:00:00:00:02,1
ip,actions=set_field:10.0.0.1->ip_src,set_field:10.0.0.1->nw_dst
tcp,actions=set_field:10->tcp_src,set_field:63->ip_dscp,set_field:3->nw_ecn
tcp6,actions=set_field:fe80::1->ipv6_src,set_field:5->ipv6_label
arp,actions=set_field:2->arp_op,set_field:02:00:00:00:00:01->arp_sha,set_field:1.2.3.4->arp_spa
icmp6,actions=set_field:8->icmpv6_code
ip,actions=mod_nw_ttl:5,1
duration=5.1s, table=1, n_packets=5, n_bytes=6, idle_age=5, hard_age=6, priority=5 actions=1
ip,nw_src=10.0.0.1/255.255.0.255,actions=1
ip,nw_src=10.0.0.1/8,actions=1
in_port=65534,actions=1
in_port=controller,actions=1
vlan_tci=0x1005,actions=set_vlan_vid:5,set_vlan_pcp:3,1
priority=0,actions=1
dl_type=0x86dd,nw_proto=58,icmp_type=3,actions=1
dl_type=0x0800,nw_proto=132,tp_dst=3,actions=1
eth_dst=02:00:00:00:00:01,ip_proto=6,eth_type=0x800,tcp_dst=5,actions=1
actions=set_field:02:00:00:00:00:01->dl_dst
tcp,actions=DEC_TTL,OUTPUT:1
priority=5 in_port=2 actions=output:1 , output:2
mpls,mpls_label=5,mpls_tc=3,mpls_bos=1,actions=pop_mpls:0x800,1
mpls,actions=dec_mpls_ttl,set_mpls_ttl(64),1
mpls,actions=set_mpls_label:10,set_mpls_tc(3),1
ip,actions=push_mpls:0x8848,1
actions=set_tunnel64:5,1
actions=write_actions(set_queue:5,group:2)
actions=write_actions(output:1),goto_table:4
icmp6,icmp_type=135,actions=set_field:fe80::1->nd_target,set_field:02:00:00:00:00:01->nd_sll
icmp,actions=set_field:3->icmp_type,set_field:3->icmp_code
arp,actions=set_field:1.2.3.4->arp_tpa,set_field:02:00:00:00:00:01->arp_tha
sctp,sctp_src=3/3,actions=set_field:5->sctp_dst,1
ipv6,nw_ecn=2,nw_tos=4,actions=1
actions=group:0x10
actions=goto_table(3)
dl_type=0x5ff,actions=1
""".strip().split("\n")
NX = ["tcp,tcp_flags=+syn-ack,actions=1", "tcp,tcp_flags=2,actions=1", "tcp,tcp_flags=0x2/0x12,actions=1",
      "ip,nw_ttl=64,actions=1", "tcp,actions=set_field:5->nw_ttl,1"]  # fmt: skip
MATCHES_10 = """
in_port=1
in_port=LOCAL,dl_src=02:00:00:00:00:01,dl_dst=02:00:00:00:00:02
dl_vlan=0xffff
dl_vlan=5,dl_vlan_pcp=3
dl_vlan_pcp=3
tcp,nw_src=10.0.0.0/8,nw_dst=10.1.2.0/23,tp_src=1,tp_dst=80
udp,nw_tos=32,tp_dst=53
icmp,icmp_type=8,icmp_code=0
arp,arp_op=1,arp_spa=10.0.0.1
rarp
dl_type=0x88cc
ip,nw_proto=47
tcp6,tp_dst=80
""".strip().split("\n")
BAD = """
foo=3,actions=1
in_port=1
table=256,actions=1
priority=70000,actions=1
cookie=5/7,actions=1
out_port=3,actions=1
dl_dst=1,actions=1
nw_src=1.2.3,ip,actions=1
ip,nw_src=1.2.3.4/33,actions=1
actions=bogus
actions=output:nothing
actions=output:1,drop
actions=output:4294967040
actions=group:all
actions=write_actions(output:1),clear_actions
actions=goto_table:2,output:1
actions=apply_actions(output:1)
actions=set_field:1
actions=set_field:zz->eth_dst
actions=set_field:1->nothing
actions=mod_nw_tos:256
actions=mod_vlan_vid:4096
ip,actions=mod_nw_tos:3
actions=enqueue:1
actions=enqueue:x:1
actions=output:1,meter:3
actions=meter:1,meter:2
actions=push_vlan:0x800
""".strip().split("\n")


def ofctl(*args, check=True, version="OpenFlow13"):
    need.need_program("ovs-ofctl")
    done = subprocess.run(["ovs-ofctl", "-O", version, *args], capture_output=True, text=True, timeout=60)
    if check:
        assert done.returncode == 0, done.stderr
    return done


def sent(tmp_path, flows):
    """What ovs-ofctl sends for these flows."""
    switch = FakeSwitch(tmp_path / "s")
    (tmp_path / "flows").write_text("\n".join(flows) + "\n")
    try:
        ofctl("add-flows", f"unix:{tmp_path}/s", str(tmp_path / "flows"))
    finally:
        switch.stop()
    return switch


def test_flow_mods_are_those_of_ovs_ofctl(tmp_path):
    switch = sent(tmp_path, SAME)
    assert len(switch.got) == len(SAME)
    for text, theirs, wire in zip(SAME, switch.got, switch.wires, strict=True):
        assert parse_flow(text) == theirs, text
        assert len(encode(theirs, 1)) == len(wire), text


FLOWS_10 = [
    *(f"{match},actions=drop" for match in MATCHES_10 if match != "tcp6,tp_dst=80"),  # that it says in NXM
    "priority=5,idle_timeout=5,hard_timeout=7,cookie=0x12,send_flow_rem,check_overlap,actions=output:1",
    "actions=mod_vlan_vid:5,mod_vlan_pcp:3,strip_vlan,mod_dl_src:02:00:00:00:00:01,mod_dl_dst:02:00:00:00:00:02,1",
    "ip,actions=mod_nw_src:1.2.3.4,mod_nw_dst:4.3.2.1,mod_nw_tos:32,enqueue:2:7,controller:100",
    "tcp,actions=mod_tp_src:1,mod_tp_dst:2,in_port,normal,flood,all,local",
]


def test_flow_mods_of_1_0_are_written_as_ovs_ofctl_does(tmp_path):
    switch = FakeSwitch(tmp_path / "s", version=1)
    (tmp_path / "flows").write_text("\n".join(FLOWS_10) + "\n")
    try:
        ofctl("add-flows", f"unix:{tmp_path}/s", str(tmp_path / "flows"), version="OpenFlow10")
    finally:
        switch.stop()
    assert len(switch.got) == len(FLOWS_10)
    for text, theirs, wire in zip(FLOWS_10, switch.got, switch.wires, strict=True):
        assert encode(theirs, int.from_bytes(wire[4:8], "big"), 1) == wire, text
        if text.split(",actions")[0] in MATCHES_10:
            assert theirs == parse_flow(text), text
        else:
            shown = format_instructions(theirs.instructions)
            assert shown.replace("output:", "").lower() in text.replace("output:", "")


def asked(tmp_path, *args, of):
    """The one message of class `of` that ovs-ofctl sends for a command."""
    switch = FakeSwitch(tmp_path / "s")
    try:
        ofctl(*(f"unix:{tmp_path}/s" if arg == "SWITCH" else arg for arg in args))
    finally:
        switch.stop()
    (found,) = [msg for msg in switch.seen if isinstance(msg, of)]
    return found


@pytest.mark.parametrize(
    ("args", "text", "command"),
    [
        (["mod-flows"], "tcp,cookie=5,actions=3", OFPFC.MODIFY),
        (["mod-flows"], "table=2,cookie=5/7,actions=3", OFPFC.MODIFY),
        (["--strict", "mod-flows"], "priority=7,tcp,actions=drop", OFPFC.MODIFY_STRICT),
        (["del-flows"], "table=1,udp,tp_dst=5,out_port=4,out_group=6,cookie=5/-1", OFPFC.DELETE),
        (["del-flows"], "in_port=1", OFPFC.DELETE),
        (["--strict", "del-flows"], "priority=9,arp", OFPFC.DELETE_STRICT),
    ],
)
def test_commands_are_those_of_ovs_ofctl(tmp_path, args, text, command):
    verb = [*args[:-1], args[-1], "SWITCH", text]
    assert asked(tmp_path, *verb, of=FlowMod) == parse_flow(text, command=command)


@pytest.mark.parametrize(
    "text", ["", "tcp,tp_dst=80", "table=3,out_port=LOCAL,cookie=1/-1", "out_group=5,metadata=1"]
)
def test_selections_are_those_of_ovs_ofctl(tmp_path, text):
    request = asked(tmp_path, "dump-flows", "SWITCH", text, of=FlowStatsRequest)
    assert request == flow_stats_request(text)


def test_packet_out_is_that_of_ovs_ofctl(tmp_path):
    text = "set_field:02:00:00:00:00:01->eth_dst,output:3,flood"
    msg = asked(
        tmp_path,
        "packet-out",
        "SWITCH",
        f"in_port=2,packet=0102030405060708090a0b0c0800,actions={text}",
        of=PacketOut,
    )
    assert msg == PacketOut(in_port=2, actions=parse_actions(text, {}), data=bytes(range(1, 13)) + b"\x08\0")


def test_fields_beyond_1_3_come_as_ovs_ofctl_sends_them(tmp_path):
    switch = sent(tmp_path, NX)
    assert [parse_flow(text) for text in NX] == switch.got


@pytest.mark.parametrize("text", [*SAME, *NX])
def test_text_is_that_of_ovs_ofctl(text):
    theirs = ofctl("parse-flow", text).stdout.partition(": ADD ")[2].strip()
    flow = parse_flow(text)
    rule = format_rule(FlowStats(priority=flow.priority, match=flow.match))
    words = [f"table:{flow.table_id}"] if flow.table_id else []
    words += [rule] if rule else []
    words += [f"cookie:{flow.cookie:#x}"] if flow.cookie else []
    words += [f"idle:{flow.idle_timeout}"] if flow.idle_timeout else []
    words += [f"hard:{flow.hard_timeout}"] if flow.hard_timeout else []
    words += format_flags(flow.flags).split()
    assert " ".join([*words, "actions=" + format_instructions(flow.instructions)]) == theirs


@pytest.mark.parametrize("text", BAD)
def test_bad_text_is_bad_for_both(text):
    assert ofctl("parse-flow", text, check=False).returncode != 0
    with pytest.raises(FlowTextError) as caught:
        parse_flow(text)
    assert "\n" not in str(caught.value)


def entry(flow, sec=0, nsec=0, packets=0):
    """The flow entry that a flow-mod makes."""
    names = (
        "table_id",
        "priority",
        "idle_timeout",
        "hard_timeout",
        "flags",
        "cookie",
        "match",
        "instructions",
    )
    same = {name: getattr(flow, name) for name in names}
    return FlowStats(duration_sec=sec, duration_nsec=nsec, packet_count=packets, **same)


def test_flow_entries_are_printed_as_dump_flows_does():
    entries = []
    for count, text in enumerate(SAME):
        entries.append(entry(parse_flow(text), count, (count % 4) * 125_000_001, count * 7))
    (wire,) = encode_parts(FlowStatsReply(tuple(entries)), 2)
    theirs = ofctl("ofp-print", wire.hex()).stdout.strip().split("\n")[1:]
    assert [line.strip() for line in theirs] == [format_flow(entry) for entry in entries]


def test_flow_entries_of_1_0_are_printed_as_dump_flows_does():
    actions = (
        a10.SetVlanVid(5), a10.SetVlanPcp(3), a10.StripVlan(), a10.SetDlSrc(1), a10.SetDlDst(0x020000000001),
        a10.SetNwSrc(0x0A000001), a10.SetNwDst(0x0A000002), a10.SetNwTos(32), a10.SetTpSrc(80), a10.SetTpDst(81),
        a10.Enqueue(3, 7), a10.Enqueue(0xFFFFFFFE, 1), Output(4, 0), Output(0xFFFFFFFD, 128), Output(0xFFFFFFFB, 0),
    )  # fmt: skip
    matches = [parse_flow(text + ",actions=drop").match for text in MATCHES_10]
    entries = [FlowStats(0, 7, 500_000_000, priority=9, cookie=3, match=match) for match in matches]
    entries.append(FlowStats(instructions=(ApplyActions(actions),)))
    (wire,) = encode_parts(FlowStatsReply(tuple(entries)), 2, 1)
    theirs = ofctl("ofp-print", wire.hex()).stdout.strip().split("\n")[1:]
    ours = [format_flow(entry).replace("vlan_tci=0x0000/0x1fff", "vlan_tci=0x0000") for entry in entries]
    assert [line.strip() for line in theirs] == ours


def test_what_dump_flows_prints_is_read_again():
    for text in SAME:
        flow = parse_flow(text)
        line = format_flow(entry(flow))
        assert parse_flow(line) == flow, line


@pytest.mark.parametrize("count", [0, 1, 40])
def test_other_replies_are_readable_for_ovs_ofctl(count):
    ports = tuple(Port(n + 1, bytes([2, 0, 0, 0, 0, n]), f"port{n}", curr_speed=10) for n in range(count))
    text = ofctl("ofp-print", encode(PortDescReply(ports), 1).hex()).stdout
    assert re.findall(r"\((port\d+)\)", text) == [port.name for port in ports]
