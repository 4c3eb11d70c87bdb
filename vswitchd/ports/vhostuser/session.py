"""One front-end's session: messages in, answers out, rings started and stopped in between. No I/O of its own.

The engine checks a message against its row of the table, then a handler makes a changed copy of the state. Putting the new
state into force is one function for all messages: rings whose specification changed are unpublished, one grace period goes
by, they are freed, translations change, the rest is started, and only then descriptors and mappings that nobody needs any
more are closed. So whatever a front-end sends, in whatever order, no core uses anything that is gone.

Under ACCESS_PLATFORM a ring whose pages have no translation yet waits: the misses are asked for on the back-end channel
(backend.py), and each update of the IOTLB lets waiting rings try again.

Thread: the control thread. The device is what runs the rings (device.py; a fake in tests).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from vswitchd.ports.vhostuser.backend import Requests
from vswitchd.ports.vhostuser.errors import ProtocolError, RequestError
from vswitchd.ports.vhostuser.features import Offer, Protocol, Virtio, has
from vswitchd.ports.vhostuser.frames import Frame, FrameReader, close_fds
from vswitchd.ports.vhostuser.handlers import HANDLERS
from vswitchd.ports.vhostuser.handling import Change, Context, Outcome
from vswitchd.ports.vhostuser.messages import TABLE, Answer, Row, reply, reply_state, reply_u64
from vswitchd.ports.vhostuser.state import Memory, Ring, RingSpec, State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from vswitchd.ports.vhostuser.contract import Device
    from vswitchd.ports.vhostuser.payloads import Body

_OK, _REFUSED = 0, 1


def _outdated(old: State, new: State) -> bool:
    """Say whether translations mean nothing any more: they lead into another memory table, or addresses are no IOVAs."""
    iommu = Virtio.ACCESS_PLATFORM
    return old.memory is not new.memory or (old.negotiated(iommu) and not new.negotiated(iommu))


class Session:
    """A front-end from connect to disconnect."""

    def __init__(self, device: Device, offer: Offer) -> None:
        self.device = device
        self.requests = Requests()
        """What is to be told on the back-end channel."""
        self.before_close: Callable[[set[int]], None] = lambda _fds: None
        """Called with descriptors that are about to be closed: who watches some must stop, as long as they are theirs."""
        self._offer = offer
        self._reader = FrameReader()
        self._answer_fds: list[int] = []
        self._running: dict[int, RingSpec] = {}
        self._failed: dict[int, RingSpec] = {}
        self.state = State()

    @property
    def wanted(self) -> int:
        """How many bytes to read next, at most."""
        return self._reader.wanted

    @property
    def running(self) -> frozenset[int]:
        """The rings that carry packets now."""
        return frozenset(index for index, spec in self._running.items() if not spec.discard)

    @property
    def discarding(self) -> frozenset[int]:
        """The rings that are started but disabled: what comes out of them is dropped."""
        return frozenset(index for index, spec in self._running.items() if spec.discard)

    @property
    def waiting(self) -> frozenset[int]:
        """The rings that wait for translations of their pages."""
        return frozenset(index for index, spec in self._failed.items() if spec.iommu)

    @property
    def own_events(self) -> Mapping[int, tuple[str, int]]:
        """Eventfds of ours that stand for messages: descriptor -> ("call" or "err", ring). To be watched by the shell."""
        found: dict[int, tuple[str, int]] = {}
        for index, ring in self.state.rings.items():
            if ring.call is not None and "call" in ring.own:
                found[ring.call] = ("call", index)
            if ring.err is not None and "err" in ring.own:
                found[ring.err] = ("err", index)
        return found

    def receive(self, data: bytes, fds: Iterable[int] = ()) -> bytes:
        """Take at most `wanted` bytes, own the descriptors, return the bytes to answer (often none).

        Some answers come with descriptors: `take_answer_fds`. Raises ProtocolError: close the connection. The
        state is unchanged then, and no descriptor of the message is left open.
        """
        frame = self._reader.feed(data, list(fds))
        if frame is None:
            return b""
        try:
            return self._handle(frame)
        finally:
            frame.close()

    def take_answer_fds(self) -> list[int]:
        """Return the descriptors to send with the last answer; the caller closes them."""
        fds, self._answer_fds = self._answer_fds, []
        return fds

    def ask_misses(self) -> None:
        """Ask the front-end for translations that were missed."""
        for miss in self.device.take_misses():
            self.requests.miss(miss)

    @property
    def unanswered(self) -> bool:
        """Whether anything waits for a translation: call `ask_again` in a second."""
        return self.state.negotiated(Virtio.ACCESS_PLATFORM) and bool(
            self.waiting or self.device.pending_misses
        )

    def ask_again(self) -> None:
        """Ask once more for what got no answer: the guest may have mapped the page by now."""
        self.device.retry_misses()
        for index in self.waiting:
            del self._failed[index]
        self._start(self.state, self.state, self.state.specs())
        self.ask_misses()

    def close(self) -> None:
        """Stop all rings, unmap all memory, close all descriptors. Idempotent."""
        self._reader.close()
        close_fds(self.take_answer_fds())
        self._commit(State())

    def _handle(self, frame: Frame) -> bytes:
        row = TABLE.get(frame.request)
        asked = frame.need_reply and has(self.state.protocol, Protocol.REPLY_ACK)
        if row is None:
            if asked:
                return reply_u64(frame.request, _REFUSED)
            raise ProtocolError(f"request {frame.request}: unknown or unsupported request")
        try:
            body = self._check(row, frame)
            outcome = HANDLERS[row.request](Context(self.state, body, frame, self.device, self._offer))
            self._answer_fds += outcome.fds
            self._commit(outcome.state, outcome.change)
        except RequestError as error:
            if row.answer.may_refuse(asked=asked):
                return reply_u64(frame.request, _REFUSED)
            raise ProtocolError(f"{row.request.name}: {error}") from None
        return self._answer(row, outcome, body, asked=asked)

    def _check(self, row: Row, frame: Frame) -> Body:
        features = self.state.features or 0
        if self.state.features is None and row.feature is Virtio.PROTOCOL_FEATURES:
            features = self._offer.virtio  # QEMU sends SET_VRING_ENABLE before SET_FEATURES
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

    def _answer(self, row: Row, outcome: Outcome, body: Body, *, asked: bool) -> bytes:
        if outcome.payload:
            return reply(row.request, outcome.payload)
        match row.answer:
            case Answer.U64:
                return reply_u64(row.request, outcome.value)
            case Answer.OWN:
                return reply(row.request, outcome.payload)
            case Answer.STATE:  # GET_VRING_BASE: the ring has stopped by now, its base is exact
                index: int = body.index  # type: ignore[union-attr]  # the row's payload is STATE
                return reply_state(row.request, index, self._base(index))
            case Answer.EMPTY if not asked:
                return reply(row.request, b"")
            case Answer.ACK if not asked:
                return b""
        return reply_u64(row.request, _OK)

    def _base(self, index: int) -> int:
        """Where a stopped ring stands. Of a packed one: of the next available and, above, the next used descriptor."""
        base = self.state.ring(index).base
        return base | base << 16 if self.state.negotiated(Virtio.RING_PACKED) else base

    def _commit(self, new: State, change: Change | None = None) -> None:
        """Put a state into force; see the first lines of this file. Raises RequestError when `change` fails."""
        old, self.state = self.state, new
        if new is old and change is None:
            return
        self._end_postcopy(old, new)
        wanted = new.specs()
        ended = self._stop(wanted, change)
        new = self.state  # with the places where rings stopped
        try:
            if _outdated(old, new) or any(spec.iommu for spec in ended):
                self._flush()
            if change is not None:
                self._translate(change)
        finally:
            self._start(old, new, wanted)
            self._release(old, new)

    def _end_postcopy(self, old: State, new: State) -> None:
        """Wake whoever sleeps in guest memory, before anything waits for him."""
        if old.postcopy is None or old.memory is None:
            return
        if new.postcopy is None or new.postcopy.fd != old.postcopy.fd:
            for mapping in old.memory.maps:
                self.device.unwatch(old.postcopy.fd, mapping)

    def _stop(self, wanted: Mapping[int, RingSpec], change: Change | None) -> list[RingSpec]:
        """Stop the rings that may not go on as they are, and note where they stand. Returns those that end."""
        stale = [
            index
            for index, spec in self._running.items()
            if wanted.get(index) != spec or (change and spec.iommu and spec.touches(change.span))
        ]
        if not stale:
            return []
        ended = [self._running[index] for index in stale if index not in wanted]
        for index, base in self.device.stop(stale).items():
            del self._running[index]
            if index in self.state.rings:
                ring = replace(self.state.ring(index), base=base & 0xFFFF)
                self.state = self.state.with_ring(index, ring)
        return ended

    def _flush(self) -> None:
        """Forget all translations. QEMU does not withdraw them once rings have ended."""
        if self._offer.has(Virtio.ACCESS_PLATFORM):
            self.device.flush()

    def _translate(self, change: Change) -> None:
        """Change translations; rings that wait for some try again."""
        self._failed = {index: spec for index, spec in self._failed.items() if not spec.iommu}
        change.apply()

    def _start(self, old: State, new: State, wanted: Mapping[int, RingSpec]) -> None:
        self._failed = {i: spec for i, spec in self._failed.items() if spec.fails_as(wanted.get(i))}
        for index, spec in wanted.items():
            ring = new.ring(index)
            if index in self._running:
                if (ring.call, ring.err) != (old.ring(index).call, old.ring(index).err):
                    self.device.set_call(index, ring)
            elif index not in self._failed:
                self._try(index, spec, ring)
        if self.waiting:
            self.ask_misses()

    def _try(self, index: int, spec: RingSpec, ring: Ring) -> None:
        started = self._running if self.device.start(index, spec, ring) else self._failed
        started[index] = spec

    def _release(self, old: State, new: State) -> None:
        """Close what only the old state held."""
        if old.backend != new.backend:
            if new.backend is None:
                self.requests.close()
            else:
                self.requests.open(acks=new.negotiated(Protocol.REPLY_ACK))
        fds = old.fds - new.fds
        if fds:
            self.device.grace()
            self.before_close(fds)
            close_fds(fds)
        if old.log is not None and old.log is not new.log:
            self.device.free_log(old.log.handle)
        if old.inflight is not None and old.inflight is not new.inflight:
            self.device.free_inflight(old.inflight.handle)
        if old.memory is not None and old.memory is not new.memory:
            kept = () if new.memory is None else new.memory.maps
            self._free(old.memory, kept)

    def _free(self, memory: Memory, kept: Iterable[Any]) -> None:
        self.device.free_table(memory.table)
        keep = {id(mapping) for mapping in kept}
        for mapping in memory.maps:
            if id(mapping) not in keep:
                self.device.unmap(mapping)
