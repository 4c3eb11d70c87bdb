"""Drive every switch with the same load, alternating, several rounds (`make bench`)."""

import argparse
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench import contenders, report, rules
from bench.generator import Load, Rate, measure

RESULTS = Path(__file__).with_name("results")
FLOWS = (1, 8192, 100_000, 1_000_000)
QUICK_FLOWS = (1, 100_000)


def numbers(text: str) -> list[int]:
    """Read "1,8192" ("_" may group digits)."""
    return [int(part) for part in text.split(",")]


def parser() -> argparse.ArgumentParser:
    """Give the parser of the command line."""
    result = argparse.ArgumentParser(prog="bench", description=__doc__)
    result.add_argument("--rounds", type=int, help="how often everything is measured (default 3; quick 1)")
    result.add_argument("--seconds", type=float, help="time of one measurement (default 5; quick 2)")
    result.add_argument(
        "--flows", type=numbers, help=f"flows of the generator (default {','.join(map(str, FLOWS))})"
    )
    result.add_argument("--switches", default="ours,ovs,bound", help="in this order (default %(default)s)")
    result.add_argument(
        "--rules", default="l4", help=f"flow tables, of {', '.join(rules.NAMES)} (default %(default)s)"
    )
    result.add_argument("--switch-core", type=int, default=0)
    result.add_argument("--generator-core", type=int, default=1)
    result.add_argument(
        "--quick", action="store_true", help="one short round: does it work, not how fast is it"
    )
    result.add_argument("--out", type=Path, help=f"directory of the results (default {RESULTS})")
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


def one(switch: str, table: str, load: Load, core: int) -> Rate:
    """Start a switch, measure it and stop it."""
    with tempfile.TemporaryDirectory(prefix="vsb") as name:
        directory = Path(name)
        with contenders.CONTENDERS[switch](directory / "switch", core, table) as contender:
            return measure(contender, directory, load)


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


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print the table, write table and CSV. 1 when a measurement failed."""
    words = parser().parse_args(argv)
    rounds, seconds = (
        words.rounds or (1 if words.quick else 3),
        words.seconds or (2.0 if words.quick else 5.0),
    )
    flows = words.flows or (QUICK_FLOWS if words.quick else FLOWS)
    switches, samples, failures = usable(words.switches.split(",")), [], 0
    head = describe()
    print(head)
    for number in range(1, rounds + 1):
        for kind in words.rules.split(","):
            for count in flows:
                for switch in switches:
                    load = Load(count, seconds, words.generator_core)
                    try:
                        rate = one(switch, rules.table(kind, count), load, words.switch_core)
                    except AssertionError as error:
                        failures += 1
                        print(f"round {number}  {kind} {count:>9,}  {switch:<6} FAILED: {error}", flush=True)
                        continue
                    samples.append(report.Sample(number, kind, count, switch, rate.pps / 1e6, rate.cycles))
                    print(
                        f"round {number}  {kind} {count:>9,}  {switch:<6} {rate.pps / 1e6:6.2f} Mpps  "
                        f"{rate.cycles:7.0f} cycles/packet",
                        flush=True,
                    )
    if samples:
        out = words.out or RESULTS
        out.mkdir(parents=True, exist_ok=True)
        stem = f"{datetime.now(UTC):%Y%m%d-%H%M%S}"
        report.write_csv(out / f"{stem}.csv", samples)
        (out / f"{stem}.txt").write_text(f"{head}\n\n{report.text(samples)}")
        print(f"\n{report.text(samples)}\nwritten: {out}/{stem}.txt, .csv")
    return 1 if failures or not samples else 0


if __name__ == "__main__":
    sys.exit(main())
