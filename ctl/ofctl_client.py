"""The client side of an OpenFlow connection: plain blocking calls on one socket.

    with Client(sock, "br0") as client:
        reply = client.request(FeaturesRequest(), FeaturesReply)
        parts = client.multipart(PortDescRequest(), PortDescReply)
        errors = client.pipeline(encoded)            many messages, one barrier, the refusals
        client.send(message); event = client.receive()

The hellos are exchanged by the constructor; echo requests are answered while anything is waited for. Whatever
the peer does wrong (closes, keeps silent, sends garbage) becomes one LinkError that begins with its name; an
OFPT_ERROR that answers a request becomes a RefusedError.
"""

from __future__ import annotations

import select
import ssl
import time
from typing import TYPE_CHECKING, NamedTuple, Self, TypeVar

from vswitchd.errors import VsError
from vswitchd.ofproto.codec import decode, encode, frame
from vswitchd.ofproto.constants import OFP_VERSION_13, OFPMPF, OFPT
from vswitchd.ofproto.errors import OFError
from vswitchd.ofproto.messages import (
    BarrierReply,
    BarrierRequest,
    EchoReply,
    EchoRequest,
    Error,
    Hello,
)
from vswitchd.ofproto.multipart import MultipartReply, MultipartRequest

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterable

    from vswitchd.ofproto.registry import Message

SILENCE_SECONDS = 120.0
"""How long a switch may keep us waiting; deleting a million flows takes some seconds."""
HELLO_SECONDS = 10.0
_READ = 1 << 18
_WRITE = 1 << 16
_OURS = frozenset({OFP_VERSION_13})
_BLOCKED = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
R = TypeVar("R", bound="Message")
P = TypeVar("P", bound=MultipartReply)


class LinkError(VsError):
    """The connection broke or the peer does not speak OpenFlow 1.3."""


class RefusedError(VsError):
    """The switch refused a request; `error` is its OFPT_ERROR, `what` the refused text where it had one."""

    def __init__(self, xid: int, error: Error, what: str = "") -> None:
        super().__init__(refusal_text(xid, error) + (f" ({what})" if what else ""))
        self.xid = xid
        self.error = error


class Received(NamedTuple):
    """One message of the peer."""

    xid: int
    message: Message


class Client:
    """See the module. `name` is what errors begin with; owns the (connected) socket. Thread: one."""

    def __init__(self, sock: socket.socket, name: str) -> None:
        self.name = name
        self._sock = sock
        self._input = bytearray()
        self._at = 0
        self._xid = 0
        sock.setblocking(False)
        try:
            self._greet()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the socket."""
        self._sock.close()

    def new_xids(self, count: int = 1) -> int:
        """Return the first of `count` transaction ids in a row that nobody uses."""
        first = self._xid + 1
        self._xid += count
        return first

    def send(self, message: Message, xid: int | None = None) -> int:
        """Send a message, return its xid."""
        if xid is None:
            xid = self.new_xids()
        self._write(encode(message, xid))
        return xid

    def receive(self, seconds: float | None = None) -> Received | None:
        """Return the next message that is no echo request; None after `seconds` (None: wait for ever)."""
        deadline = None if seconds is None else time.monotonic() + seconds
        while True:
            found = self._next()
            if found is not None:
                return found
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                return None
            self._wait(select.POLLIN, left)
            self._read()

    def request(self, message: Message, reply: type[R]) -> tuple[int, R]:
        """Send a request, return the xid and the reply to it; raise RefusedError or LinkError."""
        xid = self.send(message)
        answer = self._answer(xid)
        if not isinstance(answer, reply):
            raise self._broken(f"answered {message.__class__.__name__} with {answer.__class__.__name__}")
        return xid, answer

    def multipart(self, message: MultipartRequest, reply: type[P]) -> tuple[int, list[P]]:
        """Send a multipart request, return the xid and all parts of the reply; raise RefusedError, LinkError."""
        xid, part = self.request(message, reply)
        parts = [part]
        while parts[-1].flags & OFPMPF.MORE:
            answer = self._answer(xid)
            if not isinstance(answer, reply):
                raise self._broken(f"ended a reply with {answer.__class__.__name__}")
            parts.append(answer)
        return xid, parts

    def command(self, message: Message) -> None:
        """Send a message that has no reply and wait until it is done; raise RefusedError or LinkError."""
        for xid, error in self.pipeline([encode(message, self.new_xids())]):
            raise RefusedError(xid, error)

    def pipeline(self, encoded: Iterable[bytes]) -> list[tuple[int, Error]]:
        """Send encoded messages that have no reply, then a barrier; return the errors, by xid, in order.

        Reads while it writes, so that neither side waits for the other for ever.
        """
        errors: list[tuple[int, Error]] = []
        barrier = self.new_xids()
        pending = bytearray()
        for data in encoded:
            pending += data
            if len(pending) >= _WRITE:
                self._write(bytes(pending))
                pending.clear()
                self._collect(barrier, errors)
        self._write(bytes(pending) + encode(BarrierRequest(), barrier))
        while not self._collect(barrier, errors):
            self._await_data()
        return errors

    def _collect(self, barrier: int, errors: list[tuple[int, Error]]) -> bool:
        """Take what was received: errors; True when the barrier's reply is among it."""
        while (found := self._next()) is not None:
            if isinstance(found.message, Error):
                errors.append((found.xid, found.message))
                if found.xid == barrier:
                    return True
            elif isinstance(found.message, BarrierReply) and found.xid == barrier:
                return True
        return False

    def _answer(self, xid: int) -> Message:
        """Return the next message with this xid; what the switch says unasked is skipped."""
        while True:
            found = self._next()
            if found is None:
                self._await_data()
            elif found.xid == xid:
                if isinstance(found.message, Error):
                    raise RefusedError(xid, found.message)
                return found.message

    def _greet(self) -> None:
        """Exchange hellos (6.3.1)."""
        self._write(encode(Hello(_OURS, OFP_VERSION_13), self.new_xids()))
        deadline = time.monotonic() + HELLO_SECONDS
        while (data := self._frame()) is None:
            left = deadline - time.monotonic()
            if left <= 0 or not self._wait(select.POLLIN, left):
                raise self._broken(f"sent no OpenFlow hello within {HELLO_SECONDS:g} seconds")
            self._read()
            if self._input[1:2] and self._input[1] not in (OFPT.HELLO, OFPT.ERROR):
                raise self._broken("does not speak OpenFlow: its first message is no hello")
        _, hello = self._decode(data)
        if isinstance(hello, Error):
            text = hello.data.decode("ascii", "replace") if hello.type == 0 else ""
            raise self._broken(f"refused the connection: {hello.name}" + (f" ({text})" if text else ""))
        assert isinstance(hello, Hello)
        if hello.agree(_OURS) is None:
            theirs = ", ".join(f"{v:#04x}" for v in sorted(hello.versions)) or f"up to {hello.version:#04x}"
            raise self._broken(
                f"version negotiation failed (we support version 0x04, peer supports {theirs})"
            )

    def _next(self) -> Received | None:
        """Decode the next message in the buffer that is no echo request; None: read more."""
        while (data := self._frame()) is not None:
            xid, message = self._decode(data)
            if not isinstance(message, EchoRequest):
                return Received(xid, message)
            self._write(encode(EchoReply(message.data), xid))
        return None

    def _frame(self) -> bytes | None:
        """Cut the next message off the buffer."""
        view = memoryview(self._input)[self._at :]
        try:
            length = frame(view)
            data = None if length is None else bytes(view[:length])
        except OFError as error:
            raise self._broken(f"sends no OpenFlow: {error.detail}") from None
        finally:
            view.release()
        if data is None:
            del self._input[: self._at]
            self._at = 0
            return None
        self._at += len(data)
        return data

    def _decode(self, data: bytes) -> tuple[int, Message]:
        try:
            return decode(data)
        except OFError as error:
            raise self._broken(f"sent a message that is not OpenFlow 1.3: {error}") from None

    def _read(self) -> None:
        """Take what is there; that the connection ended is told once nothing is left to read."""
        before = len(self._input)
        try:
            while data := self._sock.recv(_READ):
                self._input += data
                if len(data) < _READ and not isinstance(self._sock, ssl.SSLSocket):
                    return
        except _BLOCKED:
            return
        except ConnectionResetError:
            pass
        except OSError as error:
            raise self._broken(f"connection lost ({error.strerror or error})") from None
        if len(self._input) == before:
            raise self._broken("closed the connection")

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        try:
            while view:
                try:
                    view = view[self._sock.send(view) :]
                except _BLOCKED:
                    if not self._wait(select.POLLIN | select.POLLOUT, SILENCE_SECONDS):
                        raise self._broken(f"reads nothing for {SILENCE_SECONDS:g} seconds") from None
                    self._read()
        except (BrokenPipeError, ConnectionResetError):
            return  # the next read tells more: the peer's last words, then that it closed
        except OSError as error:
            raise self._broken(f"connection lost ({error.strerror or error})") from None

    def _await_data(self) -> None:
        if not self._wait(select.POLLIN, SILENCE_SECONDS):
            raise self._broken(f"no answer within {SILENCE_SECONDS:g} seconds")
        self._read()

    def _wait(self, events: int, seconds: float | None) -> bool:
        """Wait until the socket is ready; False when the time is over."""
        if isinstance(self._sock, ssl.SSLSocket) and self._sock.pending():
            return True
        poll = select.poll()
        poll.register(self._sock, events)
        return bool(poll.poll(None if seconds is None else max(0, seconds) * 1000))

    def _broken(self, text: str) -> LinkError:
        return LinkError(f"{self.name}: {text}")


def refusal_text(xid: int, error: Error) -> str:
    """Return one line that names an OFPT_ERROR as ovs-ofctl does."""
    return f"OFPT_ERROR (OF1.3) (xid={xid:#x}): {error.name}"
