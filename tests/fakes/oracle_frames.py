"""Random frames of every kind that OpenFlow 1.3 can match, from few values, so that flows meet them; plain bytes."""

from __future__ import annotations

import random

from tests.fakes.oracle_packet import checksums

MACS = [0x020000000001, 0x020000000002, 0x020000000103, 0x010000000001]
V4 = [0x0A000001, 0x0A000002, 0x0A010001, 0xC0A80001]
V6 = [0xFE80 << 112 | 1, 0xFE80 << 112 | 2, 0xFD00 << 112 | 0x10001]
L4 = [80, 81, 443]
VIDS = [1, 2, 0x123]
LABELS = [16, 17, 0xABCDE]
ISIDS = [1, 0x10002]
TTLS = [0, 1, 2, 64, 255]


def eth(r: random.Random) -> bytes:
    return r.choice(MACS).to_bytes(6, "big") + r.choice(MACS).to_bytes(6, "big")


def word(n: int, size: int = 2) -> bytes:
    return n.to_bytes(size, "big")


def payload(r: random.Random) -> bytes:
    return bytes([r.randrange(256)]) * r.choice([0, 1, 7, 7, 30, 250])


def l4(r: random.Random, proto: int) -> bytes:
    """A whole upper layer, its checksum still zero (for UDP: one to be computed)."""
    ports = word(r.choice(L4)) + word(r.choice(L4))
    if proto == 6:
        return (
            ports + bytes(8) + word(0x5000 | r.choice([0x02, 0x12, 0x10])) + word(512) + bytes(4) + payload(r)
        )
    if proto == 17:
        data = payload(r)
        return ports + word(8 + len(data)) + r.choice([b"\xff\xff", b"\xff\xff", b"\0\0"]) + data
    if proto == 132:
        return (
            ports
            + bytes(4)
            + r.choice([b"new!", b"new!", b"new!", bytes(4)])
            + word(0x0003)
            + word(4 + 8)
            + bytes(8)
        )
    if proto == 1:
        return bytes([r.choice([8, 0, 3]), r.choice([0, 1]), 0, 0, 0, 5, 0, r.randrange(3)]) + payload(r)
    return payload(r)


def nd(r: random.Random) -> bytes:
    kind = r.choice([135, 136])
    body = bytes([kind, r.choice([0, 0, 0, 1]), 0, 0]) + bytes(4) + word(r.choice(V6), 16)
    for option in r.sample([1, 2, 5], r.choice([0, 1, 1, 2])):
        body += bytes([option, 1]) + word(r.choice(MACS), 6)
    return body


def _inside(r: random.Random, proto: int) -> bytes:
    """A packet in an IP tunnel."""
    kind, body = (0x0800, ipv4(r, tunnels=False)) if proto == 4 else (0x86DD, ipv6(r))
    return checksums(bytes(12) + word(kind) + body)[14:]


def ipv4(r: random.Random, *, tunnels: bool = True) -> bytes:
    proto = r.choice([6, 6, 17, 17, 17, 1, 132, 47, 4, 41]) if tunnels else r.choice([6, 17])
    options = r.choice([b"", b"", b"", b"\x01" * 4])
    body = _inside(r, proto) if proto in (4, 41) else l4(r, proto)
    frag = r.choice([0, 0, 0, 0, 0x4000, 0x2000, 0x0010])
    head = bytes([0x45 + len(options) // 4, r.choice([0, 0x28, 0x38, 0x4D, 0xB8, 1])])
    head += word(20 + len(options) + len(body)) + word(7) + word(frag)
    head += bytes([r.choice(TTLS), proto, 0, 0])
    head += word(r.choice(V4), 4) + word(r.choice(V4), 4) + options
    return head + body


def ipv6(r: random.Random) -> bytes:
    proto = r.choice([6, 17, 17, 58, 58, 132, 59])
    if proto == 58:
        body = nd(r) if r.random() < 0.7 else bytes([128, 0, 0, 0, 0, 1, 0, 2]) + payload(r)
    else:
        body = b"" if proto == 59 else l4(r, proto)
    kinds = r.sample([0, 60, 43, 44, 51], r.choice([0, 0, 0, 1, 2]))
    if r.random() < 0.7:
        kinds.sort(key=[0, 60, 43, 44, 51].index)
    if r.random() < 0.05:
        kinds += kinds[:1]
    if r.random() < 0.15:
        kinds = [43]
    chain = b""
    for i, kind in enumerate(kinds):
        after = bytes([kinds[i + 1] if i + 1 < len(kinds) else proto])
        if kind == 43:
            chain += after + bytes([2, 0, r.choice([0, 1]), 0, 0, 0, 0]) + word(r.choice(V6), 16)
        elif kind == 44:
            chain += after + b"\0" + word(r.choice([0, 0, 1, 0x10])) + bytes(4)
        elif kind == 51:
            chain += after + bytes([4]) + bytes(22)
        else:
            chain += after + bytes([0, 1, 4, 0, 0, 0, 0])
    first = 6 << 28 | r.choice([0, 0x28, 0xB8, 1]) << 20 | r.choice([0, 7, 0xABCDE])
    head = (
        word(first, 4) + word(len(chain) + len(body)) + bytes([kinds[0] if kinds else proto, r.choice(TTLS)])
    )
    return head + word(r.choice(V6), 16) + word(r.choice(V6), 16) + chain + body


def arp(r: random.Random) -> bytes:
    kind = b"\0\1\x08\0\6\4" if r.random() < 0.95 else b"\0\6\x08\0\6\4"
    body = kind + word(r.choice([1, 2])) + word(r.choice(MACS), 6) + word(r.choice(V4), 4)
    return body + word(r.choice(MACS), 6) + word(r.choice(V4), 4)


def inner(r: random.Random) -> tuple[int, bytes]:
    """EtherType and what follows it, with right checksums."""
    pick = r.random()
    if pick < 0.5:
        kind, body = 0x0800, ipv4(r)
    elif pick < 0.85:
        kind, body = 0x86DD, ipv6(r)
    elif pick < 0.95:
        kind, body = r.choice([0x0806, 0x0806, 0x8035]), arp(r)
    else:
        kind, body = 0x88B5, b"x" * 40
    return kind, checksums(bytes(12) + word(kind) + body)[14:]


def mpls(r: random.Random) -> bytes:
    n = r.choice([1, 1, 2, 3])
    stack = b""
    for i in range(n):
        lse = r.choice(LABELS) << 12 | r.choice([0, 5]) << 9 | (i == n - 1) << 8 | r.choice(TTLS)
        stack += word(lse, 4)
    return stack + inner(r)[1]


def tags(r: random.Random, n: int) -> bytes:
    return b"".join(
        word(r.choice([0x8100, 0x8100, 0x88A8])) + word(r.choice(VIDS) | r.choice([0, 5, 7]) << 13)
        for _ in range(n)
    )


def frame(r: random.Random) -> bytes:
    """One frame."""
    kind = r.choice(["inner"] * 8 + ["mpls"] * 3 + ["pbb"] * 2 + ["llc"])
    n_tags = r.choice([0, 0, 0, 1, 1, 2, 3])
    head = eth(r) + tags(r, n_tags)
    if kind == "inner":
        ethertype, body = inner(r)
        out = head + word(ethertype) + body
    elif kind == "mpls":
        out = head + word(r.choice([0x8847, 0x8847, 0x8848])) + mpls(r)
    elif kind == "pbb":
        ethertype, body = inner(r)
        customer = eth(r) + tags(r, r.choice([0, 0, 1])) + word(ethertype) + body
        head = eth(r) + tags(r, r.choice([0, 0, 1]))
        out = head + word(0x88E7) + word(r.choice([0, 5]) << 29 | r.choice(ISIDS), 4) + customer
    else:
        out = head + word(46) + r.choice([b"\xaa\xaa\x03\0\0\0\x08\0", b"\x42\x42\x03"]) + b"z" * 43
    if r.random() < 0.1:
        out += bytes(max(0, 60 - len(out)))  # Ethernet's padding
    if r.random() < 0.04:
        out = out[: r.randrange(10, len(out) + 1)]
    return out
