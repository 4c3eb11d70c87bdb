"""What one front-end has told us, as immutable values, and which rings run because of it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from vswitchd.ports.vhostuser.features import Virtio, has

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vswitchd.ports.vhostuser.memory import Region, Uva

MAX_PAIRS = 64  # VS_VHOST_PAIRS
MAX_RINGS = 2 * MAX_PAIRS


@dataclass(frozen=True, slots=True)
class RingAddr:
    """Where a ring is."""

    desc: Uva
    avail: Uva
    used: Uva


@dataclass(frozen=True, slots=True)
class Ring:
    """What is known of one ring. Descriptors are owned by the session."""

    size: int = 0
    addr: RingAddr | None = None
    base: int = 0
    started: bool = False
    """Kick descriptor (or the wish to be polled) came, and no GET_VRING_BASE since."""
    kick: int | None = None
    call: int | None = None
    err: int | None = None
    enabled: bool = False

    @property
    def fds(self) -> set[int]:
        """The descriptors this ring holds."""
        return {fd for fd in (self.kick, self.call, self.err) if fd is not None}


@dataclass(frozen=True, slots=True, eq=False)
class Memory:
    """A memory table in force. Compared by identity: a new one means new addresses."""

    regions: tuple[Region, ...]
    maps: tuple[Any, ...]
    """One mapping per region; a mapping may outlive this table in the next one."""
    table: Any


@dataclass(frozen=True, slots=True)
class RingSpec:
    """All that a running ring depends on: when it changes, the ring is stopped and started anew."""

    memory: Memory
    features: int
    size: int
    addr: RingAddr
    kick: int | None


@dataclass(frozen=True, slots=True)
class State:
    """Everything negotiated. Handlers make a changed copy, which the session puts into force."""

    features: int | None = None
    protocol: int = 0
    status: int = 0
    memory: Memory | None = None
    rings: Mapping[int, Ring] = field(default_factory=dict)

    def ring(self, index: int) -> Ring:
        """Return what is known of a ring, also when nothing is."""
        return self.rings.get(index, Ring())

    def with_ring(self, index: int, ring: Ring) -> State:
        """Return the state with one ring changed."""
        return replace(self, rings={**self.rings, index: ring})

    @property
    def fds(self) -> set[int]:
        """All descriptors that are held."""
        return {fd for ring in self.rings.values() for fd in ring.fds}

    def spec(self, index: int) -> RingSpec | None:
        """Return what the ring must run with, or None when it must not run.

        A ring runs from its kick descriptor on (section Ring states says "upon receiving a kick", but drivers
        that poll send none), when it is enabled; without PROTOCOL_FEATURES it is enabled from the start.
        """
        ring = self.ring(index)
        if self.features is None or self.memory is None or ring.addr is None:
            return None
        if not ring.size or not ring.started:
            return None
        if has(self.features, Virtio.PROTOCOL_FEATURES) and not ring.enabled:
            return None
        return RingSpec(self.memory, self.features, ring.size, ring.addr, ring.kick)

    def specs(self) -> dict[int, RingSpec]:
        """Return all rings that must run."""
        found = {index: self.spec(index) for index in sorted(self.rings)}
        return {index: spec for index, spec in found.items() if spec is not None}
