"""Two virtio-user guests in one testpmd that play captures at each other and record what arrives."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from . import pcap
from .testpmd import Memory, PortStats, Testpmd
from .wait import until

# testpmd's largest: what fits in one ring cannot be lost, even by a switch that does not wait for its guest.
RING = 1024


@dataclass(frozen=True, slots=True)
class Shape:
    """The guests' rings: options of net_virtio_user, queue pairs, mbuf size (0: a frame fits in one)."""

    options: str = ""
    queues: int = 1
    mbuf_size: int = 0
    huge: bool = False


@dataclass(frozen=True, slots=True)
class Played:
    """What came of it: testpmd's counters of guest 0 and 1, and the frames that each of them received."""

    stats: tuple[PortStats, PortStats]
    received: tuple[list[bytes], list[bytes]]


class Pair:
    """The two guests. Frames go out as soon as `play` is called and both links are up.

    Ports of testpmd are 0: guest 0, 1: its captures, 2: guest 1, 3: its captures; the paired topology
    crosses 0 with 1 and 2 with 3. Queue q of a guest plays every frame whose number is q modulo the queues.
    """

    def __init__(
        self,
        directory: Path,
        sockets: tuple[Path, Path],
        frames: tuple[Sequence[bytes], Sequence[bytes]],
        shape: Shape,
        *,
        listen: bool = False,
    ) -> None:
        self._directory, self._queues, self._scatter = directory, shape.queues, shape.mbuf_size > 0
        directory.mkdir(exist_ok=True)
        vdevs = []
        for guest, socket in enumerate(sockets):
            options = [
                f"path={socket}",
                f"queues={shape.queues}",
                f"queue_size={RING}",
                f"mac=02:00:00:00:00:0{guest + 1}",
            ]
            options += ["server=1"] if listen else []
            options += [shape.options] if shape.options else []
            vdevs.append(f"net_virtio_user{guest}," + ",".join(options))
            files = []
            for queue in range(shape.queues):
                pcap.write(self._path("in", guest, queue), frames[guest][queue :: shape.queues])
                files.append(f"rx_pcap={self._path('in', guest, queue)}")
            files += [f"tx_pcap={self._path('out', guest, queue)}" for queue in range(shape.queues)]
            vdevs.append(f"net_pcap{guest}," + ",".join(files))
        options = [
            "--no-flush-rx",
            f"--rxd={RING}",
            f"--txd={RING}",
            f"--rxq={shape.queues}",
            f"--txq={shape.queues}",
        ]
        if shape.mbuf_size:
            # Received frames span several mbufs, and so several descriptors when they are sent on.
            options += [f"--mbuf-size={shape.mbuf_size}", "--disable-device-start"]
        self.testpmd = Testpmd(
            directory,
            vdevs,
            name="pair",
            options=options,
            mbufs=16384,
            memory=Memory(megabytes=192, huge=shape.huge),
        )

    def _path(self, kind: str, guest: int, queue: int) -> Path:
        return self._directory / f"{kind}{guest}-{queue}.pcap"

    def play(self, expected: tuple[int, int], *, seconds: float = 60) -> Played:
        """Send all, wait until guest 0 and 1 have received `expected` frames, stop; both stay connected.

        Waits for the frames to be recorded; a frame too many shows in the counters, which are read last.
        """
        self.testpmd.wait_ready()
        if self._scatter:
            for port in (0, 2):
                self.testpmd.command(f"port config {port} rx_offload scatter on")
                self.testpmd.command(f"port config {port} tx_offload multi_segs on")
            self.testpmd.command("port start all")
        self.testpmd.start()

        def recorded() -> bool:
            stats = self.testpmd.stats()
            return stats[1].tx_packets >= expected[0] and stats[3].tx_packets >= expected[1]

        try:
            until(recorded, f"guests have received {expected} frames", seconds=seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}; counters: {self.testpmd.stats()}") from None
        self.testpmd.command("stop")
        stats = self.testpmd.stats()
        first, second = (
            [frame for queue in range(self._queues) for frame in pcap.read(self._path("out", guest, queue))]
            for guest in (0, 1)
        )
        return Played((stats[0], stats[2]), (first, second))
