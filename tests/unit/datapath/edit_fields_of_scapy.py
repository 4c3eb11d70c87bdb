"""Each field that can be set: where scapy has it, so that a test can make the same change there."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fakes.packet_zoo import fragment, visible
from scapy.contrib.mpls import MPLS
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import (
    ICMPv6EchoRequest,
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6NDOptDstLLAddr,
    ICMPv6NDOptSrcLLAddr,
    IPv6,
)
from scapy.layers.l2 import ARP, Dot1AD, Dot1AH, Dot1Q, Dot3, Ether
from scapy.layers.sctp import SCTP

if TYPE_CHECKING:
    from collections.abc import Callable

    from scapy.packet import Packet

NOT_SETTABLE = {
    "IN_PORT", "ETH_TYPE", "IP_PROTO", "IPV6_EXTHDR", "IP_FRAG", "TCP_FLAGS", "BRIDGE",
}  # fmt: skip
NO_BYTES = {"METADATA", "TUNNEL_ID"}


@dataclass(frozen=True)
class Place:
    """The bits `shift` .. of an attribute of the first layer of these types."""

    types: tuple[type, ...]
    attr: str
    bits: int
    shift: int = 0
    form: str = "int"
    index: int = 0

    def find(self, packet: Packet) -> Packet | None:
        found = [layer for layer in visible(packet) if type(layer) in self.types]
        return found[self.index] if len(found) > self.index else None


TAGS = (Dot1Q, Dot1AD)
ECHO6, ND = (ICMPv6EchoRequest, ICMPv6ND_NS, ICMPv6ND_NA), (ICMPv6ND_NS, ICMPv6ND_NA)
PLACES: dict[str, tuple[Place, ...]] = {
    "ETH_DST": (Place((Ether, Dot3), "dst", 48, form="mac"),),
    "ETH_SRC": (Place((Ether, Dot3), "src", 48, form="mac"),),
    "VLAN_VID": (Place(TAGS, "vlan", 12),),
    "VLAN_PCP": (Place(TAGS, "prio", 3),),
    "VLAN_TCI": (Place(TAGS, "vlan", 12),),
    "VLAN2_TCI": (Place(TAGS, "vlan", 12, index=1),),
    "IP_DSCP": (Place((IP,), "tos", 6, 2), Place((IPv6,), "tc", 6, 2)),
    "IP_ECN": (Place((IP,), "tos", 2), Place((IPv6,), "tc", 2)),
    "IP_TTL": (Place((IP,), "ttl", 8), Place((IPv6,), "hlim", 8)),
    "IPV4_SRC": (Place((IP,), "src", 32, form="ip"),),
    "IPV4_DST": (Place((IP,), "dst", 32, form="ip"),),
    "TP_SRC": (Place((TCP, UDP, SCTP), "sport", 16),),
    "TP_DST": (Place((TCP, UDP, SCTP), "dport", 16),),
    "ARP_OP": (Place((ARP,), "op", 16),),
    "ARP_SPA": (Place((ARP,), "psrc", 32, form="ip"),),
    "ARP_TPA": (Place((ARP,), "pdst", 32, form="ip"),),
    "ARP_SHA": (Place((ARP,), "hwsrc", 48, form="mac"),),
    "ARP_THA": (Place((ARP,), "hwdst", 48, form="mac"),),
    "IPV6_SRC": (Place((IPv6,), "src", 128, form="ip"),),
    "IPV6_DST": (Place((IPv6,), "dst", 128, form="ip"),),
    "IPV6_FLABEL": (Place((IPv6,), "fl", 20),),
    "ICMP_TYPE": (Place((ICMP,), "type", 0), Place(ECHO6, "type", 0)),
    "ICMP_CODE": (Place((ICMP,), "code", 8), Place(ECHO6, "code", 8)),
    "ND_TARGET": (Place(ND, "tgt", 128, form="ip"),),
    "ND_SLL": (Place((ICMPv6NDOptSrcLLAddr,), "lladdr", 48, form="mac"),),
    "ND_TLL": (Place((ICMPv6NDOptDstLLAddr,), "lladdr", 48, form="mac"),),
    "MPLS_LABEL": (Place((MPLS,), "label", 20),),
    "MPLS_TC": (Place((MPLS,), "cos", 3),),
    "MPLS_BOS": (Place((MPLS,), "s", 1),),
    "PBB_ISID": (Place((Dot1AH,), "isid", 24),),
}
ICMP_TYPES = {ICMP: 0, ICMPv6EchoRequest: 129, ICMPv6ND_NS: 136, ICMPv6ND_NA: 135}

READ: dict[str, Callable[[Any], int]] = {
    "int": int,
    "mac": lambda text: int(text.replace(":", ""), 16),
    "ip": lambda text: int(ipaddress.ip_address(text)),
}


def _write(form: str, bits: int, value: int) -> Any:
    if form == "mac":
        return value.to_bytes(6, "big").hex(":")
    if form == "ip":
        return str(ipaddress.IPv4Address(value) if bits == 32 else ipaddress.IPv6Address(value))
    return value


def changed(packet: Packet, name: str, value: int, mask: int) -> bytes | None:
    """What scapy makes of the packet with the field set, all checksums anew; None when it has no such field."""
    if name.startswith("TP") and fragment(packet) and any(isinstance(p, SCTP) for p in visible(packet)):
        return None
    packet = packet.copy()
    for place in PLACES[name]:
        layer = place.find(packet)
        if layer is None:
            continue
        old = READ[place.form](getattr(layer, place.attr))
        bits, put = mask << place.shift, (value & mask) << place.shift
        if name == "VLAN_VID":
            bits, put = bits & 0xFFF, put & 0xFFF
        setattr(layer, place.attr, _write(place.form, place.bits, (old & ~bits) | put))
        return bytes(packet)
    return None
