"""What a disturbance costs: pairs of short windows, one beside it and one without.

The machine has two speeds, 1.6 apart, and stays with one for 20 ms to a second: what is measured minutes apart, or in windows of a
second, says nothing about some per cent. Neighbours mostly meet the same speed, the order of the two changes from pair to pair, and
what counts is the median of the ratios within the pairs. A row in which nothing is disturbed says how far off the method itself is.

What a switch remembers of a disturbance (after an attack OVS keeps masks for ten seconds, we keep cache entries; flow-mods have
after-effects of up to a second) would disturb the window without it, too. So there is a twin: a switch of the same kind, with the same
rules and the same traffic, that is never disturbed. The two take turns, and what stands still has its processes stopped. Two processes
lie in memory differently, though, and differ by up to 5 %: take the median of several rounds, each with new ones.
"""

import os
import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

from .contenders import Contender
from .load.client import Generator, Measurement
from .noise import Clock
from .scenario import Column, Figures, Times, Traffic, pause, send

Disturbance = Callable[[float], AbstractContextManager[object]]
"""Enter what it gives, and for so many seconds, or until it is left, the running switch is disturbed."""
AGAIN = 0.015
"""Seconds for a switch that stood still until its rings and caches are as they were."""
_BEGIN = 0.005
"""Seconds until a disturbance is at its pace."""
COLUMNS = (
    Column("mpps", "Mpps"),
    Column("mpps_alone", "alone"),
    Column("mpps_ratio", "of alone", ".1%"),
    Column("mpps_low", "1st quartile", ".0%"),
    Column("mpps_high", "3rd", ".0%"),
    Column("cycles", "cycles/pkt", ".0f"),
    Column("cycles_alone", "alone", ".0f"),
    Column("cycles_ratio", "of alone", ".1%"),
)


@dataclass(frozen=True, slots=True)
class _Window:
    mpps: float
    cycles: float
    measured: Measurement


def nothing(seconds: float) -> AbstractContextManager[None]:
    """Disturb nobody: the row shows how far off the method itself is."""
    del seconds
    return nullcontext()


class Pairs:
    """A switch that is disturbed, and its twin, plugged into one generator; ports of the twin are behind its own."""

    def __init__(
        self, switch: Contender, twin: Contender, generator: Generator, traffic: Sequence[Traffic]
    ) -> None:
        """Both run. Defines the streams of both; the generator is not started yet."""
        self._switches = (switch, twin)
        self._generator = generator
        ports = switch.layout.ports
        self._streams = [
            {stream.number for stream in send(generator, [one.moved(at * ports) for one in traffic])}
            for at in (0, 1)
        ]

    @contextmanager
    def turn(self, which: int = 0) -> Iterator[None]:
        """Let the switch (0) or its twin (1) run, while the other one stands still."""
        other = self._switches[1 - which]
        other.pause()
        try:
            yield
        finally:
            other.resume()

    def warm(self, seconds: float) -> None:
        """Let each of them run for so long."""
        for which in (0, 1):
            with self.turn(which):
                pause(seconds)

    def row(self, times: Times, disturbance: Disturbance = nothing) -> tuple[Figures, list[Measurement]]:
        """Measure pairs: alone, disturbed. Medians and quartiles, and what was measured beside the disturbance."""
        number, seconds = times.pairs
        found: list[list[_Window]] = [[], []]
        clock = Clock.read((*self._pids(), self._generator.pid, os.getpid()))
        for at in range(number):
            for alone in (at % 2, 1 - at % 2):
                found[alone].append(self._window(alone, seconds, nothing if alone else disturbance))
        figures = {}
        for metric in ("mpps", "cycles"):
            beside, alone = ([getattr(one, metric) for one in some] for some in found)
            figures |= compare(metric, beside, alone)
        return figures | clock.noise(), [one.measured for one in found[0]]

    def _pids(self) -> list[int]:
        return [pid for one in self._switches for pid in one.pids()]

    def _window(self, which: int, seconds: float, disturbance: Disturbance) -> _Window:
        switch = self._switches[which]
        with self.turn(which):
            pause(AGAIN)  # and what a batch counts that stood still is counted
            switch.begin()
            with disturbance(_BEGIN + seconds):
                pause(_BEGIN)
                measured = self._generator.measure(seconds)
                cycles = switch.cycles()
        mpps = sum(one.mpps for one in measured.streams if one.stream in self._streams[which])
        return _Window(mpps, cycles, measured)


def compare(metric: str, beside: Sequence[float], alone: Sequence[float]) -> Figures:
    """Medians of both, and median and quartiles of the ratios of neighbours; at least two of each."""
    ratios = [one / other for one, other in zip(beside, alone, strict=True) if other]
    assert len(ratios) > 1, "nothing came through the switch that is left alone"
    low, middle, high = statistics.quantiles(ratios, n=4, method="inclusive")
    return {
        metric: statistics.median(beside),
        f"{metric}_alone": statistics.median(alone),
        f"{metric}_ratio": middle,
        f"{metric}_low": low,
        f"{metric}_high": high,
    }
