"""Build and run nic_loop.c: cycles per packet of each NIC driver's rx and tx against its device model, beside vhost-user rings."""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
KINDS = ("igb", "e1000e", "ixgbe", "vmxnet3", "virtio_net", "vhost")
SIZES = (60, 1514)
FOLDERS = (
    "vswitchd/datapath",
    "vswitchd/ports/vhostuser",
    "vswitchd/ports/kernel",
    "vswitchd/ports/vfio",
    "tests/devices",
)


def program(directory: Path) -> Path:
    """Link nic_loop.c and the device models with the objects that `make build` left."""
    objects = [o for o in (ROOT / "build/native").glob("*.o") if o.name != "_core.o"]
    if not objects:
        raise SystemExit("nic_loop: no compiled datapath in build/native; run make build first")
    includes = [f"-I{ROOT / folder}" for folder in FOLDERS]
    sources = [Path(__file__).with_name("nic_loop.c"), *sorted((ROOT / "tests/devices").glob("*.c"))]
    out = directory / "nic_loop"
    command = [
        "cc",
        "-O2",
        "-std=gnu11",
        "-D_GNU_SOURCE",
        *includes,
        *sources,
        *objects,
        "-o",
        out,
        "-pthread",
    ]
    subprocess.run(command, check=True)
    return out


def main(argv: Sequence[str] | None = None) -> int:
    """Run all kinds, or those that were named."""
    parser = argparse.ArgumentParser(prog="nic_loop", description=__doc__)
    parser.add_argument("kinds", nargs="*", metavar="kind", help=f"of {' '.join(KINDS)}")
    parser.add_argument("--rounds", type=int, default=20_000)
    words = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="vsb") as name:
        binary = program(Path(name))
        for size in SIZES:
            for kind in words.kinds or KINDS:
                subprocess.run([binary, kind, str(size), str(words.rounds)], check=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
