"""What actions do to a frame's bytes, and all checksums computed anew: the oracle's edits (1.3.5, 5.12 and 7.2.5).

An action that does not fit the packet raises Dropped: our switch drops the packet then.
"""

from __future__ import annotations

from tests.fakes.oracle_packet import (
    ARP,
    ICMP,
    ICMPV6,
    IPV4,
    IPV6,
    MPLS,
    PBB,
    PRESENT,
    SCTP,
    TCP,
    UDP,
    Layers,
    checksums,
    crc32c,
    csum,
    fields,
    layers,
    nd_places,
    num,
)


class Dropped(Exception):
    """The packet ends here, with the reason."""


class InvalidTtl(Dropped):
    """The packet ends because its TTL would reach zero."""


def put(f: bytes, at: int, size: int, value: int) -> bytes:
    return f[:at] + value.to_bytes(size, "big") + f[at + size :]


def _mended(before: bytes, after: bytes) -> bytes:
    """Checksums after a change of IP or above: from scratch, or (RFC 1624) by what all of the change sums up to where the
    checksum was not right, or covers more than this packet (fragments)."""
    whole = checksums(before) == before
    la = layers(before)
    if whole and not la.fragment:
        return checksums(after)
    out = after
    if la.ip == 4:
        span = la.l3, la.l3 + (before[la.l3] & 15) * 4
        out = _shifted(before, out, la.l3 + 10, span, None)
    if la.proto == SCTP and la.l4 is not None and any(before[la.l4 + 8 : la.l4 + 12]):
        return _sctp_shifted(before, out, la)
    at = {TCP: 16, UDP: 6, ICMP: 2, ICMPV6: 2}.get(la.proto)
    if la.l4 is None or at is None or (la.proto == UDP and before[la.l4 + 6 : la.l4 + 8] == b"\0\0"):
        return out
    out = _shifted(before, out, la.l4 + at, (la.l4, la.end), None if la.proto == ICMP else _addresses)
    changed = out[la.l4 + at : la.l4 + at + 2] != before[la.l4 + at : la.l4 + at + 2]
    if changed and la.proto in (UDP, ICMP) and out[la.l4 + at : la.l4 + at + 2] == b"\0\0":
        out = put(out, la.l4 + at, 2, 0xFFFF)
    return out


def _sctp_shifted(before: bytes, after: bytes, la: Layers) -> bytes:
    """The CRC is linear: it changes by that of the change, whatever stands where the packet was cut short."""
    assert la.l4 is not None
    size, at = la.stated - la.l4, la.l4 + 8
    change = crc32c(before[la.l4 : la.end].ljust(size, b"\0")) ^ crc32c(
        after[la.l4 : la.end].ljust(size, b"\0")
    )
    return put(after, at, 4, num(before[at : at + 4]) ^ num(change.to_bytes(4, "little")))


def _addresses(f: bytes) -> bytes:
    la = layers(f)
    return f[la.l3 + 12 : la.l3 + 20] if la.ip == 4 else f[la.l3 + 8 : la.l3 + (24 if la.routed else 40)]


def _shifted(before: bytes, after: bytes, at: int, span: tuple[int, int], extra: object) -> bytes:
    """The checksum at `at` over `span` and `extra`, changed by as much as these bytes changed."""
    start, end = span

    def total(f: bytes) -> int:
        covered = (extra(f) if callable(extra) else b"") + f[start:at] + b"\0\0" + f[at + 2 : end]
        return ~csum(covered) & 0xFFFF

    if total(before) == total(after):
        return after
    old = ~num(before[at : at + 2]) & 0xFFFF
    value = old + total(after) + (~total(before) & 0xFFFF)
    while value >> 16:
        value = (value & 0xFFFF) + (value >> 16)
    return put(after, at, 2, ~value & 0xFFFF)


# ---- set_field

IPV4_AT = {"ipv4_src": 12, "ipv4_dst": 16}
IPV6_AT = {"ipv6_src": 8, "ipv6_dst": 24}
ARP_AT = {"arp_op": (6, 2), "arp_sha": (8, 6), "arp_spa": (14, 4), "arp_tha": (18, 6), "arp_tpa": (24, 4)}
PIPELINE = ("tunnel_id", "metadata", "in_port", "in_phy_port")  # not in the bytes


def set_field(f: bytes, name: str, value: int) -> bytes:
    """Set one field of the outermost header that has it."""
    la = layers(f)
    have = fields(f)
    if name not in have or (name == "vlan_vid" and not la.tags):
        raise Dropped("bad_action")
    p = la.l3
    if name in ("eth_dst", "eth_src"):
        return put(f, 0 if name == "eth_dst" else 6, 6, value)
    if name in ("vlan_vid", "vlan_pcp"):
        at = la.tags[0]
        tci = num(f[at : at + 2])
        return put(
            f, at, 2, tci & 0xF000 | value & 0xFFF if name == "vlan_vid" else tci & 0x1FFF | value << 13
        )
    if name.startswith("mpls"):
        shift, bits = {"mpls_label": (12, 20), "mpls_tc": (9, 3), "mpls_bos": (8, 1)}[name]
        lse = num(f[p : p + 4]) & ~(((1 << bits) - 1) << shift) | value << shift
        return put(f, p, 4, lse)
    if name == "pbb_isid":
        return put(f, p + 1, 3, value)
    if name in ARP_AT:
        at, size = ARP_AT[name]
        return put(f, p + at, size, value)
    return _mended(f, _set_ip(f, la, have, name, value))


def _set_ip(f: bytes, la: Layers, have: dict[str, int], name: str, value: int) -> bytes:
    p = la.l3
    if name in ("ip_dscp", "ip_ecn"):
        tos = value << 2 | have["ip_ecn"] if name == "ip_dscp" else have["ip_dscp"] << 2 | value
        if la.ip == 4:
            return put(f, p + 1, 1, tos)
        return put(f, p, 2, num(f[p : p + 2]) & 0xF00F | tos << 4)
    if name == "nw_ttl":
        return put(f, p + (8 if la.ip == 4 else 7), 1, value)
    if name in IPV4_AT:
        return put(f, p + IPV4_AT[name], 4, value)
    if name in IPV6_AT:
        return put(f, p + IPV6_AT[name], 16, value)
    if name == "ipv6_flabel":
        return put(f, p, 4, num(f[p : p + 4]) & 0xFFF00000 | value)
    assert la.l4 is not None
    if name.startswith("sctp_") and la.fragment:  # its CRC covers what is not here
        raise Dropped("bad_action")
    if name.startswith(("tcp_", "udp_", "sctp_")):
        return put(f, la.l4 + (0 if name.endswith("src") else 2), 2, value)
    if name.startswith("icmpv"):
        return put(f, la.l4 + (0 if name.endswith("type") else 1), 1, value)
    at, size = nd_places(f, la)[name]
    return put(f, at, size, value)


# ---- tags


def push_vlan(f: bytes, tpid: int) -> bytes:
    """5.12.1: VID and PCP are those of the outermost tag, else zero."""
    la = layers(f)
    tci = num(f[la.tags[0] : la.tags[0] + 2]) & 0xEFFF if la.tags else 0
    return f[:12] + tpid.to_bytes(2, "big") + tci.to_bytes(2, "big") + f[12:]


def pop_vlan(f: bytes) -> bytes:
    if not layers(f).tags:
        raise Dropped("bad_action")
    return f[:12] + f[16:]


def push_mpls(f: bytes, ethertype: int) -> bytes:
    """5.12.1: label and TC of the outermost entry, TTL of that or of IP, else zero; bottom of stack unless MPLS follows."""
    la = layers(f)
    lse = 1 << 8
    if la.kind in MPLS and len(f) >= la.l3 + 4:
        lse = num(f[la.l3 : la.l3 + 4]) & ~(1 << 8)
        if la.tags:  # what follows is a tag: this one is the bottom of its stack
            lse |= 1 << 8
    elif la.ip:
        lse |= f[la.l3 + (8 if la.ip == 4 else 7)]
    return f[:12] + ethertype.to_bytes(2, "big") + lse.to_bytes(4, "big") + f[14:]


def pop_mpls(f: bytes, ethertype: int) -> bytes:
    la = layers(f)
    if la.kind not in MPLS or len(f) < la.l3 + 4:
        raise Dropped("bad_action")
    return f[: la.l3 - 2] + ethertype.to_bytes(2, "big") + f[la.l3 + 4 :]


def push_pbb(f: bytes, ethertype: int) -> bytes:
    """5.12.1: I-SID of the outermost I-TAG, priority of the outermost VLAN tag; the frame itself becomes the payload."""
    la = layers(f)
    isid = num(f[la.l3 + 1 : la.l3 + 4]) if la.kind == PBB and len(f) >= la.l3 + 4 else 0
    pcp = f[la.tags[0]] >> 5 if la.tags else 0
    return f[:12] + ethertype.to_bytes(2, "big") + (pcp << 29 | isid).to_bytes(4, "big") + f


def pop_pbb(f: bytes) -> bytes:
    """The customer's addresses come back. A B-TAG in front is to be popped first (7.2.5)."""
    la = layers(f)
    if la.kind != PBB or la.tags or len(f) < la.l3 + 4 + 14:
        raise Dropped("bad_action")
    return f[la.l3 + 4 :]


# ---- TTLs


def _ttl_headers(f: bytes) -> list[tuple[int, int]]:
    """(offset, IP version or 0 for MPLS) of the outermost header that has a TTL, and of the next one."""
    la = layers(f)
    if la.ip:
        found = [(la.l3, la.ip)]
        if la.upper is not None and la.proto in (4, 41):
            version = _ip_version(f[la.upper : la.end])
            found += [(la.upper, version)] if version == (4 if la.proto == 4 else 6) else []
        return found
    if la.kind not in MPLS or len(f) < la.l3 + 4:
        return []
    found, below = [(la.l3, 0)], la.l3 + 4
    if f[la.l3 + 2] & 1:
        version = _ip_version(f[below:])
        found += [(below, version)] if version else []
    elif len(f) >= below + 4:
        found.append((below, 0))
    return found


def _ip_version(p: bytes) -> int:
    """Of a whole IP header at p, 0 if there is none: MPLS does not say what it carries."""
    for kind in (IPV4, IPV6):
        version = layers(bytes(12) + kind.to_bytes(2, "big") + p).ip
        if version:
            return version
    return 0


TTL_AT = {0: 3, 4: 8, 6: 7}


def _set_ttl(f: bytes, header: tuple[int, int], ttl: int) -> bytes:
    """A TTL, and the checksum of the header if it is of IPv4."""
    start, version = header
    out = put(f, start + TTL_AT[version], 1, ttl)
    if version == 4:
        out = _shifted(f, out, start + 10, (start, start + (f[start] & 15) * 4), None)
    return out


def copy_ttl(f: bytes, *, out: bool) -> bytes:
    found = _ttl_headers(f)
    if len(found) < 2:
        raise Dropped("bad_action")
    source, target = (found[1], found[0]) if out else (found[0], found[1])
    return _set_ttl(f, target, f[source[0] + TTL_AT[source[1]]])


def set_nw_ttl(f: bytes, ttl: int) -> bytes:
    la = layers(f)
    if not la.ip:
        raise Dropped("bad_action")
    return _set_ttl(f, (la.l3, la.ip), ttl)


def set_mpls_ttl(f: bytes, ttl: int) -> bytes:
    la = layers(f)
    if la.kind not in MPLS or len(f) < la.l3 + 4:
        raise Dropped("bad_action")
    return put(f, la.l3 + 3, 1, ttl)


def dec_nw_ttl(f: bytes) -> bytes:
    have = fields(f)
    if "nw_ttl" not in have:
        raise Dropped("bad_action")
    if have["nw_ttl"] <= 1:
        raise InvalidTtl("ttl_expired")
    return set_nw_ttl(f, have["nw_ttl"] - 1)


def dec_mpls_ttl(f: bytes) -> bytes:
    la = layers(f)
    if la.kind not in MPLS or len(f) < la.l3 + 4:
        raise Dropped("bad_action")
    if f[la.l3 + 3] <= 1:
        raise InvalidTtl("ttl_expired")
    return set_mpls_ttl(f, f[la.l3 + 3] - 1)


EDITS = {
    "set_field": set_field,
    "push_vlan": push_vlan,
    "pop_vlan": pop_vlan,
    "push_mpls": push_mpls,
    "pop_mpls": pop_mpls,
    "push_pbb": push_pbb,
    "pop_pbb": pop_pbb,
    "copy_ttl_out": lambda f: copy_ttl(f, out=True),
    "copy_ttl_in": lambda f: copy_ttl(f, out=False),
    "set_nw_ttl": set_nw_ttl,
    "dec_nw_ttl": dec_nw_ttl,
    "set_mpls_ttl": set_mpls_ttl,
    "dec_mpls_ttl": dec_mpls_ttl,
}


def edit(f: bytes, action: tuple) -> bytes:
    """The frame after one action. Raises Dropped."""
    return EDITS[action[0]](f, *action[1:])


def remark(f: bytes, levels: int) -> bytes:
    """A dscp_remark band (5.7.1): the drop precedence of an assured-forwarding class rises, to 3 at most (RFC 2597)."""
    have = fields(f)
    if "ip_dscp" not in have:
        return f
    dscp = have["ip_dscp"]
    klass, precedence = dscp >> 3, dscp >> 1 & 3
    if dscp & 1 or not 1 <= klass <= 4 or not precedence:
        return f
    return set_field(f, "ip_dscp", klass << 3 | min(3, precedence + levels) << 1)


__all__ = ["ARP", "PIPELINE", "PRESENT", "SCTP", "Dropped", "InvalidTtl", "edit", "remark"]
