"""A slow, plain reading of a frame into flow-key members: what vs_parse must agree with.

Written from the protocol documents, layer by layer, over slices of bytes; shares nothing with the C code.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

NONE = 0xFFFF
HEAD = 192
TAGS = (0x8100, 0x88A8)


@dataclass
class Reading:
    """Members of struct vs_key by name (absent ones are zero), and the offsets."""

    members: dict[str, bytes] = field(default_factory=dict)
    l3: int = NONE
    l4: int = NONE
    tags: int = 0


def be16(data: bytes, at: int) -> int:
    return struct.unpack_from(">H", data, at)[0]


def read(frame: bytes, in_port: int) -> Reading:
    """Read the first HEAD bytes of a frame."""
    data = frame[:HEAD]
    r = Reading({"in_port": struct.pack(">I", in_port)})
    if len(data) < 14:
        return r
    r.members["eth_dst"], r.members["eth_src"] = data[:6], data[6:12]
    at = 12
    tcis = []
    while be16(data, at) in TAGS and len(data) >= at + 6:
        tcis.append(struct.pack(">H", be16(data, at + 2) | 0x1000))
        at += 4
    r.tags = len(tcis)
    r.members |= dict(zip(("vlan_tci", "vlan2_tci"), tcis, strict=False))
    more = 4 if r.tags > 2 else 0
    eth_type = be16(data, at)
    at += 2
    if eth_type < 0x600:
        eth_type = 0x5FF
        if (
            data[at : at + 6] == b"\xaa\xaa\x03\x00\x00\x00"
            and len(data) >= at + 8
            and be16(data, at + 6) >= 0x600
        ):
            eth_type = be16(data, at + 6)
            at += 8
    r.members["eth_type"] = struct.pack(">H", eth_type)
    r.members["ip_frag"] = bytes([more])
    reader = {0x800: _ipv4, 0x806: _arp, 0x8035: _arp, 0x86DD: _ipv6}.get(eth_type)
    if eth_type in (0x8847, 0x8848, 0x88E7):
        if len(data) >= at + 4:
            word = data[at : at + 4]
            r.l3 = at
            r.members |= (
                {"mpls_lse": word[:3] + b"\0"} if eth_type != 0x88E7 else {"pbb_isid": b"\0" + word[1:]}
            )
    elif reader is None:
        r.l3 = at
    else:
        reader(r, data, at)
    return r


def _arp(r: Reading, data: bytes, at: int) -> None:
    arp = data[at : at + 28]
    if len(arp) == 28 and arp[:6] == bytes.fromhex("000108000604"):
        r.l3 = at
        r.members |= {"arp_op": arp[6:8], "arp_sha": arp[8:14], "ipv4_src": arp[14:18]}
        r.members |= {"arp_tha": arp[18:24], "ipv4_dst": arp[24:28]}


def _ipv4(r: Reading, data: bytes, at: int) -> None:
    if len(data) < at + 20 or data[at] >> 4 != 4:
        return
    header = 4 * (data[at] & 15)
    total = be16(data, at + 2)
    if header < 20 or at + header > len(data) or total < header:
        return
    r.l3 = at
    word = be16(data, at + 6)
    offset, more = word & 0x1FFF, word & 0x2000
    frag = 3 if offset else 1 if more else 0
    r.members |= {
        "ip_tos": data[at + 1 : at + 2],
        "ip_ttl": data[at + 8 : at + 9],
        "ip_proto": data[at + 9 : at + 10],
    }
    r.members |= {
        "ipv4_src": data[at + 12 : at + 16],
        "ipv4_dst": data[at + 16 : at + 20],
        "ip_frag": bytes([frag | r.members["ip_frag"][0]]),
    }
    if not offset:
        _l4(r, data[: at + total], at + header, data[at + 9], 4)


ORDER = {0: 0, 43: 2, 44: 3, 51: 4, 50: 5, 59: 7}
BITS = {0: 64, 43: 32, 44: 16, 51: 4, 50: 2, 59: 1, 60: 8}


def _exthdr_bits(seen: list[int]) -> int:
    """OFPIEH_* of the chain of extension headers."""
    bits, last = 0, 0
    for i, kind in enumerate(seen):
        place = ORDER.get(kind, 1 if last == 0 else 6)
        if seen[:i].count(kind) >= (2 if kind == 60 else 1):
            bits |= 128
        if place < last:
            bits |= 256
        last = place
        if kind or i == 0:  # OFPIEH_HOP: "as the first extension header"
            bits |= BITS[kind]
    return bits


def _ipv6(r: Reading, data: bytes, at: int) -> None:
    if len(data) < at + 40 or data[at] >> 4 != 6:
        return
    r.l3 = at
    first = struct.unpack_from(">I", data, at)[0]
    r.members |= {"ip_tos": bytes([first >> 20 & 255]), "ipv6_flabel": struct.pack(">I", first & 0xFFFFF)}
    r.members |= {"ip_ttl": data[at + 7 : at + 8], "ipv6_src": data[at + 8 : at + 24]}
    r.members["ipv6_dst"] = data[at + 24 : at + 40]
    payload, proto = be16(data, at + 4), data[at + 6]
    if payload or proto != 0:
        data = data[: at + 40 + payload]
    at += 40
    seen: list[int] = []
    frag, stop = 0, False
    while proto in BITS and not stop:
        if proto in (50, 59):
            seen.append(proto)
            stop = True
            break
        if len(data) < at + 8:
            stop = True
            break
        size = {44: 8, 51: 4 * (data[at + 1] + 2)}.get(proto, 8 * (data[at + 1] + 1))
        if size < 8 or len(data) < at + size:
            stop = True
            break
        seen.append(proto)
        if proto == 44:
            word = be16(data, at + 2)
            frag |= 3 if word >> 3 else word & 1
            stop = bool(word >> 3)
        proto = data[at]
        at += size
    r.members |= {"ip_proto": bytes([proto]), "ip_frag": bytes([frag | r.members["ip_frag"][0]])}
    r.members["ipv6_exthdr"] = struct.pack(">H", _exthdr_bits(seen))
    if not stop:
        _l4(r, data, at, proto, 6)


def _l4(r: Reading, data: bytes, at: int, proto: int, version: int) -> None:
    need = {6: 20, 17: 8, 132: 12, 1: 8 if version == 4 else None, 58: 4 if version == 6 else None}.get(proto)
    if need is None or len(data) < at + need:
        return
    r.l4 = at
    if proto in (1, 58):
        r.members |= {"tp_src": bytes([0, data[at]]), "tp_dst": bytes([0, data[at + 1]])}
    else:
        r.members |= {"tp_src": data[at : at + 2], "tp_dst": data[at + 2 : at + 4]}
    if proto == 6:
        r.members["tcp_flags"] = struct.pack(">H", be16(data, at + 12) & 0xFFF)
    if proto == 58 and data[at] in (135, 136) and data[at + 1] == 0 and len(data) >= at + 24:
        r.members["nd_target"] = data[at + 8 : at + 24]
        _nd_options(r, data[at + 24 :])


def _nd_options(r: Reading, options: bytes) -> None:
    while len(options) >= 8 and options[1] and len(options) >= 8 * options[1]:
        name = {1: "arp_sha", 2: "arp_tha"}.get(options[0])
        if name and options[1] == 1 and not any(r.members.get(name, b"")):
            r.members[name] = options[2:8]
        options = options[8 * options[1] :]
