"""virtio devices: their queues, what they are refused for, and devices that break the rules of their rings."""

import os
import struct
from typing import Any

import pytest
from fakes.nic_frames import flow, frame, sent
from fakes.nic_models import BIG, BUFFERS, CSUM_GOOD, Refused
from fakes.virtio_nic import KIND, RINGS, Model, ring

from vswitchd.datapath.dp import ffi, lib

MTU = 9600
HEADER = 12

# --- queues ---


def test_queues_without_rss(nics: Any) -> None:
    """The device spreads as it likes over all pairs in use; so no queue is in use that nobody polls."""
    nic = nics(KIND, int(Model.NO_RSS))
    assert not nic.info.features & lib.VS_NIC_F_RSS
    nic.start(n_rxq=2, n_txq=4)
    for number in range(20):
        nic.receive(flow(number))
    assert len(nic.rx(0)) + len(nic.rx(1)) == 20
    for core in range(4):
        nic.tx(frame(60 + core), core=core)
    assert sorted((queue, len(data)) for queue, data in nic.taken()) == [(0, 60), (0, 62), (1, 61), (1, 63)]
    nic.stop()
    nic.start(n_rxq=4, n_txq=1)
    nic.receive(flow(3), queue=3)
    assert nic.rx(3) == [flow(3)]
    assert not nic.faults


def test_more_transmit_queues_than_receive_queues(nics: Any) -> None:
    """With RSS all that comes goes to queues that are polled."""
    for rings in (Model(0), Model.PACKED):
        nic = nics(KIND, int(rings), slot=0)
        nic.start(n_rxq=3, n_txq=8)
        for number in range(40):
            nic.receive(flow(number))
        assert sum(len(nic.rx(queue)) for queue in range(3)) == 40
        assert not nic.faults
        nic.stop()


# --- identity and refusals ---


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (Model.LEGACY, "legacy.*disable-legacy=on"),
        (Model.NO_VERSION_1, "VERSION_1.*disable-legacy=on"),
        (Model.PAST_IOMMU, "past the IOMMU.*iommu_platform=on"),
        (Model.SMALL_RINGS, "16 descriptors"),
    ],
)
def test_refused_at_probe(nics: Any, model: Model, words: str) -> None:
    """One line that says what to do."""
    with pytest.raises(Refused, match=words) as refused:
        nics(KIND, int(model))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("model", "words", "config"),
    [
        (Model.STUBBORN, "does not accept the features 0x", {}),
        (Model.SILENT, "control queue", {}),
        (Model.NO_VECTORS, "interrupt vector", {"vectors": True}),
        (Model.BAD_DOORBELL, "doorbell", {}),
    ],
)
def test_refused_at_start(nics: Any, model: Model, words: str, config: dict[str, Any]) -> None:
    """A device that does not do its part; all buffers are back."""
    nic = nics(KIND, int(model))
    with pytest.raises(Refused, match=words):
        nic.start(**config)
    assert lib.vs_dma_n_free_buffers(0) == lib.vs_dma_n_buffers(0)


def test_reset_that_does_not_end(nics: Any) -> None:
    """It is not waited for without end."""
    with pytest.raises(Refused, match="does not end its reset"):
        nics(KIND, int(Model.STUCK))


def test_mac_of_our_own(nics: Any) -> None:
    """A device without an address gets a random one of the locally administered ones."""
    a, b = nics(KIND, int(Model.NO_MAC)), nics(KIND, int(Model.NO_MAC))
    macs = [bytes(nic.info.mac) for nic in (a, b)]
    assert all(mac[0] & 3 == 2 for mac in macs)
    assert macs[0] != macs[1]


def test_mac_by_filter_table(nics: Any) -> None:
    """Without F_CTRL_MAC_ADDR the wanted address is let through by the table."""
    nic = nics(KIND, int(Model.NO_MAC_ADDR))
    nic.start(rx_mode=0, mac=bytes.fromhex("0200000000aa"))
    assert nic.receive(bytes.fromhex("0200000000aa") + frame(60)[6:]) == 1
    assert nic.receive(bytes.fromhex("0200000000ab") + frame(60)[6:]) == -1


def test_no_receive_modes(nics: Any) -> None:
    """A device without F_CTRL_RX says so; it runs all the same."""
    nic = nics(KIND, int(Model.NO_FILTERS))
    assert not nic.info.features & (lib.VS_NIC_F_PROMISC | lib.VS_NIC_F_ALLMULTI | lib.VS_NIC_F_SET_MAC)
    nic.start()
    assert lib.vs_nic_set_rx_mode(nic.handle, lib.VS_NIC_RX_PROMISC) < 0
    assert "receive modes" in nic.error
    assert nic.receive(frame(60)) == 1


@RINGS
def test_interrupt_line(nics: Any, rings: Model) -> None:
    """INTx: no vectors are set, arming reads the ISR, so that the line falls, and unmasks it."""
    nic = nics(KIND, int(rings), slot=0)
    nic.fds = [os.eventfd(0, os.EFD_NONBLOCK) for _ in range(2)]
    wake, unmask = nic.fds
    assert lib.vs_nic_start(nic.handle, nic.config(n_vectors=1), BUFFERS + BIG, [wake], unmask) == 0
    nic.link()
    assert lib.vs_port_test_arm(nic.handle, 0) == 0
    assert os.eventfd_read(unmask) == 1
    nic.receive(frame(60))
    nic.set_link(False)
    assert [nic.models.model_irqs(nic.model, vector) for vector in range(3)] == [0, 0, 0]
    assert lib.vs_port_test_arm(nic.handle, 0) == 1
    isr = nic.env.virtio[3]
    bar = nic.env.bars[isr.bar]
    assert bar.hook.read(bar.hook.ctx, isr.bar, isr.offset, 1) == 0
    nic.set_link(True)
    lib.vs_nic_irq(nic.handle)
    assert bar.hook.read(bar.hook.ctx, isr.bar, isr.offset, 1) == 2, (
        "the line belongs to the core that sleeps"
    )


def test_speed(nics: Any) -> None:
    """From the device's structure."""
    nic = nics(KIND)
    nic.start()
    link = nic.link()
    assert (link.up, link.speed_mbps, link.full_duplex) == (1, 25000, 1)
    assert (nic.info.max_mtu, nic.info.max_rxq, nic.info.max_desc) == (MTU, 8, 1024)


# --- a device that breaks the rules ---

TX_RING = 8192  # of the first transmit queue: behind a receive ring of 26 * 256 + 128 bytes, in pages


@pytest.mark.parametrize("identity", [256, 65535, 0x10000])
@RINGS
def test_receives_what_was_not_posted(nics: Any, rings: Model, identity: int) -> None:
    """The queue stands still, once for all; the port hears that the device is dead, and can be started again."""
    nic = nics(KIND, int(rings), slot=0)
    nic.start()
    if rings & Model.PACKED:
        ring(8, "<IHH", 100, identity & 0xFFFF or 300, 1 << 7 | 1 << 15)
    else:
        ring(256 * 18 + 64, "<HHII", 0, 1, identity, 100)
    assert nic.rx() == []
    assert nic.drops() == {"device_error": 1}
    assert nic.rx() == []
    assert nic.counters.rx_packets == 1
    assert lib.vs_nic_irq(nic.handle) == lib.VS_NIC_IRQ_DEAD
    assert lib.vs_port_test_arm(nic.handle, 0) in (0, 1)
    nic.stop()
    nic.start()
    nic.receive(frame(60))
    assert nic.rx() == [frame(60)]


@RINGS
@pytest.mark.parametrize("length", [0, 11, 2061, 0xFFFFFFFF])
def test_lengths_that_cannot_be(nics: Any, rings: Model, length: int) -> None:
    """Shorter than a header, longer than the buffer: dropped by name, the ring goes on."""
    nic = nics(KIND, int(rings), slot=0)
    nic.start()
    assert nic.receive(frame(60, 1)) == 1
    nic.receive(frame(60, 2))
    ring(8 if rings & Model.PACKED else 256 * 18 + 64 + 8, "<I", length)
    assert nic.rx() == [frame(60, 2)]
    assert nic.drops() == {"device_error": 1}


@RINGS
def test_header_without_frame(nics: Any, rings: Model) -> None:
    """Shorter than an Ethernet header."""
    nic = nics(KIND, int(rings), slot=0)
    nic.start()
    nic.receive(frame(60))
    ring(8 if rings & Model.PACKED else 256 * 18 + 64 + 8, "<I", HEADER + 13)
    assert nic.rx() == []
    assert nic.drops() == {"runt": 1}


@RINGS
@pytest.mark.parametrize("buffers", [0, 257, 65535])
def test_number_of_buffers_that_cannot_be(nics: Any, rings: Model, buffers: int) -> None:
    """More buffers than the ring has, or none."""
    nic = nics(KIND, int(rings), slot=0)
    nic.start()
    nic.receive(frame(60, 1))
    nic.receive(frame(60, 2))
    base = ffi.cast("uint8_t *", lib.vs_dma_base())
    at = bytes(ffi.buffer(base, BUFFERS)).index(frame(60, 1)) - 2
    ffi.memmove(base + at, struct.pack("<H", buffers), 2)
    assert nic.rx() == [frame(60, 2)]
    assert nic.drops() == {"device_error": 1}


@RINGS
def test_gives_back_what_was_not_sent(nics: Any, rings: Model) -> None:
    """Twice the same buffer, or one that it never had: nothing is freed, the port hears of it."""
    nic = nics(KIND, int(rings), slot=0)
    nic.start()
    for identity in (1, 300):  # 1 comes in its turn as well
        nic.tx(*[frame(60)] * 4)
        assert len(sent(nic)) == 4
        if rings & Model.PACKED:
            ring(TX_RING + 8, "<IHH", 0, identity, 1 << 7 | 1 << 15)
        else:
            ring(TX_RING + 256 * 18 + 64 + 4, "<II", identity, 0)
        assert lib.vs_nic_irq(nic.handle) == 0
        for _ in range(40):
            nic.tx(*[frame(60)] * 32)
        assert lib.vs_nic_irq(nic.handle) == lib.VS_NIC_IRQ_DEAD
        assert nic.drops()["ring_full"] > 0
        nic.stop()
        nic.start()
    assert lib.vs_nic_irq(nic.handle) == 0


def test_beside_the_engine(nics: Any) -> None:
    """Receive and transmit while the device works in a thread of its own, honest and hostile."""
    for rings in (Model(0), Model.PACKED):
        nic = nics(KIND, int(rings), slot=0)
        nic.start()
        nic.thread(1)
        sent_frames = 0
        for turn in range(200):
            nic.tx(*[frame(60 + turn)] * 16)
            sent_frames += 16 - 0
            nic.receive(frame(60 + turn), CSUM_GOOD)
            assert nic.rx() == [frame(60 + turn)]
        nic.thread(0)
        got = sent(nic)
        assert len(got) == nic.counters.tx_packets == sent_frames - nic.drops().get("ring_full", 0)
        nic.thread(2)
        for turn in range(200):
            nic.tx(*[frame(60 + turn)] * 16)
            nic.receive(frame(60 + turn))
            nic.rx()
        nic.thread(0)
        nic.stop()
