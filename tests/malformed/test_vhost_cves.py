"""The published flaws of DPDK's lib/vhost, one test each, tried on our back-end. Guest or front-end does what the advisory says.

Other test files go deeper into most of them (test_vhost_rings, test_vhost_packed_rings, test_vhost_messages); here they stand by name,
so that nobody has to search. CVE-2020-10724 and CVE-2020-14374, -14376, -14377 are about the crypto device, which we do
not have: its requests are refused, and what is alike in a network device (a length that is believed) is tried.
"""

from __future__ import annotations

import os
import struct
import sys
import threading
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fakes import front_end as fe
from fakes.loose_port import LoosePort
from fakes.mock_guest import DESC, MODERN, NEXT, WRITE, Guest, Region, Ring, bits
from fakes.packed_ring import PackedRing
from fakes.vhost_victim import Victim

from vswitchd.ports.vhostuser.errors import ProtocolError
from vswitchd.ports.vhostuser.features import SUPPORTED, Virtio
from vswitchd.ports.vhostuser.messages import Request
from vswitchd.ports.vhostuser.state import MAX_RINGS

FRAME = bytes(range(64))
LAYOUTS = pytest.mark.parametrize("layout", [Ring, PackedRing], ids=["split", "packed"])
TOP = 8 << 20
CRYPTO = (26, 27)  # VHOST_USER_CREATE_CRYPTO_SESSION, VHOST_USER_CLOSE_CRYPTO_SESSION


def fds() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


def mappings() -> int:
    return Path("/proc/self/maps").read_text().count("memfd:")


class Accused(Victim):
    """It must refuse what it is sent."""

    def refuses(self, request: int, payload: bytes, with_fds: list[int] | tuple[int, ...] = ()) -> None:
        """Refused: the state stays the same object, rings run on, nothing is left open or mapped."""
        before = (self.session.state, self.session.running, fds(), mappings())
        with pytest.raises(ProtocolError):
            self.feed(fe.message(request, payload), with_fds)
        assert (self.session.state, self.session.running, fds(), mappings()) == before


@pytest.fixture
def victim():
    before = fds()
    one = Accused()
    yield one
    one.close()
    assert fds() == before


@pytest.fixture
def memfd():
    made = []

    def make(size: int) -> int:
        fd = os.memfd_create("hostile")
        os.ftruncate(fd, size)
        made.append(fd)
        return fd

    yield make
    for fd in made:
        os.close(fd)


# ---- addresses and chains: the guest -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("cut", [1, 12, 13, 40, 75])
def test_cve_2018_1059_buffer_over_the_end_of_a_region(cut):
    """A buffer that begins in a region and ends behind it. With a next region it goes on there, without one it is refused."""
    lonely = Guest([Region(0, 0x10000000, 1 << 20)])
    joined = Guest([Region(0, 0x10000000, 1 << 20), Region(1 << 20, 0x30000000, 1 << 16, offset=4096)])
    for guest, frames in ((lonely, []), (joined, [FRAME])):
        port = LoosePort(guest)
        out, back = Ring(guest, 8), Ring(guest, 8)
        port.start(1, out)
        port.start(0, back)
        at = (1 << 20) - cut
        for i, byte in enumerate(bytes(12) + FRAME):
            if at + i < 1 << 20 or frames:
                guest.write(at + i, bytes([byte]))
        out.set_desc(0, at, 76)
        out.offer(0)
        back.set_desc(0, at, 76, WRITE)
        back.offer(0)
        assert port.rx() == frames
        port.tx(FRAME)
        assert port.drops() == ({} if frames else {"rx_bad_descriptor": 1, "tx_bad_descriptor": 1})
        port.close()


@LAYOUTS
def test_cve_2020_10725_descriptor_of_nothing(layout):
    """Address 0, length 0: it must be refused before anybody translates or copies it."""
    guest = Guest([Region(1 << 20, 0x7F0000000000, 1 << 20)])  # address 0 is not even mapped
    guest._next = 1 << 20
    port = LoosePort(guest)
    for index, flags in ((1, 0), (0, WRITE)):
        ring = layout(guest, 8)
        port.start(index, ring)
        ring.chain([(0, 0)], flags)
    assert port.rx() == []
    port.tx(FRAME)
    assert (port.refused(0), port.refused(1)) == ({"zero_length": 1}, {"zero_length": 1})
    port.close()


@pytest.mark.parametrize("used", [1, 11, 12, 13, 20])
def test_cve_2020_14374_14376_14377_lengths_that_are_believed(used):
    """The device writes no more than a buffer's own length, whatever the other buffers of the chain say: canaries stay."""
    guest = Guest()
    port = LoosePort(guest, bits(32))  # not mergeable: one chain must take it all
    ring = Ring(guest, 8, bits(32))
    port.start(0, ring)
    data = guest.alloc(4096)
    guest.write(data, b"\xee" * 4096)
    ring.chain([(data, used), (data + 100, 30), (data + 1000, 40)], WRITE)
    frame = bytes(range(1, 15)) * 4
    port.tx(frame)
    wrote = guest.read(data, used) + guest.read(data + 100, 30) + guest.read(data + 1000, 40)
    if used + 70 >= 12 + len(frame):
        assert wrote[12 : 12 + len(frame)] == frame
    for start, stop in ((used, 100), (130, 1000), (1040, 4096)):
        assert guest.read(data + start, stop - start) == b"\xee" * (stop - start)
    port.close()


def test_cve_2020_14375_descriptor_changed_between_check_and_use():
    """A second processor of the guest flips address and length: each frame is read by the one value or refused for the other."""
    guest = Guest()
    port = LoosePort(guest)
    ring = Ring(guest, 64)
    port.start(1, ring)
    data = guest.alloc(256)
    guest.write(data, bytes(12) + FRAME)
    good, bad = DESC.pack(data, 76, 0, 0), DESC.pack(TOP - 8, 0xFFFFFFF0, NEXT, 0xFFFF)
    stop = threading.Event()

    def flip():
        while not stop.is_set():
            guest.write(ring.desc, bad)
            guest.write(ring.desc, good)

    thread = threading.Thread(target=flip)
    thread.start()
    seen = 0
    for _ in range(2000):
        ring.offer(0)
        got = port.rx()
        assert all(frame == FRAME for frame in got)
        seen += len(got)
    stop.set()
    thread.join()
    assert seen + sum(port.refused(1).values()) == 2000
    port.close()


def test_cve_2020_14378_lengths_that_sum_up_to_a_long_loop():
    """Chains whose lengths add up to gigabytes are refused at the first megabyte, not walked or copied."""
    guest = Guest()
    port = LoosePort(guest)
    ring = Ring(guest, 256)
    port.start(1, ring)
    for i in range(256):
        ring.set_desc(i, 0, TOP // 16, NEXT, (i + 1) % 256)
    ring.offer(0)
    assert port.rx() == []
    assert port.refused(1) == {"too_long": 1}
    port.close()


@LAYOUTS
@pytest.mark.parametrize("sizes", [(12,), (11, 1), (1,) * 12, (12, 13), (10, 2, 13)], ids=str)
def test_cve_2022_2132_header_in_descriptors_of_its_own(layout, sizes):
    """The virtio-net header cut anyhow, with less than an Ethernet header behind it: nothing is copied by a wrapped length."""
    guest = Guest()
    port = LoosePort(guest)
    ring = layout(guest, 64)
    port.start(1, ring)
    data = guest.alloc(4096)
    ring.chain([(data + 100 * i, n) for i, n in enumerate(sizes)])
    ring.send(FRAME)
    assert port.rx() + port.rx() == [FRAME]
    assert port.drops() == {"rx_runt": 1}
    port.close()


@LAYOUTS
@pytest.mark.parametrize("gso", [0, 1, 3, 4, 5, 0x81, 0xFF])
@pytest.mark.parametrize(
    ("start", "offset"),
    [(0, 0), (0xFFFF, 0), (0xFFFF, 0xFFFF), (60, 0xFFFF), (63, 1), (62, 2), (64, 0), (14, 49)],
)
def test_cve_2024_11614_checksum_outside_the_frame(layout, gso, start, offset):
    """NEEDS_CSUM with a place outside the frame, alone or with segmentation: dropped by name, nothing read or written there."""
    features = MODERN | SUPPORTED.virtio & bits(
        Virtio.CSUM, Virtio.HOST_TSO4, Virtio.HOST_TSO6, Virtio.HOST_ECN
    )
    assert features >> Virtio.CSUM & 1
    guest = Guest()
    port = LoosePort(guest, features)
    ring = layout(guest, 64, features)
    port.start(1, ring)
    ring.send(FRAME, header=struct.pack("<BBHHHHH", 1, gso, 54, 1, start, offset, 0))
    ring.send(FRAME)
    assert port.rx() + port.rx() == [FRAME]
    assert port.drops() == {"rx_bad_offload": 1}
    port.close()


# ---- messages: the front-end -----------------------------------------------------------------------------------------------


def test_cve_2019_14818_repeated_messages_leak_nothing(victim, memfd):
    """Ring sizes, descriptors and memory tables sent over and over: what the last one brought replaces what the others did."""
    region = struct.pack("=IIQQQQ", 1, 0, 0, TOP, 0x7F0000000000, 0)
    event = victim.events[0][0]

    def once(size: int) -> None:
        victim.feed(fe.message(Request.SET_VRING_NUM, fe.state(5, size)))
        victim.feed(fe.message(Request.SET_VRING_CALL, fe.u64(5)), [event])
        victim.feed(fe.message(Request.SET_VRING_KICK, fe.u64(5)), [event])
        victim.feed(fe.message(Request.SET_MEM_TABLE, region), [victim.guest.regions[0].fd])

    once(64)
    before = (len(fds()), mappings())
    for i in range(300):
        once(128 if i % 2 else 256)
    assert (len(fds()), mappings()) == before


@pytest.mark.parametrize(
    ("size", "offset"),
    [
        (2**64 - 1, 0),
        (2**64 - 4096, 8192),
        (4096, 2**64 - 4096),
        (1 << 63, 1 << 63),
        (8192, 0),
        (4096, 4096),
        (0, 0),
    ],
)
def test_cve_2020_10722_log_whose_size_wraps(victim, memfd, size, offset):
    """The migration log's size and offset, summed up, must lie in the file."""
    assert Request.SET_LOG_BASE == 6
    victim.refuses(Request.SET_LOG_BASE, struct.pack("=QQ", size, offset), [memfd(4096)])


@pytest.mark.parametrize("index", [MAX_RINGS, 0x100, 0x10000, 0x10001, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF])
@pytest.mark.parametrize(
    "request_",
    [Request.SET_VRING_NUM, Request.SET_VRING_BASE, Request.GET_VRING_BASE, Request.SET_VRING_ENABLE],
)
def test_cve_2020_10723_ring_index_of_more_than_16_bits(victim, request_, index):
    """Such an index must not be cut to one that exists."""
    victim.refuses(request_, fe.state(index, 1))


@pytest.mark.parametrize("index", [MAX_RINGS, 0x10000, 0xFFFF0000])
def test_cve_2020_10723_ring_index_in_an_address_message(victim, index):
    victim.refuses(
        Request.SET_VRING_ADDR,
        struct.pack("=IIQQQQ", index, 0, 0x7F0000000000, 0x7F0000002000, 0x7F0000001000, 0),
    )


@pytest.mark.parametrize("request_", CRYPTO)
def test_cve_2020_10724_crypto_requests(victim, request_):
    """No crypto device here."""
    for payload in (b"", bytes(8), bytes(600)):
        victim.refuses(request_, payload)


def inflight(queues: int, size: int, *, mmap_size: int = 0, offset: int = 0) -> bytes:
    return struct.pack("=QQHH", mmap_size, offset, queues, size)


def test_cve_2020_10726_inflight_asked_for_over_and_over(victim):
    """Each GET_INFLIGHT_FD makes a region for the front-end; none stays with us."""
    assert Request.GET_INFLIGHT_FD == 31
    answer = victim.feed(fe.message(Request.GET_INFLIGHT_FD, inflight(2, 64)))
    assert answer
    drop_sent(victim)
    before = (len(fds()), mappings())
    for _ in range(200):
        assert victim.feed(fe.message(Request.GET_INFLIGHT_FD, inflight(2, 64)))
        drop_sent(victim)
    assert (len(fds()), mappings()) == before


def drop_sent(victim: Victim) -> None:
    """Close what the session gave away with its answer, as the connection does after sending it."""
    for fd in victim.session.take_answer_fds():
        os.close(fd)


@pytest.mark.parametrize(
    "area",
    [
        (0xFFFF, 0xFFFF, 4096, 0),
        (0xFFFF, 64, 4096, 0),
        (2, 0xFFFF, 4096, 0),
        (2, 0, 4096, 0),
        (0, 64, 4096, 0),
        (2, 64, 2**64 - 1, 0),
        (2, 64, 4096, 2**64 - 4096),
        (2, 64, 1 << 20, 0),
        (2, 64, 16, 0),
        (2, 64, 0, 0),
    ],
    ids=str,
)
def test_cve_2021_3839_inflight_region_smaller_than_its_queues(victim, memfd, area):
    """What the numbers of queues and descriptors need must lie in the mapping, and the mapping in the file."""
    queues, size, mmap_size, offset = area
    payload = inflight(queues, size, mmap_size=mmap_size, offset=offset)
    assert Request.SET_INFLIGHT_FD == 32
    victim.refuses(Request.SET_INFLIGHT_FD, payload, [memfd(4096)])


@pytest.mark.parametrize("n", [2, 3, 8, 32])
@pytest.mark.parametrize("request_", [31, 32])
def test_cve_2022_0669_descriptors_that_nobody_expects(victim, memfd, request_, n):
    """All that come with an inflight message are closed when it is refused."""
    victim.refuses(request_, inflight(2, 64, mmap_size=1 << 16), [memfd(1 << 16)] * n)
