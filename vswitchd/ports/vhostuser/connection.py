"""A connected socket and its session: reads messages, writes answers, and ends on the first error."""

from __future__ import annotations

import array
import asyncio
import logging
import socket
from typing import TYPE_CHECKING

from vswitchd.ports.vhostuser.channel import Channel
from vswitchd.ports.vhostuser.errors import ProtocolError
from vswitchd.ports.vhostuser.frames import MAX_FDS, close_fds

if TYPE_CHECKING:
    from collections.abc import Callable

    from vswitchd.ports.vhostuser.session import Session

log = logging.getLogger(__name__)

_CONTROL = socket.CMSG_SPACE(MAX_FDS * array.array("i").itemsize)
_TURN = 64  # messages handled before other events of the loop get their turn


def receive(sock: socket.socket, size: int) -> tuple[bytes, list[int]]:
    """Read at most size bytes and their descriptors, ours to close. Raises OSError, ProtocolError."""
    data, control, flags, _ = sock.recvmsg(size, _CONTROL, socket.MSG_CMSG_CLOEXEC)
    fds = array.array("i")
    for level, kind, content in control:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            fds.frombytes(content[: len(content) - len(content) % fds.itemsize])
    if flags & socket.MSG_CTRUNC:
        close_fds(fds)
        raise ProtocolError(f"more than {MAX_FDS} descriptors with one message")
    return data, list(fds)


class Connection:
    """One front-end. `handled` is called after every burst of messages, `closed` once, at the end."""

    def __init__(
        self,
        sock: socket.socket,
        session: Session,
        *,
        name: str,
        handled: Callable[[], None],
        closed: Callable[[Connection], None],
    ) -> None:
        self.session = session
        self._sock = sock
        self._name = name
        self._handled = handled
        self._closed = closed
        self._unsent = b""
        self._unsent_fds: list[int] = []  # go with the first byte
        self._open = True
        self._channel = Channel(session, name)
        self._loop = asyncio.get_running_loop()
        sock.setblocking(False)
        self._loop.add_reader(sock, self._readable)

    def close(self) -> None:
        """End it: rings stop, memory is unmapped, descriptors are closed. Idempotent."""
        if not self._open:
            return
        self._open = False
        self._loop.remove_reader(self._sock)
        self._loop.remove_writer(self._sock)
        self._channel.close()
        close_fds(self._unsent_fds)
        self.session.close()
        self._sock.close()
        self._closed(self)

    def _readable(self) -> None:
        try:
            for _ in range(_TURN):
                if not self._step():
                    break
        except BlockingIOError:
            pass
        except ProtocolError as error:
            log.warning("%s: closing the connection: %s", self._name, error)
            self.close()
            return
        except OSError as error:
            log.info("%s: connection lost: %s", self._name, error.strerror)
            self.close()
            return
        except Exception:
            log.exception("%s: closing the connection after an internal error", self._name)
            self.close()
            return
        self._handled()

    def _step(self) -> bool:
        """Read once; False when there is a reason to stop reading for now."""
        data, fds = receive(self._sock, self.session.wanted)
        if not data:
            close_fds(fds)
            log.info("%s: the front-end disconnected", self._name)
            self.close()
            return False
        answer = self.session.receive(data, fds)
        self._channel.sync()
        if answer:
            self._unsent += answer
            self._unsent_fds = self.session.take_answer_fds()
            self._writable()
        return not self._unsent

    def _writable(self) -> None:
        """Send what can be sent. Nothing is read before all is: who reads no answers gets none."""
        try:
            sent = self._send()
        except BlockingIOError:
            sent = 0
        except OSError as error:
            log.info("%s: connection lost: %s", self._name, error.strerror)
            self.close()
            return
        self._unsent = self._unsent[sent:]
        if self._unsent:
            self._loop.remove_reader(self._sock)
            self._loop.add_writer(self._sock, self._writable)
        else:
            self._loop.remove_writer(self._sock)
            self._loop.add_reader(self._sock, self._readable)

    def _send(self) -> int:
        """Raises OSError."""
        flags = socket.MSG_NOSIGNAL | socket.MSG_DONTWAIT
        if not self._unsent_fds:
            return self._sock.send(self._unsent, flags)
        rights = array.array("i", self._unsent_fds)
        sent = self._sock.sendmsg([self._unsent], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)], flags)
        fds, self._unsent_fds = self._unsent_fds, []
        close_fds(fds)
        return sent
