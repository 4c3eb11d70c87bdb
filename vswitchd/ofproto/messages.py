"""Messages of OpenFlow 1.3.5 that are not multipart (7.3 to 7.5); field names are the specification's."""

from __future__ import annotations

from dataclasses import dataclass

from vswitchd.ofproto import checks
from vswitchd.ofproto.actions import ACTIONS, Action
from vswitchd.ofproto.constants import (
    OFP_DEFAULT_MISS_SEND_LEN,
    OFP_DEFAULT_PRIORITY,
    OFP_NO_BUFFER,
    OFP_VERSION_10,
    OFP_VERSION_13,
    OFPCR,
    OFPFC,
    OFPG,
    OFPGC,
    OFPGT,
    OFPMC,
    OFPP,
    OFPR,
    OFPT,
    ONF_EXPERIMENTER,
    U64_MAX,
)
from vswitchd.ofproto.errors import OFPET, OFError, error_name
from vswitchd.ofproto.errors10 import error10
from vswitchd.ofproto.hello import HEADER_VERSION, HELLO_ELEMENTS
from vswitchd.ofproto.instructions import INSTRUCTIONS, Instruction
from vswitchd.ofproto.oxm import MATCH, Match
from vswitchd.ofproto.registry import Message, message
from vswitchd.ofproto.structures import (
    BUCKETS,
    METER_BANDS,
    PACKET_QUEUE,
    PORT,
    Bucket,
    MeterBand,
    PacketQueue,
    Port,
)
from vswitchd.ofproto.wire import Counted, ListOf, Pad, Rest


@message(OFPT.HELLO, "", HELLO_ELEMENTS, HEADER_VERSION)
@dataclass(frozen=True, slots=True)
class Hello(Message):
    """The versions of the bitmap, empty where there is none; `version` is that of the header (7.5.1)."""

    versions: frozenset[int] = frozenset()
    version: int = OFP_VERSION_13

    def agree(self, ours: frozenset[int]) -> int | None:
        """Return the version to speak with the sender of this hello if we speak `ours` (6.3.1), or None."""
        if self.versions:
            return max(self.versions & ours, default=None)
        version = min(self.version, max(ours))
        return version if version in ours else None


@message(OFPT.ERROR, "HH", Rest())
@dataclass(frozen=True, slots=True)
class Error(Message):
    """A refusal; data begins with the refused message, or is text for HELLO_FAILED (7.4.4)."""

    type: int
    code: int
    data: bytes = b""

    @classmethod
    def of(cls, error: OFError, version: int = OFP_VERSION_13) -> Error:
        """Build the answer to a refused message (its xid is `error.xid`) with the codes of a version."""
        if version == OFP_VERSION_10:
            return cls(*error10(error), error.data)
        who = ONF_EXPERIMENTER.to_bytes(4, "big") if error.type == OFPET.EXPERIMENTER else b""
        return cls(error.type, error.code, who + error.data)

    @property
    def name(self) -> str:
        """The specification's name of type and code."""
        return error_name(self.type, self.code)


@message(OFPT.ECHO_REQUEST, "", Rest())
@dataclass(frozen=True, slots=True)
class EchoRequest(Message):
    """Ask whether the peer is there."""

    data: bytes = b""


@message(OFPT.ECHO_REPLY, "", Rest())
@dataclass(frozen=True, slots=True)
class EchoReply(Message):
    """Answer with the data of the request."""

    data: bytes = b""


@message(OFPT.EXPERIMENTER, "II", Rest())
@dataclass(frozen=True, slots=True)
class Experimenter(Message):
    """A message of an experimenter, opaque (7.5.4)."""

    experimenter: int
    exp_type: int = 0
    data: bytes = b""


@message(OFPT.FEATURES_REQUEST)
@dataclass(frozen=True, slots=True)
class FeaturesRequest(Message):
    """Ask who the switch is."""


@message(OFPT.FEATURES_REPLY, "QIBB2xI4x", absent=2)
@dataclass(frozen=True, slots=True)
class FeaturesReply(Message):
    """The switch's identity; capabilities are OFPC (7.3.1); actions (a bitmap) and ports are 1.0's."""

    datapath_id: int
    n_buffers: int = 0
    n_tables: int = 0
    auxiliary_id: int = 0
    capabilities: int = 0
    actions: int = 0
    ports: tuple[Port, ...] = ()


@message(OFPT.GET_CONFIG_REQUEST)
@dataclass(frozen=True, slots=True)
class GetConfigRequest(Message):
    """Ask for flags and miss_send_len."""


@message(OFPT.GET_CONFIG_REPLY, "HH")
@dataclass(frozen=True, slots=True)
class GetConfigReply(Message):
    """Flags are OFPCFrag; miss_send_len in bytes (7.3.2)."""

    flags: int = 0
    miss_send_len: int = OFP_DEFAULT_MISS_SEND_LEN


@message(OFPT.SET_CONFIG, "HH", check=checks.set_config)
@dataclass(frozen=True, slots=True)
class SetConfig(Message):
    """Flags are OFPCFrag; miss_send_len in bytes (7.3.2)."""

    flags: int = 0
    miss_send_len: int = OFP_DEFAULT_MISS_SEND_LEN


@message(OFPT.PACKET_IN, "IHBBQ", MATCH, Pad(2), Rest())
@dataclass(frozen=True, slots=True)
class PacketIn(Message):
    """A packet for the controller; total_len is its full length, data may be less; reason: OFPR (7.4.1)."""

    buffer_id: int = OFP_NO_BUFFER
    total_len: int = 0
    reason: int = OFPR.NO_MATCH
    table_id: int = 0
    cookie: int = U64_MAX
    match: Match = Match()  # noqa: RUF009  # immutable
    data: bytes = b""


@message(OFPT.FLOW_REMOVED, "QHBBIIHHQQ", MATCH)
@dataclass(frozen=True, slots=True)
class FlowRemoved(Message):
    """A flow entry is gone; reason is OFPRR (7.4.2)."""

    cookie: int
    priority: int
    reason: int
    table_id: int
    duration_sec: int
    duration_nsec: int
    idle_timeout: int
    hard_timeout: int
    packet_count: int
    byte_count: int
    match: Match = Match()  # noqa: RUF009


@message(OFPT.PORT_STATUS, "B7x", PORT)
@dataclass(frozen=True, slots=True)
class PortStatus(Message):
    """A port came, went or changed; reason is OFPPR (7.4.3)."""

    reason: int
    desc: Port


@message(OFPT.PACKET_OUT, "II", Counted("H6x", ACTIONS), Rest())
@dataclass(frozen=True, slots=True)
class PacketOut(Message):
    """Do these actions on a buffered packet, or on `data` where buffer_id is OFP_NO_BUFFER (7.3.7)."""

    buffer_id: int = OFP_NO_BUFFER
    in_port: int = OFPP.CONTROLLER
    actions: tuple[Action, ...] = ()
    data: bytes = b""


@message(OFPT.FLOW_MOD, "QQBBHHHIIIH2x", MATCH, INSTRUCTIONS, check=checks.flow_mod)
@dataclass(frozen=True, slots=True)
class FlowMod(Message):
    """Add, modify or delete flow entries; command: OFPFC, flags: OFPFF, timeouts in seconds (7.3.4.1)."""

    cookie: int = 0
    cookie_mask: int = 0
    table_id: int = 0
    command: int = OFPFC.ADD
    idle_timeout: int = 0
    hard_timeout: int = 0
    priority: int = OFP_DEFAULT_PRIORITY
    buffer_id: int = OFP_NO_BUFFER
    out_port: int = OFPP.ANY
    out_group: int = OFPG.ANY
    flags: int = 0
    match: Match = Match()  # noqa: RUF009
    instructions: tuple[Instruction, ...] = ()


@message(OFPT.GROUP_MOD, "HBxI", BUCKETS, check=checks.group_mod)
@dataclass(frozen=True, slots=True)
class GroupMod(Message):
    """Add, modify or delete a group; command is OFPGC, type is OFPGT (7.3.4.2)."""

    command: int = OFPGC.ADD
    type: int = OFPGT.ALL
    group_id: int = 0
    buckets: tuple[Bucket, ...] = ()


@message(OFPT.PORT_MOD, "I4x6s2xIII4x", check=checks.port_mod)
@dataclass(frozen=True, slots=True)
class PortMod(Message):
    """Change the config bits (OFPPC) of a port that are set in mask (7.3.4.3)."""

    port_no: int
    hw_addr: bytes = bytes(6)
    config: int = 0
    mask: int = 0
    advertise: int = 0


@message(OFPT.TABLE_MOD, "B3xI")
@dataclass(frozen=True, slots=True)
class TableMod(Message):
    """Configure a table; config is reserved in 1.3 (7.3.3)."""

    table_id: int
    config: int = 0


@message(OFPT.METER_MOD, "HHI", METER_BANDS, check=checks.meter_mod)
@dataclass(frozen=True, slots=True)
class MeterMod(Message):
    """Add, modify or delete a meter; command is OFPMC, flags are OFPMF (7.3.4.4)."""

    command: int = OFPMC.ADD
    flags: int = 0
    meter_id: int = 0
    bands: tuple[MeterBand, ...] = ()


@message(OFPT.BARRIER_REQUEST)
@dataclass(frozen=True, slots=True)
class BarrierRequest(Message):
    """Answer when all before is done (7.3.8)."""


@message(OFPT.BARRIER_REPLY)
@dataclass(frozen=True, slots=True)
class BarrierReply(Message):
    """All before is done."""


@message(OFPT.QUEUE_GET_CONFIG_REQUEST, "I4x")
@dataclass(frozen=True, slots=True)
class QueueGetConfigRequest(Message):
    """Ask for the queues of a port or of all (7.3.6)."""

    port: int = OFPP.ANY


@message(OFPT.QUEUE_GET_CONFIG_REPLY, "I4x", ListOf(PACKET_QUEUE))
@dataclass(frozen=True, slots=True)
class QueueGetConfigReply(Message):
    """The queues of a port or of all."""

    port: int = OFPP.ANY
    queues: tuple[PacketQueue, ...] = ()


@message(OFPT.ROLE_REQUEST, "I4xQ", check=checks.role)
@dataclass(frozen=True, slots=True)
class RoleRequest(Message):
    """Ask for a role, OFPCR (7.3.9)."""

    role: int = OFPCR.NOCHANGE
    generation_id: int = 0


@message(OFPT.ROLE_REPLY, "I4xQ")
@dataclass(frozen=True, slots=True)
class RoleReply(Message):
    """The role that the controller has, OFPCR."""

    role: int = OFPCR.NOCHANGE
    generation_id: int = U64_MAX


@message(OFPT.GET_ASYNC_REQUEST)
@dataclass(frozen=True, slots=True)
class GetAsyncRequest(Message):
    """Ask for the masks of asynchronous messages."""


@message(OFPT.GET_ASYNC_REPLY, "6I")
@dataclass(frozen=True, slots=True)
class GetAsyncReply(Message):
    """Bit N of a mask: messages with reason N are sent, to a master (or equal) and to a slave (7.3.10)."""

    packet_in_master: int = 0
    packet_in_slave: int = 0
    port_status_master: int = 0
    port_status_slave: int = 0
    flow_removed_master: int = 0
    flow_removed_slave: int = 0


@message(OFPT.SET_ASYNC, "6I")
@dataclass(frozen=True, slots=True)
class SetAsync(Message):
    """Bit N of a mask: send messages with reason N, as a master (or equal) and as a slave (7.3.10)."""

    packet_in_master: int = 0
    packet_in_slave: int = 0
    port_status_master: int = 0
    port_status_slave: int = 0
    flow_removed_master: int = 0
    flow_removed_slave: int = 0
