"""What happened to one packet, as events: of a packet that does not exist, or of live ones (trace.h). Control thread."""

from __future__ import annotations

import errno
from enum import IntEnum
from typing import Any, NamedTuple

from vswitchd.datapath.action import KEY_SIZE, Action
from vswitchd.datapath.core import DatapathError, check, ffi, lib, no_memory

LIVE_MAX: int = lib.VS_LIVE_MAX
METER_REMARK = 1000


class Kind(IntEnum):
    """enum vs_trace_kind."""

    BRIDGE = lib.VS_TRACE_BRIDGE
    RULE = lib.VS_TRACE_RULE
    ACTION = lib.VS_TRACE_ACTION
    METER = lib.VS_TRACE_METER
    BUCKET = lib.VS_TRACE_BUCKET
    OUTPUT = lib.VS_TRACE_OUTPUT
    PUNT = lib.VS_TRACE_PUNT
    NOTHING = lib.VS_TRACE_NOTHING
    STOP = lib.VS_TRACE_STOP
    END = lib.VS_TRACE_END


class Event(NamedTuple):
    """One event; what `table`, `arg` and `rule` mean depends on its kind (trace.h). `place`: of an action's rule."""

    kind: Kind
    table: int
    level: int
    depth: int
    arg: int
    rule: int
    action: Action | None
    place: int


class Trace(NamedTuple):
    """The whole key (struct vs_key) of the packet at first and at last, metadata and tunnel id at the end, the events."""

    first: bytes
    last: bytes
    frame_len: int
    metadata: int
    tunnel_id: int
    events: tuple[Event, ...]
    lost: int
    """Events for which there was no room."""


def _event(e: Any) -> Event:
    action, a = None, e.action
    if e.kind == Kind.ACTION:
        action = Action(a.type, a.field, a.arg, a.max_len, a.aux, bytes(a.value), bytes(a.mask))
    return Event(Kind(e.kind), e.table, e.level, e.depth, e.arg, e.rule, action, a.place)


def _big(t: Any, name: str) -> int:
    return int.from_bytes(ffi.buffer(ffi.addressof(t, name), 8)[:], "big")


def _trace(t: Any) -> Trace:
    first, last = (bytes(ffi.buffer(ffi.addressof(t, name), KEY_SIZE)) for name in ("first", "last"))
    events = tuple(_event(t.event[i]) for i in range(t.n))
    return Trace(first, last, t.frame_len, _big(t, "metadata"), _big(t, "tunnel_id"), events, t.lost)


def trace_frame(dp: Any, bridge: Any, frame: bytes, in_port: int) -> Trace:
    """Send a frame that does not exist through a bridge (cdata both). Raises DatapathError for a runt."""
    t = lib.vs_trace_new(lib.VS_TRACE_EVENTS)
    if t == ffi.NULL:
        raise no_memory("trace")
    try:
        if lib.vs_dp_trace(dp, bridge, frame, len(frame), in_port, t) < 0:
            raise DatapathError("trace: a frame has 14 to 65600 bytes", errno.EINVAL)
        return _trace(t)
    finally:
        lib.vs_trace_free(t)


class LiveTrace:
    """The next packets that a port receives and a filter lets through; one per datapath at a time. close() it."""

    def __init__(self, dp: Any, port: Any, value: bytes, mask: bytes, limit: int) -> None:
        """`dp`, `port`: cdata. value and mask: struct vs_key. Raises DatapathError: EBUSY, EINVAL (limit), ENOMEM."""
        keys = (ffi.from_buffer("struct vs_key *", part) for part in (value, mask))
        code = lib.vs_dp_live_start(dp, port, *keys, limit)
        if code == -errno.EBUSY:
            raise DatapathError("another live trace is running; wait for it, or end it", errno.EBUSY)
        if code == -errno.EINVAL:
            raise DatapathError(f"a live trace records 1 to {LIVE_MAX} packets", errno.EINVAL)
        check(code, "live trace")
        self._dp = dp

    def take(self) -> Trace | None:
        """The next packet that is done, or None."""
        t = lib.vs_dp_live_take(self._dp)
        return None if t == ffi.NULL else _trace(t)

    def close(self) -> None:
        """End it; cores no longer look at packets. Waits for a grace period."""
        if self._dp is not None:
            lib.vs_dp_live_stop(self._dp)
            self._dp = None
