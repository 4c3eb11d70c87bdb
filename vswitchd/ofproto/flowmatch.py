"""Matches in flow text: Open vSwitch's keywords to OXM fields and back.

Some keywords mean a field that depends on others: `tp_dst` with `tcp` is tcp_dst, `nw_src` with `arp` is
arp_spa, `dl_vlan` and `vlan_tci` are parts of vlan_vid and vlan_pcp. So words are collected first and
resolved together.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from vswitchd.ofproto import fields as f
from vswitchd.ofproto.errors import OFError
from vswitchd.ofproto.fields import BY_NAME, FIELDS, Field
from vswitchd.ofproto.flowvalues import FlowTextError, number, parse_value, value_text
from vswitchd.ofproto.oxm import FieldMatch, Match

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

# Shorthand: (eth_type, ip_proto).
SHORTHAND: dict[str, tuple[int, int | None]] = {
    "ip": (f.ETH_IPV4, None),
    "icmp": (f.ETH_IPV4, f.IP_ICMP),
    "tcp": (f.ETH_IPV4, f.IP_TCP),
    "udp": (f.ETH_IPV4, f.IP_UDP),
    "sctp": (f.ETH_IPV4, f.IP_SCTP),
    "ipv6": (f.ETH_IPV6, None),
    "ip6": (f.ETH_IPV6, None),
    "icmp6": (f.ETH_IPV6, f.IP_ICMPV6),
    "tcp6": (f.ETH_IPV6, f.IP_TCP),
    "udp6": (f.ETH_IPV6, f.IP_UDP),
    "sctp6": (f.ETH_IPV6, f.IP_SCTP),
    "arp": (f.ETH_ARP, None),
    "rarp": (f.ETH_RARP, None),
    "mpls": (f.ETH_MPLS, None),
    "mplsm": (f.ETH_MPLS_MC, None),
}
_SHORT_NAME = {pair: name for name, pair in SHORTHAND.items() if name != "ip6"}

# Keywords of more than one field: the fields, of which that one is meant whose prerequisites hold.
_AMBIGUOUS = {
    "nw_src": ("ipv4_src", "arp_spa"),
    "nw_dst": ("ipv4_dst", "arp_tpa"),
    "nw_proto": ("ip_proto", "arp_op"),
    "tp_src": ("tcp_src", "udp_src", "sctp_src"),
    "tp_dst": ("tcp_dst", "udp_dst", "sctp_dst"),
    "icmp_type": ("icmpv4_type", "icmpv6_type"),
    "icmp_code": ("icmpv4_code", "icmpv6_code"),
}
_CFI = 0x1000
_UNSUPPORTED = (
    "ip_frag",
    "nw_frag",
    "pkt_mark",
    "conj_id",
    "recirc_id",
    "actset_output",
    "tun_src",
    "tun_dst",
)
_UNSUPPORTED_PREFIXES = ("reg", "xreg", "xxreg", "ct_", "tun_metadata", "tun_gbp", "nsh_", "tun_flags")
_VLAN_WORDS = ("dl_vlan", "vlan_vid", "dl_vlan_pcp", "vlan_pcp", "vlan_tci")


def _keywords() -> dict[str, Field]:
    found: dict[str, Field] = {}
    for row in FIELDS:
        for word in (row.name, *row.texts):
            if word not in _AMBIGUOUS:
                found.setdefault(word, row)
    return found


KEYWORDS = _keywords()


@dataclass(slots=True)
class MatchWords:
    """Collects the words of a match; `take()` each, then `finish()`."""

    ports: Mapping[str, int]
    plain: dict[Field, tuple[int, int | None]] = field(default_factory=dict)
    later: dict[str, str] = field(default_factory=dict)
    tci: int = 0
    tci_mask: int = 0

    def take(self, word: str, value: str | None) -> bool:
        """Take `word=value` (or a shorthand without value); False where the word is none of a match's."""
        if value is None:
            if word not in SHORTHAND:
                return False
            eth_type, proto = SHORTHAND[word]
            self._put(word, BY_NAME["eth_type"], eth_type, None)
            if proto is not None:
                self._put(word, BY_NAME["ip_proto"], proto, None)
            return True
        if word in _VLAN_WORDS:
            self._vlan(word, value)
        elif word in _AMBIGUOUS:
            self.later[word] = value
        elif word == "nw_tos":
            self._put(word, BY_NAME["ip_dscp"], number(value, word, 8) >> 2, None)
        elif word in KEYWORDS:
            row = KEYWORDS[word]
            self._put(word, row, *parse_value(row, value, word, self.ports))
        elif word in _UNSUPPORTED or word.startswith(_UNSUPPORTED_PREFIXES):
            raise FlowTextError(f"{word}: a field of Open vSwitch's own, not supported yet")
        else:
            return False
        return True

    def _put(self, word: str, row: Field, value: int, mask: int | None) -> None:
        old = self.plain.get(row)
        if old is not None and old != (value, mask):
            raise FlowTextError(f"{word}: {row.name} is already {value_text(row, *old)}")
        self.plain[row] = (value, mask)

    def _vlan(self, word: str, value: str) -> None:
        head, _slash, tail = value.partition("/")
        if word == "vlan_tci":
            tci = number(head, word, 16)
            mask = number(tail, word, 16) if tail else 0xFFFF
            if mask & 0xE000 not in (0, 0xE000):
                raise FlowTextError(f"{word}: {value} masks a part of the priority: not in OpenFlow 1.3")
            if tci & _CFI == 0 and mask & _CFI:
                mask &= 0x1FFF  # without a tag there is no priority
        elif word == "vlan_vid":
            tci = number(head, word, 13)
            mask = number(tail, word, 16) & 0x1FFF if tail else 0x1FFF
        elif word == "dl_vlan":
            vid = number(head, word, 16)
            tci, mask = (0, 0x1FFF) if vid == 0xFFFF else (vid & 0xFFF | _CFI, 0x1FFF)
        else:
            tci, mask = number(head, word, 3) << 13 | _CFI, 0xE000 | _CFI
        tci &= mask
        if (tci ^ self.tci) & mask & self.tci_mask:
            raise FlowTextError(f"{word}={value} contradicts another VLAN word")
        self.tci |= tci
        self.tci_mask |= mask

    def finish(self) -> Match:
        """Resolve the words that depend on others and build the match."""
        entries = {row: FieldMatch(row, *value) for row, value in self.plain.items()}
        for word, value in sorted(self.later.items(), key=lambda item: list(_AMBIGUOUS).index(item[0])):
            row = self._resolve(word, entries)
            parsed = FieldMatch(row, *parse_value(row, value, word, self.ports))
            if entries.setdefault(row, parsed) != parsed:
                raise FlowTextError(f"{word}: {row.name} is given twice")
        if self.tci_mask & 0x1FFF:
            row = BY_NAME["vlan_vid"]
            entries[row] = FieldMatch(row, self.tci & 0x1FFF, self.tci_mask & 0x1FFF)
        if self.tci_mask & 0xE000:
            row = BY_NAME["vlan_pcp"]
            entries[row] = FieldMatch(row, self.tci >> 13)
        try:
            return Match.of(*entries.values())
        except OFError as error:
            raise FlowTextError(_explain(error, entries)) from None

    def _resolve(self, word: str, entries: dict[Field, FieldMatch]) -> Field:
        for name in _AMBIGUOUS[word]:
            row = BY_NAME[name]
            if not _missing(row, entries):
                return row
        needs = {"tp_": "tcp, udp or sctp", "icm": "icmp or icmp6", "nw_": "ip or arp"}[word[:3]]
        raise FlowTextError(f"{word}: the match needs {needs}")


def _missing(row: Field, entries: dict[Field, FieldMatch]) -> str | None:
    """Name a prerequisite that does not hold."""
    for name, allowed in row.prereqs:
        found = entries.get(BY_NAME[name])
        if found is None or (allowed and found.value not in allowed):
            return name
    return None


def _explain(error: OFError, entries: dict[Field, FieldMatch]) -> str:
    for row in entries:
        name = _missing(row, entries)
        if name:
            allowed = dict(row.prereqs)[name]
            short = [text for text, pair in SHORTHAND.items() if set(pair) & set(allowed)]
            return f"{row.texts[0]}: the match needs {' or '.join(short[:4]) or name}"
    return error.detail


def _tci_text(match: Match) -> Iterator[str]:
    """Write vlan_vid and vlan_pcp as dl_vlan and dl_vlan_pcp where that says it all, else as vlan_tci."""
    vid, pcp = match.get("vlan_vid"), match.get("vlan_pcp")
    if vid is None:
        return
    vid_mask = 0x1FFF if vid.mask is None else vid.mask
    if vid_mask in (_CFI, 0x1FFF) and vid.value & _CFI and (vid_mask == 0x1FFF or pcp):
        if vid_mask == 0x1FFF:
            yield f"dl_vlan={vid.value & 0xFFF}"
        if pcp:
            yield f"dl_vlan_pcp={pcp.value}"
        return
    tci = vid.value | (pcp.value << 13 if pcp else 0)
    mask = vid_mask | (0xE000 if pcp else 0)
    yield f"vlan_tci={tci:#06x}" if mask == 0xFFFF else f"vlan_tci={tci:#06x}/{mask:#06x}"


# The order in which ovs-ofctl writes a match, after the shorthand.
_ORDER = [
    "tunnel_id",
    "metadata",
    "in_port",
    "in_phy_port",
    "vlan",
    "eth_src",
    "eth_dst",
    "eth_type",
    "ipv6_src",
    "ipv6_dst",
    "ipv6_flabel",
    "ipv4_src",
    "ipv4_dst",
    "arp_spa",
    "arp_tpa",
    "ip_proto",
    "arp_op",
    "arp_sha",
    "arp_tha",
    "ip_dscp",
    "ip_ecn",
    "nw_ttl",
    "mpls_label",
    "mpls_tc",
    "mpls_bos",
    "pbb_isid",
    "ipv6_exthdr",
    "icmpv4_type",
    "icmpv4_code",
    "icmpv6_type",
    "icmpv6_code",
    "ipv6_nd_target",
    "ipv6_nd_sll",
    "ipv6_nd_tll",
    "tcp_src",
    "tcp_dst",
    "udp_src",
    "udp_dst",
    "sctp_src",
    "sctp_dst",
    "tcp_flags",
]


def _field_text(entry: FieldMatch, names: Mapping[int, str] | None) -> str:
    row, value, mask = entry
    if row.name == "ip_dscp":
        return f"nw_tos={value << 2}"
    if row.name == "eth_type":
        return f"dl_type={value:#06x}"
    if row.name == "ipv6_flabel":
        return f"ipv6_label={value:#07x}" if mask is None else f"ipv6_label={value:#07x}/{mask:#07x}"
    return f"{row.texts[0]}={value_text(row, value, mask, names)}"


def format_match(match: Match, names: Mapping[int, str] | None = None) -> str:
    """Write a match as ovs-ofctl does ("tcp,in_port=1,tp_dst=80"); `names` gives ports' names by number."""
    parts = []
    done: set[str] = {"vlan_vid", "vlan_pcp"}
    eth_type, proto = match.get("eth_type"), match.get("ip_proto")
    if eth_type:
        both = _SHORT_NAME.get((eth_type.value, proto.value)) if proto else None
        short = both or _SHORT_NAME.get((eth_type.value, None))
        if short:
            parts.append(short)
            done |= {"eth_type", "ip_proto"} if both else {"eth_type"}
    by_name = {entry.field.name: entry for entry in match}
    for name in _ORDER:
        if name == "vlan":
            parts += _tci_text(match)
        elif name in by_name and name not in done:
            parts.append(_field_text(by_name[name], names))
    return ",".join(parts)
