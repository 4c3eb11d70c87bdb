"""A hostile guest and a careless front-end: what a review of rings, log and translations found, each shown once."""

from __future__ import annotations

import mmap
import os
import threading

import pytest
from fakes.iommu_port import IommuPort
from fakes.loose_port import LoosePort
from fakes.mock_guest import DESC, MODERN, NEXT, WRITE, Guest, Region, Ring
from fakes.packed_ring import AVAIL, PackedRing

from vswitchd.datapath.dp import ffi, lib

PAGE = 4096
MB = 1 << 20
ACCESS_PLATFORM = 1 << 33
BOTH = 3
PIECES = 256  # MERGE_MAX of vhost_tx.c: pieces of guest memory that one frame is put into


def _neighbours() -> tuple[LoosePort, Region, Region]:
    """A port whose two regions are mapped one behind the other, as the kernel may do it, and those in the order of our addresses."""
    regions = [Region(0, 0x7F0000000000, MB), Region(16 * MB, 0x7E0000000000, MB)]
    file = os.memfd_create("joined")
    os.ftruncate(file, 2 * MB)
    for i, region in enumerate(regions):
        region.close()
        region.fd, region.offset = os.dup(file), i * MB
        region.map = mmap.mmap(region.fd, 2 * MB)
        region.halves = memoryview(region.map).cast("H")
    port = LoosePort(Guest(regions), MODERN | ACCESS_PLATFORM)
    error = ffi.new("int *")
    port.maps.append(lib.vs_guest_map_new(file, 0, 2 * MB, error))
    os.close(file)
    rows = ffi.new("struct vs_guest_region[2]")
    for i, region in enumerate(regions):
        host = lib.vs_guest_map_host(port.maps[-1]) + i * MB
        rows[i].gpa, rows[i].uva, rows[i].size, rows[i].host = region.gpa, region.uva, MB, host
    lib.vs_guest_mem_free(port.mem)
    port.mem = lib.vs_guest_mem_new(rows, 2, error)
    assert port.mem != ffi.NULL
    return port, regions[0], regions[1]


def test_log_of_a_buffer_that_lies_in_two_regions() -> None:
    """Behind a vIOMMU two regions may be one run of bytes to us: pages of both are dirty."""
    port, low, high = _neighbours()
    log = os.memfd_create("log")
    os.ftruncate(log, PAGE)
    error = ffi.new("int *")
    dirty = lib.vs_dirty_log_new(log, 0, PAGE, error)
    ring = Ring(port.guest, 16)
    first = port.guest.regions[0]
    buffer = 1 << 32

    def translate(iova: int, size: int, uva: int) -> None:
        assert lib.vs_vhost_iotlb_update(port.handle, port.mem, iova, size, uva, BOTH) == 0

    translate(first.gpa, MB, first.uva)
    translate(buffer, PAGE, low.uva + MB - PAGE)
    translate(buffer + PAGE, PAGE, high.uva)
    port.start(0, ring, desc=ring.desc, avail=ring.avail, used=ring.used, log=dirty)
    os.pwrite(log, bytes(PAGE), 0)
    ring.set_desc(0, buffer + PAGE - 1000, 4000, WRITE)
    ring.offer(0)
    port.tx(bytes(3000))
    assert ring.take() == [(0, 3012)]
    data = os.pread(log, PAGE, 0)
    pages = {8 * i + bit for i, byte in enumerate(data) for bit in range(8) if byte >> bit & 1}
    assert {(low.gpa + MB) // PAGE - 1, high.gpa // PAGE} <= pages
    port.stop(0)
    lib.vs_dirty_log_free(dirty)
    os.close(log)
    port.close()


def _crumbs(ring: Ring, buffers: int, pieces: int, *, size: int = 1) -> None:
    """Receive buffers of many tiny pieces each."""
    at, i = ring.guest.alloc(64), 0
    for _ in range(buffers):
        head = i
        for k in range(pieces):
            length = 13 if i == 0 else size
            ring.set_desc(i, at, length, WRITE | (NEXT if k + 1 < pieces else 0), i + 1)
            i += 1
        ring.offer(head, publish=False)
    ring.publish()


@pytest.mark.parametrize(("buffers", "pieces"), [(8, 56), (300, 1)])
def test_crumbs_do_not_hold_a_core(loose, buffers: int, pieces: int) -> None:
    """A frame goes into a bounded number of pieces: 14,336 of one byte cost a core 28 ms a batch, for nothing."""
    port = loose()
    ring = Ring(port.guest, 1024)
    _crumbs(ring, buffers, pieces)
    port.start(0, ring)
    port.tx(*[bytes(PIECES + 60)] * 32)
    assert port.drops() == {"tx_mtu_exceeded": 32}
    assert ring.take() == []
    port.tx(bytes(100))  # what fits goes into the same buffers
    assert len(ring.take()) == -(-101 // pieces) if pieces > 1 else 100


def test_what_does_not_fit_is_tried_once_a_batch(loose) -> None:
    """A short frame between long ones is sent, and the long ones are dropped, each by name."""
    port = loose()
    ring = Ring(port.guest, 1024)
    _crumbs(ring, 400, 1, size=20)
    port.start(0, ring)
    long, short = bytes(20 * PIECES + 200), bytes(60)
    port.tx(long, long, short, long, short, long)
    assert port.drops() == {"tx_mtu_exceeded": 4}
    assert port.counters.tx_packets == 2
    assert sum(used for _, used in ring.take()) == 2 * (12 + len(short))


@pytest.mark.parametrize("layout", [Ring, PackedRing])
def test_huge_buffers_nowhere_do_not_hold_a_core(layout: type[Ring]) -> None:
    """Each megabyte that is not known is asked for page by page: a few of them a batch, whatever the guest posts."""
    port = IommuPort(Guest([Region(0, 0x7F0000000000, MB)]))
    ring = layout(port.guest, 256)
    port.start_known(0, ring)
    for i in range(256):
        if isinstance(ring, PackedRing):
            ring.write_slot(i | 0x8000, (i + 1) << 32, MB, i)
            ring.write_flags(i | 0x8000, WRITE | AVAIL)
        else:
            ring.set_desc(i, (i + 1) << 32, MB, WRITE)
            ring.offer(i)
    before = port.stats()["misses"]
    for _ in range(8):
        port.tx(bytes(60))
    assert port.held() == 8
    assert port.stats()["misses"] - before <= 8 * 4 + 4
    port.close()


def test_a_kick_descriptor_that_blocks_does_not_hold_a_core(loose) -> None:
    """A front-end may clear O_NONBLOCK on what it shares with us: draining an empty one must not wait for its kick."""
    port = loose()
    kick = os.eventfd(0)
    port.start(1, Ring(port.guest, 64), kick=kick)
    core = threading.Thread(target=lib.vs_port_test_disarm, args=(port.handle, 0))
    core.start()
    core.join(2)
    held = core.is_alive()
    os.eventfd_write(kick, 1)
    core.join()
    assert not held
    lib.vs_port_test_disarm(port.handle, 0)
    os.set_blocking(kick, False)
    with pytest.raises(BlockingIOError):
        os.eventfd_read(kick)
    port.stop(1)
    os.close(kick)


def test_statistics_of_a_full_packed_ring_are_bounded(loose) -> None:
    """Each change of the port asks for them, on the control thread, of up to 128 rings."""
    port = loose()
    ring = PackedRing(port.guest, 32768)
    port.guest.write(ring.desc, DESC.pack(0, 1, 0, AVAIL) * ring.size)
    port.start(0, ring)
    assert port.info(0).available == 1024
