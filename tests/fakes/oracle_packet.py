"""What a frame says, read plainly from its bytes: layers, match fields by their OXM names, checksums, flows.

Part of the oracle (see oracle.py): written from the specification (1.3.5, 7.2.3) and the protocol documents, sharing no
code with the switch. A header that is cut short or contradicts itself has no fields: they count as zero.
"""

from __future__ import annotations

from dataclasses import dataclass, field

VLAN = (0x8100, 0x88A8)
MPLS = (0x8847, 0x8848)
PBB = 0x88E7
IPV4, IPV6, ARP, RARP = 0x0800, 0x86DD, 0x0806, 0x8035
ICMP, TCP, UDP, ICMPV6, SCTP = 1, 6, 17, 58, 132
PRESENT = 0x1000  # OFPVID_PRESENT


def num(data: bytes) -> int:
    return int.from_bytes(data, "big")


@dataclass
class Layers:
    """Where things are. tags: offset of each TCI; l3: behind the EtherType; l4 and what is behind it end at `end`."""

    tags: list[int] = field(default_factory=list)
    kind: int = 0
    l3: int = 0
    ip: int = 0  # 4, 6, or 0 when the header is not whole
    proto: int = 0
    upper: int | None = None  # what IP carries, whatever it is; None in a later fragment
    l4: int | None = None
    end: int = 0
    stated: int = 0  # where IP says that it ends
    fragment: int = 0  # 1: the first, 2: a later one
    exthdrs: int = 0
    routed: bool = False  # IPv6 with segments left: another destination in the pseudo-header (RFC 8200, 8.1)


def layers(f: bytes) -> Layers:
    """Find the layers of a frame of at least 14 bytes."""
    found = Layers(end=len(f))
    at = 12
    while num(f[at : at + 2]) in VLAN and len(f) >= at + 6:
        found.tags.append(at + 2)
        at += 4
    found.kind = num(f[at : at + 2])
    at += 2
    if found.kind < 0x600:  # IEEE 802.3
        found.kind = 0x5FF
        if f[at : at + 6] == bytes.fromhex("aaaa03000000") and num(f[at + 6 : at + 8]) >= 0x600:
            found.kind = num(f[at + 6 : at + 8])
            at += 8
    found.l3 = at
    if found.kind == IPV4:
        _ipv4(f, found)
    elif found.kind == IPV6:
        _ipv6(f, found)
    return found


def _ipv4(f: bytes, la: Layers) -> None:
    p = f[la.l3 :]
    if len(p) < 20 or p[0] >> 4 != 4:
        return
    size, total, frag = (p[0] & 15) * 4, num(p[2:4]), num(p[6:8])
    if size < 20 or len(p) < size or total < size:
        return
    la.ip, la.proto, la.stated = 4, p[9], la.l3 + total
    la.end = min(la.end, la.stated)
    la.fragment = 2 if frag & 0x1FFF else 1 if frag & 0x2000 else 0
    if la.fragment < 2:
        _l4(la, la.l3 + size)


ORDER = [0, 60, 43, 44, 51, 50, 60, 59]  # RFC 8200, 4.1; "no next header" after all
BIT = {59: 1, 50: 2, 51: 4, 60: 8, 44: 16, 43: 32, 0: 64}  # OFPIEH_*


def _ipv6(f: bytes, la: Layers) -> None:
    p = f[la.l3 :]
    if len(p) < 40 or p[0] >> 4 != 6:
        return
    la.ip = 6
    if num(p[4:6]) or p[6] != 0:  # else a jumbogram
        la.stated = la.l3 + 40 + num(p[4:6])
        la.end = min(la.end, la.stated)
    at, proto, seen, whole = la.l3 + 40, p[6], [], True
    while proto in BIT:
        size = 0
        if proto in (50, 59):
            whole = False
        else:
            if at + 8 > la.end:
                whole = False
                break
            size = 8 if proto == 44 else (f[at + 1] + 2) * 4 if proto == 51 else (f[at + 1] + 1) * 8
            if size < 8 or at + size > la.end:
                whole = False
                break
        seen.append(proto)
        if not size:
            break
        if proto == 43 and f[at + 3]:
            la.routed = True
        if proto == 44:
            word = num(f[at + 2 : at + 4])
            la.fragment = 2 if word & 0xFFF8 else 1 if word & 1 else la.fragment
        proto = f[at]
        at += size
        if la.fragment == 2:
            whole = False
            break
    la.proto, la.exthdrs = proto, _exthdr_bits(seen)
    if whole:
        _l4(la, at)


def _exthdr_bits(seen: list[int]) -> int:
    """OFPIEH_* (7.2.3.7): which headers, and whether they repeat or come in another order than the preferred one."""
    bits, last = 0, 0
    for i, kind in enumerate(seen):
        if kind == 60:
            place = 1 if last == 0 else 6
            bits |= 128 if seen[:i].count(60) >= 2 else 0
        else:
            place = ORDER.index(kind)
            bits |= 128 if kind in seen[:i] else 0
        bits |= 256 if place < last else 0
        if kind != 0 or i == 0:  # hop-by-hop counts as the first of all only
            bits |= BIT[kind]
        last = place
    return bits


NEEDS = {TCP: 20, UDP: 8, SCTP: 12}


def _l4(la: Layers, at: int) -> None:
    la.upper = at
    if la.proto == ICMP and la.ip == 4:
        need = 8
    elif la.proto == ICMPV6 and la.ip == 6:
        need = 4
    else:
        need = NEEDS.get(la.proto, 1 << 20)
    if at + need <= la.end:
        la.l4 = at


def fields(f: bytes) -> dict[str, int]:
    """All fields that the bytes give, by OXM name; vlan_vid is there always."""
    la = layers(f)
    p = f[la.l3 :]
    tci = num(f[la.tags[0] : la.tags[0] + 2]) if la.tags else 0
    out = {"eth_dst": num(f[:6]), "eth_src": num(f[6:12]), "eth_type": la.kind}
    out["vlan_vid"] = tci & 0xFFF | PRESENT if la.tags else 0
    if la.tags:
        out["vlan_pcp"] = tci >> 13
    if la.kind in MPLS and len(p) >= 4:
        lse = num(p[:4])
        out |= {"mpls_label": lse >> 12, "mpls_tc": lse >> 9 & 7, "mpls_bos": lse >> 8 & 1}
    elif la.kind == PBB and len(p) >= 4:
        out["pbb_isid"] = num(p[1:4])
    elif la.kind in (ARP, RARP) and p[:6] == bytes.fromhex("000108000604") and len(p) >= 28:
        out |= {"arp_op": num(p[6:8]), "arp_sha": num(p[8:14]), "arp_spa": num(p[14:18])}
        out |= {"arp_tha": num(p[18:24]), "arp_tpa": num(p[24:28])}
    elif la.ip:
        out |= _ip_fields(p, la)
        out |= _l4_fields(f, la)
    return out


def _ip_fields(p: bytes, la: Layers) -> dict[str, int]:
    if la.ip == 4:
        tos, ttl, out = p[1], p[8], {"ipv4_src": num(p[12:16]), "ipv4_dst": num(p[16:20])}
    else:
        tos, ttl = num(p[:2]) >> 4 & 255, p[7]
        out = {"ipv6_src": num(p[8:24]), "ipv6_dst": num(p[24:40])}
        out |= {"ipv6_flabel": num(p[:4]) & 0xFFFFF, "ipv6_exthdr": la.exthdrs}
    return out | {"ip_dscp": tos >> 2, "ip_ecn": tos & 3, "ip_proto": la.proto, "nw_ttl": ttl}


def _l4_fields(f: bytes, la: Layers) -> dict[str, int]:
    if la.l4 is None:
        return {}
    q = f[la.l4 : la.end]
    if la.proto in NEEDS:
        name = {TCP: "tcp", UDP: "udp", SCTP: "sctp"}[la.proto]
        out = {f"{name}_src": num(q[:2]), f"{name}_dst": num(q[2:4])}
        if la.proto == TCP:
            out["tcp_flags"] = num(q[12:14]) & 0xFFF
        return out
    name = "icmpv4" if la.ip == 4 else "icmpv6"
    out = {f"{name}_type": q[0], f"{name}_code": q[1]}
    if la.ip == 6:
        for part, (at, size) in nd_places(f, la).items():
            out[part] = num(f[at : at + size])
    return out


def nd_places(f: bytes, la: Layers) -> dict[str, tuple[int, int]]:
    """Offset and length of the fields of neighbour discovery (RFC 4861, 4.3, 4.4, 4.6.1)."""
    if la.ip != 6 or la.l4 is None or la.proto != ICMPV6:
        return {}
    q = f[la.l4 : la.end]
    if q[0] not in (135, 136) or q[1] or len(q) < 24:
        return {}
    out = {"ipv6_nd_target": (la.l4 + 8, 16)}
    at = 24
    while len(q) >= at + 8 and q[at + 1] and len(q) >= at + 8 * q[at + 1]:
        name = {1: "ipv6_nd_sll", 2: "ipv6_nd_tll"}.get(q[at])
        if name and q[at + 1] == 1:
            out.setdefault(name, (la.l4 + at + 2, 6))
        at += 8 * q[at + 1]
    return out


def flow_key(f: bytes) -> tuple:
    """What makes packets one flow for SELECT: addresses and ports of L3 and L4, or L2, in either direction."""
    have = fields(f)
    ends: list[list[int]] = []
    for side in ("src", "dst"):
        addr = next(
            (have[f"{ip}_{side}"] for ip in ("ipv4", "ipv6") if f"{ip}_{side}" in have), have[f"eth_{side}"]
        )
        ends.append([addr, *(have[n] for n in (f"tcp_{side}", f"udp_{side}", f"sctp_{side}") if n in have)])
    broken = (
        f[12:14] if have["eth_type"] in (IPV4, IPV6, ARP, RARP) and len(have) < 8 else b""
    )  # of which kind, is not clear
    return have["eth_type"], broken, have.get("ip_proto"), *map(tuple, sorted(ends))


def csum(data: bytes) -> int:
    """The Internet checksum (RFC 1071)."""
    if len(data) % 2:
        data += b"\0"
    total = sum(num(data[i : i + 2]) for i in range(0, len(data), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def crc32c(data: bytes) -> int:
    """CRC32c bit by bit (RFC 9260, appendix A)."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def checksums(f: bytes) -> bytes:
    """The frame with all checksums that it has, computed from scratch. Zero stays for UDP and SCTP: none was computed."""
    la = layers(f)
    b = bytearray(f)
    if la.ip == 4:
        size = (b[la.l3] & 15) * 4
        b[la.l3 + 10 : la.l3 + 12] = b"\0\0"
        b[la.l3 + 10 : la.l3 + 12] = csum(bytes(b[la.l3 : la.l3 + size])).to_bytes(2, "big")
    if la.l4 is None or la.fragment:
        return bytes(b)
    q = la.l4
    if la.proto == SCTP:
        if not any(b[q + 8 : q + 12]):  # none (RFC 9653)
            return bytes(b)
        b[q + 8 : q + 12] = bytes(4)
        b[q + 8 : q + 12] = crc32c(bytes(b[q : la.end])).to_bytes(4, "little")
        return bytes(b)
    at = q + {TCP: 16, UDP: 6, ICMP: 2, ICMPV6: 2}[la.proto]
    if la.proto == UDP and f[at : at + 2] == b"\0\0":
        return bytes(b)
    pseudo = f[la.l3 + 12 : la.l3 + 20] if la.ip == 4 else f[la.l3 + 8 : la.l3 + 40]
    if la.routed:
        pseudo = f[la.l3 + 8 : la.l3 + 24] + _last_stop(f, la)
    pseudo = b"" if la.proto == ICMP else pseudo + bytes([0, la.proto]) + (la.end - q).to_bytes(2, "big")
    b[at : at + 2] = b"\0\0"
    value = csum(pseudo + bytes(b[q : la.end]))
    b[at : at + 2] = (value or (0xFFFF if la.proto == UDP else 0)).to_bytes(2, "big")
    return bytes(b)


def _last_stop(f: bytes, la: Layers) -> bytes:
    """The final destination: the last address of the routing header."""
    at, proto = la.l3 + 40, f[la.l3 + 6]
    while proto != 43:
        size = 8 if proto == 44 else (f[at + 1] + 2) * 4 if proto == 51 else (f[at + 1] + 1) * 8
        proto, at = f[at], at + size
    size = (f[at + 1] + 1) * 8
    return f[at + size - 16 : at + size]
