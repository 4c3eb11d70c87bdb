"""How deep: learning, access lists, a router, and twenty tables as a virtual network controller makes them."""

import random
from collections.abc import Iterable
from functools import partial
from pathlib import Path

from bench import acl, overlay
from bench.contenders import Layout
from bench.flowmods import IP, TCP, UDP, WAYS, encoded, normal, prefix, rule
from bench.frames import mac
from bench.scenario import Case, Group, Scenario, Traffic, both
from vswitchd.ofproto.actions import DecNwTtl, Output, SetField
from vswitchd.ofproto.fields import BY_NAME
from vswitchd.ofproto.messages import FlowMod

ACLS = (100, 1000, 10_000, 100_000)
FLOWS = 8192
PREFIXES = 10_000
SEED = 6
_LENGTHS = ((24, 58), (23, 10), (22, 12), (21, 5), (20, 5), (19, 3), (18, 2), (16, 5))
"""Prefix lengths of the Internet's table, in percent, roughly."""
_SPACES = ((0x0100_0000, 0x5FFF_FFFF), (0x8000_0000, 0xDFFF_FFFF))
"""Addresses behind port 2, and behind port 1."""
_BLOCKED = (135, 137, 138, 139, 445, 593, 1900, 2323)


def _tuples(path: Path, flows: Iterable[tuple[int, int, int, int]]) -> Path:
    def dotted(value: int) -> str:
        return ".".join(str(byte) for byte in value.to_bytes(4, "big"))

    path.write_text("".join(f"{dotted(s)} {dotted(d)} {sp} {dp}\n" for s, d, sp, dp in flows))
    return path


def _ways(
    work: Path, name: str, flows: Iterable[Iterable[tuple[int, int, int, int]]], **options: object
) -> list[Traffic]:
    return [
        Traffic(at, 1 - at, {"tuples": _tuples(work / f"{name}.{at}", each), "flows": FLOWS, **options})
        for at, each in enumerate(flows)
    ]


def _acl(work: Path, count: int) -> Group:
    """Half of the entries for each port; all of the traffic meets one of them, TCP."""
    lists = [acl.entries(count // 2, SEED + at) for at in (0, 1)]

    def rules() -> Iterable[bytes]:
        for (there, back), entries in zip(WAYS, lists, strict=True):
            for at, entry in enumerate(entries):
                priority = 60_000 - at * 50_000 // len(entries)
                yield from encoded(
                    [rule({"in_port": there, **entry.match()}, Output(back), priority=priority)]
                )

    def flows(entries: list[acl.Entry], seed: int) -> Iterable[tuple[int, int, int, int]]:
        rng = random.Random(f"packets {seed}")
        tcp = [entry for entry in entries if entry.protocol != UDP]
        for _ in range(FLOWS):
            packet = rng.choice(tcp).packet(rng)
            yield packet.source, packet.destination, packet.source_port, packet.destination_port

    streams = _ways(work, f"acl{count}", [flows(each, at) for at, each in enumerate(lists)], proto="tcp")
    return Group(f"acl {count}", Layout(), rules, [Case(f"ACL {count:,} rules", streams)])


def _routes() -> list[list[tuple[int, int]]]:
    rng = random.Random(f"routes {SEED}")
    lengths, shares = zip(*_LENGTHS, strict=True)
    result = []
    for low, high in _SPACES:
        found: dict[tuple[int, int], None] = {}
        while len(found) < PREFIXES // 2:
            length = rng.choices(lengths, shares)[0]
            found.setdefault((prefix(rng.randrange(low, high), length)[0], length))
        result.append(list(found))
    return result


def _router(work: Path) -> Group:
    """Table 0 refuses some ports, table 1 routes by the longest prefix and rewrites addresses and TTL."""
    routes = _routes()

    def rules() -> Iterable[bytes]:
        policy = [
            rule({"eth_type": IP, "ip_proto": protocol, f"{name}_dst": port}, priority=200)
            for protocol, name in ((TCP, "tcp"), (UDP, "udp"))
            for port in _BLOCKED
        ]
        yield from encoded([*policy, rule({"eth_type": IP}, priority=100, goto=1)])
        for (_, back), some in zip(WAYS, routes, strict=True):
            ours, theirs = (int.from_bytes(mac(back, host), "big") for host in (0xFFFF, 0))
            actions = (
                SetField(BY_NAME["eth_src"], ours),
                SetField(BY_NAME["eth_dst"], theirs),
                DecNwTtl(),
                Output(back),
            )
            for address, length in some:
                match = {"eth_type": IP, "ipv4_dst": prefix(address, length)}
                yield from encoded([rule(match, *actions, priority=length, table=1)])

    def flows(at: int) -> Iterable[tuple[int, int, int, int]]:
        rng = random.Random(f"routed {at}")
        for _ in range(FLOWS):
            address, length = rng.choice(routes[at])
            host = address | rng.getrandbits(32 - length)
            yield rng.randrange(*_SPACES[1 - at]), host, rng.randrange(1024, 65536), 443

    streams = _ways(work, "routes", [flows(0), flows(1)], proto="tcp", check="ip")
    return Group("router", Layout(), rules, [Case(f"router, {PREFIXES:,} prefixes", streams)])


def _learning() -> Group:
    hosts = Case("NORMAL", both(flows=1))
    many = Case("NORMAL, 1,000 hosts each", both(flows=1000, vary="l2"))
    return Group("normal", Layout(), lambda: encoded([normal()]), [hosts, many])


def _overlay() -> Group:
    rules: list[FlowMod] = overlay.pipeline()
    streams = [
        Traffic(
            at,
            1 - at,
            {
                "flows": FLOWS,
                "proto": "tcp",
                "dport": 443,
                "src": f"10.{at + 1}.0.1",
                "dst": f"10.{2 - at}.0.0",
            },
        )
        for at in (0, 1)
    ]
    return Group("overlay", Layout(), partial(encoded, rules), [Case(f"{overlay.TABLES} tables", streams)])


def groups(work: Path, quick: bool) -> list[Group]:
    lists = [_acl(work, count) for count in (ACLS[:2] if quick else ACLS)]
    return [_learning(), *lists, *([] if quick else [_router(work)]), _overlay()]


SCENARIO = Scenario(
    "pipelines", f"64 bytes, {FLOWS:,} flows each way where not said otherwise", groups, seconds=(66, 24)
)
