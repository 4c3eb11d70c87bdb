"""The figures of a run as bars: a panel for each scenario and metric, a group of bars for each row, whiskers from least to most."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .report import Columned, Sample, rows, spread

COLOURS = {"ours": "#1f6fb4", "ovs": "#d98032", "bound": "#9a9a9a"}
_HEIGHT, _ROW_WIDTH, _MOST_RATIO = 3.6, 0.75, 50.0
_SKIPPED = {"busy", "others", "stolen", "sent", "max"}


def draw(path: Path, title: str, scenarios: Mapping[str, tuple[Sequence[Columned], Sequence[Sample]]]) -> str:
    """Write the PNG of a run, scenarios by title; "" or why there is none."""
    try:
        import matplotlib as mpl
    except ImportError:
        return "matplotlib is missing: pip install 'vswitchd[bench]', as `make bench` does"
    mpl.use("Agg")
    import matplotlib.pyplot as plt

    panels = [
        (name, column, samples)
        for name, (columns, samples) in scenarios.items()
        for column in columns
        if column.metric not in _SKIPPED and spread(samples, column.metric) is not None
    ]
    width = max(8.0, 2.0 + _ROW_WIDTH * max(len(rows(samples)) for _, _, samples in panels))
    figure, axes = plt.subplots(
        len(panels), 1, figsize=(width, _HEIGHT * len(panels)), squeeze=False, layout="constrained"
    )
    figure.suptitle(title, fontsize=8)
    for axis, (name, column, samples) in zip(axes[:, 0], panels, strict=True):
        _panel(axis, column, samples)
        axis.set_title(name, fontsize=9, loc="left")
    figure.savefig(path, dpi=110)
    plt.close(figure)
    return ""


def _panel(axis: Any, column: Columned, samples: Sequence[Sample]) -> None:
    # A row in which nobody has the metric takes no room.
    table = {
        row: found
        for row, switches in rows(samples).items()
        if (
            found := {
                switch: figures
                for switch, some in switches.items()
                if (figures := spread(some, column.metric))
            }
        )
    }
    switches = [name for name in COLOURS if any(name in found for found in table.values())]
    medians = [figures.median for found in table.values() for figures in found.values()]
    bar = 0.8 / len(switches)
    for at, switch in enumerate(switches):
        places = [(row, found[switch]) for row, found in enumerate(table.values()) if switch in found]
        axis.bar(
            [row + (at - (len(switches) - 1) / 2) * bar for row, _ in places],
            [figures.median for _, figures in places],
            bar,
            yerr=[
                [figures.median - figures.least for _, figures in places],
                [figures.most - figures.median for _, figures in places],
            ],
            label=switch,
            color=COLOURS[switch],
            error_kw={"linewidth": 0.8},
        )
    axis.set_xticks(range(len(table)), list(table), rotation=20, ha="right", fontsize=7)
    axis.set_ylabel(column.head, fontsize=8)
    positive = [value for value in medians if value > 0]
    if positive and max(positive) > _MOST_RATIO * min(positive):
        axis.set_yscale("log")
    axis.grid(axis="y", linewidth=0.3)
    axis.legend(fontsize=7)
