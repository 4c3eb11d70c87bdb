"""Auxiliary connections: more connections to a controller, beside the main one (1.3.5, 6.3.8).

They are made once the main one is up, speak its version, say their number in features_reply, and end with it.
Answers stay on the connection of the request; role and asynchronous configuration are those of the main one, whose
packet-ins are spread over all by input port, so that those of one port stay in order. Thread: control.
"""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import TYPE_CHECKING

from vswitchd.ofproto.endpoint import MIN_BACKOFF

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from vswitchd.ofproto.channel import Channel

    Connect = Callable[[Callable[[], Channel]], Awaitable[Channel]]
    Make = Callable[[int, Callable[[Channel, str], None]], Channel]

log = logging.getLogger(__name__)
MAX_AUXILIARIES = 16


class Auxiliaries:
    """The auxiliary connections 1 to `count` of one live main connection.

    `make(number, gone)` makes a channel; `connect(factory)` connects one and may raise OSError.
    """

    def __init__(self, name: str, clock: Callable[[], float], make: Make, connect: Connect) -> None:
        self._name = name
        self._clock = clock
        self._make = make
        self._connect = connect
        self._channels: dict[int, Channel | None] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._try_at: dict[int, float] = {}
        self._dropped = 0

    @property
    def dropped(self) -> int:
        """Packet-ins that were dropped, on those that are gone as well."""
        return self._dropped + sum(channel.dropped for channel in self.channels())

    def channels(self) -> list[Channel]:
        """Live ones, by number."""
        return [channel for _, channel in sorted(self._channels.items()) if channel is not None]

    def tick(self, count: int) -> None:
        """Make those that are missing, end those that are too many, probe."""
        now = self._clock()
        for number in [n for n in self._channels if n > count]:
            self._end(number, "fewer auxiliary connections are wanted")
        for number in range(1, count + 1):
            if number not in self._channels and now >= self._try_at.get(number, 0.0):
                self._channels[number] = None
                self._tasks[number] = asyncio.get_running_loop().create_task(self._open(number))
        for channel in self.channels():
            channel.tick()

    def close(self, reason: str) -> None:
        """End all: the main connection is gone."""
        for number in list(self._channels):
            self._end(number, reason)

    def _end(self, number: int, reason: str) -> None:
        task = self._tasks.pop(number, None)
        if task is not None:
            task.cancel()
        channel = self._channels.pop(number)
        if channel is not None:
            channel.close(reason)  # `_gone()` follows

    async def _open(self, number: int) -> None:
        try:
            channel = await self._connect(partial(self._make, number, partial(self._gone, number)))
        except (OSError, TimeoutError) as error:
            log.info("%s: auxiliary connection %d: %s", self._name, number, error)
            self._lost(number)
            return
        if number in self._channels:  # else it is gone already
            self._channels[number] = channel

    def _gone(self, number: int, channel: Channel, reason: str) -> None:
        self._dropped += channel.dropped
        if self._channels.get(number) in {None, channel}:
            log.info("%s: auxiliary connection %d: %s", self._name, number, reason)
            self._lost(number)

    def _lost(self, number: int) -> None:
        self._channels.pop(number, None)
        self._try_at[number] = self._clock() + MIN_BACKOFF
