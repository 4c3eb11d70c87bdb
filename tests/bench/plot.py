"""The figures of a run as bars: a panel for each scenario and metric, a group of bars for each row, whiskers from least to most."""

import math
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from textwrap import wrap
from typing import Any

from .report import Columned, Sample, rows, spread

COLOURS = {"ours": "#1f6fb4", "ovs": "#d98032", "bound": "#9a9a9a"}
_ACROSS, _WIDTH, _HEIGHT, _MOST_RATIO = 3, 7.0, 3.6, 50.0
_LETTERS = 90
"""Of a title's line above a panel."""
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
    down = math.ceil(len(panels) / _ACROSS)
    across = min(_ACROSS, len(panels))
    figure, axes = plt.subplots(
        down, across, figsize=(_WIDTH * across, _HEIGHT * down), squeeze=False, layout="constrained"
    )
    figure.suptitle(title, fontsize=9)
    for axis, (name, column, samples) in zip_longest(axes.flat, panels, fillvalue=(None, None, None)):
        if name is None:
            axis.set_visible(False)
            continue
        _panel(axis, column, samples)
        axis.set_title("\n".join(wrap(name, _LETTERS)), fontsize=8, loc="left")
    figure.savefig(path, dpi=90)
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
