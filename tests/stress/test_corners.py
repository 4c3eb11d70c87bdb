"""Corners of the datapath that take a C program: versions that come round, a queue that leaves a sleeping core."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

HERE = Path(__file__).resolve().parent
DATAPATH = HERE.parents[1] / "vswitchd" / "datapath"
FLAGS = shlex.split(
    "-std=gnu11 -O1 -g -pthread -fno-strict-aliasing -D_GNU_SOURCE"
    " -fsanitize=address,undefined -fno-sanitize-recover=undefined"
)


def test_corners(tmp_path: Path) -> None:
    program = tmp_path / "corners"
    compiler = shlex.split(os.environ.get("CC", "cc"))
    plain = {k: v for k, v in os.environ.items() if k != "LD_PRELOAD"}
    sources = [HERE / "corners.c", *sorted(DATAPATH.glob("*.c"))]
    subprocess.run([*compiler, *FLAGS, f"-I{DATAPATH}", *sources, "-o", program], check=True, env=plain)
    done = subprocess.run([program], capture_output=True, text=True, check=False, env=plain)
    assert done.returncode == 0, done.stderr
