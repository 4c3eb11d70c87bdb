"""Multipart requests and replies of OpenFlow 1.3.5 (section 7.3.5).

Every class has `flags` (OFPMPF.MORE) as its last field. Replies that are lists hold a tuple called `entries`.
"""

from __future__ import annotations

from dataclasses import dataclass

from vswitchd.ofproto.constants import OFPG, OFPM, OFPMP, OFPP, OFPQ_ALL, OFPT, OFPTT_ALL
from vswitchd.ofproto.oxm import MATCH, Match
from vswitchd.ofproto.registry import Message, message
from vswitchd.ofproto.stats import (
    FLOW_STATS,
    GROUP_DESC,
    GROUP_STATS,
    METER_CONFIG,
    METER_STATS,
    PORT_STATS,
    QUEUE_STATS,
    TABLE_STATS,
    FlowStats,
    GroupDesc,
    GroupStats,
    MeterConfig,
    MeterStats,
    PortStats,
    QueueStats,
    TableStats,
)
from vswitchd.ofproto.structures import PORT, Port
from vswitchd.ofproto.tablefeatures import TABLE_FEATURES, TableFeatures
from vswitchd.ofproto.wire import ListOf, Rest

_REQ = OFPT.MULTIPART_REQUEST
_REP = OFPT.MULTIPART_REPLY


class MultipartRequest(Message):
    """Any multipart request."""

    __slots__ = ()
    flags: int


class MultipartReply(Message):
    """Any multipart reply."""

    __slots__ = ()
    flags: int


@message((_REQ, OFPMP.DESC))
@dataclass(frozen=True, slots=True)
class DescRequest(MultipartRequest):
    """Ask for the switch's description."""

    flags: int = 0


_DESC_TEXT = ("mfr_desc", "hw_desc", "sw_desc", "serial_num", "dp_desc")


@message((_REP, OFPMP.DESC), "256s256s256s32s256s", text=_DESC_TEXT)
@dataclass(frozen=True, slots=True)
class DescReply(MultipartReply):
    """The switch's description (7.3.5.1)."""

    mfr_desc: str = ""
    hw_desc: str = ""
    sw_desc: str = ""
    serial_num: str = ""
    dp_desc: str = ""
    flags: int = 0


@message((_REQ, OFPMP.FLOW), "B3xII4xQQ", MATCH)
@dataclass(frozen=True, slots=True)
class FlowStatsRequest(MultipartRequest):
    """Ask for flow entries, selected as a non-strict delete does (7.3.5.2)."""

    table_id: int = OFPTT_ALL
    out_port: int = OFPP.ANY
    out_group: int = OFPG.ANY
    cookie: int = 0
    cookie_mask: int = 0
    match: Match = Match()  # noqa: RUF009  # immutable
    flags: int = 0


@message((_REP, OFPMP.FLOW), "", ListOf(FLOW_STATS))
@dataclass(frozen=True, slots=True)
class FlowStatsReply(MultipartReply):
    """Flow entries."""

    entries: tuple[FlowStats, ...] = ()
    flags: int = 0


@message((_REQ, OFPMP.AGGREGATE), "B3xII4xQQ", MATCH)
@dataclass(frozen=True, slots=True)
class AggregateStatsRequest(MultipartRequest):
    """Ask for the sums over flow entries (7.3.5.3)."""

    table_id: int = OFPTT_ALL
    out_port: int = OFPP.ANY
    out_group: int = OFPG.ANY
    cookie: int = 0
    cookie_mask: int = 0
    match: Match = Match()  # noqa: RUF009
    flags: int = 0


@message((_REP, OFPMP.AGGREGATE), "QQI4x")
@dataclass(frozen=True, slots=True)
class AggregateStatsReply(MultipartReply):
    """Sums over flow entries."""

    packet_count: int = 0
    byte_count: int = 0
    flow_count: int = 0
    flags: int = 0


@message((_REQ, OFPMP.TABLE))
@dataclass(frozen=True, slots=True)
class TableStatsRequest(MultipartRequest):
    """Ask for the counters of all tables (7.3.5.4)."""

    flags: int = 0


@message((_REP, OFPMP.TABLE), "", ListOf(TABLE_STATS))
@dataclass(frozen=True, slots=True)
class TableStatsReply(MultipartReply):
    """Counters of tables."""

    entries: tuple[TableStats, ...] = ()
    flags: int = 0


@message((_REQ, OFPMP.PORT_STATS), "I4x")
@dataclass(frozen=True, slots=True)
class PortStatsRequest(MultipartRequest):
    """Ask for the counters of one port or all (7.3.5.6)."""

    port_no: int = OFPP.ANY
    flags: int = 0


@message((_REP, OFPMP.PORT_STATS), "", ListOf(PORT_STATS))
@dataclass(frozen=True, slots=True)
class PortStatsReply(MultipartReply):
    """Counters of ports."""

    entries: tuple[PortStats, ...] = ()
    flags: int = 0


@message((_REQ, OFPMP.QUEUE), "II")
@dataclass(frozen=True, slots=True)
class QueueStatsRequest(MultipartRequest):
    """Ask for the counters of queues (7.3.5.8)."""

    port_no: int = OFPP.ANY
    queue_id: int = OFPQ_ALL
    flags: int = 0


@message((_REP, OFPMP.QUEUE), "", ListOf(QUEUE_STATS))
@dataclass(frozen=True, slots=True)
class QueueStatsReply(MultipartReply):
    """Counters of queues."""

    entries: tuple[QueueStats, ...] = ()
    flags: int = 0


@message((_REQ, OFPMP.GROUP), "I4x")
@dataclass(frozen=True, slots=True)
class GroupStatsRequest(MultipartRequest):
    """Ask for the counters of one group or all (7.3.5.9)."""

    group_id: int = OFPG.ALL
    flags: int = 0


@message((_REP, OFPMP.GROUP), "", ListOf(GROUP_STATS))
@dataclass(frozen=True, slots=True)
class GroupStatsReply(MultipartReply):
    """Counters of groups."""

    entries: tuple[GroupStats, ...] = ()
    flags: int = 0


@message((_REQ, OFPMP.GROUP_DESC))
@dataclass(frozen=True, slots=True)
class GroupDescRequest(MultipartRequest):
    """Ask for all groups (7.3.5.10)."""

    flags: int = 0


@message((_REP, OFPMP.GROUP_DESC), "", ListOf(GROUP_DESC))
@dataclass(frozen=True, slots=True)
class GroupDescReply(MultipartReply):
    """Groups."""

    entries: tuple[GroupDesc, ...] = ()
    flags: int = 0


@message((_REQ, OFPMP.GROUP_FEATURES))
@dataclass(frozen=True, slots=True)
class GroupFeaturesRequest(MultipartRequest):
    """Ask what groups can do (7.3.5.11)."""

    flags: int = 0


@message((_REP, OFPMP.GROUP_FEATURES), "10I")
@dataclass(frozen=True, slots=True)
class GroupFeaturesReply(MultipartReply):
    """What groups can do: types is a bitmap of OFPGT, capabilities are OFPGFC, the rest is by type."""

    types: int = 0
    capabilities: int = 0
    max_all: int = 0
    max_select: int = 0
    max_indirect: int = 0
    max_ff: int = 0
    actions_all: int = 0
    actions_select: int = 0
    actions_indirect: int = 0
    actions_ff: int = 0
    flags: int = 0


@message((_REQ, OFPMP.METER), "I4x")
@dataclass(frozen=True, slots=True)
class MeterStatsRequest(MultipartRequest):
    """Ask for the counters of one meter or all (7.3.5.12)."""

    meter_id: int = OFPM.ALL
    flags: int = 0


@message((_REP, OFPMP.METER), "", ListOf(METER_STATS))
@dataclass(frozen=True, slots=True)
class MeterStatsReply(MultipartReply):
    """Counters of meters."""

    entries: tuple[MeterStats, ...] = ()
    flags: int = 0


@message((_REQ, OFPMP.METER_CONFIG), "I4x")
@dataclass(frozen=True, slots=True)
class MeterConfigRequest(MultipartRequest):
    """Ask for one meter or all (7.3.5.13)."""

    meter_id: int = OFPM.ALL
    flags: int = 0


@message((_REP, OFPMP.METER_CONFIG), "", ListOf(METER_CONFIG))
@dataclass(frozen=True, slots=True)
class MeterConfigReply(MultipartReply):
    """Meters."""

    entries: tuple[MeterConfig, ...] = ()
    flags: int = 0


@message((_REQ, OFPMP.METER_FEATURES))
@dataclass(frozen=True, slots=True)
class MeterFeaturesRequest(MultipartRequest):
    """Ask what meters can do (7.3.5.14)."""

    flags: int = 0


@message((_REP, OFPMP.METER_FEATURES), "IIIBB2x")
@dataclass(frozen=True, slots=True)
class MeterFeaturesReply(MultipartReply):
    """What meters can do: band_types is a bitmap of OFPMBT, capabilities are OFPMF."""

    max_meter: int = 0
    band_types: int = 0
    capabilities: int = 0
    max_bands: int = 0
    max_color: int = 0
    flags: int = 0


@message((_REQ, OFPMP.TABLE_FEATURES), "", ListOf(TABLE_FEATURES))
@dataclass(frozen=True, slots=True)
class TableFeaturesRequest(MultipartRequest):
    """Ask for the features of all tables, or set them (7.3.5.5)."""

    entries: tuple[TableFeatures, ...] = ()
    flags: int = 0


@message((_REP, OFPMP.TABLE_FEATURES), "", ListOf(TABLE_FEATURES))
@dataclass(frozen=True, slots=True)
class TableFeaturesReply(MultipartReply):
    """Features of tables."""

    entries: tuple[TableFeatures, ...] = ()
    flags: int = 0


@message((_REQ, OFPMP.PORT_DESC))
@dataclass(frozen=True, slots=True)
class PortDescRequest(MultipartRequest):
    """Ask for all ports (7.3.5.7)."""

    flags: int = 0


@message((_REP, OFPMP.PORT_DESC), "", ListOf(PORT))
@dataclass(frozen=True, slots=True)
class PortDescReply(MultipartReply):
    """Ports."""

    entries: tuple[Port, ...] = ()
    flags: int = 0


@message((_REQ, OFPMP.EXPERIMENTER), "II", Rest())
@dataclass(frozen=True, slots=True)
class ExperimenterMultipartRequest(MultipartRequest):
    """A multipart request of an experimenter, opaque (7.3.5.15)."""

    experimenter: int
    exp_type: int = 0
    data: bytes = b""
    flags: int = 0


@message((_REP, OFPMP.EXPERIMENTER), "II", Rest())
@dataclass(frozen=True, slots=True)
class ExperimenterMultipartReply(MultipartReply):
    """A multipart reply of an experimenter, opaque."""

    experimenter: int
    exp_type: int = 0
    data: bytes = b""
    flags: int = 0
