"""From single measurements to medians, spreads and ratios, as a text table and CSV."""

import csv
import math
import statistics
from collections.abc import Container, Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Sample:
    """One measurement. `cycles` is NaN where the switch does not count them."""

    round: int
    rules: str
    flows: int
    switch: str
    mpps: float
    cycles: float


def write_csv(path: Path, samples: Iterable[Sample]) -> None:
    """Write every single measurement."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Sample)])
        writer.writeheader()
        writer.writerows(asdict(sample) for sample in samples)


def ratio(samples: Sequence[Sample], switch: str, peer: str) -> float:
    """Median over the rounds of `switch` to `peer` in the same round; NaN without peer."""
    rates = {(sample.round, sample.switch): sample.mpps for sample in samples}
    pairs = [
        rate / rates[number, peer]
        for (number, name), rate in rates.items()
        if name == switch and rates.get((number, peer))
    ]
    return statistics.median(pairs) if pairs else math.nan


def _number(value: float, form: str) -> str:
    return "-" if math.isnan(value) else format(value, form)


def text(samples: Sequence[Sample], *, peer: str = "ovs") -> str:
    """Give the table: a line for each rules, flows and switch."""
    heads = ("rules", "flows", "switch", "Mpps", "min", "max", "cycles/pkt", f"x {peer}", "rounds")
    rows = [heads]
    for rules, flows in sorted({(sample.rules, sample.flows) for sample in samples}):
        here = [sample for sample in samples if (sample.rules, sample.flows) == (rules, flows)]
        for switch in dict.fromkeys(sample.switch for sample in here):
            mine = [sample for sample in here if sample.switch == switch]
            rates = [sample.mpps for sample in mine]
            cycles = [sample.cycles for sample in mine if not math.isnan(sample.cycles)]
            rows.append(
                (
                    rules,
                    f"{flows:,}",
                    switch,
                    f"{statistics.median(rates):.2f}",
                    f"{min(rates):.2f}",
                    f"{max(rates):.2f}",
                    _number(statistics.median(cycles) if cycles else math.nan, ".0f"),
                    _number(ratio(here, switch, peer), ".2f"),
                    str(len(mine)),
                )
            )
    return align(rows, left={0, 2})


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
