"""What each request does: a function from the state, checked body and descriptors to a new state."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from vswitchd.ports.vhostuser.errors import RequestError
from vswitchd.ports.vhostuser.features import Offer
from vswitchd.ports.vhostuser.memory import MAX_REGIONS, Region, Uva, check_regions
from vswitchd.ports.vhostuser.messages import U64, Body, MemoryTable, Request, VringAddr, VringFd, VringState
from vswitchd.ports.vhostuser.state import Memory, Ring, RingAddr, State

if TYPE_CHECKING:
    from vswitchd.ports.vhostuser.frames import Frame
    from vswitchd.ports.vhostuser.session import Device

MAX_RING_SIZE = 32768
_MTU = range(68, 65536)
_LOG_FLAG = 1


@dataclass(frozen=True, slots=True)
class Context:
    """What a handler may look at."""

    state: State
    body: Body
    frame: Frame
    device: Device
    offer: Offer


@dataclass(frozen=True, slots=True)
class Outcome:
    """The state to put into force, and the number to answer where the row says so."""

    state: State
    value: int = 0


Handler = Callable[[Context], Outcome]


def _number(c: Context) -> int:
    assert isinstance(c.body, U64)
    return c.body.value


def _vring(c: Context) -> VringState:
    assert isinstance(c.body, VringState)
    return c.body


def _constant(value: int) -> Handler:
    return lambda c: Outcome(c.state, value)


def _set_features(c: Context) -> Outcome:
    value = _number(c)
    if value & ~c.offer.virtio:
        raise RequestError(f"features {value & ~c.offer.virtio:#x} were not offered")
    if value == c.state.features:
        return Outcome(c.state)
    return Outcome(replace(c.state, features=value))


def _set_protocol_features(c: Context) -> Outcome:
    value = _number(c)
    if value & ~c.offer.protocol:
        raise RequestError(f"protocol features {value & ~c.offer.protocol:#x} were not offered")
    return Outcome(replace(c.state, protocol=value))


def _reset_owner(c: Context) -> Outcome:
    """Disable all rings, as the specification recommends for this deprecated request."""
    rings = {index: replace(ring, enabled=False, started=False) for index, ring in c.state.rings.items()}
    return Outcome(replace(c.state, rings=rings))


def _reset_device(c: Context) -> Outcome:
    """Go back to the initial state, but for what belongs to the connection and not to the device.

    Protocol features, memory slots (QEMU sends differences to what it sent before) and call descriptors stay.
    """
    rings = {index: Ring(call=ring.call, err=ring.err) for index, ring in c.state.rings.items()}
    return Outcome(State(protocol=c.state.protocol, memory=c.state.memory, rings=rings))


def _map(c: Context, region: Region, fd: int, done: list[Any]) -> None:
    done.append(c.device.map(region, fd))


def _new_memory(c: Context, kept: Memory | None, regions: tuple[Region, ...]) -> Memory:
    """Map the regions and join them to the kept ones. On failure nothing stays mapped."""
    old_regions, old_maps = ((), ()) if kept is None else (kept.regions, kept.maps)
    check_regions([*old_regions, *regions])
    fresh: list[Any] = []
    try:
        for region, fd in zip(regions, c.frame.fds, strict=True):
            _map(c, region, fd, fresh)
        every, maps = (*old_regions, *regions), (*old_maps, *fresh)
        return Memory(every, maps, c.device.table(every, maps))
    except RequestError:
        for mapping in fresh:
            c.device.unmap(mapping)
        raise


def _set_mem_table(c: Context) -> Outcome:
    assert isinstance(c.body, MemoryTable)
    return Outcome(replace(c.state, memory=_new_memory(c, None, c.body.regions)))


def _add_mem_reg(c: Context) -> Outcome:
    assert isinstance(c.body, Region)
    return Outcome(replace(c.state, memory=_new_memory(c, c.state.memory, (c.body,))))


def _rem_mem_reg(c: Context) -> Outcome:
    assert isinstance(c.body, Region)
    old = c.state.memory
    rows = [] if old is None else list(zip(old.regions, old.maps, strict=True))
    left = [(region, mapping) for region, mapping in rows if not region.same_place(c.body)]
    if len(left) == len(rows):
        raise RequestError(f"{c.body} is not in the memory table")
    if not left:
        return Outcome(replace(c.state, memory=None))
    regions, maps = tuple(r for r, _ in left), tuple(m for _, m in left)
    return Outcome(replace(c.state, memory=Memory(regions, maps, c.device.table(regions, maps))))


def _set_vring_num(c: Context) -> Outcome:
    body = _vring(c)
    if not 0 < body.num <= MAX_RING_SIZE or body.num & (body.num - 1):
        raise RequestError(f"ring size {body.num} is no power of two from 1 to {MAX_RING_SIZE}")
    return Outcome(c.state.with_ring(body.index, replace(c.state.ring(body.index), size=body.num)))


def _set_vring_base(c: Context) -> Outcome:
    body = _vring(c)
    if body.num > 0xFFFF:
        raise RequestError(f"ring base {body.num:#x} has more than 16 bits")
    return Outcome(c.state.with_ring(body.index, replace(c.state.ring(body.index), base=body.num)))


def _set_vring_addr(c: Context) -> Outcome:
    body = c.body
    assert isinstance(body, VringAddr)
    if body.flags & ~_LOG_FLAG:
        raise RequestError(f"unknown ring flags {body.flags:#x}")
    # VIRTIO 1.2, 2.7: alignment of descriptor table, available and used ring
    for what, address, align in (("desc", body.desc, 16), ("avail", body.avail, 2), ("used", body.used, 4)):
        if address % align:
            raise RequestError(f"{what} address {address:#x} is not a multiple of {align}")
    addr = RingAddr(Uva(body.desc), Uva(body.avail), Uva(body.used))
    return Outcome(c.state.with_ring(body.index, replace(c.state.ring(body.index), addr=addr)))


def _get_vring_base(c: Context) -> Outcome:
    """Stop the ring: it starts again with the next kick descriptor."""
    body = _vring(c)
    return Outcome(c.state.with_ring(body.index, replace(c.state.ring(body.index), started=False, kick=None)))


def _vring_fd(which: Literal["kick", "call", "err"]) -> Handler:
    def handler(c: Context) -> Outcome:
        assert isinstance(c.body, VringFd)
        for one in c.frame.fds:
            c.device.check_eventfd(one)
        fds = c.frame.take_fds()
        fd = fds[0] if fds else None
        ring = c.state.ring(c.body.index)
        if which == "kick":
            ring = replace(ring, kick=fd, started=True)
        elif which == "call":
            ring = replace(ring, call=fd)
        else:
            ring = replace(ring, err=fd)
        return Outcome(c.state.with_ring(c.body.index, ring))

    return handler


def _set_vring_enable(c: Context) -> Outcome:
    body = _vring(c)
    if body.num not in (0, 1):
        raise RequestError(f"ring enable {body.num} is neither 0 nor 1")
    return Outcome(c.state.with_ring(body.index, replace(c.state.ring(body.index), enabled=bool(body.num))))


def _net_set_mtu(c: Context) -> Outcome:
    if _number(c) not in _MTU:
        raise RequestError(f"MTU {_number(c)} is not from {_MTU.start} to {_MTU.stop - 1}")
    c.device.set_mtu(_number(c))
    return Outcome(c.state)


def _set_status(c: Context) -> Outcome:
    """VIRTIO 1.2, 2.1: 0 is a reset of the device, which stops its rings."""
    value = _number(c)
    if value > 0xFF:
        raise RequestError(f"status {value:#x} has more than 8 bits")
    if value:
        return Outcome(replace(c.state, status=value))
    rings = {index: replace(ring, started=False) for index, ring in c.state.rings.items()}
    return Outcome(replace(c.state, status=0, rings=rings))


HANDLERS: dict[Request, Handler] = {
    Request.GET_FEATURES: lambda c: Outcome(c.state, c.offer.virtio),
    Request.SET_FEATURES: _set_features,
    Request.SET_OWNER: _constant(0),
    Request.RESET_OWNER: _reset_owner,
    Request.SET_MEM_TABLE: _set_mem_table,
    Request.SET_VRING_NUM: _set_vring_num,
    Request.SET_VRING_ADDR: _set_vring_addr,
    Request.SET_VRING_BASE: _set_vring_base,
    Request.GET_VRING_BASE: _get_vring_base,
    Request.SET_VRING_KICK: _vring_fd("kick"),
    Request.SET_VRING_CALL: _vring_fd("call"),
    Request.SET_VRING_ERR: _vring_fd("err"),
    Request.GET_PROTOCOL_FEATURES: lambda c: Outcome(c.state, c.offer.protocol),
    Request.SET_PROTOCOL_FEATURES: _set_protocol_features,
    Request.GET_QUEUE_NUM: lambda c: Outcome(c.state, c.offer.pairs),
    Request.SET_VRING_ENABLE: _set_vring_enable,
    Request.NET_SET_MTU: _net_set_mtu,
    Request.RESET_DEVICE: _reset_device,
    Request.GET_MAX_MEM_SLOTS: _constant(MAX_REGIONS),
    Request.ADD_MEM_REG: _add_mem_reg,
    Request.REM_MEM_REG: _rem_mem_reg,
    Request.SET_STATUS: _set_status,
    Request.GET_STATUS: lambda c: Outcome(c.state, c.state.status),
}
