"""OpenFlow 1.0: its bytes, its match as ours, its actions, ports, tables and errors."""

import struct

import pytest
from of_strategies import ROWS_10

from vswitchd.ofproto import actions10 as a10
from vswitchd.ofproto import messages as m
from vswitchd.ofproto import multipart as mp
from vswitchd.ofproto import structures as s
from vswitchd.ofproto.actions import ExperimenterAction, Output, PushVlan
from vswitchd.ofproto.codec import decode, encode, encode_parts
from vswitchd.ofproto.constants import OFPCR, OFPMPF, OFPP
from vswitchd.ofproto.constants10 import OFPFW, OFPST, OFPT10
from vswitchd.ofproto.errors import CODES, OFPBAC, OFPBRC, OFPFMFC, EncodeError, OFError
from vswitchd.ofproto.errors10 import CODES_10, error10, error_name10
from vswitchd.ofproto.instructions import ApplyActions, GotoTable
from vswitchd.ofproto.match10 import MATCH10, nearest10
from vswitchd.ofproto.messages10 import Vendor, VendorStatsRequest
from vswitchd.ofproto.oxm import Match
from vswitchd.ofproto.stats import FlowStats
from vswitchd.ofproto.wire import Reader

W = OFPFW
NO_NW = 32 << 8 | 32 << 14


def wire_match(
    wild, *, in_port=0, vlan=0, pcp=0, dl_type=0, tos=0, proto=0, src=0, dst=0, tp_src=0, tp_dst=0
):
    macs = bytes.fromhex("020000000001020000000002")
    return struct.pack(
        "!IH12sHBxHBB2xIIHH", wild, in_port, macs, vlan, pcp, dl_type, tos, proto, src, dst, tp_src, tp_dst
    )


def read(data):
    return MATCH10.read(Reader(data, 0, len(data), OFPBRC.BAD_LEN, 1))


def only(*bits):
    """Wildcards of all but these."""
    wild = (W.ALL & ~(W.NW_SRC_MASK | W.NW_DST_MASK)) | NO_NW
    for bit in bits:
        wild &= ~bit
    return int(wild)


def without_nw(wild, src=32, dst=32):
    return wild & ~int(W.NW_SRC_MASK | W.NW_DST_MASK) | src << 8 | dst << 14


def test_the_table_has_every_message_of_1_0():
    keys = {row.key for row in ROWS_10}
    plain = {int(kind) for kind in OFPT10} - {OFPT10.STATS_REQUEST, OFPT10.STATS_REPLY}
    assert {key for key in keys if isinstance(key, int)} == plain
    assert {key[1:] for key in keys if isinstance(key, tuple) and len(key) == 3} == {
        (0x2320, 10),
        (0x2320, 11),
    }
    for kind in (OFPT10.STATS_REQUEST, OFPT10.STATS_REPLY):
        assert {key[1] for key in keys if isinstance(key, tuple) and key[0] == kind} == set(OFPST)


MATCHES = [
    (wire_match(only()), Match()),
    (wire_match(only(W.IN_PORT), in_port=3), Match.named(in_port=3)),
    (wire_match(only(W.IN_PORT), in_port=0xFFFE), Match.named(in_port=int(OFPP.LOCAL))),
    (wire_match(only(W.DL_SRC)), Match.named(eth_src=0x020000000001)),
    (wire_match(only(W.DL_DST)), Match.named(eth_dst=0x020000000002)),
    (wire_match(only(W.DL_TYPE), dl_type=0x5FF), Match.named(eth_type=0x5FF)),
    (wire_match(only(W.DL_VLAN, W.DL_VLAN_PCP), vlan=0xFFFF), Match.named(vlan_vid=0)),
    (wire_match(only(W.DL_VLAN), vlan=5), Match.named(vlan_vid=0x1005)),
    (wire_match(only(W.DL_VLAN_PCP), pcp=3), Match.named(vlan_vid=(0x1000, 0x1000), vlan_pcp=3)),
    (wire_match(only(W.DL_VLAN, W.DL_VLAN_PCP), vlan=5, pcp=3), Match.named(vlan_vid=0x1005, vlan_pcp=3)),
    (
        wire_match(without_nw(only(W.DL_TYPE, W.NW_TOS, W.NW_PROTO, W.TP_SRC, W.TP_DST), 8, 0), dl_type=0x800, tos=0x20,
                   proto=6, src=0x0A000000, dst=0x0A000001, tp_src=1, tp_dst=80),
        Match.named(eth_type=0x800, ip_dscp=8, ip_proto=6, ipv4_src=(0x0A000000, 0xFFFFFF00), ipv4_dst=0x0A000001,
                    tcp_src=1, tcp_dst=80),
    ),
    (wire_match(only(W.DL_TYPE, W.NW_PROTO, W.TP_DST), dl_type=0x800, proto=17, tp_dst=53),
     Match.named(eth_type=0x800, ip_proto=17, udp_dst=53)),
    (wire_match(only(W.DL_TYPE, W.NW_PROTO, W.TP_SRC, W.TP_DST), dl_type=0x800, proto=1, tp_src=8, tp_dst=0),
     Match.named(eth_type=0x800, ip_proto=1, icmpv4_type=8, icmpv4_code=0)),
    (wire_match(without_nw(only(W.DL_TYPE, W.NW_PROTO), 0, 16), dl_type=0x806, proto=2, src=1, dst=0x0A000000),
     Match.named(eth_type=0x806, arp_op=2, arp_spa=1, arp_tpa=(0x0A000000, 0xFFFF0000))),
    (wire_match(only(W.DL_TYPE, W.NW_PROTO, W.TP_DST), dl_type=0x86DD, proto=6, tp_dst=80),
     Match.named(eth_type=0x86DD, ip_proto=6, tcp_dst=80)),
]  # fmt: skip


@pytest.mark.parametrize(
    ("data", "match"), MATCHES, ids=lambda x: "" if isinstance(x, bytes) else str(len(x))
)
def test_matches(data, match):
    assert read(data) == match
    again = MATCH10.write(match, 1)
    assert again[:4] == data[:4]
    assert read(again) == match


IGNORED = [
    (wire_match(only(W.NW_TOS, W.NW_PROTO, W.TP_SRC), tos=4, proto=6, tp_src=5), Match()),
    (wire_match(without_nw(only(), 0, 0), src=1, dst=2), Match()),
    (wire_match(only(W.DL_TYPE, W.TP_SRC), dl_type=0x800, tp_src=5), Match.named(eth_type=0x800)),
    (wire_match(only(W.DL_TYPE, W.NW_PROTO, W.TP_SRC), dl_type=0x800, proto=47, tp_src=5),
     Match.named(eth_type=0x800, ip_proto=47)),
    (wire_match(only(W.DL_VLAN, W.DL_VLAN_PCP), vlan=0xFFFF, pcp=5), Match.named(vlan_vid=0)),
    (wire_match(0xFFFFFFFF), Match()),
]  # fmt: skip


@pytest.mark.parametrize(("data", "match"), IGNORED)
def test_what_the_other_fields_do_not_promise_is_ignored(data, match):
    assert read(data) == match


UNSAYABLE = [
    (Match.named(metadata=5), Match()),
    (Match.named(eth_dst=(0, 0xFFFFFFFFFF00), in_port=4), Match.named(in_port=4)),
    (Match.named(vlan_vid=(0x1000, 0x1000)), Match()),
    (Match.named(eth_type=0x800, ipv4_src=(1, 0xFF0000FF)), Match.named(eth_type=0x800)),
    (Match.named(eth_type=0x86DD, ipv6_src=1), Match.named(eth_type=0x86DD)),
    (Match.named(in_port=0x12345), Match()),
    (Match.named(eth_type=0x806, arp_op=0x101), Match.named(eth_type=0x806)),
    (Match.named(eth_type=0x800, ip_proto=6, tcp_dst=(0, 1)), Match.named(eth_type=0x800, ip_proto=6)),
]


@pytest.mark.parametrize(("match", "nearest"), UNSAYABLE)
def test_what_1_0_cannot_say(match, nearest):
    with pytest.raises(EncodeError):
        MATCH10.write(match, 1)
    assert nearest10(match) == nearest


ANY = struct.pack("!I36x", only())


def flow_mod(match=ANY, *, command=0, priority=7, flags=0, actions=b"", idle=0, out=0xFFFF):
    body = match + struct.pack("!QHHHHIHH", 9, command, idle, 0, priority, 0xFFFFFFFF, out, flags) + actions
    return struct.pack("!BBHI", 1, 14, 8 + len(body), 5) + body


def test_flow_mods_are_of_table_0_and_deletions_of_all():
    assert decode(flow_mod(), 1)[1] == m.FlowMod(cookie=9, priority=7)
    for command in (3, 4):
        got = decode(flow_mod(command=command, out=0xFFFE), 1)[1]
        assert (got.table_id, got.command, got.out_port) == (0xFF, command, OFPP.LOCAL)


def test_an_exact_match_comes_first():
    assert decode(flow_mod(wire_match(0, vlan=0xFFFF, dl_type=0x800)), 1)[1].priority == 0xFFFF


def test_emergency_flows_are_refused():
    for idle, code in ((0, (3, 0)), (5, (3, 3))):
        with pytest.raises(OFError) as caught:
            decode(flow_mod(flags=4, idle=idle), 1)
        assert error10(caught.value) == code


@pytest.mark.parametrize(("bad", "code"), [({"command": 5}, (3, 4)), ({"flags": 8}, (3, 5))])
def test_bad_flow_mods(bad, code):
    with pytest.raises(OFError) as caught:
        decode(flow_mod(**bad), 1)
    assert error10(caught.value) == code


ACTIONS = [
    (Output(5, 0), "00000008 0005 0000"),
    (Output(int(OFPP.CONTROLLER), 128), "00000008 fffd 0080"),
    (a10.SetVlanVid(5), "00010008 0005 0000"),
    (a10.SetVlanPcp(5), "00020008 05 000000"),
    (a10.StripVlan(), "00030008 00000000"),
    (a10.SetDlSrc(0x020000000001), "00040010 020000000001 000000000000"),
    (a10.SetDlDst(0x020000000001), "00050010 020000000001 000000000000"),
    (a10.SetNwSrc(0x0A000001), "00060008 0a000001"),
    (a10.SetNwDst(0x0A000001), "00070008 0a000001"),
    (a10.SetNwTos(0x20), "00080008 20 000000"),
    (a10.SetTpSrc(80), "00090008 0050 0000"),
    (a10.SetTpDst(80), "000a0008 0050 0000"),
    (a10.Enqueue(int(OFPP.LOCAL), 7), "000b0010 fffe 000000000000 00000007"),
    (ExperimenterAction(0x2320, b"abcdefgh"), "ffff0010 00002320 6162636465666768"),
]


@pytest.mark.parametrize(("action", "data"), ACTIONS, ids=lambda x: type(x).__name__)
def test_actions(action, data):
    wire = flow_mod(actions=bytes.fromhex(data))
    msg = m.FlowMod(cookie=9, priority=7, instructions=(ApplyActions((action,)),))
    assert decode(wire, 1) == (5, msg)
    assert encode(msg, 5, 1) == wire


@pytest.mark.parametrize(
    ("data", "code"),
    [
        ("000c000800000000", OFPBAC.BAD_TYPE),
        ("0000000c0005000000000000", OFPBAC.BAD_LEN),
        ("0001000810000000", OFPBAC.BAD_ARGUMENT),
        ("0002000808000000", OFPBAC.BAD_ARGUMENT),
        ("0008000801000000", OFPBAC.BAD_ARGUMENT),
        ("000b0010fffb00000000000000000007", OFPBAC.BAD_OUT_PORT),
        ("0004000802000000", OFPBAC.BAD_LEN),
    ],
)
def test_bad_actions(data, code):
    with pytest.raises(OFError) as caught:
        decode(flow_mod(actions=bytes.fromhex(data)), 1)
    assert caught.value.code is code
    assert error10(caught.value) == (2, int(code))


@pytest.mark.parametrize(
    "msg",
    [
        m.FlowMod(table_id=3),
        m.FlowMod(cookie_mask=1),
        m.FlowMod(instructions=(GotoTable(3),)),
        m.FlowMod(instructions=(ApplyActions((PushVlan(0x8100),)),)),
        m.FlowMod(instructions=(ApplyActions((Output(0x10000),)),)),
        m.GroupMod(),
        mp.PortDescRequest(),
    ],
)
def test_messages_that_1_0_has_not(msg):
    with pytest.raises(EncodeError):
        encode(msg, 1, 1)


def test_a_port():
    port = s.Port(
        3, b"\2\0\0\0\0\1", "p" * 40, 0x25, 5, curr=0x20 | 1 << 11 | 1 << 15, supported=1 << 7, max_speed=9
    )
    wire = encode(m.PortStatus(2, port), 1, 1)
    assert len(wire) == 64
    got = decode(wire, 1)[1].desc
    assert got == s.Port(3, b"\2\0\0\0\0\1", "p" * 15, 0x25, 1, curr=0x20 | 1 << 11 | 1 << 15)
    assert int.from_bytes(wire[16 + 32 : 16 + 36], "big") == 0x20 | 1 << 7 | 1 << 11


def test_all_ports_of_statistics():
    assert encode(mp.PortStatsRequest(), 1, 1)[12:14] == b"\xff\xff"
    assert encode(mp.QueueStatsRequest(), 1, 1)[12:14] == b"\xff\xfc"
    wire = encode(mp.QueueStatsRequest(), 1, 1)
    assert decode(wire, 1)[1].port_no == OFPP.ANY
    assert decode(wire[:12] + b"\xff\xff" + wire[14:], 1)[1].port_no == OFPP.ANY


def test_features_have_ports():
    msg = m.FeaturesReply(7, 256, 254, 0, 0x87, a10.ACTIONS_10, (s.Port(1), s.Port(int(OFPP.LOCAL))))
    wire = encode(msg, 1, 1)
    assert len(wire) == 32 + 2 * 48
    assert decode(wire, 1) == (1, msg)
    assert a10.ACTIONS_10 == 0xFFF


def test_vendors():
    wire = bytes.fromhex("0104000e0000000500002320 0102")
    assert decode(wire, 1) == (5, Vendor(0x2320, b"\1\2"))
    assert decode(encode(VendorStatsRequest(1, b"x"), 1, 1), 1)[1] == VendorStatsRequest(1, b"x")


def test_roles_are_nicira_s():
    wire = bytes.fromhex("01040014 00000005 00002320 0000000a 00000001")
    assert decode(wire, 1) == (5, m.RoleRequest(OFPCR.MASTER))
    assert encode(m.RoleRequest(OFPCR.MASTER), 5, 1) == wire
    with pytest.raises(OFError):
        decode(wire[:-1] + b"\x03", 1)


def test_long_replies_come_in_parts():
    entries = tuple(FlowStats(priority=n) for n in range(1000))
    parts = [decode(data, 1)[1] for data in encode_parts(mp.FlowStatsReply(entries), 3, 1)]
    assert [part.flags for part in parts] == [OFPMPF.MORE, 0]
    assert sum((part.entries for part in parts), ()) == entries


@pytest.mark.parametrize("code", [code for codes in CODES.values() for code in codes], ids=str)
def test_every_error_has_one_in_1_0(code):
    kind, number = error10(OFError(code))
    assert number in set(CODES_10[kind])
    same = getattr(CODES_10[kind], code.name, None)
    if same is not None and CODES_10[kind].__name__.startswith(type(code).__name__):
        assert number == same


def test_errors_by_name():
    assert error10(OFError(OFPFMFC.OVERLAP)) == (3, 1)
    assert error10(OFError(OFPBRC.BAD_EXPERIMENTER)) == (1, 3)
    assert error_name10(1, 3) == "OFPBRC_BAD_VENDOR"
    assert error_name10(3, 9) == "type 3, code 9"
    assert m.Error.of(OFError(OFPFMFC.OVERLAP, data=b"x"), 1) == m.Error(3, 1, b"x")
