"""What a port may send, as plain values: no compiled code is needed, so the configuration makes them too.

Rates are bits a second, bursts bits; 0 means none, or the default.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass


class QosKind(enum.IntEnum):
    """What becomes of what is over the rate."""

    SHAPE = 0
    """It waits."""
    POLICE = 1
    """It is dropped; there are no queues."""


@dataclass(frozen=True, slots=True)
class QueueSpec:
    """A queue; `priority`: what minimum rates leave goes to the lowest first; limits: of what may wait (0: the default)."""

    id: int
    min_rate: int = 0
    max_rate: int = 0
    burst: int = 0
    priority: int = 0
    limit_packets: int = 0
    limit_bytes: int = 0


@dataclass(frozen=True, slots=True)
class QosSpec:
    """The rate of a port and its queues."""

    max_rate: int = 0
    queues: tuple[QueueSpec, ...] = ()
    kind: QosKind = QosKind.SHAPE
    burst: int = 0
