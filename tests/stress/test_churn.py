"""The whole datapath under ThreadSanitizer while the control thread changes everything that it may."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
DATAPATH = HERE.parents[1] / "vswitchd" / "datapath"
FLAGS = shlex.split(
    "-std=gnu11 -O1 -g -pthread -fno-strict-aliasing -D_GNU_SOURCE -fsanitize=thread -Wno-tsan"
)
PLAIN = {k: v for k, v in os.environ.items() if k != "LD_PRELOAD"}


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("churn") / "churn"
    compiler = shlex.split(os.environ.get("CC", "cc"))
    sources = [HERE / "churn.c", *sorted(DATAPATH.glob("*.c"))]
    done = subprocess.run(
        [*compiler, *FLAGS, f"-I{DATAPATH}", *sources, "-o", out],
        capture_output=True,
        text=True,
        check=False,
        env=PLAIN,
    )
    assert done.returncode == 0, done.stderr
    return out


@pytest.mark.parametrize("seed", [1, 2021])
def test_churn(program: Path, seed: int) -> None:
    env = {**PLAIN, "TSAN_OPTIONS": "halt_on_error=1 exitcode=66"}
    done = subprocess.run([program, str(seed)], capture_output=True, text=True, check=False, env=env)
    assert done.returncode == 0, done.stderr[-8000:]
    assert done.stdout.endswith(" lookups\n")
