"""Files of flows of one shape: the fast way gives the messages of the ordinary one, and its errors."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ctl.ofctl_templates import LEARN_AFTER, Encoder
from vswitchd.ofproto.codec import encode
from vswitchd.ofproto.flowtext import parse_flow

SHAPES = [
    "priority={u16},in_port={port},udp,nw_dst={ip},actions=output:{port}",
    "cookie={cookie},tcp,dl_src={mac},dl_dst={mac},tp_src={u16},tp_dst={u16},actions=output:{port},output:{port}",
    "in_port={port} ,arp,nw_src={ip},priority={u16} actions=mod_dl_dst:{mac},output:{port}",
    "ip,nw_src={ip}/24,nw_dst={ip},actions=write_actions(output:{port}),goto_table:3",
    "table=3,udp,tp_dst={u16},udp_dst=53,actions=drop",
    "priority={u16},priority={u16},actions=drop",
    "tcp,tp_dst={u16},tp_dst={u16},actions=drop",
    "nw_dst={ip},actions=drop",
    "udp6,in_port={port},tp_src={u16}/0xff00,actions=controller:{u16}",
]
u16 = st.integers(0, 70000).map(str) | st.integers(0, 65535).map(hex) | st.sampled_from(["007", "+5", "x"])
octet = st.integers(0, 260).map(str) | st.just("01")
VALUES = {
    "u16": u16,
    "port": st.sampled_from(["1", "2", "65279", "65280", "65534", "70000", "4294967295", "LOCAL", "0x7"])
    | u16,
    "ip": st.lists(octet, min_size=4, max_size=4).map(".".join) | st.sampled_from(["1.2.3", "fd00::1"]),
    "mac": st.lists(st.sampled_from(["0", "02", "aB", "ff", "100"]), min_size=6, max_size=6).map(":".join),
    "cookie": st.integers(0, 1 << 65).map(str)
    | st.integers(0, 1 << 64).map(hex)
    | st.sampled_from(["010", "0b1", "0x", "1x"]),
}
GOOD = {"u16": "80", "port": "3", "ip": "10.0.0.1", "mac": "02:00:00:00:00:01", "cookie": "0x5"}


def plainly(text, xid):
    return encode(parse_flow(text, {}), xid)


def outcome(function, text, xid):
    try:
        return function(text, xid)
    except ValueError as error:
        return str(error)


def filled(shape, draw):
    parts = shape.split("{")
    return parts[0] + "".join(draw(p.partition("}")[0]) + p.partition("}")[2] for p in parts[1:])


def taught(shape):
    encoder = Encoder(plainly)
    for xid in range(LEARN_AFTER):
        outcome(encoder.encode, filled(shape, GOOD.__getitem__), xid)
    return encoder


@pytest.mark.parametrize("shape", SHAPES)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_the_fast_way_gives_what_the_ordinary_one_gives(shape, data):
    encoder = taught(shape)
    for xid in (9, 0xFFFFFFFF):
        text = filled(shape, lambda kind: data.draw(VALUES[kind]))
        assert outcome(encoder.encode, text, xid) == outcome(plainly, text, xid)


def test_a_learned_shape_is_not_parsed_again():
    calls = []

    def counted(text, xid):
        calls.append(text)
        return plainly(text, xid)

    encoder = Encoder(counted)
    lines = [f"priority=5,in_port=1,udp,nw_dst=10.0.{i >> 8}.{i & 255},actions=output:2" for i in range(2000)]
    assert [encoder.encode(line, i) for i, line in enumerate(lines)] == [
        plainly(line, i) for i, line in enumerate(lines)
    ]
    assert len(calls) == LEARN_AFTER + 2 * 4


def test_shapes_without_end_are_not_kept():
    encoder = Encoder(plainly)
    for i in range(1200):
        encoder.encode(f"table={i % 250},metadata={i:#x},actions=drop", i)
    assert len(encoder._seen) <= 1000
