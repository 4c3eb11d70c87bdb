"""What the machine itself adds to latency: gaps of a processor, and the least switch there is at the rate of ours.

    python tests/bench/floor.py

A packet that comes while the switch's processor is away, or before the switch has caught up, waits. With gaps of lengths L, f of them
a second, and a switch at half of its maximum, a share f * mean(max(L - d, 0)) / (1 - 0.5) of the packets waits longer than d. The d at
which that is 1 % is the p99 that a switch without any latency of its own would have here; gaps of the generator come on top.
The least switch at the same rate is at a smaller share of its maximum, so it catches up sooner.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.contenders import Layout, Ours
from bench.load.capacity import null_switch
from bench.load.client import Generator, Measurement
from bench.scenarios.flows import l4

LOAD = 0.5
FLOWS = 8192


def gaps(directory: Path, core: int, seconds: float) -> list[float]:
    """Microseconds of each gap of at least one microsecond."""
    program = directory / "gaps"
    if not program.exists():
        source = Path(__file__).with_name("gaps.c")
        subprocess.run(["cc", "-O2", "-D_GNU_SOURCE", source, "-o", program], check=True)
    done = subprocess.run([program, str(core), str(seconds)], check=True, capture_output=True, text=True)
    return [int(line) / 1000 for line in done.stdout.split()]


def waits(found: Sequence[float], seconds: float, quantile: float) -> float:
    """Microseconds of that quantile for a switch that loses no time but in these gaps, at LOAD of its maximum."""
    wanted = (1 - quantile) * (1 - LOAD) * seconds * 1e6
    low, high = 0.0, max(found, default=0.0)
    while high - low > 0.01:
        middle = (low + high) / 2
        late = sum(gap - middle for gap in found if gap > middle)
        low, high = (middle, high) if late > wanted else (low, middle)
    return high


def describe(core: int, found: Sequence[float], seconds: float) -> str:
    """One line about a processor."""
    long = [gap for gap in found if gap >= 5]
    mean = sum(long) / len(long) if long else 0
    return (
        f"processor {core}: {len(long) / seconds:.0f} gaps of 5 us or more a second, {mean:.0f} us on average, "
        f"{sum(long) / seconds / 1e4:.1f} % of the time: p99 {waits(found, seconds, 0.99):.0f} us, "
        f"p99.9 {waits(found, seconds, 0.999):.0f} us at {LOAD:.0%} load"
    )


def drive(sockets: Sequence[Path], core: int, seconds: float, rates: list[float]) -> Measurement:
    """Both ways at these rates (packets/s); none yet: at LOAD of what goes, and `rates` has them then."""
    with Generator(sockets, core) as generator:
        streams = [generator.traffic(i, 1 - i, flows=FLOWS, latency=True) for i in (0, 1)]
        generator.start()
        time.sleep(0.5)
        if not rates:
            rates += [LOAD * one.mpps * 1e6 for one in generator.measure(seconds / 2).streams]
        for stream, rate in zip(streams, rates, strict=True):
            generator.rate(stream, rate)
        time.sleep(0.3)
        return generator.measure(seconds)


def row(name: str, done: Measurement) -> str:
    """One line of figures; of two directions the slower counts."""
    found = [stream.latency for stream in done.streams if stream.latency is not None]
    p50, p99, p999 = (max(getattr(one, name) for one in found) / 1000 for name in ("p50", "p99", "p999"))
    return f"{name:10} {done.mpps:6.2f} {p50:8.1f} {p99:8.1f} {p999:9.1f}"


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, in turns."""
    parser = argparse.ArgumentParser(prog="floor", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=1.5)
    parser.add_argument("--switch-core", type=int, default=0)
    parser.add_argument("--generator-core", type=int, default=1)
    words = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="vsb") as name:
        at = Path(name)
        ours = Ours(at / "ours", words.switch_core, Layout())
        ours.directory.mkdir()
        try:
            ours.start()
            ours.install(l4())
            ours.pause()
            for turn in range(words.rounds):
                found = gaps(at, words.switch_core, words.seconds)
                print(describe(words.switch_core, found, words.seconds))
                print("switch       Mpps   p50 us   p99 us  p99.9 us")
                rates: list[float] = []
                ours.resume()
                print(row("ours", drive(ours.sockets, words.generator_core, words.seconds, rates)))
                ours.pause()
                (at / f"{turn}").mkdir()
                with null_switch(at / f"{turn}", words.switch_core) as sockets:
                    time.sleep(0.2)
                    print(
                        row("least", drive(sockets, words.generator_core, words.seconds, rates)), flush=True
                    )
        finally:
            ours.resume()
            ours.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
