"""How long a packet takes: at shares of the highest rate, and out of sleep."""

from collections.abc import Sequence
from pathlib import Path

from bench.contenders import Layout
from bench.load.client import StreamResult
from bench.scenario import (
    Case,
    Column,
    Figures,
    Group,
    Rows,
    Scenario,
    Seat,
    Times,
    both,
    count,
    finish,
    pause,
    send,
)

from .flows import l4

SHARES = (0.1, 0.5, 0.9)
FLOWS = 8192
_WAKES, _GAP_US = 300, 10_000
"""The gap is longer than any switch polls without work (`vs-idle-sleep-us`: 2,000)."""


def load(seat: Seat, case: Case, times: Times) -> Rows:
    """Find the highest rate, then measure at shares of it. Of two directions the slower counts."""
    rows: Rows = {}
    with seat.generator() as generator:
        streams = send(generator, case.traffic, latency=True)
        generator.start()
        pause(max(times.warm, case.warm))
        _, full = count(seat, generator, times)
        for share in SHARES:
            for stream, result in zip(streams, full.streams, strict=True):
                generator.rate(stream, share * result.mpps * 1e6)
            pause(0.3)
            figures, measured = count(seat, generator, times)
            rows[f"at {share:.0%} load"] = figures | _worst(measured.streams)
        finish(generator, {})
    return rows


def _worst(results: Sequence[StreamResult]) -> Figures:
    found = [result.latency for result in results if result.latency is not None]
    return {
        metric: max(getattr(latency, metric) for latency in found) / 1000
        for metric in ("p50", "p99", "p999", "max")
    }


def wake(seat: Seat, case: Case, times: Times) -> Rows:
    """Send single packets, far enough apart that the switch sleeps between them."""
    with seat.generator() as generator:
        pause(0.5)
        found = generator.wake(0, 1, n=_WAKES // 10 if times.quick else _WAKES, gap_us=_GAP_US)
    return {
        case.name: {
            "p50": found.p50 / 1000,
            "p99": found.p99 / 1000,
            "max": found.max / 1000,
            "lost": found.lost,
        }
    }


def groups(_work: Path, quick: bool) -> list[Group]:
    del quick
    cases = [Case("load", both(flows=FLOWS), load), Case("out of sleep", (), wake)]
    return [Group("latency", Layout(), l4, cases)]


SCENARIO = Scenario(
    "latency",
    f"guest to guest, 64 bytes, {FLOWS:,} flows each way; each switch at shares of its own maximum",
    groups,
    (
        Column("p99", "p99 us", ".1f"),
        Column("p50", "p50 us", ".1f"),
        Column("p999", "p99.9 us", ".1f"),
        Column("max", "max us", ".0f"),
        Column("mpps", "Mpps"),
        Column("lost", "lost", ".0f"),
    ),
)
