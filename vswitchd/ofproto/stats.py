"""The entries of multipart replies: flows, tables, ports, queues, groups, meters (1.3.5, section 7.3.5)."""

from __future__ import annotations

from dataclasses import dataclass

from vswitchd.ofproto.instructions import INSTRUCTIONS, Instruction
from vswitchd.ofproto.oxm import MATCH, Match
from vswitchd.ofproto.structures import BUCKETS, METER_BANDS, Bucket, MeterBand
from vswitchd.ofproto.wire import Layout, ListOf, Sized


@dataclass(frozen=True, slots=True)
class FlowStats:
    """A flow entry and its counters; flags are OFPFF (7.3.5.2)."""

    table_id: int = 0
    duration_sec: int = 0
    duration_nsec: int = 0
    priority: int = 0
    idle_timeout: int = 0
    hard_timeout: int = 0
    flags: int = 0
    cookie: int = 0
    packet_count: int = 0
    byte_count: int = 0
    match: Match = Match()  # noqa: RUF009  # immutable
    instructions: tuple[Instruction, ...] = ()


FLOW_STATS = Sized(Layout(FlowStats, "2xBxIIHHHH4xQQQ", MATCH, INSTRUCTIONS), at=0)


@dataclass(frozen=True, slots=True)
class TableStats:
    """Counters of a table (7.3.5.4); name, wildcards (OFPFW) and max_entries are 1.0's."""

    table_id: int
    active_count: int = 0
    lookup_count: int = 0
    matched_count: int = 0
    name: str = ""
    wildcards: int = 0
    max_entries: int = 0


TABLE_STATS = Layout(TableStats, "B3xIQQ", extra=3)


@dataclass(frozen=True, slots=True)
class PortStats:
    """Counters of a port; U64_MAX where one is not counted (7.3.5.6)."""

    port_no: int
    rx_packets: int = 0
    tx_packets: int = 0
    rx_bytes: int = 0
    tx_bytes: int = 0
    rx_dropped: int = 0
    tx_dropped: int = 0
    rx_errors: int = 0
    tx_errors: int = 0
    rx_frame_err: int = 0
    rx_over_err: int = 0
    rx_crc_err: int = 0
    collisions: int = 0
    duration_sec: int = 0
    duration_nsec: int = 0


PORT_STATS = Layout(PortStats, "I4x12QII")


@dataclass(frozen=True, slots=True)
class QueueStats:
    """Counters of a queue (7.3.5.8)."""

    port_no: int
    queue_id: int
    tx_bytes: int = 0
    tx_packets: int = 0
    tx_errors: int = 0
    duration_sec: int = 0
    duration_nsec: int = 0


QUEUE_STATS = Layout(QueueStats, "IIQQQII")


@dataclass(frozen=True, slots=True)
class Counter:
    """Packets and bytes of a bucket or a meter band."""

    packet_count: int = 0
    byte_count: int = 0


_COUNTERS = ListOf(Layout(Counter, "QQ"))


@dataclass(frozen=True, slots=True)
class GroupStats:
    """Counters of a group, one more of each bucket (7.3.5.9)."""

    group_id: int
    ref_count: int = 0
    packet_count: int = 0
    byte_count: int = 0
    duration_sec: int = 0
    duration_nsec: int = 0
    bucket_stats: tuple[Counter, ...] = ()


GROUP_STATS = Sized(Layout(GroupStats, "4xII4xQQII", _COUNTERS), at=0)


@dataclass(frozen=True, slots=True)
class GroupDesc:
    """A group; type is OFPGT (7.3.5.10)."""

    type: int
    group_id: int
    buckets: tuple[Bucket, ...] = ()


GROUP_DESC = Sized(Layout(GroupDesc, "2xBxI", BUCKETS), at=0)


@dataclass(frozen=True, slots=True)
class MeterStats:
    """Counters of a meter, one more of each band (7.3.5.12)."""

    meter_id: int
    flow_count: int = 0
    packet_in_count: int = 0
    byte_in_count: int = 0
    duration_sec: int = 0
    duration_nsec: int = 0
    band_stats: tuple[Counter, ...] = ()


METER_STATS = Sized(Layout(MeterStats, "I2x6xIQQII", _COUNTERS), at=4)


@dataclass(frozen=True, slots=True)
class MeterConfig:
    """A meter; flags are OFPMF (7.3.5.13)."""

    flags: int
    meter_id: int
    bands: tuple[MeterBand, ...] = ()


METER_CONFIG = Sized(Layout(MeterConfig, "2xHI", METER_BANDS), at=0)
