"""The back-end channel's shell: the socket, eventfds that stand for messages, and misses of the cores, on the loop.

Errors here end the channel, not the session: rings that run go on. Nothing blocks: the front-end can clear O_NONBLOCK on what
it shares with us, so each call asks not to wait.

Thread: the control thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from typing import TYPE_CHECKING

from vswitchd.ports.vhostuser.backend import PAGE
from vswitchd.ports.vhostuser.errors import ProtocolError

if TYPE_CHECKING:
    from collections.abc import Callable

    from vswitchd.ports.vhostuser.session import Session

log = logging.getLogger(__name__)

_WAIT = 1.0  # seconds until a translation is asked for again


class Channel:
    """Descriptors of one session that are watched besides its own socket. They stay the session's."""

    def __init__(self, session: Session, name: str) -> None:
        """Watch for misses; all else comes with `sync`. `name` is the port's, for the log."""
        self._session = session
        self._name = name
        self._loop = asyncio.get_running_loop()
        self._fd: int | None = None
        self._sock: socket.socket | None = None
        self._events: dict[int, tuple[str, int]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._miss_fd = session.device.miss_fd
        if self._miss_fd is not None:
            self._loop.add_reader(self._miss_fd, self._missed)
        session.before_close = self._forget

    def sync(self) -> None:
        """Follow the session's state: after each message, before another one is handled."""
        if self._session.state.backend != self._fd:
            self._attach()
        events = self._session.own_events
        for fd in events.keys() - self._events.keys():
            self._loop.add_reader(fd, self._signalled, fd)
        self._events = dict(events)
        self._flush()

    def close(self) -> None:
        """Watch nothing any more; before the session closes its descriptors."""
        self._forget({*self._events, *([] if self._fd is None else [self._fd])})
        if self._miss_fd is not None:
            self._loop.remove_reader(self._miss_fd)
            self._miss_fd = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _attach(self) -> None:
        self._fd = self._session.state.backend
        if self._fd is not None:
            self._sock = socket.socket(fileno=self._fd)
            self._loop.add_reader(self._fd, self._guard, self._read)

    def _forget(self, fds: set[int]) -> None:
        """Stop watching, while the descriptors are open: the front-end may keep the socket, and epoll would go on with it."""
        if self._fd in fds:
            self._detach()
            self._fd = None
        for fd in fds & self._events.keys():
            self._loop.remove_reader(fd)
            del self._events[fd]

    def _detach(self) -> None:
        """Let go of the socket."""
        if self._sock is not None and self._fd is not None:
            self._loop.remove_reader(self._fd)
            self._loop.remove_writer(self._fd)
            self._sock.detach()
            self._sock = None

    def _read(self) -> None:
        assert self._sock is not None
        data = self._sock.recv(PAGE, socket.MSG_DONTWAIT)
        if not data:
            raise ProtocolError("the front-end closed it")
        self._session.requests.receive(data)
        self._send()

    def _flush(self) -> None:
        self._guard(self._send)
        if self._timer is None and self._session.unanswered:
            self._timer = self._loop.call_later(_WAIT, self._ask_again)

    def _send(self) -> None:
        if self._sock is None or self._fd is None:
            return
        while data := self._session.requests.outgoing():
            try:
                sent = self._sock.send(data, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
            except BlockingIOError:
                self._loop.add_writer(self._fd, self._flush)
                return
            self._session.requests.sent(sent)
        self._loop.remove_writer(self._fd)

    def _guard(self, step: Callable[[], None]) -> None:
        try:
            step()
        except BlockingIOError:
            pass
        except (OSError, ProtocolError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            log.warning("%s: the back-end channel is lost: %s", self._name, reason)
            self._detach()
            self._session.requests.close()

    def _signalled(self, fd: int) -> None:
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(fd)
        which, index = self._events[fd]
        if which == "call":
            self._session.requests.call(index)
        else:
            self._session.requests.err(index)
        self._flush()

    def _missed(self) -> None:
        self._session.ask_misses()
        self._flush()

    def _ask_again(self) -> None:
        self._timer = None
        self._session.ask_again()
        self._flush()
