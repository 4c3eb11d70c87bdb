"""An OpenFlow 1.3 connection for measuring: pre-encoded messages at a pace, or all at once, to any switch."""

import select
import socket
import struct
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Self

_HEAD = struct.Struct("!BBHI")
_VERSION = 4
_HELLO, _ERROR, _ECHO, _ECHO_REPLY, _EXPERIMENTER, _BARRIER, _BARRIER_REPLY = 0, 1, 2, 3, 4, 20, 21
_BUNDLE = struct.Struct("!BBHIIIIHH")
"""Header, experimenter, type, bundle id, type or padding, flags (ONF extension 230)."""
_ONF, _CONTROL, _ADD, _ID, _FLAGS = 0x4F4E4600, 2300, 2301, 1, 3
_OPEN, _COMMIT, _COMMIT_REPLY = 0, 4, 5
_CHUNK = 1000
_PATIENCE = 240.0
_BEHIND = 5
TICK = 0.002
"""Seconds between two bursts of a paced stream at least: 20 messages at 10,000 a second."""
SETTLE = 0.1
"""Seconds between two barriers of a paced stream."""


@dataclass(frozen=True, slots=True)
class Paced:
    """What became of a paced stream: messages carried out, seconds until the last of them was."""

    sent: int
    seconds: float

    @property
    def rate(self) -> float:
        """Messages a second that the switch carried out."""
        return self.sent / self.seconds


class Channel:
    """A connection to `path`, the bridge's OpenFlow socket. Any error message of the switch is an AssertionError.

    Messages are whole OpenFlow messages; their xid is overwritten. One thread.
    """

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(_PATIENCE)
        self._socket.connect(str(path))
        self._input = bytearray()
        self._xid = 0
        self._waiting = 0  # barriers
        self._committed = False
        self._hello = False
        self._socket.sendall(_HEAD.pack(_VERSION, _HELLO, _HEAD.size, 0))
        self._until(lambda: self._hello)

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def install(self, messages: Iterable[bytes], *, bundle: bool = False) -> float:
        """Send all messages, in one bundle or one by one; the seconds until the switch has carried them out."""
        start = time.monotonic()
        if bundle:
            self._socket.sendall(self._control(_OPEN))
        encode, source = self._wrapped if bundle else self._numbered, iter(messages)
        while some := list(islice(source, _CHUNK)):
            self._socket.sendall(b"".join(map(encode, some)))
            self._read(0)
        if bundle:
            self._committed = False
            self._socket.sendall(self._control(_COMMIT))
            self._until(lambda: self._committed)
        self.barrier()
        return time.monotonic() - start

    def barrier(self) -> None:
        """Wait until everything sent before is done (7.3.8)."""
        self._ask_barrier()
        self._until(lambda: self._waiting == 0)

    def pace(self, messages: Iterator[bytes], rate: float, seconds: float) -> Paced:
        """Send `rate` messages a second for `seconds`, the first at once; fewer when the switch is half a second behind."""
        tick = max(TICK, 1 / rate)
        begin = time.monotonic()
        sent, next_barrier = 0, begin + SETTLE
        while (now := time.monotonic()) < begin + seconds:
            due = min(1 + int((now - begin) * rate) - sent, 1 + int(rate * SETTLE))
            if due > 0 and self._waiting < _BEHIND:
                self._socket.sendall(b"".join(map(self._numbered, islice(messages, due))))
                sent += due
                if now >= next_barrier:
                    self._ask_barrier()
                    next_barrier = now + SETTLE
            self._read(tick)
        self.barrier()
        return Paced(sent, time.monotonic() - begin)

    def _ask_barrier(self) -> None:
        self._xid += 1
        self._waiting += 1
        self._socket.sendall(_HEAD.pack(_VERSION, _BARRIER, _HEAD.size, self._xid))

    def _numbered(self, data: bytes) -> bytes:
        self._xid += 1
        return data[:4] + self._xid.to_bytes(4, "big") + data[8:]

    def _wrapped(self, data: bytes) -> bytes:
        inner = self._numbered(data)
        length = _BUNDLE.size + len(inner)
        return _BUNDLE.pack(_VERSION, _EXPERIMENTER, length, self._xid, _ONF, _ADD, _ID, 0, _FLAGS) + inner

    def _control(self, kind: int) -> bytes:
        self._xid += 1
        return _BUNDLE.pack(
            _VERSION, _EXPERIMENTER, _BUNDLE.size, self._xid, _ONF, _CONTROL, _ID, kind, _FLAGS
        )

    def _until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _PATIENCE
        while not condition():
            assert time.monotonic() < deadline, f"no answer of the switch in {_PATIENCE:g} seconds"
            self._read(1.0)

    def _read(self, seconds: float) -> None:
        """Take what is there, after waiting for at most `seconds`."""
        ready, _, _ = select.select([self._socket], [], [], seconds)
        if not ready:
            return
        data = self._socket.recv(1 << 16)
        assert data, "the switch closed the OpenFlow connection"
        self._input += data
        at = 0
        while len(self._input) - at >= _HEAD.size:
            _, kind, length, _ = _HEAD.unpack_from(self._input, at)
            if len(self._input) - at < length:
                break
            self._take(kind, bytes(self._input[at : at + length]))
            at += length
        del self._input[:at]

    def _take(self, kind: int, data: bytes) -> None:
        assert kind != _ERROR, (
            f"the switch answers with an error, type and code {data[8:12].hex()}: {data[12:].hex()}"
        )
        if kind == _ECHO:
            self._socket.sendall(data[:1] + bytes([_ECHO_REPLY]) + data[2:])
        elif kind == _BARRIER_REPLY:
            self._waiting -= 1
        elif kind == _HELLO:
            self._hello = True
        elif kind == _EXPERIMENTER and _BUNDLE.unpack_from(data)[7] == _COMMIT_REPLY:
            self._committed = True
