"""What the datapath tells: punts, ledgers, statistics of cores and queues; and the handle of an attached port."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from vswitchd.datapath import qos
from vswitchd.datapath.bridge import DpBridge
from vswitchd.datapath.core import RX_DROPS, TX_DROPS, check, ffi, lib
from vswitchd.datapath.qos_spec import QosSpec, QueueSpec

_ALL_VLANS = b"\xff" * (4096 // 8)
_VLAN_MODES = {"trunk": 0, "access": 1, "native-tagged": 2, "native-untagged": 3}


@dataclass(frozen=True, slots=True)
class Punt:
    """A packet for a controller. cookie all ones: of no rule (an action set, a bucket, a packet-out)."""

    bridge: int
    in_port: int
    table: int
    cookie: int
    reason: int
    metadata: int
    total_len: int
    max_len: int
    data: bytes
    tunnel_id: int = 0


@dataclass(frozen=True, slots=True)
class PortCounters:
    """The ledger of a port: rx_packets = rx_forwarded + sum(rx_drops), tx_offered = tx_packets + sum(tx_drops)."""

    rx_packets: int
    rx_bytes: int
    rx_forwarded: int
    tx_offered: int
    tx_packets: int
    tx_bytes: int
    tx_retries: int
    rx_drops: dict[str, int]
    """Reasons that occurred."""
    tx_drops: dict[str, int]

    @property
    def closes(self) -> bool:
        """Does each packet have a fate? Exact when no core is in the middle of a batch."""
        return self.rx_packets == self.rx_forwarded + sum(self.rx_drops.values()) and (
            self.tx_offered == self.tx_packets + sum(self.tx_drops.values())
        )


@dataclass(frozen=True, slots=True)
class CoreStats:
    """struct vs_core_stats of one polling core; cycles are those of cycles_per_us."""

    core: int
    cpu: int
    n_rxq: int
    busy_cycles: int
    idle_cycles: int
    asleep_cycles: int
    iterations: int
    busy_iterations: int
    sleeps: int
    rx_packets: int
    batches: int
    emc_hits: int
    emc_misses: int
    emc_used: int
    emc_size: int
    emc_inserted: int
    emc_evicted: int
    programs: int
    programs_refused: int
    tx_packets: int
    tx_batches: int
    punt_packets: int
    punt_refused: int
    deaf_queues: int
    max_gap_cycles: int


@dataclass(frozen=True, slots=True)
class RxqStats:
    """One receive queue and what its core spent on it."""

    port: str
    rxq: int
    core: int
    cpu: int
    pinned: bool
    cycles: int
    packets: int
    batches: int


class PortHandle:
    """A port attached to the datapath. Dead after Datapath.detach."""

    def __init__(self, cdata: Any, name: str, bridge: DpBridge, index: int) -> None:
        self.cdata = cdata
        self.name = name
        self.bridge = bridge
        self.index = index
        self._queues: dict[int, tuple[QueueSpec, int]] = {}  # with the time when it came

    @property
    def ofport(self) -> int:
        """OpenFlow port number."""
        return int(lib.vs_port_ofport(self.cdata))

    @property
    def n_rxq(self) -> int:
        """Receive queues that exist now."""
        return int(lib.vs_port_n_rxq(self.cdata))

    def counters(self) -> PortCounters:
        """Sum over all cores, now."""
        c = ffi.new("struct vs_port_counters *")
        lib.vs_port_read_counters(self.cdata, c)
        drops = ffi.unpack(c.drops, len(RX_DROPS) + len(TX_DROPS))
        rx = {label: n for label, n in zip(RX_DROPS, drops, strict=False) if n}
        tx = {label: n for label, n in zip(TX_DROPS, drops[len(RX_DROPS) :], strict=True) if n}
        return PortCounters(
            c.rx_packets,
            c.rx_bytes,
            c.rx_forwarded,
            c.tx_offered,
            c.tx_packets,
            c.tx_bytes,
            c.tx_retries,
            rx,
            tx,
        )

    def set_config(self, bits: int) -> None:
        """OFPPC_* bits."""
        lib.vs_port_set_config(self.cdata, bits)

    def set_link(self, up: bool) -> None:
        """Link state as the control plane knows it."""
        lib.vs_port_set_link(self.cdata, up)

    def set_vlan(self, mode: str = "trunk", tag: int = 0, trunks: Iterable[int] = ()) -> None:
        """Membership for NORMAL: mode trunk, access, native-tagged or native-untagged; no trunks: all VLANs."""
        v = ffi.new("struct vs_port_vlan *")
        v.mode = _VLAN_MODES[mode]
        v.tag = tag
        listed = list(trunks)
        if not listed:
            ffi.memmove(v.trunks, _ALL_VLANS, len(_ALL_VLANS))
        for vid in listed:
            v.trunks[vid // 8] |= 1 << vid % 8
        lib.vs_port_set_vlan(self.cdata, v)

    def set_patch_peer(self, other: PortHandle | None) -> None:
        """Where a patch port's packets come out."""
        lib.vs_port_set_patch_peer(self.cdata, other.cdata if other else ffi.NULL)

    def set_qos(self, spec: QosSpec | None) -> None:
        """Rate and queues of what is sent, or none. Raises DatapathError; then the old one stays."""
        qos.set_qos(self.cdata, spec)
        now = self.bridge.now_ms()
        old, wanted = self._queues, () if spec is None else spec.queues
        ids = {q.id: q for q in sorted(wanted, key=lambda q: q.id)}
        self._queues = {i: (q, old[i][1] if i in old else now) for i, q in ids.items()}

    def queues(self) -> dict[int, QueueSpec]:
        """The queues that the port has, by number."""
        return {number: queue for number, (queue, _) in self._queues.items()}

    def queue_age_ms(self, queue: int) -> int:
        """For how long there has been a queue of that number."""
        return self.bridge.now_ms() - self._queues[queue][1]

    def queue_stats(self, queue: int) -> qos.QueueStats:
        """Counters of a queue. Raises DatapathError (ENOENT) when there is none of that number."""
        return qos.queue_stats(self.cdata, queue)

    def waiting(self) -> int:
        """Packets that wait in queues; they are not in the ledger yet."""
        return int(lib.vs_port_waiting(self.cdata))

    def set_policing(self, rate: int, burst: int = 0) -> None:
        """Drop what the port receives over this rate (bits/s, bits); 0: take all. Raises DatapathError."""
        check(lib.vs_port_set_policing(self.cdata, rate, burst), "policing")
