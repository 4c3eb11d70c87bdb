"""Build and run ports.c and wake.c: what idle ports cost a core that works, and how fast one that sleeps wakes."""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.bench import loop


def main(argv: Sequence[str] | None = None) -> int:
    """Run both once, or the one that was named."""
    parser = argparse.ArgumentParser(prog="ports", description=__doc__)
    parser.add_argument("what", nargs="?", choices=("turn", "wake", "both"), default="both")
    parser.add_argument("--rounds", type=int, default=2000)
    parser.add_argument("--switch-core", type=int, default=0)
    parser.add_argument("--guest-core", type=int, default=1)
    words = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="vsb") as name:
        if words.what != "wake":
            subprocess.run([loop.program(Path(name), "ports.c"), str(words.rounds)], check=True)
        if words.what != "turn":
            binary = loop.program(Path(name), "wake.c")
            for idle, sleep_us in ((0, 300), (100, 300), (500, 300), (0, 10_000), (100, 10_000)):
                rounds = words.rounds if sleep_us < 1000 else words.rounds // 5
                places = [str(words.switch_core), str(words.guest_core)]
                print(f"asleep for {sleep_us:,} us:", flush=True)
                subprocess.run([binary, str(rounds), str(idle), *places, str(sleep_us)], check=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
