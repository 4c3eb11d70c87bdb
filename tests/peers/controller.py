"""An OpenFlow controller on a blocking socket: it says hello, answers probes, asks, and keeps what it was told."""

import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from vswitchd.ofproto.codec import Message, decode, encode, join
from vswitchd.ofproto.messages import BarrierReply, BarrierRequest, EchoReply, EchoRequest, Error, Hello
from vswitchd.ofproto.multipart import MultipartReply

SECONDS = 30.0
M = TypeVar("M", bound=Message)


class Controller:
    """One connection. `deaf`: it does not answer probes."""

    def __init__(self, sock: socket.socket, *, deaf: bool = False) -> None:
        """Takes over a connected socket and greets."""
        self.sock = sock
        self.deaf = deaf
        self.told: list[Message] = []
        self._xid = 100
        sock.settimeout(SECONDS)
        try:
            self.send(Hello(frozenset({4})), 1)
            assert isinstance(self._next()[1], Hello)
        except BaseException:
            sock.close()
            raise

    @classmethod
    def to(cls, path: Path) -> Self:
        """Connect to a unix socket of the switch."""
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(SECONDS)
        sock.connect(str(path))
        return cls(sock)

    def send(self, message: Message, xid: int) -> None:
        """Send a message."""
        self.sock.sendall(encode(message, xid))

    def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            part = self.sock.recv(size - len(data))
            if not part:
                raise EOFError("the switch ended the connection")
            data += part
        return data

    def _next(self) -> tuple[int, Message]:
        head = self._exactly(8)
        return decode(head + self._exactly(int.from_bytes(head[2:4], "big") - 8))

    def _take(self) -> tuple[int, Message]:
        """Return the next message but for probes, which are answered."""
        while True:
            xid, message = self._next()
            if not isinstance(message, EchoRequest):
                return xid, message
            if not self.deaf:
                self.send(EchoReply(message.data), xid)

    def ask(self, message: Message) -> Message:
        """Return the answer, an error included; parts are joined."""
        self._xid += 1
        self.send(message, self._xid)
        parts: list[MultipartReply] = []
        while True:
            xid, answer = self._take()
            if xid != self._xid:
                self.told.append(answer)
            elif not isinstance(answer, MultipartReply):
                return answer
            else:
                parts.append(answer)
                if not answer.flags:
                    return join(parts)

    def do(self, *messages: Message) -> list[str]:
        """Send messages that are not answered and a barrier; the names of the errors."""
        first = self._xid + 1
        for message in messages:
            self._xid += 1
            self.send(message, self._xid)
        self._xid += 1
        self.send(BarrierRequest(), self._xid)
        errors = []
        while True:
            xid, answer = self._take()
            if isinstance(answer, BarrierReply):
                return errors
            if isinstance(answer, Error) and xid >= first:
                errors.append(answer.name)
            else:
                self.told.append(answer)

    def wait(self, kind: type[M], condition: Callable[[M], bool] = lambda _m: True) -> M:
        """Return the first message of a kind, told before or still to come, and forget what came before it."""
        while True:
            message = self.told.pop(0) if self.told else self._take()[1]
            if isinstance(message, kind) and condition(message):
                return message

    def close(self) -> None:
        """End the connection."""
        self.sock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Door:
    """Where the switch connects to: a listening socket of a controller; `target` names it in vsctl."""

    def __init__(self, where: Path | None = None, *, tls: ssl.SSLContext | None = None) -> None:
        """A unix socket at `where`, else a port of the loopback, with `tls` if given."""
        self._tls = tls
        if where is not None:
            self._sock = socket.socket(socket.AF_UNIX)
            self._sock.bind(str(where))
            self._sock.listen()
            self.target = f"unix:{where}"
        else:
            self._sock = socket.create_server(("127.0.0.1", 0))
            self.target = f"{'ssl' if tls else 'tcp'}:127.0.0.1:{self._sock.getsockname()[1]}"
        self._sock.settimeout(SECONDS)

    def accept(self, *, deaf: bool = False) -> Controller:
        """Wait for the switch."""
        sock, _ = self._sock.accept()
        if self._tls is not None:
            sock.settimeout(SECONDS)
            sock = self._tls.wrap_socket(sock, server_side=True)
        return Controller(sock, deaf=deaf)

    def close(self) -> None:
        """Listen no more."""
        self._sock.close()
