"""The migration log: whatever page of the guest's memory the switch changes is marked, and marked after the change."""

from __future__ import annotations

import os
import random

import pytest
from fakes.loose_port import LoosePort
from fakes.mock_guest import EVENT_IDX, MODERN, Guest, Region, Ring, bits

from vswitchd.datapath.dp import ffi, lib

PAGE = 4096
SIZE = 1 << 20
FAR = 0x4000_0000  # guest physical address of the second region


class Log:
    """A bitmap in a memory file, as a front-end shares it."""

    def __init__(self, size: int, *, offset: int = 0) -> None:
        self.fd = os.memfd_create("log")
        os.ftruncate(self.fd, offset + size)
        self.offset, self.size = offset, size
        error = ffi.new("int *")
        self.handle = lib.vs_dirty_log_new(self.fd, offset, size, error)
        assert self.handle != ffi.NULL, error[0]

    def take(self) -> set[int]:
        """Pages marked since the last call."""
        data = os.pread(self.fd, self.size, self.offset)
        os.pwrite(self.fd, bytes(self.size), self.offset)
        found = [(i, byte) for i, byte in enumerate(data) if byte]
        return {8 * i + bit for i, byte in found for bit in range(8) if byte >> bit & 1}

    def close(self) -> None:
        lib.vs_dirty_log_free(self.handle)
        os.close(self.fd)


class Memory:
    """Pages of a guest that changed."""

    def __init__(self, guest: Guest) -> None:
        self.guest = guest
        self.before = self.now()

    def now(self) -> dict[int, bytes]:
        return {
            (region.gpa + at) // PAGE: region.map[region.offset + at : region.offset + at + PAGE]
            for region in self.guest.regions
            for at in range(0, region.size, PAGE)
        }

    def changed(self) -> set[int]:
        old, self.before = self.before, self.now()
        return {page for page, data in self.before.items() if data != old[page]}


@pytest.fixture
def guest():
    return Guest([Region(0, 0x7F0000000000, SIZE, offset=PAGE), Region(FAR, 0x7E0000000000, SIZE)])


def start(port: LoosePort, log: Log, features: int) -> tuple[Ring, Ring]:
    rx, tx = Ring(port.guest, 64, features), Ring(port.guest, 64, features)
    kick = os.eventfd(0, os.EFD_NONBLOCK)
    port.start(0, rx, log=log.handle)
    port.start(1, tx, log=log.handle, kick=kick)
    return rx, tx


def post(guest: Guest, ring: Ring, dice: random.Random) -> None:
    sizes = [dice.choice((40, 64, 200, 1500, 5000)) for _ in range(dice.randint(1, 3))]
    low = FAR + PAGE * dice.randrange(100)
    buffers = []
    for size in sizes:
        far = dice.random() < 0.5
        buffers.append((low if far else guest.alloc(size), size))
        low += 2 * PAGE
    ring.chain(buffers, 2, indirect=dice.random() < 0.3)


@pytest.mark.parametrize("features", [MODERN, MODERN | bits(EVENT_IDX)])
@pytest.mark.parametrize("seed", range(4))
def test_every_page_that_changes_is_marked(guest, features, seed):
    dice = random.Random(seed)
    port = LoosePort(guest, features)
    log = Log((FAR + SIZE) // PAGE // 8)
    rx, tx = start(port, log, features)
    memory = Memory(guest)
    sent = 0
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
        port.rx()
        lib.vs_port_test_arm(port.handle, 0)
        lib.vs_port_test_disarm(port.handle, 0)
        changed, marked = memory.changed(), log.take()
        assert changed <= marked
        # nothing beyond what a ring or a buffer of this guest covers
        assert all(page < SIZE // PAGE or FAR // PAGE <= page < (FAR + SIZE) // PAGE for page in marked)
        sent += len(changed)
        rx.take()
        tx.take()
    assert sent > 20
    port.close()
    log.close()


def test_a_log_shorter_than_memory_is_not_overrun(guest):
    port = LoosePort(guest)
    log = Log(PAGE // 8, offset=PAGE)  # covers the first pages alone; the file ends behind it
    rx, _ = start(port, log, MODERN)
    rx.chain([(FAR, 2000)], 2)
    port.tx(bytes(100))
    assert rx.take() == [(0, 112)]
    assert all(page < PAGE for page in log.take())
    port.close()
    log.close()


def test_log_files_are_checked():
    error = ffi.new("int *")
    fd = os.memfd_create("log")
    os.ftruncate(fd, PAGE)
    assert lib.vs_dirty_log_new(fd, 0, 2 * PAGE, error) == ffi.NULL
    assert lib.vs_dirty_log_new(fd, 2**64 - PAGE, 2 * PAGE, error) == ffi.NULL
    assert lib.vs_dirty_log_new(fd, 0, 0, error) == ffi.NULL
    os.close(fd)
