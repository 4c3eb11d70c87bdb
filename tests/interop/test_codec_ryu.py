"""Ryu 4.34's codec as an oracle: what a controller builds we read, what we write a controller reads."""

import ipaddress
import sys
from dataclasses import fields, is_dataclass, replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "unit" / "ofproto"))

from of_strategies import of_row
from ryu_corpus import BUILT

from vswitchd.ofproto import messages as m
from vswitchd.ofproto import multipart as mp
from vswitchd.ofproto.codec import decode, encode
from vswitchd.ofproto.constants import OFP_VERSION_13
from vswitchd.ofproto.oxm import Match
from vswitchd.ofproto.registry import BY_CLASS

pytestmark = pytest.mark.interop
SLOW_OK = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.function_scoped_fixture]


@pytest.mark.parametrize(("msg", "expression"), BUILT, ids=lambda x: type(x).__name__)
def test_what_ryu_builds_is_read_and_written_alike(ryu, msg, expression):
    reply = ryu.ask(build=expression.replace("\n", " ").strip())
    wire = bytes.fromhex(reply.get("hex") or pytest.fail(reply["error"]))
    assert decode(wire) == (1, msg)
    if isinstance(msg, (m.PacketOut, m.FlowMod)):
        return  # Ryu leaves one byte of padding after a set-field unset; the same message, other bytes
    assert encode(msg, 1) == wire


# Names that Ryu uses for our fields, and fields that have no place of their own in Ryu's dictionaries.
RENAMED = {"entries": "body"}
REPLIES = (
    m.FeaturesReply, m.GetConfigReply, m.PacketIn, m.FlowRemoved, m.PortStatus, m.RoleReply, m.GetAsyncReply,
    m.Error, m.BarrierReply, mp.DescReply, mp.FlowStatsReply, mp.AggregateStatsReply, mp.TableStatsReply,
    mp.PortStatsReply, mp.QueueStatsReply, mp.GroupStatsReply, mp.GroupDescReply, mp.GroupFeaturesReply,
    mp.MeterStatsReply, mp.MeterConfigReply, mp.MeterFeaturesReply, mp.PortDescReply, m.QueueGetConfigReply,
    mp.TableFeaturesReply, m.EchoRequest, m.EchoReply,
)  # fmt: skip


def number(value):
    """A value of Ryu's dictionaries as an int."""
    if isinstance(value, int) or value is None:
        return value
    if value.count(":") == 5 and len(value) == 17:
        return int(value.replace(":", ""), 16)
    return int(ipaddress.ip_address(value))


def only(node):
    """The inside of {"OFPClass": {...}}."""
    return next(iter(node.values())) if isinstance(node, dict) and len(node) == 1 else node


def flatten(value):
    """The numbers and texts of our object, in order, as Ryu's dictionary has them."""
    if isinstance(value, Match):
        return [(e.field.name, e.value, e.mask) for e in value]
    if is_dataclass(value):
        return {f.name: flatten(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, tuple):
        return [flatten(item) for item in value]
    return value


def check(ours, theirs, path):
    """Compare every field of ours that Ryu names alike; count them."""
    theirs = only(theirs)
    if isinstance(ours, Match):
        got = [only(tlv) for tlv in theirs["oxm_fields"]]
        got = [(tlv["field"], number(tlv["value"]), number(tlv["mask"])) for tlv in got]
        want = [(RYU_FIELDS.get(e.field.name, e.field.name), e.value, e.mask) for e in ours]
        assert sorted(map(str, got)) == sorted(map(str, want)), path
        return 1
    if isinstance(ours, tuple):
        assert len(theirs) == len(ours), path
        return 1 + sum(check(x, y, path) for x, y in zip(ours, theirs, strict=True))
    if is_dataclass(ours):
        seen = 0
        for f in fields(ours):
            name = RENAMED.get(f.name, f.name)
            if name in theirs:
                seen += check(getattr(ours, f.name), theirs[name], f"{path}.{f.name}")
        return seen
    if isinstance(ours, bytes):
        assert theirs in (":".join(f"{byte:02x}" for byte in ours), *encodings(ours)), path
        return 1
    assert theirs == ours, path
    return 1


def encodings(data):
    import base64

    return (base64.b64encode(data).decode(),)


RYU_FIELDS = {"nw_ttl": "nw_ttl", "tcp_flags": "_tcp_flags"}
LEAST = {"FlowStatsReply": 1, "MeterStatsReply": 1}


def plain(msg):
    """Leave out what Ryu cannot show: experimenters' bodies, fields of Nicira's, text that is not ASCII."""
    if isinstance(msg, mp.DescReply):
        return all(getattr(msg, f.name).isascii() for f in fields(msg)[:-1])
    text = repr(msg)
    return (
        not any(word in text for word in ("xperimenter", "nw_ttl", "tcp_flags", "pbb_isid"))
        and text.isascii()
    )


@pytest.mark.parametrize("cls", REPLIES, ids=lambda cls: cls.__name__)
@settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=SLOW_OK,
)
@given(data=st.data())
def test_what_we_write_ryu_reads(ryu, cls, data):
    msg = data.draw(of_row(BY_CLASS[OFP_VERSION_13][cls]).filter(plain))
    if isinstance(msg, m.PacketIn):
        msg = replace(msg, total_len=0xFFFF)  # Ryu cuts data to it
    if isinstance(msg, m.Error):
        msg = replace(msg, type=msg.type & 0xFF)  # 0xffff is the experimenters', which has another layout
    reply = ryu.ask(parse=encode(msg, 1).hex())
    assert reply.get("json"), reply
    theirs = only(reply["json"])
    if isinstance(msg, mp.MultipartReply):
        assert theirs["flags"] == msg.flags
        body = theirs["body"]
        if hasattr(msg, "entries"):
            check(msg.entries, body, cls.__name__)
            return
        theirs = only(body[0] if isinstance(body, list) else body)
    if isinstance(msg, m.GetAsyncReply):
        pairs = [theirs[name] for name in ("packet_in_mask", "port_status_mask", "flow_removed_mask")]
        assert [x for pair in pairs for x in pair] == [getattr(msg, f.name) for f in fields(msg)]
        return
    if isinstance(msg, mp.GroupFeaturesReply):
        assert [theirs["types"], theirs["capabilities"], *theirs["max_groups"], *theirs["actions"]] == [
            getattr(msg, f.name) for f in fields(msg)
        ][:-1]
        return
    seen = check(msg, theirs, cls.__name__)
    assert seen >= len(fields(msg)) - (2 if isinstance(msg, m.FeaturesReply) else 1)  # two are of 1.0
