"""Replies as text, in ovs-ofctl 3.1's words: heads, ports, counters, durations, bits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vswitchd.ofproto.constants import OFPC, OFPMPF, OFPP, OFPPC, OFPPF, OFPPS, U64_MAX
from vswitchd.ofproto.flowformat import duration_text
from vswitchd.ofproto.flowvalues import mac_text, port_text

if TYPE_CHECKING:
    from collections.abc import Mapping
    from enum import IntFlag

    from vswitchd.ofproto.stats import PortStats
    from vswitchd.ofproto.structures import Port


def head(name: str, xid: int, flags: int = 0) -> str:
    """Write how a reply begins; multipart replies have flags."""
    more = " flags=[more]" if flags & OFPMPF.MORE else ""
    return f"{name} (OF1.3) (xid={xid:#x}):{more}"


def counter(value: int) -> str:
    """Write a counter; one that is not counted is "?"."""
    return "?" if value == U64_MAX else str(value)


def bits(value: int, names: Mapping[int, str]) -> str:
    """Write flags by name, "0" for none; unknown ones follow as a number."""
    words = [name for bit, name in names.items() if value & bit]
    rest = value & ~sum(names)
    if rest:
        words.append(f"{rest:#x}")
    return " ".join(words) or "0"


def _names(kind: type[IntFlag]) -> dict[int, str]:
    return {int(flag): flag.name or "" for flag in kind}


CONFIG = _names(OFPPC)
STATE = _names(OFPPS)
CAPABILITIES = _names(OFPC) | {int(OFPC.IP_REASM): "IP_REASM"}
FEATURES = {
    int(OFPPF.PF_10MB_HD): "10MB-HD", int(OFPPF.PF_10MB_FD): "10MB-FD", int(OFPPF.PF_100MB_HD): "100MB-HD",
    int(OFPPF.PF_100MB_FD): "100MB-FD", int(OFPPF.PF_1GB_HD): "1GB-HD", int(OFPPF.PF_1GB_FD): "1GB-FD",
    int(OFPPF.PF_10GB_FD): "10GB-FD", int(OFPPF.PF_40GB_FD): "40GB-FD", int(OFPPF.PF_100GB_FD): "100GB-FD",
    int(OFPPF.PF_1TB_FD): "1TB-FD", int(OFPPF.OTHER): "OTHER", int(OFPPF.COPPER): "COPPER",
    int(OFPPF.FIBER): "FIBER", int(OFPPF.AUTONEG): "AUTO_NEG", int(OFPPF.PAUSE): "AUTO_PAUSE",
    int(OFPPF.PAUSE_ASYM): "AUTO_PAUSE_ASYM",
}  # fmt: skip


def port_desc(port: Port) -> str:
    """Write a port as `show` does, four lines and more."""
    mac = mac_text(int.from_bytes(port.hw_addr, "big"))
    lines = [
        f" {port_text(port.port_no)}({port.name}): addr:{mac}",
        f"     config:     {bits(port.config, CONFIG)}",
        f"     state:      {bits(port.state, STATE)}",
    ]
    for word, value in (
        ("current:   ", port.curr), ("advertised:", port.advertised), ("supported: ", port.supported),
        ("peer:      ", port.peer),
    ):  # fmt: skip
        if value:
            lines.append(f"     {word} {bits(value, FEATURES)}")
    lines.append(f"     speed: {port.curr_speed // 1000} Mbps now, {port.max_speed // 1000} Mbps max")
    return "".join(f"{line}\n" for line in lines)


def port_stats(stats: PortStats, names: Mapping[int, str] | None) -> str:
    """Write the counters of a port, three lines."""
    c = counter
    name = "LOCAL" if stats.port_no == OFPP.LOCAL else port_text(stats.port_no, names)
    space = " " if stats.port_no < 10 else ""
    return (
        f"  port {space}{name}: rx pkts={c(stats.rx_packets)}, bytes={c(stats.rx_bytes)}, "
        f"drop={c(stats.rx_dropped)}, errs={c(stats.rx_errors)}, frame={c(stats.rx_frame_err)}, "
        f"over={c(stats.rx_over_err)}, crc={c(stats.rx_crc_err)}\n"
        f"           tx pkts={c(stats.tx_packets)}, bytes={c(stats.tx_bytes)}, drop={c(stats.tx_dropped)}, "
        f"errs={c(stats.tx_errors)}, coll={c(stats.collisions)}\n"
        f"           duration={duration_text(stats.duration_sec, stats.duration_nsec)}\n"
    )
