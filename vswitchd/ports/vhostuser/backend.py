"""The back-end channel without I/O: requests of ours to the front-end (vhost-user, Back-end communication).

What is to be told is noted, bounded and once, and becomes bytes when the socket takes them: a front-end that reads nothing,
or answers nothing, only waits for its own translations and calls. The shell is channel.py.

Left out on purpose: access failures (IOTLB type 4; QEMU does nothing with them, and a miss names the permission that is
wanted), changes of the configuration space and host notifiers.
"""

from __future__ import annotations

import logging
from collections import deque
from enum import IntEnum
from typing import TYPE_CHECKING

from vswitchd.ports.vhostuser.errors import ProtocolError
from vswitchd.ports.vhostuser.messages import HEADER, NEED_REPLY, REPLY, VERSION
from vswitchd.ports.vhostuser.payloads import IOTLB_LAYOUT, STATE_LAYOUT, U64_LAYOUT

if TYPE_CHECKING:
    from vswitchd.ports.vhostuser.memory import Miss

log = logging.getLogger(__name__)

MAX_QUEUED = 512  # each ring's call and error, and VS_IOTLB_MISSES
MAX_UNANSWERED = 64
PAGE = 4096
_MISS = 1  # struct vhost_iotlb_msg, type
_ANSWER = HEADER.size + U64_LAYOUT.size


class Tell(IntEnum):
    """Requests of the back-end (vhost-user, Back-end message types) that we make."""

    IOTLB_MSG = 1
    VRING_CALL = 4
    VRING_ERR = 5


Key = tuple[Tell, int, int]
"""Request, ring or page, permissions."""


class Requests:
    """What we want to tell the front-end. Each thing is told once at a time, however often it is noted."""

    def __init__(self) -> None:
        self._acks = False
        self._open = False
        self._queue: dict[Key, None] = {}  # not sent yet, in order
        self._sent: deque[Key] = deque()  # not answered yet, in order
        self._again: set[Key] = set()  # noted again while unanswered
        self._unsent = b""
        self._received = bytearray()

    def open(self, *, acks: bool) -> None:
        """Begin on a new socket; `acks`: REPLY_ACK was negotiated."""
        self.close()
        self._acks, self._open = acks, True

    def close(self) -> None:
        """Forget everything, and note nothing: there is no socket."""
        self._open = False
        self._queue.clear()
        self._sent.clear()
        self._again.clear()
        self._unsent = b""
        self._received.clear()

    def call(self, index: int) -> None:
        """Say that buffers of the ring were used."""
        self._note((Tell.VRING_CALL, index, 0))

    def err(self, index: int) -> None:
        """Say that the ring is broken."""
        self._note((Tell.VRING_ERR, index, 0))

    def miss(self, miss: Miss) -> None:
        """Ask for a translation. One that is too much, or gets no answer, is missed again later: the IOTLB sees to it."""
        self._note((Tell.IOTLB_MSG, miss.iova // PAGE, miss.perm))

    def _note(self, key: Key) -> None:
        if not self._open or key in self._queue or len(self._queue) >= MAX_QUEUED:
            return
        if key in self._sent:
            self._again.add(key)
        else:
            self._queue[key] = None

    def outgoing(self) -> bytes:
        """Return the bytes to send next; no new request while the front-end owes too many answers."""
        while self._queue and len(self._unsent) < PAGE and len(self._sent) < MAX_UNANSWERED:
            key = next(iter(self._queue))
            del self._queue[key]
            self._unsent += self._encode(key)
            if self._acks:
                self._sent.append(key)
        return self._unsent

    def sent(self, n: int) -> None:
        """So many bytes of `outgoing` were sent."""
        self._unsent = self._unsent[n:]

    def _encode(self, key: Key) -> bytes:
        request, number, perm = key
        miss = request is Tell.IOTLB_MSG
        payload = (
            IOTLB_LAYOUT.pack(number * PAGE, 0, 0, perm, _MISS) if miss else STATE_LAYOUT.pack(number, 0)
        )
        return HEADER.pack(request, VERSION | (NEED_REPLY if self._acks else 0), len(payload)) + payload

    def receive(self, data: bytes) -> None:
        """Take bytes of the front-end: answers, in order. Raises ProtocolError: drop the channel."""
        self._received += data
        while len(self._received) >= _ANSWER:
            self._answer(bytes(self._received[:_ANSWER]))
            del self._received[:_ANSWER]
        if len(self._received) >= HEADER.size:
            self._check(bytes(self._received[: HEADER.size]))

    def _check(self, header: bytes) -> None:
        request, flags, size = HEADER.unpack(header)
        if not self._sent or request != self._sent[0][0]:
            raise ProtocolError(f"answer to request {request} that was not made")
        if flags != VERSION | REPLY or size != U64_LAYOUT.size:
            raise ProtocolError(f"answer with flags {flags:#x} and {size} bytes")

    def _answer(self, answer: bytes) -> None:
        self._check(answer[: HEADER.size])
        key = self._sent.popleft()
        (value,) = U64_LAYOUT.unpack_from(answer, HEADER.size)
        if value:
            log.debug("the front-end refused %s of %#x: %d", key[0].name, key[1], value)
        if key in self._again:
            self._again.remove(key)
            self._note(key)
