"""Two guests whose ports are joined by the core's own calls: what one sends, the other gets, with the header in front."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fakes.loose_port import LoosePort
from fakes.mock_guest import MRG_RXBUF, VERSION_1, Guest, Region, Ring, bits
from fakes.offload_frames import Wish
from vswitchd.datapath.dp import ffi, lib

CSUM, GUEST_CSUM, GUEST_TSO4, GUEST_TSO6, GUEST_ECN = 0, 1, 7, 8, 9
HOST_TSO4, HOST_TSO6, HOST_ECN, INDIRECT_DESC, GUEST_USO4, GUEST_USO6, HOST_USO = 11, 12, 13, 28, 54, 55, 56
BASE = bits(VERSION_1, MRG_RXBUF, INDIRECT_DESC)
SENDS = BASE | bits(CSUM, HOST_TSO4, HOST_TSO6, HOST_ECN, HOST_USO)
TAKES = BASE | bits(GUEST_CSUM, GUEST_TSO4, GUEST_TSO6, GUEST_ECN, GUEST_USO4, GUEST_USO6)


class GuestPair:
    """`out` is the sender's transmit ring, `back` the receiver's receive ring."""

    def __init__(
        self,
        loose: Callable[..., LoosePort],
        sends: int = SENDS,
        takes: int = TAKES,
        *,
        layout: type[Ring] = Ring,
        size: int = 256,
    ) -> None:
        self.a, self.b = (
            loose(word, guest=Guest([Region(0, 0x7F0000000000, 16 << 20)])) for word in (sends, takes)
        )
        self.out = layout(self.a.guest, size, sends)
        self.back = layout(self.b.guest, size, takes)
        self.a.start(1, self.out)
        self.b.start(0, self.back)

    def post(self, count: int, *sizes: int) -> None:
        """Offer receive buffers."""
        for _ in range(count):
            self.back.post(*sizes, indirect=len(sizes) > 1)

    def send(self, frame: bytes, wish: Wish | bytes = b"", **how: Any) -> None:
        """Offer one frame; the header is cut to what the sender's features say."""
        self.out.send(frame, header=bytes(wish).ljust(12, b"\0")[: self.out.hdr_len], **how)

    def forward(self) -> list[tuple[Wish, bytes]]:
        """Move what is there from guest to guest; what arrived since."""
        packets = ffi.new("uint64_t *")
        lib.vs_port_test_forward(
            self.a.handle, 0, self.b.handle, 0, 10, packets, self.a.counters, self.b.counters
        )
        self.out.take()
        return [(Wish.read(header), frame) for header, frame in self.back.received()]

    def through(self, frame: bytes, wish: Wish | bytes = b"", **how: Any) -> list[tuple[Wish, bytes]]:
        """Send one frame and forward."""
        self.send(frame, wish, **how)
        return self.forward()
