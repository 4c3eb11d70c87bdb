"""vmxnet3: what is particular to it, on its device model."""

import os
import select
from typing import Any

import pytest
from fakes.nic_frames import ALL, flow, frame, partial, sent
from fakes.nic_models import BIG, BUFFERS, ERROR, IOVA, Nic, Refused
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether
from scapy.layers.vxlan import VXLAN

from vswitchd.datapath.dp import ffi, lib

# Flags of the model.
SKIPS, EMPTIES, WANTS_PROD, REFUSES, OTHER_REVISION, ACTIVE_MASK, SLOW, EAGER = (1 << i for i in range(8))
MAGIC = 0xBABEFEE1
EVENTS, RX_QUEUE_ERROR, TX_QUEUE_ERROR = 696, 1, 2
TX_DESCRIPTION, STATUS = 768, 80


def area(nic: Nic) -> Any:
    """The driver-shared area of the port in slot 0, as memory."""
    base = ffi.cast("uint8_t *", lib.vs_dma_base()) + BUFFERS + BIG
    for offset in range(0, 1 << 20, 4096):
        if ffi.cast("uint32_t *", base + offset)[0] == MAGIC:
            return base + offset
    raise AssertionError("no shared area")


@pytest.mark.parametrize(
    "flags", [SKIPS, EMPTIES, WANTS_PROD, SKIPS | EMPTIES, SKIPS | EMPTIES | WANTS_PROD | SLOW]
)
@pytest.mark.parametrize("mtu", [1500, 9000])
def test_whatever_the_device_passes_over(nics: Any, flags: int, mtu: int) -> None:
    """Descriptors without a completion, completions without bytes, producer indices: many times around, nothing is lost."""
    nic = nics("vmxnet3", flags)
    nic.start(rx_desc=96, mtu=mtu)
    for turn in range(60):
        batch = [frame(60 + (turn * 331 + i * 1217) % (mtu - 60), i) for i in range(1 + turn % 5)]
        assert [nic.receive(data) for data in batch] == [1] * len(batch), turn
        nic.taken()
        assert nic.rx() == batch
    assert not nic.drops()
    assert not nic.faults
    assert nic.stats().rx_missed == 0


def test_frame_that_is_not_all_there(nics: Any) -> None:
    """Waits, and is received whole; what came before it is not held up."""
    nic = nics("vmxnet3", SLOW)
    nic.start(mtu=9000)
    nic.receive(frame(100))
    nic.receive(frame(5000))
    assert nic.rx() == [frame(100)]
    assert nic.rx() == []
    nic.taken()
    assert nic.rx() == [frame(5000)]


def test_longer_than_a_frame_may_be(nics: Any) -> None:
    """More than the buffers that the MTU asks for: dropped by name, and so is what found too few or came damaged."""
    nic = nics("vmxnet3")
    nic.start()
    nic.receive(frame(3000))
    assert nic.rx() == []
    assert nic.drops() == {"oversize": 1}
    nic.receive(frame(100), ERROR)
    assert nic.rx() == []
    assert nic.drops() == {"oversize": 1, "device_error": 1}
    nic.stop()
    nic.start(mtu=9000, rx_desc=64)
    results = [nic.receive(frame(9000, i)) for i in range(9)]
    assert nic.rx() == [frame(9000, i) for i in range(7)]
    assert results[7] == 1, "31 bodies: the eighth gets three of four"
    assert nic.drops() == {"oversize": 1, "device_error": 3}
    assert nic.counters.rx_packets == 7 + 4
    nic.receive(frame(9000))
    assert nic.rx() == [frame(9000)]


@pytest.mark.parametrize(
    ("flags", "words"), [(REFUSES, "refuses its configuration"), (OTHER_REVISION, "revision 1")]
)
def test_refusals(nics: Any, flags: int, words: str) -> None:
    """One line each, and every buffer is in the pool again."""
    with pytest.raises(Refused, match=words):
        nic = nics("vmxnet3", flags, probe=False)
        nic.probe()
        nic.start()


def test_receive_queues_are_a_power_of_two(nics: Any) -> None:
    """As all drivers of revision 1 have it."""
    nic = nics("vmxnet3")
    with pytest.raises(Refused, match="n_rxq 3"):
        nic.start(n_rxq=3)
    nic.start(n_rxq=8, n_txq=3)


@pytest.mark.parametrize("flags", [0, ACTIVE_MASK])
def test_transmit_raises_no_interrupt(nics: Any, flags: int) -> None:
    """A sleeping core is woken by packets and events only, however vectors are masked."""
    nic = nics("vmxnet3", flags)
    nic.start(vectors=True)
    assert lib.vs_port_test_arm(nic.handle, 0) == 0
    nic.tx(*[frame(60)] * 4)
    assert len(sent(nic)) == 4
    assert not select.select(nic.fds, [], [], 0)[0]
    nic.receive(frame(60))
    assert select.select(nic.fds, [], [], 0)[0] == nic.fds[:1]
    lib.vs_port_test_disarm(nic.handle, 0)
    for up in (False, True, False):
        nic.set_link(up)
        assert select.select(nic.fds, [], [], 0)[0] == nic.fds[1:]
        os.eventfd_read(nic.fds[1])
        assert lib.vs_nic_irq(nic.handle) == lib.VS_NIC_IRQ_LINK
        assert lib.vs_nic_irq(nic.handle) == 0


@pytest.mark.parametrize(("event", "queue"), [(RX_QUEUE_ERROR, "receive"), (TX_QUEUE_ERROR, "transmit")])
def test_queue_error(nics: Any, event: int, queue: str) -> None:
    """A queue that the device has stopped is named, with its reason."""
    nic = nics("vmxnet3", slot=0)
    nic.start(n_txq=2, n_rxq=2)
    shared = area(nic)
    second = shared + TX_DESCRIPTION + 256 * (1 if queue == "transmit" else 3) + STATUS
    second[0] = 1
    ffi.cast("uint32_t *", second)[1] = 0x80000004
    ffi.cast("uint32_t *", shared + EVENTS)[0] = event
    assert lib.vs_nic_irq(nic.handle) == lib.VS_NIC_IRQ_DEAD
    assert nic.error == f"the device stopped {queue} queue 1 (error 0x80000004)"
    assert lib.vs_nic_irq(nic.handle) == 0, "the event was acknowledged"


def test_spread_over_queues_is_even(nics: Any) -> None:
    """The indirection table has every queue as often as any other; features that are off are not asked for."""
    nic = nics("vmxnet3", slot=0)
    nic.start(n_rxq=4)
    shared = area(nic)
    features = ffi.cast("uint64_t *", shared + 24)
    assert features[0] == 3, "checksums and RSS, no LRO, no stripping of tags"
    assert ffi.cast("uint32_t *", shared + 648)[1] == 176
    table = bytes(ffi.buffer(shared + 768 + 256 * 16 + 48, 128))
    assert [table.count(queue) for queue in range(4)] == [32] * 4
    nic.stop()
    nic.start(n_rxq=4, features_off=ALL)
    assert ffi.cast("uint64_t *", area(nic) + 24)[0] == 0
    nic.receive(flow(1))
    assert len(nic.rx(0)) == 1


def test_checksum_that_the_device_would_not_find(nics: Any) -> None:
    """Of a tunnel's inner packet, or behind two tags: software does it, in its turn among the others."""
    raw, whole, start, offset, _ = partial("udp", 4, 0, bytes(range(100)))
    outer = bytes(
        Ether() / IP(src="1.2.3.4", dst="4.3.2.1") / UDP(dport=4789, chksum=0) / VXLAN(vni=7) / bytes(50)
    )
    room = len(outer) - 50

    def wrap(inner: bytes) -> bytes:
        head = IP(src="1.2.3.4", dst="4.3.2.1") / UDP(dport=4789, sport=1, chksum=0) / VXLAN(vni=7) / inner
        return bytes(Ether(src="02:00:00:00:00:09", dst="02:00:00:00:00:01") / head)

    nic = nics("vmxnet3")
    nic.start()
    nic.tx(wrap(raw), csum=lib.VS_CSUM_PARTIAL, csum_start=start + room, csum_offset=offset)
    nic.tx(frame(60))
    assert sent(nic) == [wrap(whole), frame(60)]
    raw, whole, start, offset, head = partial("tcp", 4, 2, bytes(i & 255 for i in range(3000)))
    trains = []
    for off in (0, ALL):
        nic.stop()
        nic.start(features_off=off)
        nic.tx(
            raw, csum=lib.VS_CSUM_PARTIAL, csum_start=start, csum_offset=offset,
            gso_type=lib.VS_GSO_TCPV4, gso_size=1000, gso_hdr_len=head,
        )  # fmt: skip
        trains.append(sent(nic))
    assert trains[0] == trains[1]
    assert len(trains[0]) == 3


def test_buffer_longer_than_a_descriptor_says(nics: Any) -> None:
    """A long packet lies in one buffer and takes a descriptor for each 16,384 bytes, of which the full ones say 0."""
    nic = nics("vmxnet3", slot=0)
    nic.start()
    raw, _, start, offset, head = partial("tcp", 4, 0, bytes(50000))
    nic.tx(
        raw, csum=lib.VS_CSUM_PARTIAL, csum_start=start, csum_offset=offset,
        gso_type=lib.VS_GSO_TCPV4, gso_size=1000, gso_hdr_len=head,
    )  # fmt: skip
    queue = area(nic) + TX_DESCRIPTION
    ring = ffi.cast("uint64_t *", queue + 16)[0]
    own = ffi.cast("uint64_t *", lib.vs_dma_base())
    words = ffi.cast("uint32_t *", ffi.cast("uint8_t *", own) + ring - IOVA)
    lengths = [words[4 * i + 2] & 0x3FFF for i in range(4)]
    assert lengths == [0, 0, 0, len(raw) - 3 * 16384]
    assert [words[4 * i + 3] >> 12 & 3 for i in range(4)] == [0, 0, 0, 3], "end and completion at the last"
    assert words[0 + 3] & 0xFFF == head | 3 << 10, "header length, TSO"
    assert words[0 + 2] >> 18 == 1000
    assert len(sent(nic)) == 50


def test_no_fault_by_any_command(nics: Any) -> None:
    """QEMU's device reads at address 0 when it is told to look at a shared area that it does not have. It is never told."""
    nic = nics("vmxnet3")
    for _ in range(3):
        assert lib.vs_nic_set_rx_mode(nic.handle, lib.VS_NIC_RX_PROMISC) == 0
        nic.start(mac=bytes.fromhex("0200000000aa"))
        nic.set_link(False)
        nic.set_link(True)
        lib.vs_nic_irq(nic.handle)
        nic.stats()
        nic.stop()
        nic.link()
        lib.vs_nic_irq(nic.handle)
    assert not nic.faults


def test_beside_an_engine_that_waits_for_no_doorbell(nics: Any) -> None:
    """A frame of several descriptors is the device's all at once: what it takes while we write is whole."""
    nic = nics("vmxnet3", EAGER)
    nic.start(mtu=9000)
    frames = [frame(8000 - i, i) for i in range(16)]
    nic.thread(1)
    for turn in range(60):
        for data in frames:
            nic.tx(data)
        got = sent(nic)
        assert got == frames, turn
    nic.thread(0)
    assert not nic.faults


def test_beside_a_hostile_engine(nics: Any) -> None:
    """It writes while we read, in a thread of its own: every packet is counted, every buffer comes back."""
    nic = nics("vmxnet3")
    nic.start(n_rxq=2, n_txq=2, mtu=9000)
    nic.thread(2)
    returned = 0
    for turn in range(300):
        nic.receive(frame(60 + turn * 29 % 8000))
        returned += len(nic.rx(turn % 2))
        nic.tx(*[frame(64)] * 4, core=turn)
    nic.thread(0)
    received = ("runt", "oversize", "device_error")
    drops = nic.drops()
    assert nic.counters.rx_packets == returned + sum(drops.get(name, 0) for name in received)
    assert nic.counters.tx_packets + sum(n for name, n in drops.items() if name not in received) == 300 * 4
