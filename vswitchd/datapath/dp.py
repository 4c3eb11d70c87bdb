"""The datapath as the control plane drives it: cores, ports, punts, clocks. All on the control thread.

Bridges (rules, groups, MAC table) are in bridge.py; actions and rules as values in action.py.
"""

from __future__ import annotations

import errno
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from vswitchd.datapath.action import (
    PUNT_ACTION,
    PUNT_MISS,
    PUNT_NO_MATCH,
    PUNT_TTL,
    Action,
    RuleSpec,
    copy_ttl_in,
    copy_ttl_out,
    dec_mpls_ttl,
    dec_ttl,
    drop,
    group,
    lenient,
    meter,
    output,
    pack_match,
    pop_mpls,
    pop_pbb,
    pop_vlan,
    push_mpls,
    push_pbb,
    push_vlan,
    set_field,
    set_mpls_ttl,
    set_queue,
    set_ttl,
)
from vswitchd.datapath.bridge import BandSpec, BucketSpec, DpBridge
from vswitchd.datapath.core import RX_DROPS, TX_DROPS, DatapathError, check, ffi, lib, no_memory
from vswitchd.datapath.records import CoreStats, PortCounters, PortHandle, Punt, RxqStats
from vswitchd.datapath.trace import LiveTrace

__all__ = [
    "OFPP_LOCAL",
    "PUNT_ACTION",
    "PUNT_MISS",
    "PUNT_NO_MATCH",
    "PUNT_TTL",
    "RX_DROPS",
    "TX_DROPS",
    "Action",
    "BandSpec",
    "BucketSpec",
    "CoreStats",
    "Datapath",
    "DatapathError",
    "DpBridge",
    "PortCounters",
    "PortHandle",
    "Punt",
    "RuleSpec",
    "RxqStats",
    "copy_ttl_in",
    "copy_ttl_out",
    "dec_mpls_ttl",
    "dec_ttl",
    "drop",
    "ffi",
    "group",
    "lenient",
    "lib",
    "meter",
    "output",
    "pop_mpls",
    "pop_pbb",
    "pop_vlan",
    "push_mpls",
    "push_pbb",
    "push_vlan",
    "set_field",
    "set_mpls_ttl",
    "set_queue",
    "set_ttl",
]

OFPP_LOCAL = 0xFFFFFFFE
# Address space for each core; memory comes with the flows, 66 bytes each and a table half full. With a million flows of a rule each
# a packet takes 88 cycles, 242 where a million entries are the most, 573 where 2^18 are (tests/bench/README.md).
DEFAULT_EMC_ENTRIES = 1 << 21


class Datapath:
    """All bridges, ports and polling cores of the process."""

    def __init__(self, emc_entries: int = DEFAULT_EMC_ENTRIES, *, manual: bool = False) -> None:
        """emc_entries per core, 0: no cache. manual: cores run only in poll() (tests)."""
        self._dp = lib.vs_dp_new(emc_entries, manual)
        if self._dp == ffi.NULL:
            raise no_memory("datapath")
        self.manual = manual
        self.bridges: dict[int, DpBridge] = {}
        self.ports: dict[int, PortHandle] = {}
        self._cores: dict[int, int] = {}  # core index -> cpu
        self._pins: dict[tuple[int, int], int] = {}  # (port index, rxq) -> core
        self._wanted: dict[tuple[str, int], int] = {}  # (port name, rxq) -> cpu
        self._data = ffi.new("uint8_t[]", lib.VS_MAX_FRAME)
        if manual:
            self.set_cores([-1])

    def close(self) -> None:
        """Stop all cores and free everything; ports still attached are destroyed."""
        if self._dp != ffi.NULL:
            lib.vs_dp_free(self._dp)
            self._dp = ffi.NULL
            self.ports.clear()
            self.bridges.clear()

    # ---- cores

    @property
    def cycles_per_us(self) -> int:
        """Rate of the cycle counters."""
        return int(lib.vs_dp_cycles_per_us(self._dp))

    def cores(self) -> list[int]:
        """CPUs of the polling cores."""
        return list(self._cores.values())

    def set_cores(self, cpus: Sequence[int]) -> None:
        """Run polling cores on these CPUs, no others. Raises DatapathError when one cannot be started; the others run."""
        for core, cpu in list(self._cores.items()):
            if cpu not in cpus:
                del self._cores[core]
                self._assign({pin: c for pin, c in self._pins.items() if c != core})
                lib.vs_dp_core_remove(self._dp, core)
        try:
            for cpu in cpus:
                if cpu not in self._cores.values():
                    core = check(lib.vs_dp_core_add(self._dp, cpu), f"polling core on CPU {cpu}")
                    self._cores[core] = cpu
        finally:
            self.rebalance()

    def set_idle_sleep(self, microseconds: int | None) -> None:
        """Idle time after which a core sleeps; None: never."""
        lib.vs_dp_set_idle_sleep(self._dp, -1 if microseconds is None else microseconds)

    def assign_rxqs(self, wanted: Mapping[tuple[str, int], int]) -> None:
        """Pin receive queues (port name, queue) to CPUs; the rest is spread. Queues pinned to a CPU without core are spread too."""
        self._wanted = dict(wanted)
        self.rebalance()

    def rebalance(self) -> None:
        """Give every receive queue a core: pinned ones theirs, others stay where they are or go to the core with the fewest.

        Fewest of the same port first, then of all: the queues of a guest are alike in load, those of an idle port are not.
        """
        by_cpu = {cpu: core for core, cpu in self._cores.items()}
        pins: dict[tuple[int, int], int] = {}
        loose: list[tuple[int, int]] = []
        for port in self.ports.values():
            for rxq in range(port.n_rxq):
                core = by_cpu.get(self._wanted.get((port.name, rxq), -2))
                if core is None:
                    loose.append((port.index, rxq))
                else:
                    pins[port.index, rxq] = core
        isolated = set(pins.values())
        free = [c for c in self._cores if c not in isolated] or list(self._cores)
        if free:
            pins.update(self._spread(loose, free))
        self._assign(pins)

    def _spread(self, loose: Sequence[tuple[int, int]], cores: Sequence[int]) -> dict[tuple[int, int], int]:
        pins: dict[tuple[int, int], int] = {}
        queues = Counter(port for port, _ in loose)
        load, siblings = dict.fromkeys(cores, 0), Counter[tuple[int, int]]()
        homeless = []

        def share(n: int) -> int:
            return -(-n // len(cores))

        def put(pin: tuple[int, int], core: int) -> None:
            pins[pin] = core
            load[core] += 1
            siblings[core, pin[0]] += 1

        for pin in loose:
            core = self._pins.get(pin)
            if (
                core in load
                and load[core] < share(len(loose))
                and siblings[core, pin[0]] < share(queues[pin[0]])
            ):
                put(pin, core)
            else:
                homeless.append(pin)
        for pin in homeless:
            put(pin, min(load, key=lambda c: (siblings[c, pin[0]], load[c])))
        return pins

    def _assign(self, pins: dict[tuple[int, int], int]) -> None:
        array = ffi.new("struct vs_rxq_pin[]", len(pins))
        for slot, ((port, rxq), core) in zip(array, pins.items(), strict=True):
            slot.port, slot.rxq, slot.core = port, rxq, core
        check(lib.vs_dp_assign(self._dp, array, len(pins)), "receive queues")
        self._pins = pins

    def poll(self) -> int:
        """Manual mode: one iteration of every core. Returns the packets received."""
        return int(lib.vs_dp_poll(self._dp))

    def wake(self) -> None:
        """Wake sleeping cores: a port has new descriptors to wait for."""
        lib.vs_dp_wake(self._dp)

    def core_stats(self) -> list[CoreStats]:
        """One row per polling core."""
        rows = []
        c = ffi.new("struct vs_core_stats *")
        for core in self._cores:
            lib.vs_dp_core_stats(self._dp, core, c)
            rows.append(CoreStats(core, *(getattr(c, name) for name in CoreStats.__slots__[1:])))
        return rows

    def rxq_stats(self) -> list[RxqStats]:
        """One row per receive queue and the core that polls it."""
        rows = []
        s = ffi.new("struct vs_rxq_stats *")
        for (index, rxq), core in sorted(self._pins.items()):
            port = self.ports.get(index)
            if port is None:
                continue
            lib.vs_port_rxq_stats(port.cdata, rxq, s)
            pinned = self._wanted.get((port.name, rxq)) == self._cores[core]
            rows.append(
                RxqStats(port.name, rxq, core, self._cores[core], pinned, s.cycles, s.packets, s.batches)
            )
        return rows

    # ---- bridges and ports

    def create_bridge(self, name: str) -> DpBridge:
        """A bridge without ports and rules."""
        cdata = lib.vs_dp_bridge_add(self._dp, name.encode())
        if cdata == ffi.NULL:
            raise no_memory(f"bridge {name}")
        bridge = DpBridge(self._dp, cdata, name)
        self.bridges[bridge.index] = bridge
        return bridge

    def delete_bridge(self, bridge: DpBridge) -> None:
        """Detach its ports and free it."""
        for port in [p for p in self.ports.values() if p.bridge is bridge]:
            self.detach(port)
        del self.bridges[bridge.index]
        lib.vs_dp_bridge_remove(self._dp, bridge.cdata)

    def attach(self, handle: Any, bridge: DpBridge, ofport: int, name: str = "") -> PortHandle:
        """Put a driver's port under a number; call rebalance() when all new ports are attached. Raises DatapathError."""
        index = lib.vs_dp_attach(self._dp, handle, bridge.cdata, ofport)
        if index == -errno.EEXIST:
            raise DatapathError(f"port number {ofport} is taken on bridge {bridge.name}", errno.EEXIST)
        check(index, f"port {name}")
        port = PortHandle(handle, name, bridge, index)
        self.ports[index] = port
        return port

    def detach(self, port: PortHandle) -> None:
        """Take the port away from cores and bridge and destroy it after a grace period."""
        del self.ports[port.index]
        self._pins = {pin: core for pin, core in self._pins.items() if pin[0] != port.index}
        lib.vs_dp_detach(self._dp, port.cdata)

    def live_trace(self, port: PortHandle, match: tuple[tuple[str, int, int], ...], limit: int) -> LiveTrace:
        """Record the next packets that the port receives and that match. Raises DatapathError, KeyError (field)."""
        return LiveTrace(self._dp, port.cdata, *pack_match(match), limit)

    # ---- clock, counters, punts

    def now_ms(self) -> int:
        """Milliseconds of the datapath clock (that of `used_ms`)."""
        return int(lib.vs_dp_now_ms(self._dp))

    def set_time_ms(self, ms: int | None) -> None:
        """Virtual clock for tests; None: real time."""
        lib.vs_dp_set_time(self._dp, -1 if ms is None else ms)

    def harvest(self) -> None:
        """Bring rule and table counters up to now."""
        lib.vs_dp_harvest(self._dp)

    def housekeeping(self) -> bool:
        """Retire removed rules and free memory; some times a second. True: call again soon."""
        return bool(lib.vs_dp_housekeep(self._dp))

    @property
    def punt_fd(self) -> int:
        """Readable when take_punts has something."""
        return int(lib.vs_dp_punt_fd(self._dp))

    def take_punts(self, maximum: int = 256) -> list[Punt]:
        """Oldest punts, round robin over the cores. Fewer than `maximum`: all taken; read punt_fd before calling."""
        r = ffi.new("struct vs_punt_record *")
        out: list[Punt] = []
        while len(out) < maximum and lib.vs_dp_punt_take(self._dp, r, self._data, lib.VS_MAX_FRAME):
            metadata = int.from_bytes(ffi.buffer(ffi.addressof(r, "metadata"), 8)[:], "big")
            tunnel_id = int.from_bytes(ffi.buffer(ffi.addressof(r, "tunnel_id"), 8)[:], "big")
            data = ffi.buffer(self._data, r.data_len)[:]
            out.append(
                Punt(
                    r.bridge,
                    r.in_port,
                    r.table,
                    r.cookie,
                    r.reason,
                    metadata,
                    r.frame_len,
                    r.max_len,
                    data,
                    tunnel_id,
                )
            )
        return out
