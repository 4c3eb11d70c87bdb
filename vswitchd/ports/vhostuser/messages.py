"""The message table: one row per request of the vhost-user protocol that a network back-end knows.

Everything that can be checked of a request without knowing the device stands in its row: payload layout,
descriptors, needed features, whether a ring is named, what is answered. The engine (session.py) checks all of
it before a handler runs, and the malformed-message tests are generated from the same rows.

Left out on purpose, so refused as unknown: SET_VRING_ENDIAN (23; rings are of our own byte order, CROSS_ENDIAN is not
offered), GET_CONFIG and SET_CONFIG (24, 25; QEMU and virtio-user keep the configuration space of a network device
themselves), crypto, GPU, shared objects and device state (26, 27, 33, 41 and up).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import Enum, IntEnum

from vswitchd.ports.vhostuser.features import Protocol, Virtio
from vswitchd.ports.vhostuser.payloads import (
    MAX_PAYLOAD,
    STATE_LAYOUT,
    U64_LAYOUT,
    Body,
    Confirmed,
    MemoryTable,
    Payload,
    VringFd,
)

__all__ = [
    "HEADER",
    "MAX_PAYLOAD",
    "NEED_REPLY",
    "REPLY",
    "TABLE",
    "VERSION",
    "VERSION_MASK",
    "Answer",
    "Fds",
    "Payload",
    "Request",
    "Row",
    "reply",
    "reply_state",
    "reply_u64",
]

HEADER = struct.Struct("=III")
VERSION = 1
VERSION_MASK, REPLY, NEED_REPLY = 3, 4, 8


class Request(IntEnum):
    """Requests of the front-end (vhost-user, Front-end message types)."""

    GET_FEATURES = 1
    SET_FEATURES = 2
    SET_OWNER = 3
    RESET_OWNER = 4
    SET_MEM_TABLE = 5
    SET_LOG_BASE = 6
    SET_LOG_FD = 7
    SET_VRING_NUM = 8
    SET_VRING_ADDR = 9
    SET_VRING_BASE = 10
    GET_VRING_BASE = 11
    SET_VRING_KICK = 12
    SET_VRING_CALL = 13
    SET_VRING_ERR = 14
    GET_PROTOCOL_FEATURES = 15
    SET_PROTOCOL_FEATURES = 16
    GET_QUEUE_NUM = 17
    SET_VRING_ENABLE = 18
    SEND_RARP = 19
    NET_SET_MTU = 20
    SET_BACKEND_REQ_FD = 21
    IOTLB_MSG = 22
    POSTCOPY_ADVISE = 28
    POSTCOPY_LISTEN = 29
    POSTCOPY_END = 30
    GET_INFLIGHT_FD = 31
    SET_INFLIGHT_FD = 32
    RESET_DEVICE = 34
    VRING_KICK = 35
    GET_MAX_MEM_SLOTS = 36
    ADD_MEM_REG = 37
    REM_MEM_REG = 38
    SET_STATUS = 39
    GET_STATUS = 40


class Fds(Enum):
    """How many descriptors come with a message."""

    NONE = "none"
    ONE = "one"
    ONE_OR_NONE = "one or none"
    UNLESS_NOFD = "one unless the NOFD bit is set"
    PER_REGION = "one per region"

    def allows(self, n: int, body: Body) -> bool:
        """Say whether n descriptors fit."""
        if self is Fds.ONE_OR_NONE:
            return n <= 1
        if isinstance(body, VringFd):
            return n == (0 if body.nofd else 1)
        if isinstance(body, Confirmed):
            return n == 0
        if isinstance(body, MemoryTable):
            return n == len(body.regions)
        return n == (1 if self is Fds.ONE else 0)


class Answer(Enum):
    """What is answered: an acknowledgement when asked for, or always something."""

    ACK = "an acknowledgement when asked for"
    RESULT = "always an acknowledgement"
    EMPTY = "always: an acknowledgement when asked for, else no payload"
    U64 = "a number"
    STATE = "vring state"
    OWN = "what the handler says"

    def may_refuse(self, *, asked: bool) -> bool:
        """Say whether a refusal can be told; otherwise it ends the connection. `asked`: NEED_REPLY, and negotiated."""
        return self is Answer.RESULT or (asked and self in (Answer.ACK, Answer.EMPTY))


@dataclass(frozen=True, slots=True)
class Row:
    """What the engine checks of a request."""

    request: Request
    payload: Payload = Payload.EMPTY
    fds: Fds = Fds.NONE
    answer: Answer = Answer.ACK
    feature: Virtio | None = None
    protocol: Protocol | None = None

    @property
    def names_ring(self) -> bool:
        """Whether the payload holds a ring index."""
        return self.payload in (Payload.STATE, Payload.ADDR, Payload.VRING_FD)


_ROWS = (
    Row(Request.GET_FEATURES, answer=Answer.U64),
    Row(Request.SET_FEATURES, Payload.U64),
    Row(Request.SET_OWNER),
    Row(Request.RESET_OWNER),
    Row(Request.SET_MEM_TABLE, Payload.MEMORY, Fds.PER_REGION),
    # "Reply payload: N/A", but it is one of those that require a reply: QEMU reads one of any length.
    Row(Request.SET_LOG_BASE, Payload.LOG, Fds.ONE, Answer.EMPTY, protocol=Protocol.LOG_SHMFD),
    Row(Request.SET_LOG_FD, fds=Fds.ONE),
    Row(Request.SET_VRING_NUM, Payload.STATE),
    Row(Request.SET_VRING_ADDR, Payload.ADDR),
    Row(Request.SET_VRING_BASE, Payload.STATE),
    Row(Request.GET_VRING_BASE, Payload.STATE, answer=Answer.STATE),
    Row(Request.SET_VRING_KICK, Payload.VRING_FD, Fds.UNLESS_NOFD),
    Row(Request.SET_VRING_CALL, Payload.VRING_FD, Fds.UNLESS_NOFD),
    Row(Request.SET_VRING_ERR, Payload.VRING_FD, Fds.UNLESS_NOFD),
    Row(Request.GET_PROTOCOL_FEATURES, answer=Answer.U64),
    Row(Request.SET_PROTOCOL_FEATURES, Payload.U64),
    Row(Request.GET_QUEUE_NUM, answer=Answer.U64, protocol=Protocol.MQ),
    Row(Request.SET_VRING_ENABLE, Payload.STATE, feature=Virtio.PROTOCOL_FEATURES),
    Row(Request.SEND_RARP, Payload.U64, protocol=Protocol.RARP),
    Row(Request.NET_SET_MTU, Payload.U64, protocol=Protocol.NET_MTU),
    Row(Request.SET_BACKEND_REQ_FD, fds=Fds.ONE, protocol=Protocol.BACKEND_REQ),
    # "The back-end has to acknowledge": asked or not
    Row(Request.IOTLB_MSG, Payload.IOTLB, answer=Answer.RESULT, feature=Virtio.ACCESS_PLATFORM),
    Row(Request.POSTCOPY_ADVISE, answer=Answer.OWN, protocol=Protocol.PAGEFAULT),
    Row(Request.POSTCOPY_LISTEN, protocol=Protocol.PAGEFAULT),
    Row(Request.POSTCOPY_END, answer=Answer.RESULT, protocol=Protocol.PAGEFAULT),
    Row(Request.GET_INFLIGHT_FD, Payload.INFLIGHT, answer=Answer.OWN, protocol=Protocol.INFLIGHT_SHMFD),
    Row(Request.SET_INFLIGHT_FD, Payload.INFLIGHT, Fds.ONE, protocol=Protocol.INFLIGHT_SHMFD),
    Row(Request.RESET_DEVICE, protocol=Protocol.RESET_DEVICE),
    Row(Request.VRING_KICK, Payload.STATE, protocol=Protocol.INBAND_NOTIFICATIONS),
    Row(Request.GET_MAX_MEM_SLOTS, answer=Answer.U64, protocol=Protocol.CONFIGURE_MEM_SLOTS),
    Row(Request.ADD_MEM_REG, Payload.REGION, Fds.ONE, protocol=Protocol.CONFIGURE_MEM_SLOTS),
    # "the back-end MAY accept messages with one file descriptor", which is closed unused
    Row(Request.REM_MEM_REG, Payload.REGION, Fds.ONE_OR_NONE, protocol=Protocol.CONFIGURE_MEM_SLOTS),
    Row(Request.SET_STATUS, Payload.U64, protocol=Protocol.STATUS),
    Row(Request.GET_STATUS, answer=Answer.U64, protocol=Protocol.STATUS),
)
TABLE: dict[int, Row] = {row.request: row for row in _ROWS}


def reply(request: int, payload: bytes) -> bytes:
    """Return the bytes of an answer."""
    return HEADER.pack(request, VERSION | REPLY, len(payload)) + payload


def reply_u64(request: int, value: int) -> bytes:
    """Return an answer that is a number; also acknowledgement (0) and refusal (1)."""
    return reply(request, U64_LAYOUT.pack(value))


def reply_state(request: int, index: int, num: int) -> bytes:
    """Return an answer that is a vring state."""
    return reply(request, STATE_LAYOUT.pack(index, num))
