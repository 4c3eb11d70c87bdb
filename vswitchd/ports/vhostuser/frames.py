"""Framing of the vhost-user stream: bytes and descriptors in, whole messages out. No I/O.

The reader says how many bytes it wants next; a shell that never reads more than that gets each message's
descriptors with that message, because the kernel does not join data over a message that carries descriptors.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from vswitchd.ports.vhostuser.errors import ProtocolError
from vswitchd.ports.vhostuser.messages import HEADER, MAX_PAYLOAD, NEED_REPLY, REPLY, VERSION, VERSION_MASK

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

MAX_FDS = 32


def close_fds(fds: Iterable[int]) -> None:
    """Close descriptors of ours."""
    for fd in fds:
        os.close(fd)


@dataclass(slots=True)
class Frame:
    """One message. Its descriptors are owned by it until somebody takes them."""

    request: int
    need_reply: bool
    payload: bytes
    fds: list[int] = field(default_factory=list)

    def take_fds(self) -> list[int]:
        """Hand the descriptors over to the caller."""
        fds, self.fds = self.fds, []
        return fds

    def close(self) -> None:
        """Close the descriptors that nobody took."""
        close_fds(self.take_fds())


class FrameReader:
    """Cuts the stream into messages. Owns the descriptors of the message that is under way."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._fds: list[int] = []
        self._size: int | None = None

    @property
    def wanted(self) -> int:
        """Bytes to the end of the header or message that is under way; always more than 0."""
        return HEADER.size + (self._size or 0) - len(self._data)

    def feed(self, data: bytes, fds: Sequence[int] = ()) -> Frame | None:
        """Take at most `wanted` bytes and their descriptors; return a message when it is whole.

        Raises ProtocolError for a header that is not one, and for too many descriptors; all are closed then.
        """
        assert len(data) <= self.wanted
        self._fds.extend(fds)
        self._data += data
        if len(self._fds) > MAX_FDS:
            raise self._fail(f"more than {MAX_FDS} descriptors with one message")
        if len(self._data) < HEADER.size:
            return None
        request, flags, size = HEADER.unpack_from(self._data)
        if self._size is None:
            self._check(flags, size)
            self._size = size
        if self.wanted:
            return None
        frame = Frame(request, bool(flags & NEED_REPLY), bytes(self._data[HEADER.size :]), self._fds)
        self._data.clear()
        self._fds, self._size = [], None
        return frame

    def close(self) -> None:
        """Close the descriptors of an unfinished message."""
        fds, self._fds = self._fds, []
        close_fds(fds)

    def _check(self, flags: int, size: int) -> None:
        if flags & VERSION_MASK != VERSION:
            raise self._fail(f"message of version {flags & VERSION_MASK} instead of {VERSION}")
        if flags & REPLY:
            raise self._fail("a reply instead of a request")
        if flags & ~(VERSION_MASK | NEED_REPLY):
            raise self._fail(f"unknown message flags {flags:#x}")
        if size > MAX_PAYLOAD:
            raise self._fail(f"message of {size} bytes, at most {MAX_PAYLOAD}")

    def _fail(self, text: str) -> ProtocolError:
        self.close()
        return ProtocolError(text)
