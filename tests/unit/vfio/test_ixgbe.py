"""What is particular to ixgbe: the orders of the datasheet, the members of the family, and what ails a device."""

from collections.abc import Callable
from typing import Any

import pytest
from fakes.ixgbe_registers import notes, read, write
from fakes.nic_models import Nic, Refused

from vswitchd.datapath.dp import ffi, lib

MAC, OTHER = bytes.fromhex("020000000001"), bytes.fromhex("020000000099")
X540, X550 = 1, 2
SPEED = {100: 1 << 4, 1000: 2 << 4, 10000: 3 << 4, 5000: 1 << 4 | 1 << 6, 2500: 3 << 4 | 1 << 6}
SEMAPHORE_LEFT, FIRMWARE_BUSY, FIRMWARE_HOLDS, MASTER_HANGS, NO_EEPROM, NO_DMA, NO_ENABLE = (
    1 << bit for bit in range(7, 14)
)

CTRL, STATUS, EEC, RDRXCTL, RXCTRL, SECRXCTRL, SECRXSTAT = 0, 8, 0x10010, 0x2F00, 0x3000, 0x8D00, 0x8D04
RXDCTL, SRRCTL, RDBAL, RDLEN, RDT, DCA_RXCTRL = 0x1028, 0x1014, 0x1000, 0x1008, 0x1018, 0x100C
TXDCTL, TDBAL, TDLEN, TDT, DMATXCTL, MTQC, RTTDCS = 0x6028, 0x6000, 0x6008, 0x6018, 0x4A80, 0x8120, 0x4900
FCTRL, HLREG0, AUTOC, EIMS, EICR, EICS, RSCCTL = 0x5080, 0x4240, 0x42A0, 0x880, 0x800, 0x808, 0x102C
ENABLE = 1 << 25


def frame(size: int) -> bytes:
    """A frame to us, of no known protocol."""
    return (MAC + OTHER + b"\x88\xb5" + bytes(i & 255 for i in range(size)))[:size]


# --- the model: it refuses what the datasheet forbids ---


def ready(nic: Nic) -> None:
    """As after a reset that was waited for."""
    for _ in range(4):
        read(nic, EEC), read(nic, RDRXCTL)


def receive_queue(nic: Nic) -> None:
    """A receive queue that may be enabled."""
    ready(nic)
    for at, value in ((RDBAL, 0), (RDLEN, 1024), (SRRCTL, 1 << 25 | 2), (DCA_RXCTRL, 0)):
        write(nic, at, value)


def transmit_queue(nic: Nic) -> None:
    """A transmit queue that may be enabled once DMATXCTL.TE is set."""
    ready(nic)
    write(nic, TDLEN, 1024)


def receive_path(nic: Nic) -> None:
    """What must be before RXEN, but for the hold."""
    ready(nic)
    write(nic, RDRXCTL, 1 << 1 | 3 << 25)


WRONG: dict[str, tuple[Callable[[Nic], None], list[tuple[int, int]], str]] = {
    "early": (lambda nic: None, [(FCTRL, 1 << 10)], "before EEC.ARD"),
    "reset-as-master": (ready, [(CTRL, 1 << 26)], "master of the bus"),
    "ring-length": (ready, [(RDLEN, 64)], "multiple of 128"),
    "ring-place": (ready, [(TDBAL, 64)], "128 bytes"),
    "no-ring": (ready, [(RXDCTL, ENABLE)], "before its ring"),
    "legacy-descriptor": (receive_queue, [(SRRCTL, 2), (RXDCTL, ENABLE)], "one-buffer"),
    "no-buffer-size": (receive_queue, [(SRRCTL, 1 << 25), (RXDCTL, ENABLE)], "BSIZEPACKET"),
    "bit-12": (receive_queue, [(DCA_RXCTRL, 1 << 12), (RXDCTL, ENABLE)], "bit 12"),
    "strip-tags": (receive_queue, [(RXDCTL, ENABLE | 1 << 30)], "stripped"),
    "coalescing": (ready, [(RSCCTL, 1)], "coalescing"),
    "tail-first": (receive_queue, [(RXDCTL, ENABLE), (RDT, 7)], "read back"),
    "change-enabled": (receive_queue, [(RXDCTL, ENABLE), (RDLEN, 2048)], "while it is enabled"),
    "transmit-dma": (transmit_queue, [(TXDCTL, ENABLE)], "DMATXCTL.TE"),
    "wthresh": (transmit_queue, [(DMATXCTL, 1), (TXDCTL, ENABLE | 1 << 16)], "WTHRESH"),
    "pthresh": (transmit_queue, [(DMATXCTL, 1), (TXDCTL, ENABLE | 32)], "HTHRESH"),
    "transmit-tail": (transmit_queue, [(DMATXCTL, 1), (TXDCTL, ENABLE), (TDT, 7)], "read back"),
    "mtqc": (ready, [(MTQC, 0)], "ARBDIS"),
    "arbiter": (ready, [(RTTDCS, 1 << 6), (DMATXCTL, 1)], "arbiter"),
    "rxen": (receive_path, [(RXCTRL, 1)], "SECRX_RDY"),
    "rxen-not-ready": (receive_path, [(SECRXCTRL, 2), (RXCTRL, 1)], "SECRX_RDY"),
    "crc": (ready, [(RDRXCTL, 3 << 25), (SECRXCTRL, 2), (RXCTRL, 1)], "CRC"),
    "reserved": (ready, [(HLREG0, 0)], "reserved"),
    "autoc": (ready, [(AUTOC, 1 << 12)], "MAC_CSR"),
    "lock": (ready, [(0x10160, 8)], "without the semaphore"),
    "no-vector": (ready, [(EIMS, 1)], "IVAR"),
}  # fmt: skip


def test_model_refuses(nics: Any) -> None:
    """Orders that the 82599 datasheet forbids are noted."""
    for case, (before, writes, said) in WRONG.items():
        nic = nics("ixgbe", probe=False)
        before(nic)
        assert notes(nic) == [], case
        for at, value in writes:
            write(nic, at, value)
        assert any(said in note for note in notes(nic)), (case, notes(nic))
        assert nic.faults


def test_model_takes_the_right_order(nics: Any) -> None:
    """The same writes in the datasheet's order are fine."""
    nic = nics("ixgbe", probe=False)
    receive_queue(nic)
    write(nic, RXDCTL, ENABLE)
    assert not read(nic, RXDCTL) & ENABLE, "it takes a while"
    while not read(nic, RXDCTL) & ENABLE:
        pass
    write(nic, RDT, 7)
    receive_path(nic)
    write(nic, SECRXCTRL, 2)
    while not read(nic, SECRXSTAT):
        pass
    write(nic, RXCTRL, 1)
    write(nic, DMATXCTL, 1)
    transmit_queue(nic)
    write(nic, TXDCTL, ENABLE)
    while not read(nic, TXDCTL) & ENABLE:
        pass
    write(nic, TDT, 0)
    assert notes(nic) == []


# --- the family ---


@pytest.mark.parametrize("flags", [0, X540, X550])
def test_family(nics: Any, flags: int) -> None:
    """82599, X540 and X550: sixteen queues, interrupts, frames both ways, no rule broken."""
    nic = nics("ixgbe", flags)
    nic.start(n_rxq=16, n_txq=16, vectors=True, rx_desc=64, tx_desc=64)
    seen = set()
    for number in range(400):
        ip = bytes.fromhex("4500001c00000000401100000a000001") + (number * 2654435761 % 2**32).to_bytes(
            4, "big"
        )
        data = MAC + OTHER + b"\x08\x00" + ip + bytes(26)
        assert nic.receive(data) == 1
        seen |= {queue for queue in range(16) if nic.rx(queue) == [data]}
    assert seen == set(range(16))
    nic.tx(frame(60), core=15)
    assert [queue for queue, _ in nic.taken()] == [15]
    nic.stop()
    nic.start()
    assert nic.receive(frame(60)) == 1
    assert nic.rx() == [frame(60)]
    assert notes(nic) == []


def test_identities() -> None:
    """Devices that the driver takes, and some that it must leave."""
    known = {dev for dev in range(0x1000, 0x1600) if lib.vs_nic_driver_for(0x8086, dev) != ffi.NULL
             and ffi.string(lib.vs_nic_driver_for(0x8086, dev)) == b"ixgbe"}  # fmt: skip
    assert {0x10FB, 0x154D, 0x10F8, 0x1528, 0x1563, 0x15D1} <= known
    assert not known & {0x10ED, 0x1515, 0x1565, 0x15AB, 0x15C2, 0x10C6, 0x1558, 0x154F}


@pytest.mark.parametrize("speed", SPEED)
def test_speed(nics: Any, speed: int) -> None:
    """The link's speed, those that only X550 has too."""
    nic = nics("ixgbe", X550 | SPEED[speed])
    nic.start()
    link = nic.link()
    assert (link.up, link.speed_mbps, link.full_duplex) == (1, speed, 1)


def test_flow_control(nics: Any) -> None:
    """As configured; queues may drop unless they are to stop the other side."""
    nic = nics("ixgbe")
    for how, drop in ((0, 1), (lib.VS_NIC_PAUSE_RX, 1), (lib.VS_NIC_PAUSE_TX | lib.VS_NIC_PAUSE_RX, 0)):
        nic.start(flow_control=how)
        assert nic.link().pause == how
        assert read(nic, SRRCTL) >> 28 & 1 == drop
        assert bool(read(nic, 0x3D00) & 8) == bool(how & lib.VS_NIC_PAUSE_TX)
        assert bool(read(nic, 0x4294) & 8) == bool(how & lib.VS_NIC_PAUSE_RX)
        nic.stop()
    assert notes(nic) == []


# --- what ails a device ---


@pytest.mark.parametrize("flags", [SEMAPHORE_LEFT, FIRMWARE_BUSY, MASTER_HANGS])
def test_recovers(nics: Any, flags: int) -> None:
    """A driver that was killed left locks or requests behind, or the firmware is busy."""
    nic = nics("ixgbe", flags)
    nic.start()
    nic.tx(frame(60))
    assert len(nic.taken()) == 1
    assert read(nic, 0x10160) & 8 == 0, "the lock is given back"
    assert notes(nic) == []


@pytest.mark.parametrize(
    ("flags", "said"),
    [(NO_EEPROM, "EEPROM"), (NO_DMA, "DMA"), (NO_ENABLE, "queue 0"), (FIRMWARE_HOLDS, "firmware")],
)
def test_gives_up(nics: Any, flags: int, said: str) -> None:
    """A device that does not do what it must costs one line, and no buffer."""
    nic = nics("ixgbe", flags, probe=False)
    with pytest.raises(Refused, match=said):
        nic.probe()
        nic.start()
    assert lib.vs_dma_n_free_buffers(0) == lib.vs_dma_n_buffers(0)


def test_memory_error(nics: Any) -> None:
    """The device says that its packet memory is broken."""
    nic = nics("ixgbe")
    nic.start(vectors=True)
    write(nic, EICS, 1 << 28)
    assert lib.vs_nic_irq(nic.handle) == lib.VS_NIC_IRQ_DEAD
    assert "memory" in nic.error
