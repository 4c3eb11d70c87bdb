"""Match fields: the table is the specification's, and a match is refused where section 7.2.3 says so."""

import pickle
import struct

import pytest
from hypothesis import given, settings
from of_strategies import matches

from vswitchd.ofproto.errors import OFPBMC, OFPBRC, OFError
from vswitchd.ofproto.fields import BY_NAME, FIELDS, field
from vswitchd.ofproto.oxm import MATCH, FieldMatch, Match, from_wire_order
from vswitchd.ofproto.wire import Reader

# OXM_OF_* of 1.3.5, table 12: number, bits, bytes on the wire without a mask.
SPEC = """in_port 0 32 4, in_phy_port 1 32 4, metadata 2 64 8, eth_dst 3 48 6, eth_src 4 48 6, eth_type 5
16 2, vlan_vid 6 13 2, vlan_pcp 7 3 1, ip_dscp 8 6 1, ip_ecn 9 2 1, ip_proto 10 8 1, ipv4_src
11 32 4, ipv4_dst 12 32 4, tcp_src 13 16 2, tcp_dst 14 16 2, udp_src 15 16 2, udp_dst 16 16 2,
sctp_src 17 16 2, sctp_dst 18 16 2, icmpv4_type 19 8 1, icmpv4_code 20 8 1, arp_op 21 16 2,
arp_spa 22 32 4, arp_tpa 23 32 4, arp_sha 24 48 6, arp_tha 25 48 6, ipv6_src 26 128 16,
ipv6_dst 27 128 16, ipv6_flabel 28 20 4, icmpv6_type 29 8 1, icmpv6_code 30 8 1, ipv6_nd_target
31 128 16, ipv6_nd_sll 32 48 6, ipv6_nd_tll 33 48 6, mpls_label 34 20 4, mpls_tc 35 3 1,
mpls_bos 36 1 1, pbb_isid 37 24 3, tunnel_id 38 64 8, ipv6_exthdr 39 9 2"""


def read(body, size=None):
    """Read a match of these raw OXMs."""
    length = 4 + len(body) if size is None else size
    data = struct.pack("!HH", 1, length) + body + bytes(-(4 + len(body)) % 8)
    rd = Reader(data, 0, len(data), OFPBRC.BAD_LEN, 4)
    match = MATCH.read(rd)
    assert rd.pos == len(data)
    return match


def refused(code, call, *args):
    with pytest.raises(OFError) as caught:
        call(*args)
    assert caught.value.code is code


def oxm(name, value, mask=None):
    row = field(name)
    head = row.header if mask is None else row.header + 0x100 + row.size
    who = row.experimenter.to_bytes(4, "big") if row.experimenter else b""
    tail = b"" if mask is None else mask.to_bytes(row.size, "big")
    return head.to_bytes(4, "big") + who + value.to_bytes(row.size, "big") + tail


def test_the_table_is_that_of_the_specification():
    spec = [line.split() for line in SPEC.replace("\n", " ").split(",")]
    ours = [
        [row.name, str(row.number), str(row.bits), str(row.size)] for row in FIELDS if row.oxm_class == 0x8000
    ]
    assert ours == spec
    assert field("in_port").header == 0x80000004
    assert field("ipv6_nd_tll").header == 0x80004206
    assert len({row.header for row in FIELDS}) == len(FIELDS)
    assert [row.rank for row in FIELDS] == list(range(len(FIELDS)))


def test_prerequisites_come_before_in_the_table():
    for row in FIELDS:
        assert all(BY_NAME[name].rank < row.rank for name, _allowed in row.prereqs)


@settings(deadline=None)
@given(matches())
def test_a_match_survives_the_wire(match):
    data = MATCH.write(match, 4)
    assert len(data) % 8 == 0
    rd = Reader(data, 0, len(data), OFPBRC.BAD_LEN, 4)
    assert MATCH.read(rd).entries == match.entries


def test_wire_order_is_kept_but_does_not_count():
    body = oxm("eth_src", 5) + oxm("in_port", 1)
    match = read(body)
    assert [entry.field.name for entry in match] == ["eth_src", "in_port"]
    other = Match.named(in_port=1, eth_src=5)
    assert match == other
    assert hash(match) == hash(other)
    assert match != Match.named(in_port=2, eth_src=5)
    assert match != "match"
    assert MATCH.write(match, 4)[4 : 4 + len(body)] == body
    assert match.get("in_port") == FieldMatch(field("in_port"), 1)
    assert match.get("metadata") is None
    assert pickle.loads(pickle.dumps(match)) == match


def test_masks_are_normalized():
    full = read(oxm("eth_dst", 0x0102, (1 << 48) - 1))
    assert full.entries == (FieldMatch(field("eth_dst"), 0x0102, None),)
    assert read(oxm("eth_dst", 0, 0)) == Match()
    assert read(oxm("vlan_vid", 0x1000, 0x1000)).entries == (FieldMatch(field("vlan_vid"), 0x1000, 0x1000),)
    assert read(oxm("vlan_vid", 5, 0xFFFF)).entries == (FieldMatch(field("vlan_vid"), 5, None),)


IP = oxm("eth_type", 0x0800)
IP6 = oxm("eth_type", 0x86DD)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (oxm("in_port", 1) * 2, OFPBMC.DUP_FIELD),
        (oxm("eth_dst", 0, 0) + oxm("eth_dst", 1), OFPBMC.DUP_FIELD),
        (oxm("in_port", 1, 0xFFFFFFFF), OFPBMC.BAD_MASK),
        (oxm("eth_type", 0x0800, 0xFF00), OFPBMC.BAD_MASK),
        (oxm("eth_dst", 3, 1), OFPBMC.BAD_WILDCARDS),
        (oxm("vlan_vid", 0x2000), OFPBMC.BAD_VALUE),
        (IP + oxm("ip_dscp", 0x40), OFPBMC.BAD_VALUE),
        (b"\x80\x00\x50\x01x", OFPBMC.BAD_FIELD),
        (b"\x80\x01\x00\x04abcd", OFPBMC.BAD_FIELD),
        (b"\xff\xff\x00\x08" + bytes(8), OFPBMC.BAD_FIELD),
        (b"\x80\x00\x00\x03abc", OFPBMC.BAD_LEN),
        (b"\x80\x00\x00\x08" + bytes(8), OFPBMC.BAD_LEN),
        (b"\x80\x00\x07\x06" + bytes(6), OFPBMC.BAD_LEN),
        (b"\x80\x00\x00\x04abc", OFPBMC.BAD_LEN),
        (b"\x80\x00\x00", OFPBMC.BAD_LEN),
        (oxm("ipv4_src", 1), OFPBMC.BAD_PREREQ),
        (IP6 + oxm("ipv4_src", 1), OFPBMC.BAD_PREREQ),
        (oxm("ipv4_src", 1) + IP, OFPBMC.BAD_PREREQ),
        (IP + oxm("tcp_src", 1), OFPBMC.BAD_PREREQ),
        (IP + oxm("ip_proto", 17) + oxm("tcp_src", 1), OFPBMC.BAD_PREREQ),
        (oxm("vlan_pcp", 1), OFPBMC.BAD_PREREQ),
        (oxm("vlan_vid", 0) + oxm("vlan_pcp", 1), OFPBMC.BAD_PREREQ),
        (oxm("in_phy_port", 1), OFPBMC.BAD_PREREQ),
        (IP6 + oxm("ip_proto", 58) + oxm("icmpv6_type", 136) + oxm("ipv6_nd_sll", 1), OFPBMC.BAD_PREREQ),
        (IP + oxm("ip_proto", 58) + oxm("icmpv6_type", 136), OFPBMC.BAD_PREREQ),
        (oxm("mpls_label", 1), OFPBMC.BAD_PREREQ),
        (oxm("arp_op", 1), OFPBMC.BAD_PREREQ),
        (oxm("pbb_isid", 1), OFPBMC.BAD_PREREQ),
    ],
)
def test_bad_matches(body, code):
    refused(code, read, body)


@pytest.mark.parametrize(
    "body",
    [
        IP + oxm("ip_proto", 6) + oxm("tcp_src", 0x50, 0xFFF0),
        IP6
        + oxm("ip_proto", 58)
        + oxm("icmpv6_type", 135)
        + oxm("ipv6_nd_target", 1)
        + oxm("ipv6_nd_sll", 1),
        oxm("vlan_vid", 0x1000, 0x1000) + oxm("vlan_pcp", 7),
        oxm("vlan_vid", 0),
        oxm("in_port", 1) + oxm("in_phy_port", 2),
        oxm("eth_type", 0x8848) + oxm("mpls_label", 0xFFFFF) + oxm("mpls_bos", 1),
        IP + oxm("nw_ttl", 64) + oxm("ip_proto", 6) + oxm("tcp_flags", 2, 2),
        oxm("eth_type", 0x0806) + oxm("arp_tpa", 0x0A000000, 0xFF000000),
    ],
)
def test_good_matches(body):
    match = read(body)
    assert b"".join(oxm(entry.field.name, entry.value, entry.mask) for entry in match) == body


def test_the_match_header():
    with pytest.raises(OFError) as caught:
        MATCH.read(Reader(struct.pack("!HH4x", 0, 4), 0, 8, OFPBRC.BAD_LEN, 4))
    assert caught.value.code is OFPBMC.BAD_TYPE
    for length in (0, 3, 9, 0xFFFF):
        refused(OFPBMC.BAD_LEN, read, b"", length)
    refused(OFPBMC.BAD_LEN, MATCH.read, Reader(bytes(7), 0, 7, OFPBRC.BAD_LEN, 4))


def test_of_puts_prerequisites_first_and_checks():
    match = Match.of((field("tcp_dst"), 80), (field("ip_proto"), 6), (field("eth_type"), 0x0800))
    assert [entry.field.name for entry in match] == ["eth_type", "ip_proto", "tcp_dst"]
    assert read(MATCH.write(match, 4)[4:21]) == match
    refused(OFPBMC.BAD_PREREQ, lambda: Match.named(tcp_dst=80))
    refused(OFPBMC.BAD_PREREQ, from_wire_order, [FieldMatch(field("tcp_dst"), 80)])
    with pytest.raises(KeyError):
        field("nothing")
