"""Flow set-up: every packet is one of a flow that the switch has not seen."""

from pathlib import Path

from bench.contenders import Layout
from bench.flowmods import IP, UDP, WAYS, encoded, rule
from bench.scenario import Case, Group, Scenario, both
from vswitchd.ofproto.actions import Output

EVERY = (1 << 32) - 1
_GROWN = 4.0
"""Seconds until a cache is as large as it gets, and all of its memory was touched."""
_ADDRESS, _BITS = 0x0001_0203, 0x00FF_FFFF


def rules() -> list[bytes]:
    """One table whose first rule looks at 48 bits of the addresses, in a form that no prefix tree shortens.

    It never matches, but who caches the result has to remember all these bits, so each new pair of addresses is new to
    every cache.
    """
    bits = (_ADDRESS, _BITS)
    never = rule({"eth_type": IP, "ip_proto": UDP, "ipv4_src": bits, "ipv4_dst": bits}, priority=200)
    return encoded([never, *(rule({"in_port": there}, Output(back)) for there, back in WAYS)])


def groups(_work: Path, quick: bool) -> list[Group]:
    del quick
    return [
        Group(
            "setup",
            Layout(),
            rules,
            [Case("every packet new", both(flows=EVERY, vary="five_tuple"), warm=_GROWN)],
        )
    ]


SCENARIO = Scenario("setup", "packets a second when each is a flow of its own", groups, seconds=(16, 16))
