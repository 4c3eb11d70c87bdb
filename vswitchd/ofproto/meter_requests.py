"""The switch's answers to all messages about meters (7.3.4.4, 7.3.5.11 to 7.3.5.13). Thread: control.

Lists are made as the peer takes them: a meter that went meanwhile is left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vswitchd.ofproto import multipart as mp
from vswitchd.ofproto.agent import Agent, Job, handler
from vswitchd.ofproto.codec import encode_parts
from vswitchd.ofproto.constants import OFPM, OFPMBT, OFPMF
from vswitchd.ofproto.errors import OFPMMFC, OFError
from vswitchd.ofproto.messages import MeterMod
from vswitchd.ofproto.meters import MAX_BANDS, MAX_METERS
from vswitchd.ofproto.ports import duration
from vswitchd.ofproto.requests import not_for_slaves
from vswitchd.ofproto.stats import Counter, MeterConfig, MeterStats
from vswitchd.ofproto.stats_requests import PART_BYTES, whole

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vswitchd.ofproto.session import Session


@handler(MeterMod)
@not_for_slaves
def _meter_mod(agent: Agent, _session: Session, _xid: int, msg: Any) -> Job | None:
    return agent.meters.apply(msg, agent.flows)


def _wanted(agent: Agent, meter: int) -> list[int]:
    if meter != OFPM.ALL and meter not in agent.meters:
        raise OFError(OFPMMFC.UNKNOWN_METER, f"meter {meter:#x}")
    return [number for number in agent.meters if meter in (OFPM.ALL, number)]


@whole(mp.MeterStatsRequest)
def _stats(agent: Agent, _session: Session, xid: int, msg: Any) -> Job:
    agent.commit()
    wanted = _wanted(agent, msg.meter_id)
    return encode_parts(mp.MeterStatsReply(), xid, entries=_all_stats(agent, wanted), limit=PART_BYTES)


def _all_stats(agent: Agent, wanted: list[int]) -> Iterator[MeterStats]:
    for number in wanted:
        if number in agent.meters:
            meter = agent.meters[number]
            sec, nsec = duration(agent.clock() - meter.created)
            total, *bands = agent.bridge.meter_stats(number, len(meter.bands))
            users = len(agent.flows.meter_users.get(number, ()))
            counts = tuple(Counter(*band) for band in bands)
            yield MeterStats(number, users, *total, sec, nsec, counts)


@whole(mp.MeterConfigRequest)
def _config(agent: Agent, _session: Session, xid: int, msg: Any) -> Job:
    meters = [agent.meters[number] for number in _wanted(agent, msg.meter_id)]
    entries = (MeterConfig(meter.flags, meter.meter_id, meter.bands) for meter in meters)
    return encode_parts(mp.MeterConfigReply(), xid, entries=entries, limit=PART_BYTES)


@whole(mp.MeterFeaturesRequest)
def _features(_agent: Agent, session: Session, xid: int, _msg: Any) -> None:
    session.send(
        mp.MeterFeaturesReply(
            max_meter=MAX_METERS,
            band_types=1 << OFPMBT.DROP | 1 << OFPMBT.DSCP_REMARK,
            capabilities=int(OFPMF.KBPS | OFPMF.PKTPS | OFPMF.BURST | OFPMF.STATS),
            max_bands=MAX_BANDS,
        ),
        xid,
    )
