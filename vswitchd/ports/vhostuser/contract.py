"""What a session needs of the side that runs rings: the protocol that device.py keeps, and fakes in tests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from vswitchd.ports.vhostuser.memory import Miss, Region, Span, Translation
    from vswitchd.ports.vhostuser.payloads import InflightArea, LogArea
    from vswitchd.ports.vhostuser.state import Memory, Ring, RingSpec


class Device(Protocol):
    """Mappings, tables and rings of one port. Thread: the control thread. Handles (Any) are opaque to the session."""

    @property
    def miss_fd(self) -> int | None:
        """Becomes readable when a core missed a translation: take_misses. None: there is no IOTLB. Stays the device's."""

    def check_eventfd(self, fd: int) -> None:
        """Make sure that signalling or draining the descriptor can never block. Raises RequestError."""

    def check_channel(self, fd: int) -> None:
        """Make sure that the descriptor is a connected stream socket. Raises RequestError."""

    def map(self, region: Region, fd: int) -> Any:
        """Map a region of a memory file; the descriptor stays the caller's. Raises RequestError."""

    def unmap(self, mapping: Any) -> None:
        """Undo map, when no table in force names it."""

    def table(self, regions: tuple[Region, ...], maps: tuple[Any, ...]) -> Any:
        """Make a memory table. Raises RequestError."""

    def free_table(self, table: Any) -> None:
        """Undo table, when no ring uses it."""

    def address(self, mapping: Any) -> int:
        """Return where the region begins in our own space: the front-end is told, in post-copy."""

    def userfault(self) -> int:
        """Make a userfaultfd, the caller's. Raises RequestError."""

    def watch(self, fault: int, mapping: Any) -> None:
        """Let who touches missing pages wait for the front-end. Raises RequestError."""

    def unwatch(self, fault: int, mapping: Any) -> None:
        """Undo watch, and wake who waits."""

    def map_log(self, area: LogArea, fd: int) -> Any:
        """Map a migration log; the descriptor stays the caller's. Raises RequestError."""

    def free_log(self, dirty: Any) -> None:
        """Undo map_log, when no ring uses it."""

    def make_inflight(self, queues: int, queue_size: int, features: int) -> tuple[int, int]:
        """Make a zeroed file for a record of chains in flight: its descriptor (the caller's) and size. Raises RequestError."""

    def map_inflight(self, area: InflightArea, fd: int, features: int) -> Any:
        """Map such a record; the descriptor stays the caller's. Raises RequestError."""

    def free_inflight(self, record: Any) -> None:
        """Undo map_inflight, when no ring uses it."""

    def start(self, index: int, spec: RingSpec, ring: Ring) -> bool:
        """Run a ring. False: its addresses do not translate; under ACCESS_PLATFORM the misses can be taken then."""

    def stop(self, indices: Iterable[int]) -> Mapping[int, int]:
        """Stop rings; return when no core touches them, with the base each would go on from (GET_VRING_BASE)."""

    def set_call(self, index: int, ring: Ring) -> None:
        """Swap the call and error descriptors of a running ring."""

    def grace(self) -> None:
        """Return when no core uses what was swapped before."""

    def set_mtu(self, mtu: int) -> None:
        """Note the MTU that the front-end shows to its guest."""

    def send_rarp(self, mac: bytes) -> None:
        """Let the switch learn where this address is now: as if the guest had sent one RARP."""

    def insert(self, entry: Translation, memory: Memory) -> None:
        """Put a checked translation into the cache. Raises RequestError when there is no room."""

    def invalidate(self, span: Span) -> None:
        """Forget all translations that overlap; return when no core uses them."""

    def flush(self) -> None:
        """Forget all translations; return when no core uses them."""

    def take_misses(self) -> list[Miss]:
        """Return what cores and starting rings looked for in vain since the last call. Bounded."""

    @property
    def pending_misses(self) -> int:
        """How many translations were missed and did not come yet."""

    def retry_misses(self) -> None:
        """Let what was taken before the call before, and did not come, be taken again."""
