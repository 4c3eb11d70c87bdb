"""What a version of OpenFlow makes of the switch's answers: the one place of the agent that asks for the version.

The agent speaks 1.3. `outgoing()` turns a message of its into one that a connection of another version can take;
`express()` does so with the instructions of a flow. What a version cannot say is left out: 1.0 shows of a flow what
1.0 can say, as Open vSwitch does.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from vswitchd.ofproto import actions as a
from vswitchd.ofproto import actions10 as a10
from vswitchd.ofproto import messages as m
from vswitchd.ofproto.constants import (
    OFP_VERSION_10,
    OFPC,
    OFPP,
    OFPPC,
    OFPR,
    OFPRR,
    OFPVID_PRESENT,
)
from vswitchd.ofproto.constants10 import OFPC10, OFPFW
from vswitchd.ofproto.errors10 import error_name10
from vswitchd.ofproto.fields import BY_NAME, ETH_VLAN, IP_SCTP, IP_TCP, IP_UDP
from vswitchd.ofproto.instructions import ApplyActions, Instruction, WriteActions
from vswitchd.ofproto.match10 import nearest10
from vswitchd.ofproto.stats import TableStats
from vswitchd.ofproto.structures import PacketQueue, Port, QueueMinRate
from vswitchd.ofproto.wire10 import OFPP_MAX_10

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from vswitchd.ofproto.oxm import Match
    from vswitchd.ofproto.registry import Message

_CONFIG_13 = int(OFPPC.PORT_DOWN | OFPPC.NO_RECV | OFPPC.NO_FWD | OFPPC.NO_PACKET_IN)
_CAPABILITIES_10 = int(
    OFPC.FLOW_STATS | OFPC.TABLE_STATS | OFPC.PORT_STATS | OFPC.IP_REASM | OFPC.QUEUE_STATS
)
_MAX_ENTRIES_10 = 1_000_000
"""What tables say to 1.0: there is no limit but memory."""


def outgoing(message: Message, version: int) -> Message:
    """Return a message of the agent's as a connection of this version can take it."""
    return _outgoing10(message) if version == OFP_VERSION_10 else _outgoing13(message)


def _outgoing10(message: Message) -> Message:
    if isinstance(message, m.PacketIn):
        reason = OFPR.ACTION if message.reason == OFPR.ACTION else OFPR.NO_MATCH
        return message if reason == message.reason else replace(message, reason=reason)
    if isinstance(message, m.FlowRemoved):
        reason_ = min(message.reason, OFPRR.DELETE)
        return replace(message, reason=reason_, match=nearest10(message.match))
    if isinstance(message, m.QueueGetConfigReply):
        return replace(message, queues=tuple(_queue10(queue) for queue in message.queues))
    return message


def _outgoing13(message: Message) -> Message:
    if isinstance(message, m.PortStatus):
        return replace(message, desc=port(message.desc))
    return message


def _queue10(queue: PacketQueue) -> PacketQueue:
    return replace(queue, properties=tuple(p for p in queue.properties if isinstance(p, QueueMinRate)))


def error_text(error: m.Error, version: int) -> str:
    """Name an error that a peer sent."""
    return error_name10(error.type, error.code) if version == OFP_VERSION_10 else error.name


def port(desc: Port) -> Port:
    """Return a port without the config bits that are 1.0's."""
    return replace(desc, config=desc.config & _CONFIG_13) if desc.config & ~_CONFIG_13 else desc


def features(base: m.FeaturesReply, ports: Iterable[Port], version: int) -> m.FeaturesReply:
    """Return the features; in 1.0 they hold the ports and the kinds of actions, too."""
    if version != OFP_VERSION_10:
        return base
    capabilities = base.capabilities & _CAPABILITIES_10 | OFPC10.ARP_MATCH_IP
    return replace(base, capabilities=capabilities, actions=a10.ACTIONS_10, ports=tuple(ports))


def table_stats(entry: TableStats, version: int) -> TableStats:
    """Return a table's counters; 1.0 has its name and what it can match and hold, too."""
    if version != OFP_VERSION_10:
        return entry
    return replace(
        entry, name=f"table{entry.table_id}", wildcards=int(OFPFW.ALL), max_entries=_MAX_ENTRIES_10
    )


def express(instructions: tuple[Instruction, ...], version: int, match: Match) -> tuple[Instruction, ...]:
    """Return the instructions of a flow entry as a version can say them; `match` is the entry's."""
    if version == OFP_VERSION_10:
        for item in instructions:
            if isinstance(item, ApplyActions):
                actions = tuple(to_10(item.actions))
                return (ApplyActions(actions),) if actions else ()
        return ()
    return tuple(
        item.__class__(tuple(to_13(item.actions, match)))
        if isinstance(item, ApplyActions | WriteActions)
        else item
        for item in instructions
    )


def is_legacy(instructions: tuple[Instruction, ...]) -> bool:
    """Whether there are actions that only 1.0 has."""
    return any(
        isinstance(action, _LEGACY)
        for item in instructions
        if isinstance(item, ApplyActions)
        for action in item.actions
    )


def _set(name: str, value: int) -> a.SetField:
    return a.SetField(BY_NAME[name], value)


_TO_13: dict[type[a.Action], Callable[[Any], a.Action]] = {
    a10.StripVlan: lambda _x: a.PopVlan(),
    a10.SetDlSrc: lambda x: _set("eth_src", x.dl_addr),
    a10.SetDlDst: lambda x: _set("eth_dst", x.dl_addr),
    a10.SetNwSrc: lambda x: _set("ipv4_src", x.nw_addr),
    a10.SetNwDst: lambda x: _set("ipv4_dst", x.nw_addr),
    a10.SetNwTos: lambda x: _set("ip_dscp", x.nw_tos >> 2),
}
_LEGACY = (*_TO_13, a10.SetVlanVid, a10.SetVlanPcp, a10.SetTpSrc, a10.SetTpDst, a10.Enqueue)
_PORTS = {IP_TCP: "tcp", IP_UDP: "udp", IP_SCTP: "sctp"}


def to_13(actions: Iterable[a.Action], match: Match) -> Iterator[a.Action]:
    """Say actions of 1.0 with those of 1.3, for packets of this match. Others stay."""
    vid, proto = match.get("vlan_vid"), match.get("ip_proto")
    tagged = vid is not None and bool(vid.value & OFPVID_PRESENT)
    l4 = _PORTS.get(proto.value if proto else 0, "tcp")
    for action in actions:
        if isinstance(action, a10.SetVlanVid | a10.SetVlanPcp) and not tagged:
            tagged = True
            yield a.PushVlan(ETH_VLAN)
        if isinstance(action, a10.SetVlanVid):
            yield _set("vlan_vid", OFPVID_PRESENT | action.vlan_vid)
        elif isinstance(action, a10.SetVlanPcp):
            yield _set("vlan_pcp", action.vlan_pcp)
        elif isinstance(action, a10.SetTpSrc):
            yield _set(f"{l4}_src", action.tp_port)
        elif isinstance(action, a10.SetTpDst):
            yield _set(f"{l4}_dst", action.tp_port)
        elif isinstance(action, a10.Enqueue):
            yield a.SetQueue(action.queue_id)
            yield a.Output(action.port)
        else:
            how = _TO_13.get(action.__class__)
            yield action if how is None else how(action)


_SETS_10: dict[str, Callable[[int], a.Action]] = {
    "eth_src": a10.SetDlSrc,
    "eth_dst": a10.SetDlDst,
    "vlan_vid": lambda value: a10.SetVlanVid(value & 0xFFF),
    "vlan_pcp": a10.SetVlanPcp,
    "ipv4_src": a10.SetNwSrc,
    "ipv4_dst": a10.SetNwDst,
    "ip_dscp": lambda value: a10.SetNwTos(value << 2),
    **{f"{l4}_src": a10.SetTpSrc for l4 in _PORTS.values()},
    **{f"{l4}_dst": a10.SetTpDst for l4 in _PORTS.values()},
}


def to_10(actions: tuple[a.Action, ...]) -> Iterator[a.Action]:
    """Say actions of 1.3 with those of 1.0; those that cannot be said are left out."""
    queue: int | None = None
    for action in actions:
        if isinstance(action, _LEGACY):
            yield action
        elif isinstance(action, a.SetQueue):
            queue = action.queue_id
        elif isinstance(action, a.Output) and (action.port < OFPP_MAX_10 or action.port >= OFPP.MAX):
            real = action.port < OFPP_MAX_10 or action.port in (OFPP.IN_PORT, OFPP.LOCAL)
            yield action if queue is None or not real else a10.Enqueue(action.port, queue)
        elif isinstance(action, a.PopVlan):
            yield a10.StripVlan()
        elif isinstance(action, a.SetField) and action.field.name in _SETS_10:
            yield _SETS_10[action.field.name](action.value)
