"""The ports of a switch as OpenFlow sees them: descriptions, port-mod, statistics (7.2.1, 7.3.4.3, 7.3.5.6).

The daemon says which ports there are; a port-mod changes their OFPPC bits, which go down to the datapath. The
PORT_DOWN that the daemon describes a port with (it is down in the kernel) is shown but not sent down: the
port itself sees to it, and it may end at any time. Thread: control.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from vswitchd.ofproto.constants import OFPPC, OFPPS, U64_MAX
from vswitchd.ofproto.constants10 import OFPPC10
from vswitchd.ofproto.errors import OFPBRC, OFPPMFC, OFError
from vswitchd.ofproto.stats import PortStats

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from vswitchd.datapath import dp
    from vswitchd.ofproto.messages import PortMod
    from vswitchd.ofproto.structures import Port

_CONFIG_13 = int(OFPPC.PORT_DOWN | OFPPC.NO_RECV | OFPPC.NO_FWD | OFPPC.NO_PACKET_IN)
# 1.0's: there is no spanning tree here, so NO_STP and NO_RECV_STP are kept and shown only.
_CONFIG = _CONFIG_13 | int(OFPPC10.NO_STP | OFPPC10.NO_RECV_STP | OFPPC10.NO_FLOOD)
_DP_NO_FLOOD = 128
"""VS_PORT_NO_FLOOD of port.h; the others have the numbers of OFPPC."""
# Drops that are faults of a frame or of its sender, not of the switch's will: rx_errors and tx_errors.
_RX_ERRORS = frozenset({"runt", "oversize", "bad_descriptor", "bad_offload"})
_TX_ERRORS = frozenset({"bad_descriptor", "error", "offload_unsupported"})


@dataclass(slots=True)
class _Entry:
    desc: Port
    handle: dp.PortHandle
    since: float
    told: Port
    """As the daemon described it."""
    config: int = 0
    """The bits that controllers set."""


def _shown(told: Port, config: int) -> Port:
    """Describe a port with the bits that controllers set. One that is configured down is not live (6.7)."""
    config |= told.config
    state = told.state & ~OFPPS.LIVE if config & OFPPC.PORT_DOWN else told.state
    return replace(told, config=config, state=int(state))


class PortTable:
    """The ports of one bridge by number."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._ports: dict[int, _Entry] = {}
        self._clock = clock

    def __iter__(self) -> Iterator[int]:
        return iter(sorted(self._ports))

    def __contains__(self, port: object) -> bool:
        return port in self._ports

    def desc(self, port: int) -> Port:
        """Return the description of a port that is there."""
        return self._ports[port].desc

    def handle(self, port: int) -> dp.PortHandle:
        """Return a port that is there as the datapath knows it."""
        return self._ports[port].handle

    def add(self, desc: Port, handle: dp.PortHandle) -> Port:
        """Add a port."""
        shown = _shown(desc, 0)
        self._ports[desc.port_no] = _Entry(shown, handle, self._clock(), desc)
        return shown

    def remove(self, port: int) -> Port | None:
        """Forget a port; return its last description, None if it was not there."""
        entry = self._ports.pop(port, None)
        return None if entry is None else entry.desc

    def change(self, desc: Port) -> Port | None:
        """Take a new description; return it as it is shown, None if nothing is new or there is no port."""
        entry = self._ports.get(desc.port_no)
        if entry is None:
            return None
        entry.told = desc
        shown = _shown(desc, entry.config)
        if shown == entry.desc:
            return None
        entry.desc = shown
        return shown

    def check(self, mod: PortMod) -> None:
        """Refuse a port-mod that cannot be carried out; OFError of type PORT_MOD_FAILED."""
        entry = self._ports.get(mod.port_no)
        if entry is None:
            raise OFError(OFPPMFC.BAD_PORT, f"port {mod.port_no}")
        if mod.hw_addr != entry.desc.hw_addr:
            raise OFError(OFPPMFC.BAD_HW_ADDR, f"port {mod.port_no} has {entry.desc.hw_addr.hex(':')}")
        if mod.mask & ~_CONFIG or mod.config & mod.mask & ~_CONFIG:
            raise OFError(OFPPMFC.BAD_CONFIG, f"config {mod.config:#x}/{mod.mask:#x}")
        if mod.advertise & ~entry.desc.supported:
            raise OFError(OFPPMFC.BAD_ADVERTISE, f"advertise {mod.advertise:#x}")

    def modify(self, mod: PortMod) -> Port | None:
        """Carry out a port-mod that `check()` let pass; return the new description, None if nothing is new."""
        entry = self._ports.get(mod.port_no)
        if entry is None:
            return None
        config = (entry.config & ~mod.mask) | (mod.config & mod.mask)
        if config == entry.config:
            return None
        flood = _DP_NO_FLOOD if config & OFPPC10.NO_FLOOD else 0
        entry.handle.set_config(config & _CONFIG_13 | flood)
        entry.config = config
        entry.desc = _shown(entry.told, config)
        return entry.desc

    def stats(self, port: int) -> PortStats:
        """Return the counters of a port; OFError BAD_PORT if there is none."""
        entry = self._ports.get(port)
        if entry is None:
            raise OFError(OFPBRC.BAD_PORT, f"port {port}")
        counters = entry.handle.counters()
        sec, nsec = duration(self._clock() - entry.since)
        rx_errors = sum(n for label, n in counters.rx_drops.items() if label in _RX_ERRORS)
        tx_errors = sum(n for label, n in counters.tx_drops.items() if label in _TX_ERRORS)
        return PortStats(
            port,
            rx_packets=counters.rx_packets,
            tx_packets=counters.tx_packets,
            rx_bytes=counters.rx_bytes,
            tx_bytes=counters.tx_bytes,
            rx_dropped=sum(counters.rx_drops.values()) - rx_errors,
            tx_dropped=sum(counters.tx_drops.values()) - tx_errors,
            rx_errors=rx_errors,
            tx_errors=tx_errors,
            rx_frame_err=U64_MAX,
            rx_over_err=U64_MAX,
            rx_crc_err=U64_MAX,
            collisions=U64_MAX,
            duration_sec=sec,
            duration_nsec=nsec,
        )


def duration(seconds: float) -> tuple[int, int]:
    """Split a duration into whole seconds and nanoseconds, as statistics carry it."""
    nanos = max(0, int(seconds * 1_000_000_000))
    return nanos // 1_000_000_000, nanos % 1_000_000_000
