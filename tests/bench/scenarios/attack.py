"""Tuple-space explosion: one guest sends what fills a cache of wildcards with masks, two others want to work.

Each row compares twins (`pairs.py`) of which one is attacked, or gets as many harmless packets. It counts when the attack has sent
its whole set, as fast as the switch takes it. `nothing` compares the twins while both are left alone.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from bench import attack
from bench.contenders import Layout
from bench.flowmods import encoded
from bench.load.client import Generator, Stream
from bench.pairs import COLUMNS, Disturbance, Pairs
from bench.scenario import Case, Column, Group, Rows, Scenario, Seat, Times, both, finish, pause

from .flows import l4

RATES = (1000, 10_000, 100_000)
FLOWS = 100_000
ATTACKER, TARGET = 3, 2
_SHORT = {1000: "1k", 10_000: "10k", 100_000: "100k"}
_SETTLE = 0.5
"""Seconds of attack before windows count, beside those that it needs for its whole set."""
_OFF = 0.001
"""Packets a second of an attacker that rests."""


def act(work: Path, seat: Seat, case: Case, times: Times) -> Rows:
    """Compare with nothing; with harmless packets at each rate; with the attack at each rate."""
    rows: Rows = {}
    with seat.twin() as other, seat.generator(other) as generator:
        pairs = Pairs(seat.contender, other, generator, case.traffic)
        streams = {kind: _replay(generator, work / f"{kind}.hex", kind) for kind in ("harmless", "attack")}
        generator.start()
        pairs.warm(max(times.warm, case.warm))
        rows["nothing"], _ = pairs.row(times)
        for kind, stream in streams.items():
            for rate in RATES[-1:] if times.quick else RATES:
                disturbance = _attacking(generator, stream, rate)
                seconds = _SETTLE + (attack.COUNT / rate if kind == "attack" else 0)
                with pairs.turn(), disturbance(seconds):
                    pause(seconds)
                figures, measured = pairs.row(times, disturbance)
                sent = sum(
                    one.sent for each in measured for one in each.streams if one.stream == stream.number
                )
                figures["attack_pps"] = sent / sum(each.seconds for each in measured)
                rows[f"{kind} {_SHORT[rate]}/s"] = figures
        finish(generator, {})
    return rows


def _attacking(generator: Generator, stream: Stream, rate: float) -> Disturbance:
    @contextmanager
    def attacking(_seconds: float) -> Iterator[None]:
        generator.rate(stream, rate)
        try:
            yield
        finally:
            generator.rate(stream, _OFF)

    return attacking


def _replay(generator: Generator, path: Path, kind: str) -> Stream:
    packets = {"harmless": attack.harmless, "attack": attack.packets}[kind](ATTACKER)
    path.write_text("".join(f"{packet.hex()}\n" for packet in packets))
    return generator.replay(ATTACKER - 1, path, rate=_OFF)


def _rules() -> list[bytes]:
    return encoded(attack.rules(ATTACKER, TARGET)) + l4()


def groups(work: Path, quick: bool) -> list[Group]:
    del quick
    case = Case("attack", both(flows=FLOWS), partial(act, work), warm=1.0)
    return [Group("attack", Layout(ports=3, huge_mb=512), _rules, [case], fresh=True)]


SCENARIO = Scenario(
    "attack",
    f"tuple-space explosion: {FLOWS:,} legitimate flows between two ports, {attack.COUNT:,} different packets from a third, beside "
    "a twin that is left alone",
    groups,
    (*COLUMNS, Column("attack_pps", "attack pps", ",.0f")),
    seconds=(90, 20),
)
