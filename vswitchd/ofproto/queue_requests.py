"""The switch's answers about the queues of ports (7.3.5.8, 7.3.6): statistics and configuration.

Queues are made by the operator (QoS of a port), not by OpenFlow. A set_queue to one that a port does not have is no
error: such packets go to queue 0 or, without one, to the port (datapath/qos.h). Thread: control.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from vswitchd.ofproto import messages as m
from vswitchd.ofproto import multipart as mp
from vswitchd.ofproto.agent import Agent, Job, handler
from vswitchd.ofproto.codec import encode_parts
from vswitchd.ofproto.constants import OFP_VERSION_10, OFPP, OFPQ_ALL, OFPQ_MAX_RATE_UNCFG
from vswitchd.ofproto.errors import OFPQOFC, OFError
from vswitchd.ofproto.ports import duration
from vswitchd.ofproto.stats import QueueStats
from vswitchd.ofproto.stats_requests import whole
from vswitchd.ofproto.structures import PacketQueue, QueueMaxRate, QueueMinRate, QueueProp

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vswitchd.datapath.qos_spec import QueueSpec
    from vswitchd.ofproto.session import Session

log = logging.getLogger(__name__)

MAX_CONFIG = 1300
"""Queues that fit one reply (65,535 bytes), which has no parts."""


def _ports(agent: Agent, number: int) -> list[int]:
    if number == OFPP.ANY:
        return list(agent.ports)
    if number not in agent.ports:
        raise OFError(OFPQOFC.BAD_PORT, f"port {number}")
    return [number]


@whole(mp.QueueStatsRequest)
def _statistics(agent: Agent, session: Session, xid: int, msg: Any) -> Job:
    ports, wanted = _ports(agent, msg.port_no), msg.queue_id
    if wanted != OFPQ_ALL and not any(wanted in agent.ports.handle(port).queues() for port in ports):
        raise OFError(OFPQOFC.BAD_QUEUE, f"queue {wanted}")
    entries = (entry for port in ports for entry in _of_port(agent, port, wanted))
    return encode_parts(mp.QueueStatsReply(), xid, session.version, entries)


def _of_port(agent: Agent, port: int, wanted: int) -> list[QueueStats]:
    if port not in agent.ports:  # it went while the answer was on its way
        return []
    handle, entries = agent.ports.handle(port), []
    for queue in handle.queues():
        if wanted in (OFPQ_ALL, queue):
            stats = handle.queue_stats(queue)
            sec, nsec = duration(handle.queue_age_ms(queue) / 1000)
            entries.append(QueueStats(port, queue, stats.bytes, stats.packets, stats.dropped, sec, nsec))
    return entries


@handler(m.QueueGetConfigRequest)
def _configuration(agent: Agent, session: Session, xid: int, msg: Any) -> None:
    queues = [q for port in _ports(agent, msg.port) for q in _described(agent, port, session.version)]
    if len(queues) > MAX_CONFIG:
        log.warning("%s asked for %d queues; one reply holds %d", session.peer, len(queues), MAX_CONFIG)
    session.send(m.QueueGetConfigReply(msg.port, tuple(queues[:MAX_CONFIG])), xid)


def _described(agent: Agent, port: int, version: int) -> Iterator[PacketQueue]:
    speed = agent.ports.desc(port).curr_speed
    for queue in agent.ports.handle(port).queues().values():
        yield PacketQueue(queue.id, port, tuple(_properties(queue, speed, version)))


def _properties(queue: QueueSpec, speed: int, version: int) -> Iterator[QueueProp]:
    if queue.min_rate:
        yield QueueMinRate(tenths(queue.min_rate, speed))
    if queue.max_rate and version != OFP_VERSION_10:  # 1.0 knows minimum rates only
        yield QueueMaxRate(tenths(queue.max_rate, speed))


def tenths(rate: int, speed: int) -> int:
    """Return bits/s in tenths of a percent of a port's speed (kb/s); 0xffff where that is unknown."""
    return min(rate // speed, 1000) if speed else OFPQ_MAX_RATE_UNCFG
