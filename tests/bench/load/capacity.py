"""How fast the generator can be: against the least switch there is, and against dpdk-testpmd in io mode."""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from bench import contenders
from bench.load.build import program
from bench.load.client import Generator, Measurement

TRAFFIC: dict[str, dict[str, object]] = {
    "1 flow": {},
    "1M flows": {"flows": 1_000_000},
    "1M flows, zipf, time stamps": {"flows": 1_000_000, "dist": "zipf", "latency": True},
    "1M random five-tuples": {"flows": 1_000_000, "vary": "five_tuple", "dist": "random"},
    "1,518 bytes": {"size": 1518},
}


@contextmanager
def null_switch(directory: Path, core: int, *options: str) -> Iterator[list[Path]]:
    """The least switch, running; its sockets."""
    sockets = [directory / "left", directory / "right"]
    words = [f"--listen={path}" for path in sockets]
    with subprocess.Popen([program(), "--loop", f"--core={core}", *words, *options]) as switch:
        yield sockets
        switch.wait(10)


def drive(sockets: Sequence[Path], core: int, seconds: float, words: dict[str, object]) -> Measurement:
    """Send both ways as fast as the rings take it."""
    with Generator(sockets, core) as load:
        load.traffic(0, 1, **words)
        load.traffic(1, 0, **words)
        load.start()
        time.sleep(0.3)
        done = load.measure(seconds)
        load.stop()
    return done


def line(name: str, traffic: str, done: Measurement) -> str:
    """One row of the table: what was sent, because without copies nothing comes back that could be known again."""
    sent = sum(stream.sent_mpps for stream in done.streams)
    return f"| {name} | {traffic} | {sent:.1f} | {done.cycles_per_packet:.0f} | {done.idle:.0%} |"


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="capacity", description=__doc__)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--switch-core", type=int, default=0)
    parser.add_argument("--generator-core", type=int, default=1)
    words = parser.parse_args(argv)
    print(
        "| switch | traffic, both ways | Mpps | cycles of the generator per packet | generator idle |\n|---|---|---|---|---|"
    )
    for name, options in (("least, copies", ()), ("least, rings only", ("--null",))):
        for traffic, keys in TRAFFIC.items():
            with (
                tempfile.TemporaryDirectory(prefix="vsb") as at,
                null_switch(Path(at), words.switch_core, *options) as sockets,
            ):
                done = drive(sockets, words.generator_core, words.seconds, keys)
            print(line(name, traffic, done), flush=True)
    if reason := contenders.available("bound"):
        print(f"capacity: testpmd is left out: {reason}")
        return 0
    for traffic, keys in TRAFFIC.items():
        with tempfile.TemporaryDirectory(prefix="vsb") as at:
            bound = contenders.Bound(Path(at) / "switch", words.switch_core, contenders.Layout())
            bound.start()
            try:
                done = drive(bound.sockets, words.generator_core, words.seconds, keys)
            finally:
                bound.close()
        print(line("testpmd io", traffic, done), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
