"""A passive target: a listening socket (ptcp:, pssl:, punix:) and the connections that it accepted."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import ssl
import stat
from typing import TYPE_CHECKING

from vswitchd.ofproto.channel import Channel, ChannelConfig
from vswitchd.ofproto.endpoint import ControllerConfig, ControllerStatus, History, role_of, since
from vswitchd.ofproto.tls import SslConfig, TlsError, tls_context

if TYPE_CHECKING:
    from collections.abc import Callable

    from vswitchd.ofproto.agent import Agent
    from vswitchd.ofproto.target import Target

log = logging.getLogger(__name__)
MAX_PEERS = 128
MAX_HANDSHAKES = 32
HANDSHAKE_SECONDS = 5.0
RETRY_SECONDS = 5.0
_BACKLOG = 64


class Listener:
    """See the module. A socket that cannot be had is tried again every few seconds; `status()` says why."""

    def __init__(
        self,
        agent: Agent,
        target: Target,
        config: ControllerConfig,
        ssl_config: Callable[[], SslConfig | None],
    ) -> None:
        self.config = config
        self.primary = config.primary is True
        self._agent = agent
        self._target = target
        self._ssl = ssl_config
        self._channels: list[Channel] = []
        self._history = History()
        self._socket: socket.socket | None = None
        self._inode: tuple[int, int] | None = None
        self._server: asyncio.Server | None = None
        self._task: asyncio.Task[None] | None = None
        self._handshakes: set[asyncio.Task[None]] = set()
        self._closed = False
        self._try_at = 0.0
        self._listen()

    @property
    def port(self) -> int:
        """The TCP port that we listen on, 0 if none (of interest for a target with port 0)."""
        if self._socket is None or self._target.unix:
            return 0
        port: int = self._socket.getsockname()[1]
        return port

    def tick(self) -> None:
        """Listen if we could not; probe."""
        if self._socket is None and not self._closed and self._agent.clock() >= self._try_at:
            self._listen()
        for channel in list(self._channels):
            channel.tick()

    def channels(self) -> list[Channel]:
        """All accepted connections."""
        return list(self._channels)

    def status(self) -> ControllerStatus:
        """Say what is true now: connected if anybody is."""
        now = self._agent.clock()
        ready = [channel for channel in self._channels if channel.ready]
        listening = self._socket is not None
        return ControllerStatus(
            self.config.target,
            self.primary,
            is_connected=bool(ready),
            role=role_of(ready[0]) if ready else None,
            state="ACTIVE" if listening else "BACKOFF",
            last_error=self._history.last_error,
            sec_since_connect=since(now, self._history.connected_at),
            sec_since_disconnect=since(now, self._history.disconnected_at),
            dropped=self._history.dropped + sum(channel.dropped for channel in self._channels),
        )

    def close(self) -> None:
        """Stop listening, close all connections, remove the socket's file if it is still ours."""
        self._closed = True
        for channel in list(self._channels):
            channel.close("the listener was removed")
        for task in (self._task, *self._handshakes):
            if task is not None:
                task.cancel()
        if self._server is not None:
            self._server.close()
        if self._socket is not None:
            if self._target.unix:
                _unlink(self._target.host, self._inode)
            self._socket.close()
            self._socket = None

    def _listen(self) -> None:
        try:
            context = tls_context(self._ssl(), server=True) if self._target.tls else None
            self._socket = _unix_socket(self._target.host) if self._target.unix else _tcp_socket(self._target)
        except (OSError, TlsError) as error:
            self._history.last_error = _why(error, self.config.target)
            self._try_at = self._agent.clock() + RETRY_SECONDS
            log.warning("%s", self._history.last_error)
            return
        if self._target.unix:
            found = os.stat(self._target.host)  # noqa: PTH116
            self._inode = (found.st_dev, found.st_ino)
        self._history.last_error = None
        self._task = asyncio.get_running_loop().create_task(self._serve(self._socket, context))

    async def _serve(self, sock: socket.socket, context: ssl.SSLContext | None) -> None:
        loop = asyncio.get_running_loop()
        if context is not None:
            await self._serve_tls(sock, context)
        elif self._target.unix:
            self._server = await loop.create_unix_server(self._make, sock=sock)
        else:
            self._server = await loop.create_server(self._make, sock=sock)

    async def _serve_tls(self, sock: socket.socket, context: ssl.SSLContext) -> None:
        """Accept by hand: who fails the handshake is told of, and is not many at a time."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                peer, _ = await loop.sock_accept(sock)
            except OSError as error:  # out of descriptors: others may give some back
                log.warning("%s: cannot accept (%s)", self.config.target, error.strerror)
                await asyncio.sleep(1.0)
                continue
            if len(self._handshakes) >= MAX_HANDSHAKES:
                peer.close()
                continue
            task = loop.create_task(self._handshake(peer, context))
            self._handshakes.add(task)
            task.add_done_callback(self._handshakes.discard)

    async def _handshake(self, peer: socket.socket, context: ssl.SSLContext) -> None:
        loop = asyncio.get_running_loop()
        host = port = "?"
        try:
            host, port = peer.getpeername()[:2]
            await loop.connect_accepted_socket(
                self._make, peer, ssl=context, ssl_handshake_timeout=HANDSHAKE_SECONDS
            )
        except OSError as error:
            why = (error.reason if isinstance(error, ssl.SSLError) else error.strerror) or str(error)
            self._history.last_error = f"{host}:{port}: TLS handshake failed ({why})"
            log.warning("%s: %s", self.config.target, self._history.last_error)

    def _make(self) -> Channel:
        config = ChannelConfig(
            self.config.target, self.primary, self.config.inactivity_probe / 1000, self.config.enable_async,
            self.config.rate_limit, self.config.burst_limit,
        )  # fmt: skip
        return _Accepted(self._agent, config, self._opened, self._gone, self._channels)

    def _opened(self, _channel: Channel) -> None:
        self._history.connected_at = self._agent.clock()
        if self.primary:
            self._agent.primary_connected()

    def _gone(self, channel: Channel, _reason: str) -> None:
        self._history.dropped += channel.dropped
        self._history.disconnected_at = self._agent.clock()
        if channel in self._channels:
            self._channels.remove(channel)


class _Accepted(Channel):
    """A connection that somebody made to us, one of `channels`; closed at once where there are too many."""

    def __init__(
        self, agent: Agent, config: ChannelConfig, opened: Callable[[Channel], None],
        gone: Callable[[Channel, str], None], channels: list[Channel],
    ) -> None:  # fmt: skip
        super().__init__(agent, config, opened, gone)
        self._channels = channels

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet, or close."""
        super().connection_made(transport)
        if len(self._channels) >= MAX_PEERS:
            self.close(f"more than {MAX_PEERS} connections")
        else:
            self._channels.append(self)


def _tcp_socket(target: Target) -> socket.socket:
    # Without an address it listens on IPv4 only (ovs-vswitchd.conf.db(5)).
    host = target.host or "0.0.0.0"  # noqa: S104
    infos = socket.getaddrinfo(
        host, target.port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST | socket.AI_PASSIVE
    )
    family, kind, proto, _, address = infos[0]
    sock = socket.socket(family, kind, proto)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        sock.listen(_BACKLOG)
        sock.setblocking(False)
    except OSError:
        sock.close()
        raise
    return sock


def _unix_socket(path: str) -> socket.socket:
    """Bind a unix socket, mode 0600. A socket file that nobody listens on is replaced, a live one is not."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _remove_stale(path)
        mask = os.umask(0o177)
        try:
            sock.bind(path)
        finally:
            os.umask(mask)
        sock.listen(_BACKLOG)
        sock.setblocking(False)
    except OSError:
        sock.close()
        raise
    return sock


def _remove_stale(path: str) -> None:
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            return  # bind says that the path is in use
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)  # noqa: PTH108
        except BlockingIOError:
            return


def _unlink(path: str, inode: tuple[int, int] | None) -> None:
    with contextlib.suppress(OSError):
        found = os.lstat(path)
        if (found.st_dev, found.st_ino) == inode:
            os.unlink(path)  # noqa: PTH108


def _why(error: Exception, target: str) -> str:
    if isinstance(error, socket.gaierror):
        return f"{target}: is not an address to listen on"
    if isinstance(error, OSError) and error.strerror:
        return f"{target}: cannot listen ({error.strerror})"
    return f"{target}: {error}"
