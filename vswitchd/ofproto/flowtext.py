"""Flows in Open vSwitch's text syntax: `table=0,priority=10,tcp,tp_dst=80,actions=output:2` to a FlowMod.

Where ovs-ofctl quietly drops a field whose prerequisite is missing (`tp_dst=80` without `tcp`), we refuse the
text: the flow would take more packets than was asked for.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from vswitchd.ofproto.constants import OFPFC, OFPFF, OFPG, OFPTT_ALL, OFPTT_MAX, U64_MAX
from vswitchd.ofproto.flowactions import parse_instructions
from vswitchd.ofproto.flowmatch import MatchWords
from vswitchd.ofproto.flowvalues import FlowTextError, number, port
from vswitchd.ofproto.flowwords import split_words
from vswitchd.ofproto.messages import FlowMod
from vswitchd.ofproto.multipart import AggregateStatsRequest, FlowStatsRequest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

__all__ = ["FlowTextError", "aggregate_request", "flow_stats_request", "parse_flow", "parse_flows"]

FLAG_WORDS = {
    "send_flow_rem": OFPFF.SEND_FLOW_REM,
    "check_overlap": OFPFF.CHECK_OVERLAP,
    "reset_counts": OFPFF.RESET_COUNTS,
    "no_packet_counts": OFPFF.NO_PKT_COUNTS,
    "no_byte_counts": OFPFF.NO_BYT_COUNTS,
}
_IGNORED = ("duration", "n_packets", "n_bytes", "idle_age", "hard_age")
_NUMBERS = {"priority": 16, "idle_timeout": 16, "hard_timeout": 16}
_COMMANDS = {
    "add": OFPFC.ADD,
    "modify": OFPFC.MODIFY,
    "modify_strict": OFPFC.MODIFY_STRICT,
    "delete": OFPFC.DELETE,
    "delete_strict": OFPFC.DELETE_STRICT,
}
_DELETES = (OFPFC.DELETE, OFPFC.DELETE_STRICT)
_SETS = (OFPFC.ADD, OFPFC.MODIFY, OFPFC.MODIFY_STRICT)
_STRICT = (OFPFC.ADD, OFPFC.MODIFY_STRICT, OFPFC.DELETE_STRICT)
_ACTIONS = re.compile(r"(?:^|[\s,])actions?\s*=")


def parse_flow(text: str, ports: Mapping[str, int] | None = None, command: int = OFPFC.ADD) -> FlowMod:
    """Read one flow for a flow-mod `command`; `ports` gives ports' numbers by name. Raises FlowTextError.

    A missing table is 0, but OFPTT_ALL for deletions, as in ovs-ofctl; out_port and out_group
    are for deletions, actions for the rest.
    """
    names: Mapping[str, int] = {} if ports is None else ports
    found = _ACTIONS.search(text)
    actions = text[found.end() :] if found else None
    values, words = _parse_head(text[: found.start()] if found else text, names, command)
    match = words.finish()
    if command in _DELETES:
        if actions is not None:
            raise FlowTextError("actions: a deletion has none")
        return FlowMod(**values, command=command, match=match)
    if actions is None:
        raise FlowTextError("must specify an action (actions=drop for none)")
    return FlowMod(
        **values, command=command, match=match, instructions=parse_instructions(actions, names, match)
    )


def _parse_head(
    text: str, ports: Mapping[str, int], command: int | None
) -> tuple[dict[str, Any], MatchWords]:
    """Read all but the actions: the fields of a flow-mod, and the words of the match."""
    values: dict[str, Any] = {"table_id": 0 if command in _SETS else OFPTT_ALL}
    words = MatchWords(ports)
    for key, value in split_words(text):
        if key in FLAG_WORDS and value is None:
            values["flags"] = values.get("flags", 0) | int(FLAG_WORDS[key])
        elif words.take(key, value):
            continue
        elif value is None:
            raise FlowTextError(f"field {key} missing value" if key in _KEYS else f"unknown keyword {key}")
        elif key in _IGNORED:
            continue
        elif key == "table":
            values["table_id"] = OFPTT_ALL if value == "all" else number(value, key, 8)
        elif key == "cookie":
            values |= _cookie(value, command)
        elif key in _NUMBERS:
            if key == "priority" and command not in _STRICT:
                raise FlowTextError("priority: only with --strict or in an addition")
            values[key] = number(value, key, _NUMBERS[key])
        elif key == "out_port" and command not in _SETS:
            values["out_port"] = port(value, key, ports)
        elif key == "out_group" and command not in _SETS:
            values["out_group"] = int(OFPG.ANY) if value == "any" else number(value, key, 32)
        else:
            raise FlowTextError(f"unknown keyword {key}")
    if command in _SETS and values["table_id"] > OFPTT_MAX:
        values["table_id"] = 0
    return values, words


_KEYS = ("table", "cookie", "out_port", "out_group", *_NUMBERS, *_IGNORED)


def _cookie(text: str, command: int | None) -> dict[str, int]:
    value, slash, mask = text.partition("/")
    if not slash:
        if command not in _SETS:
            raise FlowTextError(f"cookie: a mask is needed to select by it, as in cookie={text}/-1")
        cookie = number(value, "cookie", 64)
        return {"cookie": cookie if command == OFPFC.ADD else 0}  # 1.3 cannot change a cookie (7.3.4.1)
    if command == OFPFC.ADD:
        raise FlowTextError("cookie: an addition cannot use a mask")
    return {
        "cookie": number(value, "cookie", 64),
        "cookie_mask": U64_MAX if mask == "-1" else number(mask, "cookie", 64),
    }


def parse_flows(lines: Iterable[str], ports: Mapping[str, int] | None = None) -> Iterator[FlowMod]:
    """Read a file of flows: comments after #, empty lines; a line may begin with add, modify, delete.

    The error names the line's number.
    """
    for count, line in enumerate(lines, 1):
        text = line.partition("#")[0].strip()
        if not text:
            continue
        first, _, rest = text.partition(" ")
        command = _COMMANDS.get(first)
        try:
            yield parse_flow(text, ports) if command is None else parse_flow(rest, ports, command)
        except FlowTextError as error:
            raise FlowTextError(f"line {count}: {error}") from None


def _selection(text: str, ports: Mapping[str, int] | None) -> dict[str, Any]:
    if _ACTIONS.search(text):
        raise FlowTextError("actions: flows are not selected by them")
    values, words = _parse_head(text, {} if ports is None else ports, None)
    for key in ("flags", "idle_timeout", "hard_timeout"):
        if key in values:
            raise FlowTextError(f"{key}: flows are not selected by it")
    return {**values, "match": words.finish()}


def flow_stats_request(text: str = "", ports: Mapping[str, int] | None = None) -> FlowStatsRequest:
    """Read what `dump-flows` selects by: match, table, cookie/mask, out_port, out_group."""
    return FlowStatsRequest(**_selection(text, ports))


def aggregate_request(text: str = "", ports: Mapping[str, int] | None = None) -> AggregateStatsRequest:
    """Read what `dump-aggregate` selects by."""
    return AggregateStatsRequest(**_selection(text, ports))
