"""dump-flows and dump-aggregate: flows as text, filtered by the switch, sorted here; the same as JSON."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

from ctl.ofctl_session import PortNumbers, open_switch, port_names, table_names, usage_errors
from ctl.ofctl_text import head
from vswitchd.errors import UsageError
from vswitchd.ofproto.flowformat import format_flow, format_instructions
from vswitchd.ofproto.flowmatch import KEYWORDS, format_match
from vswitchd.ofproto.flowtext import FLAG_WORDS, aggregate_request, flow_stats_request
from vswitchd.ofproto.flowvalues import value_text
from vswitchd.ofproto.multipart import AggregateStatsReply, FlowStatsReply

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ctl.ofctl_options import Options
    from vswitchd.ofproto.stats import FlowStats

_GOTO = re.compile(r"goto_table:(\d+)")


class Flows(NamedTuple):
    """A flow table that was read: parts as they came, and the names to print."""

    xid: int
    parts: list[FlowStatsReply]
    ports: dict[int, str] | None
    tables: dict[int, str] | None
    options: Options


def flows(target: str, words: list[str], options: Options) -> tuple[Flows, Callable[[], Iterator[str]]]:
    """Read the flows that the argument takes, or all."""
    keys = [(_sort_key(field), descending) for field, descending in options.sort]
    with open_switch(target, options) as client:
        with usage_errors():
            request = flow_stats_request(words[0] if words else "", PortNumbers(client))
        xid, parts = client.multipart(request, FlowStatsReply)
        read = Flows(xid, parts, port_names(client, options), table_names(client, options), options)
    if keys:
        entries = [flow for part in parts for flow in part.entries]
        for key, descending in reversed(keys):
            entries.sort(key=key, reverse=descending)
        read = read._replace(parts=[FlowStatsReply(tuple(entries))])
    return read, lambda: _text(read)


def _text(read: Flows) -> Iterator[str]:
    """Like ovs-ofctl's: heads only where nothing was asked that is done on this side."""
    plain = read.ports is None and read.options.stats and not read.options.sort
    for part in read.parts:
        if plain:
            yield head("OFPST_FLOW reply", read.xid, part.flags) + "\n"
        for flow in part.entries:
            yield f" {_flow_text(flow, read)}\n"


def _flow_text(flow: FlowStats, read: Flows) -> str:
    text = format_flow(flow, read.ports, stats=read.options.stats)
    tables = read.tables
    if not tables:
        return text
    table = f"table={tables.get(flow.table_id, flow.table_id)}, "
    if read.options.stats or flow.table_id:
        text = text.replace(f"table={flow.table_id}, ", table, 1)
    else:
        cookie = f"cookie={flow.cookie:#x}, " if flow.cookie else ""
        text = cookie + table + text[len(cookie) :]
    return _GOTO.sub(lambda found: f"goto_table:{tables.get(int(found[1]), found[1])}", text)


def _sort_key(name: str) -> Callable[[FlowStats], tuple[bool, int]]:
    """Return the key of --sort=NAME: a flow that does not look at the field comes first."""
    if name == "priority":
        return lambda flow: (True, flow.priority)
    field = KEYWORDS.get(name)
    if field is None:
        raise UsageError(f"{name}: unknown field name")

    def key(flow: FlowStats) -> tuple[bool, int]:
        found = flow.match.get(field.name)
        return (False, 0) if found is None else (True, found.value)

    return key


def flows_facts(read: Flows) -> list[dict[str, Any]]:
    """Return the flows, one object each."""
    return [_facts(flow, read.ports) for part in read.parts for flow in part.entries]


def _facts(flow: FlowStats, names: dict[int, str] | None) -> dict[str, Any]:
    return {
        "table": flow.table_id,
        "priority": flow.priority,
        "cookie": flow.cookie,
        "match": format_match(flow.match, names),
        "fields": {
            entry.field.name: value_text(entry.field, entry.value, entry.mask, names) for entry in flow.match
        },
        "actions": format_instructions(flow.instructions, names),
        "n_packets": flow.packet_count,
        "n_bytes": flow.byte_count,
        "duration": flow.duration_sec + flow.duration_nsec / 1e9,
        "idle_timeout": flow.idle_timeout,
        "hard_timeout": flow.hard_timeout,
        "flags": [word for word, flag in FLAG_WORDS.items() if flow.flags & flag],
    }


def aggregate(
    target: str, words: list[str], options: Options
) -> tuple[AggregateStatsReply, Callable[[], list[str]]]:
    """Read the sums over the flows that the argument takes, or all."""
    with open_switch(target, options) as client:
        with usage_errors():
            request = aggregate_request(words[0] if words else "", PortNumbers(client))
        xid, reply = client.request(request, AggregateStatsReply)
    text = (
        f"{head('OFPST_AGGREGATE reply', xid)} packet_count={reply.packet_count} "
        f"byte_count={reply.byte_count} flow_count={reply.flow_count}\n"
    )
    return reply, lambda: [text]


def aggregate_facts(reply: AggregateStatsReply) -> dict[str, int]:
    """Return the sums."""
    return {
        "n_packets": reply.packet_count,
        "n_bytes": reply.byte_count,
        "n_flows": reply.flow_count,
    }
