"""The match of OpenFlow 1.0: 40 bytes of fixed fields and wildcards, as our Match and back (1.0.2, 5.2.3, 3.4).

Reading normalizes, as Open vSwitch does: a field whose header the other fields do not promise (nw_src without
dl_type, tp_dst without nw_proto) is ignored. 1.0 has no IPv6; with dl_type 0x86dd nw_proto, nw_tos and the ports
are those of IPv6, as in Open vSwitch. What 1.0 cannot say is an EncodeError; `nearest10()` leaves it out.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from vswitchd.ofproto import fields as f
from vswitchd.ofproto.constants import OFPVID_NONE, OFPVID_PRESENT
from vswitchd.ofproto.constants10 import NW_DST_SHIFT, NW_SRC_SHIFT, OFP_VLAN_NONE, OFPFW
from vswitchd.ofproto.errors import EncodeError
from vswitchd.ofproto.oxm import FieldMatch, Match
from vswitchd.ofproto.wire10 import port_from_10, port_to_10

if TYPE_CHECKING:
    from vswitchd.ofproto.wire import Reader

_MATCH = struct.Struct("!IH6s6sHBxHBBxxIIHH")
_U32 = 0xFFFFFFFF
_VID_MASK = 0xFFF
_ROW = f.BY_NAME
_IP = (f.ETH_IPV4, f.ETH_IPV6)
_ARP = (f.ETH_ARP, f.ETH_RARP)
_PORTS = {
    f.IP_TCP: ("tcp_src", "tcp_dst"),
    f.IP_UDP: ("udp_src", "udp_dst"),
    f.IP_SCTP: ("sctp_src", "sctp_dst"),
}


def _l4_fields(eth_type: int | None, proto: int | None) -> tuple[str, str] | None:
    """Name what tp_src and tp_dst are."""
    if eth_type == f.ETH_IPV4 and proto == f.IP_ICMP:
        return "icmpv4_type", "icmpv4_code"
    if eth_type == f.ETH_IPV6 and proto == f.IP_ICMPV6:
        return "icmpv6_type", "icmpv6_code"
    return _PORTS.get(proto or 0) if eth_type in _IP else None


def _cidr_mask(wildcards: int, shift: int) -> int:
    return _U32 << min(wildcards >> shift & 0x3F, 32) & _U32


def _is_cidr(mask: int) -> bool:
    zeros = _U32 ^ mask
    return zeros & (zeros + 1) == 0


class Match10:
    """struct ofp_match of 1.0."""

    cls = Match

    def read(self, rd: Reader) -> Match:
        """Read a match; all bytes are one."""
        (wild, in_port, src, dst, vlan, pcp, dl_type, tos, proto, nw_src, nw_dst, tp_src, tp_dst) = rd.unpack(
            _MATCH
        )
        found: dict[str, tuple[int, int | None]] = {}
        if not wild & OFPFW.IN_PORT:
            found["in_port"] = port_from_10(in_port), None
        if not wild & OFPFW.DL_DST:
            found["eth_dst"] = int.from_bytes(dst, "big"), None
        if not wild & OFPFW.DL_SRC:
            found["eth_src"] = int.from_bytes(src, "big"), None
        eth_type = None if wild & OFPFW.DL_TYPE else dl_type
        if eth_type is not None:
            found["eth_type"] = eth_type, None
        _read_vlan(found, wild, vlan, pcp)
        is_ip, is_arp = eth_type in _IP, eth_type in _ARP
        if is_ip and not wild & OFPFW.NW_TOS:
            found["ip_dscp"] = tos >> 2, None
        if (is_ip or is_arp) and not wild & OFPFW.NW_PROTO:
            found["ip_proto" if is_ip else "arp_op"] = proto, None
        for value, shift, ip_name, arp_name in (
            (nw_src, NW_SRC_SHIFT, "ipv4_src", "arp_spa"),
            (nw_dst, NW_DST_SHIFT, "ipv4_dst", "arp_tpa"),
        ):
            mask = _cidr_mask(wild, shift)
            if mask and (is_arp or eth_type == f.ETH_IPV4):
                found[arp_name if is_arp else ip_name] = value & mask, None if mask == _U32 else mask
        names = _l4_fields(eth_type, proto) if is_ip and not wild & OFPFW.NW_PROTO else None
        if names is not None:
            top = 0xFFFF if names[0] not in ("icmpv4_type", "icmpv6_type") else 0xFF
            for name, value, bit in zip(names, (tp_src, tp_dst), (OFPFW.TP_SRC, OFPFW.TP_DST), strict=True):
                if not wild & bit:
                    found[name] = value & top, None
        return Match.of(*(FieldMatch(_ROW[name], value, mask) for name, (value, mask) in found.items()))

    def write(self, value: Match, _version: int) -> bytes:
        """Write a match; EncodeError where 1.0 cannot say it."""
        writer = _Writer(value)
        data = writer.data()
        for name in writer.left:
            raise EncodeError(f"a match on {name} cannot be said in OpenFlow 1.0")
        return data


def _read_vlan(found: dict[str, tuple[int, int | None]], wild: int, vlan: int, pcp: int) -> None:
    if not wild & OFPFW.DL_VLAN and vlan == OFP_VLAN_NONE:
        found["vlan_vid"] = OFPVID_NONE, None
        return
    if not wild & OFPFW.DL_VLAN:
        found["vlan_vid"] = OFPVID_PRESENT | vlan & _VID_MASK, None
    elif not wild & OFPFW.DL_VLAN_PCP:
        found["vlan_vid"] = OFPVID_PRESENT, OFPVID_PRESENT
    if not wild & OFPFW.DL_VLAN_PCP:
        found["vlan_pcp"] = pcp & 7, None


class _Writer:
    """Takes what 1.0 can say out of `left`; `wild` are the wildcards of the rest."""

    def __init__(self, match: Match) -> None:
        self.left = {entry.field.name: entry for entry in match}
        self.wild = int(OFPFW.ALL & ~(OFPFW.NW_SRC_MASK | OFPFW.NW_DST_MASK))

    def data(self) -> bytes:
        """Return the 40 bytes."""
        known = {name: entry.value for name, entry in self.left.items() if entry.mask is None}
        names = _l4_fields(known.get("eth_type"), known.get("ip_proto")) or ("", "")
        body = (
            self.port(),
            self.exact("eth_src", OFPFW.DL_SRC).to_bytes(6, "big"),
            self.exact("eth_dst", OFPFW.DL_DST).to_bytes(6, "big"),
            *self.vlan(),
            self.exact("eth_type", OFPFW.DL_TYPE),
            self.exact("ip_dscp", OFPFW.NW_TOS) << 2,
            self.exact("ip_proto" if "ip_proto" in self.left else "arp_op", OFPFW.NW_PROTO, 0xFF),
            self.address(("ipv4_src", "arp_spa"), NW_SRC_SHIFT),
            self.address(("ipv4_dst", "arp_tpa"), NW_DST_SHIFT),
            self.exact(names[0], OFPFW.TP_SRC),
            self.exact(names[1], OFPFW.TP_DST),
        )
        return _MATCH.pack(self.wild, *body)

    def exact(self, name: str, bit: OFPFW, top: int = (1 << 48) - 1) -> int:
        """Take a field that has no mask and is at most `top`; 0 where there is none."""
        entry = self.left.get(name)
        if entry is None or entry.mask is not None or entry.value > top:
            return 0
        del self.left[name]
        self.wild &= ~bit
        return entry.value

    def port(self) -> int:
        """Take in_port."""
        entry = self.left.get("in_port")
        if entry is None:
            return 0
        try:
            port = port_to_10(entry.value)
        except EncodeError:
            return 0
        self.exact("in_port", OFPFW.IN_PORT)
        return port

    def vlan(self) -> tuple[int, int]:
        """Take vlan_vid and vlan_pcp: dl_vlan and dl_vlan_pcp."""
        vid = self.left.get("vlan_vid")
        if vid is None:
            return 0, 0
        if vid.mask is None:
            self.exact("vlan_vid", OFPFW.DL_VLAN)
            if vid.value == OFPVID_NONE:
                self.wild &= ~OFPFW.DL_VLAN_PCP
                return OFP_VLAN_NONE, 0
            return vid.value & _VID_MASK, self.exact("vlan_pcp", OFPFW.DL_VLAN_PCP)
        if (vid.value, vid.mask) == (OFPVID_PRESENT, OFPVID_PRESENT) and "vlan_pcp" in self.left:
            del self.left["vlan_vid"]
            return 0, self.exact("vlan_pcp", OFPFW.DL_VLAN_PCP)
        return 0, 0

    def address(self, names: tuple[str, str], shift: int) -> int:
        """Take an address with a prefix."""
        entry = self.left.get(names[0]) or self.left.get(names[1])
        mask = _U32 if entry is None or entry.mask is None else entry.mask
        if entry is None or not _is_cidr(mask):
            self.wild |= 32 << shift
            return 0
        del self.left[entry.field.name]
        self.wild |= (_U32 ^ mask).bit_length() << shift
        return entry.value


def nearest10(match: Match) -> Match:
    """Return the match without what 1.0 cannot say: it takes more packets."""
    writer = _Writer(match)
    writer.data()
    return Match(tuple(entry for entry in match if entry.field.name not in writer.left))


def write_nearest10(match: Match) -> bytes:
    """Write `nearest10(match)`."""
    return _Writer(match).data()


MATCH10 = Match10()
