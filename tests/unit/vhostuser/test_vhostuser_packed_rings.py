"""What only packed rings have: any size, wrap counters, lists over the end of the ring, event suppression, a base of two positions."""

import os
import random
import struct

import pytest
from fakes.loose_port import StartError, eventfd_count
from fakes.mock_guest import EVENT_IDX, IN_ORDER, INDIRECT_DESC, MODERN, VERSION_1, Guest, Region, bits
from fakes.packed_ring import DESC, DISABLE, ENABLE, FRESH, PackedRing
from vhostuser_frames import frame

from vswitchd.datapath.dp import lib

EVENTS = MODERN | bits(EVENT_IDX)
SIZES = [1, 2, 3, 5, 7, 64, 1000, 32768]


def both(slot):
    """The base of a ring that has nothing in flight: both halves say the same."""
    return slot | slot << 16


def wide():
    """A guest whose memory has room for the longest ring."""
    return Guest([Region(0, 0x7F0000000000, 16 << 20)])


def near_end(size):
    """Where a ring begins so that its end is passed soon."""
    return FRESH | max(0, size - 50)


@pytest.mark.parametrize("size", SIZES)
def test_laps_of_any_size_guest_sends(loose, size):
    port = loose(guest=wide())
    ring = PackedRing(port.guest, size, base=near_end(size))
    port.start(1, ring)
    dice = random.Random(size)
    start = port.guest._next
    number = 0
    while number < min(3 * size + 40, 400):
        port.guest._next = start
        sent = []
        for _ in range(dice.randint(1, min(32, size))):
            cuts = tuple(sorted(dice.sample(range(1, 70), dice.randint(0, min(4, ring.room - 1)))))
            sent.append(frame(60, number))
            ring.send(sent[-1], cuts=cuts, indirect=dice.random() < 0.3)
            number += 1
            if not ring.room:
                break
        assert port.rx() == sent
        ring.take()
        assert ring.room == size
    assert port.refused(1) == {}
    assert port.stop(1) == both(ring.idx)


@pytest.mark.parametrize("merge", [True, False])
@pytest.mark.parametrize("size", SIZES)
def test_laps_of_any_size_guest_receives(loose, size, merge):
    features = MODERN if merge else bits(VERSION_1, INDIRECT_DESC)
    port = loose(features, guest=wide())
    ring = PackedRing(port.guest, size, features, base=near_end(size))
    port.start(0, ring)
    dice = random.Random(size)
    start = port.guest._next
    number = 0
    while number < min(3 * size + 40, 400):
        port.guest._next = start
        posted = 0
        while ring.room and posted < 40:
            pieces = dice.randint(1, min(3, ring.room))
            ring.post(*[dice.choice((80, 200, 300))] * pieces, indirect=dice.random() < 0.3)
            posted += 1
        before = port.counters.tx_packets
        sent = [frame(dice.choice((60, 61, 300, 700)), number + i) for i in range(4)]
        for data in sent:
            port.tx(data)
        got = [data for _, data in ring.received()]
        assert len(got) == port.counters.tx_packets - before
        left = iter(sent)
        assert all(data in left for data in got)  # in order, some missing where the guest was short
        number += 4
        while ring.room < size and posted:  # what is left over takes short frames, one a buffer
            port.tx(frame(50))
            assert [data for _, data in ring.received()] == [frame(50)]
    assert port.refused(0) == {}
    assert port.stop(0) == both(ring.idx)


@pytest.mark.parametrize("base", [0x8000 | 999, 999, 0x8000 | 500, 0, 1])
def test_base_is_exact_after_a_stop(loose, base):
    port = loose()
    ring = PackedRing(port.guest, 1000, base=base)
    port.start(1, ring)
    for i in range(40):
        ring.send(frame(60, i), cuts=(12,))
    assert len(port.rx(n=17)) == 17
    stopped = port.stop(1)
    assert stopped == both(ring.after(base, 34))
    port.start(1, ring, base=stopped)
    assert port.rx() == [frame(60, i) for i in range(17, 40)]
    assert len(ring.take()) == 40


def test_longest_ring_up_to_its_last_slot(loose):
    port = loose(guest=wide())
    ring = PackedRing(port.guest, 32768, base=0x8000 | 32767)
    port.start(1, ring)
    for i in range(3):
        ring.send(frame(60, i), cuts=(12, 20))
    assert port.rx() == [frame(60, i) for i in range(3)]
    assert len(ring.take()) == 3
    assert port.stop(1) == both(8)


@pytest.mark.parametrize("changed", [{"size": 0}, {"size": 32769}, {"base": 1000}, {"base": 0xFFFF}])
def test_bad_ring_does_not_start(loose, changed):
    port = loose()
    with pytest.raises(StartError):
        port.start(1, PackedRing(port.guest, 1000), **changed)


@pytest.mark.parametrize("turn", range(12))
def test_gathering_and_rolling_back_over_the_wrap(loose, turn):
    """A long frame needs 7 buffers of 1 to 2 slots; it fits or it leaves everything as it is."""
    port = loose()
    ring = PackedRing(port.guest, 12, base=FRESH | turn)
    port.start(0, ring)
    for _ in range(6):
        ring.post(50, 50)
    port.tx(frame(700))
    assert ring.take() == []
    assert port.drops() == {"tx_ring_full": 1}
    port.tx(frame(560))
    [(header, data)] = ring.received()
    assert data == frame(560)
    assert struct.unpack_from("<H", header, 10) == (6,)
    assert ring.room == 12
    assert port.stop(0) == both(ring.idx)


def test_lists_are_taken_whole_or_not_at_all(loose):
    port = loose()
    ring = PackedRing(port.guest, 8, base=FRESH | 6)
    port.start(1, ring)
    ring.send(frame(60), cuts=(12, 20, 30))
    head = ring.flags_of(FRESH | 6)
    ring.write_flags(FRESH | 6, head ^ 0x8080)  # the rest stands, the first one is not available
    assert port.rx() == []
    ring.write_flags(FRESH | 6, head)
    assert port.rx() == [frame(60)]


def expected_call(size, old, new, mark):
    """Walk every slot that was passed, one by one."""
    while old != new:
        if old == mark:
            return 1
        at, wrap = (old & 0x7FFF) + 1, old & 0x8000
        old = at | wrap if at < size else wrap ^ 0x8000
    return 0


@pytest.mark.parametrize("size", [1, 2, 3, 8, 1000, 32768])
def test_the_driver_is_called_when_the_slot_it_names_is_passed(loose, eventfd, size):
    port = loose(EVENTS, guest=wide())
    start = FRESH | max(size - 7, 0)
    ring, call = PackedRing(port.guest, size, EVENTS, base=start), eventfd()
    port.start(1, ring, call=call)
    assert eventfd_count(call) == 1
    dice = random.Random(size)
    memory = port.guest._next
    seen = set()
    for number in range(300):
        port.guest._next = memory
        old = ring.idx
        for _ in range(dice.randint(1, min(size, 8))):
            ring.send(frame(60, number), cuts=() if ring.room < 4 else (12, 14)[: dice.randint(0, 2)])
            if not ring.room:
                break
        mark = ring.after(old, dice.randrange(min(size, 12)))
        ring.set_driver_event(DESC, mark)
        port.rx()
        called = eventfd_count(call)
        assert called == expected_call(size, old, ring.idx, mark), (size, old, ring.idx, mark)
        seen.add(called)
        ring.take()
    assert seen == ({1} if size == 1 else {0, 1})


@pytest.mark.parametrize("features", [MODERN, EVENTS])
def test_calls_are_made_or_not_as_the_driver_says(loose, eventfd, features):
    port = loose(features)
    ring, call = PackedRing(port.guest, 16, features), eventfd()
    port.start(1, ring, call=call)
    assert eventfd_count(call) == 1
    heard = []
    for flags, mark in ((ENABLE, 0), (DISABLE, 0), (ENABLE, 0), (DESC, FRESH | 9), (DESC, FRESH | 4), (3, 0)):
        ring.set_driver_event(flags, mark)
        ring.send(frame(60))
        port.rx()
        heard.append(eventfd_count(call))
    # Without EVENT_IDX a driver that names a slot is called always; so is one that says nonsense.
    assert heard == ([1, 0, 1, 0, 1, 1] if features == EVENTS else [1, 0, 1, 1, 1, 1])


@pytest.mark.parametrize("features", [MODERN, EVENTS])
def test_kicks_are_off_while_polling_and_on_while_asleep(loose, eventfd, features):
    port = loose(features)
    ring, kick = PackedRing(port.guest, 8, features, base=FRESH | 6), eventfd()
    port.start(1, ring, kick=kick)
    asleep = (DESC if features == EVENTS else ENABLE,)
    assert ring.device_event()[0] == DISABLE
    for i in range(3):
        ring.send(frame(60, i))
    port.rx()
    assert lib.vs_port_test_arm(port.handle, 0) == 0
    assert ring.device_event()[:1] == asleep
    if features == EVENTS:
        assert ring.device_event() == (
            DESC,
            1,
        )  # slot 6 of the first lap and three more: slot 1, wrap counter 0
    ring.send(frame(60))
    os.eventfd_write(kick, 1)
    lib.vs_port_test_disarm(port.handle, 0)
    assert ring.device_event()[0] == DISABLE
    assert eventfd_count(kick) == 0
    assert lib.vs_port_test_arm(port.handle, 0) == 1  # there is work: do not sleep
    port.rx()
    assert lib.vs_port_test_arm(port.handle, 0) == 0


def test_drivers_that_rely_on_order(loose):
    """IN_ORDER: buffer ids come back one by one, in the order of the ring; PackedRing.take checks that."""
    features = EVENTS | bits(IN_ORDER)
    port = loose(features)
    ring = PackedRing(port.guest, 16, features)
    ring.free = [5, 3, 11, 0, 15, 2, 7, 9]  # ids are the driver's own affair
    port.start(1, ring)
    for turn in range(20):
        sent = [frame(60, turn + i) for i in range(5)]
        for data in sent:
            ring.send(data)
        assert port.rx() == sent
        assert len(ring.take()) == 5


def test_one_id_for_all_buffers(loose):
    """Ids that are not unique are the driver's problem alone: each buffer is given back with the id it came with."""
    port = loose()
    ring = PackedRing(port.guest, 16)
    port.start(1, ring)
    for i in range(4):
        ring.free.insert(0, 7)
        ring.send(frame(60, i))
    assert port.rx() == [frame(60, i) for i in range(4)]
    assert [ident for ident, _ in ring.take()] == [7] * 4


def test_statistics_count_what_is_ready(loose):
    port = loose()
    ring = PackedRing(port.guest, 8, base=FRESH | 5)
    port.start(0, ring)
    for _ in range(6):
        ring.post(200)
    assert port.info(0).available == 6
    port.tx(frame(60))
    assert port.info(0).available == 5
