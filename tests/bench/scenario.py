"""What a scenario is: groups of one switch layout each, cases in them, and the acts that measure a case."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from .contenders import Contender, Layout, Steered
from .load.client import Generator, Measurement, Stream
from .noise import Clock

if TYPE_CHECKING:
    from collections.abc import Iterator

Figures = dict[str, float]
"""What one measurement found, by the name of the metric."""
Rows = dict[str, Figures]
"""The same for each row of the table that an act makes."""


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds: before counting, while counting, and whether all is to be short."""

    warm: float
    count: float
    quick: bool = False

    @property
    def tries(self) -> int:
        """How often a measurement is done that others disturb."""
        return 1 if self.quick else 4

    @property
    def pairs(self) -> tuple[int, float]:
        """How many pairs of neighbouring windows are compared (`pairs.py`), and the seconds of a window."""
        return (6 if self.quick else 24, 0.04)


QUIET = 0.15
"""Processors that others may use beside a measurement. On two cores a compiler costs every switch more than half."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """A stream from guest to guest, numbered from 0; `options` are those of Generator.traffic."""

    source: int
    sink: int
    options: Mapping[str, Any] = field(default_factory=dict)

    def moved(self, by: int) -> Traffic:
        """Give the same between guests whose numbers are higher."""
        return replace(self, source=self.source + by, sink=self.sink + by)


def both(**options: Any) -> tuple[Traffic, Traffic]:
    """Give the same stream there and back between the first two guests."""
    return Traffic(0, 1, options), Traffic(1, 0, options)


@dataclass(frozen=True, slots=True)
class Case:
    """One row, or the rows that one act makes. `flowgen`: flows of testpmd's flowgen that is the same load, 0: none is."""

    name: str
    traffic: Sequence[Traffic] = ()
    act: Callable[[Seat, Case, Times], Rows] | None = None
    flowgen: int = 0
    warm: float = 0.0
    """Seconds that it needs at least before caches are as they stay."""


@dataclass(frozen=True, slots=True)
class Group:
    """Cases that are measured one after the other with the same ports and rules.

    `rules` gives the encoded flow-mods; `generator`: options of Generator; `left_out`: who does not take part, and why;
    `fresh`: every round begins with switches that were just started.
    """

    name: str
    layout: Layout
    rules: Callable[[], Iterable[bytes]]
    cases: Sequence[Case]
    generator: Mapping[str, Any] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)
    fresh: bool = False


@dataclass(frozen=True, slots=True)
class Column:
    """A metric in the table: its name, its head, its format."""

    metric: str
    head: str
    form: str = ".2f"


NOISE = (
    Column("busy", "generator busy", ".0%"),
    Column("others", "others' CPU", ".0%"),
    Column("stolen", "stolen", ".0%"),
)
SPEED = (Column("mpps", "Mpps"), Column("cycles", "cycles/pkt", ".0f"), *NOISE)


@dataclass(frozen=True, slots=True)
class Scenario:
    """A question about switches. `groups` gets a directory for files and whether all is to be short.

    The first column that a row has is what switches are compared by. `seconds`: about what a round takes with all switches, and a
    quick one.
    """

    name: str
    title: str
    groups: Callable[[Path, bool], Sequence[Group]]
    columns: Sequence[Column] = SPEED
    seconds: tuple[int, int] = (60, 20)


class Seat:
    """A contender with the rules of a group, and the generator that is plugged in for each case."""

    def __init__(self, contender: Contender, group: Group, core: int) -> None:
        self.contender, self.group, self.core = contender, group, core
        self.install_seconds = 0.0

    def start(self) -> None:
        """Start the switch and give it its rules."""
        self.contender.start()
        self.install_seconds = self.contender.install(self.group.rules())

    @property
    def steered(self) -> Steered:
        """The contender, which has a control plane."""
        assert isinstance(self.contender, Steered), f"{self.contender.name} has no control plane"
        return self.contender

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Let the switch run; it stands still otherwise."""
        self.contender.resume()
        try:
            yield
        finally:
            self.contender.pause()

    @contextmanager
    def twin(self) -> Iterator[Contender]:
        """Start another such switch with the same rules; both run, until they are told to take turns."""
        mine = self.contender
        with TemporaryDirectory(prefix="twin", dir=mine.directory.parent) as directory:
            other = type(mine)(Path(directory), mine.core, mine.layout)
            try:
                other.start()
                other.install(self.group.rules())
                yield other
            finally:
                other.resume()
                other.close()

    @contextmanager
    def generator(self, twin: Contender | None = None) -> Iterator[Generator]:
        """Plug a generator into all ports, those of a twin behind."""
        sockets = [*self.contender.sockets, *(twin.sockets if twin else ())]
        ends = {"listen": sockets} if self.contender.connects else {"sockets": sockets}
        for path in ends.get("listen", ()):
            path.unlink(missing_ok=True)  # of the generator in the round before
        with Generator(**{"sockets": (), **ends, **self.group.generator}, core=self.core) as generator:
            yield generator


def pause(seconds: float) -> None:
    """Let the traffic run; a benchmark is the one place where time itself is what is waited for."""
    time.sleep(seconds)


def send(generator: Generator, traffic: Iterable[Traffic], **more: Any) -> list[Stream]:
    """Tell the generator about streams."""
    return [generator.traffic(one.source, one.sink, **{**one.options, **more}) for one in traffic]


def count(seat: Seat, generator: Generator, times: Times) -> tuple[Figures, Measurement]:
    """Measure what runs. A measurement that others disturbed is done again, a few times; the quietest counts."""
    tries = [count_once(seat.contender, generator, times.count)]
    while min(map(_noise, tries)) > QUIET and len(tries) < times.tries:
        tries.append(count_once(seat.contender, generator, times.count))
    return min(tries, key=_noise)


def _noise(found: tuple[Figures, Measurement]) -> float:
    return found[0]["others"] + found[0]["stolen"]


def count_once(contender: Contender, generator: Generator, seconds: float) -> tuple[Figures, Measurement]:
    """Measure what runs for so long."""
    contender.begin()
    clock = Clock.read((*contender.pids(), generator.pid, os.getpid()))
    measured = generator.measure(seconds)
    noise = clock.noise()
    figures = {
        "mpps": measured.mpps,
        "gbps": measured.gbps,
        "cycles": contender.cycles(),
        "busy": measured.busy_time,
        "load_cycles": measured.cycles_per_packet,
        **noise,
    }
    return figures, measured


def finish(generator: Generator, figures: Figures) -> Figures:
    """Stop, let everything arrive, and add what was lost or spoiled since the start."""
    total = generator.stop()
    assert sum(stream.sent for stream in total.streams) > 0, "the generator sent nothing"
    return figures | {"lost": total.lost, "corrupt": total.corrupt, "out_of_order": total.out_of_order}


def steady(seat: Seat, case: Case, times: Times) -> Rows:
    """Send as the case says, and measure when the caches are warm."""
    with seat.generator() as generator:
        send(generator, case.traffic)
        generator.start()
        pause(max(times.warm, case.warm))
        figures, _ = count(seat, generator, times)
        figures = finish(generator, figures)
    assert figures["mpps"] > 0, "nothing came through"
    return {case.name: figures}
