"""A frame that a match takes, made up where the match says nothing: what a trace of a flow sends."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from vswitchd.ofproto import fields as f
from vswitchd.ofproto.constants import OFPVID_PRESENT

if TYPE_CHECKING:
    from vswitchd.ofproto.oxm import Match

DEFAULT_TTL = 64
_PAYLOAD = bytes(32)
_ND_KINDS = {135: ("ipv6_nd_sll", 1), 136: ("ipv6_nd_tll", 2)}  # RFC 4861, 4.3 and 4.4
_EXTHDR = {1: 59, 2: 50, 4: 51, 8: 60, 16: 44, 32: 43, 64: 0}  # OFPIEH_* bits to next-header numbers
_ESP_AH = 2 | 4
_MIN_LEN = 60


class _Values:
    """The values of a match, 0 (or a default) for what it does not have. Bits that a mask leaves open are 0."""

    def __init__(self, match: Match) -> None:
        self._found = {entry.field.name: entry.value for entry in match}

    def __call__(self, name: str, default: int = 0) -> int:
        return self._found.get(name, default)

    def octets(self, name: str, size: int) -> bytes:
        return self(name).to_bytes(size, "big")


def compose(match: Match) -> bytes:
    """Return a frame; its checksums are right and its length is at least 60 bytes.

    ValueError for what no frame can be made of: extension headers that are encrypted or none at all.
    """
    v = _Values(match)
    frame = v.octets("eth_dst", 6) + v.octets("eth_src", 6)
    if v("vlan_vid") & OFPVID_PRESENT:
        frame += struct.pack("!HH", f.ETH_VLAN, v("vlan_pcp") << 13 | v("vlan_vid") & 0xFFF)
    eth_type = v("eth_type")
    if eth_type < 0x600:  # 802.3: LLC without SNAP
        payload = b"\xaa\xaa\x03\x00\x00\x01" + _PAYLOAD
        return (frame + struct.pack("!H", len(payload)) + payload).ljust(_MIN_LEN, b"\0")
    return (frame + struct.pack("!H", eth_type) + _layer3(eth_type, v)).ljust(_MIN_LEN, b"\0")


def _layer3(eth_type: int, v: _Values) -> bytes:
    if eth_type == f.ETH_IPV4:
        return _ipv4(v)
    if eth_type == f.ETH_IPV6:
        return _ipv6(v)
    if eth_type in (f.ETH_ARP, f.ETH_RARP):
        head = struct.pack("!HHBBH", 1, f.ETH_IPV4, 6, 4, v("arp_op", 1))
        ends = ("arp_sha", 6), ("arp_spa", 4), ("arp_tha", 6), ("arp_tpa", 4)
        return head + b"".join(v.octets(name, size) for name, size in ends)
    if eth_type in (f.ETH_MPLS, f.ETH_MPLS_MC):
        entry = v("mpls_label") << 12 | v("mpls_tc") << 9 | v("mpls_bos", 1) << 8 | DEFAULT_TTL
        below = b"" if v("mpls_bos", 1) else struct.pack("!I", 1 << 8 | DEFAULT_TTL)
        return struct.pack("!I", entry) + below + _PAYLOAD
    if eth_type == f.ETH_PBB:
        return struct.pack("!I", v("pbb_isid")) + v.octets("eth_dst", 6) + v.octets("eth_src", 6) + _PAYLOAD
    return _PAYLOAD


def _ipv4(v: _Values) -> bytes:
    ends = v.octets("ipv4_src", 4) + v.octets("ipv4_dst", 4)
    proto = v("ip_proto", 253)  # for experiments (RFC 3692)
    body = _layer4(proto, v, ends)
    tos = v("ip_dscp") << 2 | v("ip_ecn")
    head = (
        struct.pack("!BBHHHBBH", 0x45, tos, 20 + len(body), 0, 0, v("nw_ttl", DEFAULT_TTL), proto, 0) + ends
    )
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + body


def _ipv6(v: _Values) -> bytes:
    ends = v.octets("ipv6_src", 16) + v.octets("ipv6_dst", 16)
    proto = v("ip_proto", 253)
    body = _layer4(proto, v, ends)
    extensions = v("ipv6_exthdr")
    if extensions & (_ESP_AH | 1):
        raise ValueError(
            "ipv6_exthdr: no frame is made up with these extension headers; give the packet in hex"
        )
    following = proto
    for bit, number in _EXTHDR.items():  # built from the last to the first
        if extensions & bit:
            options = b"\x01\x04\0\0\0\0" if number != 44 else b"\0" * 6
            body = bytes([following, 0]) + options + body
            following = number
    tos = v("ip_dscp") << 2 | v("ip_ecn")
    first = 6 << 28 | tos << 20 | v("ipv6_flabel")
    return struct.pack("!IHBB", first, len(body), following, v("nw_ttl", DEFAULT_TTL)) + ends + body


def _layer4(proto: int, v: _Values, ends: bytes) -> bytes:
    """Return header and payload, the checksum over the pseudo-header of `ends` filled in."""
    at = 0
    if proto == f.IP_TCP:
        flags = v("tcp_flags") or 0x10
        body = struct.pack("!HHIIHHHH", v("tcp_src"), v("tcp_dst"), 0, 0, 5 << 12 | flags, 65535, 0, 0)
        at = 16
    elif proto == f.IP_UDP:
        body = struct.pack("!HHHH", v("udp_src"), v("udp_dst"), 8 + len(_PAYLOAD), 0)
        at = 6
    elif proto == f.IP_SCTP:  # its CRC is left out: nobody looks at it here
        return struct.pack("!HHII", v("sctp_src"), v("sctp_dst"), 0, 0) + _PAYLOAD
    elif proto == f.IP_ICMP and len(ends) == 8:
        body = struct.pack("!BBHI", v("icmpv4_type"), v("icmpv4_code"), 0, 0)
        at, ends = 2, b""
    elif proto == f.IP_ICMPV6 and len(ends) == 32:
        body = struct.pack("!BBHI", v("icmpv6_type"), v("icmpv6_code"), 0, 0) + _neighbour(v)
        at = 2
    else:
        return _PAYLOAD
    body += _PAYLOAD if len(body) <= 20 else b""
    pseudo = ends + struct.pack("!II", len(body), proto) if ends else b""
    summed = checksum(pseudo + body)
    return body[:at] + struct.pack("!H", summed or 0xFFFF) + body[at + 2 :]


def _neighbour(v: _Values) -> bytes:
    """Return the target and the one option of a neighbour solicitation or advertisement."""
    name, number = _ND_KINDS.get(v("icmpv6_type"), ("", 0))
    if not name:
        return b""
    option = bytes([number, 1]) + v.octets(name, 6) if v(name) else b""
    return v.octets("ipv6_nd_target", 16) + option


def checksum(data: bytes) -> int:
    """Return the Internet checksum (RFC 1071)."""
    words = struct.unpack(f"!{(len(data) + 1) // 2}H", data + b"\0" * (len(data) % 2))
    total: int = sum(words)
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF
