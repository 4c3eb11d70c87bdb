"""An active target: connects to a controller, again and again with back-off of 1 to max_backoff seconds."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import ssl
from dataclasses import replace
from enum import Enum
from typing import TYPE_CHECKING

from vswitchd.ofproto.auxiliary import Auxiliaries
from vswitchd.ofproto.channel import Channel, ChannelConfig
from vswitchd.ofproto.constants import OFP_VERSION_13
from vswitchd.ofproto.endpoint import (
    MIN_BACKOFF,
    ControllerConfig,
    ControllerStatus,
    History,
    role_of,
    since,
)
from vswitchd.ofproto.tls import SslConfig, TlsError, tls_context

if TYPE_CHECKING:
    from collections.abc import Callable

    from vswitchd.ofproto.agent import Agent
    from vswitchd.ofproto.target import Target

log = logging.getLogger(__name__)
CONNECT_SECONDS = 5.0


class State(Enum):
    """As in column status:state."""

    VOID = "VOID"
    BACKOFF = "BACKOFF"
    CONNECTING = "CONNECTING"
    ACTIVE = "ACTIVE"
    IDLE = "IDLE"


class Remote:
    """See the module. The first attempt is made at once."""

    def __init__(
        self,
        agent: Agent,
        target: Target,
        config: ControllerConfig,
        ssl_config: Callable[[], SslConfig | None],
    ) -> None:
        self.config = config
        self.primary = config.primary is not False
        self._agent = agent
        self._target = target
        self._ssl = ssl_config
        self._history = History()
        self._state = State.BACKOFF
        self._backoff = 0.0
        self._try_at = agent.clock()
        self._channel: Channel | None = None
        self._task: asyncio.Task[None] | None = None
        self._auxiliaries = Auxiliaries(
            config.target, agent.clock, self._make_auxiliary, self._open_auxiliary
        )
        self.tick()

    def tick(self) -> None:
        """Connect when it is time; probe."""
        if self._state is State.BACKOFF and self._agent.clock() >= self._try_at:
            self._state = State.CONNECTING
            self._task = asyncio.get_running_loop().create_task(self._connect())
        elif self._channel is not None:
            self._channel.tick()
            if self._auxiliaries_make_sense():
                self._auxiliaries.tick(self.config.auxiliaries)

    def channels(self) -> list[Channel]:
        """At most one."""
        return [] if self._channel is None else [self._channel]

    def _auxiliaries_make_sense(self) -> bool:
        """Whether the main connection is up (6.3.8) and of a version that knows auxiliary ones."""
        session = None if self._channel is None else self._channel.session
        return session is not None and session.version >= OFP_VERSION_13

    def status(self) -> ControllerStatus:
        """Say what is true now."""
        now = self._agent.clock()
        channel = self._channel
        ready = channel is not None and channel.ready
        state = State.IDLE if ready and channel is not None and channel.idle else self._state
        return ControllerStatus(
            self.config.target,
            self.primary,
            is_connected=ready,
            role=role_of(channel) if ready else None,
            state=state.value,
            last_error=self._history.last_error,
            sec_since_connect=since(now, self._history.connected_at),
            sec_since_disconnect=since(now, self._history.disconnected_at),
            dropped=self._history.dropped
            + self._auxiliaries.dropped
            + (channel.dropped if channel is not None else 0),
        )

    def close(self) -> None:
        """Disconnect for good."""
        self._state = State.VOID
        if self._task is not None:
            self._task.cancel()
        self._auxiliaries.close("the controller was removed")
        if self._channel is not None:
            self._channel.close("the controller was removed")

    async def _connect(self) -> None:
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                self._channel = await self._open(self._make)
        except (OSError, TlsError, TimeoutError) as error:
            self._failed(_why(error))

    async def _open(self, make: Callable[[], Channel]) -> Channel:
        loop = asyncio.get_running_loop()
        if self._target.unix:
            return (await loop.create_unix_connection(make, self._target.host))[1]
        context = tls_context(self._ssl(), server=False) if self._target.tls else None
        host, port = self._target.host, self._target.port
        return (await loop.create_connection(make, host, port, ssl=context))[1]

    async def _open_auxiliary(self, make: Callable[[], Channel]) -> Channel:
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                return await self._open(make)
        except TlsError as error:
            raise OSError(str(error)) from None

    def _channel_config(self) -> ChannelConfig:
        config = self.config
        return ChannelConfig(
            config.target, self.primary, config.inactivity_probe / 1000, config.enable_async, config.rate_limit,
            config.burst_limit,
        )  # fmt: skip

    def _make(self) -> Channel:
        return Channel(self._agent, self._channel_config(), self._opened, self._gone)

    def _make_auxiliary(self, number: int, gone: Callable[[Channel, str], None]) -> Channel:
        main = None if self._channel is None else self._channel.session
        config = replace(
            self._channel_config(),
            peer=f"{self.config.target} auxiliary {number}",
            main=main,
            auxiliary_id=number,
        )
        return Channel(self._agent, config, _log_opened, gone)

    def _opened(self, channel: Channel) -> None:
        self._channel = channel
        self._state = State.ACTIVE
        self._history.connected_at = self._agent.clock()
        if self.primary:
            self._agent.primary_connected()
        log.info("%s: connected", self.config.target)

    def _gone(self, channel: Channel, reason: str) -> None:
        self._history.dropped += channel.dropped
        was_up = self._state is State.ACTIVE
        if was_up:
            self._history.disconnected_at = self._agent.clock()
            if self._agent.clock() - (self._history.connected_at or 0) >= self._backoff:
                self._backoff = 0.0
        self._channel = None
        self._auxiliaries.close("the main connection ended")
        self._failed(reason)

    def _failed(self, reason: str) -> None:
        if self._state is State.VOID:
            return
        self._history.last_error = reason
        limit = max(MIN_BACKOFF, self.config.max_backoff / 1000)
        self._backoff = min(max(MIN_BACKOFF, 2 * self._backoff), limit)
        self._try_at = self._agent.clock() + self._backoff
        self._state = State.BACKOFF
        log.info("%s: %s, waiting %g s before the next attempt", self.config.target, reason, self._backoff)


def _log_opened(channel: Channel) -> None:
    log.info("%s: connected", channel.config.peer)


def _why(error: Exception) -> str:
    if isinstance(error, TimeoutError) and not error.args:
        return "Connection timed out"
    if isinstance(error, ssl.SSLError):
        return error.reason or str(error)
    if isinstance(error, socket.gaierror):
        return error.strerror or "unknown host"
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno)
    return str(error)
