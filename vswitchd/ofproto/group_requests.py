"""The switch's answers to all messages about groups (7.3.4.2, 7.3.5.8 to 7.3.5.10). Thread: control.

Lists are made as the peer takes them: a group that went meanwhile is left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vswitchd.ofproto import multipart as mp
from vswitchd.ofproto.agent import Agent, Job, handler
from vswitchd.ofproto.codec import encode_parts
from vswitchd.ofproto.constants import OFPG
from vswitchd.ofproto.group_features import group_features
from vswitchd.ofproto.messages import GroupMod
from vswitchd.ofproto.ports import duration
from vswitchd.ofproto.requests import not_for_slaves
from vswitchd.ofproto.stats import Counter, GroupDesc, GroupStats
from vswitchd.ofproto.stats_requests import PART_BYTES, whole

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vswitchd.ofproto.session import Session


@handler(GroupMod)
@not_for_slaves
def _group_mod(agent: Agent, _session: Session, _xid: int, msg: Any) -> Job | None:
    return agent.groups.apply(msg, agent.flows)


@whole(mp.GroupStatsRequest)
def _stats(agent: Agent, _session: Session, xid: int, msg: Any) -> Job:
    agent.commit()
    wanted = list(agent.groups) if msg.group_id == OFPG.ALL else [msg.group_id]
    return encode_parts(mp.GroupStatsReply(), xid, entries=_all_stats(agent, wanted), limit=PART_BYTES)


def _all_stats(agent: Agent, wanted: list[int]) -> Iterator[GroupStats]:
    for number in wanted:
        if number in agent.groups:
            group = agent.groups[number]
            sec, nsec = duration(agent.clock() - group.created)
            users = len(agent.flows.group_users.get(number, ())) + agent.groups.users(number)
            total, *buckets = agent.bridge.group_stats(number, len(group.buckets))
            counts = tuple(Counter(*bucket) for bucket in buckets)
            yield GroupStats(number, users, *total, sec, nsec, counts)


@whole(mp.GroupDescRequest)
def _desc(agent: Agent, _session: Session, xid: int, _msg: Any) -> Job:
    groups = [agent.groups[number] for number in agent.groups]
    entries = (GroupDesc(group.type, group.group_id, group.buckets) for group in groups)
    return encode_parts(mp.GroupDescReply(), xid, entries=entries, limit=PART_BYTES)


@whole(mp.GroupFeaturesRequest)
def _features(_agent: Agent, session: Session, xid: int, _msg: Any) -> None:
    session.send(group_features(), xid)
