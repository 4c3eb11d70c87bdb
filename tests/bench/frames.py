"""Headers of packets that a scenario makes itself: Ethernet, IPv4 and TCP or UDP with right lengths and header checksum."""

import struct
from dataclasses import dataclass

from .flowmods import IP, TCP

_IPV4 = struct.Struct("!BBHHHBBHII")
_TCP = struct.Struct("!HHIIBBHHH")
_UDP = struct.Struct("!HHHH")
SMALLEST = 64
"""Bytes of a frame with its check sequence, which a virtio ring does not carry."""
_FCS = 4


@dataclass(frozen=True, slots=True)
class Tuple5:
    """Addresses, protocol and ports of a packet, as numbers."""

    source: int
    destination: int
    protocol: int
    source_port: int
    destination_port: int


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071) of an even number of bytes."""
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def mac(port: int, host: int = 0) -> bytes:
    """The address of a host behind a port (from 1); host 0 is the generator's own."""
    return bytes((2, 0)) + host.to_bytes(2, "big") + port.to_bytes(2, "big")


def ether(source: int, destination: int) -> bytes:
    """Destination and source address of a frame from a port to a port."""
    return mac(destination) + mac(source)


def frame(addresses: bytes, flow: Tuple5, size: int = SMALLEST) -> bytes:
    """Give a frame of `size` bytes, its check sequence counted but not there; no checksum of UDP, a zero one of TCP."""
    size -= _FCS
    ip_length = size - 14
    ip = _IPV4.pack(0x45, 0, ip_length, 0, 0, 64, flow.protocol, 0, flow.source, flow.destination)
    ip = ip[:10] + checksum(ip).to_bytes(2, "big") + ip[12:]
    ports = flow.source_port, flow.destination_port
    tcp = _TCP.pack(*ports, 0, 0, 0x50, 0x10, 65535, 0, 0)
    l4 = tcp if flow.protocol == TCP else _UDP.pack(*ports, ip_length - 20, 0)
    return (addresses + IP.to_bytes(2, "big") + ip + l4).ljust(size, b"\0")
