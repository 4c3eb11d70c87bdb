"""How many flows: a match on UDP ports that all of them share, and one rule for each flow."""

from collections.abc import Iterator
from pathlib import Path

from bench.contenders import Layout
from bench.flowmods import IP, UDP, WAYS, Stencil, encoded, rule
from bench.scenario import Case, Group, Scenario, both
from vswitchd.ofproto.actions import Output

FLOWS = (1, 1000, 8192, 100_000, 1_000_000)
RULES = (10_000, 100_000, 1_000_000)
FIRST = 0x0AFD_0000
"""10.253.0.0, the destination of the first flow."""
_SHORT = {1: "1", 1000: "1k", 8192: "8k", 10_000: "10k", 100_000: "100k", 1_000_000: "1M"}


def l4() -> list[bytes]:
    """Match on the UDP port: a switch that caches by exact match must look up each flow anew."""
    ways = [
        [
            rule({"in_port": there, "eth_type": IP, "ip_proto": UDP, "udp_dst": 1001}, Output(back)),
            rule({"in_port": there, "eth_type": IP, "ip_proto": UDP, "udp_dst": 9}),
        ]
        for there, back in WAYS
    ]
    return encoded([one for way in ways for one in way] + [rule({}, priority=1)])


def each(count: int) -> Iterator[bytes]:
    """One rule for each of `count` flows, half of them each way."""
    for there, back in WAYS:
        stencil = Stencil(
            lambda value, there=there, back=back: rule(
                {"in_port": there, "eth_type": IP, "ip_proto": UDP, "ipv4_dst": value}, Output(back)
            )
        )
        yield from stencil(range(FIRST, FIRST + max(1, count // 2)))


def _warm(flows: int) -> float:
    """Seconds until each flow was seen, with a switch of half a million packets a second each way."""
    return flows / 500_000


def _l4(quick: bool) -> Group:
    cases = []
    for count in (1, 100_000) if quick else FLOWS:
        options = {"flows": count}
        cases.append(Case(f"l4 {_SHORT[count]}", both(**options), flowgen=count, warm=_warm(count)))
        if count > 1:
            traffic = both(dist="zipf", **options)
            cases.append(Case(f"l4 {_SHORT[count]} zipf", traffic, warm=_warm(count)))
    return Group("l4", Layout(), l4, cases)


def _each(count: int) -> Group:
    half = count // 2
    case = Case(f"rule per flow {_SHORT[count]}", both(flows=half), flowgen=half, warm=_warm(count))
    return Group(f"each {count}", Layout(), lambda: each(count), [case])


def groups(_work: Path, quick: bool) -> list[Group]:
    return [_l4(quick), *map(_each, RULES[:1] if quick else RULES)]


SCENARIO = Scenario(
    "flows",
    "64 bytes: flows, and rules with one flow each (N rules and flows in all)",
    groups,
    seconds=(95, 15),
)
