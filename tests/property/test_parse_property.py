"""vs_parse_frame against a plain reading of the same bytes, and against what scapy was told to build."""

from __future__ import annotations

import socket
import struct

from frame_strategies import ethernet, frames, u32
from hypothesis import given, settings
from hypothesis import strategies as st
from parse_reference import read
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.ipsec import AH
from scapy.layers.l2 import ARP, Dot1AD, Dot1Q

from vswitchd.datapath.dp import ffi, lib

MEMBERS = dict(ffi.typeof("struct vs_key").fields)


def parse(frame: bytes, in_port: int = 1) -> tuple[dict[str, bytes], list[int]]:
    """All members of the key that are not zero, by name, and l3, l4, tags. The key is dirty before."""
    key = ffi.new("struct vs_key *")
    ffi.memmove(key, b"\xa5" * ffi.sizeof("struct vs_key"), ffi.sizeof("struct vs_key"))
    offsets = ffi.new("uint16_t[3]")
    exact = ffi.new("uint8_t[]", frame)
    lib.vs_parse_frame(exact, len(frame), in_port, key, offsets)
    raw = bytes(ffi.buffer(key))
    members = {n: raw[m.offset : m.offset + ffi.sizeof(m.type)] for n, m in MEMBERS.items()}
    return {n: v for n, v in members.items() if any(v)}, list(offsets)


def agree(frame: bytes, in_port: int = 1) -> None:
    members, offsets = parse(frame, in_port)
    want = read(frame, in_port)
    assert members == {n: v for n, v in want.members.items() if any(v)}, frame.hex()
    assert offsets == [want.l3, want.l4, want.tags], frame.hex()


@settings(max_examples=250, deadline=None)
@given(frames, u32)
def test_whole_frames(frame: bytes, in_port: int) -> None:
    agree(frame, in_port)


@settings(max_examples=60, deadline=None)
@given(frames)
def test_every_truncation(frame: bytes) -> None:
    for n in range(min(len(frame), 200)):
        agree(frame[:n])


@settings(max_examples=250, deadline=None)
@given(frames, st.lists(st.tuples(st.integers(12, 120), st.integers(0, 255)), min_size=1, max_size=4))
def test_changed_bytes(frame: bytes, changes: list[tuple[int, int]]) -> None:
    broken = bytearray(frame)
    for at, value in changes:
        if at < len(broken):
            broken[at] = value
    agree(bytes(broken))


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=120))
def test_random_bytes(frame: bytes) -> None:
    agree(frame)
    agree(frame[:12] + b"\x08\x00\x45" + frame[12:])
    agree(frame[:12] + b"\x86\xdd\x60" + frame[12:])


@settings(max_examples=100, deadline=None)
@given(ethernet)
def test_what_scapy_built(packet) -> None:  # type: ignore[no-untyped-def]
    """The reference itself could be wrong where the code is: fields straight from scapy's layers."""
    members, _ = parse(bytes(packet))

    def get(name: str, size: int) -> int:
        return int.from_bytes(members.get(name, bytes(size)), "big")

    outer = packet.payload
    if isinstance(outer, Dot1Q | Dot1AD):
        if str(packet.layers()).count("Dot1") > 2:
            return
        assert get("vlan_tci", 2) == outer.prio << 13 | 0x1000 | outer.vlan
    if IP in packet:
        ip = packet[IP]
        assert get("eth_type", 2) == 0x800
        assert members.get("ipv4_src", bytes(4)) == socket.inet_aton(ip.src)
        assert members.get("ipv4_dst", bytes(4)) == socket.inet_aton(ip.dst)
        assert (get("ip_tos", 1), get("ip_ttl", 1)) == (ip.tos, ip.ttl)
        if not ip.frag and len(ip.options) < 10:
            check_l4(packet, get)
    elif IPv6 in packet:
        ip6 = packet[IPv6]
        assert members.get("ipv6_src", bytes(16)) == socket.inet_pton(socket.AF_INET6, ip6.src)
        assert members.get("ipv6_dst", bytes(16)) == socket.inet_pton(socket.AF_INET6, ip6.dst)
        assert (get("ip_tos", 1), get("ip_ttl", 1), get("ipv6_flabel", 4)) == (ip6.tc, ip6.hlim, ip6.fl)
        # Scapy leaves the next header of AH at 0, whatever follows.
        if len(packet.layers()) <= 6 and "Fragment" not in str(packet.layers()) and AH not in packet:
            check_l4(packet, get)
    elif ARP in packet:
        arp = packet[ARP]
        assert get("arp_op", 2) == arp.op
        assert members.get("ipv4_src", bytes(4)) == socket.inet_aton(arp.psrc)
        assert get("arp_tha", 6) == int(arp.hwdst.replace(":", ""), 16)


def check_l4(packet, get) -> None:  # type: ignore[no-untyped-def]
    whole = bytes(packet)
    for kind in (TCP, UDP):
        if kind in packet and whole.index(bytes(packet[kind])) + 20 <= 192:
            assert (get("tp_src", 2), get("tp_dst", 2)) == (packet[kind].sport, packet[kind].dport)
    if TCP in packet:
        flags = struct.unpack_from(">H", bytes(packet[TCP]), 12)[0] & 0xFFF
        assert get("tcp_flags", 2) in (flags, 0)
    if ICMP in packet:
        assert (get("tp_src", 2), get("tp_dst", 2)) == (packet[ICMP].type, packet[ICMP].code)
