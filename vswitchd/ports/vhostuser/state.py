"""What one front-end has told us, as immutable values, and which rings run because of it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from vswitchd.ports.vhostuser.features import MAX_PAIRS, Protocol, Virtio, has
from vswitchd.ports.vhostuser.memory import Iova, Span, Uva

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vswitchd.ports.vhostuser.memory import Region

MAX_RINGS = 2 * MAX_PAIRS

A = TypeVar("A", Uva, Iova)


@dataclass(frozen=True, slots=True)
class RingAddr(Generic[A]):
    """Where a ring is: descriptor table, available and used ring; of a packed ring, ring and event structures."""

    desc: A
    avail: A
    used: A


@dataclass(frozen=True, slots=True)
class WireAddr:
    """What SET_VRING_ADDR said: of which kind the addresses are depends on features that may still change."""

    desc: int
    avail: int
    used: int
    logged: bool = False
    """The used ring is logged, too (VHOST_VRING_F_LOG)."""
    log: int = 0
    """Guest physical address of the used ring, for the log; not believed."""

    def as_uva(self) -> RingAddr[Uva]:
        """Return the addresses as the front-end's own."""
        return RingAddr(Uva(self.desc), Uva(self.avail), Uva(self.used))

    def as_iova(self) -> RingAddr[Iova]:
        """Return the addresses as IOVAs."""
        return RingAddr(Iova(self.desc), Iova(self.avail), Iova(self.used))


@dataclass(frozen=True, slots=True)
class Ring:
    """What is known of one ring. Descriptors are owned by the session."""

    size: int = 0
    addr: WireAddr | None = None
    base: int = 0
    started: bool = False
    """Kick descriptor (or the wish to be polled) came, and no GET_VRING_BASE since."""
    kick: int | None = None
    call: int | None = None
    err: int | None = None
    enabled: bool | None = None
    """By SET_VRING_ENABLE; None: not told yet."""
    own: frozenset[str] = frozenset()
    """Which of kick, call, err are eventfds of ours, that stand for messages (INBAND_NOTIFICATIONS)."""
    silent: frozenset[str] = frozenset()
    """Which of call, err the front-end does not want at all (the NOFD bit)."""

    @property
    def fds(self) -> set[int]:
        """The descriptors this ring holds."""
        return {fd for fd in (self.kick, self.call, self.err) if fd is not None}

    def reset(self) -> Ring:
        """Return what is left of a ring after a reset of the device: whom to call."""
        return Ring(call=self.call, err=self.err, own=self.own - {"kick"}, silent=self.silent)


@dataclass(frozen=True, slots=True, eq=False)
class Memory:
    """A memory table in force. Compared by identity: a new one means new addresses."""

    regions: tuple[Region, ...]
    maps: tuple[Any, ...]
    """One mapping per region; a mapping may outlive this table in the next one."""
    table: Any
    ready: bool = True
    """False in post-copy, until the front-end is ready for faults: nothing may be touched before."""


@dataclass(frozen=True, slots=True)
class Postcopy:
    """A migration whose memory comes after the guest."""

    fd: int
    """The userfaultfd, owned by the session."""
    listening: bool = False
    """Memory that is mapped from now on may be missing."""


@dataclass(frozen=True, slots=True, eq=False)
class Log:
    """The migration log in force. Compared by identity."""

    handle: Any


@dataclass(frozen=True, slots=True, eq=False)
class Inflight:
    """The record of chains in flight. Compared by identity."""

    queues: int
    queue_size: int
    handle: Any


@dataclass(frozen=True, slots=True)
class RingSpec:
    """All that a running ring depends on: when it changes, the ring is stopped and started anew."""

    memory: Memory
    features: int
    size: int
    addr: RingAddr[Uva] | RingAddr[Iova]
    kick: int | None
    discard: bool = False
    """Started but disabled: what the guest sends is taken and dropped (vhost-user, Ring states)."""
    log: Log | None = None
    log_used: bool = False
    """Writes into the used ring are logged, too."""
    inflight: Inflight | None = None

    @property
    def iommu(self) -> bool:
        """Whether addresses are IOVAs."""
        return has(self.features, Virtio.ACCESS_PLATFORM)

    def fails_as(self, other: RingSpec | None) -> bool:
        """Say whether a ring that did not start will not start as the other, either."""
        return other is not None and replace(other, discard=self.discard) == self

    def touches(self, span: Span) -> bool:
        """Say whether a part of the ring lies in there. VIRTIO 1.2, 2.7 and 2.8: lengths of the parts."""
        desc, avail, used = 16 * self.size, 6 + 2 * self.size, 6 + 8 * self.size
        if has(self.features, Virtio.RING_PACKED):
            avail = used = 4
        parts = ((self.addr.desc, desc), (self.addr.avail, avail), (self.addr.used, used))
        return any(Span(at, at + n - 1).overlaps(span) for at, n in parts)


@dataclass(frozen=True, slots=True)
class State:
    """Everything negotiated. Handlers make a changed copy, which the session puts into force."""

    features: int | None = None
    protocol: int = 0
    status: int = 0
    memory: Memory | None = None
    log: Log | None = None
    inflight: Inflight | None = None
    backend: int | None = None
    """Socket of the back-end channel, owned by the session."""
    postcopy: Postcopy | None = None
    rings: Mapping[int, Ring] = field(default_factory=dict)

    def ring(self, index: int) -> Ring:
        """Return what is known of a ring, also when nothing is."""
        return self.rings.get(index, Ring())

    def with_ring(self, index: int, ring: Ring) -> State:
        """Return the state with one ring changed."""
        return replace(self, rings={**self.rings, index: ring})

    def negotiated(self, bit: Virtio | Protocol) -> bool:
        """Say whether the front-end took this feature."""
        word = (self.features or 0) if isinstance(bit, Virtio) else self.protocol
        return has(word, bit)

    @property
    def fds(self) -> set[int]:
        """All descriptors that are held."""
        held = {fd for ring in self.rings.values() for fd in ring.fds}
        postcopy = None if self.postcopy is None else self.postcopy.fd
        return held | {fd for fd in (self.backend, postcopy) if fd is not None}

    def spec(self, index: int) -> RingSpec | None:
        """Return what the ring must run with, or None when it must not run.

        A ring runs from its kick descriptor on (section Ring states says "upon receiving a kick", but drivers
        that poll send none). Without PROTOCOL_FEATURES it is enabled from the start. The guest's transmit rings
        run disabled, too; its receive rings do not, as nothing may be put into them. A ring that nobody enabled or
        disabled yet is left alone, although it counts as disabled: what waits there since a restart of ours would be lost.
        """
        ring = self.ring(index)
        if self.features is None or self.memory is None or not self.memory.ready or ring.addr is None:
            return None
        if not ring.size or not ring.started:
            return None
        discard = self.negotiated(Virtio.PROTOCOL_FEATURES) and not ring.enabled
        if discard and (index % 2 == 0 or ring.enabled is None):
            return None
        logging = self.negotiated(Virtio.LOG_ALL)
        if logging and self.log is None and self.negotiated(Protocol.LOG_SHMFD):
            return (
                None  # QEMU, migrating while it starts, sends the log after the rings: nothing may be missed
            )
        iommu = self.negotiated(Virtio.ACCESS_PLATFORM)
        record = self.inflight if self.inflight is not None and index < self.inflight.queues else None
        return RingSpec(
            memory=self.memory,
            features=self.features,
            size=ring.size,
            addr=ring.addr.as_iova() if iommu else ring.addr.as_uva(),
            kick=ring.kick,
            discard=discard,
            log=self.log if logging else None,
            log_used=logging and ring.addr.logged,
            inflight=record,
        )

    def specs(self) -> dict[int, RingSpec]:
        """Return all rings that must run."""
        found = {index: self.spec(index) for index in sorted(self.rings)}
        return {index: spec for index, spec in found.items() if spec is not None}
