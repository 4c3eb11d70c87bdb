"""Meters in ovs-ofctl's syntax: `meter=1,kbps,burst,bands=type=drop,rate=1000,burst_size=100`, both ways."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from vswitchd.ofproto.constants import OFPM, OFPMF
from vswitchd.ofproto.flowvalues import FlowTextError, number
from vswitchd.ofproto.flowwords import split_words
from vswitchd.ofproto.messages import MeterMod
from vswitchd.ofproto.structures import DropBand, DscpRemarkBand

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vswitchd.ofproto.structures import MeterBand

METER_WORDS = {"all": int(OFPM.ALL), "controller": int(OFPM.CONTROLLER), "slowpath": int(OFPM.SLOWPATH)}
FLAG_WORDS = {
    "kbps": int(OFPMF.KBPS), "pktps": int(OFPMF.PKTPS), "burst": int(OFPMF.BURST), "stats": int(OFPMF.STATS),
}  # fmt: skip
_NAMES = {value: name for name, value in METER_WORDS.items()}
_BANDS = re.compile(r"(?:^|(?<=[,\s]))bands?\s*=")
_BAND_NUMBERS = {"rate": 32, "burst_size": 32, "burst": 32, "prec_level": 8}


def meter_number(word: str) -> int:
    """Read a meter's number, or all, controller, slowpath."""
    if word.lower() in METER_WORDS:
        return METER_WORDS[word.lower()]
    value = number(word, "meter", 32)
    if not 0 < value <= OFPM.MAX:
        raise FlowTextError(f"meter: {word} is not from 1 to {int(OFPM.MAX):#x}")
    return value


def meter_text(number_: int) -> str:
    """Write a meter's number."""
    return _NAMES.get(number_, str(number_))


def parse_selection(text: str) -> int:
    """Read what a meter verb is about: "meter=N", or nothing for all. Raises FlowTextError."""
    found = int(OFPM.ALL)
    for key, value in split_words(text):
        if key != "meter" or value is None:
            raise FlowTextError(f"unknown keyword {key} (meter=NUMBER)")
        found = meter_number(value)
    return found


def parse_meter(text: str, command: int) -> MeterMod:
    """Read a meter for an addition or a modification. Raises FlowTextError."""
    head, *bands = _BANDS.split(text, maxsplit=1)
    meter: int | None = None
    flags = 0
    for key, value in split_words(head):
        if key == "meter" and value is not None:
            meter = meter_number(value)
        elif key in FLAG_WORDS and value is None:
            flags |= FLAG_WORDS[key]
        else:
            raise FlowTextError(f"unknown keyword {key}")
    if not bands:
        raise FlowTextError("must specify bands")
    if meter is None:
        raise FlowTextError("must specify 'meter'")
    if bool(flags & OFPMF.KBPS) == bool(flags & OFPMF.PKTPS):
        raise FlowTextError("meter must specify either 'kbps' or 'pktps'")
    found = tuple(_bands(bands[0], burst=bool(flags & OFPMF.BURST)))
    if not found:
        raise FlowTextError("must specify bands")
    return MeterMod(command, flags, meter, found)


def _bands(text: str, *, burst: bool) -> Iterator[MeterBand]:
    """Read bands; each begins with its type."""
    kinds: list[str] = []
    values: list[dict[str, int]] = []
    for key, value in split_words(text):
        if key == "type" and value in ("drop", "dscp_remark"):
            kinds.append(value)
            values.append({})
        elif key == "type":
            raise FlowTextError(f"unknown band type {value} (drop, dscp_remark)")
        elif not kinds:
            raise FlowTextError("band must start with the 'type' keyword")
        elif key in _BAND_NUMBERS and value is not None:
            name = "burst_size" if key == "burst" else key
            values[-1][name] = number(value, key, _BAND_NUMBERS[key])
        else:
            raise FlowTextError(f"unknown keyword {key}")
    for kind, band in zip(kinds, values, strict=True):
        if "rate" not in band:
            raise FlowTextError("band must have 'rate'")
        if burst and not band.get("burst_size"):
            raise FlowTextError("band must have 'burst_size' when 'burst' flag is set")
        if not burst and "burst_size" in band:
            raise FlowTextError("band may have 'burst_size' only when 'burst' flag is set")
        if kind == "drop":
            if "prec_level" in band:
                raise FlowTextError("only a 'dscp_remark' band may have 'prec_level'")
            yield DropBand(**band)
        else:
            if not band.get("prec_level"):
                raise FlowTextError("a 'dscp_remark' band must have 'prec_level'")
            yield DscpRemarkBand(**band)


def format_flags(flags: int) -> list[str]:
    """Name the flags of a meter."""
    return [name for name, flag in FLAG_WORDS.items() if flags & flag]


def format_band(band: MeterBand) -> str:
    """Write a band."""
    if isinstance(band, DropBand):
        kind, more = "drop", ""
    elif isinstance(band, DscpRemarkBand):
        kind, more = "dscp_remark", f" prec_level={band.prec_level}"
    else:
        kind, more = f"experimenter:{band.experimenter:#x}", ""
    burst = f" burst_size={band.burst_size}" if band.burst_size else ""
    return f"type={kind} rate={band.rate}{burst}{more}"
