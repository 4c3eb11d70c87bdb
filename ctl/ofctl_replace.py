"""diff-flows and replace-flows: the flows of a file or a switch beside those of a switch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ctl.ofctl_bundle import carry_out
from ctl.ofctl_client import refusal_text
from ctl.ofctl_flows import read_lines
from ctl.ofctl_session import PortNumbers, open_switch, port_names, usage_errors
from vswitchd.errors import UsageError, VsError
from vswitchd.ofproto.codec import encode
from vswitchd.ofproto.constants import OFPFC
from vswitchd.ofproto.flowformat import format_flow
from vswitchd.ofproto.flowtext import flow_stats_request, parse_flow
from vswitchd.ofproto.messages import FlowMod
from vswitchd.ofproto.multipart import FlowStatsReply
from vswitchd.ofproto.stats import FlowStats

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ctl.ofctl_client import Client
    from ctl.ofctl_options import Options

Key = tuple[int, int, object]
Flows = dict[Key, FlowStats]


def _key(flow: FlowStats) -> Key:
    """What makes two flows the same entry: table, priority, match (6.4)."""
    return flow.table_id, flow.priority, frozenset(flow.match.entries)


def _same(one: FlowStats, other: FlowStats) -> bool:
    """Nothing to change but counters."""
    fields = ("cookie", "idle_timeout", "hard_timeout", "instructions", "flags")
    return all(getattr(one, name) == getattr(other, name) for name in fields)


def _of_file(path: str, client: Client | None) -> Flows:
    found: Flows = {}
    ports = {} if client is None else PortNumbers(client)
    for number, line in enumerate(read_lines(path), 1):
        text = line.partition("#")[0].strip()
        if text:
            with usage_errors(f"{path}:{number}: "):
                mod = parse_flow(text, ports, OFPFC.ADD)
            flow = FlowStats(
                mod.table_id, 0, 0, mod.priority, mod.idle_timeout, mod.hard_timeout, mod.flags, mod.cookie,
                match=mod.match, instructions=mod.instructions,
            )  # fmt: skip
            found[_key(flow)] = flow
    return found


def _of_switch(client: Client) -> Flows:
    _, parts = client.multipart(flow_stats_request(), FlowStatsReply)
    return {_key(flow): flow for part in parts for flow in part.entries}


def _is_file(source: str) -> bool:
    return source == "-" or Path(source).is_file()


def _read(source: str, client: Client | None, options: Options) -> tuple[Flows, dict[int, str] | None]:
    if _is_file(source):
        return _of_file(source, client), None
    with open_switch(source, options) as switch:
        return _of_switch(switch), port_names(switch, options)


def _order(flow: FlowStats) -> tuple[int, int, str]:
    return flow.table_id, -flow.priority, format_flow(flow, stats=False)


def _lines(old: Flows, new: Flows, names: dict[int, str] | None) -> Iterator[str]:
    changed = [flow for key, flow in old.items() if key not in new or not _same(flow, new[key])]
    changed += [flow for key, flow in new.items() if key not in old]
    for flow in sorted(changed, key=_order):
        key = _key(flow)
        for sign, side in (("-", old), ("+", new)):
            if key in side:
                yield f"{sign}{format_flow(side[key], names, stats=False)}\n"


_DIFFER = 2
"""Exit code, as ovs-ofctl's."""
Lines = list[str]


def diff(target: str, words: list[str], options: Options) -> tuple[Lines, Callable[[], Iterator[str]]]:
    """Compare two sources, each a file or a switch."""
    if _is_file(target) and _is_file(words[0]):
        raise UsageError("diff-flows: one of the two must be a switch")
    switch, other_source = (words[0], target) if _is_file(target) else (target, words[0])
    with open_switch(switch, options) as client:
        here, names = _of_switch(client), port_names(client, options)
        other, _ = _read(other_source, client, options)
    lines = list(_lines(here, other, names) if switch == target else _lines(other, here, names))
    return lines, lambda: _text(lines)


def _text(lines: Lines) -> Iterator[str]:
    yield from lines
    if lines:
        raise VsError("", _DIFFER)


def diff_facts(lines: Lines) -> list[str]:
    """The lines, as they are."""
    return [line.rstrip() for line in lines]


def replace(target: str, words: list[str], options: Options) -> None:
    """Make the switch's flows those of a file: adds what is new or differs, deletes the rest; equal flows are left alone."""
    with open_switch(target, options) as client:
        new, old = _of_file(words[0], client), _of_switch(client)
        mods = [_mod(flow, OFPFC.DELETE_STRICT) for key, flow in old.items() if key not in new]
        mods += [
            _mod(flow, OFPFC.ADD) for key, flow in new.items() if key not in old or not _same(flow, old[key])
        ]
        first = client.new_xids(len(mods))
        errors = carry_out(client, (encode(mod, first + i) for i, mod in enumerate(mods)), options)
    for xid, error in errors:
        raise VsError(refusal_text(xid, error))


def _mod(flow: FlowStats, command: OFPFC) -> FlowMod:
    return FlowMod(
        flow.cookie, 0, flow.table_id, command, flow.idle_timeout, flow.hard_timeout, flow.priority,
        flags=flow.flags, match=flow.match, instructions=flow.instructions if command == OFPFC.ADD else (),
    )  # fmt: skip
