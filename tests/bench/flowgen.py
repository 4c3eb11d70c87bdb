"""The neutral cross-check: testpmd's flowgen over two virtio-user ports, both ways at once, 64-byte frames.

It sends UDP 10.254.0.0:1000 -> 10.253.0.0+i:1001 for i below the number of flows, as our generator does when it is told nothing else.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from peers import need
from peers.testpmd import Memory, Testpmd

from .scenario import Case, Rows, Seat, Times, pause

RING = 1024
_PAGES = 128
_MBUFS = 8192
"""All that rings and caches hold, and no more: of the 141,000 that testpmd takes by itself each has left the caches when it is used
again, and what is measured is the memory of this machine."""
_WARM = 1.0
"""Seconds more than our own generator needs: testpmd takes its time to start."""


@contextmanager
def drive(sockets: Sequence[Path], directory: Path, flows: int, core: int) -> Iterator[Testpmd]:
    """Send until left."""
    vdevs = [
        f"net_virtio_user{at},path={path},queues=1,queue_size={RING},mac=02:00:00:00:00:0{at + 1}"
        for at, path in enumerate(sockets)
    ]
    options = [
        "--forward-mode=flowgen",
        f"--rxd={RING}",
        f"--txd={RING}",
        "--burst=32",
        "--no-flush-rx",
        f"--flowgen-flows={flows}",
    ]
    huge = need.free_hugepages() >= _PAGES
    if not huge:
        print(
            f"bench: fewer than {_PAGES} huge pages are free: the generator uses ordinary ones and is slower"
        )
    generator = Testpmd(
        directory,
        vdevs,
        name="generator",
        lcores=f"0@{core},1@{core}",
        memory=Memory(megabytes=2 * _PAGES, huge=huge),
        options=options,
        mbufs=_MBUFS,
        nice=0,
    )
    with generator:
        generator.wait_ready()
        generator.command("start")
        yield generator


def flowgen(seat: Seat, case: Case, times: Times) -> Rows:
    """Measure a case by flowgen; AssertionError when nothing comes through."""
    directory = seat.contender.directory / "load"
    directory.mkdir(exist_ok=True)
    with drive(seat.contender.sockets, directory, case.flowgen, seat.core) as generator:
        pause(_WARM + max(times.warm, case.warm))
        seat.contender.begin()
        generator.stats()
        pause(times.count)
        rates = generator.stats()
        cycles = seat.contender.cycles()
        generator.command("stop")
    pps = float(sum(port.rx_pps for port in rates))
    assert pps > 0, f"nothing came through; see {generator.child.log}"
    return {case.name: {"mpps": pps / 1e6, "cycles": cycles}}
