"""The events of a trace put in the order of the tables: each bridge's pass, each rule it hit, each thing that was done."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from vswitchd.datapath.action import FIELDS as KEY_FIELDS
from vswitchd.datapath.core import RX_DROPS, lib
from vswitchd.datapath.trace import Event, Kind
from vswitchd.ofproto import actions as a
from vswitchd.ofproto.compile import KEY_FIELD
from vswitchd.ofproto.fields import BY_NAME, Field
from vswitchd.ofproto.flowformat import format_action

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from vswitchd.datapath.dp import Action
    from vswitchd.ofproto.oxm import Match


@dataclass(slots=True)
class Hit:
    """A table that the packet met: the rule (0: none matched), its place in the path, what was done for it, in order."""

    table: int
    rule: int
    place: int
    steps: list[Event | Pass] = field(default_factory=list)

    @property
    def stopped(self) -> bool:
        """Whether an action ended the packet here."""
        return any(isinstance(s, Event) and s.kind is Kind.STOP and s.depth == 0 for s in self.steps)


@dataclass(slots=True)
class Pass:
    """A packet's way through one bridge; `end` None: the recorder had no room for the end."""

    bridge: int
    in_port: int
    hits: list[Hit] = field(default_factory=list)
    end: Event | None = None

    @property
    def dropped(self) -> str | None:
        """Why nothing came of the packet, as the drop counters say it; None: something did."""
        if self.end is None or self.end.table == lib.VS_FATE_FORWARDED:
            return None
        return RX_DROPS[self.end.arg]


def passes(events: Sequence[Event]) -> Pass:
    """Return the pass through the first bridge, those behind patch ports inside."""
    return _pass(events, 0)[0]


def _pass(events: Sequence[Event], at: int) -> tuple[Pass, int]:
    first = events[at]
    way = Pass(first.arg, first.rule)
    hit = Hit(0, 0, -1)  # for what happens before any table
    at += 1
    while at < len(events):
        e = events[at]
        if e.kind is Kind.BRIDGE:
            inner, at = _pass(events, at)
            hit.steps.append(inner)
            continue
        at += 1
        if e.kind is Kind.END:
            way.end = e
            break
        if e.kind is Kind.RULE:
            way.hits.append(Hit(e.table, e.rule, e.arg))
            continue
        if e.kind is Kind.ACTION and e.depth == 0:
            hit = next((h for h in way.hits if h.place == e.place), hit)
        hit.steps.append(e)
    return way, at


_PLAIN: dict[int, Callable[[int], a.Action]] = {
    lib.VS_ACT_GROUP: a.Group,
    lib.VS_ACT_PUSH_VLAN: a.PushVlan,
    lib.VS_ACT_SET_TTL: a.SetNwTtl,
    lib.VS_ACT_PUSH_MPLS: a.PushMpls,
    lib.VS_ACT_POP_MPLS: a.PopMpls,
    lib.VS_ACT_PUSH_PBB: a.PushPbb,
    lib.VS_ACT_SET_MPLS_TTL: a.SetMplsTtl,
    lib.VS_ACT_SET_QUEUE: a.SetQueue,
    lib.VS_ACT_POP_VLAN: lambda _arg: a.PopVlan(),
    lib.VS_ACT_DEC_TTL: lambda _arg: a.DecNwTtl(),
    lib.VS_ACT_POP_PBB: lambda _arg: a.PopPbb(),
    lib.VS_ACT_DEC_MPLS_TTL: lambda _arg: a.DecMplsTtl(),
    lib.VS_ACT_COPY_TTL_OUT: lambda _arg: a.CopyTtlOut(),
    lib.VS_ACT_COPY_TTL_IN: lambda _arg: a.CopyTtlIn(),
}
_KEY_NAME = {info.number: name for name, info in KEY_FIELDS.items()}


def action_text(action: Action, flow: Match, names: Mapping[int, str] | None = None) -> str:
    """Write a datapath action in flow syntax; `flow` tells whether a port to set is of TCP, UDP or SCTP."""
    if action.type == lib.VS_ACT_OUTPUT:
        return format_action(a.Output(action.arg, action.max_len), names)
    if action.type == lib.VS_ACT_METER:
        return f"meter:{action.arg}"
    if action.type == lib.VS_ACT_DROP:
        return f"drop({RX_DROPS[action.arg]})"
    if action.type == lib.VS_ACT_RECIRC:
        return "the packet is parsed again"
    if action.type == lib.VS_ACT_SET_FIELD:
        return format_action(_set_field(action, flow), names)
    return format_action(_PLAIN[action.type](action.arg), names)


def _set_field(action: Action, flow: Match) -> a.SetField:
    info = KEY_FIELDS[_KEY_NAME[action.field]]
    row = _row(_KEY_NAME[action.field], flow)
    ones = (1 << info.bits) - 1
    value, mask = (
        int.from_bytes(part[: info.size], "big") >> info.shift & ones for part in (action.value, action.mask)
    )
    return a.SetField(row, value, None if mask == ones else mask)


def _row(name: str, flow: Match) -> Field:
    """Return the OpenFlow field of a field of the key: several share some of them."""
    rows = [row for row, key in KEY_FIELD.items() if key == name]
    values = {entry.field: entry.value for entry in flow}
    for row in rows:
        if all(values.get(BY_NAME[need]) in allowed for need, allowed in row.prereqs if allowed):
            return row
    return rows[0]
