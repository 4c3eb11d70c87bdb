"""QoS of an attached port: setting it, and what a queue counted. All on the control thread (qos.h)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vswitchd.datapath.core import check, ffi, lib
from vswitchd.datapath.qos_spec import QosSpec, QueueSpec


@dataclass(frozen=True, slots=True)
class QueueStats:
    """packets and bytes handed to the port, packets dropped because the queue was full, what waits now."""

    packets: int
    bytes: int
    dropped: int
    waiting_packets: int
    waiting_bytes: int


def set_qos(port: Any, spec: QosSpec | None) -> None:
    """Give an attached port this QoS, or none; what waits in queues that stay goes on waiting. Raises DatapathError."""
    if spec is None:
        lib.vs_port_clear_qos(port)
        return
    c = ffi.new("struct vs_qos_spec *")
    c.type, c.max_rate, c.burst = spec.kind, spec.max_rate, spec.burst
    queues = ffi.new("struct vs_queue_spec[]", len(spec.queues))
    for to, queue in zip(queues, spec.queues, strict=True):
        for name in QueueSpec.__slots__:
            setattr(to, name, getattr(queue, name))
    check(lib.vs_port_set_qos(port, c, queues, len(spec.queues)), "QoS")


def queue_stats(port: Any, queue: int) -> QueueStats:
    """Sum over all cores, now. Raises DatapathError (ENOENT) when the port has no such queue."""
    s = ffi.new("struct vs_queue_stats *")
    check(lib.vs_port_queue_stats(port, queue, s), f"queue {queue}")
    return QueueStats(s.packets, s.bytes, s.dropped, s.waiting_packets, s.waiting_bytes)
