"""Structures of several messages: ports, queues, buckets, meter bands (1.3.5, 7.2.1, 7.2.2, 7.3.4)."""

from __future__ import annotations

from dataclasses import dataclass

from vswitchd.ofproto.actions import ACTIONS, Action
from vswitchd.ofproto.constants import OFP_VERSION_10, OFP_VERSION_13, OFPG, OFPMBT, OFPP, OFPQT
from vswitchd.ofproto.errors import OFPBRC, OFPGMFC, OFPMMFC
from vswitchd.ofproto.wire import Layout, ListOf, Rest, Sized, Tlv


@dataclass(frozen=True, slots=True)
class Port:
    """A port; hw_addr is 6 bytes, speeds are in kbit/s, state is OFPPS, config OFPPC, features OFPPF."""

    port_no: int
    hw_addr: bytes = bytes(6)
    name: str = ""
    config: int = 0
    state: int = 0
    curr: int = 0
    advertised: int = 0
    supported: int = 0
    peer: int = 0
    curr_speed: int = 0
    max_speed: int = 0


PORT = Layout(Port, "I4x6s2x16s8I", text=("name",))


@dataclass(frozen=True, slots=True)
class QueueMinRate:
    """Guaranteed rate in 1/10 of a percent."""

    rate: int


@dataclass(frozen=True, slots=True)
class QueueMaxRate:
    """Allowed rate in 1/10 of a percent."""

    rate: int


@dataclass(frozen=True, slots=True)
class QueueExperimenter:
    """A queue property of an experimenter, opaque; data is a multiple of 8 bytes."""

    experimenter: int
    data: bytes = b""


QueueProp = QueueMinRate | QueueMaxRate | QueueExperimenter


@dataclass(frozen=True, slots=True)
class PacketQueue:
    """A queue of a port and its properties."""

    queue_id: int
    port: int = OFPP.ANY
    properties: tuple[QueueProp, ...] = ()


_QUEUE_PROPS = {
    OFP_VERSION_13: {
        OFPQT.MIN_RATE: Layout(QueueMinRate, "4xH6x"),
        OFPQT.MAX_RATE: Layout(QueueMaxRate, "4xH6x"),
        OFPQT.EXPERIMENTER: Layout(QueueExperimenter, "4xI4x", Rest()),
    },
    OFP_VERSION_10: {OFPQT.MIN_RATE: Layout(QueueMinRate, "4xH6x")},
}
QUEUE_PROPERTIES = ListOf(Tlv(_QUEUE_PROPS, OFPBRC.BAD_LEN, OFPBRC.BAD_LEN))
PACKET_QUEUE = Sized(Layout(PacketQueue, "II2x6x", QUEUE_PROPERTIES), at=8)


@dataclass(frozen=True, slots=True)
class Bucket:
    """One bucket of a group."""

    weight: int = 0
    watch_port: int = OFPP.ANY
    watch_group: int = OFPG.ANY
    actions: tuple[Action, ...] = ()


BUCKETS = ListOf(Sized(Layout(Bucket, "2xHII4x", ACTIONS), at=0, bad_len=OFPGMFC.BAD_BUCKET))


@dataclass(frozen=True, slots=True)
class DropBand:
    """Drop above the rate (kbit/s or packets/s); burst in kbit or packets."""

    rate: int
    burst_size: int = 0


@dataclass(frozen=True, slots=True)
class DscpRemarkBand:
    """Raise the drop precedence of the DSCP above the rate."""

    rate: int
    burst_size: int = 0
    prec_level: int = 1


@dataclass(frozen=True, slots=True)
class ExperimenterBand:
    """A meter band of an experimenter, opaque; data is a multiple of 8 bytes."""

    rate: int
    burst_size: int
    experimenter: int
    data: bytes = b""


MeterBand = DropBand | DscpRemarkBand | ExperimenterBand

_BANDS = {
    OFP_VERSION_13: {
        OFPMBT.DROP: Layout(DropBand, "II4x"),
        OFPMBT.DSCP_REMARK: Layout(DscpRemarkBand, "IIB3x"),
        OFPMBT.EXPERIMENTER: Layout(ExperimenterBand, "III", Rest()),
    }
}
METER_BANDS = ListOf(Tlv(_BANDS, OFPMMFC.BAD_BAND, OFPBRC.BAD_LEN))
