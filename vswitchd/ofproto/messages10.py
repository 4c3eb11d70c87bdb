"""The messages of OpenFlow 1.0 as rows of version 1: the classes of 1.3 with the bytes of 1.0 (1.0.2, section 5).

What 1.0 has and 1.3 has not are later fields of the same classes, or the two classes of vendors here.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from typing import Any

from vswitchd.ofproto import actions10 as _actions10  # noqa: F401  # adds the actions of 1.0
from vswitchd.ofproto import checks
from vswitchd.ofproto import messages as m
from vswitchd.ofproto import multipart as mp
from vswitchd.ofproto.actions import ACTIONS
from vswitchd.ofproto.constants import OFP_VERSION_10, OFP_VERSION_13, OFPFC, OFPP, OFPTT_ALL
from vswitchd.ofproto.constants10 import OFPFF10, OFPFW, OFPST, OFPT10
from vswitchd.ofproto.errors import OFPFMFC, EncodeError, OFError
from vswitchd.ofproto.fields import BY_NAME
from vswitchd.ofproto.instructions import ApplyActions, Instruction
from vswitchd.ofproto.match10 import MATCH10
from vswitchd.ofproto.oxm import FieldMatch, Match
from vswitchd.ofproto.registry import BY_KEY, Check, Key, Message, Row, add_row, message
from vswitchd.ofproto.stats import FlowStats, PortStats, QueueStats, TableStats
from vswitchd.ofproto.structures import QUEUE_PROPERTIES, PacketQueue, Port
from vswitchd.ofproto.wire import Body, Counted, Layout, ListOf, Reader, Rest, Sized
from vswitchd.ofproto.wire10 import PORT16, Columns, Convert, Part, Recast, port_from_10, port_to_10

_V = OFP_VERSION_10
_REQ = OFPT10.STATS_REQUEST
_REP = OFPT10.STATS_REPLY
# Roles came with Nicira's messages for 1.0, which controllers and Open vSwitch speak; there is no generation.
NICIRA, NXT_ROLE_REQUEST, NXT_ROLE_REPLY = 0x2320, 10, 11
_U32 = struct.Struct("!I")
_IN_PORT = BY_NAME["in_port"]


@message(OFPT10.VENDOR, "I", Rest(), versions=(_V,))
@dataclass(frozen=True, slots=True)
class Vendor(Message):
    """A message of a vendor, opaque (5.5.4)."""

    vendor: int
    data: bytes = b""


@message((_REQ, OFPST.VENDOR), "I", Rest(), versions=(_V,))
@dataclass(frozen=True, slots=True)
class VendorStatsRequest(mp.MultipartRequest):
    """A statistics request of a vendor, opaque."""

    vendor: int
    data: bytes = b""
    flags: int = 0


@message((_REP, OFPST.VENDOR), "I", Rest(), versions=(_V,))
@dataclass(frozen=True, slots=True)
class VendorStatsReply(mp.MultipartReply):
    """A statistics reply of a vendor, opaque."""

    vendor: int
    data: bytes = b""
    flags: int = 0


_LOW, _HIGH = 0x7F, 0xF80  # speeds up to 10 Gb/s; medium, negotiation and pause, 4 bits lower than in 1.3
FEATURES = Convert(lambda v: v & _LOW | (v & _HIGH) << 4, lambda v: v & _LOW | v >> 4 & _HIGH)
_STATE = Convert(lambda v: v & 1, lambda v: v & 1)  # LINK_DOWN; the rest is the spanning tree's, we have none
_SPEEDS = ("curr", "advertised", "supported", "peer")
PORT = Recast(
    Port,
    Columns(
        "H6s16s6I", "port_no", "hw_addr", "name", "config", "state", *_SPEEDS, text=("name",),
        convert={"port_no": PORT16, "state": _STATE} | dict.fromkeys(_SPEEDS, FEATURES),
    ),
)  # fmt: skip


class _Program:
    """The actions of a flow as its instructions."""

    cls = tuple

    def read(self, rd: Reader) -> tuple[Instruction, ...]:
        """Read actions to the end."""
        actions = ACTIONS.read(rd)
        return (ApplyActions(actions),) if actions else ()

    def write(self, value: tuple[Instruction, ...], version: int) -> bytes:
        """Write them; EncodeError for any other instruction."""
        if not value:
            return b""
        if len(value) > 1 or not isinstance(value[0], ApplyActions):
            raise EncodeError(f"{value[-1].__class__.__name__} cannot be said in OpenFlow 1.0")
        return ACTIONS.write(value[0].actions, version)


_PROGRAM = _Program()


class _FlowMod(Recast):
    """Flow-mods: 1.0 has one table, exact matches come first, and an emergency cache that we have not (4.6)."""

    def read(self, rd: Reader, **more: Any) -> Any:
        """Read one; a deletion is for all tables."""
        wild = 0 if rd.end - rd.pos < _U32.size else _U32.unpack_from(rd.data, rd.pos)[0]
        msg: m.FlowMod = super().read(rd, **more)
        if msg.flags & OFPFF10.EMERG:
            timeouts = msg.idle_timeout or msg.hard_timeout
            raise OFError(OFPFMFC.BAD_TIMEOUT if timeouts else OFPFMFC.TABLE_FULL, "no emergency flow cache")
        return replace(
            msg,
            table_id=OFPTT_ALL if msg.command in (OFPFC.DELETE, OFPFC.DELETE_STRICT) else 0,
            priority=msg.priority if wild & OFPFW.ALL else 0xFFFF,
        )

    def write(self, value: m.FlowMod, version: int) -> bytes:
        """Write one; EncodeError for what only later versions have."""
        if value.table_id not in (0, OFPTT_ALL) or value.cookie_mask:
            raise EncodeError("tables and cookie masks cannot be said in OpenFlow 1.0")
        return super().write(value, version)


def _in_port(match: Match) -> int:
    entry = match.get("in_port")
    return port_to_10(OFPP.ANY if entry is None else entry.value)


_AS_MATCH = Convert(lambda port: Match((FieldMatch(_IN_PORT, port_from_10(port)),)), _in_port)
# All ports are OFPP_NONE for port statistics and OFPP_ALL for queue statistics (5.3.5); both are OFPP_ANY of 1.3.
_ALL_PORTS = Convert(
    lambda port: int(OFPP.ANY) if port_from_10(port) == OFPP.ALL else port_from_10(port),
    lambda port: port_to_10(OFPP.ALL if port == OFPP.ANY else port),
)
_NX_ROLE = Columns("I", "role", convert={"role": Convert(lambda role: role + 1, lambda role: role - 1)})
_MATCH = Part("match", MATCH10)
_PORT_NO = {"port_no": PORT16}
_SELECT = (_MATCH, Columns("BxH", "table_id", "out_port", convert={"out_port": PORT16}))

FLOW_STATS = Sized(
    Recast(
        FlowStats, Columns("2xBx", "table_id"), _MATCH,
        Columns("IIHHH6xQQQ", "duration_sec", "duration_nsec", "priority", "idle_timeout", "hard_timeout", "cookie",
                "packet_count", "byte_count"),
        Part("instructions", _PROGRAM),
    ),
    at=0,
)  # fmt: skip
TABLE_STATS = Recast(
    TableStats,
    Columns("B3x32sIIIQQ", "table_id", "name", "wildcards", "max_entries", "active_count", "lookup_count",
            "matched_count", text=("name",)),
)  # fmt: skip
PORT_STATS = Recast(
    PortStats,
    Columns("H6x12Q", "port_no", "rx_packets", "tx_packets", "rx_bytes", "tx_bytes", "rx_dropped", "tx_dropped",
            "rx_errors", "tx_errors", "rx_frame_err", "rx_over_err", "rx_crc_err", "collisions", convert=_PORT_NO),
)  # fmt: skip
QUEUE_STATS = Recast(
    QueueStats,
    Columns("H2xIQQQ", "port_no", "queue_id", "tx_bytes", "tx_packets", "tx_errors", convert=_PORT_NO),
)
_QUEUE = Sized(Recast(PacketQueue, Columns("I4x", "queue_id"), Part("properties", QUEUE_PROPERTIES)), at=4)


def _entries(cls: type[Message], element: Body | Sized) -> Layout:
    return Layout(cls, "", ListOf(element), extra=1)


def _rows() -> dict[Key, Body]:
    """Return the bodies that are not those of 1.3."""
    return {
        OFPT10.FEATURES_REPLY: Recast(
            m.FeaturesReply,
            Columns("QIB3xII", "datapath_id", "n_buffers", "n_tables", "capabilities", "actions"),
            Part("ports", ListOf(PORT)),
        ),
        OFPT10.PACKET_IN: Recast(
            m.PacketIn,
            Columns("IHHBx", "buffer_id", "total_len", "match", "reason", convert={"match": _AS_MATCH}),
            Part("data", Rest()),
        ),
        OFPT10.FLOW_REMOVED: Recast(
            m.FlowRemoved, _MATCH,
            Columns("QHBxIIH2xQQ", "cookie", "priority", "reason", "duration_sec", "duration_nsec", "idle_timeout",
                    "packet_count", "byte_count"),
            absent={"table_id": 0, "hard_timeout": 0},
        ),
        OFPT10.PORT_STATUS: Recast(m.PortStatus, Columns("B7x", "reason"), Part("desc", PORT)),
        OFPT10.PACKET_OUT: Recast(
            m.PacketOut, Columns("IH", "buffer_id", "in_port", convert={"in_port": PORT16}),
            Part("actions", Counted("H", ACTIONS)), Part("data", Rest()),
        ),
        OFPT10.FLOW_MOD: _FlowMod(
            m.FlowMod, _MATCH,
            Columns("QHHHHIHH", "cookie", "command", "idle_timeout", "hard_timeout", "priority", "buffer_id",
                    "out_port", "flags", convert={"out_port": PORT16}),
            Part("instructions", _PROGRAM),
        ),
        OFPT10.PORT_MOD: Recast(
            m.PortMod,
            Columns("H6sIII4x", "port_no", "hw_addr", "config", "mask", "advertise",
                    convert={"port_no": PORT16, "advertise": FEATURES}),
        ),
        (OFPT10.VENDOR, NICIRA, NXT_ROLE_REQUEST): Recast(m.RoleRequest, _NX_ROLE),
        (OFPT10.VENDOR, NICIRA, NXT_ROLE_REPLY): Recast(m.RoleReply, _NX_ROLE),
        OFPT10.BARRIER_REQUEST: Layout(m.BarrierRequest, ""),
        OFPT10.BARRIER_REPLY: Layout(m.BarrierReply, ""),
        OFPT10.QUEUE_GET_CONFIG_REQUEST: Recast(
            m.QueueGetConfigRequest, Columns("H2x", "port", convert={"port": PORT16})
        ),
        OFPT10.QUEUE_GET_CONFIG_REPLY: Recast(
            m.QueueGetConfigReply, Columns("H6x", "port", convert={"port": PORT16}), Part("queues", ListOf(_QUEUE))
        ),
        (_REQ, OFPST.FLOW): Recast(mp.FlowStatsRequest, *_SELECT),
        (_REP, OFPST.FLOW): _entries(mp.FlowStatsReply, FLOW_STATS),
        (_REQ, OFPST.AGGREGATE): Recast(mp.AggregateStatsRequest, *_SELECT),
        (_REP, OFPST.TABLE): _entries(mp.TableStatsReply, TABLE_STATS),
        (_REQ, OFPST.PORT): Recast(mp.PortStatsRequest, Columns("H6x", "port_no", convert=_PORT_NO)),
        (_REP, OFPST.PORT): _entries(mp.PortStatsReply, PORT_STATS),
        (_REQ, OFPST.QUEUE): Recast(
            mp.QueueStatsRequest, Columns("H2xI", "port_no", "queue_id", convert={"port_no": _ALL_PORTS})
        ),
        (_REP, OFPST.QUEUE): _entries(mp.QueueStatsReply, QUEUE_STATS),
    }  # fmt: skip


# Rows whose bodies are the same in 1.3; statistics have other message types.
_SAME = (
    OFPT10.HELLO, OFPT10.ERROR, OFPT10.ECHO_REQUEST, OFPT10.ECHO_REPLY, OFPT10.FEATURES_REQUEST,
    OFPT10.GET_CONFIG_REQUEST, OFPT10.GET_CONFIG_REPLY, OFPT10.SET_CONFIG,
)  # fmt: skip
_SAME_STATS = {_REQ: (OFPST.DESC, OFPST.TABLE), _REP: (OFPST.DESC, OFPST.AGGREGATE)}
_CHECKS: dict[Key, Check] = {
    OFPT10.FLOW_MOD: checks.flow_mod10,
    (OFPT10.VENDOR, NICIRA, NXT_ROLE_REQUEST): checks.role,
}


def _fill() -> None:
    theirs = BY_KEY[OFP_VERSION_13]
    for kind in _SAME:
        add_row(replace(theirs[kind], version=_V, key=kind))
    for kind, parts in _SAME_STATS.items():
        for part in parts:
            add_row(replace(theirs[kind + 2, part], version=_V, key=(kind, part)))
    for key, body in _rows().items():
        add_row(Row(_V, key, body.cls, body, _CHECKS.get(key)))


_fill()
