"""Instructions a packet of each path of the datapath, counted by callgrind (noise does not move them), beside the tree's figures.

    python tests/bench/instructions.py                      # all cases beside the figures of instructions.json
    python tests/bench/instructions.py --functions 'miss'   # which functions they are, of the cases whose name holds this
    python tests/bench/instructions.py --write              # what was counted becomes the figures

A test (tests/unit/bench) fails when a case needs more than 5 % over its figure: mend it, or say why it is worth that and write.
The figures are of the compiler that the file names. When another one moves them, go back to a commit where they were right, write
them there with the new compiler, and see what your own commits add to those. Instructions are no cycles: what misses the cache
or waits is measured by loop.py and the bench.
"""

import argparse
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.loop import program

FIGURES = Path(__file__).with_suffix(".json")
WRITE = "python tests/bench/instructions.py --write"
TOLERANCE = 0.05
_TOP = 20
_HARNESS = {"main", "(below main)", "__libc_start_main@@GLIBC_2.34", "__libc_start_call_main"}


@dataclass(frozen=True, slots=True)
class Count:
    """One case: how many packets were counted, and instructions by function (self)."""

    packets: int
    functions: Counter[str]
    total: int

    @property
    def each(self) -> float:
        """Instructions a packet."""
        return round(self.total / self.packets, 1)


@dataclass(frozen=True, slots=True)
class Figures:
    """What instructions.json holds."""

    compiler: str
    instructions: dict[str, float]

    @classmethod
    def read(cls, path: Path = FIGURES) -> "Figures":
        """Read the file."""
        return cls(**json.loads(path.read_text()))

    def write(self, path: Path = FIGURES) -> None:
        """Rewrite the file."""
        path.write_text(
            json.dumps({"compiler": self.compiler, "instructions": self.instructions}, indent=2) + "\n"
        )


def compiler() -> str:
    """Name and version of the compiler that makes the datapath."""
    words = [*shlex.split(os.environ.get("CC", "cc")), "--version"]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.splitlines()[0]


def parse_dump(text: str) -> tuple[str, int, Counter[str]]:
    """Read a dump of callgrind: the case's name, all instructions, and those of each function itself.

    Names are written out once, then numbered. The line after "calls=" is of the function called.
    """
    names: dict[str, str] = {}
    functions: Counter[str] = Counter()
    case, total, function, of_callee = "", 0, "", False
    for line in text.splitlines():
        if found := re.match(r"c?fn=\((\d+)\)(?: (.+))?", line):
            if found[2]:
                names[found[1]] = found[2].strip()
            if not line.startswith("c"):
                function = names[found[1]]
        elif line.startswith("calls="):
            of_callee = True
        elif found := re.fullmatch(r"[-+*\d]\S* (\d+)", line):
            if not of_callee and function not in _HARNESS:
                functions[function] += int(found[1])
            of_callee = False
        elif found := re.match(r"desc: Trigger: Client Request: (.+)", line):
            case = found[1]
        elif found := re.match(r"totals: (\d+)", line):
            total = int(found[1])
    return case, total, functions


def count() -> dict[str, Count]:
    """Build instructions.c, run it under callgrind (2 s), and give every case by its name, in their order."""
    with tempfile.TemporaryDirectory(prefix="vsb") as name:
        directory = Path(name)
        binary = program(directory, "instructions.c")
        out = directory / "out"
        words = [
            "valgrind",
            "--tool=callgrind",
            "--collect-atstart=no",
            f"--callgrind-out-file={out}",
            binary,
        ]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise SystemExit(f"instructions: exit code {done.returncode}\n{done.stdout}{done.stderr}")
        packets = {case: int(n) for n, case in (line.split(" ", 1) for line in done.stdout.splitlines())}
        dumps = [parse_dump(path.read_text()) for path in directory.glob("out.*")]
    found = {case: Count(packets[case], functions, total) for case, total, functions in dumps if case}
    return {case: found[case] for case in packets}


def compare(figures: Mapping[str, float], counted: Mapping[str, float]) -> tuple[list[str], list[str]]:
    """Say which cases are worse than their figures (or have none, or are gone), and which are better, by more than the tolerance."""
    worse = [f"{case}: has a figure, but is not counted" for case in figures.keys() - counted.keys()]
    better = []
    for case, new in counted.items():
        old = figures.get(case)
        if old is None:
            worse.append(f"{case}: {new:.1f} instructions a packet, no figure yet")
            continue
        line = f"{case}: {old:.1f} -> {new:.1f} instructions a packet ({new / old - 1:+.1%})"
        if new > old * (1 + TOLERANCE):
            worse.append(line)
        elif new < old * (1 - TOLERANCE):
            better.append(line)
    return worse, better


def main(argv: Sequence[str] | None = None) -> int:
    """Count and print; 1 when a case is worse than its figure."""
    parser = argparse.ArgumentParser(
        prog="instructions", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--write", action="store_true", help=f"rewrite {FIGURES.name}")
    parser.add_argument("--functions", metavar="CASE", help="break down the cases whose name holds this")
    words = parser.parse_args(argv)
    counted = count()
    each = {case: one.each for case, one in counted.items()}
    figures = Figures.read().instructions if FIGURES.exists() else {}
    for case, one in counted.items():
        old = figures.get(case)
        print(f"{one.each:8.1f}  {'' if old is None else f'{one.each / old - 1:+7.1%}':8}  {case}")
        if words.functions and words.functions in case:
            for function, instructions in one.functions.most_common(_TOP):
                print(f"{instructions / one.packets:28.1f}  {function}")
    if words.write:
        Figures(compiler(), each).write()
        return 0
    worse, _ = compare(figures, each)
    return 1 if worse else 0


if __name__ == "__main__":
    sys.exit(main())
