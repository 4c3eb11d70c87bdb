"""Drive every switch with the same load, alternating, several rounds (`make bench`)."""

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import product
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench import contenders, plot, report
from bench.flowgen import flowgen
from bench.load.client import GeneratorError
from bench.scenario import Case, Group, Scenario, Seat, Times, steady
from bench.scenarios import SCENARIOS

RESULTS = Path(__file__).with_name("results")
ROUNDS = 3
FAILURES = (AssertionError, OSError, GeneratorError)
"""What a measurement fails with; the others go on."""
TIMES, QUICK = Times(0.7, 1.0), Times(0.3, 0.5, quick=True)


@dataclass(slots=True)
class Results:
    """What was found, and what could not be."""

    samples: list[report.Sample] = field(default_factory=list)
    left_out: dict[str, dict[tuple[str, str], str]] = field(default_factory=dict)
    failures: int = 0

    def miss(self, scenario: str, row: str, switch: str, why: str) -> None:
        """Note who is missing in a row."""
        self.left_out.setdefault(scenario, {})[row, switch] = why

    def fail(self, scenario: str, row: str, switch: str, error: Exception) -> None:
        """Note a measurement that failed; the others go on."""
        self.failures += 1
        lines = str(error).strip().splitlines() or [type(error).__name__]
        self.miss(scenario, row, switch, f"FAILED: {lines[0]}")
        print(f"{scenario:9}  {row:28}  {switch:5}  FAILED: {error}", flush=True)


def parser() -> argparse.ArgumentParser:
    """Give the parser of the command line."""
    result = argparse.ArgumentParser(prog="bench", description=__doc__)
    add = result.add_argument
    add("--scenario", help=f"of {','.join(SCENARIOS)} (default: all)")
    add("--case", help="only rows whose names contain this")
    add("--rounds", type=int, help=f"how often everything is measured (default {ROUNDS}; quick 1)")
    add("--warm", type=float, help=f"seconds before counting (default {TIMES.warm}; quick {QUICK.warm})")
    add("--seconds", type=float, help=f"seconds of counting (default {TIMES.count}; quick {QUICK.count})")
    add("--switches", default="ours,ovs,bound", help="in this order (default %(default)s)")
    add("--generator", choices=("vload", "flowgen"), default="vload",
        help="flowgen: dpdk-testpmd's, as a cross-check, for the rows that it can drive")  # fmt: skip
    add("--switch-core", type=int, default=0)
    add("--generator-core", type=int, default=1)
    add("--quick", action="store_true", help="one short round: does it work, not how fast is it")
    add("--out", type=Path, default=RESULTS, help="directory of the results (default: %(default)s)")
    return result


def describe() -> str:
    """Say on what this ran: processor, kernel, commit."""
    model = next(
        (
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.machine(),
    )
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        cwd=RESULTS.parent,
        capture_output=True,
        text=True,
        check=False,
    ).stdout.strip()
    load = os.getloadavg()[0]
    return (
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {model}, {os.cpu_count()} CPUs, "
        f"Linux {platform.release()}, "
        f"commit {commit or 'unknown'}, load before the run {load:.1f}"
    )


def usable(names: Sequence[str]) -> list[str]:
    """Leave out who cannot run here, and say why."""
    result = []
    for name in names:
        if name not in contenders.CONTENDERS:
            raise SystemExit(f"bench: no switch called {name}; there are {', '.join(contenders.CONTENDERS)}")
        if reason := contenders.available(name):
            print(f"bench: {name} is left out: {reason}")
        else:
            result.append(name)
    return result


class Bench:
    """One run: its settings, and the results so far."""

    def __init__(self, words: argparse.Namespace) -> None:
        base = QUICK if words.quick else TIMES
        self.words = words
        self.times = Times(words.warm or base.warm, words.seconds or base.count, quick=words.quick)
        self.rounds = words.rounds or (1 if words.quick else ROUNDS)
        self.switches = usable(words.switches.split(","))
        self.results = Results()

    def wanted(self, group: Group) -> list[Case]:
        """The cases of a group that the command line asks for."""
        cases = [case for case in group.cases if (self.words.case or "") in case.name]
        return [case for case in cases if case.flowgen] if self.words.generator == "flowgen" else cases

    def minutes(self, scenarios: Sequence[Scenario]) -> float:
        """About how long all rows of scenarios take."""
        share = len(self.switches) / len(contenders.CONTENDERS)
        return self.rounds * share * sum(one.seconds[self.words.quick] for one in scenarios) / 60

    def run(self, scenario: Scenario) -> None:
        """Measure a scenario: group by group, in each round by round, case by case, switch by switch."""
        rounds = range(1, self.rounds + 1)
        with tempfile.TemporaryDirectory(prefix="vsb") as name:
            for group in scenario.groups(Path(name), self.words.quick):
                if cases := self.wanted(group):
                    for some in [[number] for number in rounds] if group.fresh else [rounds]:
                        self._group(scenario, group, cases, some)

    def _group(self, scenario: Scenario, group: Group, cases: Sequence[Case], rounds: Sequence[int]) -> None:
        """Start everybody, then let them take turns."""
        with ExitStack() as stack:
            seats: dict[str, Seat] = {}
            for name in self.switches:
                if why := group.left_out.get(name) or contenders.unable(name, group.layout):
                    for case in cases:
                        self.results.miss(scenario.name, case.name, name, why)
                    continue
                try:
                    seats[name] = stack.enter_context(self._seat(name, group))
                except FAILURES as error:
                    for case in cases:
                        self.results.fail(scenario.name, case.name, name, error)
            for number, case, (name, seat) in product(rounds, cases, seats.items()):
                try:
                    with seat.turn():
                        self._measure(scenario, case, name, seat, number)
                except FAILURES as error:
                    self.results.fail(scenario.name, case.name, name, error)

    @contextmanager
    def _seat(self, name: str, group: Group) -> Iterator[Seat]:
        """Start a switch, which then stands still."""
        with tempfile.TemporaryDirectory(prefix="vsb") as directory:
            kind = contenders.CONTENDERS[name]
            contender = kind(Path(directory) / "switch", self.words.switch_core, group.layout)
            contender.directory.mkdir(mode=0o700, exist_ok=True)
            seat = Seat(contender, group, self.words.generator_core)
            try:
                seat.start()
                contender.pause()
                yield seat
            finally:
                contender.resume()
                contender.close()

    def _measure(self, scenario: Scenario, case: Case, name: str, seat: Seat, number: int) -> None:
        act = flowgen if self.words.generator == "flowgen" else case.act or steady
        for row, figures in act(seat, case, self.times).items():
            self.results.samples += [
                report.Sample(number, scenario.name, row, name, metric, value)
                for metric, value in figures.items()
            ]
            shown = (
                f"{format(figures[column.metric], column.form)} {column.head}"
                for column in scenario.columns
                if column.metric in figures
            )
            print(f"round {number}  {scenario.name:9}  {row:28}  {name:5}  {', '.join(shown)}", flush=True)


def tables(scenarios: Sequence[Scenario], results: Results) -> str:
    """The tables of all scenarios that were measured."""
    parts = []
    for scenario in scenarios:
        mine = [sample for sample in results.samples if sample.scenario == scenario.name]
        if mine:
            missing = results.left_out.get(scenario.name, {})
            parts.append(f"{scenario.name}: {scenario.title}\n{report.text(mine, scenario.columns, missing)}")
    return "\n".join(parts)


def write(out: Path, head: str, scenarios: Sequence[Scenario], results: Results) -> None:
    """Print the tables, write them, the figures and the plot."""
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"{datetime.now(UTC):%Y%m%d-%H%M%S}"
    text = tables(scenarios, results)
    path.with_suffix(".txt").write_text(f"{head}\n\n{text}")
    report.write_csv(path.with_suffix(".csv"), results.samples)
    panels = {
        f"{scenario.name}: {scenario.title}": (scenario.columns, mine)
        for scenario in scenarios
        if (mine := [sample for sample in results.samples if sample.scenario == scenario.name])
    }
    missing = plot.draw(path.with_suffix(".png"), head, panels)
    print(f"\n{text}\nwritten: {path}.txt, .csv{f' ({missing})' if missing else ', .png'}")


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print the tables, write tables, figures and plot. 1 when a measurement failed."""
    words = parser().parse_args(argv)
    names = words.scenario.split(",") if words.scenario else list(SCENARIOS)
    if unknown := [name for name in names if name not in SCENARIOS]:
        raise SystemExit(f"bench: no scenario called {unknown[0]}; there are {', '.join(SCENARIOS)}")
    scenarios = [SCENARIOS[name] for name in names]
    bench = Bench(words)
    head = describe()
    print(head)
    if words.case is None:
        print(f"bench: {bench.rounds} x {', '.join(names)}: about {bench.minutes(scenarios):.0f} minutes")
    try:
        for scenario in scenarios:
            begin = time.monotonic()
            bench.run(scenario)
            print(f"bench: {scenario.name} took {time.monotonic() - begin:.0f} s", flush=True)
    except KeyboardInterrupt:
        print("bench: stopped; what was measured is written")
    if bench.results.samples:
        write(words.out, head, scenarios, bench.results)
    return 1 if bench.results.failures or not bench.results.samples else 0


if __name__ == "__main__":
    sys.exit(main())
