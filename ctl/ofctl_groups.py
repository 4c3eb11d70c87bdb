"""Groups: dump-groups, dump-group-stats, dump-group-features, add-group, mod-group, del-groups."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from ctl.ofctl_client import RefusedError
from ctl.ofctl_grouptext import GROUP_TYPES, format_bucket, group_number, parse_group
from ctl.ofctl_session import PortNumbers, open_switch, port_names, usage_errors
from ctl.ofctl_text import head
from vswitchd.ofproto.constants import OFPAT, OFPG, OFPGC, OFPP
from vswitchd.ofproto.errors import OFPET, OFPGMFC
from vswitchd.ofproto.flowformat import duration_text, format_actions
from vswitchd.ofproto.multipart import (
    GroupDescReply,
    GroupDescRequest,
    GroupFeaturesReply,
    GroupFeaturesRequest,
    GroupStatsReply,
    GroupStatsRequest,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ctl.ofctl_options import Options
    from vswitchd.ofproto.messages import GroupMod

# Open vSwitch's names of the actions, in its order.
_ACTIONS = {
    OFPAT.OUTPUT: "output", OFPAT.GROUP: "group", OFPAT.SET_FIELD: "set_field", OFPAT.POP_VLAN: "strip_vlan",
    OFPAT.PUSH_VLAN: "push_vlan", OFPAT.SET_NW_TTL: "mod_nw_ttl", OFPAT.DEC_NW_TTL: "dec_ttl",
    OFPAT.SET_MPLS_TTL: "set_mpls_ttl", OFPAT.DEC_MPLS_TTL: "dec_mpls_ttl", OFPAT.PUSH_MPLS: "push_mpls",
    OFPAT.POP_MPLS: "pop_mpls", OFPAT.SET_QUEUE: "set_queue",
}  # fmt: skip


class Groups(NamedTuple):
    """Groups that were read, as parts of a reply, and the ports' names to print."""

    xid: int
    parts: list[GroupDescReply]
    names: dict[int, str] | None


def groups(target: str, words: list[str], options: Options) -> tuple[Groups, Callable[[], Iterator[str]]]:
    """Read the groups; one given is only checked, in OpenFlow 1.3 they come all (as in ovs-ofctl)."""
    with usage_errors():
        for word in words:
            group_number(word.removeprefix("group_id="))
    with open_switch(target, options) as client:
        names = port_names(client, options)
        xid, parts = client.multipart(GroupDescRequest(), GroupDescReply)
    read = Groups(xid, parts, names)
    return read, lambda: _groups_text(read)


def _groups_text(read: Groups) -> Iterator[str]:
    for part in read.parts:
        yield head("OFPST_GROUP_DESC reply", read.xid, part.flags) + "\n"
        for group in part.entries:
            buckets = [f",bucket={format_bucket(b, group.type, read.names)}" for b in group.buckets]
            kind = GROUP_TYPES.get(group.type, str(group.type))
            yield f" group_id={group.group_id},type={kind}{''.join(buckets)}\n"


def groups_facts(read: Groups) -> list[dict[str, Any]]:
    """Return the groups, one object each."""
    return [
        {
            "group_id": group.group_id,
            "type": GROUP_TYPES.get(group.type, str(group.type)),
            "buckets": [
                {
                    "weight": bucket.weight,
                    "watch_port": None if bucket.watch_port == OFPP.ANY else bucket.watch_port,
                    "watch_group": None if bucket.watch_group == OFPG.ANY else bucket.watch_group,
                    "actions": format_actions(bucket.actions, read.names),
                }
                for bucket in group.buckets
            ],
        }
        for part in read.parts
        for group in part.entries
    ]


class Stats(NamedTuple):
    """Counters of groups, as parts of a reply."""

    xid: int
    parts: list[GroupStatsReply]


def stats(target: str, words: list[str], options: Options) -> tuple[Stats, Callable[[], Iterator[str]]]:
    """Read the counters of one group (group_id=N) or all."""
    with open_switch(target, options) as client:
        with usage_errors():
            wanted = parse_group(words[0] if words else "", {}, OFPGC.DELETE).group_id
        xid, parts = client.multipart(GroupStatsRequest(wanted), GroupStatsReply)
    read = Stats(xid, parts)
    return read, lambda: _stats_text(read)


def _stats_text(read: Stats) -> Iterator[str]:
    for part in read.parts:
        yield head("OFPST_GROUP reply", read.xid, part.flags) + "\n"
        for group in part.entries:
            yield (
                f" group_id={group.group_id},duration={duration_text(group.duration_sec, group.duration_nsec)},"
                f"ref_count={group.ref_count},packet_count={group.packet_count},byte_count={group.byte_count}"
            )
            for at, bucket in enumerate(group.bucket_stats):
                yield f",bucket{at}:packet_count={bucket.packet_count},byte_count={bucket.byte_count}"
            yield "\n"


def stats_facts(read: Stats) -> list[dict[str, Any]]:
    """Return the counters, one object for each group."""
    return [
        {
            "group_id": group.group_id,
            "duration": group.duration_sec + group.duration_nsec / 1e9,
            "ref_count": group.ref_count,
            "n_packets": group.packet_count,
            "n_bytes": group.byte_count,
            "buckets": [{"n_packets": b.packet_count, "n_bytes": b.byte_count} for b in group.bucket_stats],
        }
        for part in read.parts
        for group in part.entries
    ]


def features(
    target: str, _words: list[str], options: Options
) -> tuple[GroupFeaturesReply, Callable[[], Iterator[str]]]:
    """Read what groups can do."""
    with open_switch(target, options) as client:
        xid, reply = client.request(GroupFeaturesRequest(), GroupFeaturesReply)
    return reply, lambda: _features_text(xid, reply)


def _by_type(reply: GroupFeaturesReply) -> Iterator[tuple[str, int, list[str]]]:
    limits = (reply.max_all, reply.max_select, reply.max_indirect, reply.max_ff)
    actions = (reply.actions_all, reply.actions_select, reply.actions_indirect, reply.actions_ff)
    for (kind, name), most, bitmap in zip(GROUP_TYPES.items(), limits, actions, strict=True):
        if reply.types >> kind & 1:
            yield name, most, [word for action, word in _ACTIONS.items() if bitmap >> action & 1]


def _features_text(xid: int, reply: GroupFeaturesReply) -> Iterator[str]:
    yield f"{head('OFPST_GROUP_FEATURES reply', xid)}\n Group table:\n"
    yield f"    Types:  {reply.types:#x}\n    Capabilities:  {reply.capabilities:#x}\n"
    for name, most, words in _by_type(reply):
        title = "fast failover" if name == "ff" else name
        yield f"    {title} group:\n       max_groups={most:#x}\n       actions: {' '.join(words)}\n"


def features_facts(reply: GroupFeaturesReply) -> dict[str, Any]:
    """Return what groups can do."""
    return {
        "capabilities": reply.capabilities,
        "types": {name: {"max_groups": most, "actions": words} for name, most, words in _by_type(reply)},
    }


def add(target: str, words: list[str], options: Options) -> None:
    """Add a group."""
    _change(target, words[0], options, OFPGC.ADD)


def mod(target: str, words: list[str], options: Options) -> None:
    """Change a group; with --may-create add it where there is none."""
    _change(target, words[0], options, OFPGC.MODIFY)


def delete(target: str, words: list[str], options: Options) -> None:
    """Delete one group (group_id=N) or all, with the flows that use them."""
    _change(target, words[0] if words else "", options, OFPGC.DELETE)


def _change(target: str, text: str, options: Options, command: OFPGC) -> None:
    with open_switch(target, options) as client:
        with usage_errors():
            wanted: GroupMod = parse_group(text, PortNumbers(client), command)
        try:
            client.command(wanted)
        except RefusedError as refused:
            unknown = (refused.error.type, refused.error.code) == (
                OFPET.GROUP_MOD_FAILED, OFPGMFC.UNKNOWN_GROUP,
            )  # fmt: skip
            if not (unknown and options.may_create and command == OFPGC.MODIFY):
                raise RefusedError(refused.xid, refused.error, text) from None
            with usage_errors():
                wanted = parse_group(text, PortNumbers(client), OFPGC.ADD)
            client.command(wanted)
