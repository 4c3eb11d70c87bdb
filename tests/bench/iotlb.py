"""Cycles per packet, vhost ring to vhost ring, with and without an IOTLB that knows all pages: what a vIOMMU costs when it is warm.

How it works: worlds of two ports each, one that receives and one that sends, driven in one thread by the test hooks. Descriptors stand
still; a round makes all of them available again and times the forwarding of each batch. Worlds take turns, so that a noisy neighbour
hits all of them; the median of all batches counts, and a tenth is shown beside it. Buffers lie on a page each, 2,048 pages in all.
"""

import argparse
import struct
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fakes.iommu_port import PAGE, IommuPort
from fakes.loose_port import LoosePort
from fakes.mock_guest import WRITE, Guest, Region, Ring

from vswitchd.datapath.dp import ffi, lib

SIZE, BATCH = 1024, 32
BUFFER, HEADER = 2048, 12
MEMORY = 16 << 20
LARGE = 2 << 20
KINDS: dict[str, int | None] = {"none": None, "4 KB pages": PAGE, "2 MB pages": LARGE}
"""How large the translations are; None: no IOTLB."""


@dataclass
class World:
    """Ring 1 of one port and ring 0 of another."""

    sender: LoosePort
    sent: Ring
    receiver: LoosePort
    received: Ring

    def forward(self) -> list[float]:
        """Cycles per packet of each batch of one round."""
        self.sent.publish(self.sent.used_idx() + SIZE)
        self.received.publish(self.received.used_idx() + SIZE)
        packets = ffi.new("uint64_t *")
        ends = (self.sender.handle, 0, self.receiver.handle, 0)
        counters = (self.sender.counters, self.receiver.counters)
        found = [
            float(lib.vs_port_test_forward(*ends, 1, packets, *counters)) / BATCH
            for _ in range(SIZE // BATCH)
        ]
        if packets[0] != SIZE:
            raise SystemExit(f"iotlb: {packets[0]} of {SIZE} packets were forwarded")
        return found

    def close(self) -> None:
        """Free both."""
        self.sender.close()
        self.receiver.close()


def side(index: int, length: int, grain: int | None) -> tuple[LoosePort, Ring]:
    """A port with one ring full of buffers, all of them mapped."""
    guest = Guest([Region(0, 0x7F0000000000, MEMORY)])
    port = LoosePort(guest) if grain is None else IommuPort(guest)
    ring = Ring(guest, SIZE)
    base = guest.alloc(PAGE * SIZE, LARGE)
    for i in range(SIZE):
        ring.set_desc(i, base + i * PAGE, BUFFER if index == 0 else HEADER + length, 0 if index else WRITE)
        guest.write(ring.avail + 4 + 2 * i, struct.pack("<H", i))
    if isinstance(port, IommuPort) and grain is not None:
        port.start_known(index, ring)
        for at in range(base, base + PAGE * SIZE, grain):
            port.map(at, grain)
    else:
        port.start(index, ring)
    return port, ring


def tenth(values: list[float]) -> float:
    """A tenth of them are smaller."""
    return sorted(values)[len(values) // 10]


def main(argv: Sequence[str] | None = None) -> int:
    """Measure all kinds for one length of frames."""
    parser = argparse.ArgumentParser(prog="iotlb", description=__doc__)
    parser.add_argument("--length", type=int, default=60, help="of a frame, 60 to 1514 bytes (%(default)s)")
    parser.add_argument("--rounds", type=int, default=400)
    words = parser.parse_args(argv)
    worlds = {
        kind: World(*side(1, words.length, grain), *side(0, words.length, grain))
        for kind, grain in KINDS.items()
    }
    cycles: dict[str, list[float]] = {kind: [] for kind in worlds}
    for _ in range(words.rounds):
        for kind, world in worlds.items():
            cycles[kind] += world.forward()
    for kind, found in cycles.items():
        marks = [
            f"{name} {of(found):6.1f} ({of(found) / of(cycles['none']) - 1:+4.0%})"
            for name, of in (("median", median), ("tenth", tenth))
        ]
        print(f"{words.length} bytes, IOTLB: {kind:10}  {', '.join(marks)} cycles a packet")
        worlds[kind].close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
