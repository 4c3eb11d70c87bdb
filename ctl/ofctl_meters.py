"""Meters: dump-meters, meter-stats, meter-features, add-meter, mod-meter, del-meters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from ctl.ofctl_client import RefusedError
from ctl.ofctl_metertext import (
    FLAG_WORDS,
    format_band,
    format_flags,
    meter_text,
    parse_meter,
    parse_selection,
)
from ctl.ofctl_session import open_switch, usage_errors
from ctl.ofctl_text import head
from vswitchd.ofproto.constants import OFPMBT, OFPMC
from vswitchd.ofproto.flowformat import duration_text
from vswitchd.ofproto.messages import MeterMod
from vswitchd.ofproto.multipart import (
    MeterConfigReply,
    MeterConfigRequest,
    MeterFeaturesReply,
    MeterFeaturesRequest,
    MeterStatsReply,
    MeterStatsRequest,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ctl.ofctl_options import Options

_BANDS = {int(OFPMBT.DROP): "drop", int(OFPMBT.DSCP_REMARK): "dscp_remark"}


class Meters(NamedTuple):
    """Meters that were read, as parts of a reply."""

    xid: int
    parts: list[MeterConfigReply]


def meters(target: str, words: list[str], options: Options) -> tuple[Meters, Callable[[], Iterator[str]]]:
    """Read one meter (meter=N) or all."""
    with usage_errors():
        wanted = parse_selection(words[0] if words else "")
    with open_switch(target, options) as client:
        read = Meters(*client.multipart(MeterConfigRequest(wanted), MeterConfigReply))
    return read, lambda: _meters_text(read)


def _meters_text(read: Meters) -> Iterator[str]:
    for part in read.parts:
        yield head("OFPST_METER_CONFIG reply", read.xid, part.flags)
        for meter in part.entries:
            words = [f"meter={meter_text(meter.meter_id)}", *format_flags(meter.flags)]
            bands = "".join(f"{format_band(band)}\n" for band in meter.bands)
            yield f"\n{' '.join(words)} bands=\n{bands}"
        if not part.entries:
            yield "\n"


def meters_facts(read: Meters) -> list[dict[str, Any]]:
    """Return the meters, one object each."""
    return [
        {
            "meter": meter.meter_id,
            "flags": format_flags(meter.flags),
            "bands": [format_band(band) for band in meter.bands],
        }
        for part in read.parts
        for meter in part.entries
    ]


class Stats(NamedTuple):
    """Counters of meters, as parts of a reply."""

    xid: int
    parts: list[MeterStatsReply]


def stats(target: str, words: list[str], options: Options) -> tuple[Stats, Callable[[], Iterator[str]]]:
    """Read the counters of one meter (meter=N) or all."""
    with usage_errors():
        wanted = parse_selection(words[0] if words else "")
    with open_switch(target, options) as client:
        read = Stats(*client.multipart(MeterStatsRequest(wanted), MeterStatsReply))
    return read, lambda: _stats_text(read)


def _stats_text(read: Stats) -> Iterator[str]:
    for part in read.parts:
        yield head("OFPST_METER reply", read.xid, part.flags)
        for meter in part.entries:
            yield (
                f"\nmeter:{meter_text(meter.meter_id)} flow_count:{meter.flow_count} "
                f"packet_in_count:{meter.packet_in_count} byte_in_count:{meter.byte_in_count} "
                f"duration:{duration_text(meter.duration_sec, meter.duration_nsec)} bands:\n"
            )
            for number, band in enumerate(meter.band_stats):
                yield f"{number}: packet_count:{band.packet_count} byte_count:{band.byte_count}\n"
        if not part.entries:
            yield "\n"


def stats_facts(read: Stats) -> list[dict[str, Any]]:
    """Return the counters, one object for each meter."""
    return [
        {
            "meter": meter.meter_id,
            "duration": meter.duration_sec + meter.duration_nsec / 1e9,
            "n_flows": meter.flow_count,
            "n_packets": meter.packet_in_count,
            "n_bytes": meter.byte_in_count,
            "bands": [{"n_packets": b.packet_count, "n_bytes": b.byte_count} for b in meter.band_stats],
        }
        for part in read.parts
        for meter in part.entries
    ]


def features(
    target: str, _words: list[str], options: Options
) -> tuple[MeterFeaturesReply, Callable[[], list[str]]]:
    """Read what meters can do."""
    with open_switch(target, options) as client:
        xid, reply = client.request(MeterFeaturesRequest(), MeterFeaturesReply)
    facts = features_facts(reply)
    text = (
        f"{head('OFPST_METER_FEATURES reply', xid)}\n"
        f"max_meter:{reply.max_meter} max_bands:{reply.max_bands} max_color:{reply.max_color}\n"
        f"band_types: {' '.join(facts['band_types']) or '0'}\n"
        f"capabilities: {' '.join(facts['capabilities']) or '0'}\n"
    )
    return reply, lambda: [text]


def features_facts(reply: MeterFeaturesReply) -> dict[str, Any]:
    """Return what meters can do."""
    return {
        "max_meter": reply.max_meter,
        "max_bands": reply.max_bands,
        "max_color": reply.max_color,
        "band_types": [name for kind, name in _BANDS.items() if reply.band_types >> kind & 1],
        "capabilities": [name for name, flag in FLAG_WORDS.items() if reply.capabilities & flag],
    }


def add(target: str, words: list[str], options: Options) -> None:
    """Add a meter."""
    _change(target, words[0], options, OFPMC.ADD)


def mod(target: str, words: list[str], options: Options) -> None:
    """Change a meter."""
    _change(target, words[0], options, OFPMC.MODIFY)


def delete(target: str, words: list[str], options: Options) -> None:
    """Delete one meter (meter=N) or all, with the flows that use them."""
    text = words[0] if words else ""
    with usage_errors():
        wanted = MeterMod(OFPMC.DELETE, 0, parse_selection(text))
    _send(target, wanted, options, text)


def _change(target: str, text: str, options: Options, command: OFPMC) -> None:
    with usage_errors():
        wanted = parse_meter(text, command)
    _send(target, wanted, options, text)


def _send(target: str, wanted: MeterMod, options: Options, text: str) -> None:
    with open_switch(target, options) as client:
        try:
            client.command(wanted)
        except RefusedError as refused:
            raise RefusedError(refused.xid, refused.error, text) from None
