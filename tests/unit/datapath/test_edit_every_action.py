"""Every action on a packet of every kind, against scapy doing the same: those it applies to, and those it does not."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import pytest
from edit_fields_of_scapy import ICMP_TYPES, NO_BYTES, NOT_SETTABLE, PLACES, TAGS, changed
from fakes.packet_zoo import ZOO, fragment, layers, visible
from scapy.contrib.mpls import MPLS
from scapy.layers.inet import IP
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6
from scapy.layers.ipsec import AH
from scapy.layers.l2 import SNAP, Dot1AH, Dot1Q, Dot3, Ether
from scapy.packet import Packet, Raw

from vswitchd.datapath import dp
from vswitchd.datapath.action import FIELDS as ROWS
from vswitchd.datapath.action import actions_array
from vswitchd.datapath.dp import ffi, lib

if TYPE_CHECKING:
    from collections.abc import Callable


def rows(*actions: dp.Action) -> Any:
    return actions_array(actions)


def edit(frame: bytes, *actions: dp.Action) -> bytes | None:
    room = len(frame) + 64
    buffer = ffi.new("uint8_t[]", room)
    ffi.memmove(buffer, frame, len(frame))
    n = lib.vs_edit_frame(buffer, len(frame), room, rows(*actions), len(actions))
    return bytes(buffer)[:n] if n >= 0 else None


def parsed(frame: bytes) -> Any:
    p = ffi.new("struct vs_packet *")
    lib.vs_packet_fill(p, frame, len(frame))
    lib.vs_parse(p, 0, ffi.new("struct vs_key *"), ffi.new("uint8_t *", 6))
    return p


def whole(p: Any) -> bytes:
    data = ffi.new("uint8_t[]", p.frame_len)
    assert lib.vs_packet_copy_out(p, data, p.frame_len) == p.frame_len
    return bytes(ffi.buffer(data))


def check(packet: Packet, action: dp.Action, want: bytes | None) -> None:
    """The action gives these bytes (None: it does not apply), and offsets that a parser would give."""
    frame = bytes(packet)
    p = parsed(frame)  # borrows the frame's tail
    done = lib.vs_edit_apply(p, rows(action))
    assert whole(p) == (frame if want is None else want), (packet.summary(), action)
    assert (done != 0) == (want is None)
    again = parsed(whole(p))
    assert (p.l3_ofs, p.l4_ofs, p.n_tags) == (again.l3_ofs, again.l4_ofs, again.n_tags)
    assert edit(frame, action) == want


# ---- set_field

FIELDS = [name for name in ROWS if name not in NOT_SETTABLE | NO_BYTES]
PATTERN = 0xA5C3_96E1_7B2D_4F58_0F1E_2D3C_4B5A_6978


@pytest.mark.parametrize("name", FIELDS)
def test_set_field(name: str) -> None:
    """A new field of the key is tested by itself: it needs a row in edit_fields_of_scapy.py."""
    bits, applied = ROWS[name].bits, 0
    ones = (1 << bits) - 1
    for packet in ZOO.values():
        if name == "ICMP_TYPE":
            value = next((ICMP_TYPES[type(p)] for p in visible(packet) if type(p) in ICMP_TYPES), 0)
            cases = [(value, ones)]
        elif name.endswith("TCI"):  # VID alone, as scapy has three attributes
            cases = [(PATTERN & 0xFFF, 0xFFF), (PATTERN & 0x0F0, 0x0F0)]
        else:
            cases = [(PATTERN & ones, ones), (PATTERN & ones & ~PATTERN >> 3, ones & ~PATTERN >> 3), (0, 0)]
        for value, mask in cases:
            if name == "ICMP_TYPE" and ICMPv6EchoRequest in packet and value == 0:
                continue
            want = changed(packet, name, value, mask)
            check(packet, dp.set_field(name, value, mask), want)
            applied += want is not None and want != bytes(packet)
    assert applied > 0


@pytest.mark.parametrize("name", sorted(NO_BYTES | NOT_SETTABLE))
def test_set_field_without_bytes(name: str) -> None:
    for packet in ZOO.values():
        want = bytes(packet) if name in NO_BYTES else None
        check(packet, dp.set_field(name, 1), want)


# ---- tags


def outer(packet: Packet, ethertype: int) -> Ether:
    return Ether(dst=packet.dst, src=packet.src, type=ethertype)


def type_of(frame: bytes) -> int:
    return int.from_bytes(frame[12:14], "big")


def first(packet: Packet, *kinds: type) -> Packet | None:
    return next((layer for layer in visible(packet) if isinstance(layer, kinds)), None)


def push_vlan(packet: Packet, tpid: int) -> bytes:
    tag, raw = first(packet, *TAGS), bytes(packet)
    new = Dot1Q(vlan=tag.vlan, prio=tag.prio) if tag else Dot1Q(vlan=0, prio=0)
    new.type = type_of(raw)
    return bytes(outer(packet, tpid) / new / Raw(raw[14:]))


def pop_vlan(packet: Packet) -> bytes | None:
    if not isinstance(packet.payload, TAGS):
        return None
    raw = bytes(packet)
    return bytes(outer(packet, type_of(raw[4:])) / Raw(raw[18:]))


def push_mpls(packet: Packet, ethertype: int) -> bytes:
    """5.12.1: from the outermost entry there is, the TTL else from IP; zero where there is neither."""
    old, ip = first(packet, MPLS), first(packet, IP, IPv6)
    new = MPLS(label=0, cos=0, s=1, ttl=0)
    if old:
        new = MPLS(label=old.label, cos=old.cos, s=int(packet.payload is not old), ttl=old.ttl)
    elif ip:
        new.ttl = ip.ttl if isinstance(ip, IP) else ip.hlim
    return bytes(outer(packet, ethertype) / new / Raw(bytes(packet)[14:]))


def pop_mpls(packet: Packet, ethertype: int) -> bytes | None:
    shim = first(packet, MPLS)
    if not shim:
        return None
    packet = packet.copy()
    shim = first(packet, MPLS)
    below = shim.underlayer
    rest = Raw(bytes(shim.payload))
    below.remove_payload()
    below.type = ethertype
    return bytes(packet / rest)


def push_pbb(packet: Packet) -> bytes:
    old, tag = first(packet, Dot1AH), first(packet, *TAGS)
    new = Dot1AH(isid=old.isid if old else 0, prio=tag.prio if tag else 0)
    return bytes(outer(packet, 0x88E7) / new / Raw(bytes(packet)))


def pop_pbb(packet: Packet) -> bytes | None:
    return bytes(packet.payload.payload) if isinstance(packet.payload, Dot1AH) else None


# ---- TTLs


def ttl_name(layer: Packet) -> str:
    return "hlim" if isinstance(layer, IPv6) else "ttl"


def with_ttl(packet: Packet, kinds: tuple[type, ...], ttl: Callable[[int], int | None]) -> bytes | None:
    packet = packet.copy()
    layer = first(packet, *kinds)
    if not layer:
        return None
    new = ttl(getattr(layer, ttl_name(layer)))
    if new is None:
        return None
    setattr(layer, ttl_name(layer), new)
    return bytes(packet)


def less(ttl: int) -> int | None:
    return ttl - 1 if ttl > 1 else None


def copy_ttl(packet: Packet, *, out: bool) -> bytes | None:
    packet = packet.copy()
    outermost = first(packet, MPLS, IP, IPv6)
    if outermost is None or fragment(packet):
        return None
    rest = layers(outermost.payload)
    while isinstance(outermost, IPv6) and ("ExtHdr" in type(rest[0]).__name__ or isinstance(rest[0], AH)):
        rest = rest[1:]
    if not rest or not isinstance(rest[0], MPLS | IP | IPv6):
        return None
    source, target = (rest[0], outermost) if out else (outermost, rest[0])
    setattr(target, ttl_name(target), getattr(source, ttl_name(source)))
    return bytes(packet)


IPS = (IP, IPv6)
ACTIONS: dict[str, tuple[dp.Action, Callable[[Packet], bytes | None]]] = {
    "push_vlan 8100": (dp.push_vlan(0x8100), lambda p: push_vlan(p, 0x8100)),
    "push_vlan 88a8": (dp.push_vlan(0x88A8), lambda p: push_vlan(p, 0x88A8)),
    "pop_vlan": (dp.pop_vlan(), pop_vlan),
    "push_mpls 8847": (dp.push_mpls(0x8847), lambda p: push_mpls(p, 0x8847)),
    "push_mpls 8848": (dp.push_mpls(0x8848), lambda p: push_mpls(p, 0x8848)),
    "pop_mpls 0800": (dp.pop_mpls(0x0800), lambda p: pop_mpls(p, 0x0800)),
    "pop_mpls 86dd": (dp.pop_mpls(0x86DD), lambda p: pop_mpls(p, 0x86DD)),
    "pop_mpls 8847": (dp.pop_mpls(0x8847), lambda p: pop_mpls(p, 0x8847)),
    "push_pbb": (dp.push_pbb(), push_pbb),
    "pop_pbb": (dp.pop_pbb(), pop_pbb),
    "set_ttl": (dp.set_ttl(77), lambda p: with_ttl(p, IPS, lambda _: 77)),
    "dec_ttl": (dp.dec_ttl(), lambda p: with_ttl(p, IPS, less)),
    "set_mpls_ttl": (dp.set_mpls_ttl(78), lambda p: with_ttl(p, (MPLS,), lambda _: 78)),
    "dec_mpls_ttl": (dp.dec_mpls_ttl(), lambda p: with_ttl(p, (MPLS,), less)),
    "copy_ttl_out": (dp.copy_ttl_out(), lambda p: copy_ttl(p, out=True)),
    "copy_ttl_in": (dp.copy_ttl_in(), lambda p: copy_ttl(p, out=False)),
}


@pytest.mark.parametrize("name", ACTIONS)
def test_action(name: str) -> None:
    action, want = ACTIONS[name]
    applied = [n for n, packet in ZOO.items() if want(packet) is not None]
    assert applied
    assert (len(applied) == len(ZOO)) == name.startswith("push")
    for packet in ZOO.values():
        if isinstance(packet, Dot3) and (name.startswith("push_mpls") or SNAP in packet):
            continue  # scapy has no such frame
        check(packet, action, want(packet))


def test_every_editing_action_is_tested() -> None:
    tested = {action.type for action, _ in ACTIONS.values()} | {lib.VS_ACT_SET_FIELD}
    others = {"OUTPUT", "GROUP", "DROP", "SET_QUEUE", "METER", "RECIRC"}
    names = {n for n in dir(lib) if n.startswith("VS_ACT_")}
    assert {getattr(lib, n) for n in names if n[7:] not in others} == tested
    assert set(FIELDS) == set(PLACES)


@pytest.mark.parametrize("room", [0, 3, 17])
def test_no_room(room: int) -> None:
    """Headroom that is too small for a push: refused, nothing changed."""
    frame = bytes(ZOO["vlan"])
    for action, need in ((dp.push_vlan(), 4), (dp.push_mpls(0x8847), 4), (dp.push_pbb(), 18)):
        p = parsed(frame)
        ffi.memmove(p.buf + room, frame, len(frame))
        p.data = p.buf + room
        assert lib.vs_edit_apply(p, rows(action)) == (0 if room >= need else -1)
        if room < need:
            assert whole(p) == frame


def test_long_tail_is_pulled_into_the_head() -> None:
    """Pops make the head shorter: what a parser may see is filled up from the tail."""
    frame = bytes(ZOO["pbb of a tagged frame"])
    p = parsed(frame)
    assert p.head_len == lib.VS_HEAD_COPY
    assert lib.vs_edit_apply(p, rows(dp.pop_pbb())) == 0
    assert (p.head_len, whole(p)) == (lib.VS_HEAD_COPY, frame[18:])
    for _ in range(20):
        if lib.vs_edit_apply(p, rows(dp.push_pbb())) != 0:
            break
    assert p.head_len <= lib.VS_HEAD_MAX
    assert whole(p).endswith(frame[18:])
