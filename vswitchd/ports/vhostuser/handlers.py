"""What each request does: a function from the state, checked body and descriptors to a new state. Here: the device itself."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from vswitchd.ports.vhostuser.errors import ProtocolError, RequestError
from vswitchd.ports.vhostuser.features import Protocol, Virtio, has
from vswitchd.ports.vhostuser.handlers_memory import MEMORY_HANDLERS
from vswitchd.ports.vhostuser.handlers_postcopy import POSTCOPY_HANDLERS
from vswitchd.ports.vhostuser.handlers_ring import RING_HANDLERS
from vswitchd.ports.vhostuser.handling import Context, Handler, Outcome
from vswitchd.ports.vhostuser.memory import MAX_REGIONS
from vswitchd.ports.vhostuser.messages import Request
from vswitchd.ports.vhostuser.payloads import U64, U64_LAYOUT
from vswitchd.ports.vhostuser.state import State

if TYPE_CHECKING:
    from collections.abc import Mapping

_MTU = range(68, 65536)
_GROUP_BIT = 1


def _number(c: Context) -> int:
    assert isinstance(c.body, U64)
    return c.body.value


def _constant(value: int) -> Handler:
    return lambda c: Outcome(c.state, value)


def _set_features(c: Context) -> Outcome:
    value = _number(c)
    if value & ~c.offer.virtio:
        raise RequestError(f"features {value & ~c.offer.virtio:#x} were not offered")
    if has(value, Virtio.RING_PACKED) and not has(value, Virtio.VERSION_1):
        raise RequestError("packed rings without VERSION_1")  # VIRTIO 1.2, 6: a legacy driver has split rings
    if value == c.state.features:
        return Outcome(c.state)
    return Outcome(replace(c.state, features=value))


def _set_protocol_features(c: Context) -> Outcome:
    value = _number(c)
    if value & ~c.offer.protocol:
        raise RequestError(f"protocol features {value & ~c.offer.protocol:#x} were not offered")
    needed = (Protocol.BACKEND_REQ, Protocol.REPLY_ACK)
    if has(value, Protocol.INBAND_NOTIFICATIONS) and not all(has(value, bit) for bit in needed):
        # In-band notifications: "the back-end should close the connection", as there is no other way to tell
        raise ProtocolError("INBAND_NOTIFICATIONS needs BACKEND_REQ and REPLY_ACK")
    return Outcome(replace(c.state, protocol=value))


def _reset_owner(c: Context) -> Outcome:
    """Disable all rings, as the specification recommends for this deprecated request."""
    rings = {index: replace(ring, enabled=False, started=False) for index, ring in c.state.rings.items()}
    return Outcome(replace(c.state, rings=rings))


def _reset_device(c: Context) -> Outcome:
    """Go back to the initial state, but for what belongs to the connection and not to the device.

    Protocol features, the back-end channel, memory slots (QEMU sends differences to what it sent before) and
    call descriptors stay.
    """
    old = c.state
    rings = {index: ring.reset() for index, ring in old.rings.items()}
    kept = State(protocol=old.protocol, memory=old.memory, backend=old.backend, postcopy=old.postcopy)
    return Outcome(replace(kept, rings=rings))


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


def _send_rarp(c: Context) -> Outcome:
    """The first 6 bytes of the payload are the guest's address."""
    mac = U64_LAYOUT.pack(_number(c))[:6]
    if mac[0] & _GROUP_BIT or not any(mac):
        raise RequestError(f"{mac.hex(':')} is no address of one guest")
    c.device.send_rarp(mac)
    return Outcome(c.state)


def _set_backend_req_fd(c: Context) -> Outcome:
    c.device.check_channel(c.frame.fds[0])
    return Outcome(replace(c.state, backend=c.frame.take_fds()[0]))


HANDLERS: Mapping[Request, Handler] = {
    Request.GET_FEATURES: lambda c: Outcome(c.state, c.offer.virtio),
    Request.SET_FEATURES: _set_features,
    Request.SET_OWNER: _constant(0),
    Request.RESET_OWNER: _reset_owner,
    Request.GET_PROTOCOL_FEATURES: lambda c: Outcome(c.state, c.offer.protocol),
    Request.SET_PROTOCOL_FEATURES: _set_protocol_features,
    Request.GET_QUEUE_NUM: lambda c: Outcome(c.state, c.offer.pairs),
    Request.SEND_RARP: _send_rarp,
    Request.NET_SET_MTU: _net_set_mtu,
    Request.SET_BACKEND_REQ_FD: _set_backend_req_fd,
    Request.RESET_DEVICE: _reset_device,
    Request.GET_MAX_MEM_SLOTS: _constant(MAX_REGIONS),
    Request.SET_STATUS: _set_status,
    Request.GET_STATUS: lambda c: Outcome(c.state, c.state.status),
    **MEMORY_HANDLERS,
    **POSTCOPY_HANDLERS,
    **RING_HANDLERS,
}
