"""The packets of a tuple-space explosion: each differs from what three rules allow in another first bit of each.

Table 1 allows a destination port, else a source address, else a source port, and drops the rest. A cache of wildcards has
to remember for a dropped packet in which bit it first differed from each of the three, so 16 * 32 * 16 masks come to be.
"""

from collections.abc import Iterator

from vswitchd.ofproto.actions import Output
from vswitchd.ofproto.messages import FlowMod

from .flowmods import IP, UDP, rule
from .frames import Tuple5, ether, frame

DESTINATION_PORT, SOURCE, SOURCE_PORT = 80, 0x0A00_0001, 1234
"""What the rules allow."""
TABLE = 1
COUNT = 16 * 32 * 16
_TARGET = 0x0A01_0001


def rules(attacker: int, out: int) -> list[FlowMod]:
    """Send what comes from port `attacker` through the access list; what it allows goes to port `out`."""
    allowed = (
        {"udp_dst": DESTINATION_PORT, "ip_proto": UDP},
        {"ipv4_src": SOURCE},
        {"udp_src": SOURCE_PORT, "ip_proto": UDP},
    )
    return [
        rule({"in_port": attacker}, goto=TABLE),
        *(
            rule({"eth_type": IP, **match}, Output(out), priority=400 - 100 * at, table=TABLE)
            for at, match in enumerate(allowed)
        ),
        rule({}, priority=1, table=TABLE),
    ]


def first_bits(value: int, width: int) -> Iterator[int]:
    """Give the numbers that differ from value in their first, second ... last bit, and nowhere before it."""
    return (value ^ 1 << bit for bit in reversed(range(width)))


def packets(attacker: int) -> Iterator[bytes]:
    """Give all COUNT packets."""
    for port in first_bits(DESTINATION_PORT, 16):
        for source in first_bits(SOURCE, 32):
            for source_port in first_bits(SOURCE_PORT, 16):
                yield frame(ether(attacker, 1), Tuple5(source, _TARGET, UDP, source_port, port))


def harmless(attacker: int) -> Iterator[bytes]:
    """Give as many packets that differ in an address that no rule looks at: dropped by the same rule, one mask for all."""
    first = Tuple5(SOURCE ^ 1 << 31, _TARGET, UDP, SOURCE_PORT ^ 1 << 15, DESTINATION_PORT ^ 1 << 15)
    for at in range(COUNT):
        yield frame(
            ether(attacker, 1),
            Tuple5(first.source, _TARGET + at, UDP, first.source_port, first.destination_port),
        )
