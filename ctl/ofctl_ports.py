"""dump-ports, dump-ports-desc, mod-port: the ports of a switch."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any, NamedTuple

from ctl.ofctl_session import PortNumbers, all_ports, open_switch, port_names
from ctl.ofctl_text import CONFIG, FEATURES, STATE, head, port_desc, port_stats
from vswitchd.errors import UsageError
from vswitchd.ofproto.constants import OFPP, OFPPC, U64_MAX
from vswitchd.ofproto.flowvalues import FlowTextError, mac_text, port, port_text
from vswitchd.ofproto.messages import PortMod
from vswitchd.ofproto.multipart import PortDescReply, PortDescRequest, PortStatsReply, PortStatsRequest
from vswitchd.ofproto.stats import PortStats

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ctl.ofctl_client import Client
    from ctl.ofctl_options import Options
    from vswitchd.ofproto.structures import Port

# Word of mod-port -> (bit, set or clear).
_CHANGES = {
    "up": (OFPPC.PORT_DOWN, False),
    "down": (OFPPC.PORT_DOWN, True),
    "receive": (OFPPC.NO_RECV, False),
    "no-receive": (OFPPC.NO_RECV, True),
    "forward": (OFPPC.NO_FWD, False),
    "no-forward": (OFPPC.NO_FWD, True),
    "packet-in": (OFPPC.NO_PACKET_IN, False),
    "no-packet-in": (OFPPC.NO_PACKET_IN, True),
}
_OLD_CHANGES = ("stp", "no-stp", "receive-stp", "no-receive-stp", "flood", "no-flood")


class Stats(NamedTuple):
    """Counters of ports, as parts of a reply, and the names to print."""

    xid: int
    parts: list[PortStatsReply]
    names: dict[int, str] | None


def stats(target: str, words: list[str], options: Options) -> tuple[Stats, Callable[[], Iterator[str]]]:
    """Read the counters of one port or all."""
    with open_switch(target, options) as client:
        number = _number(client, words[0]) if words else int(OFPP.ANY)
        names = port_names(client, options)
        xid, parts = client.multipart(PortStatsRequest(number), PortStatsReply)
    read = Stats(xid, parts, names)
    return read, lambda: _stats_text(read)


def _number(client: Client, word: str) -> int:
    try:
        return port(word, "port", PortNumbers(client))
    except FlowTextError:
        raise UsageError(f"{client.name}: unknown port `{word}'") from None


def _stats_text(read: Stats) -> Iterator[str]:
    for part in read.parts:
        yield f"{head('OFPST_PORT reply', read.xid, part.flags)} {len(part.entries)} ports\n"
        for entry in part.entries:
            yield port_stats(entry, read.names)


def stats_facts(read: Stats) -> list[dict[str, Any]]:
    """Return the ports' counters, one object each; None where something is not counted."""
    return [_stats_object(entry) for part in read.parts for entry in part.entries]


def _stats_object(entry: PortStats) -> dict[str, Any]:
    names = [field.name for field in fields(PortStats)]
    counters = [name for name in names if name != "port_no" and not name.startswith("duration")]
    values = {name: getattr(entry, name) for name in counters}
    return {
        "port": _number_or_word(entry.port_no),
        **{name: None if value == U64_MAX else value for name, value in values.items()},
        "duration": entry.duration_sec + entry.duration_nsec / 1e9,
    }


def _number_or_word(number: int) -> int | str:
    return number if number < OFPP.MAX else port_text(number)


def desc(
    target: str, words: list[str], options: Options
) -> tuple[list[PortDescReply], Callable[[], Iterator[str]]]:
    """Read the ports; a port given is only checked, in OpenFlow 1.3 they come all (as in ovs-ofctl)."""
    with open_switch(target, options) as client:
        if words:
            _number(client, words[0])
        xid, parts = client.multipart(PortDescRequest(), PortDescReply)
    return parts, lambda: _desc_text(xid, parts)


def _desc_text(xid: int, parts: list[PortDescReply]) -> Iterator[str]:
    for part in parts:
        yield head("OFPST_PORT_DESC reply", xid, part.flags) + "\n"
        for entry in part.entries:
            yield port_desc(entry)


def desc_facts(parts: list[PortDescReply]) -> list[dict[str, Any]]:
    """Return the ports, one object each."""
    return [port_object(entry) for part in parts for entry in part.entries]


def port_object(entry: Port) -> dict[str, Any]:
    """Return a port's description; speeds in kbit/s."""
    return {
        "port": _number_or_word(entry.port_no),
        "name": entry.name,
        "addr": mac_text(int.from_bytes(entry.hw_addr, "big")),
        "config": _words(entry.config, CONFIG),
        "state": _words(entry.state, STATE),
        "current": _words(entry.curr, FEATURES),
        "advertised": _words(entry.advertised, FEATURES),
        "supported": _words(entry.supported, FEATURES),
        "peer": _words(entry.peer, FEATURES),
        "curr_speed": entry.curr_speed,
        "max_speed": entry.max_speed,
    }


def _words(value: int, names: dict[int, str]) -> list[str]:
    return [name for bit, name in names.items() if value & bit]


def mod(target: str, words: list[str], options: Options) -> None:
    """Change one bit of a port's configuration and look if it changed."""
    name, change = words
    if change in _OLD_CHANGES:
        raise UsageError(f"mod-port command '{change}' is not supported in OpenFlow 1.3")
    if change not in _CHANGES:
        raise UsageError(f"unknown mod-port command '{change}'")
    bit, on = _CHANGES[change]
    with open_switch(target, options) as client:
        found = _find(client, name)
        client.command(PortMod(found.port_no, found.hw_addr, bit if on else 0, bit))


def _find(client: Client, name: str) -> Port:
    for entry in all_ports(client):
        if name in (entry.name, str(entry.port_no)) or (
            entry.port_no >= OFPP.MAX and name.lower() == port_text(entry.port_no).lower()
        ):
            return entry
    raise UsageError(f"{client.name}: couldn't find port `{name}'")
