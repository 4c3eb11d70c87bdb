"""A trace as ovs-appctl's ofproto/trace prints it, and as data for JSON."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from vswitchd.datapath import dp
from vswitchd.datapath.core import DROP_HELP, RX_DROPS, lib
from vswitchd.datapath.trace import METER_REMARK, Event, Kind, Trace
from vswitchd.ofproto.flowformat import format_instructions
from vswitchd.ofproto.flowkey import match_of_key
from vswitchd.ofproto.flowmatch import format_match
from vswitchd.ofproto.flowvalues import port_text
from vswitchd.ofproto.instructions import ApplyActions, Meter
from vswitchd.ofproto.trace_steps import Hit, Pass, action_text, passes

if TYPE_CHECKING:
    from vswitchd.ofproto.flow_table import FlowEntry
    from vswitchd.ofproto.oxm import Match

_PUNTS = {
    dp.PUNT_NO_MATCH: "no match",
    dp.PUNT_ACTION: "action",
    dp.PUNT_TTL: "invalid TTL",
    dp.PUNT_MISS: "no match, for controllers of OpenFlow 1.0",
}
_INDENT = 4


class Switch(Protocol):
    """What the text names: bridges by the datapath's index, flow entries by the datapath's handle."""

    def bridge_name(self, index: int) -> str:
        """Return the name of a bridge."""

    def entry(self, index: int, table: int, rule: int) -> FlowEntry | None:
        """Return the flow entry whose rule has that handle; None where it is gone."""


@dataclass(frozen=True, slots=True)
class TraceText:
    """A trace in words; `data` is the same as plain data."""

    text: str
    data: dict[str, Any]


def explain(reason: str) -> str:
    """Say what a drop reason means."""
    return f"{reason}: {DROP_HELP['rx', reason]}"


class Writer:
    """Writes one trace."""

    def __init__(self, trace: Trace, switch: Switch) -> None:
        self._trace = trace
        self._switch = switch
        self._flow: Match = match_of_key(trace.first)
        self._lines: list[str] = []
        self._done: list[str] = []

    def write(self) -> TraceText:
        """Return the whole."""
        trace = self._trace
        way = passes(trace.events)
        more = {"metadata": trace.metadata, "tunnel_id": trace.tunnel_id}
        flow, final = format_match(self._flow), format_match(match_of_key(trace.last, more))
        self._lines.append(f"Flow: {flow}")
        bridges = self._pass(way)
        while self._done and self._done[-1].startswith(">"):  # changes that nobody saw
            self._done.pop()
        done = [text.removeprefix(">") for text in self._done]
        actions = ",".join(done) or "drop"
        self._lines += [
            "",
            f"Final flow: {'unchanged' if flow == final else final}",
            f"Datapath actions: {actions}",
        ]
        if way.dropped:
            self._lines.append(f"Dropped: {explain(way.dropped)}")
        if trace.lost:
            self._lines.append(f"({trace.lost} events are missing: the trace is too long)")
        data = {
            "flow": flow,
            "frame_length": trace.frame_len,
            "bridge": bridges,
            "final_flow": final,
            "datapath_actions": done,
            "dropped": way.dropped,
            "missing_events": trace.lost,
        }
        return TraceText("\n".join(self._lines), data)

    def _pass(self, way: Pass) -> dict[str, Any]:
        title = f'bridge("{self._switch.bridge_name(way.bridge)}")'
        self._lines += ["", title, "-" * len(title)]
        if not way.hits:
            self._lines.append("    drop" if way.dropped is None else f"    drop ({explain(way.dropped)})")
        tables = [self._hit(way, hit, last=hit is way.hits[-1]) for hit in way.hits]
        return {
            "name": self._switch.bridge_name(way.bridge),
            "in_port": way.in_port,
            "tables": tables,
            "dropped": way.dropped,
        }

    def _hit(self, way: Pass, hit: Hit, *, last: bool) -> dict[str, Any]:
        entry = self._switch.entry(way.bridge, hit.table, hit.rule) if hit.rule else None
        head, flow = _head(hit, entry)
        self._lines.append(f"{hit.table:2d}. {head}")
        data: dict[str, Any] = {"table": hit.table, "flow": flow, "steps": []}
        before = len(self._lines)
        split = len(hit.steps)
        if entry is not None:
            data |= {"priority": entry.priority, "cookie": entry.cookie}
            if last:
                split = _split(hit, entry)
        self._steps(hit.steps[:split], data)
        if entry is not None and not hit.stopped:
            self._lines += [f"    {text}" for text in _instructions(entry)]
        if split < len(hit.steps):
            self._lines.append("--. Executing action set:")
            self._steps(hit.steps[split:], data)
        if len(self._lines) == before:
            self._lines.append("    drop")
        return data

    def _steps(self, steps: list[Event | Pass], data: dict[str, Any]) -> None:
        plain = -1
        for at, step in enumerate(steps):
            if isinstance(step, Pass):
                data.setdefault("behind", []).append(self._pass(step))
                continue
            if step.kind is Kind.ACTION and step.action is not None:
                plain = step.action.arg if step.action.type == lib.VS_ACT_OUTPUT else -1
            if step.kind is Kind.OUTPUT and not step.table:
                if not any(isinstance(s, Pass) for s in steps[at + 1 : at + 2]):  # no patch port
                    self._done.append(port_text(step.arg))
                if step.arg == plain:  # the action said it already
                    continue
            text = self._step(step)
            data["steps"].append(text)
            margin = _INDENT * (1 + step.depth) + (step.kind is not Kind.ACTION)
            if step.kind is Kind.BUCKET:  # it belongs to the group above it
                margin -= _INDENT
            self._lines.append(" " * margin + text)

    def _step(self, e: Event) -> str:
        match e.kind:
            case Kind.ACTION if e.action is not None:
                text = action_text(e.action, self._flow)
                if e.action.type not in _NO_CHANGE:
                    self._done.append(f">{text}")
                return text
            case Kind.OUTPUT if e.table:
                return f">> port {port_text(e.arg)} is configured not to send"
            case Kind.OUTPUT:
                return f"-> output to port {port_text(e.arg)}"
            case Kind.PUNT:
                self._done.append("CONTROLLER")
                return f"-> packet-in ({_PUNTS.get(e.arg, e.arg)})"
            case Kind.BUCKET:
                return f"-> using bucket {e.arg}"
            case Kind.METER if e.arg >= METER_REMARK:
                return f"-> over the rate: {e.arg - METER_REMARK} more drop precedences"
            case Kind.METER:
                return f"-> {explain(RX_DROPS[e.arg])}" if e.arg else "-> passes"
            case Kind.NOTHING:
                return f"-> nothing: {explain(RX_DROPS[e.arg])}"
            case _:
                return f">> {explain(RX_DROPS[e.arg])}"


_NO_CHANGE = frozenset(
    {lib.VS_ACT_OUTPUT, lib.VS_ACT_GROUP, lib.VS_ACT_METER, lib.VS_ACT_DROP, lib.VS_ACT_RECIRC}
)


def _head(hit: Hit, entry: FlowEntry | None) -> tuple[str, str | None]:
    """Return what ovs-appctl prints of a flow entry, and its match."""
    if not hit.rule:
        return "No match.", None
    if entry is None:
        return "a flow entry that is gone by now", None
    match = format_match(entry.match)
    cookie = f", cookie {entry.cookie:#x}" if entry.cookie else ""
    return f"{match + ', ' if match else ''}priority {entry.priority}{cookie}", match


def _instructions(entry: FlowEntry) -> list[str]:
    """Return the texts of the instructions that are no actions to be done at once."""
    rest = [i for i in entry.program.instructions if not isinstance(i, (ApplyActions, Meter))]
    return [
        format_instructions((i,)) for i in sorted(rest, key=lambda i: i.__class__.__name__ == "GotoTable")
    ]


def _split(hit: Hit, entry: FlowEntry) -> int:
    """Return the index of the first step of the action set: it runs behind the entry's own actions."""
    left = len(entry.program.whole.apply) + (entry.program.meter is not None)
    for at, step in enumerate(hit.steps):
        if isinstance(step, Event) and step.kind is Kind.ACTION and step.depth == 0:
            if left == 0:
                return at
            left -= 1
    return len(hit.steps)


def write_trace(trace: Trace, switch: Switch) -> TraceText:
    """Write a trace down. Thread: control."""
    return Writer(trace, switch).write()
