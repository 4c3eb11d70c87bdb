"""The migration log of every kind of ring: split and packed, with guest physical addresses and behind a vIOMMU."""

from __future__ import annotations

import os
import random

import pytest
from fakes import iommu_port
from fakes.iommu_port import IommuPort
from fakes.loose_port import LoosePort
from fakes.mock_guest import EVENT_IDX, MODERN, Guest, Region, Ring, bits
from fakes.packed_ring import PackedRing
from test_dirty_log import FAR, PAGE, SIZE, Log, Memory, post

from vswitchd.datapath.dp import lib

RAISED = 1 << 31
"""Behind the vIOMMU a guest physical address is that much more than the IOVA: the log counts pages of the former."""


class Plain(LoosePort):
    """Addresses of the guest are physical."""

    raised = 0

    def begin(self, index: int, ring: Ring, log: Log, kick: int) -> None:
        self.start(index, ring, log=log.handle, kick=kick)

    def settle(self) -> int:
        """Answer what is missing."""
        return 0


class Behind(IommuPort):
    """Addresses of the guest are IOVAs; its rings' are, too."""

    raised = RAISED

    def begin(self, index: int, ring: Ring, log: Log, kick: int) -> None:
        for region in self.guest.regions:
            if region.gpa == 0:
                self.map(0, region.size)  # where rings are; buffers in the other one are asked for
        where = {"desc": ring.desc, "avail": ring.avail, "used": ring.used}
        self.start(index, ring, log=log.handle, kick=kick, **where)

    def settle(self) -> int:
        return self.answer()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("features", [MODERN, MODERN | bits(EVENT_IDX)], ids=["", "event_idx"])
@pytest.mark.parametrize("layout", [Ring, PackedRing], ids=["split", "packed"])
@pytest.mark.parametrize("kind", [Plain, Behind], ids=["physical", "iommu"])
def test_every_page_that_changes_is_marked_and_no_other(monkeypatch, kind, layout, features, seed):
    monkeypatch.setattr(iommu_port, "_ELSEWHERE", RAISED)
    dice = random.Random(seed)
    guest = Guest([Region(0, 0x7F0000000000, SIZE, offset=PAGE), Region(FAR, 0x7E0000000000, SIZE)])
    port, log = kind(guest, features), Log((RAISED + FAR + SIZE) // PAGE // 8)
    rx, tx = layout(guest, 256, features), layout(guest, 256, features)
    kick = os.eventfd(0, os.EFD_NONBLOCK)
    port.begin(0, rx, log, -1)
    port.begin(1, tx, log, kick)
    memory, sent, answered = Memory(guest), 0, 0
    for _ in range(20):
        for _ in range(dice.randint(0, 3)):
            post(guest, rx, dice)
        for _ in range(dice.randint(0, 2)):
            tx.send(dice.randbytes(dice.randint(60, 1500)))
        memory.changed()  # the driver's own writes
        log.take()
        frames = [dice.randbytes(dice.randint(60, 9000)) for _ in range(dice.randint(0, 3))]
        if frames:
            port.tx(*frames)
        for _ in range(8):  # translations come; what waited for them is sent by the next turn
            port.rx()
            asked = port.settle()
            answered += asked
            if not asked:
                break
        port.rx()
        lib.vs_port_test_arm(port.handle, 0)
        lib.vs_port_test_disarm(port.handle, 0)
        changed, marked = memory.changed(), log.take()
        lowered = {page - port.raised // PAGE for page in marked}
        assert changed <= lowered
        assert all(page < SIZE // PAGE or FAR // PAGE <= page < (FAR + SIZE) // PAGE for page in lowered)
        sent += len(changed)
        rx.take()
        tx.take()
    assert sent > 20
    assert bool(answered) == (kind is Behind)
    port.close()
    log.close()
    os.close(kick)


@pytest.mark.parametrize("index", [0, 1], ids=["guest receives", "guest sends"])
def test_a_batch_over_two_pages_of_a_packed_ring(index):
    """The first chain is marked when it is shown, those behind it when they are written."""
    guest = Guest([Region(0, 0x7F0000000000, SIZE)])
    port, log = LoosePort(guest, MODERN), Log(SIZE // PAGE // 8)
    last = PAGE // 16 - 1
    ring = PackedRing(guest, 512, MODERN, base=0x8000 | last)
    port.start(index, ring, log=log.handle, base=0x8000 | last | (0x8000 | last) << 16)
    if index:
        for _ in range(3):
            ring.send(bytes(60))
        assert len(port.rx()) == 3
    else:
        for _ in range(3):
            ring.post(200)
        port.tx(*[bytes(60)] * 3)
    assert len(ring.take()) == 3
    assert ring.desc % PAGE == 0
    assert {ring.desc // PAGE, ring.desc // PAGE + 1} <= log.take()
    port.close()
    log.close()
