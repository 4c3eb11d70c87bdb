"""Rings behind a vIOMMU for tests: buffers on pages of their own, and what became of the packets."""

from __future__ import annotations

from fakes.iommu_port import PAGE, WRITE, IommuPort
from fakes.mock_guest import Ring


def receiver(port: IommuPort, size: int = 64, *, make: type[Ring] = Ring) -> Ring:
    ring = make(port.guest, size, port.features & ~(1 << 33))
    port.start_known(0, ring)
    port.guest.alloc(PAGE, PAGE)
    return ring


def post_fresh(ring: Ring, n: int, size: int = 2048) -> list[int]:
    """Buffers on pages of their own."""
    pages = []
    for _ in range(n):
        pages.append(ring.guest.alloc(PAGE, PAGE))
        ring.chain([(pages[-1], size)], WRITE)
    return pages


def ledger(port: IommuPort) -> tuple[int, int, int]:
    """Sent, dropped, held."""
    dropped = sum(n for name, n in port.drops().items() if name.startswith("tx_"))
    return port.counters.tx_packets, dropped, port.held()


def page_of(at: int) -> int:
    return at & ~(PAGE - 1)


def sender(port: IommuPort) -> Ring:
    ring = Ring(port.guest, 64)
    port.start_known(1, ring)
    port.guest.alloc(PAGE, PAGE)  # buffers begin on pages of their own
    return ring


def send_on_fresh_page(ring: Ring, data: bytes) -> int:
    """Returns the page."""
    at = ring.guest.alloc(PAGE, PAGE)
    ring.guest.write(at, bytes(ring.hdr_len) + data)
    ring.chain([(at, ring.hdr_len + len(data))])
    return at
