"""Handlers of rings: shape, place, descriptors, start and stop."""

from __future__ import annotations

import contextlib
import os
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from vswitchd.ports.vhostuser.errors import RequestError
from vswitchd.ports.vhostuser.features import Protocol, Virtio
from vswitchd.ports.vhostuser.frames import close_fds
from vswitchd.ports.vhostuser.handlers_memory import MAX_RING_SIZE
from vswitchd.ports.vhostuser.handling import Context, Handler, Outcome
from vswitchd.ports.vhostuser.messages import Request
from vswitchd.ports.vhostuser.payloads import VringAddr, VringFd, VringState
from vswitchd.ports.vhostuser.state import Ring, State, WireAddr

if TYPE_CHECKING:
    from collections.abc import Mapping

_LOG_FLAG = 1


def _vring(c: Context) -> VringState:
    assert isinstance(c.body, VringState)
    return c.body


def _layout(state: State) -> Literal["split", "packed"] | None:
    """Return which layout rings have, or None before SET_FEATURES: what depends on it is checked at the start of the ring."""
    if state.features is None:
        return None
    return "packed" if state.negotiated(Virtio.RING_PACKED) else "split"


def _set_vring_num(c: Context) -> Outcome:
    """VIRTIO 1.2, 2.7: the size of a split ring is a power of two; 2.8.10.1: of a packed one need not be."""
    body = _vring(c)
    if not 0 < body.num <= MAX_RING_SIZE:
        raise RequestError(f"ring size {body.num} is not from 1 to {MAX_RING_SIZE}")
    if body.num & (body.num - 1) and _layout(c.state) == "split":
        raise RequestError(f"ring size {body.num} is no power of two")
    return Outcome(c.state.with_ring(body.index, replace(c.state.ring(body.index), size=body.num)))


def _set_vring_base(c: Context) -> Outcome:
    """For packed rings: bits 0 to 14 the place of the next available descriptor, bit 15 its wrap counter.

    QEMU puts the same of the next used one above; all chains were given back when a ring stopped, so they are equal.
    """
    body = _vring(c)
    if body.num > 0xFFFF and _layout(c.state) == "split":
        raise RequestError(f"ring base {body.num:#x} has more than 16 bits")
    return Outcome(c.state.with_ring(body.index, replace(c.state.ring(body.index), base=body.num & 0xFFFF)))


def _set_vring_addr(c: Context) -> Outcome:
    body = c.body
    assert isinstance(body, VringAddr)
    if body.flags & ~_LOG_FLAG:
        raise RequestError(f"unknown ring flags {body.flags:#x}")
    # VIRTIO 1.2, 2.7 and 2.8.10: alignment of descriptor table, available and used ring, or event structures
    avail = 4 if _layout(c.state) == "packed" else 2
    for what, address, align in (
        ("desc", body.desc, 16),
        ("avail", body.avail, avail),
        ("used", body.used, 4),
    ):
        if address % align:
            raise RequestError(f"{what} address {address:#x} is not a multiple of {align}")
    addr = WireAddr(body.desc, body.avail, body.used, bool(body.flags & _LOG_FLAG), body.log)
    return Outcome(c.state.with_ring(body.index, replace(c.state.ring(body.index), addr=addr)))


def _get_vring_base(c: Context) -> Outcome:
    """Stop the ring: it starts again with the next kick."""
    body = _vring(c)
    ring = c.state.ring(body.index)
    stopped = replace(ring, started=False, kick=None, own=ring.own - {"kick"})
    return Outcome(c.state.with_ring(body.index, stopped))


def _started(c: Context, ring: Ring, *wanted: str) -> Ring:
    """Return the ring started, with eventfds of ours for the `wanted` descriptors.

    Under INBAND_NOTIFICATIONS call and error are wanted, too, when the front-end gave none.
    """
    names = list(wanted)
    if c.state.negotiated(Protocol.INBAND_NOTIFICATIONS):
        for name, fd in (("call", ring.call), ("err", ring.err)):
            if fd is None and name not in ring.silent:
                names.append(name)
    made: dict[str, int] = {}
    try:
        for name in names:
            made[name] = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
    except OSError as error:
        close_fds(made.values())
        raise RequestError(f"cannot make an eventfd: {error.strerror}") from None
    ring = replace(ring, started=True, own=ring.own | made.keys())
    return replace(
        ring,
        kick=made.get("kick", ring.kick),
        call=made.get("call", ring.call),
        err=made.get("err", ring.err),
    )


def _set_vring_kick(c: Context) -> Outcome:
    assert isinstance(c.body, VringFd)
    for one in c.frame.fds:
        c.device.check_eventfd(one)
    ring = c.state.ring(c.body.index)
    ring = _started(c, replace(ring, own=ring.own - {"kick"}))
    fds = c.frame.take_fds()
    return Outcome(c.state.with_ring(c.body.index, replace(ring, kick=fds[0] if fds else None)))


def _vring_fd(which: Literal["call", "err"]) -> Handler:
    def handler(c: Context) -> Outcome:
        assert isinstance(c.body, VringFd)
        for one in c.frame.fds:
            c.device.check_eventfd(one)
        fds = c.frame.take_fds()
        fd = fds[0] if fds else None
        ring = c.state.ring(c.body.index)
        silent = ring.silent - {which} if fds else ring.silent | {which}
        ring = replace(ring, own=ring.own - {which}, silent=silent)
        ring = replace(ring, call=fd) if which == "call" else replace(ring, err=fd)
        return Outcome(c.state.with_ring(c.body.index, ring))

    return handler


def _vring_kick(c: Context) -> Outcome:
    """Start the ring, or wake whoever sleeps on it. A ring that is polled needs no waking."""
    body = _vring(c)
    if body.num:
        raise RequestError(f"kick with number {body.num} instead of 0")
    state, ring = c.state, c.state.ring(body.index)
    if not ring.started:
        ring = _started(c, ring, "kick")
        state = state.with_ring(body.index, ring)
    if ring.kick is not None:
        with contextlib.suppress(BlockingIOError):  # full: it is readable, that is enough
            os.eventfd_write(ring.kick, 1)
    return Outcome(state)


def _set_vring_enable(c: Context) -> Outcome:
    body = _vring(c)
    if body.num not in (0, 1):
        raise RequestError(f"ring enable {body.num} is neither 0 nor 1")
    return Outcome(c.state.with_ring(body.index, replace(c.state.ring(body.index), enabled=bool(body.num))))


RING_HANDLERS: Mapping[Request, Handler] = {
    Request.SET_VRING_NUM: _set_vring_num,
    Request.SET_VRING_ADDR: _set_vring_addr,
    Request.SET_VRING_BASE: _set_vring_base,
    Request.GET_VRING_BASE: _get_vring_base,
    Request.SET_VRING_KICK: _set_vring_kick,
    Request.SET_VRING_CALL: _vring_fd("call"),
    Request.SET_VRING_ERR: _vring_fd("err"),
    Request.SET_VRING_ENABLE: _set_vring_enable,
    Request.VRING_KICK: _vring_kick,
}
