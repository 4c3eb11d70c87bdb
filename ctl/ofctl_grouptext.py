"""Groups in ovs-ofctl's syntax: `group_id=1,type=all,bucket=output:1,bucket=actions=output:2`, both ways."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from vswitchd.ofproto.constants import OFPG, OFPGC, OFPGT, OFPP
from vswitchd.ofproto.flowactions import parse_actions
from vswitchd.ofproto.flowformat import format_actions
from vswitchd.ofproto.flowvalues import FlowTextError, number, port, port_text
from vswitchd.ofproto.flowwords import split_words
from vswitchd.ofproto.messages import GroupMod
from vswitchd.ofproto.structures import Bucket

if TYPE_CHECKING:
    from collections.abc import Mapping

GROUP_TYPES = {
    int(OFPGT.ALL): "all", int(OFPGT.SELECT): "select", int(OFPGT.INDIRECT): "indirect", int(OFPGT.FF): "ff",
}  # fmt: skip
_TYPE_WORDS = {name: kind for kind, name in GROUP_TYPES.items()} | {"fast_failover": int(OFPGT.FF)}
_BUCKET = re.compile(r"(?:^|(?<=[,\s]))bucket\s*=")
_BUCKET_KEY = re.compile(r"\s*(weight|watch_port|watch_group|bucket_id)\s*[:=]\s*([^,\s]+)[,\s]*")
_ACTIONS = re.compile(r"\s*actions?\s*=")


def group_number(word: str) -> int:
    """Read a group's number, or any/all."""
    if word.lower() in ("all", "any"):
        return int(OFPG.ALL if word.lower() == "all" else OFPG.ANY)
    value = number(word, "group_id", 32)
    if value > OFPG.MAX:
        raise FlowTextError(f"group_id: {word} is above {int(OFPG.MAX):#x}")
    return value


def parse_group(text: str, ports: Mapping[str, int], command: int) -> GroupMod:
    """Read a group for a group-mod `command`; a deletion without group_id means all. Raises FlowTextError."""
    head, *buckets = _BUCKET.split(text)
    group: int | None = None
    kind: int | None = None
    for key, value in split_words(head):
        if key == "group_id" and value is not None:
            group = group_number(value)
        elif key == "type" and value is not None and command != OFPGC.DELETE:
            if value not in _TYPE_WORDS:
                raise FlowTextError(f"invalid group type {value}")
            kind = _TYPE_WORDS[value]
        elif key in ("selection_method", "selection_method_param", "fields"):
            raise FlowTextError(f"{key}: needs OpenFlow 1.5, not supported yet")
        else:
            raise FlowTextError(f"unknown keyword {key}")
    if command == OFPGC.DELETE:
        if buckets:
            raise FlowTextError("bucket: a group is deleted by its group_id alone")
        return GroupMod(OFPGC.DELETE, group_id=int(OFPG.ALL) if group is None else group)
    if group is None or group > OFPG.MAX:
        raise FlowTextError("must specify a group_id")
    if kind is None:
        raise FlowTextError("must specify a type (all, select, indirect, ff)")
    found = tuple(_parse_bucket(bucket, kind, ports) for bucket in buckets)
    if kind == OFPGT.INDIRECT and len(found) != 1:
        raise FlowTextError(f"an indirect group has exactly one bucket, not {len(found)}")
    return GroupMod(command, kind, group, found)


def _parse_bucket(text: str, kind: int, ports: Mapping[str, int]) -> Bucket:
    weight = 1 if kind == OFPGT.SELECT else 0
    watch_port, watch_group = int(OFPP.ANY), int(OFPG.ANY)
    while found := _BUCKET_KEY.match(text):
        key, value = found.groups()
        text = text[found.end() :]
        if key == "weight":
            weight = number(value, key, 16)
        elif key == "watch_port":
            watch_port = port(value, key, ports)
        elif key == "watch_group":
            watch_group = group_number(value)
        else:
            raise FlowTextError("bucket_id: needs OpenFlow 1.5, not supported yet")
    found = _ACTIONS.match(text)
    actions = text[found.end() :] if found else text
    return Bucket(weight, watch_port, watch_group, parse_actions(actions.rstrip(", \t\n"), ports))


def format_bucket(bucket: Bucket, kind: int, names: Mapping[int, str] | None) -> str:
    """Write what follows `bucket=`."""
    parts = []
    if bucket.weight != (1 if kind == OFPGT.SELECT else 0):
        parts.append(f"weight:{bucket.weight},")
    if bucket.watch_port != OFPP.ANY:
        parts.append(f"watch_port:{port_text(bucket.watch_port, names)},")
    if bucket.watch_group != OFPG.ANY:
        parts.append(f"watch_group:{bucket.watch_group},")
    return f"{''.join(parts)}actions={format_actions(bucket.actions, names)}"
