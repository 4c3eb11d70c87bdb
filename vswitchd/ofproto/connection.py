"""One OpenFlow connection without its socket: bytes in, messages out; hello, echo, probes, bounds (6.3).

    conn.receive(data)              bytes from the peer
    while event := conn.next():     Ready, Request or Refused; decoding is done here, one message a call
    conn.send(message, xid)         queues; conn.take_output() gives the bytes to write
    conn.wake                       called when there is output to take
    conn.tick()                     probes; call now and then
    conn.closed                     why the connection is to be closed once the output is written, None while
    it lives

Faults in a message that can be told apart from its neighbours become `Refused` (the OFPT_ERROR is queued
already); what cannot be (a length below 8, a failed negotiation) ends the connection. Nothing raises. The
bounds: `backlog()` says how many written bytes the peer has not taken; over SOFT_BACKLOG packet-ins are
dropped and counted (`admits()`), over HARD_BACKLOG the connection is closed. Thread: control.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vswitchd.ofproto.codec import decode, encode, frame
from vswitchd.ofproto.constants import OFP_VERSION_10, OFP_VERSION_13, OFPT
from vswitchd.ofproto.errors import OFP_ERROR_DATA_MIN, OFPBRC, OFPHFC, EncodeError, OFError
from vswitchd.ofproto.messages import EchoReply, EchoRequest, Error, Hello

if TYPE_CHECKING:
    from collections.abc import Callable

    from vswitchd.ofproto.registry import Message

log = logging.getLogger(__name__)

VERSIONS = frozenset({OFP_VERSION_10, OFP_VERSION_13})
SOFT_BACKLOG = 512 * 1024
HARD_BACKLOG = 8 * 1024 * 1024
HELLO_SECONDS = 10.0
"""How long a peer may take for its hello."""


@dataclass(frozen=True, slots=True)
class Ready:
    """The hellos are exchanged; requests follow."""

    version: int


@dataclass(frozen=True, slots=True)
class Request:
    """A message of the peer; data is all of it as it came."""

    xid: int
    message: Message
    data: bytes


@dataclass(frozen=True, slots=True)
class Refused:
    """A message that was not understood and has been answered with an error."""

    error: OFError


Event = Ready | Request | Refused


def _no_backlog() -> int:
    return 0


def _nobody() -> None:
    pass


class Connection:
    """See the module. `probe` is the idle time before an echo request, 0 for never; clock is in seconds."""

    def __init__(
        self, clock: Callable[[], float], probe: float = 5.0, versions: frozenset[int] = VERSIONS,
        backlog: Callable[[], int] = _no_backlog,
    ) -> None:  # fmt: skip
        self.version: int | None = None
        self.closed: str | None = None
        self.probe = probe
        self.dropped = 0
        self.idle = False
        self.wake: Callable[[], None] = _nobody
        self.clock = clock
        self._versions = versions
        self._backlog = backlog
        self._input = bytearray()
        self._output: list[bytes] = []
        self._pending = 0
        self._next_xid = 1
        self._heard = clock()
        self._probed = 0.0
        self._put(Hello(versions, max(versions)), 0, max(versions))

    @property
    def unread(self) -> int:
        """Bytes received and not yet decoded."""
        return len(self._input)

    @property
    def input(self) -> bytearray:
        """What they are; `skip()` after some of them were handled otherwise than by `next()`."""
        return self._input

    def skip(self, size: int) -> None:
        """Forget whole messages at the beginning of `input`."""
        del self._input[:size]

    def receive(self, data: bytes) -> None:
        """Take bytes from the peer."""
        if self.closed is None:
            self._input += data
            self._heard = self.clock()
            self.idle = False

    def next(self) -> Event | None:
        """Decode and return the next event; None until more is received. Hellos, echos are answered here."""
        while self.closed is None:
            try:
                length = frame(self._input)
            except OFError as error:
                self._answer(error)
                self.close(f"cannot find the end of a message: {error.detail}")
                return Refused(error)
            if length is None:
                return None
            data = bytes(self._input[:length])
            del self._input[:length]
            event = self._hello(data) if self.version is None else self._message(data)
            if event is not None:
                return event
        return None

    def admits(self) -> bool:
        """Whether a message that may be dropped is to be sent; counts it as dropped if not."""
        if self.closed is not None or self.version is None:
            return False
        if self._waiting() > SOFT_BACKLOG:
            self.dropped += 1
            return False
        return True

    def send(self, message: Message, xid: int | None = None) -> bool:
        """Queue a message; xid None is one of ours. False if the connection is closed."""
        if self.closed is not None or self.version is None:
            return False
        if xid is None:
            xid = self._new_xid()
        try:
            self._put(message, xid, self.version)
        except EncodeError:
            log.exception("cannot send %s", message.__class__.__name__)
            return False
        self._check_backlog()
        return True

    def send_bytes(self, data: bytes) -> None:
        """Queue an encoded message."""
        if self.closed is None:
            self._queue(data)
            self._check_backlog()

    def refuse(self, error: OFError, request: Request) -> None:
        """Queue the OFPT_ERROR for a request."""
        error.data = request.data[:OFP_ERROR_DATA_MIN]
        error.xid = request.xid
        self._answer(error)

    def tell_error(self, error: OFError) -> None:
        """Queue an OFPT_ERROR with the xid and data that the error has."""
        if self.closed is None:
            self._answer(error)

    def take_output(self) -> bytes:
        """Return the bytes to write and forget them."""
        data = b"".join(self._output)
        self._output.clear()
        self._pending = 0
        return data

    def close(self, reason: str) -> None:
        """End the connection; what is queued may still be written. The first reason counts."""
        if self.closed is None:
            self.closed = reason
            self._input.clear()

    def tick(self) -> None:
        """Probe a silent peer, give up on one that stays silent (inactivity_probe of table Controller)."""
        if self.closed is not None:
            return
        silent = self.clock() - self._heard
        if self.version is None:
            if silent >= HELLO_SECONDS:
                self.close(f"no hello within {HELLO_SECONDS:g} s")
        elif self.probe and not self.idle:
            if silent >= self.probe:
                self.idle = True
                self._probed = self.clock()
                self.send(EchoRequest())
        elif self.probe and self.clock() - self._probed >= self.probe:
            self.close(f"no response to inactivity probe after {self.probe:g} s")

    def _hello(self, data: bytes) -> Event | None:
        """Take the first message, which must be a hello (6.3.1)."""
        version = data[0]
        if data[1] == OFPT.ERROR:
            self.close("the peer refused our hello")
            return None
        if data[1] != OFPT.HELLO:
            error = OFError(
                OFPBRC.BAD_TYPE, f"message type {data[1]} before hello", data[:OFP_ERROR_DATA_MIN]
            )
            error.xid = int.from_bytes(data[4:8], "big")
            self._answer(error, version if version in self._versions else None)
            self.close(error.detail)
            return Refused(error)
        try:
            xid, hello = decode(data, max(self._versions))
        except OFError as error:
            self._answer(error)
            self.close(f"bad hello: {error.detail}")
            return Refused(error)
        assert isinstance(hello, Hello)
        agreed = hello.agree(self._versions)
        if agreed is None:
            ours = ", ".join(f"{v:#04x}" for v in sorted(self._versions))
            theirs = ", ".join(f"{v:#04x}" for v in sorted(hello.versions)) or f"up to {version:#04x}"
            text = f"version negotiation failed: we support {ours}, you {theirs}"
            refused = OFError(OFPHFC.INCOMPATIBLE, text, text.encode(), xid)
            self._answer(refused, min(max(self._versions), version or 1))
            self.close(text)
            return Refused(refused)
        self.version = agreed
        return Ready(agreed)

    def _message(self, data: bytes) -> Event | None:
        assert self.version is not None
        try:
            xid, message = decode(data, self.version)
        except OFError as error:
            if data[1] != OFPT.ERROR:  # errors are never answered with errors
                self._answer(error)
            return Refused(error)
        if isinstance(message, EchoRequest):
            self.send(EchoReply(message.data), xid)
            return None
        if isinstance(message, (EchoReply, Hello)):
            return None
        return Request(xid, message, data)

    def _answer(self, error: OFError, version: int | None = None) -> None:
        spoken = version or self.version or max(self._versions)
        self._put(Error.of(error, spoken), error.xid, spoken)
        self._check_backlog()

    def _put(self, message: Message, xid: int, version: int) -> None:
        self._queue(encode(message, xid, version))

    def _queue(self, data: bytes) -> None:
        first = not self._output
        self._output.append(data)
        self._pending += len(data)
        if first:
            self.wake()

    def _waiting(self) -> int:
        return self._pending + self._backlog()

    def _check_backlog(self) -> None:
        if self._waiting() > HARD_BACKLOG:
            self._output.clear()
            self._pending = 0
            self.close(f"the peer does not read: more than {HARD_BACKLOG >> 20} MiB wait for it")

    def _new_xid(self) -> int:
        xid = self._next_xid
        self._next_xid = xid % 0xFFFFFFFF + 1
        return xid
