"""In-flight records: what a ring finds there, when it is believed, and that nothing in it can hurt."""

import random
import struct

import pytest
from fakes.mock_guest import MODERN, Ring
from fakes.packed_ring import FRESH, PackedRing
from vhostuser_frames import frame

from vswitchd.datapath.dp import ffi, lib

SIZE = 12
HEADER = struct.Struct(
    "<QHHHHHHBBBxHHI"
)  # features, version, desc_num, heads, used, old, wraps, mark, pushed, -, -
VERSION, DESC_NUM, USED, OLD, WRAP, OLD_WRAP, MARK, PUSHED = 1, 2, 5, 6, 7, 8, 9, 10


class Record:
    """The part of one ring, in memory of our own."""

    def __init__(self, *, packed=True, size=SIZE, queue=0, queues=1):
        self.part = lib.vs_inflight_size(size, packed)
        self.memory = ffi.new("uint64_t[]", queues * self.part // 8)
        self.bytes = ffi.buffer(self.memory)
        self.packed, self.size, self.queue, self.queues = packed, size, queue, queues

    def open(self, *, believe=True):
        return lib.vs_inflight_new(
            ffi.cast("uint8_t *", self.memory),
            self.queues * self.part,
            self.queue,
            self.size,
            self.packed,
            believe,
        )

    def fields(self):
        return list(HEADER.unpack_from(self.bytes, self.queue * self.part))

    def change(self, which, value):
        fields = self.fields()
        fields[which] = value
        HEADER.pack_into(self.bytes, self.queue * self.part, *fields)

    def position(self):
        fields = self.fields()
        return fields[USED] | fields[WRAP] << 15


def run(port, ring, record, *, believe=True, base=FRESH):
    handle = record.open(believe=believe)
    assert handle != ffi.NULL
    port.start(1, ring, base=base, inflight=handle)
    return handle


def stop(port, handle, *, clear=False):
    base = port.stop(1)
    if clear:
        lib.vs_inflight_clear(handle)
    lib.vs_inflight_free(handle)
    return base & 0xFFFF


def exchange(port, ring, n, first=0):
    for i in range(n):
        ring.send(frame(60, first + i), cuts=(12, 30)[: i % 3])
        assert port.rx() == [frame(60, first + i)]
        assert len(ring.take()) == 1


@pytest.mark.parametrize("frames", [1, 5, 6, 7, 13])
def test_a_ring_goes_on_where_it_was(loose, frames):
    port, record = loose(), Record()
    ring = PackedRing(port.guest, SIZE)
    handle = run(port, ring, record)
    exchange(port, ring, frames)
    assert record.position() == ring.idx
    stop(port, handle)  # as if killed: nobody is told the base
    ring.send(frame(60, 99))
    handle = run(port, ring, record, base=FRESH)
    assert port.rx() == [frame(60, 99)]
    assert stop(port, handle) == ring.idx


def test_a_place_behind_a_list_that_went_over_the_end(loose):
    """No used bit is left in a ring that the driver filled anew, and it is not a new one."""
    port, record = loose(), Record()
    ring = PackedRing(port.guest, SIZE, base=SIZE - 1)  # second lap
    handle = run(port, ring, record, base=SIZE - 1)
    ring.send(frame(60), cuts=(12, 30))
    assert port.rx() == [frame(60)]
    ring.take()
    sent = [frame(60, i) for i in range(10)]
    for data in sent:
        ring.send(data)
    assert not any(ring.flags_of(i) & 0x8000 for i in range(SIZE))
    assert stop(port, handle) == FRESH | 2
    handle = run(port, ring, record, base=FRESH)
    assert port.rx() == sent
    assert stop(port, handle) == ring.idx


def test_second_part_of_a_record(loose):
    port, record = loose(), Record(queue=1, queues=2)
    ring = PackedRing(port.guest, SIZE)
    handle = run(port, ring, record)
    exchange(port, ring, 5)
    stop(port, handle)
    assert bytes(record.bytes[: record.part]) == bytes(record.part)
    assert record.position() == ring.idx
    record.queue = 2
    assert record.open() == ffi.NULL


@pytest.mark.parametrize("why", ["not believed", "cleared", "another size", "no mark", "new ring", "version"])
def test_records_that_do_not_count(loose, why):
    port, record = loose(), Record()
    ring = PackedRing(port.guest, SIZE)
    handle = run(port, ring, record)
    exchange(port, ring, 4)
    stop(port, handle, clear=why == "cleared")
    if why == "another size":
        record.change(DESC_NUM, SIZE - 1)
    elif why == "no mark":
        record.change(MARK, 0)
    elif why == "version":
        record.change(VERSION, 2)
    elif why == "new ring":  # the guest was reset, and made its ring anew in the same place
        port.guest.write(ring.desc, bytes(16 * SIZE))
    handle = run(port, ring, record, believe=why != "not believed", base=FRESH | 2)
    assert stop(port, handle) == FRESH | 2
    assert record.position() == FRESH | 2
    assert record.fields()[VERSION] == 1


@pytest.mark.parametrize(
    ("field", "value"),
    [(USED, SIZE), (USED, 0xFFFF), (OLD, SIZE), (WRAP, 2), (OLD_WRAP, 255), (PUSHED, SIZE + 1)],
)
def test_impossible_numbers(loose, field, value):
    port, record = loose(), Record()
    ring = PackedRing(port.guest, SIZE)
    handle = run(port, ring, record)
    exchange(port, ring, 4)
    stop(port, handle)
    record.change(field, value)
    handle = run(port, ring, record, base=FRESH | 3)
    assert stop(port, handle) == FRESH | 3


def test_any_bytes_in_a_record(loose):
    """A front-end writes what it likes: the ring starts somewhere in its range, and memory beside it stays as it was."""
    port, dice = loose(), random.Random(1)
    ring = PackedRing(port.guest, SIZE)
    record = Record(queue=1, queues=3)
    exchange_free = port.guest.alloc(16)
    for _ in range(3000):
        for at in range(record.part, 2 * record.part, 8):
            struct.pack_into("<Q", record.bytes, at, dice.choice((0, 1, 2, dice.getrandbits(64))))
        record.change(VERSION, 1)
        record.change(DESC_NUM, SIZE)
        record.change(MARK, 0x56)
        for which in (USED, OLD, PUSHED):
            record.change(which, dice.randrange(SIZE + 1))
        for which in (WRAP, OLD_WRAP):
            record.change(which, dice.randrange(2))
        port.guest.write(ring.desc, dice.randbytes(16 * SIZE))
        handle = run(port, ring, record)
        port.rx()
        assert stop(port, handle) & 0x7FFF < SIZE
    assert bytes(record.bytes[: record.part]) == bytes(record.part)
    assert bytes(record.bytes[2 * record.part :]) == bytes(record.part)
    assert port.guest.read(exchange_free, 16) == bytes(16)


def test_split_rings_tell_their_place_themselves(loose):
    port, record = loose(), Record(packed=False, size=16)
    ring = Ring(port.guest, 16, base=65533)
    handle = record.open()
    port.start(1, ring, inflight=handle)
    exchange(port, ring, 5)
    assert struct.unpack_from("<QHHHH", record.bytes) == (0, 1, 16, 0, 2)
    port.stop(1)
    lib.vs_inflight_free(handle)


@pytest.mark.parametrize(("packed", "size"), [(False, 16), (True, 8)])
def test_records_of_another_kind_are_left_alone(loose, packed, size):
    """The front-end's record is for split rings, or for shorter ones: the ring runs without."""
    port, record = loose(MODERN), Record(packed=packed, size=size)
    ring = PackedRing(port.guest, SIZE)
    handle = run(port, ring, record)
    exchange(port, ring, 5)
    assert stop(port, handle) == ring.idx
    assert bytes(record.bytes) == bytes(len(record.bytes))


@pytest.mark.parametrize("size", [0, 32769, 0xFFFFFFFF])
def test_sizes_of_no_ring(size):
    assert lib.vs_inflight_size(size, 1) == lib.vs_inflight_size(size, 0) == 0
