"""The oracle's values: requests, what the switch keeps, what it tells. Plain tuples and dictionaries, no codec.

A match is {OXM name: (value, mask)}. An action is a tuple: ("output", port, max_len), ("group", id), ("set_queue", id),
("set_field", name, value), ("push_vlan", 0x8100), ("dec_nw_ttl",) ... Instructions are a dictionary with the keys meter,
apply, clear, write, metadata (value, mask), goto.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

IN_PORT, TABLE, NORMAL, FLOOD, ALL, CONTROLLER, LOCAL, ANY = (
    0xFFFFFFF8, 0xFFFFFFF9, 0xFFFFFFFA, 0xFFFFFFFB, 0xFFFFFFFC, 0xFFFFFFFD, 0xFFFFFFFE, 0xFFFFFFFF,
)  # fmt: skip
GROUP_MAX, GROUP_ALL, GROUP_ANY = 0xFFFFFF00, 0xFFFFFFFC, 0xFFFFFFFF
METER_MAX, METER_SLOWPATH, METER_CONTROLLER, METER_ALL = 0xFFFF0000, 0xFFFFFFFD, 0xFFFFFFFE, 0xFFFFFFFF
NO_COOKIE = (1 << 64) - 1
WHOLE = 0xFFFF  # OFPCML_NO_BUFFER
ALL_TABLES = 0xFF
PORT_DOWN, NO_RECV, NO_FWD, NO_PACKET_IN = 1, 4, 32, 64
NO_MATCH, ACTION, INVALID_TTL = 0, 1, 2
SEND_FLOW_REM, CHECK_OVERLAP, RESET_COUNTS, NO_PKT_COUNTS, NO_BYT_COUNTS = 1, 2, 4, 8, 16
KBPS, PKTPS, BURST, STATS = 1, 2, 4, 8

# name: (bits, may be masked, may be set, prerequisites: (field, allowed values; none: any tag)). 7.2.3.7, and what our switch
# allows beyond it (README of ofproto): masks of L4 ports and of neighbour discovery, nw_ttl and tcp_flags.
_IP, _V4, _V6 = ("eth_type", (0x0800, 0x86DD)), ("eth_type", (0x0800,)), ("eth_type", (0x86DD,))
_ARP, _MPLS = ("eth_type", (0x0806, 0x8035)), ("eth_type", (0x8847, 0x8848))
_TCP, _UDP, _SCTP = ((_IP, ("ip_proto", (n,))) for n in (6, 17, 132))
_ICMP4, _ICMP6 = (_V4, ("ip_proto", (1,))), (_V6, ("ip_proto", (58,)))
FIELDS: dict[str, tuple[int, bool, bool, tuple]] = {
    "in_port": (32, False, False, ()),
    "in_phy_port": (32, False, False, (("in_port", ()),)),
    "metadata": (64, True, False, ()),
    "eth_dst": (48, True, True, ()),
    "eth_src": (48, True, True, ()),
    "eth_type": (16, False, False, ()),
    "vlan_vid": (13, True, True, ()),
    "vlan_pcp": (3, False, True, (("vlan_vid", ()),)),
    "ip_dscp": (6, False, True, (_IP,)),
    "ip_ecn": (2, False, True, (_IP,)),
    "ip_proto": (8, False, False, (_IP,)),
    "ipv4_src": (32, True, True, (_V4,)),
    "ipv4_dst": (32, True, True, (_V4,)),
    "tcp_src": (16, True, True, _TCP),
    "tcp_dst": (16, True, True, _TCP),
    "udp_src": (16, True, True, _UDP),
    "udp_dst": (16, True, True, _UDP),
    "sctp_src": (16, True, True, _SCTP),
    "sctp_dst": (16, True, True, _SCTP),
    "icmpv4_type": (8, False, True, _ICMP4),
    "icmpv4_code": (8, False, True, _ICMP4),
    "arp_op": (16, False, True, (_ARP,)),
    "arp_spa": (32, True, True, (_ARP,)),
    "arp_tpa": (32, True, True, (_ARP,)),
    "arp_sha": (48, True, True, (_ARP,)),
    "arp_tha": (48, True, True, (_ARP,)),
    "ipv6_src": (128, True, True, (_V6,)),
    "ipv6_dst": (128, True, True, (_V6,)),
    "ipv6_flabel": (20, True, True, (_V6,)),
    "icmpv6_type": (8, False, True, _ICMP6),
    "icmpv6_code": (8, False, True, _ICMP6),
    "ipv6_nd_target": (128, True, True, (*_ICMP6, ("icmpv6_type", (135, 136)))),
    "ipv6_nd_sll": (48, True, True, (*_ICMP6, ("icmpv6_type", (135,)))),
    "ipv6_nd_tll": (48, True, True, (*_ICMP6, ("icmpv6_type", (136,)))),
    "mpls_label": (20, False, True, (_MPLS,)),
    "mpls_tc": (3, False, True, (_MPLS,)),
    "mpls_bos": (1, False, True, (_MPLS,)),
    "pbb_isid": (24, True, True, (("eth_type", (0x88E7,)),)),
    "tunnel_id": (64, True, True, ()),
    "ipv6_exthdr": (9, True, False, (_V6,)),
    "nw_ttl": (8, False, True, (_IP,)),
    "tcp_flags": (12, True, False, _TCP),
}

Match = dict[str, tuple[int, int]]


def ones(name: str) -> int:
    return (1 << FIELDS[name][0]) - 1


# ---- requests


@dataclass(frozen=True)
class FlowMod:
    """Commands: add, modify, modify_strict, delete, delete_strict."""

    command: str
    table: int = 0
    priority: int = 0
    match: Match = field(default_factory=dict)
    instructions: dict = field(default_factory=dict)
    cookie: int = 0
    cookie_mask: int = 0
    flags: int = 0
    out_port: int = ANY
    out_group: int = GROUP_ANY
    idle: int = 0
    hard: int = 0


@dataclass(frozen=True)
class Bucket:
    actions: tuple[tuple, ...] = ()
    weight: int = 0
    watch_port: int = ANY
    watch_group: int = GROUP_ANY


@dataclass(frozen=True)
class GroupMod:
    """Commands: add, modify, delete. Types: all, select, indirect, ff."""

    command: str
    group: int
    type: str = "all"
    buckets: tuple[Bucket, ...] = ()


@dataclass(frozen=True)
class Band:
    """Types: drop, dscp_remark."""

    type: str
    rate: int
    burst: int = 0
    level: int = 0


@dataclass(frozen=True)
class MeterMod:
    """Commands: add, modify, delete."""

    command: str
    meter: int
    flags: int = PKTPS
    bands: tuple[Band, ...] = ()


@dataclass(frozen=True)
class PortMod:
    port: int
    config: int
    mask: int
    hw_addr: bytes | None = None  # None: the right one


@dataclass(frozen=True)
class PacketOut:
    in_port: int
    actions: tuple[tuple, ...]
    data: bytes


Request = FlowMod | GroupMod | MeterMod | PortMod | PacketOut


# ---- what the switch keeps


@dataclass(eq=False)
class Flow:
    table: int
    priority: int
    match: Match
    instructions: dict
    cookie: int
    flags: int
    idle: int
    hard: int
    created: float
    used: float
    packets: int = 0
    bytes: int = 0

    def counts(self) -> tuple[int, int]:
        return self.packets, self.bytes

    def actions(self) -> list[tuple]:
        return [*self.instructions.get("apply", ()), *self.instructions.get("write", ())]


@dataclass(eq=False)
class Group:
    type: str
    buckets: tuple[Bucket, ...]
    generation: int
    packets: int = 0
    bytes: int = 0
    counts: list[list[int]] = field(default_factory=list)


@dataclass(eq=False)
class Meter:
    flags: int
    bands: tuple[Band, ...]
    packets: int = 0
    bytes: int = 0
    counts: list[list[int]] = field(default_factory=list)
    taken: list[int] = field(default_factory=list)  # tokens missing in each band's bucket since `since`
    since: float = 0.0


@dataclass(eq=False)
class Port:
    config: int = 0
    link: bool = True
    rx: list[int] = field(default_factory=lambda: [0, 0])
    tx: list[int] = field(default_factory=lambda: [0, 0])
    forwarded: int = 0


@dataclass(frozen=True, order=True)
class PacketIn:
    reason: int
    table: int
    cookie: int
    in_port: int
    metadata: int
    tunnel_id: int
    total_len: int
    data: bytes
    frame: bytes = field(default=b"", repr=False, compare=False)  # whole


@dataclass(frozen=True, order=True)
class Removed:
    """A flow-removed message; its match as sorted (name, value, mask)."""

    reason: int
    table: int
    priority: int
    cookie: int
    idle: int
    hard: int
    packets: int
    bytes: int
    seconds: int
    match: tuple


def plain(match: Match) -> tuple:
    """A match in one form: what masks out is left out."""
    return tuple(sorted((n, v & m, m) for n, (v, m) in match.items() if m))


class Refused(Exception):
    """The request is refused; `names` are the errors that would be right."""

    def __init__(self, *names: str) -> None:
        super().__init__(names)
        self.names = set(names)


__all__ = ["FIELDS", "Match", "replace"]
