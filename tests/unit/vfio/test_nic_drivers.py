"""Every NIC driver on its device model: the same tests for all of them."""

import os
import select
from typing import Any

import pytest
from fakes.nic_frames import flow, frame, sent
from fakes.nic_models import CSUM_GOOD, KINDS, Refused, forward

from vswitchd.datapath.dp import lib

pytestmark = pytest.mark.parametrize("kind", KINDS)

SIZES = (14, 15, 59, 60, 64, 65, 191, 192, 193, 194, 256, 1000, 1513, 1514, 1518)


def test_receives(nics: Any, kind: str) -> None:
    """Frames of all sizes, in order, whole."""
    nic = nics(kind)
    nic.start()
    frames = [frame(size, size) for size in SIZES]
    assert [nic.receive(data) for data in frames] == [1] * len(frames)
    assert nic.rx() == frames
    assert nic.rx() == []
    assert (nic.counters.rx_packets, nic.counters.rx_bytes) == (len(SIZES), sum(SIZES))
    assert not nic.faults


def test_sends(nics: Any, kind: str) -> None:
    """Frames of all sizes, in order, whole."""
    nic = nics(kind)
    nic.start()
    frames = [frame(size, size) for size in SIZES]
    nic.tx(*frames)
    got = sent(nic)
    assert [data[: len(want)] for data, want in zip(got, frames, strict=True)] == frames
    assert all(not any(data[len(want) :]) for data, want in zip(got, frames, strict=True))
    assert (nic.counters.tx_packets, nic.counters.tx_bytes) == (len(SIZES), sum(SIZES))
    assert not nic.faults


def test_rings_wrap(nics: Any, kind: str) -> None:
    """Many times around rings of the smallest size, in batches of all sizes."""
    nic = nics(kind)
    least = max(
        nic.info.min_desc, 64 // nic.info.desc_multiple * nic.info.desc_multiple or nic.info.desc_multiple
    )
    nic.start(rx_desc=least, tx_desc=least)
    number = 0
    for turn in range(200):
        batch = [frame(60 + number % 700 + i, turn) for i in range(1 + turn % 31)]
        number += len(batch)
        assert [nic.receive(data) for data in batch] == [1] * len(batch)
        got = nic.rx()
        assert got == batch
        nic.tx(*got)
        assert sent(nic) == batch
    assert not nic.drops()
    assert not nic.faults


def test_nic_to_nic(nics: Any, kind: str) -> None:
    """Forwarded as a core does it, with the buffer handed over; all of them come back."""
    a, b = nics(kind), nics(kind)
    for nic in (a, b):
        nic.start()
    for turn in range(100):
        batch = [frame(60 + (turn * 37 + i * 101) % 1455, i) for i in range(32)]
        for data in batch:
            assert a.receive(data) == 1
        assert forward(a, b) == 32
        assert sent(b) == batch
    assert not a.faults + b.faults


def test_jumbo(nics: Any, kind: str) -> None:
    """Frames that take several buffers, received, sent and forwarded."""
    a, b = nics(kind), nics(kind)
    if a.info.max_mtu < 9000:
        pytest.fail(f"the device takes {a.info.max_mtu} only")
    for nic in (a, b):
        nic.start(mtu=9000)
    frames = [frame(size, size) for size in (1514, 2048, 2049, 2112, 4096, 6000, 9014)]
    for data in frames:
        assert a.receive(data) == 1
    assert a.rx() == frames
    a.tx(*frames)
    assert sent(a) == frames
    for data in frames:
        assert a.receive(data) == 1
    assert forward(a, b) == len(frames)
    assert sent(b) == frames
    assert not a.faults + b.faults


def test_too_long(nics: Any, kind: str) -> None:
    """Longer than the MTU with two tags: dropped with a name."""
    nic = nics(kind)
    nic.start()
    nic.tx(frame(1522), frame(1523), frame(9000))
    assert [len(data) for data in sent(nic)] == [1522]
    assert nic.drops() == {"mtu_exceeded": 2}


def test_full_transmit_ring(nics: Any, kind: str) -> None:
    """A device that sends nothing costs its own packets only; every one is counted."""
    nic = nics(kind)
    nic.start()
    for _ in range(40):
        nic.tx(*[frame(60)] * 32)
    dropped = nic.drops()["ring_full"]
    assert nic.counters.tx_packets + dropped == 40 * 32
    assert len(sent(nic)) == nic.counters.tx_packets
    before = nic.counters.tx_packets
    nic.tx(*[frame(60)] * 32)
    assert nic.counters.tx_packets == before + 32
    assert len(sent(nic)) == 32


def test_empty_receive_ring(nics: Any, kind: str) -> None:
    """What comes when the ring is full is missed, not harmful."""
    nic = nics(kind)
    nic.start()
    results = [nic.receive(frame(60, i)) for i in range(600)]
    assert set(results) == {0, 1}
    got = []
    while batch := nic.rx():
        got += batch
    assert got == [frame(60, i) for i, result in enumerate(results) if result == 1][: len(got)]
    assert len(got) == results.count(1)
    assert nic.receive(frame(61)) == 1
    assert nic.rx() == [frame(61)]


def test_link(nics: Any, kind: str) -> None:
    """Down: transmit drops with a name; up again: all is well. The last vector tells of it."""
    nic = nics(kind)
    nic.start(vectors=True)
    link = nic.link()
    assert link.up
    for up in (False, True):
        nic.set_link(up)
        if nic.info.features & lib.VS_NIC_F_LINK_IRQ:
            assert select.select([nic.fds[-1]], [], [], 0)[0], "no interrupt"
            assert lib.vs_nic_irq(nic.handle) & lib.VS_NIC_IRQ_LINK
            os.eventfd_read(nic.fds[-1])
        assert bool(nic.link().up) == up
        nic.tx(frame(60))
        assert len(sent(nic)) == up
    assert nic.drops() == {"link_down": 1}


def test_receive_queues(nics: Any, kind: str) -> None:
    """Flows spread, both directions of one to the same queue."""
    nic = nics(kind)
    if not nic.info.features & lib.VS_NIC_F_RSS:
        return
    queues = min(4, nic.info.max_rxq)
    nic.start(n_rxq=queues)
    seen: dict[int, int] = {}
    for number in range(60):
        for back in (False, True):
            assert nic.receive(flow(number, back=back)) == 1
            where = [q for q in range(queues) if nic.rx(q)]
            assert len(where) == 1
            assert seen.setdefault(number, where[0]) == where[0]
    assert set(seen.values()) == set(range(queues))


def test_transmit_queues(nics: Any, kind: str) -> None:
    """Each core has its own, as far as there are."""
    nic = nics(kind)
    queues = min(4, nic.info.max_txq)
    nic.start(n_txq=queues)
    for core in range(8):
        nic.tx(frame(60 + core), core=core)
    got = nic.taken()
    assert sorted(len(data) for _queue, data in got) == list(range(60, 68))
    assert all(queue == (len(data) - 60) % queues for queue, data in got)


@pytest.mark.parametrize("vectors", [True, 1])
def test_interrupts(nics: Any, kind: str, vectors: Any) -> None:
    """A core that sleeps is woken by a packet, and not put to sleep on one."""
    nic = nics(kind)
    nic.start(vectors=vectors)

    def readable() -> bool:
        return bool(select.select([lib.vs_port_test_rx_fd(nic.handle, 0)], [], [], 0)[0])

    lib.vs_port_test_disarm(nic.handle, 0)
    for turn in range(5):
        assert lib.vs_port_test_arm(nic.handle, 0) == 0
        assert not readable()
        nic.receive(frame(60 + turn))
        assert readable(), turn
        lib.vs_port_test_disarm(nic.handle, 0)
        assert not readable()
        assert nic.rx() == [frame(60 + turn)]
    nic.receive(frame(80))
    assert not readable(), "an interrupt while the core polls"
    assert lib.vs_port_test_arm(nic.handle, 0) == 1, "a packet is there"
    lib.vs_port_test_disarm(nic.handle, 0)
    assert nic.rx() == [frame(80)]


def test_stop_and_start(nics: Any, kind: str) -> None:
    """A stopped device touches nothing; a started one works as before."""
    nic = nics(kind)
    for turn in range(5):
        nic.start(rx_desc=256 if turn % 2 else 512, mtu=1500 if turn % 2 else 4000)
        nic.receive(frame(100))
        nic.receive(frame(101))
        assert len(nic.rx(n=1)) == 1
        nic.tx(frame(100))
        nic.stop()
        assert nic.receive(frame(100)) != 1
        assert nic.taken() == []
        nic.tx(frame(100))
        assert lib.vs_dma_n_free_buffers(0) == lib.vs_dma_n_buffers(0)
    assert nic.drops() == {"not_ready": 5}
    assert not nic.faults


def test_receive_filter(nics: Any, kind: str) -> None:
    """Promiscuous or not, and multicast."""
    nic = nics(kind)
    ours, broadcast = frame(60), b"\xff" * 6 + frame(60)[6:]
    multicast, strange = (
        bytes.fromhex("01005e000001") + frame(60)[6:],
        bytes.fromhex("0200000000ee") + frame(60)[6:],
    )
    nic.start(rx_mode=0)
    assert [nic.receive(data) for data in (ours, broadcast, strange)] == [1, 1, -1]
    assert lib.vs_nic_set_rx_mode(nic.handle, lib.VS_NIC_RX_ALLMULTI) == 0
    assert [nic.receive(data) for data in (ours, broadcast, multicast, strange)] == [1, 1, 1, -1]
    if nic.info.features & lib.VS_NIC_F_PROMISC:
        assert lib.vs_nic_set_rx_mode(nic.handle, lib.VS_NIC_RX_PROMISC | lib.VS_NIC_RX_ALLMULTI) == 0
        assert [nic.receive(data) for data in (ours, broadcast, multicast, strange)] == [1, 1, 1, 1]


def test_own_mac(nics: Any, kind: str) -> None:
    """Another address than the device's own is taken over."""
    nic = nics(kind)
    assert bytes(nic.info.mac) == bytes.fromhex("020000000001")
    if not nic.info.features & lib.VS_NIC_F_SET_MAC:
        return
    nic.start(rx_mode=0, mac=bytes.fromhex("0200000000aa"))
    assert nic.receive(bytes.fromhex("0200000000aa") + frame(60)[6:]) == 1
    assert nic.receive(frame(60)) == -1


def test_hardware_counters(nics: Any, kind: str) -> None:
    """What the device counts is added up, over reads."""
    nic = nics(kind)
    nic.start()
    for turn in range(1, 4):
        for _ in range(5):
            nic.receive(frame(100))
        nic.rx()
        nic.tx(frame(100), frame(100))
        nic.taken()
        stats = nic.stats()
        if stats.rx_packets:
            assert (stats.rx_packets, stats.tx_packets) == (5 * turn, 2 * turn)


def test_bar_too_small(nics: Any, kind: str) -> None:
    """One line that says so."""
    nic = nics(kind, probe=False)
    for bar in range(6):
        nic.models.model_cut_bar(nic.model, bar, 8)
    with pytest.raises(Refused, match="BAR") as refused:
        nic.probe()
    assert "\n" not in str(refused.value)


def test_pulled_out(nics: Any, kind: str) -> None:
    """Registers read all ones: nothing hangs, the port hears of it, a new start is refused."""
    nic = nics(kind)
    nic.start(vectors=True)
    nic.pull()
    assert nic.rx() == []
    nic.tx(frame(60))
    assert lib.vs_nic_irq(nic.handle) & lib.VS_NIC_IRQ_DEAD
    assert not nic.link().up
    nic.stats()
    lib.vs_port_test_arm(nic.handle, 0)
    nic.stop()
    with pytest.raises(Refused):
        nic.start()
    assert lib.vs_nic_probe(nic.handle, nic.info) < 0
    assert nic.error
    nic.pull(gone=False)
    assert lib.vs_nic_probe(nic.handle, nic.info) == 0
    nic.start()
    nic.receive(frame(60))
    assert nic.rx() == [frame(60)]


def test_bad_configuration(nics: Any, kind: str) -> None:
    """Refused by name, and the next one works."""
    nic = nics(kind)
    for wish, word in (
        ({"n_rxq": 17}, "n_rxq"), ({"rx_desc": 3}, "n_rxq_desc"), ({"tx_desc": 60000}, "n_txq_desc"), ({"mtu": 65000}, "MTU"),
    ):  # fmt: skip
        with pytest.raises(Refused, match=word):
            nic.start(**wish)
    nic.start()
    nic.receive(frame(60))
    assert nic.rx() == [frame(60)]


@pytest.mark.parametrize("seed", range(1, 40))
def test_hostile_device(nics: Any, kind: str, seed: int) -> None:
    """It writes what it likes: nothing outside is touched, every packet is counted, every buffer comes back."""
    nic = nics(kind)
    nic.start(mtu=9000 if seed % 2 else 1500, n_rxq=min(2, nic.info.max_rxq))
    returned = 0
    nic.corrupt(seed)
    for turn in range(40):
        nic.receive(frame(60 + turn * 37))
        nic.receive(flow(turn), CSUM_GOOD)
        nic.corrupt()
        for queue in range(min(2, nic.info.max_rxq)):
            returned += len(nic.rx(queue))
        nic.tx(*[frame(64 + turn)] * 8)
        nic.corrupt()
        nic.taken()
        nic.link()
        nic.stats()
        lib.vs_nic_irq(nic.handle)
    received = {
        name
        for name in nic.drops()
        if name in {"runt", "oversize", "device_error", "bad_offload", "bad_descriptor"}
    }
    assert nic.counters.rx_packets == returned + sum(nic.drops()[name] for name in received)
    assert (
        nic.counters.tx_packets + sum(n for name, n in nic.drops().items() if name not in received) == 40 * 8
    )
