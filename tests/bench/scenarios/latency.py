"""How long a packet takes: at shares of the highest rate, at rates that are the same for all, and out of sleep.

At a share of the highest rate many short windows are measured, and what counts is the median of their quantiles: one pause of some
milliseconds, when the host runs somebody else, decides about one window only.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from bench.contenders import Layout
from bench.load.client import Generator, Measurement, StreamResult
from bench.noise import Clock
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
    finish,
    pause,
    send,
)

from .flows import l4

SHARES = (0.1, 0.5, 0.9)
RATES = (1, 4)
"""Million packets a second, both ways together."""
FLOWS = 8192
_WINDOWS, _WINDOW = 12, 0.25
_METRICS = ("p50", "p99", "p999", "max")
_WAKES, _GAP_US = 300, 10_000
"""The gap is longer than any switch polls without work (`vs-idle-sleep-us`: 2,000)."""


def load(seat: Seat, case: Case, times: Times) -> Rows:
    """Find the highest rate, then measure at shares of it, and below it. Of two directions the slower counts."""
    rows: Rows = {}
    with seat.generator() as generator:
        streams = send(generator, case.traffic, latency=True)
        generator.start()
        pause(max(times.warm, case.warm))
        full = _windows(generator, times)
        most = [median(window.streams[at].mpps for window in full) for at in range(len(streams))]
        todo = [(f"at {share:.0%} load", [share * mpps for mpps in most]) for share in SHARES]
        todo += [(f"at {rate} Mpps", [rate / 2] * len(most)) for rate in RATES if rate < 0.9 * sum(most)]
        for name, rates in todo:
            for stream, mpps in zip(streams, rates, strict=True):
                generator.rate(stream, mpps * 1e6)
            pause(0.3)
            clock = Clock.read((*seat.contender.pids(), generator.pid, os.getpid()))
            found = _windows(generator, times)
            worst = [_worst(window.streams) for window in found]
            rows[name] = {
                **{metric: median(one[metric] for one in worst) for metric in _METRICS},
                "p99_least": min(one["p99"] for one in worst),
                "mpps": median(window.mpps for window in found),
                **clock.noise(),
            }
        finish(generator, {})
    return rows


def _windows(generator: Generator, times: Times) -> list[Measurement]:
    return [generator.measure(_WINDOW) for _ in range(_WINDOWS // 4 if times.quick else _WINDOWS)]


def _worst(results: Sequence[StreamResult]) -> Figures:
    found = [result.latency for result in results if result.latency is not None]
    return {metric: max(getattr(latency, metric) for latency in found) / 1000 for metric in _METRICS}


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
    f"guest to guest, 64 bytes, {FLOWS:,} flows each way; at shares of its own maximum and at rates; medians of windows of 0.25 s",
    groups,
    (
        Column("p99", "p99 us", ".1f"),
        Column("p99_least", "best window", ".1f"),
        Column("p50", "p50 us", ".1f"),
        Column("p999", "p99.9 us", ".1f"),
        Column("max", "max us", ".0f"),
        Column("mpps", "Mpps"),
        Column("lost", "lost", ".0f"),
    ),
    seconds=(75, 18),
)
