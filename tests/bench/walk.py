"""Build and run walk.c: cycles per packet of looking up without rings, bytes per rule; for comparing two builds of the datapath."""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CASES = (  # rules, their number, flows, packets between two flow-mods
    ("l4", 1, 1, 0),
    ("l4", 1, 1_000_000, 0),
    ("each", 10_000, 1, 0),
    ("each", 10_000, 10_000, 0),
    ("each", 100_000, 100_000, 0),
    ("each", 1_000_000, 1_000_000, 0),
    ("wide", 4, 8192, 0),
    ("wide", 4, 8_000_000, 0),  # nearly all packets are of flows that the cache lost
    ("two", 4, 8192, 0),
    ("two", 4, 8_000_000, 0),
    ("two", 4, 1, 5000),  # 1,000 flow-mods/s at 5 Mpps
    ("two", 4, 8192, 5000),
    ("two", 4, 100_000, 5000),
    ("two", 4, 8192, 500),
    ("acl", 1000, 8192, 0),
    ("acl", 10_000, 8192, 0),
    ("acl", 100_000, 8192, 0),
)


def program(directory: Path) -> Path:
    """Link walk.c with the objects that `make build` left."""
    objects = [o for o in (ROOT / "build/native").glob("*.o") if o.name != "_core.o"]
    if not objects:
        raise SystemExit("walk: no compiled datapath in build/native; run make build first")
    source, out = Path(__file__).with_name("walk.c"), directory / "walk"
    include = f"-I{ROOT / 'vswitchd/datapath'}"
    files = [str(source), *map(str, objects), "-o", str(out)]
    command = ["cc", "-O2", "-std=gnu11", "-D_GNU_SOURCE", include, *files, "-pthread"]
    subprocess.run(command, check=True)
    return out


def main(argv: Sequence[str] | None = None) -> int:
    """Run the cases, or those of some rules."""
    parser = argparse.ArgumentParser(prog="walk", description=__doc__)
    parser.add_argument("--rules", choices=("l4", "each", "wide", "two", "acl"))
    parser.add_argument("--flows", type=int, help="only cases with as many flows")
    parser.add_argument("--packets", type=int, default=4_000_000)
    words = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="vsb") as name:
        binary = program(Path(name))
        for rules, number, flows, mods in CASES:
            if words.rules in (None, rules) and words.flows in (None, flows):
                command = [str(binary), rules, *map(str, (number, flows, words.packets, mods))]
                subprocess.run(command, check=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
