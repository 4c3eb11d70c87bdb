"""What a driver with offloads hands over: frames with a partial checksum, and struct virtio_net_hdr (VIRTIO 1.2, 5.1.6)."""

from __future__ import annotations

import ipaddress
import struct
from dataclasses import dataclass, replace

from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.packet import NoPayload, Packet, Raw

HEADER = struct.Struct("<BBHHHHH")
NEEDS_CSUM, DATA_VALID = 1, 2
TCPV4, UFO, TCPV6, UDP_L4, ECN = 1, 3, 4, 5, 0x80


@dataclass(frozen=True)
class Wish:
    """struct virtio_net_hdr."""

    flags: int = 0
    gso_type: int = 0
    hdr_len: int = 0
    gso_size: int = 0
    csum_start: int = 0
    csum_offset: int = 0
    num_buffers: int = 0

    def __bytes__(self) -> bytes:
        return HEADER.pack(
            self.flags,
            self.gso_type,
            self.hdr_len,
            self.gso_size,
            self.csum_start,
            self.csum_offset,
            self.num_buffers,
        )

    @classmethod
    def read(cls, data: bytes) -> Wish:
        """From the header of a ring; one of 10 bytes has no num_buffers."""
        return cls(*HEADER.unpack(data.ljust(12, b"\0")))

    def but(self, **changed: int) -> Wish:
        """The same with some fields changed."""
        return replace(self, **changed)


def ones_sum(data: bytes) -> int:
    """RFC 1071, not complemented."""
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def lower(stack: Packet) -> tuple[Packet, Packet, int]:
    """The innermost IP layer, the TCP or UDP layer behind it, and where that starts."""
    l4 = stack[TCP] if TCP in stack else stack[UDP]
    ip = stack[IP] if IP in stack else stack[IPv6]
    return ip, l4, len(bytes(stack)) - len(bytes(l4))


def final_destination(ip: Packet) -> str:
    """The address in the pseudo header (RFC 8200, 8.1)."""
    layer = ip.payload
    while not isinstance(layer, (NoPayload, TCP, UDP)):
        if getattr(layer, "segleft", 0):
            return str(layer.addresses[-1])
        layer = layer.payload
    return str(ip.dst)


def pseudo(ip: Packet, proto: int, length: int) -> bytes:
    """The pseudo header of RFC 793 or RFC 8200."""
    if isinstance(ip, IP):
        source, target = (ipaddress.ip_address(a).packed for a in (ip.src, ip.dst))
        return source + target + struct.pack(">HH", proto, length)
    source, target = (ipaddress.ip_address(a).packed for a in (ip.src, final_destination(ip)))
    return source + target + struct.pack(">II", length, proto)


def partial(stack: Packet) -> tuple[bytes, Wish]:
    """The frame with the sum of the pseudo header in place of TCP's or UDP's checksum, and the wish to complete it."""
    ip, l4, start = lower(stack)
    proto, offset = (6, 16) if isinstance(l4, TCP) else (17, 6)
    raw = bytearray(bytes(stack))
    at = start + offset
    raw[at : at + 2] = ones_sum(pseudo(ip, proto, len(raw) - start)).to_bytes(2, "big")
    return bytes(raw), Wish(NEEDS_CSUM, csum_start=start, csum_offset=offset)


def segmentable(stack: Packet, size: int, *, ecn: bool = False) -> tuple[bytes, Wish]:
    """The same, to be cut into segments of `size` bytes of payload."""
    frame, wish = partial(stack)
    ip, l4, start = lower(stack)
    udp = isinstance(l4, UDP)
    kind = UDP_L4 if udp else TCPV4 if isinstance(ip, IP) else TCPV6
    length = start + (8 if udp else (frame[start + 12] >> 4) * 4)
    return frame, wish.but(gso_type=kind | (ECN if ecn else 0), gso_size=size, hdr_len=length)


def segments(stack: Packet, size: int) -> list[bytes]:
    """What segmentation yields, each made by scapy with checksums of its own."""
    data, out = bytes(stack[Raw]) if Raw in stack else b"", []
    for i, at in enumerate(range(0, max(len(data), 1), size)):
        part = stack.copy()
        last = at + size >= len(data)
        if IP in part:
            part[IP].id = (part[IP].id + i) & 0xFFFF
        if TCP in part:
            flags = str(part[TCP].flags)
            flags = flags if last else flags.replace("F", "").replace("P", "")
            part[TCP].flags = flags if i == 0 else flags.replace("C", "")
            part[TCP].seq = (part[TCP].seq + at) & 0xFFFFFFFF
        if Raw in part:
            part[Raw].load = data[at : at + size]
        out.append(bytes(part))
    return out


def finish(frame: bytes, wish: Wish) -> bytes:
    """Complete a partial checksum, as the receiver's stack does."""
    if not wish.flags & NEEDS_CSUM:
        return frame
    at = wish.csum_start + wish.csum_offset
    value = (ones_sum(frame[wish.csum_start :]) ^ 0xFFFF) or 0xFFFF
    return frame[:at] + value.to_bytes(2, "big") + frame[at + 2 :]
