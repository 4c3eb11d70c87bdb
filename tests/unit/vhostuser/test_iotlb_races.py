"""Translations come and go while a core forwards, under ThreadSanitizer: what is invalidated is not used any more."""

import os
import shlex
import subprocess
from pathlib import Path

HERE = Path(__file__).resolve().parent
PACKAGE = HERE.parents[2] / "vswitchd"
VHOST, DATAPATH = PACKAGE / "ports" / "vhostuser", PACKAGE / "datapath"
SOURCES = [
    HERE / "race_iotlb.c",
    *sorted(VHOST.glob("*.c")),
    *(DATAPATH / f"{name}.c" for name in ("packet", "offload", "qsbr", "watch")),
]


def test_no_races(tmp_path):
    compiler = shlex.split(os.environ.get("CC", "cc"))
    # -Wno-tsan: fences are not modelled; they order only the question whether to wake somebody.
    flags = ["-std=gnu11", "-O2", "-g", "-D_GNU_SOURCE", "-fno-strict-aliasing", "-pthread", "-Wno-tsan"]
    plain = {k: v for k, v in os.environ.items() if k != "LD_PRELOAD"}
    program = tmp_path / "race_iotlb"
    command = [*compiler, *flags, "-fsanitize=thread", f"-I{DATAPATH}", f"-I{VHOST}", *SOURCES, "-o", program]
    subprocess.run(command, check=True, env=plain)
    done = subprocess.run(
        [program, "5000"], capture_output=True, text=True, timeout=120, check=False, env=plain
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "ok\n", "")
