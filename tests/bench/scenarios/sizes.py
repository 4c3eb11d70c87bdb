"""How large: frames from 64 bytes to a segment of 64 KB that the guest leaves to others to cut."""

from pathlib import Path

from bench.contenders import STANDARD_MTU, Layout
from bench.flowmods import encoded, wires
from bench.scenario import NOISE, Case, Column, Group, Scenario, both

SIZES = (64, 128, 256, 512, 1024, 1518)
JUMBO, JUMBO_MTU = 9000, 9100
TSO = 65_000


def _rules() -> list[bytes]:
    return encoded(wires(2))


def groups(_work: Path, quick: bool) -> list[Group]:
    sizes = (64, 1518) if quick else SIZES
    plain = [Case(f"{size} B", both(size=size), flowgen=1 if size == 64 else 0) for size in sizes]
    buffers = {"mergeable": True}
    result = [Group("plain", Layout(mtu=STANDARD_MTU), _rules, plain, buffers)]
    if not quick:
        result.append(
            Group(
                "jumbo",
                Layout(mtu=JUMBO_MTU),
                _rules,
                [Case(f"{JUMBO} B", both(size=JUMBO))],
                {**buffers, "max_frame": 1 << 14},
            )
        )
    large = Case("64 KB TSO", both(size=TSO, proto="tcp", tso=True))
    options = {**buffers, "tso": True, "max_frame": 1 << 16}
    result.append(Group("tso", Layout(tso=True), _rules, [large], options))
    return result


SCENARIO = Scenario(
    "sizes",
    "frame sizes, port to port",
    groups,
    (Column("gbps", "Gbit/s"), Column("mpps", "Mpps", ".3f"), Column("cycles", "cycles/pkt", ".0f"), *NOISE),
    seconds=(45, 14),
)
