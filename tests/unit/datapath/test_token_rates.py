"""A token bucket gives its rate to within 1 %, also when four threads take from it at once; the time is made up."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
DATAPATH = HERE.parents[2] / "vswitchd" / "datapath"
PLAIN = {k: v for k, v in os.environ.items() if k != "LD_PRELOAD"}
TICKS = 64e9  # in a second


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("rates") / "token_rates"
    compiler = shlex.split(os.environ.get("CC", "cc"))
    source = HERE / "token_rates.c"
    done = subprocess.run(
        [*compiler, "-std=gnu11", "-O1", "-Wall", "-Wextra", "-pthread", f"-I{DATAPATH}", source, "-o", out],
        capture_output=True,
        text=True,
        check=False,
        env=PLAIN,
    )
    assert done.returncode == 0, done.stderr
    return out


KBIT = 1000
BITS = [KBIT, 64 * KBIT, 10**6, 7 * 10**8, 10**10, 97 * 10**9, 10**11, 10**12]


@pytest.mark.parametrize("threads", [1, 4])
@pytest.mark.parametrize(
    ("rate", "units"),
    [*((rate, size * 8) for rate in BITS for size in (64, 1514)), *((rate, 1) for rate in (1, 10**6, 97 * 10**6, 10**8))],
)  # fmt: skip
def test_what_is_given_is_the_rate(program: Path, rate: int, units: int, threads: int) -> None:
    packets = 200_000
    arguments = [str(n) for n in (rate, units, 64 * units, packets, threads)]  # a burst of two batches
    done = subprocess.run(
        [program, *arguments], capture_output=True, text=True, check=True, timeout=60, env=PLAIN
    )
    given, ticks = map(int, done.stdout.split())
    due = rate * ticks / TICKS
    assert given == pytest.approx(due, rel=0.01)
