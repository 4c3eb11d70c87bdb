"""Build and run loop.c: cycles per packet of the whole path in one thread, for comparing two builds of the datapath."""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CASES = ((1, "rings"), (1, "l4"), (8192, "l4"), (1000, "each"), (100_000, "each"))


def program(directory: Path, name: str = "loop.c") -> Path:
    """Link a program of this directory with the objects that `make build` left."""
    sources = (ROOT / "vswitchd").rglob("*.c")  # an object may be left of a source that is gone
    names = {"_".join(source.relative_to(ROOT / "vswitchd").with_suffix(".o").parts) for source in sources}
    objects = [path for path in (ROOT / "build/native").glob("*.o") if path.name in names]
    if not objects:
        raise SystemExit("loop: no compiled datapath in build/native; run make build first")
    folders = (
        "vswitchd/datapath",
        "vswitchd/ports/vhostuser",
        "vswitchd/ports/kernel",
        "vswitchd/ports/vfio",
    )
    includes = [f"-I{ROOT / folder}" for folder in folders]
    source, out = Path(__file__).with_name(name), directory / Path(name).stem
    subprocess.run(
        ["cc", "-O2", "-std=gnu11", "-D_GNU_SOURCE", *includes, source, *objects, "-o", out, "-pthread"],
        check=True,
    )
    return out


def main(argv: Sequence[str] | None = None) -> int:
    """Run the cases, or the one that was named."""
    parser = argparse.ArgumentParser(prog="loop", description=__doc__)
    parser.add_argument("--flows", type=int)
    parser.add_argument("--rules", choices=("l4", "each", "rings"), default="l4")
    parser.add_argument("--rounds", type=int, default=20_000)
    parser.add_argument("--size", type=int, default=60, help="bytes of a frame (default %(default)s)")
    words = parser.parse_args(argv)
    cases = CASES if words.flows is None else ((words.flows, words.rules),)
    with tempfile.TemporaryDirectory(prefix="vsb") as name:
        binary = program(Path(name))
        for flows, rules in cases:
            for rings in ("near", "far"):
                numbers = (str(words.rounds), rings, str(words.size))
                subprocess.run([binary, str(flows), rules, *numbers], check=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
