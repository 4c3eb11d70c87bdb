"""Build and run ports.c: cycles that an idle port costs each turn of a core, for comparing two builds of the datapath."""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.bench import loop


def main(argv: Sequence[str] | None = None) -> int:
    """Run it once."""
    parser = argparse.ArgumentParser(prog="ports", description=__doc__)
    parser.add_argument("--rounds", type=int, default=4000)
    words = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="vsb") as name:
        binary = loop.program(Path(name), "ports.c")
        subprocess.run([binary, str(words.rounds)], check=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
