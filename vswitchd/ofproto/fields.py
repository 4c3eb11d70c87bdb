"""The table of match fields: every OXM field of OpenFlow 1.3.5 (7.2.3.7), one row each, and two of Nicira's.

A row holds what the wire needs (class, number, bits, bytes), what the specification demands (maskable,
prerequisites, usable in set-field) and how Open vSwitch writes it (names, format). The order of the rows is
the canonical order of a match: prerequisites come first.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from vswitchd.ofproto.constants import OFP_VERSION_13, OFPXMC, ONF_EXPERIMENTER

ETH_IPV4 = 0x0800
ETH_IPV6 = 0x86DD
ETH_ARP = 0x0806
ETH_RARP = 0x8035
ETH_MPLS = 0x8847
ETH_MPLS_MC = 0x8848
ETH_VLAN = 0x8100
ETH_QINQ = 0x88A8
ETH_PBB = 0x88E7
IP_ICMP = 1
IP_TCP = 6
IP_UDP = 17
IP_ICMPV6 = 58
IP_SCTP = 132


class Form(Enum):
    """How a value is written in flow text."""

    DECIMAL = auto()
    HEX = auto()
    MAC = auto()
    IPV4 = auto()
    IPV6 = auto()
    PORT = auto()
    TCP_FLAGS = auto()


Prereq = tuple[str, tuple[int, ...]]


@dataclass(frozen=True, slots=True, eq=False)
class Field:
    """One match field. Rows are compared by identity.

    name: the specification's (OXM_OF_ETH_DST is "eth_dst"). prereqs: (field name, allowed values) pairs that
    must all hold; no values means that the VLAN-present bit must be set. texts: names in Open vSwitch's flow
    syntax, first the one that ovs-ofctl prints in a match. since: the first version (wire number) whose
    messages may carry the field. experimenter: whose number follows the header (OFPXMC.EXPERIMENTER).
    """

    name: str
    number: int
    bits: int
    size: int
    maskable: bool
    settable: bool
    prereqs: tuple[Prereq, ...]
    form: Form
    texts: tuple[str, ...]
    oxm_class: int = OFPXMC.OPENFLOW_BASIC
    since: int = OFP_VERSION_13
    rank: int = 0
    experimenter: int = 0

    @property
    def all_ones(self) -> int:
        """The mask that matches exactly."""
        return (1 << self.bits) - 1

    @property
    def header(self) -> int:
        """The 32-bit OXM header without a mask (7.2.3.2)."""
        return self.oxm_class << 16 | self.number << 9 | self.size + (4 if self.experimenter else 0)

    @property
    def oxm_id(self) -> int:
        """The id in table features: the header, with an experimenter's number in bits 32 and up."""
        return self.experimenter << 32 | self.header

    def __repr__(self) -> str:
        return f"<{self.name}>"

    def __reduce__(self) -> str | tuple[object, ...]:
        return (field, (self.name,))


def field(name: str) -> Field:
    """Return the row of a field by its specification's name; KeyError where there is none."""
    return BY_NAME[name]


_IP: Prereq = ("eth_type", (ETH_IPV4, ETH_IPV6))
_V4: Prereq = ("eth_type", (ETH_IPV4,))
_V6: Prereq = ("eth_type", (ETH_IPV6,))
_ARP: Prereq = ("eth_type", (ETH_ARP, ETH_RARP))
_MPLS: Prereq = ("eth_type", (ETH_MPLS, ETH_MPLS_MC))
_PBB: Prereq = ("eth_type", (ETH_PBB,))
_VLAN: Prereq = ("vlan_vid", ())
_TCP: Prereq = ("ip_proto", (IP_TCP,))
_UDP: Prereq = ("ip_proto", (IP_UDP,))
_SCTP: Prereq = ("ip_proto", (IP_SCTP,))
_ICMP = (_V4, ("ip_proto", (IP_ICMP,)))
_ICMPV6 = (_V6, ("ip_proto", (IP_ICMPV6,)))
_ND: Prereq = ("icmpv6_type", (135, 136))

# M: maskable. S: may stand in a set-field action (7.2.5: all but the two in-ports and metadata; we leave out
# what would make a packet of another kind: eth_type, ip_proto, ipv6_exthdr). The ports of TCP, UDP and SCTP
# are maskable here, as in Open vSwitch, though 7.2.3.7 does not ask for it.
_TABLE: tuple[tuple[int, str, int, str, tuple[Prereq, ...], Form, tuple[str, ...]], ...] = (
    (0, "in_port", 32, "", (), Form.PORT, ("in_port",)),
    (1, "in_phy_port", 32, "", (("in_port", ()),), Form.PORT, ("in_phy_port",)),
    (2, "metadata", 64, "M", (), Form.HEX, ("metadata",)),
    (3, "eth_dst", 48, "MS", (), Form.MAC, ("dl_dst", "eth_dst")),
    (4, "eth_src", 48, "MS", (), Form.MAC, ("dl_src", "eth_src")),
    (5, "eth_type", 16, "", (), Form.HEX, ("dl_type", "eth_type")),
    (6, "vlan_vid", 13, "MS", (), Form.HEX, ("vlan_vid",)),
    (7, "vlan_pcp", 3, "S", (_VLAN,), Form.DECIMAL, ("dl_vlan_pcp", "vlan_pcp")),
    (8, "ip_dscp", 6, "S", (_IP,), Form.DECIMAL, ("ip_dscp",)),
    (9, "ip_ecn", 2, "S", (_IP,), Form.DECIMAL, ("nw_ecn", "ip_ecn")),
    (10, "ip_proto", 8, "", (_IP,), Form.DECIMAL, ("nw_proto", "ip_proto")),
    (11, "ipv4_src", 32, "MS", (_V4,), Form.IPV4, ("nw_src", "ip_src")),
    (12, "ipv4_dst", 32, "MS", (_V4,), Form.IPV4, ("nw_dst", "ip_dst")),
    (13, "tcp_src", 16, "MS", (_IP, _TCP), Form.DECIMAL, ("tp_src", "tcp_src")),
    (14, "tcp_dst", 16, "MS", (_IP, _TCP), Form.DECIMAL, ("tp_dst", "tcp_dst")),
    (15, "udp_src", 16, "MS", (_IP, _UDP), Form.DECIMAL, ("tp_src", "udp_src")),
    (16, "udp_dst", 16, "MS", (_IP, _UDP), Form.DECIMAL, ("tp_dst", "udp_dst")),
    (17, "sctp_src", 16, "MS", (_IP, _SCTP), Form.DECIMAL, ("tp_src", "sctp_src")),
    (18, "sctp_dst", 16, "MS", (_IP, _SCTP), Form.DECIMAL, ("tp_dst", "sctp_dst")),
    (19, "icmpv4_type", 8, "S", _ICMP, Form.DECIMAL, ("icmp_type",)),
    (20, "icmpv4_code", 8, "S", _ICMP, Form.DECIMAL, ("icmp_code",)),
    (21, "arp_op", 16, "S", (_ARP,), Form.DECIMAL, ("arp_op",)),
    (22, "arp_spa", 32, "MS", (_ARP,), Form.IPV4, ("arp_spa",)),
    (23, "arp_tpa", 32, "MS", (_ARP,), Form.IPV4, ("arp_tpa",)),
    (24, "arp_sha", 48, "MS", (_ARP,), Form.MAC, ("arp_sha",)),
    (25, "arp_tha", 48, "MS", (_ARP,), Form.MAC, ("arp_tha",)),
    (26, "ipv6_src", 128, "MS", (_V6,), Form.IPV6, ("ipv6_src",)),
    (27, "ipv6_dst", 128, "MS", (_V6,), Form.IPV6, ("ipv6_dst",)),
    (28, "ipv6_flabel", 20, "MS", (_V6,), Form.HEX, ("ipv6_label",)),
    (29, "icmpv6_type", 8, "S", _ICMPV6, Form.DECIMAL, ("icmp_type", "icmpv6_type")),
    (30, "icmpv6_code", 8, "S", _ICMPV6, Form.DECIMAL, ("icmp_code", "icmpv6_code")),
    (31, "ipv6_nd_target", 128, "MS", (*_ICMPV6, _ND), Form.IPV6, ("nd_target",)),
    (32, "ipv6_nd_sll", 48, "MS", (*_ICMPV6, ("icmpv6_type", (135,))), Form.MAC, ("nd_sll",)),
    (33, "ipv6_nd_tll", 48, "MS", (*_ICMPV6, ("icmpv6_type", (136,))), Form.MAC, ("nd_tll",)),
    (34, "mpls_label", 20, "S", (_MPLS,), Form.DECIMAL, ("mpls_label",)),
    (35, "mpls_tc", 3, "S", (_MPLS,), Form.DECIMAL, ("mpls_tc",)),
    (36, "mpls_bos", 1, "S", (_MPLS,), Form.DECIMAL, ("mpls_bos",)),
    (37, "pbb_isid", 24, "MS", (_PBB,), Form.HEX, ("pbb_isid",)),
    (38, "tunnel_id", 64, "MS", (), Form.HEX, ("tun_id", "tunnel_id")),
    (39, "ipv6_exthdr", 9, "M", (_V6,), Form.HEX, ("ipv6_exthdr",)),
)


def _row(rank: int, row: tuple[int, str, int, str, tuple[Prereq, ...], Form, tuple[str, ...]]) -> Field:
    number, name, bits, flags, prereqs, form, texts = row
    size = 4 if bits == 20 else (bits + 7) // 8  # labels travel in 32 bits
    return Field(name, number, bits, size, "M" in flags, "S" in flags, prereqs, form, texts, rank=rank)


# So that nw_ttl= and tcp_flags= can be said in OpenFlow 1.3, as ovs-ofctl sends them: Nicira's field and the
# ONF's extension for 1.3 (other fields of Open vSwitch's own are a later issue).
_NX = (
    Field(
        "nw_ttl", 29, 8, 1, False, True, (_IP,), Form.DECIMAL, ("nw_ttl",), oxm_class=OFPXMC.NXM_1,
        rank=len(_TABLE)
    ),
    Field(
        "tcp_flags", 42, 12, 2, True, False, (_IP, _TCP), Form.TCP_FLAGS, ("tcp_flags",),
        oxm_class=OFPXMC.EXPERIMENTER, rank=len(_TABLE) + 1, experimenter=ONF_EXPERIMENTER,
    ),
)  # fmt: skip

FIELDS: tuple[Field, ...] = (*(_row(rank, row) for rank, row in enumerate(_TABLE)), *_NX)
BY_NAME: dict[str, Field] = {row.name: row for row in FIELDS}
