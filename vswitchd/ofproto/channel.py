"""A live connection: an asyncio protocol that joins a sans-IO Connection, its Session and the Agent.

Requests are decoded and answered in slices of a few milliseconds, so that a peer with a million flow-mods or
a dump of a million flows delays nobody. While the peer does not take its answers, its requests wait; while
they wait, it is not read: a stuck peer costs a bounded amount of memory and is ended by the inactivity probe.
Thread: control.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, replace
from time import perf_counter as clock
from typing import TYPE_CHECKING

from vswitchd.ofproto import bundle_requests
from vswitchd.ofproto import group_requests as _group_requests  # noqa: F401
from vswitchd.ofproto import meter_requests as _meter_requests  # noqa: F401
from vswitchd.ofproto import queue_requests as _queue_requests  # noqa: F401
from vswitchd.ofproto import requests as _requests  # noqa: F401  # fills agent.HANDLERS
from vswitchd.ofproto import stats_requests as _stats_requests  # noqa: F401
from vswitchd.ofproto import table_requests as _table_requests  # noqa: F401
from vswitchd.ofproto.connection import Connection, Ready, Request
from vswitchd.ofproto.session import Session
from vswitchd.ofproto.turns import SLICE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable

    from vswitchd.ofproto.agent import Agent, Job

log = logging.getLogger(__name__)

_UNREAD_HIGH = 256 * 1024
_UNREAD_LOW = 64 * 1024
_WRITE_HIGH = 256 * 1024
_WRITE_LOW = 64 * 1024
_FLOW_MODS_A_SECOND = 50_000
"""What a run of flow-mods of known kinds surely does."""
_LINGER_SECONDS = 1.0
"""How long the last bytes (the error that says why) may take to leave."""


@dataclass(frozen=True, slots=True)
class ChannelConfig:
    """How a connection is treated; probe in seconds, 0 for never; rate: packet-ins a second, None: no limit.

    main: whose auxiliary connection it is, with the number auxiliary_id.
    """

    peer: str
    primary: bool
    probe: float = 5.0
    enable_async: bool = True
    rate: int | None = None
    burst: int | None = None
    main: Session | None = None
    auxiliary_id: int = 0


class Channel(asyncio.Protocol):
    """See the module. `opened(channel)` is called after the hellos, `gone(channel, reason)` at the end."""

    def __init__(
        self, agent: Agent, config: ChannelConfig, opened: Callable[[Channel], None],
        gone: Callable[[Channel, str], None],
    ) -> None:  # fmt: skip
        self.config = config
        self.session: Session | None = None
        self._agent = agent
        self._opened = opened
        self._gone = gone
        self._transport: asyncio.Transport | None = None
        self._loop = asyncio.get_running_loop()
        self._connection: Connection | None = None
        self._job: Job | None = None
        self._parked: Request | None = None
        """A request that waits for another connection's transaction."""
        self._full = False
        self._not_reading = False
        self._scheduled = False
        self._running = False

    @property
    def ready(self) -> bool:
        """Whether the hellos are exchanged and the connection lives."""
        return self.session is not None and self.session.connection.closed is None

    @property
    def idle(self) -> bool:
        """Whether a probe waits for its answer."""
        return self._connection is not None and self._connection.idle

    @property
    def dropped(self) -> int:
        """Packet-ins dropped because the peer did not read, or over its rate; also when it is gone."""
        return 0 if self.session is None else self.session.connection.dropped + self.session.limit.refused

    def set_rate(self, rate: int | None, burst: int | None) -> None:
        """Change how many packet-ins a second it gets."""
        self.config = replace(self.config, rate=rate, burst=burst)
        if self.session is not None:
            self.session.limit.set(rate, burst)

    def close(self, reason: str) -> None:
        """End the connection."""
        if self._connection is not None:
            self._connection.close(reason)
            self._finish()

    def set_probe(self, seconds: float) -> None:
        """Change the idle time before a probe."""
        if self._connection is not None:
            self._connection.probe = seconds

    def tick(self) -> None:
        """Probe; call some times a second."""
        if self._connection is not None:
            self._connection.tick()
            if self.session is not None and not self._connection.unread and self._parked is None:
                bundle_requests.expire(self.session)  # not where its next message waits for us
            self._flush()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send our hello."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.set_write_buffer_limits(_WRITE_HIGH, _WRITE_LOW)
        main = self.config.main
        versions = self._agent.versions if main is None else frozenset((main.version,))
        self._connection = Connection(
            self._agent.clock, self.config.probe, versions, transport.get_write_buffer_size
        )
        self._connection.wake = self._schedule
        self._flush()

    def data_received(self, data: bytes) -> None:
        """Take bytes and answer what they hold."""
        if self._connection is None or self._transport is None:
            return
        self._connection.receive(data)
        if not self._not_reading and self._connection.unread > _UNREAD_HIGH:
            self._not_reading = True
            self._transport.pause_reading()
        share = 0.0 if self._scheduled else self._agent.turns.at_once(len(self._agent.sessions))
        if share:
            self._run(share)
        else:
            self._schedule()

    def eof_received(self) -> bool | None:
        """Answer what was asked before the end, then end."""
        self._run(SLICE_SECONDS)
        return None

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget everything."""
        connection = self._connection
        if connection is None:
            return
        if exc is not None:
            reason = connection.closed or str(exc) or exc.__class__.__name__
        else:
            reason = connection.closed or "connection closed by peer"
        connection.close(reason)
        self._connection = self._transport = self._job = self._parked = None
        if self.session is not None:
            self._agent.leave(self.session)
        self._gone(self, reason)

    def pause_writing(self) -> None:
        """Wait: the peer takes no more for now."""
        self._full = True

    def resume_writing(self) -> None:
        """Go on."""
        self._full = False
        self._schedule()

    def _schedule(self) -> None:
        if not self._scheduled and not self._running and self._connection is not None:
            self._scheduled = True
            self._agent.turns.join()
            self._loop.call_soon(self._scheduled_run)

    def _scheduled_run(self) -> None:
        self._scheduled = False
        self._run(self._agent.turns.share())

    def _run(self, seconds: float) -> None:
        """Answer requests for a slice of time, then show the flow-mods among them and write."""
        connection = self._connection
        if connection is None:
            return
        self._running = True  # what is queued meanwhile is written below
        try:
            more = self._slice(connection, seconds)
            self._agent.commit()
        except Exception:
            # A bug of ours, or a datapath out of memory: this connection ends, the others go on.
            log.exception("%s: cannot answer", self.config.peer)
            self.close("internal error, see the log")
            return
        finally:
            self._running = False
        self._flush()
        if self._not_reading and connection.unread < _UNREAD_LOW and self._transport is not None:
            self._not_reading = False
            self._transport.resume_reading()
        if more:
            self._schedule()

    def _slice(self, connection: Connection, seconds: float) -> bool:
        """Return whether there is more to do at once."""
        deadline = clock() + seconds
        # A transaction goes on even where the peer takes no answers: others wait for its end.
        while connection.closed is None and not (self._full and not self._in_transaction()):
            if self._job is not None:
                if self.session is not None and self._agent.busy_for(self.session):
                    self._agent.waiting.add(self._schedule)
                    return False
                piece = next(self._job, None)
                if piece is None:
                    self._job = None
                elif piece:
                    connection.send_bytes(piece)
                    self._flush()
            elif not self._run_of_flow_mods(deadline) and not self._one(connection):
                return False
            if clock() > deadline:
                return True
        return False

    def _in_transaction(self) -> bool:
        return (
            self._job is not None
            and self._agent.transaction is not None
            and self._job is self._agent.transaction.job
        )

    def _run_of_flow_mods(self, deadline: float) -> bool:
        """Carry out as many flow-mods as there is time for, where they are of known kinds; whether there were any."""
        if self.session is None or self._parked is not None:
            return False
        most = max(1, int((deadline - clock()) * _FLOW_MODS_A_SECOND))
        return self._agent.run_flow_mods(self.session, most)

    def _one(self, connection: Connection) -> bool:
        """Answer one request; False if there is none, or it has to wait."""
        event = self._parked or connection.next()
        self._parked = None
        if isinstance(event, Ready):
            self._begin(connection)
        elif isinstance(event, Request):
            assert self.session is not None
            if self._agent.busy_for(self.session):
                self._parked = event
                self._agent.waiting.add(self._schedule)
                return False
            self._job = self._agent.request(self.session, event)
        elif event is not None:
            log.info("%s: refused: %s", self.config.peer, event.error)
        return event is not None

    def _begin(self, connection: Connection) -> None:
        config = self.config
        self.session = Session(
            connection, config.peer, primary=config.primary, enable_async=config.enable_async,
            budget=self._agent.bundle_budget,
        )  # fmt: skip
        self.session.limit.set(config.rate, config.burst)
        if config.main is not None:
            self.session.assist(config.main, config.auxiliary_id)
        self._agent.sessions.append(self.session)
        self._agent.watch_punts()
        self._opened(self)

    def _flush(self) -> None:
        connection, transport = self._connection, self._transport
        if connection is None or transport is None:
            return
        data = connection.take_output()
        if data and not transport.is_closing():
            transport.write(data)
        if connection.closed is not None:
            self._finish()

    def _finish(self) -> None:
        transport = self._transport
        if transport is not None and not transport.is_closing():
            data = self._connection.take_output() if self._connection is not None else b""
            if data:
                transport.write(data)
            transport.close()
            self._loop.call_later(_LINGER_SECONDS, transport.abort)
