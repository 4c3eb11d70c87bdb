"""The switch's answers to multipart requests (7.3.5): one handler each, registered in agent.HANDLERS.

Lists of any length are jobs: they are encoded piece by piece as the peer takes them. Thread: control.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from vswitchd.ofproto import dialect
from vswitchd.ofproto import multipart as mp
from vswitchd.ofproto.agent import Agent, Job, handler
from vswitchd.ofproto.codec import encode, encode_parts
from vswitchd.ofproto.constants import OFPMPF, OFPP, OFPTT_ALL
from vswitchd.ofproto.errors import OFPBRC, OFError
from vswitchd.ofproto.flow_dump import dump
from vswitchd.ofproto.flow_table import Selection
from vswitchd.ofproto.messages10 import VendorStatsRequest
from vswitchd.ofproto.requests import unknown_experimenter
from vswitchd.ofproto.session import Session
from vswitchd.ofproto.stats import TableStats

if TYPE_CHECKING:
    from vswitchd.ofproto.registry import Message

PART_BYTES = 16384
"""Length of the messages of a long reply: about 2 ms of encoding each."""
_TURN = 1000
"""Entries that are counted between two turns of others."""

Stats = Callable[[Agent, Session, int, Any], Job | None]


def whole(kind: type[Message]) -> Callable[[Stats], Stats]:
    """Register a handler, which may take it that the request is whole."""

    def add(function: Stats) -> Stats:
        def checked(agent: Agent, session: Session, xid: int, msg: Any) -> Job | None:
            if msg.flags & OFPMPF.MORE:
                raise OFError(OFPBRC.MULTIPART_BUFFER_OVERFLOW, "a request in several parts")
            return function(agent, session, xid, msg)

        handler(kind)(checked)
        return function

    return add


@whole(mp.DescRequest)
def _desc(agent: Agent, session: Session, xid: int, _msg: Any) -> None:
    who = agent.identity
    session.send(mp.DescReply("vswitchd", "Userspace switch", who.software, who.serial_num, who.dp_desc), xid)


def _selection(agent: Agent, msg: Any) -> Selection:
    if msg.table_id not in agent.flows.pipeline and msg.table_id != OFPTT_ALL:
        raise OFError(OFPBRC.BAD_TABLE_ID, f"table {msg.table_id}")
    return Selection(msg.match, msg.table_id, msg.out_port, msg.out_group, msg.cookie, msg.cookie_mask)


@whole(mp.FlowStatsRequest)
def _flows(agent: Agent, session: Session, xid: int, msg: Any) -> Job:
    agent.commit()
    agent.harvest()
    return dump(
        agent.flows, agent.flows.tables.select(_selection(agent, msg)), xid, agent.clock(), session.version
    )


@whole(mp.AggregateStatsRequest)
def _aggregate(agent: Agent, session: Session, xid: int, msg: Any) -> Job:
    agent.commit()
    agent.harvest()
    return _sum(agent, session.version, xid, _selection(agent, msg))


def _sum(agent: Agent, version: int, xid: int, want: Selection) -> Job:
    packets = octets = flows = 0
    for entry in agent.flows.tables.select(want):
        if entry.reason is None:
            counters = agent.flows.counters(entry)
            packets += counters.packets
            octets += counters.bytes
            flows += 1
            if flows % _TURN == 0:
                yield b""
    yield encode(mp.AggregateStatsReply(packets, octets, flows), xid, version)


@whole(mp.TableStatsRequest)
def _tables(agent: Agent, session: Session, xid: int, _msg: Any) -> Job:
    agent.commit()
    agent.harvest()
    hits = agent.bridge.table_stats()
    counts = agent.flows.tables.counts
    found = [TableStats(table, counts[table], *hits.get(table, (0, 0))) for table in agent.flows.pipeline]
    entries = [dialect.table_stats(entry, session.version) for entry in found]
    return encode_parts(mp.TableStatsReply(), xid, session.version, entries)


@whole(mp.PortStatsRequest)
def _port_stats(agent: Agent, session: Session, xid: int, msg: Any) -> Job:
    ports = list(agent.ports) if msg.port_no == OFPP.ANY else [msg.port_no]
    entries = [agent.ports.stats(port) for port in ports]
    return encode_parts(mp.PortStatsReply(), xid, session.version, entries)


@whole(mp.PortDescRequest)
def _port_desc(agent: Agent, _session: Session, xid: int, _msg: Any) -> Job:
    return encode_parts(
        mp.PortDescReply(), xid, entries=[dialect.port(agent.ports.desc(port)) for port in agent.ports]
    )


@whole(VendorStatsRequest)
def _vendor(_agent: Agent, _session: Session, _xid: int, msg: Any) -> None:
    raise OFError(OFPBRC.BAD_EXPERIMENTER, f"vendor {msg.vendor:#x}")


@whole(mp.ExperimenterMultipartRequest)
def _experimenter(_agent: Agent, _session: Session, _xid: int, msg: Any) -> None:
    raise unknown_experimenter(msg.experimenter, msg.exp_type)
