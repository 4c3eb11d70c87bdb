"""A fuzz target in the ordinary run: built under AddressSanitizer and UBSan, given its corpus and mutations of it."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

HERE = Path(__file__).resolve().parent
PACKAGE = HERE.parents[1] / "vswitchd"
VHOST, DATAPATH = PACKAGE / "ports" / "vhostuser", PACKAGE / "datapath"
FLAGS = shlex.split("-std=gnu11 -O1 -g -D_GNU_SOURCE -fno-strict-aliasing -DVS_REPLAY")
SANITIZE = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"]


def datapath(*names: str) -> list[Path]:
    """Files of the datapath."""
    return [DATAPATH / f"{name}.c" for name in names]


def replay(name: str, sources: list[Path], place: Path, *, at_least: int) -> None:
    """Build fuzz_NAME.c with these files, and run it over corpus/NAME, of so many files at least."""
    corpus = sorted((HERE / "corpus" / name).iterdir())
    assert len(corpus) >= at_least
    program = place / f"fuzz_{name}"
    compiler = shlex.split(os.environ.get("CC", "cc"))
    plain = {k: v for k, v in os.environ.items() if k != "LD_PRELOAD"}
    command = [*compiler, *FLAGS, f"-I{DATAPATH}", f"-I{VHOST}", *SANITIZE, HERE / f"fuzz_{name}.c", *sources]
    subprocess.run([*command, "-o", program], check=True, env=plain)
    done = subprocess.run([program, *corpus], capture_output=True, text=True, check=False, env=plain)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{len(corpus)} files\n"
