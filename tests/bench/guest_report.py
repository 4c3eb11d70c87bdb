"""Turns of guest_nics.py: medians and ratios of neighbours, as a text table and CSV."""

import csv
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from bench.report import align

WHO = ("ours", "testpmd")


@dataclass(frozen=True, slots=True)
class Sample:
    """One turn. `rate`: packets a second; `per_cpu`: packets for each second of processor time that QEMU spent; `lost`: frames."""

    round: int
    model: str
    who: str
    rate: float
    per_cpu: float
    lost: int

    def __str__(self) -> str:
        lost = f"  {self.lost} lost" if self.lost else ""
        return (
            f"round {self.round}  {self.model:<8} {self.who:<8} {self.rate:8,.0f} packets/s  "
            f"{self.per_cpu:8,.0f} packets/CPU s{lost}"
        )


def write_csv(path: Path, samples: Sequence[Sample]) -> None:
    """Write every single measurement."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Sample)])
        writer.writeheader()
        writer.writerows(asdict(sample) for sample in samples)


def _ratio(mine: Sequence[Sample], peer: Sequence[Sample], value: Callable[[Sample], float]) -> str:
    """Median over the rounds of one's value to the peer's of the same round."""
    values = {sample.round: value(sample) for sample in peer}
    ratios = [value(sample) / values[sample.round] for sample in mine if values.get(sample.round)]
    return f"{statistics.median(ratios):.2f}" if ratios else "-"


def text(samples: Sequence[Sample]) -> str:
    """Give the table: a line for each model and who forwarded."""
    rows = [("model", "who", "packets/s", "min", "max", "x testpmd", "/CPU s", "x testpmd", "lost", "rounds")]
    for model in dict.fromkeys(sample.model for sample in samples):
        here = [sample for sample in samples if sample.model == model]
        peer = [sample for sample in here if sample.who == WHO[1]]
        for who in WHO:
            mine = [sample for sample in here if sample.who == who]
            rates = [sample.rate for sample in mine]
            rows.append(
                (
                    model,
                    who,
                    f"{statistics.median(rates):,.0f}",
                    f"{min(rates):,.0f}",
                    f"{max(rates):,.0f}",
                    _ratio(mine, peer, lambda sample: sample.rate),
                    f"{statistics.median(sample.per_cpu for sample in mine):,.0f}",
                    _ratio(mine, peer, lambda sample: sample.per_cpu),
                    str(sum(sample.lost for sample in mine)),
                    str(len(mine)),
                )
            )
    return align(rows, left={0, 1})
