"""The switch is killed between any two instructions that touch shared memory: its successor finds every ring whole."""

import os
import shlex
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
PACKAGE = HERE.parents[2] / "vswitchd"
VHOST, DATAPATH = PACKAGE / "ports" / "vhostuser", PACKAGE / "datapath"
SOURCES = [
    HERE / "die_rings.c",
    *sorted(VHOST.glob("*.c")),
    *(DATAPATH / f"{name}.c" for name in ("packet", "offload", "qsbr", "watch")),
]
NO_PTRACE = 77


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    path = tmp_path_factory.mktemp("die") / "die_rings"
    compiler = shlex.split(os.environ.get("CC", "cc"))
    flags = ["-std=gnu11", "-O2", "-g", "-D_GNU_SOURCE", "-fno-strict-aliasing", "-pthread"]
    plain = {k: v for k, v in os.environ.items() if k != "LD_PRELOAD"}
    command = [*compiler, *flags, f"-I{DATAPATH}", f"-I{VHOST}", *SOURCES, "-o", path]
    subprocess.run(command, check=True, env=plain)
    return path


@pytest.mark.parametrize("sends", [1, 0], ids=["guest-sends", "guest-receives"])
@pytest.mark.parametrize(
    ("packed", "base"),
    [(0, 65530), (1, 0x8000), (1, 0x8000 | 11), (1, 11)],
    ids=["split", "new", "over-the-end", "second-lap"],
)
def test_every_moment_to_die(program, packed, sends, base):
    plain = {k: v for k, v in os.environ.items() if k != "LD_PRELOAD"}
    command = [program, str(packed), str(sends), str(base)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, env=plain)
    if done.returncode == NO_PTRACE:
        pytest.skip("this machine does not let a process trace its child")
    assert (done.returncode, done.stderr) == (0, "")
    word, deaths, of_successors, _steps = done.stdout.split()
    assert word == "ok"
    assert int(deaths) > 10
    assert int(of_successors) > 0 or not packed
