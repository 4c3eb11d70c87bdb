"""Post-copy migration: memory that is told of, confirmed, and comes when it is touched."""

import asyncio
import errno
import fcntl
import os
import select
import struct
import threading

import pytest
from fakes import front_end as fe
from fakes.mock_guest import Guest
from vhostuser_line import run
from vhostuser_peer import BASE, OFFER, QUIET, SIZE
from vhostuser_world import FRAME, bounce

from vswitchd.datapath.dp import lib
from vswitchd.ports.vhostuser.messages import HEADER, Request

PAGE = 4096
WAKE = 0x8010AA02  # UFFDIO_WAKE
TABLE = struct.pack("=IIQQQQ", 1, 0, 0, SIZE, BASE, 0)


def userfaults():
    fd = lib.vs_userfault_new()
    if fd >= 0:
        os.close(fd)
    return fd >= 0 or -fd not in (errno.EPERM, errno.ENOSYS)


needs_userfaultfd = pytest.mark.skipif(
    not userfaults(), reason="userfaultfd(2) is not to be had here: kernel or privilege"
)


def answers(peer, request, payload=b"", fds=()):
    """The payload of the answer, and its descriptors closed."""
    payload = peer.ask(request, payload, fds)
    for fd in peer.session.take_answer_fds():
        os.close(fd)
    return payload


def test_rings_wait_until_the_front_end_is_ready_for_faults(peer):
    peer.start()
    assert answers(peer, Request.POSTCOPY_ADVISE) == b""
    assert peer.result(Request.POSTCOPY_LISTEN) == 0
    told = peer.ask(Request.SET_MEM_TABLE, TABLE, [peer.memory])
    mapping = peer.session.state.memory.maps[0]
    assert told == struct.pack("=IIQQQQ", 1, 0, 0, SIZE, peer.device.address(mapping), 0)
    assert peer.session.running == set()
    assert "watch" not in peer.device.names()
    assert peer.tell(Request.SET_MEM_TABLE, fe.u64(0)) == b""
    names = peer.device.names()
    assert names.index("watch") < names.index("start")
    assert peer.session.running == {0, 1}
    peer.device.calls.clear()
    assert answers(peer, Request.POSTCOPY_END) == fe.u64(0)
    assert peer.device.names()[0] == "unwatch"
    assert peer.session.running == {0, 1}


@pytest.mark.parametrize("confirmed_by", [Request.ADD_MEM_REG, Request.REM_MEM_REG])
def test_slots(peer, confirmed_by):
    peer.start()
    answers(peer, Request.POSTCOPY_ADVISE)
    peer.result(Request.POSTCOPY_LISTEN)
    told = peer.ask(Request.ADD_MEM_REG, fe.region(1 << 32, SIZE, 1 << 40, 0), [peer.memory])
    mapping = peer.session.state.memory.maps[1]
    assert told == fe.region(1 << 32, SIZE, peer.device.address(mapping), 0)
    assert peer.session.running == set()
    peer.tell(confirmed_by, fe.u64(0))
    assert peer.session.running == {0, 1}
    assert len(peer.device.log("watch")) == 2
    assert peer.result(Request.REM_MEM_REG, fe.region(1 << 32, SIZE, 1 << 40, 0)) == 0
    assert peer.session.running == {0, 1}


def test_sleepers_are_woken_before_anything_waits_for_them(peer):
    peer.start()
    answers(peer, Request.POSTCOPY_ADVISE)
    peer.result(Request.POSTCOPY_LISTEN)
    peer.ask(Request.SET_MEM_TABLE, TABLE, [peer.memory])
    peer.tell(Request.SET_MEM_TABLE, fe.u64(0))
    peer.device.calls.clear()
    peer.session.close()
    assert peer.device.names()[:2] == ["unwatch", "stop"]


def test_a_reset_keeps_the_migration(peer):
    peer.start()
    answers(peer, Request.POSTCOPY_ADVISE)
    peer.tell(Request.RESET_DEVICE)
    assert peer.session.state.postcopy is not None
    assert answers(peer, Request.POSTCOPY_END) == fe.u64(0)


async def begin(line, front):
    """Until the rings run on memory that comes when it is touched. Returns (userfaultfd, our address of the guest's first byte)."""
    messages = list(fe.set_up(front.guest, front.rings, front.features, front.events, OFFER.protocol & QUIET))
    for data, fds in messages[:3]:
        await line.talk(front.send, data, fds)
    fault = await line.talk(front.advise)
    assert await line.talk(front.listen) == 0
    (address,) = await line.talk(front.set_memory_postcopy)
    await line.talk(front.confirm)
    for data, fds in messages[4:]:
        assert HEADER.unpack_from(data)[0] != Request.SET_MEM_TABLE
        await line.talk(front.send, data, fds)
    await line.talk(front.sync)
    assert line.session.running == {0, 1}
    return fault, address


def missing(guest: Guest) -> int:
    """A page that nobody touched yet."""
    return guest.regions[0].size - PAGE


@needs_userfaultfd
def test_a_page_comes_when_it_is_touched():
    async def main(line, front):
        fault, address = await begin(line, front)
        at = missing(front.guest)
        front.rings[0].post(2000)
        front.rings[1].chain([(at, 12 + len(FRAME))])
        core = asyncio.create_task(line.talk(bounce, line))
        await line.talk(select.select, [fault], [], [], 10)
        event, touched = struct.unpack_from("=B15xQ", os.read(fault, 32))
        assert (event, touched // PAGE * PAGE) == (0x12, address + at)
        assert not core.done()
        front.guest.write(at, bytes(12) + FRAME)  # as the other side sends it
        fcntl.ioctl(fault, WAKE, struct.pack("=QQ", address + at, PAGE))
        assert await core == 1
        assert [f for _, f in front.rings[0].received()] == [FRAME]
        assert await line.talk(front.end_postcopy) == 0
        os.close(fault)
        front.rings[0].post(2000)
        front.rings[1].chain([(at - PAGE, 12 + 60)])
        assert await line.talk(bounce, line) == 1  # all has come: what is empty is zeros

    run(main, protocol=OFFER.protocol & QUIET)


@needs_userfaultfd
def test_a_core_that_sleeps_is_woken_when_the_front_end_is_gone():
    async def main(line, front):
        fault, _ = await begin(line, front)
        front.rings[0].post(2000)
        front.rings[1].chain([(missing(front.guest), 12 + len(FRAME))])
        awake = threading.Event()
        stop = line.device.stop

        def turn():
            bounce(line)
            awake.set()

        def stop_after_turn(indices):  # a grace period: the thread here is no core that one would wait for
            assert awake.wait(10)
            return stop(indices)

        line.device.stop = stop_after_turn
        core = asyncio.create_task(line.talk(turn))
        await line.talk(select.select, [fault], [], [], 10)
        assert not awake.is_set()
        front.sock.close()
        await core
        os.close(fault)

    run(main, protocol=OFFER.protocol & QUIET)
