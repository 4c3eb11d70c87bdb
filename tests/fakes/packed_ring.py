"""The driver's side of a packed virtqueue (VIRTIO 1.2, 2.8): the same thin layer as Ring, over slots instead of three rings."""

from __future__ import annotations

import struct

from fakes.mock_guest import INDIRECT, MODERN, NEXT, VERSION_1, Guest, Ring, bits

RING_PACKED = 34
AVAIL, USED = 1 << 7, 1 << 15
ENABLE, DISABLE, DESC = 0, 1, 2
FRESH = 0x8000
"""Where a new ring stands: slot 0, wrap counter 1."""


class PackedRing(Ring):
    """Slots are numbers with the wrap counter in bit 15, as in SET_VRING_BASE. Give-backs out of order are an error."""

    needs = bits(RING_PACKED, VERSION_1)

    def __init__(self, guest: Guest, size: int = 256, features: int = MODERN, base: int = FRESH) -> None:
        self.guest, self.size, self.features = guest, size, features | self.needs
        self.desc = guest.alloc(16 * size)
        self.avail = guest.alloc(4)
        self.used = guest.alloc(4)
        guest.write(self.desc, bytes(16 * size))
        self.base = self.idx = self.seen = base
        self.room = size
        self.free = list(range(size))
        self.chains: dict[int, list[tuple[int, int, int]]] = {}
        self.order: list[tuple[int, int]] = []
        self._ready: list[tuple[int, int]] = []
        if base != FRESH:  # as if all before it had been used
            self._fill_used()

    def _fill_used(self) -> None:
        lap = bool(self.idx & 0x8000)
        for i in range(self.size):
            wrap = lap if i < self.idx & 0x7FFF else not lap
            self.guest.write(
                self.desc + 16 * i + 14,
                struct.pack("<H", (AVAIL | USED) if wrap and self.idx != FRESH else 0),
            )

    def after(self, slot: int, n: int) -> int:
        """The slot n behind another one."""
        at, wrap = (slot & 0x7FFF) + n, slot & 0x8000
        return at - self.size | wrap ^ 0x8000 if at >= self.size else at | wrap

    def flags_of(self, slot: int) -> int:
        at = self.desc + 16 * (slot & 0x7FFF) + 14
        return struct.unpack("<H", self.guest.read(at, 2))[0]

    @staticmethod
    def state(slot: int) -> int:
        """Flags that make a slot available on its lap."""
        return AVAIL if slot & 0x8000 else USED

    def write_slot(self, slot: int, addr: int, length: int, ident: int) -> None:
        self.guest.write(self.desc + 16 * (slot & 0x7FFF), struct.pack("<QIH", addr, length, ident))

    def write_flags(self, slot: int, flags: int) -> None:
        self.guest.write(self.desc + 16 * (slot & 0x7FFF) + 14, struct.pack("<H", flags))

    def set_desc(
        self, i: int, addr: int, length: int, flags: int = 0, nxt: int = 0, *, table: int | None = None
    ) -> None:
        """Write slot i (`nxt`: the buffer id), not available yet; or an entry of an indirect table."""
        if table is not None:
            self.guest.write(table + 16 * i, struct.pack("<QIHH", addr, length, 0, flags & ~NEXT))
            return
        self.write_slot(i, addr, length, nxt)
        self._raw = flags

    def offer(self, head: int, *, publish: bool = True) -> None:
        """Make the slot that set_desc wrote available: hostile tests."""
        assert head == self.idx & 0x7FFF, "a packed ring has one next slot"
        self._ready.append((self.idx, self._raw | self.state(self.idx)))
        self.idx = self.after(self.idx, 1)
        if publish:
            self.publish()

    def publish(self, idx: int | None = None) -> None:
        assert idx is None
        # The first one last: the device sees all or nothing.
        for slot, flags in reversed(self._ready):
            self.write_flags(slot, flags)
        self._ready.clear()

    def chain(
        self, buffers: list[tuple[int, int]], flags: int = 0, *, indirect: bool = False, publish: bool = True
    ) -> int:
        """Offer (address, length) buffers as one list. Returns the buffer id."""
        entries = [(addr, length, flags) for addr, length in buffers]
        rows = entries
        if indirect:
            table = self.guest.alloc(16 * len(buffers), 16)
            for i, (addr, length, what) in enumerate(entries):
                self.set_desc(i, addr, length, what, table=table)
            rows = [(table, 16 * len(buffers), INDIRECT)]
        assert len(rows) <= self.room, "mock ring is full"
        ident = self.free.pop(0)
        head = self.idx
        for i, (addr, length, what) in enumerate(rows):
            slot = self.after(head, i)
            self.write_slot(slot, addr, length, ident)
            word = what | self.state(slot) | (NEXT if i + 1 < len(rows) else 0)
            if i:
                self.write_flags(slot, word)
            else:
                self._ready.append((slot, word))
        self.idx = self.after(head, len(rows))
        self.room -= len(rows)
        self.chains[ident] = entries
        self.order.append((ident, len(rows)))
        if publish:
            self.publish()
        return ident

    def take(self) -> list[tuple[int, int]]:
        """New used descriptors (id, length); their slots are free again."""
        out = []
        while True:
            wrap = bool(self.seen & 0x8000)
            flags = self.flags_of(self.seen)
            if not bool(flags & AVAIL) == bool(flags & USED) == wrap:
                return out
            at = self.desc + 16 * (self.seen & 0x7FFF)
            _, length, ident = struct.unpack("<QIH", self.guest.read(at, 14))
            expected, count = self.order.pop(0) if self.order else (ident, 1)
            assert ident == expected, f"buffer {ident} came back, {expected} was the next"
            self.free.append(ident)
            self.room += count
            self.seen = self.after(self.seen, count)
            out.append((ident, length))

    def set_driver_event(self, flags: int, off_wrap: int = 0) -> None:
        """When the driver wants to be called."""
        self.guest.write(self.avail, struct.pack("<HH", off_wrap, flags))

    def device_event(self) -> tuple[int, int]:
        """(flags, off_wrap): when the device wants to be kicked."""
        off_wrap, flags = struct.unpack("<HH", self.guest.read(self.used, 4))
        return flags, off_wrap

    def set_avail_flags(self, flags: int) -> None:
        """Bit 0: do not call (the word of a split ring)."""
        self.set_driver_event(DISABLE if flags & 1 else ENABLE)
