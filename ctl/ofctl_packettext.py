"""A packet as one line of flow text, as ovs-ofctl prints packet-ins: `arp,vlan_tci=0x0000,dl_src=...`.

A packet that is cut short is described as far as it goes; what is missing of a header counts as zero. Pure
functions of bytes; never raise.
"""

from __future__ import annotations

from typing import NamedTuple

from vswitchd.ofproto.fields import (
    ETH_ARP,
    ETH_IPV4,
    ETH_IPV6,
    ETH_MPLS,
    ETH_MPLS_MC,
    ETH_QINQ,
    ETH_RARP,
    ETH_VLAN,
    IP_ICMP,
    IP_ICMPV6,
    IP_SCTP,
    IP_TCP,
    IP_UDP,
)
from vswitchd.ofproto.flowmatch import SHORTHAND
from vswitchd.ofproto.flowvalues import TCP_FLAGS, address_text, mac_text

_NAMES = {pair: name for name, pair in SHORTHAND.items() if name != "ip6"}
_EXTENSIONS = (0, 43, 60, 135)  # IPv6 headers that are skipped: 8-byte units in their second byte
_FRAGMENT = 44
_AUTHENTICATION = 51
_IP_IGMP = 2
_LLC_SNAP = b"\xaa\xaa\x03\x00\x00\x00"
_NO_TYPE = 0x05FF  # Open vSwitch's dl_type of a frame with an 802.2 header
# Protocol -> (name of its checksum, offset, bytes, least size of the header).
_CHECKSUMS = {
    IP_TCP: ("tcp", 16, 2, 20),
    IP_UDP: ("udp", 6, 2, 8),
    IP_SCTP: ("sctp", 8, 4, 12),
    IP_ICMP: ("icmp", 2, 2, 8),
    IP_ICMPV6: ("icmp6", 2, 2, 4),
}


class _Ip(NamedTuple):
    """What of an IP header is printed, and its payload; `frag`: no, first or later."""

    addresses: str
    proto: int
    tos: int
    ttl: int
    frag: str
    payload: bytes
    whole: bool


def _uint(data: bytes, at: int, size: int) -> int:
    """Return a number; bytes that are not there count as zero."""
    return int.from_bytes(data[at : at + size].ljust(size, b"\0"), "big")


def packet_text(data: bytes) -> str:
    """Describe an Ethernet frame."""
    if len(data) < 14:
        return f"vlan_tci=0x0000,dl_src={mac_text(0)},dl_dst={mac_text(0)},dl_type=0x0000"
    tags, eth_type, payload = _ethernet(data)
    macs = f"{_vlans(tags)},dl_src={mac_text(_uint(data, 6, 6))},dl_dst={mac_text(_uint(data, 0, 6))}"
    if eth_type == ETH_IPV4:
        return _ip_text(eth_type, macs, _ipv4(payload))
    if eth_type == ETH_IPV6:
        return _ip_text(eth_type, macs, _ipv6(payload))
    if eth_type in (ETH_ARP, ETH_RARP):
        return f"{_NAMES[eth_type, None]},{macs},{_arp(payload)}"
    if eth_type in (ETH_MPLS, ETH_MPLS_MC):
        return f"{_NAMES[eth_type, None]},{macs},{_mpls(payload)}"
    return f"{macs},dl_type={eth_type:#06x}"


def _ethernet(data: bytes) -> tuple[list[int], int, bytes]:
    """Return the TCIs of at most two tags, the type and the payload."""
    at = 12
    tags: list[int] = []
    while len(tags) < 2 and _uint(data, at, 2) in (ETH_VLAN, ETH_QINQ) and len(data) >= at + 6:
        tags.append(_uint(data, at + 2, 2))
        at += 4
    eth_type = _uint(data, at, 2)
    if eth_type >= 0x0600:
        return tags, eth_type, data[at + 2 :]
    if data[at + 2 : at + 8] == _LLC_SNAP and _uint(data, at + 8, 2) >= 0x0600:
        return tags, _uint(data, at + 8, 2), data[at + 10 :]
    return tags, _NO_TYPE, b""


def _vlans(tags: list[int]) -> str:
    words = [f"dl_vlan{n or ''}={tci & 0xFFF},dl_vlan_pcp{n or ''}={tci >> 13}" for n, tci in enumerate(tags)]
    if len(tags) < 2:
        words.append(f"vlan_tci{len(tags) or ''}=0x0000")
    return ",".join(words)


def _arp(data: bytes) -> str:
    whole = len(data) >= 28 and data[:6] == bytes.fromhex("000108000604")
    data = data if whole else b""
    return (
        f"arp_spa={address_text(_uint(data, 14, 4), 4)},arp_tpa={address_text(_uint(data, 24, 4), 4)},"
        f"arp_op={_uint(data, 6, 2)},arp_sha={mac_text(_uint(data, 8, 6))},"
        f"arp_tha={mac_text(_uint(data, 18, 6))}"
    )


def _mpls(data: bytes) -> str:
    word = _uint(data, 0, 4)
    return f"mpls_label={word >> 12},mpls_tc={word >> 9 & 7},mpls_ttl={word & 0xFF},mpls_bos={word >> 8 & 1}"


def _ipv4(data: bytes) -> _Ip:
    size = (data[0] & 15) * 4 if data else 0
    total = _uint(data, 2, 2)
    whole = len(data) >= 20 and data[0] >> 4 == 4 and 20 <= size <= total <= len(data)
    if not whole:
        data, size, total = b"", 0, 0
    addresses = f"nw_src={address_text(_uint(data, 12, 4), 4)},nw_dst={address_text(_uint(data, 16, 4), 4)}"
    offset = _uint(data, 6, 2)
    frag = "later" if offset & 0x1FFF else "first" if offset & 0x2000 else "no"
    return _Ip(
        addresses, _uint(data, 9, 1), _uint(data, 1, 1), _uint(data, 8, 1), frag, data[size:total], whole
    )


def _ipv6(data: bytes) -> _Ip:
    whole = len(data) >= 40 and data[0] >> 4 == 6 and 40 + _uint(data, 4, 2) <= len(data)
    if not whole:
        data = b""
    word = _uint(data, 0, 4)
    addresses = (
        f"ipv6_src={address_text(_uint(data, 8, 16), 6)},ipv6_dst={address_text(_uint(data, 24, 16), 6)},"
        f"ipv6_label={word & 0xFFFFF:#07x}"
    )
    proto, at, frag = _uint(data, 6, 1), 40, "no"
    end = 40 + _uint(data, 4, 2)
    while (proto in _EXTENSIONS or proto in (_FRAGMENT, _AUTHENTICATION)) and at + 8 <= end and frag == "no":
        size = (_uint(data, at + 1, 1) + 1) * 8
        if proto == _FRAGMENT:
            size = 8
            offset = _uint(data, at + 2, 2)
            frag = "later" if offset & 0xFFF8 else "first" if offset & 1 else "no"
        elif proto == _AUTHENTICATION:
            size = (_uint(data, at + 1, 1) + 2) * 4
        proto = _uint(data, at, 1)
        at += size
    return _Ip(addresses, proto, word >> 20 & 0xFF, _uint(data, 7, 1), frag, data[min(at, end) : end], whole)


def _ip_text(eth_type: int, macs: str, ip: _Ip) -> str:
    name = _NAMES.get((eth_type, ip.proto)) if ip.whole else None
    proto = "" if name else f"nw_proto={ip.proto},"
    tos = f"{proto}nw_tos={ip.tos & 0xFC},nw_ecn={ip.tos & 3},nw_ttl={ip.ttl},nw_frag={ip.frag}"
    ports = "" if ip.frag == "later" else _ports(eth_type, ip)
    return (
        f"{name or _NAMES[eth_type, None]},{macs},{ip.addresses},{tos}{ports}"
        f"{_checksum(ip.proto, ip.payload) if ip.whole else ''}"
    )


def _ports(eth_type: int, ip: _Ip) -> str:
    """Describe the transport header."""
    data = ip.payload
    if (eth_type, ip.proto) in ((ETH_IPV4, IP_ICMP), (ETH_IPV6, IP_ICMPV6)):
        icmp = f",icmp_type={_uint(data, 0, 1)},icmp_code={_uint(data, 1, 1)}"
        return icmp + (_neighbour(data) if ip.proto == IP_ICMPV6 else "")
    if (eth_type, ip.proto) == (ETH_IPV4, _IP_IGMP):
        return f",tp_src={_uint(data, 0, 1)},tp_dst={_uint(data, 1, 1)}"
    if ip.proto not in (IP_TCP, IP_UDP, IP_SCTP):
        return ""
    text = f",tp_src={_uint(data, 0, 2)},tp_dst={_uint(data, 2, 2)}"
    if ip.proto == IP_TCP:
        flags = _uint(data, 12, 2) & 0xFFF
        names = [name for bit, name in enumerate(TCP_FLAGS) if flags >> bit & 1]
        text += f",tcp_flags={'|'.join(names) or '0'}"
    return text


def _neighbour(data: bytes) -> str:
    """Describe a neighbour solicitation (135) or advertisement (136) with its link-layer address (RFC 4861)."""
    if _uint(data, 0, 1) not in (135, 136) or _uint(data, 1, 1) or len(data) < 24:
        return ""
    macs = {1: 0, 2: 0}
    at = 24
    while at + 8 <= len(data) and data[at + 1]:
        if data[at] in macs and data[at + 1] == 1:
            macs[data[at]] = _uint(data, at + 2, 6)
        at += data[at + 1] * 8
    return (
        f",nd_target={address_text(_uint(data, 8, 16), 6)},nd_sll={mac_text(macs[1])},"
        f"nd_tll={mac_text(macs[2])}"
    )


def _checksum(proto: int, data: bytes) -> str:
    row = _CHECKSUMS.get(proto)
    if row is None or len(data) < row[3]:
        return ""
    name, at, size, _ = row
    return f" {name}_csum:{_uint(data, at, size):x}"


def hex_dump(data: bytes) -> str:
    """Write bytes in lines of sixteen, as --more does."""
    lines = []
    for at in range(0, len(data), 16):
        row = data[at : at + 16]
        left, right = row[:8].hex(" "), row[8:].hex(" ")
        lines.append(f"{at:08x}  {left}{f'-{right}' if right else ''}\n")
    return "".join(lines)
