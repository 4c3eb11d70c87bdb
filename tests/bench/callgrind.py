"""Count instructions per packet and function of the datapath under valgrind: slow, and deaf to noisy neighbours."""

import argparse
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from peers import proc
from peers.switch import Switch

from bench import contenders
from bench.flowgen import drive
from bench.scenario import pause
from bench.scenarios import flows

_TOP = 25
_WARM = 2.0
RULES = {"l4": lambda _count: flows.l4(), "each": flows.each}


def callgrind(out: Path) -> list[str]:
    """Give the command that runs the daemon under callgrind; counting is switched on later by callgrind_control."""
    # fair-sched: valgrind runs one thread at a time, and a polling core would starve the control thread.
    return [
        "valgrind",
        "--tool=callgrind",
        "--fair-sched=yes",
        "--instr-atstart=no",
        f"--callgrind-out-file={out}",
    ]


def functions(listing: str) -> list[tuple[int, str]]:
    """Read callgrind_annotate's lines for our own functions: (instructions, name), most first.

    A function stands there once for each file that it was inlined from.
    """
    total: Counter[str] = Counter()
    found = re.findall(
        r"^\s*([\d,]+)\s+\([^)]*\)\s+(?:vswitchd/|/usr/lib/gcc/)\S*?:(\w+)", listing, re.MULTILINE
    )
    for count, name in found:
        total[name] += int(count.replace(",", ""))
    return [(count, name) for name, count in total.most_common()]


def main(argv: Sequence[str] | None = None) -> int:
    """Run, print the functions with most instructions per packet received."""
    parser = argparse.ArgumentParser(prog="callgrind", description=__doc__)
    parser.add_argument("--flows", type=int, default=1)
    parser.add_argument("--rules", choices=RULES, default="l4")
    parser.add_argument("--seconds", type=float, default=10, help="of counted traffic (default %(default)s)")
    words = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="vsb") as name:
        directory = Path(name)
        out = directory / "callgrind.out"
        ours = contenders.Ours(directory / "switch", 0, contenders.Layout())
        ours.peer = Switch(directory / "switch", under=callgrind(out))
        try:
            ours.start()
            ours.install(RULES[words.rules](words.flows))
            pid = str(ours.peer.child.pid)
            with drive(ours.sockets, directory, words.flows, 1) as generator:
                pause(_WARM)
                proc.run(["callgrind_control", "-i", "on", pid])
                before = ours.counts()[1]
                pause(words.seconds)
                packets = ours.counts()[1] - before
                proc.run(["callgrind_control", "-i", "off", pid])
                generator.command("stop")
            proc.run(["callgrind_control", "-d", pid])
        finally:
            ours.close()
        files = sorted(directory.glob("callgrind.out*"), key=lambda path: path.stat().st_size)
        listing = proc.run(["callgrind_annotate", "--auto=no", "--threshold=99.9", files[-1]]).stdout
    counted = functions(listing)
    each = sum(count for count, _ in counted) / max(packets, 1)
    print(f"{packets} packets, {each:.0f} instructions each, the polling itself included:")
    for count, function in counted[:_TOP]:
        print(f"{count / max(packets, 1):10.1f}  {function}")
    return 0 if packets else 1


if __name__ == "__main__":
    sys.exit(main())
