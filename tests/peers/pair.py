"""Two virtio-user guests in one testpmd that play captures at each other and record what arrives."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from . import pcap
from .testpmd import Memory, PortStats, Testpmd, parse_stats
from .wait import until

# testpmd's largest: what fits in one ring cannot be lost, even by a switch that does not wait for its guest.
RING = 1024
GUESTS, CAPTURES = (0, 2), (1, 3)
# Which of its receive and transmit functions the driver takes is what it says at this level.
TELL_PATH = "--log-level=pmd.net.virtio.*:info"

# Lets the switch connect to the guest of this number.
Meet = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Setup:
    """What all guests of one testpmd share.

    `mbuf_size`: 0 is testpmd's own, 2 KB of data. `scatter`: a frame may lie in several mbufs, and so in several
    descriptors when it is sent.
    """

    mbuf_size: int = 0
    scatter: bool = False
    huge: bool = False


@dataclass(frozen=True, slots=True)
class Shape:
    """The rings of both guests: options of net_virtio_user, queue pairs."""

    options: str = ""
    queues: int = 1


@dataclass(frozen=True, slots=True)
class Played:
    """What came of it: testpmd's counters of guest 0 and 1; the frames each received, by receive queue."""

    stats: tuple[PortStats, PortStats]
    queues: tuple[list[list[bytes]], list[list[bytes]]]

    @property
    def received(self) -> tuple[list[bytes], list[bytes]]:
        """The frames of all queues, queue after queue."""
        first, second = ([frame for queue in queues for frame in queue] for queues in self.queues)
        return first, second


class Pair:
    """One testpmd; guests are attached to it and detached while it runs (starting it takes longer than a test).

    Ports of testpmd are 0: guest 0, 1: its captures, 2: guest 1, 3: its captures; the paired topology
    crosses 0 with 1 and 2 with 3. Queue q of a guest plays every frame whose number is q modulo the queues.
    """

    def __init__(self, directory: Path, setup: Setup | None = None) -> None:
        self._setup = setup or Setup()
        self._directory = directory
        directory.mkdir(exist_ok=True)
        options = ["--no-flush-rx", f"--rxd={RING}", f"--txd={RING}"]
        if self._setup.mbuf_size:
            options.append(f"--mbuf-size={self._setup.mbuf_size}")
        self.testpmd = Testpmd(
            directory,
            [],
            name="pair",
            eal=[TELL_PATH],
            options=options,
            # 8 queues of both guests hold 2 * 8 * 1024 in their rings; all others are in flight.
            mbufs=24576,
            memory=Memory(megabytes=224, huge=self._setup.huge),
        )
        self.sockets, self._shape = (directory, directory), Shape()
        self._log_start = 0

    def _path(self, kind: str, guest: int, queue: int) -> Path:
        return self._directory / f"{kind}{guest}-{queue}.pcap"

    def attach(
        self,
        sockets: tuple[Path, Path],
        frames: tuple[Sequence[bytes], Sequence[bytes]],
        shape: Shape,
        *,
        meet: Meet | None = None,
    ) -> None:
        """Make the guests; they connect or, when there is `meet`, listen. Frames go out when `play` is called.

        A guest that listens is waited for until the switch has connected; `meet` is called with its number as soon
        as its socket is there.
        """
        self.testpmd.wait_ready()
        self.sockets, self._shape = sockets, shape
        self._log_start = self.testpmd.mark()
        for guest in (0, 1):
            self._attach_guest(guest, meet)
            files = [f"net_pcap{guest}"]
            for queue in range(shape.queues):
                pcap.write(self._path("in", guest, queue), frames[guest][queue :: shape.queues])
                files.append(f"rx_pcap={self._path('in', guest, queue).name}")
            files += [f"tx_pcap={self._path('out', guest, queue).name}" for queue in range(shape.queues)]
            self.testpmd.attach(",".join(files))
        self._configure()

    def _attach_guest(self, guest: int, meet: Meet | None) -> None:
        options = [
            f"net_virtio_user{guest}",
            f"path={self.sockets[guest]}",
            f"queues={self._shape.queues}",
            f"queue_size={RING}",
            f"mac=02:00:00:00:00:0{guest + 1}",
        ]
        options += [] if meet is None else ["server=1"]
        options += [self._shape.options] if self._shape.options else []
        port = self.testpmd.attach(",".join(options), meet=None if meet is None else lambda: meet(guest))
        assert port == GUESTS[guest]

    def _configure(self) -> None:
        self.testpmd.set_queues(self._shape.queues)
        if self._setup.scatter:
            offloads = ("rx_offload scatter", "tx_offload multi_segs")
            self.testpmd.commands([f"port config {port} {what} on" for port in GUESTS for what in offloads])
        self.start()

    def replace(self, guest: int, *, meet: Meet | None = None) -> None:
        """Remove one guest, whose connection ends, and make another in its place; both play from the start."""
        self.stop()
        self.testpmd.detach([GUESTS[guest]])
        self._attach_guest(guest, meet)
        self._configure()

    def start(self) -> None:
        """Start what is stopped. Guests start their rings, if they have somebody to talk to."""
        self.testpmd.command("port start all")

    def stop(self, ports: Sequence[int] = GUESTS + CAPTURES) -> None:
        """Stop ports, all or some: guests take their rings back, captures are played from their start again."""
        self.testpmd.commands([f"port stop {port}" for port in ports])

    def detach(self) -> None:
        """Remove the guests: their connections end."""
        self.stop()
        self.testpmd.set_queues(1)  # what is set now the next ports must have
        self.testpmd.detach(GUESTS + CAPTURES)

    def driver_log(self) -> str:
        """What testpmd and its driver have printed since the guests were attached."""
        return self.testpmd.since(self._log_start)

    def play(self, expected: tuple[int, int], *, burst: int = 32, seconds: float = 60) -> Played:
        """Send all, wait until guest 0 and 1 have received `expected` frames; both stay connected.

        Waits for the frames to be recorded; a frame too many shows in the counters, which are read last and are
        of this call alone.
        """
        self.testpmd.start(burst=burst)

        def recorded() -> bool:
            stats = self.testpmd.stats()
            return stats[1].tx_packets >= expected[0] and stats[3].tx_packets >= expected[1]

        try:
            until(recorded, f"guests have received {expected} frames", seconds=seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}; counters: {self.testpmd.stats()}") from None
        stats = parse_stats(self.testpmd.commands(["stop", "show port stats all"]))
        first, second = (
            [pcap.read(self._path("out", guest, queue)) for queue in range(self._shape.queues)]
            for guest in (0, 1)
        )
        return Played((stats[0], stats[2]), (first, second))
