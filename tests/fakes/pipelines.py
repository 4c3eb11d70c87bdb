"""Random frames, rules, groups and steps from a seed, dense enough that most packets meet rules; and rules for the switch."""

from __future__ import annotations

import random

from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import ARP, Dot1Q, Ether

from tests.fakes import oracle
from vswitchd.datapath import dp

MACS = [0x020000000001, 0x020000000002, 0x020000000103]
V4 = [0x0A000001, 0x0A000002, 0x0A010001]
V6 = [0xFE80 << 112 | 1, 0xFE80 << 112 | 2]
L4_PORTS = [80, 81, 443]
VIDS = [1, 2, 0x123]
PORTS = [1, 2, 3]


def mac(n: int) -> str:
    return n.to_bytes(6, "big").hex(":")


def dotted(n: int) -> str:
    return ".".join(str(b) for b in n.to_bytes(4, "big"))


def frame(r: random.Random) -> bytes:
    p = Ether(dst=mac(r.choice(MACS)), src=mac(r.choice(MACS)))
    for _ in range(r.choice([0, 0, 1, 2])):
        p /= Dot1Q(vlan=r.choice(VIDS), prio=r.choice([0, 5]))
    kind = r.choice(["udp", "udp", "tcp", "tcp", "arp", "udp6", "other"])
    ttl = r.choice([1, 2, 64, 64])
    l4 = {"sport": r.choice(L4_PORTS), "dport": r.choice(L4_PORTS)}
    if kind == "arp":
        return bytes(p / ARP(op=r.choice([1, 2]), psrc=dotted(r.choice(V4)), pdst="10.0.0.1"))
    if kind == "udp6":
        return bytes(
            p / IPv6(src="fe80::1", dst="fe80::2", hlim=ttl, tc=r.choice([0, 4])) / UDP(**l4) / b"abc"
        )
    if kind == "other":
        p.type = 0x88B5
        return bytes(p / (b"x" * 40))
    ip = IP(src=dotted(r.choice(V4)), dst=dotted(r.choice(V4)), ttl=ttl, tos=r.choice([0, 0xB8]))
    return bytes(p / ip / (UDP(**l4) if kind == "udp" else TCP(**l4)) / (b"y" * r.choice([0, 7, 400])))


def masked(r: random.Random, name: str, values: list[int], bits: int) -> tuple[str, int, int]:
    full = (1 << bits) - 1
    mask = r.choice([full, full, full & ~0xFF, full & ~1, 1])
    return name, r.choice(values) & mask, mask


def match(r: random.Random) -> tuple[tuple[str, int, int], ...]:
    """A match whose prerequisites hold; often a wide one."""
    picks = {}
    for _ in range(r.choice([0, 0, 0, 1, 1, 2])):
        pick = r.choice(
            [
                masked(r, "ETH_DST", MACS, 48),
                masked(r, "ETH_SRC", MACS, 48),
                ("IN_PORT", 1, 0xFFFFFFFF),
                ("VLAN_VID", 0, 0x1FFF),
                ("VLAN_VID", 0x1000, 0x1000),
                ("VLAN_VID", 0x1001, 0x1FFF),
                ("METADATA", 1, 1),
                ("METADATA", 2, 3),
            ]
        )
        picks[pick[0]] = pick
    above = r.choice(["", "", "", "v4", "v6", "arp", "udp", "tcp"])
    if above:
        kind = {"v6": 0x86DD, "arp": 0x0806}.get(above, 0x0800)
        picks["ETH_TYPE"] = ("ETH_TYPE", kind, 0xFFFF)
        v4 = [masked(r, "IPV4_SRC", V4, 32), masked(r, "IPV4_DST", V4, 32), ("IP_DSCP", 46, 63)]
        l4 = [masked(r, "TP_SRC", L4_PORTS, 16), masked(r, "TP_DST", L4_PORTS, 16)]
        v6 = [masked(r, "IPV6_SRC", V6, 128), masked(r, "IPV6_DST", V6, 128)]
        extra = {"v4": v4, "v6": v6, "arp": [masked(r, "ARP_SPA", V4, 32)]}.get(above, l4 + v4)
        for pick in r.sample(extra, r.choice([0, 1])):
            picks[pick[0]] = pick
        if above in ("udp", "tcp"):
            picks["IP_PROTO"] = ("IP_PROTO", 17 if above == "udp" else 6, 0xFF)
    return tuple(picks.values())


def edit(r: random.Random) -> tuple:
    return r.choice(
        [
            ("set", r.choice(["ETH_DST", "ETH_SRC"]), r.choice(MACS), r.choice([(1 << 48) - 1, 0xFF])),
            ("set", "ETH_DST", r.choice(MACS), (1 << 48) - 1),
            ("set", "VLAN_VID", 0x1002, 0x1FFF),
            ("set", "VLAN_PCP", 3, 7),
            ("set", r.choice(["IPV4_SRC", "IPV4_DST"]), r.choice(V4), r.choice([0xFFFFFFFF, 0xFF00])),
            ("set", r.choice(["TP_SRC", "TP_DST"]), r.choice(L4_PORTS), 0xFFFF),
            ("set", "IP_DSCP", 46, 63),
            ("set", "IPV6_DST", r.choice(V6), (1 << 128) - 1),
            ("push", 0x8100),
            ("push", 0x8100),
            ("pop",),
            ("dec",),
        ]
    )


def output(r: random.Random) -> tuple:
    return "output", r.choice(
        [*PORTS, *PORTS, 9, oracle.ALL, oracle.FLOOD, oracle.IN_PORT, oracle.CONTROLLER]
    )


def action(r: random.Random) -> tuple:
    return r.choice([edit, output, output, lambda r: ("group", r.choice([1, 2, 7]))])(r)


def rule(r: random.Random) -> oracle.Rule:
    table = r.choice([0, 0, 1, 2])
    write = {}
    for _ in range(r.choice([0, 0, 1, 2, 3])):
        a = action(r)
        write[(a[0], a[1]) if a[0] == "set" else a[0]] = a
    apply = tuple(action(r) for _ in range(r.choice([0, 1, 1, 2, 4])))
    goto = r.choice([None, *[t for t in (1, 2) if t > table]])
    return oracle.Rule(
        table,
        r.randrange(6),
        match(r),
        apply,
        tuple(write.values()),
        r.random() < 0.2,
        r.choice([None, (1, 1), (2, 3)]),
        goto,
    )


def pipeline(r: random.Random) -> list[oracle.Rule]:
    """Rules with distinct priorities per table: of two overlapping rules of one priority either may win."""
    unique = {(x.table, x.priority): x for x in (rule(r) for _ in range(r.randrange(1, 14)))}
    return list(unique.values())


def groups(r: random.Random) -> dict[int, tuple[str, list[tuple[tuple, ...]]]]:
    def bucket() -> tuple[tuple, ...]:
        return tuple(r.choice([edit, output])(r) for _ in range(r.randrange(4)))

    out = {}
    for number in r.sample([1, 2], r.randrange(3)):
        kind = r.choice(["all", "indirect"])
        out[number] = kind, [bucket() for _ in range(r.randrange(1, 4) if kind == "all" else 1)]
    return out


def compiled(a: tuple) -> dp.Action:
    make = {
        "output": dp.output,
        "push": dp.push_vlan,
        "pop": dp.pop_vlan,
        "dec": dp.dec_ttl,
        "group": dp.group,
        "set": dp.set_field,
    }
    return make[a[0]](*a[1:])


def spec(x: oracle.Rule) -> dp.RuleSpec:
    """The same rule for the datapath."""
    apply, write = (tuple(map(compiled, actions)) for actions in (x.apply, x.write))
    return dp.RuleSpec(x.table, x.priority, x.match, 0, apply, write, x.clear, x.metadata, x.goto)
