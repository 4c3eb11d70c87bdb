"""Ryu 4.34's codec of OpenFlow 1.0 as an oracle: what it builds we read, what we write it reads."""

import base64
import ipaddress
import struct
from dataclasses import fields, is_dataclass, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ryu_corpus10 import BUILT_10
from test_codec_ryu import SLOW_OK, only

from vswitchd.ofproto import messages as m
from vswitchd.ofproto import multipart as mp
from vswitchd.ofproto import structures as s
from vswitchd.ofproto.actions import ExperimenterAction
from vswitchd.ofproto.codec import decode, encode
from vswitchd.ofproto.constants import OFP_VERSION_10
from vswitchd.ofproto.errors import OFPBRC
from vswitchd.ofproto.match10 import MATCH10
from vswitchd.ofproto.messages10 import FEATURES, Vendor
from vswitchd.ofproto.oxm import Match
from vswitchd.ofproto.registry import BY_CLASS
from vswitchd.ofproto.wire import Reader
from vswitchd.ofproto.wire10 import port_to_10

from of_strategies import of_row  # isort: skip  # test_codec_ryu sets the path

pytestmark = pytest.mark.interop


@pytest.mark.parametrize(("msg", "expression"), BUILT_10, ids=lambda x: type(x).__name__)
def test_what_ryu_builds_is_read_and_written_alike(ryu, msg, expression):
    reply = ryu.ask(build=expression.replace("\n", " "), version=1)
    wire = bytes.fromhex(reply.get("hex") or pytest.fail(reply["error"]))
    assert decode(wire, 1) == (1, msg)
    ours = encode(msg, 1, 1)
    if hasattr(msg, "match"):  # wildcards of fields that count for nothing may differ
        at = 8 if isinstance(msg, m.FlowMod) else 12
        wire, ours = (data[:at] + data[at + 4 :] for data in (wire, ours))
    assert ours == wire


PORTS = ("port_no", "in_port", "out_port", "port")
SPEEDS = ("curr", "advertised", "supported", "peer")
RENAMED = {"entries": "body", "instructions": "actions", "nw_tos": "tos", "tp_port": "tp"}
REPLIES = (
    m.FeaturesReply, m.GetConfigReply, m.PacketIn, m.FlowRemoved, m.PortStatus, m.QueueGetConfigReply, m.Error,
    m.BarrierReply, Vendor, mp.DescReply, mp.FlowStatsReply, mp.AggregateStatsReply, mp.TableStatsReply,
    mp.PortStatsReply, mp.QueueStatsReply,
)  # fmt: skip


def number(value):
    """A value of Ryu's dictionaries as an int."""
    if isinstance(value, int):
        return value
    return int(value.replace(":", ""), 16) if value.count(":") == 5 else int(ipaddress.ip_address(value))


def match_of(node):
    """Ryu's dictionary of a match as ours."""
    f = {key: number(value) for key, value in node.items()}
    data = struct.pack(
        "!IH6s6sHBxHBBxxIIHH", f["wildcards"], f["in_port"], f["dl_src"].to_bytes(6, "big"),
        f["dl_dst"].to_bytes(6, "big"), f["dl_vlan"], f["dl_vlan_pcp"], f["dl_type"], f["nw_tos"], f["nw_proto"],
        f["nw_src"], f["nw_dst"], f["tp_src"], f["tp_dst"],
    )  # fmt: skip
    return MATCH10.read(Reader(data, 0, 40, OFPBRC.BAD_LEN, 1))


def check(ours, theirs, path):
    """Compare every field of ours that Ryu has; count the leaves."""
    theirs = only(theirs)
    if isinstance(ours, Match):
        assert match_of(theirs) == ours, path
        return 1
    if isinstance(ours, tuple):
        if ours and hasattr(ours[0], "actions"):
            ours = ours[0].actions
        theirs = list(theirs.values()) if isinstance(theirs, dict) else theirs
        assert len(theirs) == len(ours), path
        return 1 + sum(check(x, y, f"{path}[]") for x, y in zip(ours, theirs, strict=True))
    if is_dataclass(ours):
        seen = 0
        for f in fields(ours):
            name = RENAMED.get(f.name, f.name)
            if name not in theirs:
                name = f.name
            value = getattr(ours, f.name)
            if name in theirs:
                value = (
                    port_to_10(value) if name in PORTS else FEATURES.write(value) if name in SPEEDS else value
                )
                seen += check(value, theirs[name], f"{path}.{f.name}")
        return seen
    if isinstance(ours, bytes):
        assert theirs in (ours.hex(":"), base64.b64encode(ours).decode()), path
        return 1
    assert (theirs if isinstance(ours, str) else number(theirs)) == ours, path
    return 1


def texts(value):
    """All texts within an object."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, tuple):
        for item in value:
            yield from texts(item)
    elif is_dataclass(value) and not isinstance(value, Match):
        for f in fields(value):
            yield from texts(getattr(value, f.name))


def plain(msg):
    """Leave out what Ryu's dictionaries cannot show."""
    if isinstance(msg, m.FeaturesReply):  # by number there
        numbers = [port.port_no for port in msg.ports]
        if len(set(numbers)) != len(numbers):
            return False
    return all(text.isascii() for text in texts(msg)) and ExperimenterAction.__name__ not in repr(msg)


@pytest.mark.parametrize("cls", REPLIES, ids=lambda cls: cls.__name__)
@settings(max_examples=20, deadline=None, suppress_health_check=SLOW_OK)
@given(data=st.data())
def test_what_we_write_ryu_reads(ryu, cls, data):
    msg = data.draw(of_row(BY_CLASS[OFP_VERSION_10][cls]).filter(plain))
    if isinstance(msg, m.PacketIn):
        msg = replace(msg, total_len=0xFFFF)  # Ryu cuts data to it
    reply = ryu.ask(parse=encode(msg, 1, 1).hex(), version=1)
    assert reply.get("json"), reply
    theirs = only(reply["json"])
    if isinstance(msg, mp.MultipartReply):
        assert theirs["flags"] == msg.flags
        if not hasattr(msg, "entries"):
            theirs = only(theirs["body"][0] if isinstance(theirs["body"], list) else theirs["body"])
    if isinstance(msg, m.PacketIn):
        assert theirs["in_port"] == port_to_10(msg.match.get("in_port").value)
    seen = check(msg, theirs, cls.__name__)
    assert seen >= (0 if isinstance(msg, m.BarrierReply) else len(fields(msg)) - 3)


def test_a_port_is_shown_with_all_its_fields(ryu):
    port = s.Port(3, b"\2\0\0\0\0\1", "p3", 0x31, 1, 0x20, 1 << 15, 1 << 11, 4)
    theirs = only(ryu.ask(parse=encode(m.PortStatus(2, port), 1, 1).hex(), version=1)["json"])
    assert only(theirs["desc"]) == {
        "port_no": 3, "hw_addr": "02:00:00:00:00:01", "name": "p3", "config": 0x31, "state": 1, "curr": 0x20,
        "advertised": 1 << 11, "supported": 1 << 7, "peer": 4,
    }  # fmt: skip
