"""Every OpenFlow message decodes to what was encoded; errors have the specification's type and code."""

import struct
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from of_strategies import ALL_ROWS, ROWS, XIDS, header, of_row, row_id, xid_of

from vswitchd.ofproto import constants
from vswitchd.ofproto.actions import Group, Output, PushVlan, SetField
from vswitchd.ofproto.codec import decode, encode, encode_parts, frame, join
from vswitchd.ofproto.constants import OFPMPF, OFPT
from vswitchd.ofproto.errors import (
    OFPBAC,
    OFPBIC,
    OFPBRC,
    OFPET,
    OFPFMFC,
    OFPGMFC,
    OFPMMFC,
    OFPRRFC,
    OFPSCFC,
    OFPTFFC,
    EncodeError,
    OFError,
    error_name,
)
from vswitchd.ofproto.fields import field
from vswitchd.ofproto.instructions import ApplyActions, GotoTable
from vswitchd.ofproto.messages import (
    BarrierRequest,
    EchoRequest,
    Error,
    Experimenter,
    FlowMod,
    GroupMod,
    Hello,
    MeterMod,
    PacketIn,
    RoleRequest,
    SetConfig,
)
from vswitchd.ofproto.messages10 import Vendor
from vswitchd.ofproto.multipart import DescReply, FlowStatsReply, PortDescReply, TableFeaturesRequest
from vswitchd.ofproto.oxm import Match
from vswitchd.ofproto.stats import FlowStats
from vswitchd.ofproto.structures import Bucket, Port
from vswitchd.ofproto.tablefeatures import TableFeatures, TableProperty

SLOW_OK = [HealthCheck.too_slow, HealthCheck.data_too_large]
QUICK = settings(max_examples=30, deadline=None, suppress_health_check=SLOW_OK)


def refused(data, code):
    with pytest.raises(OFError) as caught:
        decode(data)
    assert caught.value.code is code  # which says the type, too
    assert caught.value.data == data[:64]
    return caught.value


@pytest.mark.parametrize("row", ALL_ROWS, ids=row_id)
@QUICK
@given(data=st.data())
def test_what_is_encoded_is_decoded(row, data):
    msg = data.draw(of_row(row))
    xid = xid_of(msg, data.draw(XIDS))
    wire = encode(msg, xid, row.version)
    assert frame(wire) == len(wire)
    assert decode(wire, row.version) == (xid, msg)
    assert encode(decode(wire, row.version)[1], xid, row.version) == wire


@pytest.mark.parametrize("row", ALL_ROWS, ids=row_id)
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_a_message_cut_anywhere_is_refused_or_shorter(row, data):
    msg = data.draw(of_row(row))
    own = xid_of(msg, 9)
    wire = encode(msg, own, row.version)
    for cut in range(8, len(wire)):
        try:
            _xid, msg = decode(wire[:2] + struct.pack("!H", cut) + wire[4:cut], row.version)
        except OFError as error:
            xid = error.xid
        else:
            xid = own
            assert type(msg) is row.cls or (row.prefix and type(msg) in (Experimenter, Vendor) and cut < 16)
        assert xid == own


def test_the_table_has_every_message_of_1_3():
    keys = {row.key for row in ROWS}
    plain = {int(kind) for kind in OFPT} - {OFPT.MULTIPART_REQUEST, OFPT.MULTIPART_REPLY}
    assert {key for key in keys if isinstance(key, int)} == plain
    for kind in (OFPT.MULTIPART_REQUEST, OFPT.MULTIPART_REPLY):
        parts = {key[1] for key in keys if isinstance(key, tuple) and key[0] == kind}
        assert parts == {int(part) for part in constants.OFPMP}


@pytest.mark.parametrize("buffer", [b"", b"\x04\x00\x00", bytes(7), b"\x04\x02\x00\x09" + bytes(4)])
def test_frame_waits(buffer):
    assert frame(buffer) is None


def test_frame_takes_the_first_message_only():
    assert frame(bytearray(encode(EchoRequest(b"ab"), 1) + b"\x04")) == 10
    with pytest.raises(OFError) as caught:
        frame(b"\x04\x00\x00\x07\x00\x00\x00\x05")
    assert caught.value.code is OFPBRC.BAD_LEN
    assert caught.value.xid == 5


def test_headers():
    assert refused(b"\x04\x02", OFPBRC.BAD_LEN).xid == 0
    assert refused(header(OFPT.ECHO_REQUEST, b"", xid=77)[:7] + b"\x4d" + b"x", OFPBRC.BAD_LEN).xid == 77
    refused(header(30, b""), OFPBRC.BAD_TYPE)
    refused(header(OFPT.BARRIER_REQUEST, b"x"), OFPBRC.BAD_LEN)
    refused(header(OFPT.BARRIER_REQUEST, b"", version=1), OFPBRC.BAD_VERSION)
    refused(header(OFPT.MULTIPART_REQUEST, b"\x00\x63\x00\x00\x00\x00\x00\x00"), OFPBRC.BAD_MULTIPART)
    refused(header(OFPT.MULTIPART_REQUEST, b"\x00\x00"), OFPBRC.BAD_LEN)


def test_a_peer_of_another_version_can_say_hello_and_be_refused():
    xid, msg = decode(b"\x01\x00\x00\x08\x00\x00\x00\x07")
    assert (xid, msg) == (7, Hello(version=1))
    assert msg.agree(frozenset({4})) is None
    wire = encode(Error(0, 0, b"1.3 only"), xid, version=1)
    assert wire[:8] == b"\x01\x01\x00\x14\x00\x00\x00\x07"
    assert decode(wire) == (7, Error(OFPET.HELLO_FAILED, 0, b"1.3 only"))
    assert encode(EchoRequest(), 1, version=1)[0] == 1
    with pytest.raises(EncodeError):
        encode(BarrierRequest(), 1, version=5)
    with pytest.raises(EncodeError):
        encode(GroupMod(), 1, version=1)


@pytest.mark.parametrize(
    ("theirs", "ours", "agreed"),
    [
        (Hello(version=6), {4}, 4),
        (Hello(version=6), {1, 4}, 4),
        (Hello(version=3), {1, 4}, None),
        (Hello(frozenset({1, 6}), 6), {1, 4}, 1),
        (Hello(frozenset({1, 4, 6}), 6), {4}, 4),
        (Hello(frozenset({1, 6}), 6), {4}, None),
        (Hello(version=1), {1, 4}, 1),
    ],
)
def test_version_negotiation(theirs, ours, agreed):
    assert theirs.agree(frozenset(ours)) == agreed


def test_unknown_hello_elements_are_skipped():
    body = b"\x00\x09\x00\x05x\0\0\0" + b"\x00\x01\x00\x08\x00\x00\x00\x12"
    assert decode(header(0, body, version=6)) == (1, Hello(frozenset({1, 4}), 6))
    refused(header(0, b"\x00\x09\x00\x00"), OFPBRC.BAD_LEN)
    refused(header(0, b"\x00\x09\x00\x50abcd"), OFPBRC.BAD_LEN)


FLOW = FlowMod(match=Match.named(in_port=1), instructions=(ApplyActions((Output(2),)),))


def patched(msg, offset, value):
    wire = bytearray(encode(msg, 1))
    wire[offset : offset + len(value)] = value
    return bytes(wire)


# Offsets within FLOW: match at 48, instructions at 64, actions at 72.
@pytest.mark.parametrize(
    ("offset", "value", "code"),
    [
        (25, b"\x05", OFPFMFC.BAD_COMMAND),
        (44, b"\x00\x20", OFPFMFC.BAD_FLAGS),
        (64, b"\x00\x63", OFPBIC.UNKNOWN_INST),
        (66, b"\x00\x00", OFPBIC.BAD_LEN),
        (66, b"\x00\x04", OFPBIC.BAD_LEN),
        (66, b"\x00\x14", OFPBIC.BAD_LEN),
        (66, b"\x00\x20", OFPBIC.BAD_LEN),
        (72, b"\x00\x63", OFPBAC.BAD_TYPE),
        (74, b"\x00\x00", OFPBAC.BAD_LEN),
        (74, b"\x00\x08", OFPBAC.BAD_LEN),
        (74, b"\x00\x0c", OFPBAC.BAD_LEN),
        (74, b"\x00\x18", OFPBAC.BAD_LEN),
    ],
)
def test_flow_mod_errors(offset, value, code):
    refused(patched(FLOW, offset, value), code)


def set_field(oxm):
    """A flow-mod with a set-field action of this raw OXM."""
    action = struct.pack("!HH", 25, (4 + len(oxm) + 7) & ~7) + oxm + bytes(-(4 + len(oxm)) % 8)
    inner = struct.pack("!HH4x", 4, 8 + len(action)) + action
    return header(OFPT.FLOW_MOD, encode(FlowMod(), 1)[8:] + inner)


@pytest.mark.parametrize(
    ("oxm", "code"),
    [
        (b"\x80\x00\x00\x04\x00\x00\x00\x01", OFPBAC.BAD_SET_TYPE),  # in_port
        (b"\x80\x00\x04\x08" + bytes(8), OFPBAC.BAD_SET_TYPE),  # metadata
        (b"\x80\x00\x7e\x04" + bytes(4), OFPBAC.BAD_SET_TYPE),  # no such field
        (b"\x80\x00\x06\x05" + bytes(5), OFPBAC.BAD_SET_LEN),
        (b"\x80\x00\x07\x0c" + bytes(12), OFPBAC.BAD_SET_ARGUMENT),  # masked
        (b"\x80\x00\x10\x01\x40", OFPBAC.BAD_SET_ARGUMENT),  # ip_dscp of 7 bits
        (b"\x80\x00\x10\x01\x01" + bytes(8), OFPBAC.BAD_SET_LEN),
        (b"\x80\x00\x34\x10" + bytes(2), OFPBAC.BAD_LEN),
    ],
)
def test_set_field_errors(oxm, code):
    refused(set_field(oxm), code)


def test_set_field_is_read():
    msg = decode(set_field(b"\x80\x00\x06\x06\x02\x00\x00\x00\x00\x09"))[1]
    assert msg.instructions == (ApplyActions((SetField(field("eth_dst"), 0x020000000009),)),)


@pytest.mark.parametrize(
    ("msg", "code"),
    [
        (FlowMod(instructions=(GotoTable(1), GotoTable(2))), OFPBIC.UNSUP_INST),
        (FlowMod(instructions=(ApplyActions((PushVlan(0x0800),)),)), OFPBAC.BAD_ARGUMENT),
        (GroupMod(command=3), OFPGMFC.BAD_COMMAND),
        (GroupMod(type=4), OFPGMFC.BAD_TYPE),
        (MeterMod(command=3), OFPMMFC.BAD_COMMAND),
        (MeterMod(flags=3), OFPMMFC.BAD_FLAGS),
        (MeterMod(flags=16), OFPMMFC.BAD_FLAGS),
        (RoleRequest(4), OFPRRFC.BAD_ROLE),
        (SetConfig(4), OFPSCFC.BAD_FLAGS),
        (TableFeaturesRequest((TableFeatures(0, properties=(TableProperty(9),)),)), OFPTFFC.BAD_TYPE),
    ],
)
def test_values_that_no_switch_can_mean(msg, code):
    refused(encode(msg, 1), code)


def test_bad_buckets_and_bands():
    group = GroupMod(buckets=(Bucket(actions=(Output(1),)),))
    refused(patched(group, 16, b"\x00\x00"), OFPGMFC.BAD_BUCKET)
    refused(patched(group, 16, b"\x00\xff"), OFPGMFC.BAD_BUCKET)
    refused(patched(group, 34, b"\x00\x00"), OFPBAC.BAD_LEN)
    meter = header(OFPT.METER_MOD, b"\0\0\0\1\0\0\0\1" + b"\0\x07\0\x10" + bytes(12))
    refused(meter, OFPMMFC.BAD_BAND)


def test_names_are_cut_at_the_first_nul_and_bad_text_is_no_error():
    wire = bytearray(encode(PortDescReply((Port(1, name="abc"),)), 1))
    wire[32:40] = b"p\xff\x00junk\x00"
    assert decode(bytes(wire))[1].entries[0].name == "p\ufffd"
    long = decode(encode(DescReply(serial_num="x" * 40), 1))[1]
    assert long.serial_num == "x" * 31
    assert decode(encode(DescReply(serial_num="a\udcff"), 1))[1].serial_num == "a?"
    with pytest.raises(EncodeError):
        encode(PortDescReply((Port(1, hw_addr=bytes(5)),)), 1)


@pytest.mark.parametrize(
    "msg",
    [
        EchoRequest(bytes(65528)),
        FlowMod(priority=65536),
        FlowMod(cookie=-1),
        FlowMod(match=Match(((field("in_port"), 1 << 32, None),))),
        FlowMod(instructions=(Output(1),)),
        FlowMod(instructions=(ApplyActions((SetField(field("eth_dst"), 1, 3),)),)),
        FlowMod(instructions=(ApplyActions((GotoTable(1),)),)),
        PacketIn(data="text"),
        TableFeaturesRequest((TableFeatures(0, properties=(TableProperty(2, (256,)),)),)),
    ],
)
def test_what_does_not_fit_is_not_encoded(msg):
    with pytest.raises(EncodeError):
        encode(msg, 1)


def test_the_longest_message():
    wire = encode(EchoRequest(bytes(65527)), 1)
    assert len(wire) == 65535
    assert decode(wire)[1] == EchoRequest(bytes(65527))


def test_long_replies_are_split_and_joined():
    entry = FlowStats(match=Match.named(in_port=1), instructions=(ApplyActions((Group(1), Output(3))),))
    entries = [replace(entry, table_id=n % 250) for n in range(2000)]
    wires = list(encode_parts(FlowStatsReply(), 5, entries=iter(entries)))
    assert len(wires) > 1
    assert all(len(wire) > 65000 for wire in wires[:-1])
    parts = [decode(wire) for wire in wires]
    assert {xid for xid, _ in parts} == {5}
    assert [msg.flags for _, msg in parts] == [OFPMPF.MORE] * (len(parts) - 1) + [0]
    whole = join([msg for _, msg in parts])
    assert whole == FlowStatsReply(tuple(entries))
    assert list(encode_parts(whole, 5)) == wires


def test_an_empty_reply_is_one_message():
    assert list(encode_parts(FlowStatsReply(), 3)) == [encode(FlowStatsReply(), 3)]
    assert list(encode_parts(DescReply("a"), 3)) == [encode(DescReply("a"), 3)]


def test_an_entry_that_fits_no_message():
    with pytest.raises(EncodeError):
        list(encode_parts(FlowStatsReply((FlowStats(instructions=(ApplyActions((Output(1),) * 5000),)),)), 1))


def test_error_names():
    assert error_name(1, 6) == "OFPBRC_BAD_LEN"
    assert error_name(3, 200) == "type 3, code 200"
    assert error_name(99, 0) == "type 99, code 0"
    error = OFError(OFPBAC.BAD_OUT_PORT, "port 9", b"x", 4)
    assert Error.of(error) == Error(OFPET.BAD_ACTION, 4, b"x")
    assert str(error) == "OFPBAC_BAD_OUT_PORT: port 9"
