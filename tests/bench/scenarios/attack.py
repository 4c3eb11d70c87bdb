"""Tuple-space explosion: one guest sends what fills a cache of wildcards with masks, two others want to work."""

from functools import partial
from pathlib import Path

from bench import attack
from bench.contenders import Layout
from bench.flowmods import encoded
from bench.scenario import Case, Column, Group, Rows, Scenario, Seat, Times, both, count, finish, pause, send

from .flows import l4

RATES = (1000, 10_000, 100_000)
FLOWS = 100_000
ATTACKER, TARGET = 3, 2
_SHORT = {1000: "1k", 10_000: "10k", 100_000: "100k"}
_SETTLE = 3.0
"""Seconds of attack before counting; 8,192 packets at 1,000 a second need eight."""


def act(work: Path, seat: Seat, case: Case, times: Times) -> Rows:
    """Before; beside harmless packets at each rate; beside the attack at each rate."""
    rows: Rows = {}
    files = {"harmless": attack.harmless(ATTACKER), "attack": attack.packets(ATTACKER)}
    with seat.generator() as generator:
        legitimate = send(generator, case.traffic)
        streams = {}
        for kind, packets in files.items():
            path = work / f"{kind}.hex"
            path.write_text("".join(f"{packet.hex()}\n" for packet in packets))
            streams[kind] = generator.replay(ATTACKER - 1, path, rate=1)
        generator.start()
        pause(max(times.warm, case.warm))

        def measure(name: str) -> None:
            figures, measured = count(seat, generator, times)
            mine = [
                result for result in measured.streams if result.stream in {one.number for one in legitimate}
            ]
            others = [result for result in measured.streams if result not in mine]
            figures["mpps"] = sum(result.mpps for result in mine)
            figures["attack_pps"] = sum(result.sent for result in others) / measured.seconds
            figures["kept"] = figures["mpps"] / rows["before"]["mpps"] if rows else 1.0
            rows[name] = figures

        measure("before")
        for kind, stream in streams.items():
            for rate in RATES[-1:] if times.quick else RATES:
                generator.rate(stream, rate)
                pause(_SETTLE if rate > RATES[0] else attack.COUNT / rate)
                measure(f"{kind} {_SHORT[rate]}/s")
            generator.rate(stream, 1)
        finish(generator, {})
    return rows


def _rules() -> list[bytes]:
    return encoded(attack.rules(ATTACKER, TARGET)) + l4()


def groups(work: Path, quick: bool) -> list[Group]:
    del quick
    case = Case("attack", both(flows=FLOWS), partial(act, work), warm=1.0)
    return [Group("attack", Layout(ports=3), _rules, [case], fresh=True)]


SCENARIO = Scenario(
    "attack",
    f"tuple-space explosion: {FLOWS:,} legitimate flows between two ports, {attack.COUNT:,} different packets from a third",
    groups,
    (
        Column("mpps", "Mpps"),
        Column("kept", "of before", ".0%"),
        Column("attack_pps", "attack pps", ",.0f"),
        Column("cycles", "cycles/pkt", ".0f"),
    ),
)
