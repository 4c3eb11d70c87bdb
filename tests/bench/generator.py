"""The load: testpmd's flowgen over two virtio-user ports, both ways at once, 64-byte frames."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from peers import need
from peers.testpmd import Memory, Testpmd

from .contenders import Contender, pause

RING = 1024
_PAGES = 256


@dataclass(frozen=True, slots=True)
class Load:
    """How long and how wide: seconds before counting and while counting, flows, core of the generator."""

    flows: int
    seconds: float
    core: int
    warm_up: float = 2.0


@dataclass(frozen=True, slots=True)
class Rate:
    """Packets received per second, both ways added, and busy cycles of the switch per packet."""

    pps: float
    cycles: float


@contextmanager
def drive(contender: Contender, directory: Path, load: Load) -> Iterator[Testpmd]:
    """Send through a running contender; entered when the warm-up is over."""
    vdevs = [
        f"net_virtio_user{at},path={path},queues=1,queue_size={RING},mac=02:00:00:00:00:0{at + 1}"
        for at, path in enumerate(contender.sockets)
    ]
    options = [
        "--forward-mode=flowgen",
        f"--rxd={RING}",
        f"--txd={RING}",
        "--burst=32",
        "--no-flush-rx",
        f"--flowgen-flows={load.flows}",
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
        lcores=f"0@{load.core},1@{load.core}",
        memory=Memory(megabytes=512, huge=huge),
        options=options,
        mbufs=0,
        nice=0,
    )
    with generator:
        generator.wait_ready()
        generator.command("start")
        pause(load.warm_up)
        yield generator


def measure(contender: Contender, directory: Path, load: Load) -> Rate:
    """Measure a running contender; AssertionError when nothing comes through."""
    with drive(contender, directory, load) as generator:
        contender.begin()
        generator.stats()
        pause(load.seconds)
        rates = generator.stats()
        cycles = contender.cycles()
        generator.command("stop")
    pps = float(sum(port.rx_pps for port in rates))
    assert pps > 0, f"nothing came through; see {generator.child.log}"
    return Rate(pps, cycles)
