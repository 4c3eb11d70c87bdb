"""Frames for NICs: of any bytes, of flows, with checksums to be completed."""

from __future__ import annotations

from typing import Any

from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether

from fakes.nic_models import Nic

MAC, OTHER = "02:00:00:00:00:01", "02:00:00:00:00:99"
ALL = 0xFFFFFFFF
"""Of features_off: none is used."""


def frame(size: int, seed: int = 0) -> bytes:
    """A frame of any bytes, to our MAC, of no protocol that anybody knows."""
    head = bytes.fromhex("02000000000102000000009988b5")
    return (head + bytes((i * 7 + seed) & 255 for i in range(size)))[:size]


def flow(number: int, *, back: bool = False, payload: int = 30) -> bytes:
    """A UDP packet of one of many flows, or of its other direction."""
    ends = (f"10.0.{number // 200}.{number % 200 + 1}", "10.9.0.1"), (1000 + number, 2000)
    (a, b), (s, d) = (ends[0][::-1], ends[1][::-1]) if back else ends
    return bytes(Ether(src=OTHER, dst=MAC) / IP(src=a, dst=b) / UDP(sport=s, dport=d) / bytes(payload))


def sent(nic: Nic) -> list[bytes]:
    """What went out, without the padding that a device may add."""
    return [data for _queue, data in nic.taken()]


def layers(proto: str, version: int, tags: int) -> Any:
    """Headers of a TCP or UDP packet."""
    packet = Ether(src=OTHER, dst=MAC)
    data = bytes(packet)[:12] + b"\x81\x00\x00\x05" * tags
    ip = IP(src="10.0.0.1", dst="10.0.0.2", id=7) if version == 4 else IPv6(src="fd00::1", dst="fd00::2")
    l4 = TCP(sport=1, dport=2, seq=1000, flags="PA") if proto == "tcp" else UDP(sport=1, dport=2)
    return data, ip, l4


def partial(proto: str, version: int, tags: int, payload: bytes) -> tuple[bytes, bytes, int, int, int]:
    """A frame whose checksum is to be completed, the finished one, and csum_start, csum_offset, header length."""
    head, ip, l4 = layers(proto, version, tags)
    kind = b"\x08\x00" if version == 4 else b"\x86\xdd"
    whole = head + kind + bytes(ip / l4 / payload)
    start = len(head) + 2 + len(bytes(ip))
    offset = 16 if proto == "tcp" else 6
    addresses = whole[start - 8 : start] if version == 4 else whole[start - 32 : start]
    total = sum(int.from_bytes(addresses[i : i + 2], "big") for i in range(0, len(addresses), 2))
    total += (6 if proto == "tcp" else 17) + len(whole) - start
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    raw = whole[: start + offset] + total.to_bytes(2, "big") + whole[start + offset + 2 :]
    return raw, whole, start, offset, start + (20 if proto == "tcp" else 8)
