"""Guests and switch on threads of their own, under ThreadSanitizer: the rings' memory order."""

import os
import shlex
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
PACKAGE = HERE.parents[2] / "vswitchd"
VHOST, DATAPATH = PACKAGE / "ports" / "vhostuser", PACKAGE / "datapath"
SOURCES = [
    HERE / "race_rings.c",
    *sorted(VHOST.glob("*.c")),
    *(DATAPATH / f"{name}.c" for name in ("packet", "offload", "qsbr", "watch")),
]


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    path = tmp_path_factory.mktemp("race") / "race_rings"
    compiler = shlex.split(os.environ.get("CC", "cc"))
    # -Wno-tsan: fences are not modelled; they order only the question whether to notify.
    flags = ["-std=gnu11", "-O2", "-g", "-D_GNU_SOURCE", "-fno-strict-aliasing", "-pthread", "-Wno-tsan"]
    plain = {k: v for k, v in os.environ.items() if k != "LD_PRELOAD"}
    command = [*compiler, *flags, "-fsanitize=thread", f"-I{DATAPATH}", f"-I{VHOST}", *SOURCES, "-o", path]
    subprocess.run(command, check=True, env=plain)
    return path


@pytest.mark.parametrize("packed", [0, 1], ids=["split", "packed"])
@pytest.mark.parametrize("event_idx", [0, 1])
@pytest.mark.parametrize(("frame", "buffer"), [(60, 2048), (1500, 2048), (600, 256)])
def test_no_races(program, frame, buffer, event_idx, packed):
    plain = {k: v for k, v in os.environ.items() if k != "LD_PRELOAD"}
    command = [program, "5000", str(frame), str(buffer), str(event_idx), str(packed)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=plain)
    assert (done.returncode, done.stdout, done.stderr) == (0, "ok\n", "")
