"""One front-end's session: messages in, answers out, rings started and stopped in between. No I/O of its own.

The engine checks a message against its row of the table, then a handler of handlers.py makes a changed copy
of the state. Putting the new state into force is one function for all messages: rings whose specification
changed are unpublished, one grace period goes by, they are freed, the rest is started, and only then
descriptors and mappings that nobody needs any more are closed. So whatever a front-end sends, in whatever
order, no core uses anything that is gone.

Thread: the control thread. The device is what runs the rings (device.py; a fake in tests).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

from vswitchd.ports.vhostuser.errors import ProtocolError, RequestError
from vswitchd.ports.vhostuser.features import Offer, has
from vswitchd.ports.vhostuser.features import Protocol as ProtocolBit
from vswitchd.ports.vhostuser.frames import Frame, FrameReader, close_fds
from vswitchd.ports.vhostuser.handlers import HANDLERS, Context, Outcome
from vswitchd.ports.vhostuser.messages import TABLE, Answer, Body, Row, reply_state, reply_u64
from vswitchd.ports.vhostuser.state import Memory, Ring, RingSpec, State

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from vswitchd.ports.vhostuser.memory import Region


class Device(Protocol):
    """What a session needs of the side that runs rings."""

    def check_eventfd(self, fd: int) -> None:
        """Make sure that signalling or draining the descriptor can never block. Raises RequestError."""

    def map(self, region: Region, fd: int) -> Any:
        """Map a region of a memory file; the descriptor stays the caller's. Raises RequestError."""

    def unmap(self, mapping: Any) -> None:
        """Undo map, when no table in force names it."""

    def table(self, regions: tuple[Region, ...], maps: tuple[Any, ...]) -> Any:
        """Make a memory table. Raises RequestError."""

    def free_table(self, table: Any) -> None:
        """Undo table, when no ring uses it."""

    def start(self, index: int, spec: RingSpec, ring: Ring) -> bool:
        """Run a ring. False: its addresses do not translate."""

    def stop(self, indices: Iterable[int]) -> Mapping[int, int]:
        """Stop rings; return when no core touches them, with the index each would have taken next."""

    def set_call(self, index: int, ring: Ring) -> None:
        """Swap the call and error descriptors of a running ring."""

    def grace(self) -> None:
        """Return when no core uses what was swapped before."""

    def set_mtu(self, mtu: int) -> None:
        """Note the MTU that the front-end shows to its guest."""


class Session:
    """A front-end from connect to disconnect."""

    def __init__(self, device: Device, offer: Offer) -> None:
        self._device = device
        self._offer = offer
        self._reader = FrameReader()
        self._running: dict[int, RingSpec] = {}
        self._failed: dict[int, RingSpec] = {}
        self.state = State()

    @property
    def wanted(self) -> int:
        """How many bytes to read next, at most."""
        return self._reader.wanted

    @property
    def running(self) -> frozenset[int]:
        """The rings that run now."""
        return frozenset(self._running)

    def receive(self, data: bytes, fds: Iterable[int] = ()) -> bytes:
        """Take at most `wanted` bytes, own the descriptors, return the bytes to answer (often none).

        Raises ProtocolError: close the connection. The state is unchanged then, and no descriptor of the
        message is left open.
        """
        frame = self._reader.feed(data, list(fds))
        if frame is None:
            return b""
        try:
            return self._handle(frame)
        finally:
            frame.close()

    def close(self) -> None:
        """Stop all rings, unmap all memory, close all descriptors. Idempotent."""
        self._reader.close()
        self._commit(State())

    def _handle(self, frame: Frame) -> bytes:
        try:
            row = self._row(frame)
            body = self._check(row, frame)
            outcome = HANDLERS[row.request](Context(self.state, body, frame, self._device, self._offer))
            self._commit(outcome.state)
        except RequestError as error:
            name = TABLE[frame.request].request.name if frame.request in TABLE else f"request {frame.request}"
            if (
                frame.need_reply
                and has(self.state.protocol, ProtocolBit.REPLY_ACK)
                and not self._answers(frame.request)
            ):
                return reply_u64(frame.request, 1)
            raise ProtocolError(f"{name}: {error}") from None
        return self._answer(row, frame, body, outcome)

    @staticmethod
    def _row(frame: Frame) -> Row:
        row = TABLE.get(frame.request)
        if row is None:
            raise RequestError("unknown or unsupported request")
        return row

    @staticmethod
    def _answers(request: int) -> bool:
        """Say whether the request has an answer of its own, which is no place for a refusal."""
        return request in TABLE and TABLE[request].answer is not Answer.ACK

    def _check(self, row: Row, frame: Frame) -> Body:
        # QEMU sends SET_VRING_ENABLE before SET_FEATURES, to a back-end that offers PROTOCOL_FEATURES.
        features = self._offer.virtio if self.state.features is None else self.state.features
        if row.feature is not None and not has(features, row.feature):
            raise RequestError(f"feature {row.feature.name} was not negotiated")
        if row.protocol is not None and not has(self.state.protocol, row.protocol):
            raise RequestError(f"protocol feature {row.protocol.name} was not negotiated")
        body = row.payload.decode(frame.payload)
        if not row.fds.allows(len(frame.fds), body):
            raise RequestError(f"{len(frame.fds)} descriptors instead of {row.fds.value}")
        index = getattr(body, "index", 0)
        if index >= 2 * self._offer.pairs:
            raise RequestError(f"ring {index} of {2 * self._offer.pairs}")
        return body

    def _answer(self, row: Row, frame: Frame, body: Body, outcome: Outcome) -> bytes:
        if row.answer is Answer.U64:
            return reply_u64(frame.request, outcome.value)
        if row.answer is Answer.STATE:  # GET_VRING_BASE: the ring has stopped by now, its base is exact
            index = body.index  # type: ignore[union-attr]  # the row's payload is STATE
            return reply_state(frame.request, index, self.state.ring(index).base)
        if frame.need_reply and has(self.state.protocol, ProtocolBit.REPLY_ACK):
            return reply_u64(frame.request, outcome.value)
        return b""

    def _commit(self, new: State) -> None:
        """Put a state into force; see the first lines of this file."""
        old, self.state = self.state, new
        if new is old:
            return
        wanted = new.specs()
        stale = [index for index, spec in self._running.items() if wanted.get(index) != spec]
        self._failed = {index: spec for index, spec in self._failed.items() if wanted.get(index) == spec}
        if stale:
            for index, base in self._device.stop(stale).items():
                del self._running[index]
                if index in new.rings:
                    new = new.with_ring(index, replace(new.ring(index), base=base))
            self.state = new
        for index, spec in wanted.items():
            ring = new.ring(index)
            if index in self._running:
                if (ring.call, ring.err) != (old.ring(index).call, old.ring(index).err):
                    self._device.set_call(index, ring)
            elif self._failed.get(index) != spec:  # what did not start will not without a change
                if self._device.start(index, spec, ring):
                    self._running[index] = spec
                else:
                    self._failed[index] = spec
        self._release(old, new)

    def _release(self, old: State, new: State) -> None:
        """Close what only the old state held."""
        fds = old.fds - new.fds
        if fds:
            self._device.grace()
            close_fds(fds)
        if old.memory is not None and old.memory is not new.memory:
            kept = () if new.memory is None else new.memory.maps
            self._free(old.memory, kept)

    def _free(self, memory: Memory, kept: Iterable[Any]) -> None:
        self._device.free_table(memory.table)
        keep = {id(mapping) for mapping in kept}
        for mapping in memory.maps:
            if id(mapping) not in keep:
                self._device.unmap(mapping)
