"""What is particular to Intel's 82574 and 82540EM: the older model, one interrupt line, pause frames, odd descriptors."""

import os
import select
from typing import Any

import pytest
import test_nic_drivers as every
import test_nic_offloads as offloads
from fakes.nic_frames import ALL, flow, frame, partial, sent
from fakes.nic_models import BIG, BUFFERS, CSUM_GOOD, ERROR, RINGS, Refused, forward

from vswitchd.datapath.dp import ffi, lib

KIND = "e1000e"
OLD, MPC_STAYS, SLOW, RXE, STUCK, NO_MAC, NO_PAUSE, PARSES = 1, 2, 4, 8, 16, 32, 64, 128
DD, EOP = 1, 2
AUTO, PAUSE_RX, PAUSE_TX = 4, 1, 2


def descriptors(slot: int = 0) -> Any:
    """The first receive ring, as the device sees it: pairs of 64-bit words."""
    base = int(ffi.cast("uintptr_t", lib.vs_dma_base()))
    return ffi.cast("uint64_t *", base + BUFFERS + BIG + slot * (RINGS // 2))


def write_back(index: int, length: int, status: int = DD | EOP, *, old: bool = False) -> None:
    """Let the device be done with a descriptor."""
    legacy = length | (status & 0xFF) << 32 | (status >> 24) << 40
    descriptors()[2 * index + 1] = legacy if old else status | length << 32


def readable(fd: int) -> bool:
    return bool(select.select([fd], [], [], 0)[0])


@pytest.mark.parametrize(
    "test",
    [
        every.test_receives,
        every.test_sends,
        every.test_rings_wrap,
        every.test_nic_to_nic,
        every.test_jumbo,
        every.test_empty_receive_ring,
        offloads.test_receive_checksum,
        every.test_stop_and_start,
        every.test_receive_filter,
        every.test_own_mac,
        every.test_hardware_counters,
    ],
    ids=lambda test: test.__name__,
)
def test_old_model(nics: Any, test: Any) -> None:
    """The 82540EM passes what the 82574 passes."""
    test(lambda kind, flags=0, **how: nics(kind, flags | OLD, **how), KIND)


def test_old_model_offloads(nics: Any) -> None:
    """Checksums by the device, segments by software."""
    offloads.test_transmit_checksum(lambda kind: nics(kind, OLD), KIND, "tcp", 4, 1)
    assert not nics(KIND, OLD).info.features & (lib.VS_NIC_F_TSO4 | lib.VS_NIC_F_TSO6 | lib.VS_NIC_F_RSS)


@pytest.mark.parametrize("seed", range(1, 5))
def test_old_model_hostile(nics: Any, seed: int) -> None:
    every.test_hostile_device(lambda kind: nics(kind, OLD), KIND, seed)


def test_old_model_sleeps(nics: Any) -> None:
    """One vector: the line goes down when the core wakes, and up again with the next packet."""
    every.test_interrupts(lambda kind: nics(kind, OLD), KIND, 1)


def test_old_model_has_one_interrupt(nics: Any) -> None:
    nic = nics(KIND, OLD)
    with pytest.raises(Refused, match="2 interrupt vectors: the device has one"):
        nic.start(vectors=True)


@pytest.mark.parametrize("flags", [0, OLD])
def test_link_on_the_shared_vector(nics: Any, flags: int) -> None:
    """Every change of the link is told; a packet that came meanwhile wakes the core although the control thread read the cause."""
    nic = nics(KIND, flags)
    nic.start(vectors=1)
    fd = nic.fds[0]
    for up in (False, True):
        nic.set_link(up)
        assert readable(fd)
        os.eventfd_read(fd)
        assert lib.vs_nic_irq(nic.handle) == lib.VS_NIC_IRQ_LINK
        assert lib.vs_nic_irq(nic.handle) == 0
        assert not readable(fd)
    assert lib.vs_port_test_arm(nic.handle, 0) == 0
    nic.receive(frame(60))
    os.eventfd_read(fd)  # the control thread was faster than the core
    assert lib.vs_nic_irq(nic.handle) == 0
    assert readable(fd)
    lib.vs_port_test_disarm(nic.handle, 0)
    assert nic.rx() == [frame(60)]


def test_one_vector_for_two_queues(nics: Any) -> None:
    """The core of the second queue does not go to sleep: nothing would wake it."""
    nic = nics(KIND)
    nic.start(n_rxq=2)
    nic.stop()
    nic.fds = [os.eventfd(0, os.EFD_NONBLOCK)]
    config = nic.config(n_rxq=2, n_vectors=1)
    assert lib.vs_nic_start(nic.handle, config, BUFFERS + BIG, ffi.new("int[]", nic.fds), -1) == 0
    assert lib.vs_port_test_arm(nic.handle, 0) == 0
    assert lib.vs_port_test_arm(nic.handle, 1) == 1


def test_link_vector_leaves_the_others(nics: Any) -> None:
    """Each queue has its vector; what the control thread does about the link takes no core's interrupt."""
    nic = nics(KIND)
    nic.start(vectors=True, n_rxq=2)
    for queue in (0, 1):
        assert lib.vs_port_test_arm(nic.handle, queue) == 0
    nic.set_link(False)
    nic.set_link(True)
    assert [readable(fd) for fd in nic.fds] == [False, False, True]
    lib.vs_nic_irq(nic.handle)
    nic.receive(frame(60), queue=1)
    assert [readable(fd) for fd in nic.fds] == [False, True, True]
    nic.receive(frame(60), queue=0)
    assert readable(nic.fds[0])


def test_old_causes_wake_nobody(nics: Any) -> None:
    """What came while the core polled is no reason to wake it afterwards."""
    nic = nics(KIND)
    nic.start(vectors=True)
    nic.receive(frame(60))
    assert nic.rx() == [frame(60)]
    assert lib.vs_port_test_arm(nic.handle, 0) == 0
    assert not readable(nic.fds[0])


def test_device_errors(nics: Any) -> None:
    """Damaged frames are dropped by the device, or with a name."""
    nic = nics(KIND, RXE)
    nic.start()
    nic.receive(frame(60), ERROR)
    nic.receive(frame(61))
    assert nic.rx() == [frame(61)]
    assert nic.drops() == {"device_error": 1}
    stats = nic.stats()
    assert (stats.rx_crc, stats.rx_errors) == (1, 1)
    other = nics(KIND)
    other.start()
    assert other.receive(frame(60), ERROR) == -1


def test_longer_than_the_mtu(nics: Any) -> None:
    """Two tags are allowed for, more is not."""
    nic = nics(KIND)
    nic.start()
    for size in (1522, 1523, 2048, 2049, 9000):
        assert nic.receive(frame(size)) == 1
    nic.receive(frame(60))
    assert nic.rx() == [frame(1522), frame(60)]
    assert nic.drops() == {"oversize": 4}
    assert (nic.counters.rx_packets, nic.counters.rx_bytes) == (6, 1582)


@pytest.mark.parametrize("old", [False, True])
def test_waits_for_the_rest(nics: Any, old: bool) -> None:
    """A frame whose last part is not there yet stays in the ring."""
    nic = nics(KIND, OLD if old else 0)
    nic.start(mtu=9000)
    write_back(0, 2048, DD, old=old)
    assert nic.rx() == []
    write_back(1, 2048, DD, old=old)
    assert nic.rx() == []
    write_back(2, 5, old=old)
    assert [len(data) for data in nic.rx()] == [4101]
    assert not nic.drops()


ODD_FRAMES: list[tuple[list[tuple[int, int]], str]] = [
    ([(13, DD | EOP)], "runt"),
    ([(0, DD | EOP)], "runt"),
    ([(2049, DD | EOP)], "device_error"),
    ([(0xFFFF, DD | EOP)], "device_error"),
    ([(2047, DD), (60, DD | EOP)], "device_error"),
    ([(2048, DD), (2049, DD | EOP)], "device_error"),
    ([(2048, DD), (0, DD | EOP)], "device_error"),
    ([(60, DD | EOP | 1 << 31)], "device_error"),
    ([(2048, DD), (60, DD | EOP | 1 << 24)], "device_error"),
    ([(2048, DD)] * 4 + [(1000, DD | EOP)], "oversize"),
    ([(2048, DD)] * 8 + [(2048, DD | EOP)], "oversize"),
    ([(2048, DD)] * 9 + [(60, DD | EOP)], "oversize"),
    ([(2048, DD)] * 40 + [(60, DD | EOP)], "oversize"),
]


@pytest.mark.parametrize("old", [False, True])
def test_odd_frames(nics: Any, old: bool) -> None:
    """Dropped once, with a name; the frame behind it is received, and the device gets its descriptors back."""
    nic = nics(KIND, OLD if old else 0)
    for parts, reason in ODD_FRAMES:
        nic.start(mtu=9000 if len(parts) != 5 else 5000)
        before, received = nic.drops(), nic.counters.rx_packets
        for index, (length, status) in enumerate(parts):
            write_back(index, length, status, old=old)
        write_back(len(parts), 60, old=old)
        assert [len(data) for data in nic.rx()] == [60], parts
        assert nic.drops() == before | {reason: before.get(reason, 0) + 1}, parts
        assert nic.counters.rx_packets == received + 2
        assert not any(descriptors()[2 * index + 1] for index in range(len(parts) + 1))
        nic.stop()


def test_endless_frame(nics: Any) -> None:
    """A device that never ends a frame holds no core, and costs one drop."""
    nic = nics(KIND)
    nic.start(rx_desc=64)
    for _ in range(10):
        for index in range(64):
            write_back(index, 2048, DD)
        assert nic.rx() == []
    assert nic.drops() == {"oversize": 1}


def test_early_completions(nics: Any) -> None:
    """ "Done" before it is: the buffer goes back once; a stale bit frees nothing."""
    nic = nics(KIND)
    nic.start(tx_desc=64)
    ring = descriptors()  # the transmit ring is the page behind the receive ring's
    ring = ffi.cast("uint64_t *", int(ffi.cast("uintptr_t", ring)) + 4096)
    for _ in range(20):
        nic.tx(*[frame(60)] * 8)
        for index in range(64):
            ring[2 * index + 1] |= 1 << 32
    assert nic.counters.tx_packets == 160


ODD = {
    "three tags": lambda whole, start: (whole[:12] + b"\x81\x00\x00\x05" * 3 + whole[12:], start + 12),
    "two 802.1Q tags": lambda whole, start: (whole[:12] + b"\x81\x00\x00\x05" * 2 + whole[12:], start + 8),
    "802.1ad": lambda whole, start: (
        whole[:12] + b"\x88\xa8\x00\x01\x81\x00\x00\x05" + whole[12:],
        start + 8,
    ),
}


@pytest.mark.parametrize("name", ODD)
@pytest.mark.parametrize("version", [4, 6])
def test_odd_headers(nics: Any, name: str, version: int) -> None:
    """Completed whatever stands in front: by the device where every model of it can, else by software."""
    raw, whole, start, offset, head = partial("tcp", version, 0, bytes(3000))
    (raw, at), (whole, _) = ODD[name](raw, start), ODD[name](whole, start)
    nic = nics(KIND, PARSES)
    nic.start(mtu=9000)
    nic.tx(raw, csum=lib.VS_CSUM_PARTIAL, csum_start=at, csum_offset=offset)
    assert sent(nic) == [whole]
    trains, by_device = [], []
    for off in (0, ALL):
        nic.stop()
        nic.start(features_off=off)
        gso = lib.VS_GSO_TCPV4 if version == 4 else lib.VS_GSO_TCPV6
        nic.tx(
            raw,
            csum=lib.VS_CSUM_PARTIAL, csum_start=at, csum_offset=offset,
            gso_type=gso, gso_size=1400, gso_hdr_len=head + at - start,
        )  # fmt: skip
        trains.append(sent(nic))
        by_device.append(nic.stats().tx_packets)
    assert len(trains[0]) == 3
    assert by_device == [1 if name == "802.1ad" else 3, 3]
    assert trains[0] == trains[1]


def test_checksum_in_a_tunnel(nics: Any) -> None:
    """The inner packet's, which QEMU's model would not find: software does it."""
    raw, _, start, _, _ = partial("udp", 4, 0, bytes(90))
    inner_raw, inner, inner_start, inner_offset, _ = partial("tcp", 4, 0, bytes(range(40)))
    outer = raw[: start + 8]
    nic = nics(KIND, PARSES)
    nic.start()
    at = len(outer) + 8 + inner_start
    nic.tx(outer + bytes(8) + inner_raw, csum=lib.VS_CSUM_PARTIAL, csum_start=at, csum_offset=inner_offset)
    assert sent(nic) == [outer + bytes(8) + inner]


@pytest.mark.parametrize(("flags", "frames_of_the_device"), [(0, 1), (SLOW, 3)])
def test_no_segmentation_at_low_speed(nics: Any, flags: int, frames_of_the_device: int) -> None:
    """At 100 Mbit/s software makes the segments: the device is told of three frames instead of one."""
    raw, _, start, offset, head = partial("tcp", 4, 0, bytes(3000))
    nic = nics(KIND, flags)
    nic.start()
    link = nic.link()
    assert (link.speed_mbps, link.full_duplex) == (100 if flags else 1000, 1)
    nic.tx(
        raw,
        csum=lib.VS_CSUM_PARTIAL, csum_start=start, csum_offset=offset,
        gso_type=lib.VS_GSO_TCPV4, gso_size=1000, gso_hdr_len=head,
    )  # fmt: skip
    assert len(sent(nic)) == 3
    assert nic.stats().tx_packets == frames_of_the_device


@pytest.mark.parametrize("flags", [0, OLD])
def test_flow_control(nics: Any, flags: int) -> None:
    """As told, or as both ends want it."""
    both = PAUSE_RX | PAUSE_TX
    for partner, wishes in (
        (
            0,
            {
                0: 0,
                PAUSE_RX: PAUSE_RX,
                PAUSE_TX: PAUSE_TX,
                AUTO: both,
                AUTO | both: both,
                AUTO | PAUSE_RX: PAUSE_RX,
            },
        ),
        (NO_PAUSE, {AUTO: 0, both: both}),
    ):
        nic = nics(KIND, flags | partner)
        for wish, agreed in wishes.items():
            nic.start(flow_control=wish)
            assert nic.link().pause == agreed, (partner, wish)
            nic.stop()


def test_missed_frames(nics: Any) -> None:
    """Counted once, whether the counter goes back to 0 when it is read (hardware) or not (QEMU)."""
    for flags in (0, MPC_STAYS):
        nic = nics(KIND, flags)
        nic.start(rx_desc=64)
        for turn in range(1, 4):
            results = [nic.receive(frame(60)) for _ in range(100)]
            while nic.rx():
                pass
            missed = turn * results.count(0)
            assert results.count(0) == 100 - 63
            assert nic.stats().rx_missed == missed
            assert nic.stats().rx_missed == missed


@pytest.mark.parametrize(("flags", "word"), [(STUCK, "reset"), (STUCK | OLD, "reset"), (NO_MAC, "MAC")])
def test_broken_device(nics: Any, flags: int, word: str) -> None:
    """One line that says what is wrong."""
    with pytest.raises(Refused, match=word) as refused:
        nics(KIND, flags)
    assert "\n" not in str(refused.value)


def test_beside_a_hostile_engine(nics: Any) -> None:
    """It reads and writes while we do: every buffer comes back."""
    a, b = nics(KIND), nics(KIND)
    for nic in (a, b):
        nic.start()
        nic.thread(2)
    for turn in range(150):
        a.receive(frame(60 + turn))
        a.receive(flow(turn), CSUM_GOOD)
        forward(a, b, 1)
        b.tx(frame(200))
        a.rx()
        lib.vs_nic_irq(a.handle)
        b.link()
    for nic in (a, b):
        nic.thread(0)
        nic.stop()
    assert lib.vs_dma_n_free_buffers(0) == lib.vs_dma_n_buffers(0)
