"""`pip install .` gives the compiled extension and the programs."""

import sys
import zipfile
from pathlib import Path

import pytest
from peers.proc import run

pytestmark = pytest.mark.interop
ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = ("vswitchd", "vsctl", "vsappctl", "vsofctl")


@pytest.mark.timeout(300)
def test_the_wheel_holds_the_extension_and_names_the_programs(place):
    words = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-build-isolation", "--no-deps"]
    run([*words, "--wheel-dir", place, ROOT], timeout=280)
    (wheel,) = place.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        entry = next(name for name in names if name.endswith("entry_points.txt"))
        text = archive.read(entry).decode()
    assert [name for name in names if name.startswith("vswitchd/_core") and name.endswith(".so")]
    for program in PROGRAMS:
        assert f"{program} = " in text
    for name in ("vswitchd/daemon.py", "vswitchd/ports/vhostuser/port.py", "ctl/vsappctl.py"):
        assert name in names
