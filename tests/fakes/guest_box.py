"""A bridge whose ports are guests of given features: a manual datapath, nothing mocked but the guests' drivers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fakes.loose_port import LoosePort
from fakes.mock_guest import Guest, Region, Ring
from fakes.offload_frames import Wish
from fakes.switchbox import SwitchBox
from vswitchd.datapath import dp


@dataclass
class Seat:
    """A guest at a port of the bridge: `out` is what it transmits on, `back` what it receives on."""

    port: LoosePort
    handle: dp.PortHandle
    out: Ring
    back: Ring

    def send(self, frame: bytes, wish: Wish | bytes = b"", **how: Any) -> None:
        """Offer a frame with its header."""
        self.out.send(frame, header=bytes(wish).ljust(12, b"\0")[: self.out.hdr_len], **how)

    def received(self) -> list[tuple[Wish, bytes]]:
        """What arrived since; the buffers are forgotten."""
        self.out.take()
        return [(Wish.read(header), frame) for header, frame in self.back.received()]


class GuestBox(SwitchBox):
    """SwitchBox of `tests` test ports, numbered from 1, and guests behind them by seat()."""

    def __init__(self, tests: int = 0) -> None:
        super().__init__(tests)
        self.seats: dict[int, Seat] = {}

    def seat(self, number: int, features: int, *, ring: type[Ring] = Ring, size: int = 128) -> Seat:
        """Attach a guest."""
        port = LoosePort(Guest([Region(0, 0x7F0000000000, 16 << 20)]), features)
        handle = self.dp.attach(port.handle, self.bridge, number, f"g{number}")
        out, back = ring(port.guest, size, features), ring(port.guest, size, features)
        port.start(1, out)
        port.start(0, back)
        self.seats[number] = Seat(port, handle, out, back)
        self.dp.rebalance()
        return self.seats[number]

    def post(self, count: int, *sizes: int) -> None:
        """Offer receive buffers in all guests, in place of those that were taken before."""
        for seat in self.seats.values():
            for _ in range(count):
                seat.back.post(*sizes, indirect=len(sizes) > 1)

    def through(self, number: int, frame: bytes, wish: Wish | bytes = b"") -> dict[int, Any]:
        """Send one frame from a guest; what came out where: (header, frame) at guests, frames at test ports."""
        self.seats[number].send(frame, wish)
        while self.dp.poll():
            pass
        out: dict[int, Any] = dict(self.take())
        out |= {n: got for n, seat in self.seats.items() if (got := seat.received())}
        return out

    def close(self) -> None:
        """Free the datapath with its ports, then the guests' memory."""
        super().close()
        for seat in self.seats.values():
            dp.lib.vs_guest_mem_free(seat.port.mem)
            for mapping in seat.port.maps:
                dp.lib.vs_guest_map_free(mapping)
            seat.port.guest.close()
