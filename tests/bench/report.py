"""From single measurements to medians, spreads and ratios, as text tables and CSV."""

import csv
import math
import statistics
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Protocol

PEER, BOUND = "ovs", "bound"


@dataclass(frozen=True, slots=True)
class Sample:
    """One figure of one measurement."""

    round: int
    scenario: str
    row: str
    switch: str
    metric: str
    value: float


@dataclass(frozen=True, slots=True)
class Spread:
    """Median, smallest and largest of some figures."""

    median: float
    least: float
    most: float


class Columned(Protocol):
    """What of a column is needed here."""

    @property
    def metric(self) -> str:
        """The figure's name."""

    @property
    def head(self) -> str:
        """The head of the column."""

    @property
    def form(self) -> str:
        """How the figure is written."""


def write_csv(path: Path, samples: Iterable[Sample]) -> None:
    """Write every single figure."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Sample)])
        writer.writeheader()
        writer.writerows(asdict(sample) for sample in samples)


def spread(samples: Iterable[Sample], metric: str) -> Spread | None:
    """Summarize a metric; None when nobody measured it."""
    values = [sample.value for sample in samples if sample.metric == metric and not math.isnan(sample.value)]
    return Spread(statistics.median(values), min(values), max(values)) if values else None


def ratio(samples: Iterable[Sample], metric: str, switch: str, peer: str) -> float:
    """Median over the rounds of `switch` to `peer` in the same round; NaN without peer."""
    values = {(sample.round, sample.switch): sample.value for sample in samples if sample.metric == metric}
    pairs = [
        value / values[number, peer]
        for (number, name), value in values.items()
        if name == switch and values.get((number, peer))
    ]
    return statistics.median(pairs) if pairs else math.nan


def rows(samples: Iterable[Sample]) -> dict[str, dict[str, list[Sample]]]:
    """Sort the samples of a scenario by row and switch, in the order in which they came."""
    result: dict[str, dict[str, list[Sample]]] = {}
    for sample in samples:
        result.setdefault(sample.row, {}).setdefault(sample.switch, []).append(sample)
    return result


def _number(value: float, form: str) -> str:
    return "-" if math.isnan(value) else format(value, form)


def text(
    samples: Iterable[Sample], columns: Sequence[Columned], left_out: Mapping[tuple[str, str], str]
) -> str:
    """Give the table of a scenario: a line for each row and switch. The first column comes with its spread;
    the ratios are of the first one that the row has.

    `left_out`: who is missing in which row, and why.
    """
    some = list(samples)
    main, *others = [column for column in columns if spread(some, column.metric) is not None]
    heads = (
        "",
        "switch",
        main.head,
        "min",
        "max",
        *(column.head for column in others),
        f"x {PEER}",
        f"x {BOUND}",
        "rounds",
    )
    lines: list[Sequence[str]] = [heads]
    for row, switches in rows(some).items():
        here = [sample for each in switches.values() for sample in each]
        compared = next((column.metric for column in columns if spread(here, column.metric)), main.metric)
        for switch, mine in switches.items():
            found = spread(mine, main.metric)
            figures = (found.median, found.least, found.most) if found else (math.nan,) * 3
            cells = [_number(value, main.form) for value in figures]
            for column in others:
                other = spread(mine, column.metric)
                cells.append(_number(other.median if other else math.nan, column.form))
            cells += [_number(ratio(here, compared, switch, peer), ".2f") for peer in (PEER, BOUND)]
            lines.append((row, switch, *cells, str(len({sample.round for sample in mine}))))
    missing: dict[tuple[str, str], list[str]] = {}
    for (row, switch), why in left_out.items():
        missing.setdefault((switch, why), []).append(row)
    notes = [f"without {switch}: {'; '.join(which)}: {why}\n" for (switch, why), which in missing.items()]
    return align(lines, left={0, 1}) + "".join(notes)


def align(rows: Sequence[Sequence[str]], *, left: Container[int]) -> str:
    """Lines of a table whose first row is the heads; columns `left` begin at the left."""
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    lines = [
        "  ".join(
            cell.ljust(width) if at in left else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    return "\n".join(line.rstrip() for line in lines) + "\n"
